"""How a server reaches the others that share its tunnels, and is reached by them."""

from __future__ import annotations

import os

import attrs

from rtunnel.settings.address import Address
from rtunnel.settings.checks import SettingsError

__all__ = ["PeerSettings"]


def _absolute(path: str | None) -> str | None:
    """A file that is read later, when twistd may have changed the working directory."""
    return None if path is None else os.path.abspath(path)


@attrs.frozen(kw_only=True)
class PeerSettings:
    """Where peers connect, and how they prove that they are some.

    :ivar listen: where this server listens for peers; port 0 is any free one. ``None`` for nowhere: then no peer can reach the
        connectors of this server, though it can reach those of others.
    :ivar address: what the others are told to connect to; ``None`` for the one where it listens.
    :ivar secret_file: a file with the secret that all peers have, and nobody else; ``None`` where certificates prove them.
    :ivar cert_file: the certificate that this server shows to peers, in PEM; with it, peer links are TLS.
    :ivar key_file: its key, in PEM; ``None`` if ``cert_file`` holds it as well.
    :ivar ca_file: the CA of the peers, in PEM: whoever has a certificate of it is a peer, whatever name it is for.
    """

    listen: Address | None = None
    address: Address | None = None
    secret_file: str | None = attrs.field(default=None, converter=_absolute)
    cert_file: str | None = attrs.field(default=None, converter=_absolute)
    key_file: str | None = attrs.field(default=None, converter=_absolute)
    ca_file: str | None = attrs.field(default=None, converter=_absolute)

    def __attrs_post_init__(self) -> None:
        if (self.cert_file is None) != (self.ca_file is None):
            missing = "peer.ca_file" if self.ca_file is None else "peer.cert_file"
            raise SettingsError(missing, None, "missing; TLS between peers needs a certificate and the CA of all of them")
        if self.key_file is not None and self.cert_file is None:
            raise SettingsError("peer.key_file", self.key_file, "a key without its certificate; give the certificate as well")
        if self.listen is not None and not (self.secret_file or self.ca_file):
            raise SettingsError(
                "peer.secret_file", None, "missing; peers prove themselves with --peer-secret-file FILE or with certificates"
            )
        if self.address is not None and self.listen is None:
            raise SettingsError("peer.listen", None, "missing; nothing would listen at the address that others are told")
        if self.listen is not None and self.address is None and not self.listen.host:
            raise SettingsError(
                "peer.address",
                None,
                "missing; it listens at every address, so say with --peer-address at which one the others reach it",
            )
