"""Unix sockets that write at once, and ports that several processes share."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from rtunnel.transport.sockets import AT_ONCE, WriteAtOnce, listen_shared, reserve
from rtunnel.transport.unix_sockets import UnixClientEndpoint, listen_unix
from tests.support.processes import LOOPBACK, free_port

running: Any = reactor


class Speaking(Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.got = b""
        self.waiting: list[tuple[int, Deferred[bytes]]] = []
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        for size, deferred in self.waiting:
            if len(self.got) >= size and not deferred.called:
                deferred.callback(self.got)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def of(self, size: int) -> Deferred[bytes]:
        """Fire when so much has come."""
        deferred: Deferred[bytes] = Deferred()
        self.waiting.append((size, deferred))
        return deferred


class Answering(Factory[Any]):
    noisy = False

    def __init__(self) -> None:
        self.made: list[Speaking] = []

    def buildProtocol(self, addr: Any) -> Speaking:
        self.made.append(Speaking())
        return self.made[-1]


class UnixTests(TestCase):
    def setUp(self) -> None:
        # the path of a unix socket has room for about a hundred bytes, which a clone's folder may need for itself
        folder = TemporaryDirectory(prefix="rt-")
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "socket")

    async def test_both_ways(self) -> None:
        """Small and large; the transports are those that write at once, without Twisted's wrapper in between."""
        far, near = Answering(), Answering()
        listening = listen_unix(running, self.path, far)
        self.addCleanup(listening.stopListening)
        self.assertEqual(Path(self.path).stat().st_mode & 0o777, 0o600)
        here: Any = await UnixClientEndpoint(running, self.path).connect(near)
        here.transport.write(b"hello")
        here.transport.write(b"x" * (4 << 20))
        while not far.made:
            await _turn()
        there: Any = far.made[0]
        self.assertEqual(len(await there.of((4 << 20) + 5)), (4 << 20) + 5)
        there.transport.write(b"well")
        self.assertEqual(await here.of(4), b"well")
        if AT_ONCE:
            self.assertIsInstance(here.transport, WriteAtOnce)
            self.assertIsInstance(there.transport, WriteAtOnce)
            self.assertEqual(here.transport.unsent(), 0)
            self.assertIs(here.transport.protocol, here)
        here.transport.loseConnection()
        await there.lost
        await here.lost

    async def test_nobody_listens(self) -> None:
        with self.assertRaises(ConnectError):
            await UnixClientEndpoint(running, self.path).connect(Answering())

    def test_no_such_directory(self) -> None:
        self.assertRaises(CannotListenError, listen_unix, running, "/nowhere/socket", Answering())


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    running.callLater(0, turned.callback, None)
    return turned


class SharedPortTests(TestCase):
    def test_two_at_one_port(self) -> None:
        port = free_port()
        for _ in range(2):
            self.addCleanup(listen_shared(running, LOOPBACK, port, Answering()).stopListening)
        with socket.create_connection((LOOPBACK, port), 5):
            pass

    def test_all_addresses(self) -> None:
        port = free_port()
        with reserve("", port):
            self.addCleanup(listen_shared(running, "", port, Answering()).stopListening)
            with socket.create_connection((LOOPBACK, port), 5):
                pass

    def test_somebody_else_is_there(self) -> None:
        """One that shares nothing; and to reserve a port nobody at all may be there."""
        with socket.create_server((LOOPBACK, 0)) as other:
            port = other.getsockname()[1]
            self.assertRaises(CannotListenError, listen_shared, running, LOOPBACK, port, Answering())
            self.assertRaises(OSError, reserve, LOOPBACK, port)
        port = free_port()
        self.addCleanup(listen_shared(running, LOOPBACK, port, Answering()).stopListening)
        self.assertRaises(OSError, reserve, LOOPBACK, port)

    def test_reserved(self) -> None:
        """As long as it is, others cannot have it, and no connection is accepted."""
        port = free_port()
        with reserve(LOOPBACK, port):
            with socket.socket() as other:
                self.assertRaises(OSError, other.bind, (LOOPBACK, port))
            self.assertRaises(ConnectionRefusedError, socket.create_connection, (LOOPBACK, port), 5)
        with socket.socket() as other:
            other.bind((LOOPBACK, port))
