"""TLS between client and server. The settings hold names of files; the files are read when they are needed."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import SettingsError, check, header_value

__all__ = ["ClientTls", "ServerTls"]

_FILE = attrs.validators.optional(check(bool, "needs the name of a file"))


@attrs.frozen(kw_only=True)
class ServerTls:
    """The certificate of a listener, and whether it requires one of clients.

    :ivar cert_file: its certificate and the chain up to the CA, in PEM.
    :ivar key_file: the key of the certificate, in PEM; ``None`` if ``cert_file`` holds it as well.
    :ivar ca_file: the CA of the clients, in PEM: each client must present a certificate that it issued. ``None`` requires none.
    :ivar self_signed: generate a certificate in memory at each start, which clients cannot verify.
    """

    cert_file: str | None = attrs.field(default=None, validator=_FILE)
    key_file: str | None = attrs.field(default=None, validator=_FILE)
    ca_file: str | None = attrs.field(default=None, validator=_FILE)
    self_signed: bool = False

    def __attrs_post_init__(self) -> None:
        _no_key_alone(self.cert_file, self.key_file)
        if self.self_signed and self.cert_file is not None:
            raise SettingsError("self_signed", None, "conflicts with a certificate file; give only one of them")


@attrs.frozen(kw_only=True)
class ClientTls:
    """Which servers a client trusts, and its certificate.

    :ivar verify: whether the server's certificate is verified; without it, the connection can be intercepted and modified.
    :ivar server_name: the name or IP address that the certificate must be for; ``None`` for the host of the server's address.
    :ivar ca_file: the CA of the server, in PEM; ``None`` for the CAs of the system.
    :ivar cert_file: a certificate for a server that requires one, in PEM; ``None`` for none.
    :ivar key_file: its key, in PEM; ``None`` if ``cert_file`` holds it as well.
    """

    verify: bool = True
    server_name: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            check(lambda name: name and header_value(name) and not set(name) & set("/?#@[]"), "not a host name or IP address")
        ),
    )
    ca_file: str | None = attrs.field(default=None, validator=_FILE)
    cert_file: str | None = attrs.field(default=None, validator=_FILE)
    key_file: str | None = attrs.field(default=None, validator=_FILE)

    def __attrs_post_init__(self) -> None:
        _no_key_alone(self.cert_file, self.key_file)
        if self.ca_file is not None and not self.verify:
            raise SettingsError("ca_file", self.ca_file, "is for verification, which is switched off; give only one of them")


def _no_key_alone(cert_file: str | None, key_file: str | None) -> None:
    if key_file is not None and cert_file is None:
        raise SettingsError("key_file", key_file, "a key without its certificate; give the certificate as well")
