"""Associations: the datagrams between two addresses as a transport; and their sockets, on loopback."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rtunnel.outcomes import DatagramLoss
from rtunnel.transport.datagrams import (
    LINGER,
    MAX_BYTES,
    MAX_DATAGRAMS,
    Association,
    UdpClientEndpoint,
    listen_udp,
)
from rtunnel.wire.datagram import MAX_DATAGRAM, DatagramReader, frame_datagram

reactor: Any = global_reactor


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """Keeps the datagrams that came, and how it ended."""

    def __init__(self) -> None:
        self.reader = DatagramReader()
        self.datagrams: list[bytes] = []
        self.read_ended = 0
        self.lost: list[type[BaseException] | None] = []
        self.wanted = 0
        self.complete: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.datagrams += self.reader.receive(data)
        if self.wanted and len(self.datagrams) >= self.wanted:
            self.wanted = 0
            self.complete.callback(None)

    def readConnectionLost(self) -> None:
        self.read_ended += 1

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason.type)


class AssociationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[bytes] = []
        self.dropped: list[DatagramLoss] = []
        self.ends = 0
        self.association = Association(
            self.send,
            peer=IPv4Address("UDP", "192.0.2.1", 4711),
            host=IPv4Address("UDP", "192.0.2.2", 53),
            idle=60,
            reactor=self.clock,
            on_drop=self.dropped.append,
            on_end=self.ended,
        )
        self.protocol: Any = Recorder()
        self.association.protocol = self.protocol
        self.protocol.makeConnection(self.association)
        self.failing: Exception | None = None

    def send(self, datagram: bytes) -> None:
        if self.failing is not None:
            raise self.failing
        self.sent.append(datagram)

    def ended(self) -> None:
        self.ends += 1

    def over(self, reason: type[Exception]) -> None:
        """It ended once, and nothing is left of it."""
        self.clock.advance(0)
        self.assertEqual((self.protocol.lost, self.ends), ([reason], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_is_a_transport(self) -> None:
        verifyObject(ITransport, self.association)
        verifyObject(IPushProducer, self.association)

    def test_both_ways(self) -> None:
        """What is written are datagrams with their lengths, cut anywhere; what comes is framed the same way."""
        framed = frame_datagram(b"one") + frame_datagram(b"") + frame_datagram(b"x" * MAX_DATAGRAM)
        self.association.write(framed[:4])
        self.association.writeSequence([framed[4:100], framed[100:]])
        self.assertEqual(self.sent, [b"one", b"", b"x" * MAX_DATAGRAM])
        for datagram in self.sent:
            self.association.received(datagram)
        self.assertEqual(self.protocol.datagrams, self.sent)

    def test_paused(self) -> None:
        """What comes in the meantime is passed on in its order."""
        self.association.pauseProducing()
        self.association.received(b"one")
        self.association.received(b"two")
        self.assertEqual(self.protocol.datagrams, [])
        self.association.resumeProducing()
        self.association.received(b"three")
        self.assertEqual((self.protocol.datagrams, self.dropped), ([b"one", b"two", b"three"], []))

    def test_too_many_wait(self) -> None:
        """The oldest are dropped, and each is counted."""
        self.association.pauseProducing()
        for number in range(MAX_DATAGRAMS + 3):
            self.association.received(b"%d" % number)
        self.association.resumeProducing()
        self.assertEqual(self.dropped, [DatagramLoss.QUEUE_FULL] * 3)
        self.assertEqual(self.protocol.datagrams, [b"%d" % number for number in range(3, MAX_DATAGRAMS + 3)])

    def test_too_much_waits(self) -> None:
        self.association.pauseProducing()
        for number in range(8):
            self.association.received(bytes([number]) * MAX_DATAGRAM)
        self.association.resumeProducing()
        kept = [datagram[0] for datagram in self.protocol.datagrams]
        self.assertEqual(kept, list(range(8))[-len(kept) :])
        self.assertLessEqual(len(kept) * MAX_DATAGRAM, MAX_BYTES)
        self.assertEqual(self.dropped, [DatagramLoss.QUEUE_FULL] * (8 - len(kept)))

    def test_not_taken_by_the_system(self) -> None:
        """A datagram that cannot be sent is counted; the next one is sent."""
        self.failing = BlockingIOError()
        self.association.write(frame_datagram(b"one"))
        self.failing = None
        self.association.write(frame_datagram(b"two"))
        self.association.refused()
        self.assertEqual((self.sent, self.dropped), ([b"two"], [DatagramLoss.REFUSED] * 2))

    def test_idle(self) -> None:
        """Silence both ways ends it for reading; what is still written leaves, what still comes is counted."""
        self.clock.advance(40)
        self.association.received(b"one")
        self.clock.advance(40)
        self.association.write(frame_datagram(b"two"))
        self.clock.advance(59)
        self.assertEqual(self.protocol.read_ended, 0)
        self.clock.advance(1)
        self.assertEqual((self.protocol.read_ended, self.association.over), (1, True))
        self.association.received(b"three")
        self.association.write(frame_datagram(b"four"))
        self.assertEqual((self.dropped, self.sent), ([DatagramLoss.EXPIRED], [b"two", b"four"]))
        self.clock.advance(LINGER)
        self.over(ConnectionDone)
        self.assertEqual(self.protocol.read_ended, 1)

    def test_not_idle_while_something_waits(self) -> None:
        """Who waits for the other side to take a datagram is not silent."""
        self.association.pauseProducing()
        self.association.received(b"one")
        self.clock.pump([60] * 3)
        self.association.resumeProducing()
        self.assertEqual((self.protocol.datagrams, self.protocol.read_ended), ([b"one"], 0))
        self.clock.advance(60)
        self.assertEqual(self.protocol.read_ended, 1)

    def test_other_side_ends(self) -> None:
        """Then there is nothing more to expect of this side."""
        self.association.loseWriteConnection()
        self.assertEqual(self.protocol.read_ended, 1)
        self.association.loseConnection()
        self.association.loseConnection()
        self.over(ConnectionDone)

    def test_aborted(self) -> None:
        self.association.pauseProducing()
        self.association.received(b"one")
        self.association.abortConnection()
        self.association.write(frame_datagram(b"two"))
        self.association.received(b"three")
        self.over(ConnectionAborted)
        self.assertEqual((self.sent, self.dropped), ([], [DatagramLoss.EXPIRED] * 2))

    def test_producer_is_told_to_stop(self) -> None:
        self.association.stopProducing()
        self.over(ConnectionDone)


class Echo(DatagramProtocol):
    """Sends back what comes."""

    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.transport.write(datagram, addr)


class SocketTests(TestCase):
    """On loopback."""

    def setUp(self) -> None:
        self.dropped: list[DatagramLoss] = []

    async def associate(self, host: str, port: int) -> Recorder:
        endpoint = UdpClientEndpoint(reactor, host, port, idle=60, on_drop=self.dropped.append)
        protocol: Recorder = await endpoint.connect(Factory.forProtocol(Recorder))
        return protocol

    async def test_round_trip(self) -> None:
        """All sizes, by address and by name; the socket goes with the association."""
        echo: Any = listen_udp(reactor, "127.0.0.1", 0, Echo())
        self.addCleanup(echo.stopListening)
        for host in ("127.0.0.1", "localhost"):
            protocol = await self.associate(host, echo.getHost().port)
            sent = [b"one", b"", b"x" * MAX_DATAGRAM]
            protocol.wanted = len(sent)
            transport: Any = protocol.transport
            transport.write(b"".join(map(frame_datagram, sent)))
            await protocol.complete
            self.assertEqual(protocol.datagrams, sent)
            self.assertEqual(transport.getPeer().port, echo.getHost().port)
            transport.loseConnection()
        self.assertEqual(self.dropped, [])

    async def test_too_large(self) -> None:
        """What no datagram of UDP can be is counted, and harms nobody."""
        protocol = await self.associate("127.0.0.1", 9)
        transport: Any = protocol.transport
        transport.write(frame_datagram(b"x" * 65535))
        self.assertEqual(self.dropped, [DatagramLoss.REFUSED])
        transport.loseConnection()

    async def test_port_in_use(self) -> None:
        first: Any = listen_udp(reactor, "127.0.0.1", 0, Echo())
        self.addCleanup(first.stopListening)
        with self.assertRaises(CannotListenError):
            listen_udp(reactor, "127.0.0.1", first.getHost().port, Echo())

    async def test_every_interface(self) -> None:
        everywhere: Any = listen_udp(reactor, "", 0, Echo())
        self.addCleanup(everywhere.stopListening)
        protocol = await self.associate("127.0.0.1", everywhere.getHost().port)
        protocol.wanted = 1
        transport: Any = protocol.transport
        transport.write(frame_datagram(b"one"))
        await protocol.complete
        self.assertEqual(protocol.datagrams, [b"one"])
        transport.loseConnection()
