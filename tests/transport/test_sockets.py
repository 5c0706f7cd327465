"""Sockets that write at once, on loopback."""

from __future__ import annotations

import errno
import gc
import hashlib
import socket
import sys
import weakref
from typing import Any
from unittest import skipIf

from twisted.internet import error
from twisted.internet import reactor as installed_reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.tcp import Client, Server
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from rtunnel.transport import sockets
from rtunnel.transport.connecting import AtOnceClient, SocketClientEndpoint
from rtunnel.transport.reasons import Stalled
from rtunnel.transport.sockets import (
    BULK_READ_SIZE,
    KEEPALIVE,
    READ_SIZE,
    AtOnceServer,
    SocketServerEndpoint,
    host_and_port,
    limit_stalls,
    listen_tcp,
)
from tests.support.processes import free_port

# trial's reactor, whose type depends on the platform
reactor: Any = installed_reactor

MIB = 1 << 20


def turn() -> Deferred[None]:
    """Fires after the reactor has polled again."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned


class End(Protocol):
    """One end of a connection."""

    def __init__(self) -> None:
        self.made: Deferred[End] = Deferred()
        self.lost: Deferred[Any] = Deferred()
        self.digest = hashlib.sha256()
        self.size = 0
        self.paused = self.resumed = 0
        self.stopped = False
        self.drained: Deferred[None] = Deferred()

    @property
    def socket(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1
        if not self.drained.called:
            self.drained.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


class Puller:
    """A pull producer: each time it is asked it writes one piece."""

    def __init__(self, end: End, pieces: int) -> None:
        self.end = end
        self.left = pieces
        self.done: Deferred[None] = Deferred()

    def resumeProducing(self) -> None:
        if self.left:
            self.left -= 1
            self.end.socket.write(b"piece")
            return
        self.end.socket.unregisterProducer()
        self.done.callback(None)

    def stopProducing(self) -> None:
        self.left = 0


class Ends(Factory):
    """Builds ends; the next one is always there to wait for."""

    noisy = False

    def __init__(self) -> None:
        self.next = End()

    def buildProtocol(self, addr: Any) -> End:
        end, self.next = self.next, End()
        return end


@implementer(IHalfCloseableProtocol)
class Answering(Protocol):
    """In the place of an end: answers when the other one has ended, and ends."""

    def __init__(self, end: End) -> None:
        self._end = end

    def dataReceived(self, data: bytes) -> None:
        self._end.dataReceived(data)

    def readConnectionLost(self) -> None:
        self._end.socket.write(b"answer")
        self._end.socket.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end.connectionLost(reason)


class NoEnds(Factory):
    """Builds nothing."""

    noisy = False
    error: type[Exception] = error.NoProtocol

    def buildProtocol(self, addr: Any) -> None:
        """Nothing."""


class BrokenEnds(NoEnds):
    error = ValueError

    def buildProtocol(self, addr: Any) -> None:
        raise ValueError("no protocol")


class Kernel:
    """A socket from which as many bytes can be read as was said, one read after another."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.asked: list[int] = []

    def recv(self, most: int) -> bytes:
        self.asked.append(most)
        return bytes(min(self.sizes.pop(0), most))


class ReadSizeTests(SynchronousTestCase):
    def transport(self, kernel: Kernel, end: End) -> Any:
        transport: Any = AtOnceServer.__new__(AtOnceServer)
        transport.socket, transport.protocol, transport.reactor = kernel, end, reactor
        return transport

    def test_bulk_is_read_in_large_pieces_and_nothing_else(self) -> None:
        kernel = Kernel(100, MIB, MIB, READ_SIZE, READ_SIZE - 1, 100, MIB, 7, 7)
        end = End()
        transport = self.transport(kernel, end)
        while kernel.sizes:
            self.assertIsNone(transport.doRead())
        small, large = READ_SIZE, BULK_READ_SIZE
        self.assertEqual(kernel.asked, [small, small, large, large, large, small, small, large, small])
        self.assertEqual(end.size, 100 + small + large + small + small - 1 + 100 + small + 7 + 7)

    def test_who_is_behind_gets_small_pieces(self) -> None:
        kernel = Kernel(MIB, MIB, MIB, MIB)
        transport = self.transport(kernel, End())
        for _ in range(2):
            transport.doRead()
        transport.pauseProducing()
        for _ in range(2):
            transport.doRead()
        self.assertEqual(kernel.asked, [READ_SIZE, BULK_READ_SIZE, READ_SIZE, BULK_READ_SIZE])


class ConnectedCase(TestCase):
    """Two ends of a connection."""

    timeout = 60

    async def connected(self, host: str = "127.0.0.1", name: str | None = None) -> tuple[End, End]:
        """Both ends of a new connection: the client's and the server's."""
        servers = Ends()
        port: Any = await SocketServerEndpoint(reactor, host, 0).listen(servers)
        self.addCleanup(port.stopListening)
        server = servers.next
        client: Any = await SocketClientEndpoint(reactor, name or host, port.getHost().port).connect(Ends())
        await server.made
        self.addCleanup(self.close, client, server)
        return client, server

    async def close(self, *ends: End) -> None:
        for end in ends:
            if end.socket is not None and not end.lost.called:
                end.socket.abortConnection()
        for end in ends:
            await end.lost


class AtOnceTests(ConnectedCase):
    """Transports that write at once keep what Twisted's promise."""

    at_once = True

    def setUp(self) -> None:
        self.patch(sockets, "AT_ONCE", self.at_once)

    def kinds(self) -> tuple[type, type]:
        """The exact classes of the client's and the server's transport."""
        return AtOnceClient, AtOnceServer

    async def test_transports(self) -> None:
        client, server = await self.connected()
        self.assertEqual((type(client.socket), type(server.socket)), self.kinds())

    async def test_order(self) -> None:
        """20 MB in many writes for a slow reader: what goes at once and what waits keep their order."""
        for sender_first in (True, False):
            client, server = await self.connected()
            sender, reader = (client, server) if sender_first else (server, client)
            sender.socket.registerProducer(sender, True)
            reader.socket.pauseProducing()
            expected, sent, number = hashlib.sha256(), 0, 0
            slow = 0
            while sent < 20 * MIB:
                piece = number.to_bytes(4, "big") * (1 + number * 7919 % 5000)
                number += 1
                sent += len(piece)
                expected.update(piece)
                if number % 5:
                    sender.socket.write(piece)
                else:
                    sender.socket.writeSequence([piece[:3], piece[3:]])
                if sent // MIB > slow:
                    # one read or so for each MiB: sometimes the kernel takes a write, sometimes not
                    slow += 1
                    reader.socket.resumeProducing()
                    await turn()
                    reader.socket.pauseProducing()
            self.assertGreater(sender.paused, 0, "the producer was never paused")
            sender.socket.unregisterProducer()
            sender.socket.loseConnection()
            reader.socket.resumeProducing()
            self.assertIsInstance(await reader.lost, ConnectionDone)
            self.assertEqual((reader.size, reader.digest.digest()), (sent, expected.digest()))

    async def test_backpressure(self) -> None:
        """A streaming producer is paused when the kernel and then the buffer are full, and resumed when they are empty."""
        client, server = await self.connected()
        server.socket.pauseProducing()
        client.socket.registerProducer(client, True)
        sent = 0
        while not client.paused and sent < 64 * MIB:
            client.socket.write(bytes(65536))
            sent += 65536
        self.assertEqual((client.paused, client.resumed), (1, 0))
        server.socket.resumeProducing()
        await client.drained
        self.assertEqual((client.paused, client.resumed), (1, 1))
        client.socket.unregisterProducer()
        client.socket.loseConnection()
        await server.lost
        self.assertEqual(server.size, sent)

    async def test_pull_producer(self) -> None:
        """A pull producer is asked for more after each piece."""
        client, server = await self.connected()
        puller = Puller(client, 5)
        client.socket.registerProducer(puller, False)
        await puller.done
        client.socket.loseConnection()
        await server.lost
        self.assertEqual(server.size, 5 * len(b"piece"))

    async def test_small_write(self) -> None:
        client, server = await self.connected()
        client.socket.write(b"")
        client.socket.write(b"hello")
        client.socket.loseConnection()
        self.assertIsInstance(await server.lost, ConnectionDone)
        self.assertEqual(server.digest.digest(), hashlib.sha256(b"hello").digest())

    async def test_half_close(self) -> None:
        """After loseWriteConnection nothing is written any more."""
        client, server = await self.connected()
        client.socket.write(b"all")
        client.socket.loseWriteConnection()
        await server.lost
        client.socket.write(b"ghost")
        self.assertEqual(server.size, 3)

    async def test_peer_gone(self) -> None:
        """Writing to a peer that has left is no exception; the connection ends as it always does."""
        client, server = await self.connected()
        server.socket.abortConnection()
        await server.lost
        client.socket.write(b"nobody")
        client.socket.write(b"there")
        await client.lost
        client.socket.write(b"ghost")

    async def test_reset(self) -> None:
        """A reset is no clean end: what came before it may be cut off in the middle."""
        client, server = await self.connected()
        server.socket.abortConnection()
        self.assertIsInstance(await client.lost, ConnectionLost)

    async def test_reset_after_the_end(self) -> None:
        """Who closes and then aborts, aborts."""
        client, server = await self.connected()
        client.socket.write(b"all")
        client.socket.loseConnection()
        client.socket.abortConnection()
        self.assertIsInstance(await server.lost, ConnectionLost)
        self.assertIsInstance(await client.lost, ConnectionAborted)

    async def test_both_ends(self) -> None:
        """Each direction ends by itself."""
        client, server = await self.connected()
        server.socket.protocol = Answering(server)
        client.socket.write(b"question")
        client.socket.loseWriteConnection()
        self.assertIsInstance(await client.lost, ConnectionDone)
        self.assertEqual((server.size, client.size), (8, 6))

    async def test_no_bytes(self) -> None:
        client, _ = await self.connected()
        self.assertRaises(TypeError, client.socket.write, "text")

    async def test_name(self) -> None:
        """A name is resolved; the protocol sits on the transport directly."""
        client, server = await self.connected("127.0.0.1", "localhost")
        client.socket.write(b"by name")
        client.socket.loseConnection()
        await server.lost
        self.assertEqual(server.size, 7)

    async def test_every_address(self) -> None:
        """Without a host both families are served."""
        client, server = await self.connected("", "127.0.0.1")
        self.assertEqual(host_and_port(server.socket.getPeer())[0], "127.0.0.1")
        await self.close(client, server)

    async def test_ipv6(self) -> None:
        try:
            free_port(host="::1")
        except OSError:
            self.skipTest("this system has no IPv6 on loopback")
        _, server = await self.connected("::1")
        self.assertEqual(server.socket.getPeer().host, "::1")

    async def test_refused(self) -> None:
        for host in ("127.0.0.1", "localhost"):
            try:
                await SocketClientEndpoint(reactor, host, free_port()).connect(Ends())
            except ConnectError:
                continue
            self.fail(f"{host} is connected to a port on which nobody listens")

    def silent(self) -> int:
        """A port whose backlog is full: the system answers no connect to it."""
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        for _ in range(3):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        port: int = full.getsockname()[1]
        return port

    @skipIf(not sys.platform.startswith("linux"), "other systems refuse it")
    async def test_no_answer_in_time(self) -> None:
        connecting = SocketClientEndpoint(reactor, "127.0.0.1", self.silent(), timeout=0.1).connect(Ends())
        with self.assertRaises(error.TimeoutError):
            await connecting

    @skipIf(not sys.platform.startswith("linux"), "other systems refuse it")
    async def test_not_wanted_any_more(self) -> None:
        connecting = SocketClientEndpoint(reactor, "127.0.0.1", self.silent()).connect(Ends())
        await turn()
        connecting.cancel()
        with self.assertRaises(error.ConnectingCancelledError):
            await connecting

    async def test_a_factory_that_builds_nothing(self) -> None:
        """The connection is closed again."""
        for factory in (NoEnds(), BrokenEnds()):
            servers = Ends()
            port: Any = await SocketServerEndpoint(reactor, "127.0.0.1", 0).listen(servers)
            self.addCleanup(port.stopListening)
            server = servers.next
            with self.assertRaises(factory.error):
                await SocketClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(factory)
            self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_no_descriptor_is_left(self) -> None:
        def none_left(*_: Any, **__: Any) -> None:
            raise OSError(errno.EMFILE, "no more files")

        self.patch(socket, "socket", none_left)
        with self.assertRaises(error.ConnectBindError):
            await SocketClientEndpoint(reactor, "127.0.0.1", 9).connect(Ends())

    async def test_port_in_use(self) -> None:
        port: Any = listen_tcp(reactor, "127.0.0.1", 0, Ends())
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        self.assertRaises(CannotListenError, listen_tcp, reactor, "127.0.0.1", number, Ends())
        self.assertRaises(CannotListenError, listen_tcp, reactor, "", number, Ends())
        self.failureResultOf(SocketServerEndpoint(reactor, "127.0.0.1", number).listen(Ends()), CannotListenError)

    async def test_foreign_address(self) -> None:
        """An address that is not ours is an error, not every address."""
        self.assertRaises(CannotListenError, listen_tcp, reactor, "192.0.2.1", 0, Ends())


@skipIf(not hasattr(socket, "TCP_USER_TIMEOUT"), "only Linux ends connections that make no progress")
class StallTests(TestCase):
    """A visitor that reads nothing; with a limit of seconds, which the system keeps."""

    timeout = 30

    async def test_reads_nothing(self) -> None:
        ends = Ends()
        end = ends.next
        port: Any = listen_tcp(reactor, "127.0.0.1", 0, ends)
        self.addCleanup(port.stopListening)
        limit_stalls(port, 1)
        visitor = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(visitor.close)
        await end.made
        self.assertTrue(end.socket.getTcpKeepAlive())
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            self.assertEqual(end.socket.socket.getsockopt(socket.IPPROTO_TCP, option), KEEPALIVE)
        end.socket.write(bytes(16 * MIB))
        self.assertGreater(end.socket.unsent(), MIB)
        reason = await end.lost
        self.assertEqual(end.socket.unsent(), 0, "nobody has to forget it before the memory is free")
        self.assertIsInstance(reason, ConnectionLost)
        self.assertIsInstance(reason, Stalled)

    def test_no_socket(self) -> None:
        """A port that is none of the system's has no limit."""
        limit_stalls(object(), 1)


class StockTests(AtOnceTests):
    """With AT_ONCE off the transports are Twisted's own, and do the same."""

    at_once = False

    def kinds(self) -> tuple[type, type]:
        return Client, Server


class PollTests(ConnectedCase):
    """What has left needs no poll to end."""

    async def test_ends(self) -> None:
        for end in ("loseWriteConnection", "loseConnection"):
            client, server = await self.connected()
            client.socket.write(b"all")
            getattr(client.socket, end)()
            self.assertNotIn(client.socket, reactor.getWriters())
            self.assertIsInstance(await server.lost, ConnectionDone)
            self.assertEqual(server.size, 3)

    async def test_what_waits(self) -> None:
        """It is sent first."""
        for end in ("loseWriteConnection", "loseConnection"):
            client, server = await self.connected()
            server.socket.pauseProducing()
            client.socket.write(bytes(16 * MIB))
            getattr(client.socket, end)()
            self.assertIn(client.socket, reactor.getWriters())
            server.socket.resumeProducing()
            self.assertIsInstance(await server.lost, ConnectionDone)
            self.assertEqual(server.size, 16 * MIB)


class MemoryTests(TestCase):
    timeout = 60

    async def test_what_has_ended_is_free(self) -> None:
        """Without the collector of cycles, which runs rarely."""
        gc.disable()
        self.addCleanup(gc.enable)
        transports: list[weakref.ref[Any]] = []
        gone: list[Deferred[None]] = [Deferred(), Deferred()]

        class Leaving(Protocol):
            transport: Any

            def connectionMade(self) -> None:
                transports.append(weakref.ref(self.transport))
                self.transport.loseConnection()

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                gone.pop().callback(None)

        port: Any = await SocketServerEndpoint(reactor, "127.0.0.1", 0).listen(Factory.forProtocol(Leaving))
        self.addCleanup(port.stopListening)
        ends = list(gone)
        await SocketClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(Factory.forProtocol(Leaving))
        for end in ends:
            await end
        await turn()
        self.assertEqual([transport() for transport in transports], [None, None])

    async def test_what_was_given_up_is_free(self) -> None:
        """An attempt that is cancelled, the same."""
        gc.disable()
        self.addCleanup(gc.enable)
        port: Any = await SocketServerEndpoint(reactor, "127.0.0.1", 0).listen(Factory.forProtocol(Protocol))
        self.addCleanup(port.stopListening)
        attempt = SocketClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(Factory.forProtocol(Protocol))
        (connecting,) = [weakref.ref(one) for one in reactor.getWriters() if isinstance(one, AtOnceClient)]
        attempt.cancel()
        with self.assertRaises(error.ConnectingCancelledError):
            await attempt
        await turn()
        self.assertIsNone(connecting())


class OtherReactorTests(SynchronousTestCase):
    def test_clock(self) -> None:
        """A reactor that is not made of sockets is left alone."""
        clock: Any = _Connecting()
        self.assertNoResult(SocketClientEndpoint(clock, "127.0.0.1", 80, timeout=7).connect(Ends()))
        self.assertEqual(clock.asked, [("127.0.0.1", 80, 7)])


class _Connecting(Clock):
    """A reactor that connects in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int, float]] = []

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> None:
        self.asked.append((host, port, timeout))


class HostAndPortTests(SynchronousTestCase):
    def test_host_and_port(self) -> None:
        for address, found in (
            (IPv4Address("TCP", "192.0.2.1", 80), ("192.0.2.1", 80)),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 80), ("192.0.2.1", 80)),
            (IPv6Address("UDP", "2001:db8::1", 53), ("2001:db8::1", 53)),
            (UNIXAddress(b"/run/socket"), ("", 0)),
            (None, ("", 0)),
        ):
            self.assertEqual(host_and_port(address), found)
