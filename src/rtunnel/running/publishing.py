"""Ports of a command in a network of its own, as ports of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.ops.start import PortRole, StartError, cannot_listen
from rtunnel.running.supervising import Supervising, SupervisorError
from rtunnel.settings import Address
from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.sockets import listen_tcp
from rtunnel.tunnel.splice import Splice, SpliceOutcome

__all__ = ["PublishedPorts"]

MAX_CONNECTIONS = 1000
INTERVAL = 0.5
"""Seconds between two looks at the ports of the command."""
PUBLISHED = PortRole("published port", "--publish")
LOOPBACKS = ("127.0.0.1", "::1")
"""Where the command may listen: its own choice."""


class PublishedPorts:
    """The ports and their connections; owned by the session.

    A port is open as long as the command listens there; those that were asked for are open all the time.

    :param supervising: connects within the network of the command.
    :param reactor: opens the ports.
    :param others: where something listens within the network that is not the command's.
    """

    _log = Logger()

    def __init__(self, supervising: Supervising, reactor: Any, others: Iterable[Address] = ()) -> None:
        self.supervising = supervising
        self.reactor = reactor
        self.connections: set[PublishedConnection] = set()
        self._room = FixedRoom("connections to published ports", reactor, MAX_CONNECTIONS)
        self._others = {other.port for other in others if other.host in (*LOOPBACKS, "localhost")}
        self._asked_for: set[int] = set()
        self._ports: dict[int, Any] = {}
        self._refused: set[int] = set()
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    def start(self, ports: Iterable[int]) -> None:
        """Open some ports, and others whenever the command listens there.

        :raises StartError: one of them cannot be opened.
        """
        self._asked_for |= set(ports)
        for port in self._asked_for:
            self._open(port)
        self._looking.start(INTERVAL, now=False)

    def _look(self) -> Deferred[Any]:
        return self.supervising.ports().addCallbacks(self._found, _gone)

    def _found(self, ports: Iterable[int]) -> None:
        """Open and close ports as the command does."""
        wanted = (set(ports) - self._others) | self._asked_for
        for port in self._ports.keys() - wanted:
            self._ports.pop(port).stopListening()
        self._refused &= wanted
        for port in sorted(wanted - self._ports.keys() - self._refused):
            try:
                self._open(port)
            except StartError as error:
                self._refused.add(port)
                self._log.warn("port {port} of the command is not published: {reason}", port=port, reason=str(error))
            else:
                self._log.info("port {port} of the command is published at 127.0.0.1:{port}", port=port)

    def _open(self, port: int) -> None:
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
        self._ports[port] = listening

    def close(self) -> Deferred[Any]:
        """Close the ports, and cut what is open; fires when the ports are free."""
        if self._looking.running:
            self._looking.stop()
        for connection in list(self.connections):
            connection.abort()
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports.values()], consumeErrors=True)


def _gone(failure: Failure) -> None:
    """The supervisor has ended, and all ports are about to be closed."""
    failure.trap(SupervisorError)


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
            # to the types of Twisted only its own Protocol is one
            far: Any = self._splice.far
            factory = Factory.forProtocol(lambda: far)
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
