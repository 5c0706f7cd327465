"""An error at any seam of a link costs the stream, or the link, that it concerns, and is logged once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import LinkEnd
from rtunnel.tunnel.link import Keepalive, Link, LinkClosed
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.smux import Session
from tests.support.compiled import interpreted
from tests.support.transports import PingingTransport
from tests.tunnel.common import QUIET, HalfCloser, Links, Source


def fault(*arguments: object) -> None:
    """What a bug does."""
    raise ZeroDivisionError


class SeamCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.links = Links()
        self.near, self.ours, self.far, self.theirs = self.links.joined()
        self.other, _, _, self.others = self.links.joined()

    def logged_once(self) -> None:
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StreamTests(SeamCase):
    """Errors of a stream's protocol and producer."""

    def costs_one_stream(self) -> None:
        """It has ended at both ends, and the other one works."""
        self.links.settle()
        self.logged_once()
        self.assertTrue(self.near.ended and self.far.ended)
        self.assertEqual((len(self.ours.lost), len(self.theirs.lost)), (1, 1))
        self.other.write(b"still here")
        self.links.settle()
        self.assertEqual(self.others.received, b"still here")
        self.assertEqual(self.links.lost, {"server": [], "client": []})

    def test_data(self) -> None:
        self.theirs.dataReceived = fault
        self.near.write(b"x")
        self.costs_one_stream()

    def test_held_data(self) -> None:
        self.far.pauseProducing()
        self.near.write(b"x")
        self.links.settle()
        self.theirs.dataReceived = fault
        self.far.resumeProducing()
        self.costs_one_stream()

    def test_half_close(self) -> None:
        self.theirs.readConnectionLost = fault
        self.near.loseWriteConnection()
        self.costs_one_stream()

    def test_producer_that_cannot_stop(self) -> None:
        source = Source(self.far, b"")
        source.stopProducing = fault  # type: ignore[method-assign]
        self.near.loseConnection()
        self.links.settle()
        # told by the end of the stream
        self.links.client.abort_stream(self.far.id)
        self.costs_one_stream()

    def test_producer_that_cannot_resume(self) -> None:
        self.near.pauseProducing()
        source = Source(self.far, bytes(2 << 20))
        self.links.settle(source)
        self.assertTrue(source.paused)
        source.resumeProducing = fault  # type: ignore[method-assign]
        self.near.resumeProducing()
        self.costs_one_stream()

    def test_producer_that_cannot_resume_after_congestion(self) -> None:
        self.links.pipe.server.pauseProducing()
        source = Source(self.far, bytes(100_000), chunk=100_000)
        self.links.settle(source)
        self.far.write(b"one more")
        self.assertTrue(source.paused)
        source.resumeProducing = fault  # type: ignore[method-assign]
        self.links.pipe.server.resumeProducing()
        self.costs_one_stream()

    def test_end(self) -> None:
        """Nothing is left to end then, but others hear of theirs."""

        def lost(*arguments: object) -> None:
            self.theirs.lost.append(arguments[0])
            raise ZeroDivisionError

        self.theirs.connectionLost = lost
        self.near.abortConnection()
        self.far.abortConnection()
        self.costs_one_stream()

    def test_end_with_the_link(self) -> None:
        self.theirs.connectionLost = fault
        self.links.pipe.break_link()
        self.links.settle()
        self.logged_once()
        self.assertEqual(len(self.others.lost), 1)
        self.assertEqual((len(self.links.lost["server"]), len(self.links.lost["client"])), (1, 1))

    def test_call_at_the_end_of_the_turn(self) -> None:
        self.far.at_turn_end(fault)
        self.links.settle()
        self.logged_once()
        self.other.write(b"still here")
        self.links.settle()
        self.assertEqual(self.others.received, b"still here")


class LinkTests(SeamCase):
    """Errors of what concerns the whole link: it ends, and all of its streams, with an end of its own."""

    def costs_the_link(self) -> None:
        self.links.settle()
        self.logged_once()
        (reason,) = self.links.lost["server"]
        self.assertEqual(reason, "failed: an error of this program, which its log has")
        self.assertEqual([failure.type for failure in self.ours.lost], [ConnectionLost])
        self.assertRaises(LinkClosed, self.links.server.open_stream, HalfCloser())
        self.assertEqual(len(self.links.lost["client"]), 1)

    def test_write(self) -> None:
        """Some bytes may have left, so nothing may follow."""
        self.patch(self.links.pipe.server, "write", fault)
        self.near.write(b"x")
        self.near.write(b"y")
        self.costs_the_link()

    def test_large_write(self) -> None:
        """Not in the call of who wrote it."""
        self.patch(self.links.pipe.server, "write", fault)
        self.near.write(bytes(3 << 20))
        self.links.server.flush()
        self.costs_the_link()

    @interpreted
    def test_engine(self) -> None:
        self.patch(Session, "_receive_signal", fault)
        self.links.client.session.ping()
        self.links.client.flush()
        self.costs_the_link()

    def test_draining(self) -> None:
        self.links.server._on_draining = fault
        self.links.client.leave()
        self.costs_the_link()

    def test_instance(self) -> None:
        self.links.server._on_instance = fault
        self.links.client.announce(5)
        self.costs_the_link()

    def test_ping(self) -> None:
        """At a keepalive: without them a dead peer would not be noticed any longer."""

        class Broken(PingingTransport):
            def ping(self, on_pong: Callable[[], None]) -> bool:
                if self.pings:
                    raise ZeroDivisionError
                return super().ping(on_pong)

        ends: list[Any] = []
        link = Link(
            Session(opens=True),
            reactor=self.links.clock,
            keepalive=Keepalive(10, 30),
            on_lost=lambda link, end, reason: ends.append(end),
        )
        transport = Broken()
        link.makeConnection(transport)
        self.links.clock.advance(10)
        self.logged_once()
        self.assertTrue(transport.aborted)
        link.connectionLost()
        self.assertEqual(ends, [LinkEnd.FAILED])

    def test_streams_of_others(self) -> None:
        """Another link of the same process is not concerned."""
        others = Links(keepalive=QUIET)
        stream, _, _, taken = others.joined()
        self.test_write()
        stream.write(b"still here")
        others.settle()
        self.assertEqual(taken.received, b"still here")


class AcceptTests(SynchronousTestCase):
    def test_no_protocol(self) -> None:
        """A stream that was accepted without a protocol is aborted with its first byte."""
        accepted: list[TunnelStream] = []
        links = Links(on_stream=accepted.append)
        stream, protocol = links.open()
        stream.write(b"x")
        links.settle()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertTrue(accepted[0].ended)
        stream.loseConnection()
        links.settle()
        self.assertEqual((len(protocol.lost), links.lost), (1, {"server": [], "client": []}))
