"""A visitor's port of UDP: the addresses that send to it and the connections to the server that they lead to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.associations import RETRY_COOLDOWN, AssociationPort
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import DatagramLoss, LocalPortOutcome
from rtunnel.settings import Address, UdpAddress, UdpSettings, VisitorSettings
from rtunnel.transport.datagrams import LINGER
from rtunnel.wire.datagram import frame_datagram
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Response, Status, take_request
from tests.client.test_visitor import Server

TUNNEL = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
ME, YOU, HER = (("192.0.2.1", port) for port in (4711, 4712, 4713))


class Socket:
    """What the port sends through; it keeps what leaves."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.transport = self
        self.open = True

    def write(self, datagram: bytes, address: Any) -> None:
        assert self.open
        self.sent.append((datagram, address))

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "127.0.0.1", 5353)

    def stopListening(self) -> Deferred[None]:
        self.open = False
        return succeed(None)


class Connection:
    """A connection to the server, with the request that was made on it."""

    def __init__(self, server: Server) -> None:
        server.accept()
        self.transport = server.transport
        self.transport.protocol = server.protocol
        taken = take_request(self.transport.value())
        assert taken is not None
        self.request: Request = taken[0]
        self.transport.clear()

    def say(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)

    def take(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def lose(self, reason: type[Exception] = ConnectionDone) -> None:
        self.transport.protocol.connectionLost(Failure(reason()))


class AssociationPortTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ClientStats()
        self.server = Server()
        self.port = AssociationPort(
            VisitorSettings(
                server=Address("server", 8421),
                tunnel=TUNNEL,
                listen=UdpAddress("127.0.0.1", 5353),
                to=Address("dns.svc", 0),
                udp=UdpSettings(associations=2),
            ),
            stats=self.stats,
            reactor=self.clock,
            endpoint=self.server,
        )
        self.port.start()
        self.socket = self.port.port = Socket()

    def send(self, datagram: bytes, address: Any = ME) -> None:
        self.port.datagram(datagram, address, self.socket)

    def admit(self) -> Connection:
        connection = Connection(self.server)
        connection.say(Response(status=Status.OK).encode())
        return connection

    def dropped(self) -> dict[DatagramLoss, int]:
        return {reason: count for reason, count in self.stats.datagrams_dropped.items() if count}

    def outcomes(self) -> dict[LocalPortOutcome, int]:
        return {outcome: count for outcome, count in self.stats.visitors.items() if count}

    def ended(self, outcome: LocalPortOutcome) -> None:
        """All ended in one way, and nothing is left."""
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), {outcome: 1})
        self.assertEqual((self.stats.visitors_open, self.port.visits, self.port.associations), (0, set(), {}))
        self.port.cut()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_round_trip(self) -> None:
        """What the vector private-udp-visitor has; what came before the answer is not lost; one visit for one address."""
        self.send(b"one")
        self.send(b"two")
        connection = Connection(self.server)
        request = connection.request
        self.assertEqual((request.command, request.network), (Command.CONNECT, Network.UDP))
        self.assertEqual(request.addresses, (RelayAddress(*ME), RelayAddress("dns.svc", 0)))
        connection.say(Response(status=Status.OK).encode() + frame_datagram(b"eins"))
        self.send(b"three")
        self.assertEqual(connection.take(), frame_datagram(b"one") + frame_datagram(b"two") + frame_datagram(b"three"))
        for byte in frame_datagram(b"zwei"):
            connection.say(bytes([byte]))
        self.assertEqual(self.socket.sent, [(b"eins", ME), (b"zwei", ME)])
        self.assertEqual((self.server.waiting, self.dropped()), ([], {}))

    def test_addresses_apart(self) -> None:
        self.send(b"mine")
        mine = self.admit()
        self.send(b"yours", YOU)
        yours = self.admit()
        self.assertEqual((mine.take(), yours.take()), (frame_datagram(b"mine"), frame_datagram(b"yours")))
        yours.say(frame_datagram(b"for you"))
        self.assertEqual(self.socket.sent, [(b"for you", YOU)])

    def test_idle(self) -> None:
        """It ends in good order after its limit; the next datagram is that of a new one."""
        self.send(b"one")
        connection = self.admit()
        self.clock.advance(59)
        connection.say(frame_datagram(b"answer"))
        self.clock.advance(59)
        self.assertFalse(connection.transport.half_closed)
        self.clock.advance(1)
        self.assertTrue(connection.transport.half_closed)
        connection.transport.protocol.readConnectionLost()
        connection.lose()
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), {LocalPortOutcome.DONE: 1})
        self.send(b"two")
        self.assertEqual(self.admit().take(), frame_datagram(b"two"))

    def test_next_one_before_the_last_has_ended(self) -> None:
        """An address that speaks again while its old association comes to its end has a new one; the end does not disturb it."""
        self.send(b"one")
        old = self.admit()
        self.clock.advance(60)
        self.send(b"two")
        new = self.admit()
        self.assertEqual(new.take(), frame_datagram(b"two"))
        old.transport.protocol.readConnectionLost()
        old.lose()
        self.clock.advance(LINGER)
        self.send(b"three")
        self.assertEqual((new.take(), self.dropped()), (frame_datagram(b"three"), {}))

    def test_server_ends(self) -> None:
        """The far end is idle, or the server stops."""
        self.send(b"one")
        connection = self.admit()
        connection.transport.protocol.readConnectionLost()
        self.assertTrue(connection.transport.disconnecting)
        connection.lose()
        self.ended(LocalPortOutcome.DONE)

    def test_server_is_lost(self) -> None:
        self.send(b"one")
        self.admit().lose(ConnectionLost)
        self.ended(LocalPortOutcome.REMOTE_GONE)

    def test_turned_away(self) -> None:
        """The datagrams are counted, and the server is left alone for a moment."""
        self.send(b"one")
        connection = Connection(self.server)
        connection.say(Response(status=Status.SERVICE_UNAVAILABLE).encode())
        connection.lose()
        self.clock.advance(0)
        self.send(b"two")
        self.send(b"three", YOU)
        self.assertEqual(self.server.waiting, [])
        self.assertEqual(self.dropped(), {DatagramLoss.EXPIRED: 1, DatagramLoss.COOLDOWN: 2})
        self.clock.advance(RETRY_COOLDOWN)
        self.send(b"four")
        self.assertEqual(self.admit().take(), frame_datagram(b"four"))
        self.assertEqual(self.outcomes(), {LocalPortOutcome.REFUSED: 1})

    def test_too_many(self) -> None:
        """The one that was silent longest makes room, whoever spoke: its visitor, or the other end."""
        self.send(b"mine")
        mine = self.admit()
        self.send(b"yours", YOU)
        yours = self.admit()
        mine.say(frame_datagram(b"answer"))
        self.send(b"hers", HER)
        self.assertEqual(set(self.port.associations), {ME, HER})
        self.assertTrue(yours.transport.aborted)
        self.assertFalse(mine.transport.aborted)
        yours.lose(ConnectionLost)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), {LocalPortOutcome.EVICTED: 1})
        self.assertEqual(self.admit().take(), frame_datagram(b"hers"))

    def test_too_many_while_asking(self) -> None:
        self.send(b"mine")
        self.send(b"yours", YOU)
        self.send(b"hers", HER)
        self.clock.advance(0)
        self.assertEqual(set(self.port.associations), {YOU, HER})
        self.assertEqual((self.outcomes(), self.dropped()), ({LocalPortOutcome.EVICTED: 1}, {DatagramLoss.EXPIRED: 1}))

    def test_server_is_behind(self) -> None:
        """What waits for the connection is bounded; the oldest are dropped and counted."""
        self.send(b"first")
        for _ in range(10):
            self.send(b"x" * 60_000)
        connection = self.admit()
        self.assertLessEqual(len(connection.take()), 262144)
        self.assertEqual(self.dropped(), {DatagramLoss.QUEUE_FULL: 7})

    def test_closed(self) -> None:
        """No new ones; those that are under way go on until they are cut, and then the port is free."""
        self.send(b"one")
        connection = self.admit()
        closed: list[Any] = []
        self.port.close().addCallback(closed.append)
        self.send(b"yours", YOU)
        connection.say(frame_datagram(b"answer"))
        self.assertEqual((self.socket.sent, self.dropped()), ([(b"answer", ME)], {DatagramLoss.COOLDOWN: 1}))
        self.assertTrue(self.port.busy)
        self.assertFalse(self.port.busy)
        self.assertEqual((closed, self.socket.open), ([], True))
        self.port.cut()
        self.assertTrue(connection.transport.aborted)
        connection.lose(ConnectionLost)
        self.clock.advance(0)
        self.assertEqual((len(closed), self.socket.open), (1, False))
        self.assertEqual((sum(self.outcomes().values()), self.stats.visitors_open), (1, 0))

    def test_closed_without_any(self) -> None:
        closed: list[Any] = []
        self.port.close().addCallback(closed.append)
        self.assertEqual((len(closed), self.socket.open), (1, False))
        self.port.cut()
