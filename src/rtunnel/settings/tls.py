"""What TLS under a tunnel is made of. Names of files, never what is in them: files are read when they are needed."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import SettingsError, check, header_value

__all__ = ["ClientTls", "ServerTls"]

_FILE = attrs.validators.optional(check(bool, "names no file"))


@attrs.frozen(kw_only=True)
class ServerTls:
    """How a tunnel listener proves who it is, and whom it asks for proof.

    :ivar cert_file: its certificate and the chain up to the CA, in PEM.
    :ivar key_file: the key of the certificate, in PEM; ``None`` where the key stands in ``cert_file``.
    :ivar ca_file: the CA of the clients, in PEM: each client must show a certificate of it. ``None`` asks for none.
    :ivar self_signed: make a certificate in memory at each start, which no client can verify.
    """

    cert_file: str | None = attrs.field(default=None, validator=_FILE)
    key_file: str | None = attrs.field(default=None, validator=_FILE)
    ca_file: str | None = attrs.field(default=None, validator=_FILE)
    self_signed: bool = False

    def __attrs_post_init__(self) -> None:
        _no_key_alone(self.cert_file, self.key_file)
        if self.self_signed and self.cert_file is not None:
            raise SettingsError("self_signed", None, "makes a certificate, but there is one already; give one of the two")


@attrs.frozen(kw_only=True)
class ClientTls:
    """Which servers a client trusts, and how it proves who it is.

    :ivar verify: whether the certificate of the server is verified; without it the connection can be intercepted and modified.
    :ivar server_name: the name or IP address that the certificate must be for; ``None`` for the host of the server's address.
    :ivar ca_file: the CA of the server, in PEM; ``None`` for those that the system trusts.
    :ivar cert_file: a certificate for a server that asks for one, in PEM; ``None`` for none.
    :ivar key_file: its key, in PEM; ``None`` where the key stands in ``cert_file``.
    """

    verify: bool = True
    server_name: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            check(lambda name: name and header_value(name) and not set(name) & set("/?#@[]"), "is not a host name or IP address")
        ),
    )
    ca_file: str | None = attrs.field(default=None, validator=_FILE)
    cert_file: str | None = attrs.field(default=None, validator=_FILE)
    key_file: str | None = attrs.field(default=None, validator=_FILE)

    def __attrs_post_init__(self) -> None:
        _no_key_alone(self.cert_file, self.key_file)
        if self.ca_file is not None and not self.verify:
            raise SettingsError("ca_file", self.ca_file, "is for verifying the server, which is turned off; give one of the two")


def _no_key_alone(cert_file: str | None, key_file: str | None) -> None:
    if key_file is not None and cert_file is None:
        raise SettingsError("key_file", key_file, "is the key of no certificate; give the certificate as well")
