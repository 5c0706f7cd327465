"""HTTP/2 without TLS at an entrypoint: refused so that clients can read it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.http2 import HTTP2
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.wire.http2_refusal import CLIENT_PREFACE
from tests.server.harness import World
from tests.support.heads import GET, OK

SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
REQUEST = bytes((0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84))
"""A HEADERS frame of stream 1: GET / with http."""


class RefusedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self, speakers=(TLS, HTTP2, HTTP1))

    def nothing_left(self) -> None:
        entrypoint, stats = self.world.entrypoint, self.world.stats
        self.assertEqual((entrypoint.visitors, entrypoint.connections, stats.visitors_open), (set(), 0, 0))

    def test_refused(self) -> None:
        visitor = self.world.visit(CLIENT_PREFACE + SETTINGS)
        self.assertEqual(visitor.received, SETTINGS + SETTINGS[:4] + b"\x01" + SETTINGS[5:])
        visitor.send(REQUEST)
        self.assertIn(b"505 HTTP Version Not Supported: This version of HTTP is not supported: use HTTP/1.1.", visitor.received)
        self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})
        self.assertEqual(self.world.stats.bytes_out, len(visitor.received))
        visitor.send(b"more")
        visitor.leave()
        self.nothing_left()

    def test_visitor_stays(self) -> None:
        visitor = self.world.visit(CLIENT_PREFACE + SETTINGS + REQUEST)
        self.assertFalse(visitor.aborted)
        self.world.pass_time(3)
        self.assertTrue(visitor.aborted)
        self.nothing_left()

    def test_no_request(self) -> None:
        visitor = self.world.visit(CLIENT_PREFACE + SETTINGS)
        self.world.pass_time(16)
        self.assertEqual((visitor.closed, self.world.outcomes()), (True, {}))
        self.nothing_left()

    def test_drain_and_cut(self) -> None:
        waiting, refused = self.world.visit(CLIENT_PREFACE), self.world.visit(CLIENT_PREFACE + SETTINGS + REQUEST)
        self.world.entrypoint.drain()
        self.world.turn()
        self.assertTrue(waiting.closed)
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertTrue(refused.closed)
        self.nothing_left()

    def test_protocols(self) -> None:
        """It is none that is accepted."""
        self.assertEqual(self.world.entrypoint.protocols, ("http", "tls"))

    def test_offer_is_ignored(self) -> None:
        """A request that offers to switch to HTTP/2 is one of HTTP/1, and its target does not learn of the offer."""
        pod = self.world.attach()
        for offer, passed in [
            (b"h2c", b""),
            (b"H2C, websocket", b"Upgrade: websocket\r\n"),
            (b"websocket", b"Upgrade: websocket\r\n"),
        ]:
            fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" % offer
            visitor = self.world.visit(GET[:-2] + fields)
            request = pod.stream.take()
            self.assertEqual(b"Upgrade: websocket\r\n" in request, bool(passed), request)
            self.assertNotIn(b"h2c", request.lower())
            self.assertNotIn(b"HTTP2-Settings", request)
            pod.stream.answer(OK)
            self.assertEqual(visitor.received, OK)
