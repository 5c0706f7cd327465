"""Proxies on the path to a server."""

from __future__ import annotations

import attrs

from rtunnel.settings.address import CONNECTABLE, Address
from rtunnel.settings.checks import SettingsError, check
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.tls import ClientTls

__all__ = ["PROXY_PORTS", "ProxySettings"]

PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080}
"""The kinds of proxies, with their default ports."""


@attrs.frozen(kw_only=True)
class ProxySettings:
    """One proxy.

    :ivar scheme: ``http`` (CONNECT), ``https`` (the same over TLS to the proxy), ``socks5``.
    :ivar address: where it listens.
    :ivar credentials: for a proxy that requires them, or ``None``.
    :ivar tls: for ``https``.
    """

    scheme: str = attrs.field(validator=check(PROXY_PORTS.__contains__, "must be http, https or socks5"))
    address: Address = attrs.field(validator=CONNECTABLE)
    credentials: Credentials | None = None
    tls: ClientTls = attrs.field(factory=ClientTls)

    def __attrs_post_init__(self) -> None:
        if self.credentials is not None and self.scheme != "socks5" and ":" in self.credentials.user:
            raise SettingsError("user", None, "must not contain a colon, where HTTP ends the user name")

    def __str__(self) -> str:
        """The proxy without its credentials, for logs."""
        return f"{self.scheme} proxy {self.address}"
