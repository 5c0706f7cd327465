"""Endpoints that open and accept WebSockets, with autobahn doing the handshake, control frames and the closing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest, ConnectionResponse
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.websocket import EMPTY_MESSAGE, HALF_CLOSE, MAX_MESSAGE
from rtunnel.transport.websocket_frames import ByteStream

__all__ = ["UpgradeRefused", "WebSocketClientEndpoint", "WebSocketServerEndpoint"]

PLAIN_ONLY = b"HTTP/1.1 400 this port does not speak TLS\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a client that speaks TLS to a port without."""


class UpgradeRefused(ConnectionClosed):
    """The other end did not become a WebSocket.

    :ivar status: the HTTP status it answered, or None when it answered something else or closed the connection.
    :ivar reason: the same in words.
    """

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class _ServerProtocol(ByteStream, WebSocketServerProtocol):  # type: ignore[misc]
    """One WebSocket accepted by a :class:`WebSocketServerEndpoint`."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.begin_handshake(self.factory.handshake_timeout)

    def onConnect(self, request: ConnectionRequest) -> tuple[None, dict[str, str]] | None:
        """Accept the upgrade at our path only; any origin, since no browser has credentials here."""
        if request.path != self.factory.stream_path:
            raise ConnectionDeny(404, "no tunnel listens at this path")
        if _knows_half_close(request.headers):
            self.half_closes = True
            return None, {HALF_CLOSE: EMPTY_MESSAGE}
        return None

    def build_upper(self) -> Any:
        return self.factory.upper.buildProtocol(self.transport.getPeer())

    def met_tls(self) -> None:
        self.transport.write(PLAIN_ONLY)
        self.transport.loseConnection()


class _ClientProtocol(ByteStream, WebSocketClientProtocol):  # type: ignore[misc]
    """The one WebSocket of a :class:`WebSocketClientEndpoint`'s connect."""

    _masked = True

    def onConnect(self, response: ConnectionResponse) -> None:
        """The upgrade was accepted; see what else the server knows."""
        self.half_closes = _knows_half_close(response.headers)

    def connectionMade(self) -> None:
        super().connectionMade()
        self.begin_handshake(self.factory.handshake_timeout)

    def build_upper(self) -> Any:
        return self.factory.upper.buildProtocol(self.transport.getPeer())

    def met_tls(self) -> None:
        self.http_status_line = "TLS"
        self.wasNotCleanReason = "the server speaks TLS here; use wss:// (tunnel+wss://)"
        self.transport.abortConnection()

    def processHandshake(self) -> None:
        """Read the answer; autobahn's own log trips over one that is not UTF-8."""
        try:
            super().processHandshake()
        except UnicodeDecodeError:
            self.http_status_line = self.data.partition(b"\r\n")[0].decode("latin-1")
            self.failHandshake("the answer is not UTF-8")

    def opened(self, upper: Any) -> None:
        waiting, self.factory.waiting = self.factory.waiting, None
        if waiting is not None:
            waiting.callback(upper)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        waiting, self.factory.waiting = self.factory.waiting, None
        if waiting is not None:
            waiting.errback(Failure(self._refusal(reason)))

    def _refusal(self, reason: Failure) -> UpgradeRefused:
        """Say why the upgrade failed, from what the other end answered."""
        words = (getattr(self, "http_status_line", None) or "").split(None, 2)
        if len(words) >= 2 and words[0].startswith("HTTP/") and words[1].isdigit() and words[1] != "101":
            return UpgradeRefused(int(words[1]), f"the upgrade was answered with {' '.join(words[1:])[:80]}")
        if words:
            return UpgradeRefused(None, f"the upgrade failed: {self.wasNotCleanReason}")
        if reason.type not in (ConnectionDone, ConnectionLost):
            # what is beneath knows better (TLS)
            return UpgradeRefused(None, reason.getErrorMessage())
        return UpgradeRefused(None, "the connection closed before the upgrade was answered")


def _knows_half_close(headers: Mapping[str, str]) -> bool:
    """Whether the other end said so; autobahn has the names of headers in lower case."""
    return headers.get(HALF_CLOSE.lower()) == EMPTY_MESSAGE


def _set_options(factory: Any) -> None:
    """All of autobahn's limits and timers, in one place: its timers follow a global reactor, so none of them is used."""
    common = {
        "autoPingInterval": 0,
        "openHandshakeTimeout": 0,
        "closeHandshakeTimeout": 0,
        "maxFramePayloadSize": MAX_MESSAGE * 16,
        "maxMessagePayloadSize": MAX_MESSAGE * 16,
        "failByDrop": False,
        "echoCloseCodeReason": False,
        "utf8validateIncoming": False,
        "tcpNoDelay": True,
    }
    if factory.isServer:
        factory.setProtocolOptions(webStatus=False, versions=[13], allowedOrigins=["*"], serveFlashSocketPolicy=False, **common)
    else:
        factory.setProtocolOptions(serverConnectionDropTimeout=0, **common)


@implementer(IStreamServerEndpoint)
class WebSocketServerEndpoint:
    """Listens for WebSockets at one path over another endpoint.

    :param under: where the connections come from.
    :param reactor: for the timers.
    :param path: the path of the upgrade; any other is answered with 404.
    :param handshake_timeout: seconds that the upgrade may take.
    """

    def __init__(
        self, under: IStreamServerEndpoint, *, reactor: IReactorTime, path: str = "/ws", handshake_timeout: float = 15.0
    ) -> None:
        self._under = under
        self._reactor = reactor
        self._path = path
        self._handshake_timeout = handshake_timeout

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen; each accepted WebSocket gets a protocol of the factory."""
        factory = WebSocketServerFactory(reactor=self._reactor)
        factory.noisy = False
        factory.protocol = _ServerProtocol
        factory.server = "rtunnel"
        factory.upper = protocolFactory
        factory.stream_path = self._path
        factory.handshake_timeout = self._handshake_timeout
        _set_options(factory)
        return cast("Deferred[Any]", self._under.listen(factory))


@implementer(IStreamClientEndpoint)
class WebSocketClientEndpoint:
    """Opens a WebSocket over another endpoint; ``connect`` fires when the peer has accepted the upgrade, not before.

    :param under: how to reach the server.
    :param reactor: for the timers.
    :param host: Host of the upgrade request (the Ingress finds its rule by it).
    :param port: port in the Host.
    :param path: path of the upgrade request.
    :param handshake_timeout: seconds that the upgrade may take.
    """

    def __init__(
        self,
        under: IStreamClientEndpoint,
        *,
        reactor: IReactorTime,
        host: str,
        port: int,
        path: str = "/ws",
        handshake_timeout: float = 15.0,
    ) -> None:
        self._under = under
        self._reactor = reactor
        self._host = f"[{host}]" if ":" in host else host
        self._url = f"ws://{self._host}:{port}{path}"
        self._handshake_timeout = handshake_timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect and upgrade.

        The Deferred fails with what the endpoint beneath failed with, or with :class:`UpgradeRefused`.
        """
        factory = WebSocketClientFactory(self._url, reactor=self._reactor, useragent="rtunnel", headers={HALF_CLOSE: EMPTY_MESSAGE})
        factory.noisy = False
        factory.protocol = _ClientProtocol
        # autobahn leaves out the brackets of an IPv6 address
        factory.host = self._host
        factory.upper = protocolFactory
        factory.handshake_timeout = self._handshake_timeout
        _set_options(factory)
        below: list[Any] = []

        def cancel(_: Deferred[IProtocol]) -> None:
            factory.waiting = None
            connecting.cancel()
            if below:
                below[0].transport.abortConnection()

        opened: Deferred[IProtocol] = Deferred(cancel)
        factory.waiting = opened

        def failed(failure: Failure) -> None:
            waiting, factory.waiting = factory.waiting, None
            if waiting is not None:
                waiting.errback(failure)

        connecting = self._under.connect(factory)
        connecting.addCallbacks(below.append, failed)
        return opened
