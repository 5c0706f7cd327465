"""Proxies on the way to a server."""

from __future__ import annotations

import attrs

from rtunnel.settings.address import CONNECTABLE, Address
from rtunnel.settings.checks import SettingsError, check
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.tls import ClientTls

__all__ = ["PROXY_PORTS", "ProxySettings"]

PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080}
"""The kinds of proxies, and the port of each where none is said."""


@attrs.frozen(kw_only=True)
class ProxySettings:
    """One proxy.

    :ivar scheme: ``http`` (CONNECT), ``https`` (the same over TLS to the proxy), ``socks5``.
    :ivar address: where it listens.
    :ivar credentials: for a proxy that asks, or ``None``.
    :ivar tls: of ``https``.
    """

    scheme: str = attrs.field(validator=check(PROXY_PORTS.__contains__, "must be http, https or socks5"))
    address: Address = attrs.field(validator=CONNECTABLE)
    credentials: Credentials | None = None
    tls: ClientTls = attrs.field(factory=ClientTls)

    def __attrs_post_init__(self) -> None:
        if self.credentials is not None and self.scheme != "socks5" and ":" in self.credentials.user:
            raise SettingsError("user", None, "must not hold a colon: HTTP ends the user name there")

    def __str__(self) -> str:
        """As it may be shown: without the credentials."""
        return f"{self.scheme} proxy {self.address}"
