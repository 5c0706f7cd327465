"""A connector against a server that the test plays: joining, refusals, losses, the waits between attempts."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.connector import Backoff, ConnectorClient
from rtunnel.metrics.stats import ClientStats
from rtunnel.settings import Address, ConnectorSettings, Credentials
from rtunnel.wire.relay import Command, RelayAddress, Response, Status, TunnelFeature, take_request
from tests.support.transports import Transport

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
JOINED = Response(status=Status.OK, addresses=(RelayAddress("6ffa35ed91e34471", 0),), tunnel=TunnelFeature(uuid4(), weight=7))


class Server:
    """An endpoint whose other end is the test."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []
        self.transport: Any = None
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.attempts.append((factory, deferred))
        return deferred

    def accept(self) -> None:
        factory, deferred = self.attempts[-1]
        self.protocol = factory.buildProtocol(None)
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)
        deferred.callback(self.protocol)

    def refuse(self, error: Exception) -> None:
        self.attempts[-1][1].errback(Failure(error))

    def say(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class ConnectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Server()
        self.stats = ClientStats()
        self.joined = 0
        self.make()

    def make(self, **settings: Any) -> None:
        self.connector = ConnectorClient(
            ConnectorSettings(
                server=Address("server", 8421),
                transport="ws",
                tunnel=TUNNEL,
                target=Address("localhost", 80),
                weight=7,
                bind=Address("", 0),
                **settings,
            ),
            stats=self.stats,
            reactor=self.clock,
            on_joined=self.on_joined,
            endpoint=self.server,  # type: ignore[arg-type]
        )

    def on_joined(self) -> None:
        self.joined += 1

    def join(self) -> None:
        self.connector.start()
        self.server.accept()
        self.server.say(JOINED.encode())
        self.assertTrue(self.connector.joined)

    def test_asks_to_bind(self) -> None:
        self.make(credentials=Credentials("ada", "secret"))
        self.connector.start()
        self.server.accept()
        taken = take_request(self.server.transport.value())
        assert taken is not None
        request = taken[0]
        self.assertIs(request.command, Command.BIND)
        self.assertEqual(request.tunnel, TunnelFeature(TUNNEL, weight=7))
        self.assertEqual(request.credentials, ("ada", "secret"))
        self.assertEqual(request.addresses[-1], RelayAddress("0.0.0.0", 0))

    def test_joins(self) -> None:
        """Also when the answer comes byte by byte."""
        self.connector.start()
        self.server.accept()
        for byte in JOINED.encode():
            self.assertEqual(self.joined, 0)
            self.server.say(bytes([byte]))
        self.assertEqual((self.joined, self.stats.joins, self.stats.attempts), (1, 1, 1))

    def test_nothing_waits_to_be_sent_with_more(self) -> None:
        """Over plain TCP, each end would wait for the other's acknowledgement before a small frame leaves (Nagle)."""
        self.join()
        self.assertTrue(self.server.transport.no_delay)

    def test_server_down(self) -> None:
        """Each attempt that fails is followed by another, later and later."""
        self.connector.start()
        waits = []
        for number in range(1, 10):
            self.assertEqual(len(self.server.attempts), number)
            self.server.refuse(ConnectError())
            (call,) = self.attempts_planned()
            waits.append(call - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertTrue(0.375 <= waits[0] <= 0.5, waits)
        self.assertTrue(all(22.5 <= wait <= 30 for wait in waits[-3:]), waits)

    def attempts_planned(self) -> list[float]:
        """When attempts are planned (the other timer is the forwarder's)."""
        return [call.getTime() for call in self.clock.getDelayedCalls() if "_try" in str(call)]

    def test_refused(self) -> None:
        """A refusal by status is a line in the log and a later attempt, not the end."""
        self.connector.start()
        self.server.accept()
        self.server.say(Response(status=Status.FORBIDDEN).encode())
        self.assertTrue(self.server.transport.disconnecting)
        self.server.lose()
        self.assertEqual(len(self.attempts_planned()), 1)
        self.assertEqual((self.joined, self.stats.losses), (0, 0))

    def test_malformed_answer(self) -> None:
        self.connector.start()
        self.server.accept()
        self.server.say(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(self.server.transport.disconnecting)
        self.server.lose()
        self.assertEqual(len(self.attempts_planned()), 1)

    def test_server_that_speaks_tls(self) -> None:
        """What answers is an alert; the log says what to write instead."""
        observed: list[Any] = []
        observer: Any = observed.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.connector.start()
        self.server.accept()
        self.server.say(b"\x15\x03\x03\x00\x02\x02\x0a")
        self.server.lose()
        self.assertIn("the server speaks TLS here; use tls:// (tunnel+tls://)", observed[-1]["what"])

    def test_silent_server(self) -> None:
        self.connector.start()
        self.server.accept()
        self.clock.advance(15)
        self.assertTrue(self.server.transport.aborted)
        self.server.lose()
        self.assertEqual(len(self.attempts_planned()), 1)

    def test_comes_back(self) -> None:
        """A link that lived resets the waits, one that did not does not."""
        self.join()
        self.clock.advance(11)
        self.server.lose()
        self.assertFalse(self.connector.joined)
        (again,) = self.attempts_planned()
        self.assertLessEqual(again - self.clock.seconds(), 0.5)
        self.clock.advance(0.5)
        self.server.accept()
        self.server.say(JOINED.encode())
        self.server.lose()
        (again,) = self.attempts_planned()
        self.assertGreater(again - self.clock.seconds(), 0.5)
        self.assertEqual((self.stats.joins, self.stats.losses), (2, 2))

    def test_stops_while_waiting(self) -> None:
        self.connector.start()
        self.server.refuse(ConnectError())
        self.successResultOf(self.connector.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stops_while_connecting(self) -> None:
        self.connector.start()
        self.successResultOf(self.connector.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stops_while_joined(self) -> None:
        """The link is closed in good order, and that is the end."""
        self.join()
        gone = self.connector.stop()
        self.assertNoResult(gone)
        self.assertTrue(self.server.transport.disconnecting)
        self.server.lose()
        self.successResultOf(gone)
        self.assertEqual(self.attempts_planned(), [])


class BackoffTests(SynchronousTestCase):
    def test_steps(self) -> None:
        backoff = Backoff(0.5, 30.0, random=lambda: 1.0)
        self.assertEqual([backoff.wait() for _ in range(8)], [0.5, 1, 2, 4, 8, 16, 30, 30])
        backoff.reset()
        self.assertEqual(backoff.wait(), 0.5)

    def test_jitter(self) -> None:
        self.assertEqual(Backoff(1.0, 30.0, random=lambda: 0.0).wait(), 0.75)
