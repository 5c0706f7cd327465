"""How a port accepts: as many as its gate allows."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from rtunnel.transport.accepting import ACCEPTS, AcceptingPort
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.rebindable_port import RebindablePort
from tests.support.logs import logged


class PlayedGate:
    """Lets in as many as the test says, from wherever; is its own place."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refusing = False
        self.hosts: list[str] = []
        self.left = 0
        self.taken: list[Any] = []
        self.ports: list[AcceptingPort] = []
        self.errors: list[OSError] = []

    def add(self, port: AcceptingPort) -> None:
        self.ports.append(port)

    def remove(self, port: AcceptingPort) -> None:
        self.ports.remove(port)

    def enter(self, host: str) -> PlayedGate | None:
        self.hosts.append(host)
        if self.refusing:
            return None
        self.room -= 1
        if not self.room:
            self.ports[0].pause()
        return self

    def taken_by(self, transport: Any) -> None:
        self.taken.append(transport)

    def leave(self) -> None:
        self.left += 1

    def recount(self, host: str) -> bool:
        return True

    def exhausted(self, error: OSError) -> None:
        self.errors.append(error)


class Conversation(Protocol):
    """Says one word."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


class Conversations(Factory):
    noisy = False
    protocol = Conversation

    def __init__(self) -> None:
        self.built: list[Any] = []
        self.failing = False

    def buildProtocol(self, addr: Any) -> Any:
        if self.failing:
            raise ValueError("no protocol")
        self.built.append(super().buildProtocol(addr))
        return self.built[-1]


class AcceptingTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.port = RebindablePort(reactor, "127.0.0.1", 0)
        self.addCleanup(self.port.close)
        self.factory = Conversations()
        self.port.listen(self.factory)
        self.number = self.port.port.getHost().port

    def use(self, gate: PlayedGate) -> PlayedGate:
        self.port.accepting.use(gate)
        return gate

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.number), 10)
        connection.setblocking(False)
        self.addCleanup(connection.close)
        return connection

    async def received(self, connection: socket.socket) -> bytes:
        """What comes first, ``b""`` for the end."""
        while True:
            try:
                return connection.recv(100)
            except BlockingIOError:
                await self.turn()

    def play(self, code: int) -> PlayedSocket:
        """Let accept fail."""
        played = self.port.port.socket = PlayedSocket(code, self.port.port.socket)
        return played

    def turn(self) -> Deferred[None]:
        return deferLater(reactor, 0.001, lambda: None)

    async def test_room(self) -> None:
        """Without room the others wait in the backlog, and are served when there is some again."""
        gate = self.use(PlayedGate(2))
        connections = [self.connect() for _ in range(4)]
        for connection in connections[:2]:
            self.assertEqual(await self.received(connection), b"hello")
        for _ in range(3):
            await self.turn()
        self.assertRaises(BlockingIOError, connections[2].recv, 100)
        gate.room = 2
        self.port.accepting.resume()
        for connection in connections[2:]:
            self.assertEqual(await self.received(connection), b"hello")
        self.assertEqual(gate.hosts, ["127.0.0.1"] * 4)

    async def test_place(self) -> None:
        """It belongs to the connection, and is given back when that has ended."""
        gate = self.use(PlayedGate(5))
        connection = self.connect()
        await self.received(connection)
        (conversation,) = self.factory.built
        self.assertIs(ITunnelTransport(conversation.transport).place(), gate)
        self.assertEqual(gate.left, 0)
        connection.close()
        while not gate.left:
            await self.turn()
        self.assertFalse(conversation.connected and conversation.transport.connected)

    async def test_refused(self) -> None:
        gate = self.use(PlayedGate(5))
        gate.refusing = True
        self.assertEqual(await self.received(self.connect()), b"")
        self.assertEqual((self.factory.built, gate.left), ([], 0))

    async def test_broken_factory(self) -> None:
        """It costs that connection, and its place is free."""
        gate = self.use(PlayedGate(5))
        self.factory.failing = True
        with logged() as lines:
            self.assertEqual(await self.received(self.connect()), b"")
        self.assertEqual((gate.left, len(self.flushLoggedErrors(ValueError))), (1, 1))
        self.assertIn("error while accepting a connection", lines[0])
        self.factory.failing = False
        self.assertEqual(await self.received(self.connect()), b"hello")

    async def test_no_descriptor(self) -> None:
        """The port pauses, and nobody who waits is turned away."""
        gate = self.use(PlayedGate(5))
        played = self.play(errno.EMFILE)
        connection = self.connect()
        while not gate.errors:
            await self.turn()
        self.port.port.socket = played.within
        await self.turn()
        self.assertEqual((played.asked, [error.errno for error in gate.errors]), (1, [errno.EMFILE]))
        self.assertRaises(BlockingIOError, connection.recv, 100)
        self.port.accepting.resume()
        self.assertEqual(await self.received(connection), b"hello")

    async def test_aborted_meanwhile(self) -> None:
        """That is a connection's own affair; the next one is tried."""
        gate = self.use(PlayedGate(3))
        played = self.play(errno.ECONNABORTED)
        connection = self.connect()
        while not played.asked:
            await self.turn()
        self.port.port.socket = played.within
        self.assertEqual(await self.received(connection), b"hello")
        self.assertEqual((gate.errors, played.asked % 3), ([], 0))

    async def test_others_have_their_turn(self) -> None:
        """Many that arrive at once are not accepted at once."""
        self.use(PlayedGate(1000))
        connections = [self.connect() for _ in range(3 * ACCEPTS)]
        self.port.accepting._accept()
        self.assertEqual(len(self.factory.built), ACCEPTS)
        for connection in connections:
            self.assertEqual(await self.received(connection), b"hello")

    def test_another_gate(self) -> None:
        first, second = self.use(PlayedGate(1)), self.use(PlayedGate(1))
        self.assertEqual((first.ports, second.ports), ([], [self.port.accepting]))

    async def test_closed_port(self) -> None:
        """It is neither paused nor resumed, also while it is being closed."""
        self.port.accepting.pause()
        closed = self.port.close()
        self.port.accepting.resume()
        self.assertNotIn(self.port.port, reactor.getReaders())
        await closed
        self.port.accepting.pause()
        self.port.accepting.resume()


class PlayedSocket:
    """A listening socket whose accept fails."""

    def __init__(self, code: int, within: socket.socket) -> None:
        self._code = code
        self.within = within
        self.asked = 0

    def accept(self) -> Any:
        self.asked += 1
        raise OSError(self._code, "played")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.within, name)
