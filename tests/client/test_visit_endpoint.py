"""Dialing a private tunnel: the endpoint, with a server that the test plays."""

from __future__ import annotations

import errno
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionDone, NoProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rtunnel.client.linger import LINGER
from rtunnel.client.refusals import CLOSED_EARLY
from rtunnel.client.visit_endpoint import VisitClientEndpoint, VisitFailed, VisitFailure
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint
from rtunnel.wire.relay import Command, RelayAddress, Request, Response, Status, TunnelFeature, take_request
from tests.client.harness import Peer, PlayedEndpoint, message, settle, upgrade_answer

REQUEST = Request(
    command=Command.CONNECT,
    credentials=("ada", "swordfish"),
    addresses=(RelayAddress("192.0.2.1", 4711), RelayAddress("ssh.svc", 0)),
    tunnel=TunnelFeature(UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")),
)
OK = Response(status=Status.OK).encode()


class VisitEndpointCase(SynchronousTestCase):
    """An endpoint, a server, and the protocol that is dialed for."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = PlayedEndpoint()
        self.upper = Peer()
        self.endpoint = self.make_endpoint()

    def make_endpoint(self) -> VisitClientEndpoint:
        return VisitClientEndpoint(self.server, REQUEST, reactor=self.clock, timeout=15)

    def factory(self) -> Any:
        return Factory.forProtocol(lambda: self.upper)

    def dial(self) -> Deferred[Any]:
        return self.endpoint.connect(self.factory())

    def reach(self) -> Peer:
        """The server takes the connection; returns its end."""
        server = self.server.accept()
        self.settle()
        return server

    def settle(self) -> None:
        settle(self.clock, self.server)

    def answer(self, data: bytes) -> None:
        self.server.peer.transport.write(data)
        self.settle()

    def failed(self, dialing: Deferred[Any], reason: VisitFailure, *words: str) -> VisitFailed:
        """It failed in one line, and nothing is left of it."""
        error = self.failureResultOf(dialing, VisitFailed).value
        assert isinstance(error, VisitFailed)
        self.assertIs(error.reason, reason)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("swordfish", str(error))
        self.assertNotIn("\n", str(error))
        self.settle()
        self.assertTrue(all(pipe.client.disconnected for pipe in self.server.pipes))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.upper.transport)
        return error


class DialTests(VisitEndpointCase):
    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IStreamClientEndpoint, self.endpoint))

    def test_asks(self) -> None:
        self.dial()
        taken = take_request(self.reach().take())
        self.assertEqual(taken and taken[0], REQUEST)

    def test_let_in(self) -> None:
        """Fires with the protocol, whose transport is that of the visit; also when the answer comes byte by byte."""
        dialing = self.dial()
        server = self.reach()
        server.take()
        for byte in OK:
            self.assertNoResult(dialing)
            self.answer(bytes([byte]))
        self.assertIs(self.successResultOf(dialing), self.upper)
        self.assertIs(self.upper.transport, self.server.transport)
        self.answer(b"welcome")
        self.upper.transport.write(b"hello")
        self.settle()
        self.assertEqual((self.upper.take(), server.take()), (b"welcome", b"hello"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bytes_behind_the_answer(self) -> None:
        """They come after the Deferred has fired, to whoever has the connection by then."""
        other = Peer()

        def exchange(upper: Any) -> None:
            self.assertEqual(upper.received, b"")
            upper.transport.protocol = other
            other.makeConnection(upper.transport)

        self.dial().addCallback(exchange)
        self.reach()
        self.answer(OK + b"SSH-2.0-")
        self.assertEqual((self.upper.take(), other.take()), (b"", b"SSH-2.0-"))

    def test_half_close(self) -> None:
        """Each direction ends by itself."""
        self.dial()
        server = self.reach()
        self.answer(OK)
        self.upper.transport.loseWriteConnection()
        self.settle()
        self.assertTrue(server.read_ended)
        self.answer(b"answer")
        server.transport.loseWriteConnection()
        self.settle()
        self.assertEqual((self.upper.take(), self.upper.read_ended), (b"answer", True))

    def test_no_protocol(self) -> None:
        factory = self.factory()
        factory.buildProtocol = lambda address: None
        dialing = self.endpoint.connect(factory)
        self.reach()
        self.answer(OK)
        self.failureResultOf(dialing, NoProtocol)
        self.assertTrue(self.server.transport.disconnected)

    # -- failures

    def test_refused(self) -> None:
        for status, word in [
            (Status.BAD_REQUEST, "does not understand the request"),
            (Status.UNAUTHORIZED, "the user ada with this password; check --auth-file"),
            (Status.FORBIDDEN, "do not allow the user ada to visit the tunnel"),
            (Status.TIMEOUT, "too busy"),
            (Status.SERVICE_UNAVAILABLE, "no client is connected for the tunnel; start one"),
            (Status.HOST_UNREACHABLE, 'no ingress rule of it leads "ssh.svc" to this tunnel'),
            (Status.NETWORK_UNREACHABLE, 'no ingress rule of it names "ssh.svc"'),
            (Status.INTERNAL_SERVER_ERROR, "it has failed; check its log"),
        ]:
            with self.subTest(status=status):
                self.setUp()
                dialing = self.dial()
                self.reach()
                self.answer(Response(status=status).encode() + b"and more")
                error = self.failed(dialing, VisitFailure.REFUSED, f"(status {int(status)}); ", word)
                self.assertIs(error.status, status)

    def test_unreachable(self) -> None:
        dialing = self.dial()
        self.server.refuse(ConnectError(errno.ECONNREFUSED))
        self.failed(dialing, VisitFailure.UNREACHABLE, "the server cannot be reached: the connection was refused: ")

    def test_closed_before_the_answer(self) -> None:
        dialing = self.dial()
        self.reach().transport.loseConnection()
        self.settle()
        self.failed(dialing, VisitFailure.UNREACHABLE, CLOSED_EARLY)

    def test_reset_before_the_answer(self) -> None:
        dialing = self.dial()
        self.reach().transport.abortConnection()
        self.settle()
        self.failed(dialing, VisitFailure.UNREACHABLE, "the connection was lost")

    def test_silent_server(self) -> None:
        dialing = self.dial()
        self.reach()
        self.clock.advance(14.9)
        self.assertNoResult(dialing)
        self.clock.advance(0.1)
        self.failed(dialing, VisitFailure.TIMED_OUT, "did not answer within 15 s")

    def test_not_a_tunnel_listener(self) -> None:
        for answer, word in [
            (b"\x15\x03\x03\x00\x02\x02\x0a", "speaks TLS here; use tls:// (tunnel+tls://)"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP here; use ws:// (tunnel+ws://)"),
            (b"SSH-2.0-OpenSSH\r\n", "is malformed"),
        ]:
            with self.subTest(answer=answer):
                self.setUp()
                dialing = self.dial()
                self.reach()
                self.answer(answer)
                self.failed(dialing, VisitFailure.MALFORMED_ANSWER, word)

    # -- given up

    def test_cancelled_while_connecting(self) -> None:
        dialing = self.dial()
        dialing.cancel()
        self.failureResultOf(dialing, CancelledError)
        self.assertEqual((self.server.cancelled, self.server.waiting), (1, []))

    def test_cancelled_while_asking(self) -> None:
        dialing = self.dial()
        server = self.reach()
        dialing.cancel()
        self.failureResultOf(dialing, CancelledError)
        self.settle()
        self.assertIsNotNone(server.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.upper.transport)


class WebSocketTests(VisitEndpointCase):
    """Over a WebSocket, to a server that knows no half-close (a gost) or does."""

    def make_endpoint(self) -> VisitClientEndpoint:
        over = WebSocketClientEndpoint(self.server, reactor=self.clock, host="server", port=80)
        return VisitClientEndpoint(over, REQUEST, reactor=self.clock)

    def let_in(self, *, half_closes: bool = False) -> Peer:
        """The server accepts the upgrade and the visit; returns its end."""
        dialing = self.dial()
        server = self.reach()
        self.answer(upgrade_answer(server.take(), half_closes=half_closes))
        self.message(OK)
        self.successResultOf(dialing)
        server.take()
        return server

    def message(self, data: bytes) -> None:
        self.answer(message(data))

    def closing(self, server: Peer) -> bool:
        """Whether a close frame came."""
        return server.take()[:1] == b"\x88"

    def test_half_close(self) -> None:
        """An empty message says that we have sent all; one of the server that it has."""
        server = self.let_in(half_closes=True)
        self.upper.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(server.take()[:2], b"\x82\x80")
        self.clock.advance(10 * LINGER)
        self.message(b"answer")
        self.message(b"")
        self.assertEqual((self.upper.take(), self.upper.read_ended, server.take()), (b"answer", True, b""))

    def test_answer_is_awaited(self) -> None:
        """A server that knows no half-close is not told: the connection stays as long as an answer comes, then it is closed."""
        server = self.let_in()
        self.upper.transport.loseWriteConnection()
        for _ in range(3):
            self.message(b"part")
            self.clock.advance(LINGER)
            self.settle()
            self.assertFalse(self.closing(server))
        self.clock.advance(LINGER)
        self.settle()
        self.assertTrue(self.closing(server))
        self.assertEqual(self.upper.take(), b"part" * 3)

    def test_reader_is_behind(self) -> None:
        """What waits for a paused reader is no silence of the server."""
        server = self.let_in()
        self.upper.transport.loseWriteConnection()
        self.upper.transport.pauseProducing()
        self.message(b"answer")
        for _ in range(5):
            self.clock.advance(LINGER)
            self.settle()
        self.assertFalse(self.closing(server))
        self.upper.transport.resumeProducing()
        self.settle()
        self.assertEqual(self.upper.take(), b"answer")

    def test_server_closes_first(self) -> None:
        server = self.let_in()
        self.upper.transport.loseWriteConnection()
        self.answer(b"\x88\x02\x03\xe8")
        server.transport.loseConnection()
        self.settle()
        assert self.upper.lost is not None
        self.assertTrue(self.upper.lost.check(ConnectionDone))
        self.assertEqual((self.upper.read_ended, self.clock.getDelayedCalls()), (True, []))

    def test_silent_server(self) -> None:
        """The upgrade has its own limit."""
        dialing = self.dial()
        self.reach()
        self.clock.advance(15)
        self.settle()
        self.failed(dialing, VisitFailure.UNREACHABLE, "the upgrade to a WebSocket was not answered within 15 s")
