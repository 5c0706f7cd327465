"""Endpoints that open and accept WebSockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.reasons import reason_of
from rtunnel.transport.upgrade_faults import (
    CLOSED,
    PLAIN_ONLY,
    TLS_HERE,
    Asked,
    describe_answer,
    describe_failure,
    describe_greeting,
    describe_timeout,
)
from rtunnel.transport.websocket import MAX_CONTROLS, WebSocketConnection
from rtunnel.transport.websocket_autobahn import client_speakers, server_speakers

__all__ = ["UpgradeRefused", "WebSocketClientEndpoint", "WebSocketServerEndpoint"]

PLAIN_ANSWER = f"HTTP/1.1 400 {PLAIN_ONLY}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
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


# -- server


class _ServerConnection(WebSocketConnection):
    """A connection accepted by a :class:`WebSocketServerEndpoint`."""

    def __init__(self, factory: _ServerFactory, address: Any) -> None:
        endpoint = factory.endpoint
        super().__init__(
            factory.speakers.buildProtocol(address),
            endpoint.reactor,
            client=False,
            seconds=endpoint.handshake_timeout,
            max_controls=endpoint.max_controls,
        )
        self._factory = factory
        self._address = address

    def upgraded(self) -> None:
        self.protocol = self._factory.upper.buildProtocol(self._address)
        if self.protocol is None:
            self.loseConnection()
        else:
            self.protocol.makeConnection(self)

    def upgrade_failed(self, reason: Failure) -> None:
        """The client was told; a connection without a request (a port probe) is not worth logging."""
        if self.fault:
            self._factory.endpoint.refused(self._address, f"not upgraded to a WebSocket: {self.fault}")

    def received_tls(self) -> None:
        self.transport.write(PLAIN_ANSWER)
        self.transport.loseConnection()


class _ServerFactory(Factory):
    noisy = False

    def __init__(self, endpoint: WebSocketServerEndpoint, upper: IProtocolFactory) -> None:
        self.endpoint = endpoint
        self.upper = upper
        self.speakers = server_speakers(endpoint.path, endpoint.reactor)

    def buildProtocol(self, addr: Any) -> _ServerConnection:
        return _ServerConnection(self, addr)


@implementer(IStreamServerEndpoint)
class WebSocketServerEndpoint:
    """Accepts WebSockets at one path over another endpoint; a protocol sees its connection when the upgrade is done.

    :param under: where the connections come from.
    :param reactor: for the time limits.
    :param path: the path of the upgrade; any other is answered with 404.
    :param handshake_timeout: seconds that the upgrade may take.
    :param max_controls: see :class:`~rtunnel.transport.websocket.WebSocketConnection`.
    :param refused: called with the peer's address and the reason, when a request was no upgrade.
    """

    def __init__(
        self,
        under: IStreamServerEndpoint,
        *,
        reactor: IReactorTime,
        path: str = "/ws",
        handshake_timeout: float = 15.0,
        max_controls: int = MAX_CONTROLS,
        refused: Callable[[Any, str], None] = lambda peer, reason: None,
    ) -> None:
        self._under = under
        self.refused = refused
        self.reactor = reactor
        self.path = path
        self.handshake_timeout = handshake_timeout
        self.max_controls = max_controls

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen."""
        return cast("Deferred[Any]", self._under.listen(_ServerFactory(self, protocolFactory)))


# -- client


class _ClientConnection(WebSocketConnection):
    """The one connection of a :class:`WebSocketClientEndpoint`'s connect."""

    def __init__(self, factory: _ClientFactory, address: Any) -> None:
        endpoint = factory.endpoint
        super().__init__(
            endpoint.speakers.buildProtocol(address),
            endpoint.reactor,
            client=True,
            seconds=endpoint.handshake_timeout,
            max_controls=endpoint.max_controls,
        )
        self._factory = factory
        self._address = address
        self._given_up = ""
        """Why this end has given up, where no answer tells."""

    def upgraded(self) -> None:
        waiting, self._factory.waiting = self._factory.waiting, None
        if waiting is None:
            self.abortConnection()
            return
        try:
            self.protocol = self._factory.upper.buildProtocol(self._address)
            if self.protocol is None:
                self.loseConnection()
                waiting.errback(Failure(ConnectionClosed("no protocol")))
                return
            self.protocol.makeConnection(self)
        except Exception as error:
            # who waits tries again
            waiting.errback(Failure(error))
            raise
        waiting.callback(self.protocol)

    def upgrade_failed(self, reason: Failure) -> None:
        waiting, self._factory.waiting = self._factory.waiting, None
        if waiting is not None:
            waiting.errback(Failure(self._refusal(reason)))

    def received_tls(self) -> None:
        self._given_up = TLS_HERE
        self.transport.abortConnection()

    def _expired(self) -> None:
        self._given_up = describe_timeout(self._factory.endpoint.handshake_timeout)
        super()._expired()

    def _refusal(self, reason: Failure) -> UpgradeRefused:
        """Say why the upgrade failed, from what the other end answered."""
        status_line, *fields = self.head.decode("latin-1").split("\r\n")
        version, status, phrase = [*status_line.split(None, 2), "", "", ""][:3]
        if version.startswith("HTTP/") and status.isdigit() and status != "101":
            location = next((field[9:].strip() for field in fields if field[:9].lower() == "location:"), "")
            asked = self._factory.endpoint.asked
            said = describe_answer(asked, int(status), phrase, location=location, body=self.rest)
            return UpgradeRefused(int(status), said)
        if self.fault:
            return UpgradeRefused(None, describe_failure(self.fault))
        if self._head and not self.head:
            return UpgradeRefused(None, describe_greeting(self._head))
        return UpgradeRefused(None, self._given_up or (CLOSED if reason.type is ConnectionDone else reason_of(reason)))


class _ClientFactory(Factory):
    noisy = False

    def __init__(self, endpoint: WebSocketClientEndpoint, upper: IProtocolFactory, waiting: Deferred[IProtocol]) -> None:
        self.endpoint = endpoint
        self.upper = upper
        self.waiting: Deferred[IProtocol] | None = waiting

    def buildProtocol(self, addr: Any) -> _ClientConnection:
        return _ClientConnection(self, addr)


@implementer(IStreamClientEndpoint)
class WebSocketClientEndpoint:
    """Opens a WebSocket over another endpoint; ``connect`` fires when the peer has accepted the upgrade, not before.

    :param under: how to reach the server.
    :param reactor: for the time limits.
    :param host: Host of the upgrade request (the Ingress finds its rule by it).
    :param port: port in the Host.
    :param path: path of the upgrade request.
    :param handshake_timeout: seconds that the upgrade may take.
    :param max_controls: see :class:`~rtunnel.transport.websocket.WebSocketConnection`.
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
        max_controls: int = MAX_CONTROLS,
    ) -> None:
        self._under = under
        self.reactor = reactor
        self.handshake_timeout = handshake_timeout
        self.max_controls = max_controls
        self.asked = Asked(host, path)
        self.speakers = client_speakers(f"[{host}]" if ":" in host else host, port, path, reactor)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect and upgrade.

        The Deferred fails with what the endpoint beneath failed with, or with :class:`UpgradeRefused`.
        """
        below: list[Any] = []

        def cancel(_: Deferred[IProtocol]) -> None:
            factory.waiting = None
            connecting.cancel()
            if below:
                below[0].abortConnection()

        def failed(failure: Failure) -> None:
            waiting, factory.waiting = factory.waiting, None
            if waiting is not None:
                waiting.errback(failure)

        opened: Deferred[IProtocol] = Deferred(cancel)
        factory = _ClientFactory(self, protocolFactory, opened)
        connecting = self._under.connect(factory)
        connecting.addCallbacks(below.append, failed)
        return opened
