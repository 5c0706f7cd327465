"""Ports of a command in a network of its own, as ports of this machine."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.ops.start import PortRole, cannot_listen
from rtunnel.running.supervising import Supervising, SupervisorError
from rtunnel.settings import Address
from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.sockets import listen_tcp
from rtunnel.tunnel.splice import Splice, SpliceOutcome

__all__ = ["PublishedPorts"]

MAX_CONNECTIONS = 1000
PUBLISHED = PortRole("published port", "--publish")
LOOPBACKS = ("127.0.0.1", "::1")
"""Where the command may listen: its own choice."""


class PublishedPorts:
    """The ports and their connections; owned by the session.

    :param supervising: connects within the network of the command.
    """

    def __init__(self, supervising: Supervising, reactor: Any) -> None:
        self.supervising = supervising
        self.reactor = reactor
        self.connections: set[PublishedConnection] = set()
        self._room = FixedRoom("connections to published ports", reactor, MAX_CONNECTIONS)
        self._ports: list[Any] = []

    def open(self, port: int) -> None:
        """Open a port of loopback that leads to the same one of the command.

        :raises StartError: it cannot be opened.
        """
        listen = Address(LOOPBACKS[0], port)
        factory = Factory.forProtocol(lambda: PublishedConnection(self, port))
        factory.noisy = False
        try:
            listening: Any = listen_tcp(self.reactor, listen.host, port, factory)
        except (CannotListenError, OSError) as error:
            raise cannot_listen(PUBLISHED, listen, error) from error
        AcceptingPort(listening, self.reactor).use(self._room)
        self._ports.append(listening)

    def close(self) -> Deferred[Any]:
        """Close the ports, and cut what is open; fires when the ports are free."""
        for connection in list(self.connections):
            connection.abort()
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True)


@implementer(IHalfCloseableProtocol)
class PublishedConnection(Protocol):
    """A connection, until it is joined with one within the network of the command."""

    transport: Any

    def __init__(self, owner: PublishedPorts, port: int) -> None:
        self._owner = owner
        self._port = port
        self._splice = Splice(self._ended)
        self._gone = False

    def connectionMade(self) -> None:
        self._owner.connections.add(self)
        self.transport.pauseProducing()
        self._connect(*LOOPBACKS)

    def _connect(self, host: str, *others: str) -> None:
        connecting = self._owner.supervising.connect(host, self._port)
        connecting.addCallbacks(self._connected, self._failed, errbackArgs=others)

    def _connected(self, descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as connection:
            if self._gone:
                return
            connection.setblocking(False)
            factory = Factory.forProtocol(lambda: self._splice.far)
            factory.noisy = False
            self._owner.reactor.adoptStreamConnection(connection.fileno(), connection.family, factory)
        self._splice.near.attach(self.transport)
        self._splice.join()
        self.transport.resumeProducing()

    def _failed(self, failure: Failure, *others: str) -> None:
        failure.trap(SupervisorError)
        if others:
            self._connect(*others)
        else:
            # as where nothing listens
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """It ended its direction before it was joined."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._owner.connections.discard(self)

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        self._owner.connections.discard(self)

    def abort(self) -> None:
        """Cut it."""
        if self._splice.near.transport is not None:
            self._splice.abort()
        else:
            self.transport.abortConnection()
