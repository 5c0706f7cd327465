"""autobahn's protocols, as a :class:`~rtunnel.transport.websocket.WebSocketConnection` uses them: all that we know of autobahn.

They live on the same connection as their owner, who gives them the bytes that they are to read; what they write goes to the
connection itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from autobahn.exception import Disconnected
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest, ConnectionResponse
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogPublisher

from rtunnel.transport.upgrade_faults import NO_TUNNEL
from rtunnel.transport.websocket import CLIENT_KEY, EMPTY_MESSAGE, HALF_CLOSE, WebSocketConnection
from rtunnel.wire.websocket import MAX_MESSAGE

__all__ = ["client_speakers", "server_speakers"]

FORBIDDEN_TEXT = 3003
"""The close code for a text message: autobahn's ``sendClose`` takes none of the RFC's but 1000."""


_FIELDS = ("x-forwarded-for", "forwarded", CLIENT_KEY.lower())
"""The fields of a request that are kept: whom a proxy forwards for, and the client's key."""
_SILENT = Logger(observer=LogPublisher())


class _Callbacks:
    """What autobahn calls, mixed in before its class."""

    connection: WebSocketConnection

    def onOpen(self) -> None:
        self.connection.on_open()

    def onMessageBegin(self, isBinary: bool) -> None:
        """Refuse a text message at its header: what it holds is not worth a buffer."""
        super().onMessageBegin(isBinary)  # type: ignore[misc]
        if not isBinary:
            self.sendClose(FORBIDDEN_TEXT, "only binary messages are supported")  # type: ignore[attr-defined]

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if isBinary:
            self.connection.on_message(payload)

    def send(self, payload: bytes) -> None:
        """Send a binary message, unless the closing has begun."""
        with suppress(Disconnected):
            self.sendMessage(payload, isBinary=True)  # type: ignore[attr-defined]

    def onPong(self, payload: bytes) -> None:
        self.connection.on_pong()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.connection.on_close(wasClean)

    def failHandshake(self, reason: str, *arguments: Any) -> None:
        """There is no upgrade. The endpoint tells why, so autobahn's own warning would be a second line about it."""
        self.connection.fault = reason
        self.log = _SILENT
        super().failHandshake(reason, *arguments)  # type: ignore[misc]

    def _fail_connection(self, code: int, reason: str = "") -> None:
        """A frame is invalid. The end of the connection tells why, so autobahn's own warnings would be further lines about it."""
        self.connection.fault = self.connection.fault or reason
        self.log = _SILENT
        super()._fail_connection(code, reason)  # type: ignore[misc]

    def sendCloseFrame(self, *arguments: Any, **keywords: Any) -> None:
        self.connection.on_closing()
        super().sendCloseFrame(*arguments, **keywords)  # type: ignore[misc]


class _ServerSpeaker(_Callbacks, WebSocketServerProtocol):  # type: ignore[misc]
    """autobahn's part of a WebSocket that a client opens."""

    def onConnect(self, request: ConnectionRequest) -> tuple[None, dict[str, str]] | None:
        """Accept the upgrade at our path only; any origin, since no browser has credentials here."""
        if request.path != self.factory.stream_path:
            raise ConnectionDeny(404, NO_TUNNEL)
        self.connection.fields = {name.encode(): request.headers[name].encode() for name in _FIELDS if name in request.headers}
        if _knows_half_close(request.headers):
            self.connection.peer_half_closes = True
            return None, {HALF_CLOSE: EMPTY_MESSAGE}
        return None


class _ClientSpeaker(_Callbacks, WebSocketClientProtocol):  # type: ignore[misc]
    """autobahn's part of a WebSocket that we open."""

    def onConnect(self, response: ConnectionResponse) -> None:
        """The upgrade was accepted; see what else the server knows."""
        self.connection.peer_half_closes = _knows_half_close(response.headers)


def _knows_half_close(headers: Mapping[str, str]) -> bool:
    """Whether the other end said so; autobahn has the names of headers in lower case."""
    return headers.get(HALF_CLOSE.lower()) == EMPTY_MESSAGE


def server_speakers(path: str, reactor: IReactorTime) -> Any:
    """Autobahn's factory for a server.

    :param path: of the upgrade; any other is answered with 404.
    """
    factory = WebSocketServerFactory(reactor=reactor)
    factory.protocol = _ServerSpeaker
    factory.server = "rtunnel"
    factory.stream_path = path
    factory.setProtocolOptions(webStatus=False, versions=[13], allowedOrigins=["*"], serveFlashSocketPolicy=False, **_OPTIONS)
    return factory


def client_speakers(host: str, port: int, path: str, reactor: IReactorTime) -> Any:
    """Autobahn's factory for a client.

    :param host: for the request, with brackets if it is an IPv6 address.
    """
    headers = {HALF_CLOSE: EMPTY_MESSAGE, CLIENT_KEY: secrets.token_hex(16)}
    factory = WebSocketClientFactory(f"ws://{host}:{port}{path}", reactor=reactor, useragent="rtunnel", headers=headers)
    factory.protocol = _ClientSpeaker
    # autobahn leaves out the brackets
    factory.host = host
    factory.setProtocolOptions(serverConnectionDropTimeout=0, **_OPTIONS)
    return factory


_OPTIONS = {
    # its timers follow a global reactor, so none of them is used
    "autoPingInterval": 0,
    "openHandshakeTimeout": 0,
    "closeHandshakeTimeout": 0,
    "maxFramePayloadSize": MAX_MESSAGE,
    "maxMessagePayloadSize": MAX_MESSAGE,
    "failByDrop": False,
    "echoCloseCodeReason": False,
    "utf8validateIncoming": False,
}
