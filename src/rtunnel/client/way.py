"""The way from a client to its server: sockets, TLS and WebSocket, one upon the other, as the settings say."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from rtunnel.ops.start import StartError
from rtunnel.settings import SECURE, WEBSOCKETS, ConnectorSettings
from rtunnel.transport.certificates import CertificateFileError, Renewed, client_context
from rtunnel.transport.sockets import SocketClientEndpoint
from rtunnel.transport.tls_endpoints import TlsClientEndpoint
from rtunnel.transport.websocket import WebSocketClientEndpoint

__all__ = ["Way"]


class Way:
    """How a server is reached.

    :param settings: where the server is and what it speaks.
    :ivar endpoint: connects; fires when the server can be talked to.
    """

    endpoint: IStreamClientEndpoint

    def __init__(self, settings: ConnectorSettings, reactor: Any) -> None:
        self._settings = settings
        self._renewed: Renewed | None = None
        self._log = Logger()
        server = settings.server
        self.endpoint = SocketClientEndpoint(reactor, server.host, server.port, settings.connect_timeout)
        if settings.transport in SECURE:
            self.endpoint = self._secured(self.endpoint, reactor)
        if settings.transport in WEBSOCKETS:
            self.endpoint = WebSocketClientEndpoint(
                self.endpoint,
                reactor=reactor,
                host=settings.host or server.host,
                port=server.port,
                path=settings.path,
                handshake_timeout=settings.handshake_timeout,
            )

    def _secured(self, under: IStreamClientEndpoint, reactor: Any) -> IStreamClientEndpoint:
        tls = self._settings.tls
        make = partial(client_context, verify=tls.verify, ca_file=tls.ca_file, cert_file=tls.cert_file, key_file=tls.key_file)
        self._renewed = Renewed(
            make, (tls.ca_file, tls.cert_file, tls.key_file), what="the client's certificate or CA", seconds=reactor.seconds
        )
        return TlsClientEndpoint(
            under,
            self._renewed.current,
            name=tls.server_name or self._settings.server.host,
            reactor=reactor,
            handshake_timeout=self._settings.handshake_timeout,
        )

    def check(self) -> None:
        """Before the first connect: read what has to be read, warn of what is not safe.

        :raises StartError: a file cannot be used.
        """
        if self._renewed is None:
            return
        try:
            self._renewed.load()
        except CertificateFileError as error:
            raise StartError(str(error)) from error
        if not self._settings.tls.verify:
            self._log.warn(
                "the certificate of {server} is not verified (--no-verify, secure=false): "
                "anybody on the way can read and change everything; verify it with --ca-file (caFile)",
                server=str(self._settings.server),
            )
