"""The splice: half-close, loss and backpressure between two transports, and exactly one end."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from tests.support.pipe import HIGH_WATER, Pipe, connect
from tests.tunnel.common import HalfCloser, Links, Source

DONE, NEAR_LOST, FAR_LOST = SpliceOutcome.DONE, SpliceOutcome.NEAR_LOST, SpliceOutcome.FAR_LOST


@implementer(IHalfCloseableProtocol)
class Peer(HalfCloser):
    """A visitor or a target, which closes when both directions have ended."""

    written = False

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        if self.written:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.written = True
        if "read lost" in self.calls:
            self.transport.loseConnection()


class SpliceCase(SynchronousTestCase):
    """A visitor, a splice and a target."""

    def setUp(self) -> None:
        self.begin()
        self.join()

    def begin(self) -> None:
        self.ends: list[tuple[SpliceOutcome, int, int]] = []
        self.splice = Splice(lambda *end: self.ends.append(end))
        self.visitor, self.target = Peer(), Peer()
        self.near = connect(self.visitor, self.splice.near)
        self.far: Pipe | None = None

    def join(self) -> None:
        self.dial()
        self.splice.join()

    def dial(self) -> None:
        self.far = connect(self.splice.far, self.target)

    def settle(self, *sources: Source) -> None:
        idle = 0
        while idle < 2:
            moved = [source.push() for source in sources] + [pipe.pump() for pipe in (self.near, self.far) if pipe]
            idle = 0 if any(moved) else idle + 1

    def assertOver(self, *ends: tuple[SpliceOutcome, int, int]) -> None:
        """Assert how the splice ended, and that nothing is left of it."""
        self.assertEqual(self.ends, list(ends))
        for pipe in (self.near, self.far):
            if pipe is not None:
                self.assertTrue(pipe.client.disconnected and pipe.server.disconnected)
        for protocol in (self.visitor, self.target):
            self.assertLessEqual(len(protocol.lost), 1)

    def reason(self, protocol: HalfCloser) -> Any:
        """Return why the connection of a protocol was lost."""
        (failure,) = protocol.lost
        return failure.type


class BytesTests(SpliceCase):
    """Bytes pass both ways, and are counted."""

    def test_interface(self) -> None:
        verifyObject(IHalfCloseableProtocol, self.splice.near)

    def test_both_ways(self) -> None:
        self.target.on_data = lambda data: self.target.transport.write(data.upper() + b"!")
        self.visitor.transport.write(b"hello")
        self.settle()
        self.assertEqual((self.target.received, self.visitor.received), (b"hello", b"HELLO!"))
        self.assertEqual((self.splice.near.received, self.splice.far.received), (5, 6))
        self.assertIs(self.splice.last, self.splice.far)
        self.assertEqual(self.ends, [])

    def test_early_bytes(self) -> None:
        self.begin()
        for text in (b"one ", b"two "):
            self.visitor.transport.write(text)
            self.settle()
        self.assertIs(self.splice.last, self.splice.near)
        self.join()
        self.visitor.transport.write(b"three")
        self.settle()
        self.assertEqual(self.target.received, b"one two three")

    def test_early_bytes_of_the_target(self) -> None:
        self.begin()
        self.dial()
        self.target.transport.write(b"220 ready")
        self.settle()
        self.splice.join()
        self.settle()
        self.assertEqual(self.visitor.received, b"220 ready")

    def test_early_bytes_and_end(self) -> None:
        self.begin()
        self.visitor.transport.write(b"question")
        self.visitor.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.ends, [])
        self.join()
        self.settle()
        self.assertEqual((self.target.received, self.target.calls), (b"question", ["data", "read lost"]))
        self.target.transport.write(b"answer")
        self.target.transport.loseConnection()
        self.settle()
        self.assertEqual(self.visitor.received, b"answer")
        self.assertOver((DONE, 8, 6))

    def test_both_ended_before_they_were_joined(self) -> None:
        self.begin()
        self.dial()
        for protocol in (self.visitor, self.target):
            protocol.transport.write(b"bye")
            protocol.transport.loseWriteConnection()
        self.settle()
        self.splice.join()
        self.settle()
        self.assertEqual((self.visitor.received, self.target.received), (b"bye", b"bye"))
        self.assertOver((DONE, 3, 3))

    def test_a_transport_that_is_connected_already(self) -> None:
        self.begin()
        other = HalfCloser()
        pipe = connect(self.visitor, other)
        splice = Splice(lambda *end: self.ends.append(end))
        splice.near.attach(pipe.server)
        self.far = connect(splice.far, self.target)
        splice.join()
        self.visitor.transport.write(b"hello")
        pipe.pump()
        self.settle()
        self.assertEqual(self.target.received, b"hello")


class HalfCloseTests(SpliceCase):
    """The end of one direction passes through, the other one goes on."""

    def test_visitor_first(self) -> None:
        self.visitor.transport.write(b"question")
        self.visitor.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.target.calls, ["data", "read lost"])
        for _ in range(3):
            self.target.transport.write(b"answer")
            self.settle()
        self.assertEqual(self.visitor.received, b"answer" * 3)
        self.assertEqual(self.ends, [])
        self.target.transport.loseWriteConnection()
        self.settle()
        self.assertOver((DONE, 8, 18))
        self.assertEqual((self.reason(self.visitor), self.reason(self.target)), (ConnectionDone, ConnectionDone))

    def test_target_first(self) -> None:
        self.target.transport.write(b"greeting")
        self.target.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.visitor.calls, ["data", "read lost"])
        self.visitor.transport.write(b"well then")
        self.settle()
        self.assertEqual(self.target.received, b"well then")
        self.visitor.transport.loseWriteConnection()
        self.settle()
        self.assertOver((DONE, 9, 8))
        self.assertEqual((self.reason(self.visitor), self.reason(self.target)), (ConnectionDone, ConnectionDone))

    def test_both_at_once(self) -> None:
        for protocol in (self.visitor, self.target):
            protocol.transport.write(bytes(300_000))
            protocol.transport.loseWriteConnection()
        self.settle()
        self.assertEqual((len(self.visitor.received), len(self.target.received)), (300_000, 300_000))
        self.assertOver((DONE, 300_000, 300_000))

    def test_it_waits_for_who_is_behind(self) -> None:
        for behind, ahead in ((self.target, self.visitor), (self.visitor, self.target)):
            behind.transport.pauseProducing()
            source = Source(ahead.transport, bytes(500_000))
            self.settle(source)
            self.assertGreater(len(source.rest), 0)
            ahead.transport.unregisterProducer()
            ahead.transport.write(source.rest)
            ahead.transport.loseWriteConnection()
            self.settle()
            self.assertNotIn("read lost", behind.calls)
            behind.transport.resumeProducing()
            self.settle()
            self.assertEqual(len(behind.received), 500_000)
            self.assertIn("read lost", behind.calls)
        self.assertOver((DONE, 500_000, 500_000))

    def test_it_passes_while_the_other_direction_is_stuck(self) -> None:
        self.visitor.transport.pauseProducing()
        source = Source(self.target.transport, bytes(500_000))
        self.settle(source)
        self.visitor.transport.loseWriteConnection()
        self.settle(source)
        self.assertIn("read lost", self.target.calls)
        self.target.transport.unregisterProducer()
        self.target.transport.write(source.rest)
        self.target.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.ends, [])
        self.visitor.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(self.visitor.received), 500_000)
        self.assertOver((DONE, 0, 500_000))


class LossTests(SpliceCase):
    """A side that goes away takes the other one with it."""

    def test_visitor_cut_off_is_no_clean_end_for_the_target(self) -> None:
        self.visitor.transport.write(b"half an upl")
        self.settle()
        self.visitor.transport.abortConnection()
        self.settle()
        self.assertEqual(self.reason(self.target), ConnectionLost)
        self.assertEqual(self.target.calls, ["data", "lost"])
        self.assertOver((NEAR_LOST, 11, 0))

    def test_visitor_cut_off_in_the_middle_of_a_download(self) -> None:
        self.visitor.transport.pauseProducing()
        source = Source(self.target.transport, bytes(4 << 20))
        self.settle(source)
        self.visitor.transport.abortConnection()
        self.settle(source)
        self.assertEqual(source.calls[-1], "stop")
        self.assertLess(self.splice.far.received, 1 << 20)
        self.assertOver((NEAR_LOST, 0, self.splice.far.received))

    def test_visitor_that_closes_in_the_middle_of_a_download(self) -> None:
        self.visitor.transport.loseConnection()
        self.settle()
        self.assertEqual(self.target.calls, ["read lost"], "it may as well have been a half-close")
        self.target.transport.write(b"more of it")
        self.settle()
        self.assertOver((NEAR_LOST, 0, 10))

    def test_target_cut_off(self) -> None:
        self.visitor.transport.pauseProducing()
        self.target.transport.write(b"sent before")
        self.settle()
        self.target.transport.abortConnection()
        self.settle()
        self.assertEqual(self.ends, [])
        self.visitor.transport.resumeProducing()
        self.settle()
        self.assertEqual(self.visitor.received, b"sent before", "what was sent is still worth delivering")
        self.assertEqual(self.visitor.calls, ["data", "read lost"])
        self.visitor.transport.loseConnection()
        self.settle()
        self.assertOver((FAR_LOST, 0, 11))

    def test_target_lost_while_the_visitor_is_behind(self) -> None:
        assert self.far is not None
        self.visitor.transport.pauseProducing()
        source = Source(self.target.transport, bytes(500_000))
        self.settle(source)
        self.assertFalse(self.far.client.reading)
        self.far.break_link()
        self.visitor.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(self.visitor.received), self.splice.far.received)
        self.assertEqual(self.visitor.calls[-1], "read lost")
        self.visitor.transport.loseConnection()
        self.settle()
        self.assertOver((FAR_LOST, 0, self.splice.far.received))

    def test_links_broken(self) -> None:
        for number, (outcome, left) in enumerate(((NEAR_LOST, ConnectionLost), (FAR_LOST, None))):
            self.begin()
            self.join()
            pipe = (self.near, self.far)[number]
            assert pipe is not None
            pipe.break_link()
            self.settle()
            other = (self.target, self.visitor)[number]
            if left is None:
                self.assertEqual(other.calls, ["read lost"])
                other.transport.loseConnection()
                self.settle()
            else:
                self.assertEqual(self.reason(other), left)
            self.assertOver((outcome, 0, 0))

    def test_visitor_lost_before_there_is_a_target(self) -> None:
        self.begin()
        self.visitor.transport.write(b"x")
        self.settle()
        self.visitor.transport.abortConnection()
        self.settle()
        self.assertEqual(self.ends, [], "the other side is still to come")
        self.assertTrue(self.splice.near.lost)
        self.dial()
        assert self.far is not None
        self.far.client.abortConnection()
        self.settle()
        self.assertOver((NEAR_LOST, 1, 0))

    def test_visitor_lost_and_joined_none_the_less(self) -> None:
        self.begin()
        self.near.break_link()
        self.join()
        self.settle()
        self.target.transport.loseConnection()
        self.settle()
        self.assertOver((NEAR_LOST, 0, 0))

    def test_target_lost_before_they_were_joined(self) -> None:
        """With more early bytes than the visitor's transport takes at once: they are delivered, and the transport closes."""
        self.begin()
        self.dial()
        assert self.far is not None
        self.target.transport.write(bytes(150_000))
        self.far.pump(max_bytes=140_000)
        self.far.break_link()
        self.splice.join()
        self.settle()
        self.assertGreaterEqual(len(self.visitor.received), 140_000)
        self.assertIn("read lost", self.visitor.calls)
        self.visitor.transport.loseConnection()
        self.settle()
        self.assertOver((FAR_LOST, 0, len(self.visitor.received)))

    def test_abort(self) -> None:
        self.visitor.transport.write(b"x")
        self.settle()
        self.splice.abort()
        self.splice.abort()
        self.settle()
        self.assertEqual((self.reason(self.visitor), self.reason(self.target)), (ConnectionLost, ConnectionLost))
        self.assertEqual(len(self.ends), 1)
        self.assertOver((NEAR_LOST, 1, 0))
        self.splice.abort()
        self.assertEqual(len(self.ends), 1)

    def test_abort_before_there_is_a_target(self) -> None:
        self.begin()
        self.splice.abort()
        self.settle()
        self.assertEqual(self.reason(self.visitor), ConnectionLost)

    def test_an_end_is_told_once(self) -> None:
        self.visitor.transport.loseConnection()
        self.target.transport.loseConnection()
        self.settle()
        self.splice.near.connectionLost()
        self.splice.far.connectionLost()
        self.assertOver((DONE, 0, 0))


class BackpressureTests(SpliceCase):
    """A slow side pauses the fast one, one direction at a time."""

    def test_both_directions(self) -> None:
        for slow, fast in ((self.target, self.visitor), (self.visitor, self.target)):
            slow.transport.pauseProducing()
            source = Source(fast.transport, bytes(2 << 20))
            self.settle(source)
            taken = (2 << 20) - len(source.rest)
            self.assertLessEqual(taken, 4 * HIGH_WATER)
            before = len(fast.received)
            slow.transport.write(b"the other direction goes on")
            self.settle(source)
            self.assertEqual(len(fast.received) - before, 27)
            slow.transport.resumeProducing()
            self.settle(source)
            self.assertEqual(len(slow.received) - (27 if slow is self.visitor else 0), 2 << 20)
            fast.transport.unregisterProducer()


class StreamTests(SynchronousTestCase):
    """The near side is a stream of a link, as at a client."""

    def setUp(self) -> None:
        self.ends: list[tuple[SpliceOutcome, int, int]] = []
        self.target = Peer()
        self.links = Links(on_stream=self.take)
        self.stream, self.visitor = self.links.open()
        self.links.server.schedule_flush()
        self.links.settle()

    def take(self, stream: TunnelStream) -> None:
        self.splice = Splice(lambda *end: self.ends.append(end))
        self.splice.near.attach(stream)
        self.far = connect(self.splice.far, self.target)
        self.splice.join()

    def settle(self, *sources: Source) -> None:
        idle = 0
        while idle < 2:
            pushed = [source.push() for source in sources]
            moved = self.far.pump()
            before = self.links.client.session.streams, len(self.target.received), len(self.visitor.received)
            self.links.settle()
            after = self.links.client.session.streams, len(self.target.received), len(self.visitor.received)
            idle = 0 if moved or any(pushed) or before != after else idle + 1

    def assertOver(self, *ends: tuple[SpliceOutcome, int, int]) -> None:
        self.assertEqual(self.ends, list(ends))
        self.assertTrue(self.far.client.disconnected)
        self.assertEqual((len(self.visitor.lost), len(self.target.lost)), (1, 1))
        self.assertEqual((self.links.server.session.streams, self.links.client.session.streams), (0, 0))

    def test_half_close_both_orders(self) -> None:
        self.stream.write(b"question")
        self.stream.loseWriteConnection()
        self.settle()
        self.target.transport.write(b"answer")
        self.settle()
        self.assertEqual((self.target.calls, self.visitor.received), (["data", "read lost"], b"answer"))
        self.target.transport.loseWriteConnection()
        self.settle()
        self.assertOver((DONE, 8, 6))

    def test_target_first(self) -> None:
        self.target.transport.write(b"greeting")
        self.target.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.visitor.calls, ["data", "read lost"])
        self.stream.write(b"bye")
        self.stream.loseWriteConnection()
        self.settle()
        self.assertOver((DONE, 3, 8))

    def test_much_both_ways(self) -> None:
        up, down = Source(self.stream, bytes(3 << 20)), Source(self.target.transport, bytes(3 << 20))
        self.settle(up, down)
        self.assertEqual((len(self.target.received), len(self.visitor.received)), (3 << 20, 3 << 20))
        self.stream.loseWriteConnection()
        self.target.transport.unregisterProducer()
        self.target.transport.loseWriteConnection()
        self.settle()
        self.assertOver((DONE, 3 << 20, 3 << 20))

    def test_a_visitor_that_does_not_read_pauses_the_target(self) -> None:
        self.stream.pauseProducing()
        source = Source(self.target.transport, bytes(8 << 20))
        self.settle(source)
        self.assertLess((8 << 20) - len(source.rest), 1 << 20)
        self.stream.abortConnection()
        self.settle(source)
        self.assertEqual(source.calls[-1], "stop", "and once it leaves, the target may stop")
        self.assertOver((NEAR_LOST, 0, self.splice.far.received))

    def test_a_target_that_does_not_read_pauses_the_visitor(self) -> None:
        self.target.transport.pauseProducing()
        source = Source(self.stream, bytes(8 << 20))
        self.settle(source)
        self.assertLess((8 << 20) - len(source.rest), 2 << 20)
        self.target.transport.resumeProducing()
        self.settle(source)
        self.assertEqual(len(self.target.received), 8 << 20)

    def test_the_end_comes_while_the_target_is_behind(self) -> None:
        self.target.transport.pauseProducing()
        self.stream.write(bytes(70_000))
        self.settle()
        self.stream.loseWriteConnection()
        self.settle()
        self.assertTrue(self.splice.near.read_ended, "nothing was held any more")
        self.target.transport.resumeProducing()
        self.settle()
        self.assertEqual((len(self.target.received), self.target.calls[-1]), (70_000, "read lost"))
        self.target.transport.loseConnection()
        self.settle()
        self.assertOver((DONE, 70_000, 0))

    def test_the_link_is_lost(self) -> None:
        self.stream.write(b"half an upl")
        self.settle()
        self.links.pipe.break_link()
        self.settle()
        self.assertEqual(self.reason_of_target(), ConnectionLost, "no clean end")
        self.assertEqual(self.ends, [(NEAR_LOST, 11, 0)])

    def test_the_target_is_lost(self) -> None:
        self.target.transport.write(b"half an answ")
        self.settle()
        self.target.transport.abortConnection()
        self.settle()
        self.assertEqual(self.visitor.received, b"half an answ")
        self.assertEqual(self.ends, [(FAR_LOST, 0, 12)])
        self.assertEqual(self.visitor.calls, ["data", "write lost", "read lost", "lost"])

    def test_abort(self) -> None:
        self.splice.abort()
        self.settle()
        self.assertOver(*self.ends[:1])

    def reason_of_target(self) -> Any:
        (failure,) = self.target.lost
        return failure.type


class AnyCourseTests(SpliceCase):
    """Whatever the two sides do: one end, true counts, and nothing lost of what is called done."""

    @settings(deadline=None, max_examples=150)
    @given(
        early=st.integers(0, 3),
        steps=st.lists(
            st.tuples(
                st.booleans(),
                st.sampled_from(["write", "write", "much", "half", "half", "close", "abort", "pause", "resume", "break", "pump"]),
            ),
            max_size=25,
        ),
    )
    def test_any_course(self, early: int, steps: list[tuple[bool, str]]) -> None:
        self.begin()
        self.dial()
        assert self.far is not None
        sent = {self.visitor: 0, self.target: 0}
        ended: set[HalfCloser] = set()
        for number, (visitor, step) in enumerate(steps):
            if number == early:
                self.splice.join()
            protocol, pipe = (self.visitor, self.near) if visitor else (self.target, self.far)
            if step == "pump":
                pipe.pump(max_bytes=70_000)
            elif step == "break":
                pipe.break_link()
            elif protocol.lost or protocol in ended:
                continue
            elif step in ("write", "much"):
                size = {"write": 10, "much": 150_000}[step]
                protocol.transport.write(bytes(size))
                sent[protocol] += size
            elif step in ("pause", "resume"):
                {"pause": protocol.transport.pauseProducing, "resume": protocol.transport.resumeProducing}[step]()
            else:
                ended.add(protocol)
                {
                    "half": protocol.transport.loseWriteConnection,
                    "close": protocol.transport.loseConnection,
                    "abort": protocol.transport.abortConnection,
                }[step]()
        if len(steps) <= early:
            self.splice.join()
        for protocol in (self.visitor, self.target):
            if not protocol.lost:
                protocol.transport.resumeProducing()
                protocol.transport.loseWriteConnection()
        self.settle()
        for protocol in (self.visitor, self.target):
            if not protocol.lost:
                # one that waits for ever: for the other side, or, closing itself, for a splice that closes and reads no more
                protocol.transport.abortConnection()
        self.settle()
        ((outcome, up, down),) = self.ends
        self.assertOver((outcome, self.splice.near.received, self.splice.far.received))
        self.assertEqual((up, down), (self.splice.near.received, self.splice.far.received))
        if outcome is DONE:
            self.assertEqual((len(self.target.received), up), (sent[self.visitor], sent[self.visitor]))
            self.assertEqual((len(self.visitor.received), down), (sent[self.target], sent[self.target]))

    def test_reasons_that_transports_give(self) -> None:
        """What a splice takes for a clean end, and what not."""
        for reason, outcome in ((ConnectionDone, DONE), (ConnectionAborted, NEAR_LOST), (ConnectionLost, NEAR_LOST)):
            self.begin()
            self.dial()
            self.splice.join()
            self.splice.near.readConnectionLost()
            self.splice.far.readConnectionLost()
            self.splice.near.connectionLost(Failure(reason()))
            self.splice.far.connectionLost()
            self.assertEqual(self.ends, [(outcome, 0, 0)])
