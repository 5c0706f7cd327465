"""How a client connects to its server: sockets, proxies, TLS and WebSocket, layered as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from rtunnel.ops.file_watch import ReloadedValue
from rtunnel.ops.start import StartError
from rtunnel.settings import SECURE, WEBSOCKETS, Address, ClientTls, ProxySettings, ServerConnectionSettings
from rtunnel.transport.certificates import CertificateFileError, client_context
from rtunnel.transport.connecting import SocketClientEndpoint
from rtunnel.transport.proxies import ProxiedClientEndpoint
from rtunnel.transport.tls_creators import ClientConnectionCreator
from rtunnel.transport.tls_endpoints import TlsClientEndpoint
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint
from rtunnel.wire.proxy import HttpConnect, Socks5

__all__ = ["ServerDialer"]


class ServerDialer:
    """How a server is reached.

    :param settings: where the server is and what it speaks.
    :param address: the one of its addresses that is meant; by default any.
    :ivar endpoint: connects; fires when the server can be talked to.
    """

    endpoint: IStreamClientEndpoint
    _log = Logger()

    def __init__(self, settings: ServerConnectionSettings, reactor: Any, address: str | None = None) -> None:
        self._settings = settings
        self._contexts: list[ReloadedValue[SSL.Context]] = []
        self._reactor = reactor
        server = settings.server
        self.endpoint = self._through(settings.proxies, server if address is None else Address(address, server.port))
        if settings.transport in SECURE:
            self.endpoint = self._secured(self.endpoint, settings.tls, server)
        if settings.transport in WEBSOCKETS:
            self.endpoint = WebSocketClientEndpoint(
                self.endpoint,
                reactor=reactor,
                host=settings.host or server.host,
                port=server.port,
                path=settings.path,
                handshake_timeout=settings.handshake_timeout,
                max_controls=settings.mux.control_frames,
            )

    def _through(self, proxies: Sequence[ProxySettings], server: Address) -> IStreamClientEndpoint:
        """The endpoint of a server behind proxies: each is reached through the one before it."""
        settings, reactor = self._settings, self._reactor
        hops = [*(proxy.address for proxy in proxies), server]
        endpoint: IStreamClientEndpoint = SocketClientEndpoint(reactor, hops[0].host, hops[0].port, settings.connect_timeout)
        for proxy, beyond in zip(proxies, hops[1:], strict=True):
            if proxy.scheme == "https":
                endpoint = self._secured(endpoint, proxy.tls, proxy.address)
            endpoint = ProxiedClientEndpoint(
                endpoint,
                partial(
                    Socks5 if proxy.scheme == "socks5" else HttpConnect,
                    beyond.host,
                    beyond.port,
                    (proxy.credentials.user, proxy.credentials.password) if proxy.credentials is not None else None,
                ),
                name=str(proxy),
                reactor=reactor,
                timeout=settings.handshake_timeout,
            )
        return endpoint

    def _secured(self, under: IStreamClientEndpoint, tls: ClientTls, to: Address) -> IStreamClientEndpoint:
        contexts = ReloadedValue(
            partial(client_context, verify=tls.verify, ca_file=tls.ca_file, cert_file=tls.cert_file, key_file=tls.key_file),
            [file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file is not None],
            unusable=CertificateFileError,
            what=f"the client's certificate or CA for {to}",
            reactor=self._reactor,
        )
        self._contexts.append(contexts)
        return TlsClientEndpoint(
            under,
            ClientConnectionCreator(contexts.current, tls.server_name or to.host),
            reactor=self._reactor,
            handshake_timeout=self._settings.handshake_timeout,
        )

    def check(self) -> None:
        """Before the first connect: read the files, log the proxies, warn of what is not secure.

        :raises StartError: a file cannot be used.
        """
        try:
            for contexts in self._contexts:
                contexts.load()
        except CertificateFileError as error:
            raise StartError(str(error)) from error
        settings = self._settings
        if settings.proxies:
            self._log.info(
                "{server} is reached through {proxies}",
                server=str(settings.server),
                proxies=", then ".join(map(str, settings.proxies)),
            )
        self._warn_of(settings.server, settings.transport in SECURE and not settings.tls.verify)
        for proxy in settings.proxies:
            self._warn_of(proxy.address, proxy.scheme == "https" and not proxy.tls.verify)

    def _warn_of(self, to: Address, unverified: bool) -> None:
        if unverified:
            self._log.warn(
                "the certificate of {to} is not verified (--no-verify, secure=false): "
                "the connection can be intercepted and modified; verify it with --ca-file (caFile)",
                to=str(to),
            )
