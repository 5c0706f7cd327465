"""A stream as a transport: bytes, half-close, backpressure and its one end."""

from __future__ import annotations

from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.protocols.basic import FileSender
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rtunnel.tunnel.stream import FLUSH_SIZE, STREAM_BUFFER, TINY, TunnelStream
from rtunnel.wire.smux import INITIAL_WINDOW
from tests.support.pipe import READ_SIZE
from tests.tunnel.common import HalfCloser, Links, Recorder, Source


class TransportTests(SynchronousTestCase):
    """What any transport does."""

    def setUp(self) -> None:
        self.links = Links()
        self.near, self.ours, self.far, self.theirs = self.links.joined()

    def test_interfaces(self) -> None:
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, self.near)

    def test_both_ways(self) -> None:
        self.theirs.on_data = lambda data: self.far.write(data.upper())
        self.near.write(b"he")
        self.near.writeSequence([b"l", b"lo"])
        self.links.settle()
        self.assertEqual((self.theirs.received, self.ours.received), (b"hello", b"HELLO"))

    def test_addresses(self) -> None:
        self.assertEqual(repr(self.near.getPeer()), "stream 3 of client")
        self.assertEqual(repr(self.far.getHost()), "stream 3 of server")

    def test_the_protocol_may_be_exchanged(self) -> None:
        successor = HalfCloser()
        self.theirs.on_data = lambda data: setattr(self.far, "protocol", successor)
        self.near.write(b"for the first")
        self.links.settle()
        self.near.write(b"for the second")
        self.near.loseConnection()
        self.links.settle()
        self.assertEqual((self.theirs.received, successor.received), (b"for the first", b"for the second"))
        self.far.loseConnection()
        self.links.settle()
        self.assertEqual((len(self.theirs.lost), len(successor.lost)), (0, 1))

    def test_state(self) -> None:
        self.assertEqual((self.near.open, self.near.ended), (True, False))
        self.near.loseWriteConnection()
        self.assertEqual((self.near.open, self.near.ended), (False, False))
        self.links.settle()
        self.assertEqual((self.far.open, self.far.ended), (False, False))
        self.far.loseWriteConnection()
        self.assertEqual((self.far.open, self.far.ended), (False, True))
        self.links.settle()
        self.assertEqual((self.near.open, self.near.ended), (False, True))


class EndTests(SynchronousTestCase):
    """Half-close, close and abort; ``connectionLost`` comes once, and never from inside a call."""

    def begin(self, kind: type[Recorder] = HalfCloser) -> None:
        self.links = Links(kind=kind)
        self.near, self.ours, self.far, self.theirs = self.links.joined()

    def assertOver(self) -> None:
        """Assert that both ends ended, and that nothing is left of the stream."""
        for protocol in (self.ours, self.theirs):
            self.assertEqual([failure.type for failure in protocol.lost], [ConnectionDone])
            self.assertEqual(protocol.calls[-1], "lost")
        for link in (self.links.server, self.links.client):
            self.assertEqual((link.streams, link.session.streams), ({}, 0))

    def test_half_close_here_first(self) -> None:
        self.begin()
        self.near.write(b"question")
        self.near.loseWriteConnection()
        self.near.loseWriteConnection()
        self.near.write(b"too late")
        self.links.settle()
        self.assertEqual((self.theirs.received, self.theirs.calls), (b"question", ["data", "read lost"]))
        self.far.write(b"answer")
        self.links.settle()
        self.assertEqual(self.ours.received, b"answer")
        self.far.loseWriteConnection()
        self.links.settle()
        self.assertEqual(self.ours.calls, ["data", "read lost", "lost"])
        self.assertOver()

    def test_half_close_there_first(self) -> None:
        self.begin()
        self.far.write(b"greeting")
        self.far.loseWriteConnection()
        self.links.settle()
        self.assertEqual(self.ours.calls, ["data", "read lost"])
        self.near.write(b"well")
        self.near.loseWriteConnection()
        self.links.settle()
        self.assertEqual(self.theirs.received, b"well")
        self.assertOver()

    def test_half_close_of_both_at_once(self) -> None:
        self.begin()
        for stream in (self.near, self.far):
            stream.write(b"bye")
            stream.loseWriteConnection()
        self.links.settle()
        self.assertEqual((self.ours.received, self.theirs.received), (b"bye", b"bye"))
        self.assertOver()

    def test_half_close_comes_after_all_that_waits_for_credit(self) -> None:
        self.begin()
        self.far.pauseProducing()
        self.near.write(bytes(INITIAL_WINDOW + 1000))
        self.near.loseWriteConnection()
        self.links.settle()
        self.assertNotIn("read lost", self.theirs.calls)
        self.far.resumeProducing()
        self.links.settle()
        self.assertEqual(len(self.theirs.received), INITIAL_WINDOW + 1000)
        self.assertEqual(self.theirs.calls[-1], "read lost")

    def test_without_half_close_the_end_of_one_direction_ends_both(self) -> None:
        self.begin(Recorder)
        self.near.write(b"question")
        self.near.loseWriteConnection()
        self.links.settle()
        self.assertEqual(self.theirs.calls, ["data", "lost"])
        self.assertOver()

    def test_close(self) -> None:
        self.begin()
        self.near.write(b"last words")
        self.near.loseConnection()
        self.near.loseConnection()
        self.near.write(b"too late")
        self.assertEqual(self.ours.lost, [], "not from inside the call")
        self.links.turn()
        self.assertEqual(len(self.ours.lost), 1)
        self.far.write(b"not knowing")
        self.links.settle()
        self.assertEqual((self.theirs.received, self.ours.received), (b"last words", b""))
        self.assertOver()

    def test_close_with_bytes_waiting_for_credit(self) -> None:
        self.begin()
        self.far.pauseProducing()
        self.near.write(bytes(INITIAL_WINDOW + 1000))
        self.near.loseConnection()
        self.links.settle()
        self.assertEqual((len(self.ours.lost), self.theirs.lost), (1, []))
        self.far.resumeProducing()
        self.links.settle()
        self.assertEqual(len(self.theirs.received), INITIAL_WINDOW + 1000)
        self.assertOver()

    def test_close_after_a_half_close(self) -> None:
        self.begin()
        self.near.write(b"question")
        self.near.loseWriteConnection()
        self.links.settle()
        self.near.loseConnection()
        self.far.write(b"answer")
        self.links.settle()
        self.assertEqual(self.ours.received, b"")
        self.assertOver()

    def test_abort(self) -> None:
        self.begin()
        self.far.pauseProducing()
        self.near.write(bytes(INITIAL_WINDOW + 1000))
        self.near.abortConnection()
        self.near.abortConnection()
        self.assertEqual(self.ours.lost, [])
        self.links.settle()
        self.assertEqual(len(self.ours.lost), 1)
        self.far.resumeProducing()
        self.links.settle()
        self.assertLessEqual(len(self.theirs.received), INITIAL_WINDOW)
        self.assertOver()

    def test_the_consumer_is_gone(self) -> None:
        self.begin()
        self.near.stopProducing()
        self.links.settle()
        self.assertOver()

    def test_ended_inside_a_call(self) -> None:
        for end in (TunnelStream.loseConnection, TunnelStream.abortConnection):
            self.begin()
            self.theirs.on_data = lambda data, end=end: end(self.far)
            self.near.write(b"x")
            self.near.write(b"y")
            self.links.settle()
            self.assertEqual(self.theirs.calls, ["data", "lost"])
            self.assertOver()

    def test_after_the_end(self) -> None:
        self.begin()
        self.near.abortConnection()
        self.links.settle()
        stopped = Source(self.near, b"x")
        self.assertEqual(stopped.calls, ["stop"])
        for call in (
            self.near.loseConnection,
            self.near.loseWriteConnection,
            self.near.abortConnection,
            self.near.pauseProducing,
            self.near.resumeProducing,
            self.near.unregisterProducer,
            self.near.writable,
            self.near.peer_stopped,
        ):
            call()
        self.near.write(b"x")
        self.links.settle()
        self.assertOver()


class PauseTests(SynchronousTestCase):
    """A stream that is paused holds what comes."""

    def setUp(self) -> None:
        self.links = Links()
        self.near, self.ours, self.far, self.theirs = self.links.joined()

    def test_in_order(self) -> None:
        self.far.pauseProducing()
        for text in (b"one ", b"two ", b"three "):
            self.near.write(text)
            self.links.settle()
        self.assertEqual(self.theirs.received, b"")
        self.far.resumeProducing()
        self.assertEqual(self.theirs.received, b"one two three ")
        self.near.write(b"four")
        self.links.settle()
        self.assertEqual(self.theirs.received, b"one two three four")

    def test_the_end_comes_after_what_was_held(self) -> None:
        self.far.pauseProducing()
        self.near.write(b"held")
        self.near.loseWriteConnection()
        self.links.settle()
        self.assertEqual(self.theirs.calls, [])
        self.far.resumeProducing()
        self.assertEqual(self.theirs.calls, ["data", "read lost"])

    def test_paused_again_while_held_is_delivered(self) -> None:
        self.theirs.on_data = lambda data: self.far.pauseProducing()
        texts = [number * TINY for number in (b"1", b"2", b"3")]
        for text in texts:
            self.near.write(text)
            self.links.settle()
        self.near.loseWriteConnection()
        self.links.settle()
        for count in (1, 2, 3):
            self.assertEqual(self.theirs.calls, ["data"] * count)
            self.far.resumeProducing()
        self.links.settle()
        self.assertEqual(self.theirs.calls, ["data"] * 3 + ["read lost"])
        self.assertEqual(self.theirs.received, b"".join(texts))

    def test_paused_and_resumed_inside_a_call(self) -> None:
        depth: list[int] = []

        def on_data(data: bytes) -> None:
            self.assertEqual(depth, [], "called from inside a call")
            depth.append(1)
            self.far.pauseProducing()
            self.far.resumeProducing()
            depth.pop()

        self.theirs.on_data = on_data
        self.far.pauseProducing()
        for text in (b"one ", b"two ", b"three "):
            self.near.write(text)
        self.links.settle()
        self.far.resumeProducing()
        self.near.write(b"four")
        self.links.settle()
        self.assertEqual(self.theirs.received, b"one two three four")

    def test_the_link_is_lost_after_the_last_byte(self) -> None:
        """The peer has said everything and may have left, and a slow consumer still gets it; then the stream ends cleanly."""
        self.far.pauseProducing()
        self.near.write(b"held")
        self.near.loseConnection()
        self.links.settle()
        self.links.pipe.break_link()
        self.links.settle()
        self.assertNotIn("lost", self.theirs.calls)
        self.far.resumeProducing()
        self.links.settle()
        self.assertEqual(self.theirs.received, b"held")
        self.assertEqual(self.theirs.calls[-2:], ["read lost", "lost"])
        self.assertIsNotNone(self.theirs.lost[0].check(ConnectionDone))
        self.assertEqual(self.links.server.streams, {})

    def test_the_link_is_lost_before_the_last_byte(self) -> None:
        """What is held is not all, or its end is no proper one."""
        for broken in (False, True):
            links = Links()
            near, _, far, theirs = links.joined()
            far.pauseProducing()
            near.write(b"held")
            if broken:
                near.mark_broken()
                near.loseConnection()
            links.settle()
            links.pipe.break_link()
            links.settle()
            self.assertEqual((theirs.received, theirs.calls[-1]), (b"", "lost"))
            self.assertIsNone(theirs.lost[0].check(ConnectionDone))

    def test_ended_while_held(self) -> None:
        for end in (TunnelStream.loseConnection, TunnelStream.abortConnection):
            near, ours, far, theirs = self.links.joined()
            far.pauseProducing()
            near.write(b"never seen")
            self.links.settle()
            end(far)
            far.resumeProducing()
            self.links.settle()
            self.assertEqual((theirs.calls, ours.calls), (["lost"], ["write lost", "read lost", "lost"]))

    def test_ended_inside_a_call_while_more_is_held(self) -> None:
        for end in (TunnelStream.loseConnection, TunnelStream.abortConnection):
            near, _, far, theirs = self.links.joined()
            theirs.on_data = lambda data, end=end, far=far: end(far)
            far.pauseProducing()
            near.write(b"one")
            near.write(b"two")
            near.loseWriteConnection()
            self.links.settle()
            far.resumeProducing()
            self.links.settle()
            self.assertEqual(theirs.calls, ["data", "lost"])

    def test_an_error_while_held_is_delivered_ends_the_stream_and_goes_no_further(self) -> None:
        def fault(data: bytes) -> None:
            raise ZeroDivisionError

        self.theirs.on_data = fault
        self.far.pauseProducing()
        self.near.write(b"one")
        self.near.write(b"two")
        self.links.settle()
        self.far.resumeProducing()
        self.links.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.theirs.calls, self.ours.calls), (["data", "lost"], ["write lost", "read lost", "lost"]))


class BackpressureTests(SynchronousTestCase):
    """Who is behind holds up those who write to it, and nobody else."""

    def test_a_paused_stream_stops_its_peer_after_a_window(self) -> None:
        links = Links(window=1 << 20)
        near, _, far, _ = links.joined()
        other, _, _, theirs = links.joined()
        far.pauseProducing()
        source, more = Source(near, bytes(4 << 20)), Source(other, bytes(4 << 20))
        links.settle(source, more)
        sent = (4 << 20) - len(source.rest)
        self.assertTrue(source.paused)
        self.assertLessEqual(sent, INITIAL_WINDOW + STREAM_BUFFER + source.chunk, "no credit was given")
        self.assertEqual(len(theirs.received), 4 << 20, "others go on")
        far.resumeProducing()
        links.settle(source)
        self.assertEqual(len(far.protocol.received), 4 << 20)
        self.assertEqual(source.calls[-1], "resume")

    def test_credit_goes_back_when_bytes_were_taken(self) -> None:
        links = Links(window=100_000)
        near, _, far, theirs = links.joined()
        theirs.on_data = lambda data: far.pauseProducing()
        source = Source(near, bytes(4 << 20))
        links.settle(source)
        taken = []
        for _ in range(20):
            taken.append(len(theirs.received))
            held = (4 << 20) - len(source.rest) - links.server.session.waiting(near.id) - taken[-1]
            self.assertLessEqual(held, INITIAL_WINDOW if taken[-1] < INITIAL_WINDOW else 100_000)
            far.resumeProducing()
            links.settle(source)
        self.assertEqual(sorted(set(taken)), taken, "each time some more")

    def test_a_slow_link_pauses_all_that_write_and_resumes_them(self) -> None:
        links = Links(high_water=50_000)
        streams = [links.joined() for _ in range(4)]
        links.pipe.client.pauseProducing()
        sources = [Source(stream, bytes(200_000)) for stream, *_ in streams]
        links.settle(*sources)
        self.assertTrue(links.server.congested)
        for source in sources:
            self.assertTrue(source.paused)
            self.assertGreater(len(source.rest), 0)
        self.assertEqual(len(links.server._waiting), 4)
        links.pipe.client.resumeProducing()
        links.settle(*sources)
        for source, (_, _, _, theirs) in zip(sources, streams, strict=True):
            self.assertEqual((len(theirs.received), source.paused), (200_000, False))
        self.assertEqual(links.server._waiting, set())

    def test_producers_that_write_as_they_are_resumed(self) -> None:
        class Greedy(Source):
            def resumeProducing(self) -> None:
                super().resumeProducing()
                while self.push():
                    pass

        links = Links(high_water=10_000)
        streams = [links.joined() for _ in range(5)]
        links.pipe.client.pauseProducing()
        sources = [Greedy(stream, bytes(150_000)) for stream, *_ in streams]
        links.settle(*sources)
        links.pipe.client.resumeProducing()
        links.settle()
        for source, (_, _, _, theirs) in zip(sources, streams, strict=True):
            self.assertEqual((len(theirs.received), source.rest), (150_000, b""))

    def test_credit_and_link_at_the_same_time(self) -> None:
        """The peer reads again before the link does, and the other way round."""
        for peer_first in (True, False):
            links = Links(high_water=10_000)
            near, _, far, theirs = links.joined()
            far.pauseProducing()
            source = Source(near, bytes(1 << 20))
            links.settle(source)
            self.assertGreater(links.server.session.waiting(near.id), STREAM_BUFFER)
            links.pipe.client.pauseProducing()
            busy = Source(links.open()[0], bytes(200_000))
            links.settle(source, busy)
            self.assertTrue(links.server.congested and source.paused and busy.paused)
            calls = [far.resumeProducing, links.pipe.client.resumeProducing]
            for call in calls if peer_first else reversed(calls):
                call()
                links.settle(source, busy)
            self.assertEqual((len(theirs.received), source.rest, busy.rest), (1 << 20, b"", b""))
            self.assertEqual(links.server._waiting, set())

    def test_a_stalled_stream_on_a_busy_link_does_not_grow(self) -> None:
        links = Links(high_water=10_000)
        near, _, far, _ = links.joined()
        far.pauseProducing()
        stalled = Source(near, bytes(8 << 20))
        other, _, _, theirs = links.joined()
        busy = Source(other, bytes(4 << 20))
        most = 0
        while busy.rest:
            # the link is behind again and again, and each time both are paused and resumed with it
            busy.push()
            links.turn()
            stalled.push()
            links.turn()
            links.pipe.pump(max_bytes=READ_SIZE)
            most = max(most, links.server.session.waiting(near.id))
        self.assertLessEqual(most, STREAM_BUFFER + 2 * stalled.chunk)
        links.settle(stalled)
        far.resumeProducing()
        links.settle(stalled)
        self.assertEqual((len(theirs.received), len(far.protocol.received)), (4 << 20, 8 << 20))

    def test_what_waits_in_the_link_is_bounded(self) -> None:
        links = Links(high_water=READ_SIZE)
        streams = [links.joined()[0] for _ in range(10)]
        links.pipe.client.pauseProducing()
        sources = [Source(stream, bytes(1 << 20)) for stream in streams]
        links.settle(*sources)
        self.assertLessEqual(links.pipe.server.waiting, READ_SIZE + FLUSH_SIZE + 10 * 2 * 16384)

    def test_a_peer_that_reads_no_more_stops_the_producer(self) -> None:
        links = Links()
        near, ours, far, _ = links.joined()
        source = Source(near, bytes(8 << 20))
        for _ in range(5):
            source.push()
        links.settle()
        far.loseConnection()
        links.settle()
        self.assertEqual(source.calls, ["stop"])
        self.assertEqual(ours.calls, ["write lost", "read lost", "lost"])

    def test_the_producer_of_a_stream_that_ends_with_its_link(self) -> None:
        links = Links()
        source = Source(links.joined()[0], b"x")
        links.pipe.break_link()
        self.assertEqual(source.calls, ["stop"])

    def test_no_producer_is_left_paused_by_its_predecessor(self) -> None:
        links = Links()
        near, _, far, _ = links.joined()
        far.pauseProducing()
        first = Source(near, bytes(1 << 20))
        links.settle(first)
        self.assertTrue(first.paused)
        near.unregisterProducer()
        second = Source(near, bytes(1 << 20))
        links.settle(second)
        self.assertEqual(second.calls, ["pause"])
        far.resumeProducing()
        links.settle(second)
        self.assertEqual((second.rest, second.paused), (b"", False))
        self.assertNotIn("resume", first.calls)

    def test_pull_producers(self) -> None:
        links = Links(high_water=10_000)
        near, _, far, theirs = links.joined()
        far.pauseProducing()
        sender = FileSender()
        done = sender.beginFileTransfer(BytesIO(bytes(2 << 20)), near)
        links.settle()
        self.assertNoResult(done)
        self.assertLessEqual(links.server.session.waiting(near.id), STREAM_BUFFER + sender.CHUNK_SIZE)
        far.resumeProducing()
        links.settle()
        self.successResultOf(done)
        self.assertEqual(len(theirs.received), 2 << 20)


class FlowTests(SynchronousTestCase):
    """Whatever the consumers, the transport and the producers do: nothing is lost, and nobody is left waiting."""

    @settings(deadline=None, max_examples=60)
    @given(
        sizes=st.lists(st.sampled_from([0, 100, 100_000, 700_000]), min_size=1, max_size=4),
        steps=st.lists(
            st.tuples(st.sampled_from(["pause", "resume", "push", "pump", "turn", "block", "unblock"]), st.integers(0, 3)),
            max_size=60,
        ),
        version=st.sampled_from([2, 2, 1]),
        high_water=st.sampled_from([1000, 65536]),
        window=st.sampled_from([1000, 300_000]),
        finish=st.booleans(),
    )
    def test_flow(
        self, sizes: list[int], steps: list[tuple[str, int]], version: int, high_water: int, window: int, finish: bool
    ) -> None:
        links = Links(high_water=high_water, version=version, window=window, receive_buffer=50_000)
        streams = [links.joined() for _ in sizes]
        data = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
        sources = [Source(stream, each, chunk=40_000) for (stream, *_), each in zip(streams, data, strict=True)]
        for step, number in steps:
            near, _, far, _ = streams[number % len(streams)]
            if step == "push":
                while sources[number % len(streams)].push():
                    pass
            elif step == "turn":
                links.turn()
            elif step == "pump":
                links.pipe.pump(max_bytes=(1, 5000, 100_000, None)[number])
            elif step in ("block", "unblock"):
                links.client.transport.reading = step == "unblock"
            else:
                {"pause": far.pauseProducing, "resume": far.resumeProducing}[step]()
            if version == 2:
                self.assertLessEqual(links.server.session.waiting(near.id), STREAM_BUFFER + 2 * 40_000)
        links.client.transport.resumeProducing()
        for _, _, far, _ in streams:
            far.resumeProducing()
        links.settle(*sources)
        if finish:
            for near, _, far, _ in streams:
                near.loseWriteConnection()
                far.loseWriteConnection()
            links.settle()
            self.assertEqual((links.server.session.streams, links.client.session.streams), (0, 0))
        for (_, ours, _, theirs), each in zip(streams, data, strict=True):
            self.assertEqual(theirs.received, each)
            self.assertEqual((len(ours.lost), len(theirs.lost)), (finish, finish))
        self.assertEqual((links.server._waiting, links.client.session.congested), (set(), False))
