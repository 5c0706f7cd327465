"""The visitor role: local connections and the connections to the server that they lead to, both played by the test."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.visitor import LINGER, VisitorPort
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import Address, Credentials, VisitorSettings
from rtunnel.wire.relay import Command, RelayAddress, Response, Status, take_request
from tests.support.transports import PingingTransport, Transport

TUNNEL = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
OK = Response(status=Status.OK).encode()


class Server:
    """An endpoint whose other end is the test."""

    kind: type[Transport] = Transport

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Deferred[Any]]] = []
        self.transport: Any = None
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.waiting.append((factory, deferred))
        return deferred

    def accept(self) -> None:
        factory, deferred = self.waiting.pop()
        self.protocol = factory.buildProtocol(None)
        self.transport = self.kind()
        self.protocol.makeConnection(self.transport)
        deferred.callback(self.protocol)

    def refuse(self) -> None:
        self.waiting.pop()[1].errback(Failure(ConnectError()))


class VisitorTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ClientStats()
        self.server = Server()
        self.port = VisitorPort(
            VisitorSettings(
                server=Address("server", 8421),
                tunnel=TUNNEL,
                listen=Address("127.0.0.1", 2222),
                to=Address("ssh.svc", 0),
                credentials=Credentials("me", "swordfish"),
            ),
            stats=self.stats,
            reactor=self.clock,
            endpoint=self.server,  # type: ignore[arg-type]
        )
        self.port.start()
        self.events: list[Any] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.local: Any = Transport()
        self.local.protocol = self.port.buildProtocol(None)
        self.local.protocol.makeConnection(self.local)

    def accept(self) -> None:
        """The server takes the connection."""
        self.server.accept()
        self.server.transport.protocol = self.server.protocol

    def answer(self, data: bytes) -> None:
        self.server.transport.protocol.dataReceived(data)

    def admit(self) -> None:
        self.accept()
        self.answer(OK)
        self.server.transport.clear()

    def lose(self, transport: Any, reason: type[Exception] = ConnectionDone) -> None:
        transport.protocol.connectionLost(Failure(reason()))

    def warnings(self) -> list[str]:
        return [event["what"] for event in self.events if event.get("log_level") is LogLevel.warn and "what" in event]

    def ended(self, outcome: LocalPortOutcome) -> None:
        """It ended in one way, and nothing is left of it."""
        self.assertEqual({outcome: count for outcome, count in self.stats.visitors.items() if count}, {outcome: 1})
        self.assertEqual((self.stats.visitors_open, self.port.visits, self.port.busy), (0, set(), False))
        self.port.cut()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AskingTests(VisitorTestCase):
    def test_request(self) -> None:
        """What the vector private-tcp-visitor has: CONNECT, the source, the destination with port 0, the tunnel."""
        self.assertTrue(self.local.paused_reading)
        self.accept()
        taken = take_request(self.server.transport.value())
        assert taken is not None
        request, _ = taken
        self.assertIs(request.command, Command.CONNECT)
        self.assertEqual(request.addresses[1], RelayAddress("ssh.svc", 0))
        assert request.tunnel is not None
        self.assertEqual((request.tunnel.id, request.credentials), (TUNNEL, ("me", "swordfish")))

    def turned_away(self, outcome: LocalPortOutcome, *words: str) -> None:
        """The local program sees an error, and the log says why."""
        self.assertTrue(self.local.aborted)
        self.lose(self.local, ConnectionLost)
        (line,) = self.warnings()
        for word in words:
            self.assertIn(word, line)
        self.assertNotIn("swordfish", line)
        self.ended(outcome)

    def test_refusals(self) -> None:
        for status, word in [
            (Status.UNAUTHORIZED, "--auth-file"),
            (Status.FORBIDDEN, "may not visit"),
            (Status.SERVICE_UNAVAILABLE, "nobody serves the tunnel"),
            (Status.HOST_UNREACHABLE, 'leads "ssh.svc" to this tunnel'),
            (Status.NETWORK_UNREACHABLE, 'no rule for "ssh.svc"'),
            (Status.BAD_REQUEST, "bad request"),
        ]:
            with self.subTest(status=status):
                self.setUp()
                self.accept()
                self.answer(Response(status=status).encode())
                self.assertTrue(self.server.transport.disconnecting)
                self.turned_away(LocalPortOutcome.REFUSED, word, f"status {int(status)}")

    def test_no_server(self) -> None:
        self.server.refuse()
        self.turned_away(LocalPortOutcome.UNREACHABLE, "cannot be reached")

    def test_silent_server(self) -> None:
        self.accept()
        self.clock.advance(15)
        self.turned_away(LocalPortOutcome.UNREACHABLE, "did not answer in time")

    def test_server_hangs_up(self) -> None:
        self.accept()
        self.lose(self.server.transport)
        self.turned_away(LocalPortOutcome.UNREACHABLE, "closed the connection")

    def test_no_relay_message(self) -> None:
        self.accept()
        self.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.turned_away(LocalPortOutcome.REFUSED, "malformed")

    def test_local_leaves(self) -> None:
        self.accept()
        self.lose(self.local, ConnectionLost)
        self.assertTrue(self.server.transport.disconnecting)
        self.ended(LocalPortOutcome.LOCAL_GONE)

    def test_local_leaves_while_connecting(self) -> None:
        self.lose(self.local, ConnectionLost)
        self.ended(LocalPortOutcome.LOCAL_GONE)

    def test_stopped(self) -> None:
        self.accept()
        self.assertTrue(self.port.busy)
        self.port.cut()
        self.assertTrue(self.local.aborted)
        self.lose(self.local, ConnectionLost)
        self.ended(LocalPortOutcome.STOPPED)


class VisitTests(VisitorTestCase):
    def test_both_ways(self) -> None:
        self.admit()
        self.assertFalse(self.local.paused_reading)
        self.local.protocol.dataReceived(b"ping")
        self.assertEqual(self.server.transport.value(), b"ping")
        self.answer(b"pong")
        self.assertEqual(self.local.value(), b"pong")

    def test_target_speaks_with_the_answer(self) -> None:
        """Bytes right behind the OK, also when it comes byte by byte."""
        self.accept()
        for byte in OK:
            self.answer(bytes([byte]))
        self.answer(b"SSH-2.0-")
        self.assertEqual(self.local.value(), b"SSH-2.0-")
        self.setUp()
        self.accept()
        self.answer(OK + b"SSH-2.0-")
        self.assertEqual(self.local.value(), b"SSH-2.0-")

    def test_half_close(self) -> None:
        self.admit()
        self.local.protocol.dataReceived(b"question")
        self.local.protocol.readConnectionLost()
        self.assertTrue(self.server.transport.half_closed)
        self.answer(b"answer")
        self.server.transport.protocol.readConnectionLost()
        self.assertEqual(self.local.value(), b"answer")
        self.lose(self.server.transport)
        self.lose(self.local)
        self.ended(LocalPortOutcome.DONE)
        self.assertEqual((self.stats.visitor_bytes_in, self.stats.visitor_bytes_out), (8, 6))

    def test_server_is_lost(self) -> None:
        self.admit()
        self.lose(self.server.transport, ConnectionLost)
        self.lose(self.local)
        self.ended(LocalPortOutcome.REMOTE_GONE)

    def test_local_is_lost(self) -> None:
        self.admit()
        self.lose(self.local, ConnectionLost)
        self.assertTrue(self.server.transport.aborted)
        self.lose(self.server.transport, ConnectionLost)
        self.ended(LocalPortOutcome.LOCAL_GONE)

    def test_busy(self) -> None:
        """A stop waits for bytes under way and for answers, not for a connection that is only open."""
        self.admit()
        self.answer(b"welcome")
        self.assertTrue(self.port.busy)
        self.assertFalse(self.port.busy)
        self.local.protocol.dataReceived(b"question")
        self.assertTrue(self.port.busy)
        self.assertTrue(self.port.busy)


class WebSocketTests(VisitorTestCase):
    """What only a WebSocket has: pings, and servers without half-close."""

    def setUp(self) -> None:
        super().setUp()
        self.server.kind = PingingTransport

    def test_silent_server_is_given_up(self) -> None:
        self.admit()
        self.clock.pump([10] * 5)
        self.assertGreaterEqual(self.server.transport.pings, 2)
        self.assertTrue(self.server.transport.aborted)

    def test_pongs(self) -> None:
        self.admit()
        for _ in range(12):
            self.clock.advance(10)
            self.server.transport.pong()
        self.assertFalse(self.server.transport.aborted)

    def test_end_without_half_close(self) -> None:
        """The connection is kept as long as an answer comes, then closed."""
        self.admit()
        self.local.protocol.readConnectionLost()
        for _ in range(3):
            self.answer(b"part of the answer")
            self.clock.advance(LINGER)
            self.assertFalse(self.server.transport.disconnecting)
        self.clock.advance(LINGER)
        self.assertTrue(self.server.transport.disconnecting)

    def test_end_while_lingering(self) -> None:
        self.admit()
        self.local.protocol.readConnectionLost()
        self.lose(self.server.transport)
        self.lose(self.local)
        self.ended(LocalPortOutcome.REMOTE_GONE)
