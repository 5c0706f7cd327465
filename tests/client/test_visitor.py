"""A local port of TCP: programs that connect to it and the visits that they are joined with, both played by the test."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.local_visit import LocalVisit
from rtunnel.client.visitor import VisitorPort
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import Address, Credentials, VisitorSettings
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Response, Status, TunnelFeature, take_request
from tests.client.harness import Peer, PlayedEndpoint, aborted, closed, message, settle, upgrade_answer
from tests.support.pipe import CLIENT_ADDRESS, Pipe, connect

TUNNEL = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
OK = Response(status=Status.OK).encode()


class VisitorTestCase(SynchronousTestCase):
    """A port and one program that has connected to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ClientStats()
        self.server = PlayedEndpoint()
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
            endpoint=self.reach(),
        )
        self.port.start()
        self.events: list[Any] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.program = Peer()
        self.local: Pipe = connect(self.program, LocalVisit(self.port))

    def reach(self) -> IStreamClientEndpoint:
        """How the port reaches the server."""
        return self.server

    def settle(self) -> None:
        quiet = 0
        while quiet < 2:
            quiet = 0 if self.local.pump() else quiet + 1
            settle(self.clock, self.server)

    def accept(self) -> Peer:
        """The server takes the connection; returns its end."""
        server = self.server.accept()
        self.settle()
        return server

    def answer(self, data: bytes) -> None:
        self.server.peer.transport.write(data)
        self.settle()

    def admit(self) -> Peer:
        """The server lets the visit in; returns its end."""
        server = self.accept()
        self.answer(OK)
        server.take()
        return server

    def says(self, data: bytes) -> None:
        """The program sends bytes."""
        self.program.transport.write(data)
        self.settle()

    def warnings(self) -> list[str]:
        return [event["reason"] for event in self.events if event.get("log_level") is LogLevel.warn and "reason" in event]

    def ended(self, outcome: LocalPortOutcome) -> None:
        """It ended in one way, and nothing is left of it."""
        self.settle()
        self.assertEqual({outcome: count for outcome, count in self.stats.visitors.items() if count}, {outcome: 1})
        self.assertEqual((self.stats.visitors_open, self.port.visits, self.port.poll_activity()), (0, set(), False))
        self.assertTrue(self.local.server.disconnected)
        self.assertTrue(all(pipe.client.disconnected for pipe in self.server.pipes))
        self.port.cut()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DialingTests(VisitorTestCase):
    def test_request(self) -> None:
        """What the vector private-tcp-visitor has: CONNECT, the source, the destination with port 0, the tunnel."""
        taken = take_request(self.accept().take())
        assert taken is not None
        wanted = Request(
            command=Command.CONNECT,
            network=Network.TCP,
            credentials=("me", "swordfish"),
            addresses=(RelayAddress(CLIENT_ADDRESS.host, CLIENT_ADDRESS.port), RelayAddress("ssh.svc", 0)),
            tunnel=TunnelFeature(TUNNEL),
        )
        self.assertEqual(taken[0], wanted)

    def test_nothing_is_read_before_the_answer(self) -> None:
        self.says(b"x" * 1000)
        server = self.accept()
        server.take()
        self.assertEqual(self.local.client.waiting, 1000)
        self.answer(OK)
        self.assertEqual((self.local.client.waiting, server.take()), (0, b"x" * 1000))

    def rejected(self, outcome: LocalPortOutcome, *words: str) -> None:
        """The local program sees an error, and the log says why."""
        self.settle()
        self.assertTrue(aborted(self.local.server))
        (line,) = self.warnings()
        for word in words:
            self.assertIn(word, line)
        self.assertNotIn("swordfish", line)
        self.ended(outcome)

    def test_refused(self) -> None:
        self.accept()
        self.answer(Response(status=Status.SERVICE_UNAVAILABLE).encode())
        self.rejected(LocalPortOutcome.REFUSED, "no client is connected for the tunnel", "status 5")

    def test_no_server(self) -> None:
        self.server.refuse()
        self.rejected(LocalPortOutcome.UNREACHABLE, "the server cannot be reached")

    def test_silent_server(self) -> None:
        self.accept()
        self.clock.advance(15)
        self.rejected(LocalPortOutcome.UNREACHABLE, "did not answer within 15 s")

    def test_server_hangs_up(self) -> None:
        self.accept().transport.loseConnection()
        self.rejected(LocalPortOutcome.UNREACHABLE, "the server closed the connection before it answered")

    def test_no_relay_message(self) -> None:
        self.accept()
        self.answer(b"\x05\xff")
        self.rejected(LocalPortOutcome.REFUSED, "malformed")

    def test_local_leaves(self) -> None:
        self.accept()
        self.local.break_link()
        self.settle()
        self.assertTrue(aborted(self.server.transport))
        self.ended(LocalPortOutcome.LOCAL_GONE)

    def test_local_leaves_while_connecting(self) -> None:
        self.local.break_link()
        self.assertEqual((self.server.cancelled, self.warnings()), (1, []))
        self.ended(LocalPortOutcome.LOCAL_GONE)

    def test_stopped(self) -> None:
        self.accept()
        self.assertTrue(self.port.poll_activity())
        self.port.cut()
        self.settle()
        self.assertTrue(aborted(self.local.server))
        self.ended(LocalPortOutcome.STOPPED)


class VisitTests(VisitorTestCase):
    def test_both_ways(self) -> None:
        server = self.admit()
        self.says(b"ping")
        self.answer(b"pong")
        self.assertEqual((server.take(), self.program.take()), (b"ping", b"pong"))

    def test_target_speaks_with_the_answer(self) -> None:
        """Bytes right behind the OK, also when it comes byte by byte."""
        self.accept()
        for byte in OK:
            self.answer(bytes([byte]))
        self.answer(b"SSH-2.0-")
        self.assertEqual(self.program.take(), b"SSH-2.0-")
        self.setUp()
        self.accept()
        self.answer(OK + b"SSH-2.0-")
        self.assertEqual(self.program.take(), b"SSH-2.0-")

    def test_half_close(self) -> None:
        server = self.admit()
        self.says(b"question")
        self.program.transport.loseWriteConnection()
        self.settle()
        self.assertTrue(server.read_ended)
        self.answer(b"answer")
        server.transport.loseWriteConnection()
        self.settle()
        self.assertEqual((self.program.take(), self.program.read_ended), (b"answer", True))
        self.assertTrue(closed(self.local.server) and closed(self.server.transport))
        self.ended(LocalPortOutcome.DONE)
        self.assertEqual((self.stats.visitor_bytes_in, self.stats.visitor_bytes_out), (8, 6))

    def test_slow_program(self) -> None:
        """What it does not read stops the server, and comes when it reads on."""
        server = self.admit()
        self.program.transport.pauseProducing()
        server.transport.write(b"x" * 1_000_000)
        self.settle()
        self.assertGreater(server.transport.waiting, 500_000)
        self.program.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(self.program.take()), 1_000_000)

    def test_slow_server(self) -> None:
        server = self.admit()
        server.transport.pauseProducing()
        self.says(b"x" * 1_000_000)
        self.assertGreater(self.program.transport.waiting, 500_000)
        server.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(server.take()), 1_000_000)

    def test_server_is_lost(self) -> None:
        self.admit()
        self.server.pipe.break_link()
        self.settle()
        self.assertTrue(closed(self.local.server))
        self.ended(LocalPortOutcome.REMOTE_GONE)

    def test_local_is_lost(self) -> None:
        self.admit()
        self.local.break_link()
        self.settle()
        self.assertTrue(aborted(self.server.transport))
        self.ended(LocalPortOutcome.LOCAL_GONE)

    def test_cut(self) -> None:
        """Whatever the two connections say then: it was us."""
        self.admit()
        self.port.cut()
        self.settle()
        for transport in (self.local.server, self.server.transport):
            assert transport.lost is not None
            self.assertTrue(transport.lost.check(ConnectionAborted))
        self.ended(LocalPortOutcome.STOPPED)

    def test_activity(self) -> None:
        """A stop waits for bytes under way and for answers, not for a connection that is only open."""
        self.admit()
        self.answer(b"welcome")
        self.assertTrue(self.port.poll_activity())
        self.assertFalse(self.port.poll_activity())
        self.says(b"question")
        self.assertTrue(self.port.poll_activity())
        self.assertTrue(self.port.poll_activity())


class SilentServerTests(VisitorTestCase):
    """Over a WebSocket the server is pinged."""

    def reach(self) -> IStreamClientEndpoint:
        return WebSocketClientEndpoint(self.server, reactor=self.clock, host="server", port=80)

    def admit(self) -> Peer:
        server = self.accept()
        self.answer(upgrade_answer(server.take()))
        self.answer(message(OK))
        server.take()
        return server

    def interval(self) -> None:
        """An interval of the keepalive passes."""
        self.clock.advance(10)
        self.settle()

    def test_given_up(self) -> None:
        server = self.admit()
        for _ in range(5):
            self.interval()
        self.assertGreaterEqual(server.take().count(b"\x89\x80"), 2)
        self.assertTrue(aborted(self.server.transport))
        self.ended(LocalPortOutcome.REMOTE_GONE)

    def test_pongs(self) -> None:
        self.admit()
        for _ in range(12):
            self.answer(b"\x8a\x00")
            self.interval()
        self.assertTrue(self.server.transport.connected)
