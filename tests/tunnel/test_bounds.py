"""What the peer of a link may cost: bytes that wait for it, streams that hold back the others, floods."""

from __future__ import annotations

import struct
import sys
from collections import Counter
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Limit, LinkEnd
from rtunnel.transport.reasons import Flooded, Stalled
from rtunnel.tunnel.bounds import SLOWEST_CONSUMER, LinkBounds
from rtunnel.tunnel.link import STUCK, Link, LinkClosed
from rtunnel.wire.smux import FLOOD_SIZE, HEADER, Session
from tests.support.pipe import connect
from tests.tunnel.common import QUIET, CountedTransport, HalfCloser, Links, Source

KIB = 1024
MIB = 1 << 20


class BufferTests(SynchronousTestCase):
    """Bytes that wait for a peer that does not read."""

    def setUp(self) -> None:
        self.links = Links(bounds=LinkBounds(MIB))

    def fill(self) -> list[HalfCloser]:
        """Ask for more than may wait for a client that does not read; return what each request's stream is told."""
        self.links.pipe.client.pauseProducing()
        asked: list[HalfCloser] = []
        while self.links.server.usable:
            self.assertLess(len(asked), 100)
            stream, protocol = self.links.open()
            Source(stream, b"")
            stream.write(bytes(60 * KIB))
            asked.append(protocol)
            self.links.settle()
        return asked

    def test_new_requests(self) -> None:
        """What they bring waits up to the bound; then there are no new ones, and the link is dropped unless the peer reads."""
        asked = self.fill()
        self.assertTrue(self.links.server.full)
        self.assertGreater(len(asked), MIB // (61 * KIB))
        self.assertLess(self.links.server.buffered(), MIB + 200 * KIB)
        with self.assertRaisesRegex(LinkClosed, "too much waits for the peer"):
            self.links.open()
        self.links.clock.advance(STUCK)
        self.links.server.schedule_flush()
        self.links.settle()
        (reason,) = self.links.lost["server"]
        self.assertRegex(reason, r"^overflowed: its peer does not read, and 1\d{6} bytes wait for it \(--link-buffer\)$")
        self.assertEqual([len(protocol.lost) for protocol in asked], [1] * len(asked))

    def test_reads_again(self) -> None:
        """All of it arrives, and new requests are taken."""
        asked = self.fill()
        self.links.pipe.client.resumeProducing()
        self.links.settle()
        self.assertEqual([len(theirs.received) for theirs in self.links.protocols.values()], [60 * KIB] * len(asked))
        self.assertEqual((self.links.server.full, self.links.server.session.held), (False, 0))
        self.links.joined()

    def test_visitors_that_leave(self) -> None:
        """Take along what they have sent: however many come, only those that are there cost anything."""
        self.links.pipe.client.pauseProducing()
        for _ in range(500):
            stream, _ = self.links.open()
            stream.write(bytes(60 * KIB))
            self.links.settle()
            stream.abortConnection()
            self.links.settle()
        self.assertFalse(self.links.server.full)
        self.assertLess(self.links.server.buffered(), 200 * KIB)

    def test_one_copy(self) -> None:
        """What is held is the very piece that was written, which the exchange keeps for a retry as well."""
        self.links.pipe.client.pauseProducing()
        first, _ = self.links.open()
        first.write(bytes(100 * KIB))
        self.links.settle()
        body = bytes(60 * KIB)
        stream, _ = self.links.open()
        stream.write(body)
        self.links.settle()
        pieces = self.links.server.session._streams[stream.id].pending
        self.assertEqual([id(piece) for piece in pieces or ()], [id(body)])

    def test_responses(self) -> None:
        """The same at the other end: a server that does not read."""
        streams = [self.links.joined()[2] for _ in range(30)]
        self.links.pipe.server.pauseProducing()
        for stream in streams:
            stream.write(bytes(60 * KIB))
            self.links.clock.advance(STUCK)
            self.links.settle()
        self.assertIn("overflowed", self.links.lost["client"][0])
        self.assertTrue(all(stream.ended for stream in streams))

    def test_replies(self) -> None:
        """A peer that opens more streams than it may, and reads none of the refusals."""
        clock, lost = Clock(), []
        link = Link(
            Session(opens=False, max_streams=0),
            reactor=clock,
            keepalive=QUIET,
            bounds=LinkBounds(MIB),
            on_stream=lambda stream: None,
            on_lost=lambda link, end, reason: lost.append(end),
        )
        pipe = connect(link, HalfCloser())
        pipe.server.pauseProducing()
        for number in range(200):
            link.dataReceived(b"".join(struct.pack("<BBHI", 2, 0, 0, 1 + 2 * (one + number * 400)) for one in range(400)))
            clock.advance(1)
            pipe.pump()
        self.assertEqual(lost, [LinkEnd.OVERFLOWED])

    def test_slow_peer(self) -> None:
        """Who reads something now and then is not dropped, however much is sent in all."""
        for _ in range(30):
            self.links.pipe.client.pauseProducing()
            stream, _ = self.links.open()
            stream.write(bytes(200 * KIB))
            self.links.settle()
            self.links.pipe.client.resumeProducing()
            self.links.settle()
        self.assertEqual(self.links.lost, {"server": [], "client": []})

    def test_slow_peer_with_too_much(self) -> None:
        """Many requests at once may be more than a slow link takes in a while; it is not dropped as long as it takes something."""
        self.fill()
        for _ in range(10):
            self.links.clock.advance(STUCK)
            self.links.pipe.client.resumeProducing()
            self.links.pipe.server.turn(1000)
            self.links.pipe.client.pauseProducing()
            self.assertTrue(self.links.server.check_unsent())
        self.assertEqual(self.links.lost, {"server": [], "client": []})
        self.links.clock.advance(STUCK)
        self.links.server.check_unsent()
        self.links.settle()
        self.assertIn("overflowed", self.links.lost["server"][0])

    def test_all_that_waits(self) -> None:
        """In the connection, for credit and for a consumer."""
        stream, _, far, _ = self.links.joined()
        far.pauseProducing()
        stream.write(bytes(1000 * KIB))
        self.links.settle()
        self.assertEqual(self.links.client.buffered(), 256 * KIB, "all that the window allows")
        self.assertEqual(self.links.server.buffered(), (1000 - 256) * KIB)
        self.links.pipe.client.pauseProducing()
        other, _ = self.links.open()
        other.write(bytes(100 * KIB))
        self.links.settle()
        self.assertGreaterEqual(self.links.server.buffered(), (1100 - 256) * KIB)
        self.links.pipe.client.resumeProducing()
        far.resumeProducing()
        self.links.settle()
        self.assertEqual((self.links.server.buffered(), self.links.client.buffered()), (0, 0))

    def test_freed_with_the_link(self) -> None:
        """Not when the last one has forgotten it."""
        stream, _, far, _ = self.links.joined()
        far.pauseProducing()
        stream.write(bytes(1000 * KIB))
        self.links.settle()
        self.links.pipe.break_link()
        self.links.settle()
        self.assertEqual((self.links.server.buffered(), self.links.client.buffered()), (0, 0))


class EndTests(SynchronousTestCase):
    """Ends that the connection beneath tells."""

    def test_ends(self) -> None:
        for reason, end in (
            (Stalled(), "stalled: the peer took nothing of what was sent"),
            (Flooded("pings"), "flooded: pings"),
        ):
            links = Links()
            links.server.connectionLost(Failure(reason))
            self.assertIn(end, links.lost["server"][0])


class TinyPieceTests(SynchronousTestCase):
    """A byte that waits costs little more than a byte, however it came."""

    def cost(self, pieces: Any) -> int:
        """Bytes of memory."""
        return sys.getsizeof(pieces) + sum(sys.getsizeof(piece) for piece in pieces)

    def test_held(self) -> None:
        links = Links()
        stream, _, far, theirs = links.joined()
        far.pauseProducing()
        text = bytes(range(256)) * 100
        for start in range(0, len(text), 2):
            stream.write(text[start : start + 2])
        links.settle()
        self.assertLess(self.cost(far.held), 1.5 * len(text))
        far.resumeProducing()
        links.settle()
        self.assertEqual(theirs.received, text)
        self.assertIsInstance(theirs.received, bytearray)

    def test_waiting_for_credit(self) -> None:
        links = Links(window=4096)
        stream, _, far, theirs = links.joined()
        far.pauseProducing()
        stream.write(bytes(256 * KIB))
        links.settle()
        text = bytes(range(256)) * 100
        for start in range(0, len(text), 2):
            stream.write(text[start : start + 2])
            if start % 5000 == 0:
                stream.write(b"long" * 500)
        self.assertLess(self.cost(links.server.session._streams[stream.id].pending), 1.5 * links.server.unsent(stream.id))
        far.resumeProducing()
        links.settle()
        self.assertEqual(theirs.received[256 * KIB :].replace(b"long" * 500, b""), text)


class FloodTests(SynchronousTestCase):
    """Frames that change nothing: some are normal, a flood ends the link."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ends: list[tuple[LinkEnd, str]] = []
        self.link = Link(
            Session(opens=True),
            reactor=self.clock,
            keepalive=QUIET,
            on_lost=lambda link, end, reason: self.ends.append((end, reason)),
        )
        self.transport = CountedTransport()
        self.link.makeConnection(self.transport)
        self.known = self.link.open_stream(HalfCloser()).id

    def frames(self) -> dict[str, bytes]:
        """Of each kind one."""

        def update(stream: int, consumed: int, window: int) -> bytes:
            return struct.pack("<BBHIII", 2, 4, 8, stream, consumed, window)

        return {
            "NOP": struct.pack("<BBHI", 2, 3, 0, 0),
            "FIN of no stream": struct.pack("<BBHI", 2, 1, 0, 9),
            "empty PSH": struct.pack("<BBHI", 2, 2, 0, self.known),
            "empty PSH of no stream": struct.pack("<BBHI", 2, 2, 0, 9),
            "UPD of no stream": update(9, 0, 1000),
            "UPD again": update(self.known, 0, 1000),
            "question": update(0, 0, 1),
            "answer": update(0, 0, 2),
            "draining": update(0, 0, 0),
            "instance": update(0, 5, (1 << 31) + 5),
            "stop": update(self.known, 0, 0),
            "refused": update(self.known, 0, (1 << 31) + 1),
            "broken": update(self.known, 0, (1 << 31) + 2),
        }

    def test_flood(self) -> None:
        for name, frame in self.frames().items():
            with self.subTest(name):
                self.setUp()
                self.link.dataReceived(frame * (2 * FLOOD_SIZE + 1))
                self.assertTrue(self.transport.aborted, "dropped")
                self.link.connectionLost()
                self.assertEqual(self.ends[0][0], LinkEnd.FLOODED)
                self.assertIn("frames a second that change nothing", self.ends[0][1])

    def test_option(self) -> None:
        """How many is up to the session."""
        lost: list[tuple[LinkEnd, str]] = []
        link = Link(
            Session(opens=True, max_futile=1000),
            reactor=self.clock,
            keepalive=QUIET,
            on_lost=lambda link, end, reason: lost.append((end, reason)),
        )
        transport = CountedTransport()
        link.makeConnection(transport)
        link.dataReceived(self.frames()["NOP"] * 1999)
        self.assertFalse(transport.aborted)
        link.dataReceived(self.frames()["NOP"])
        self.assertTrue(transport.aborted)
        link.connectionLost()
        self.assertIn("more than 1000 frames a second", lost[0][1])

    def test_reply(self) -> None:
        """A flood of questions gets one answer."""
        self.clock.advance(0)
        self.transport.clear()
        self.link.dataReceived(self.frames()["question"] * FLOOD_SIZE)
        self.clock.advance(0)
        self.assertEqual(len(self.transport.value()), HEADER + 8)

    def test_over_a_long_time(self) -> None:
        for frame in self.frames().values():
            for _ in range(3):
                self.link.dataReceived(frame * FLOOD_SIZE)
                self.clock.advance(1)
        self.assertFalse(self.transport.aborted)

    def test_real_traffic(self) -> None:
        """Many small frames with something in them, also of a stream that was just aborted, are no flood."""
        self.link.dataReceived(struct.pack("<BBHI", 2, 2, 1, self.known) + b"x")
        self.link.dataReceived((struct.pack("<BBHI", 2, 2, 1, 9) + b"x") * 3 * FLOOD_SIZE)
        self.assertFalse(self.transport.aborted)

    def test_run(self) -> None:
        """Tiny frames after a large one are not collected without bound."""
        large = struct.pack("<BBHI", 2, 2, 5000, self.known) + bytes(5000)
        tiny = struct.pack("<BBHI", 2, 2, 1, self.known) + b"x"
        session = Session(opens=True)
        session.open()
        events = session.receive(large + tiny * 1000)
        self.assertEqual(sum(len(payload) for _, _, payload in events), 6000)
        self.assertGreater(len(events), 900)


class HoldTests(SynchronousTestCase):
    """smux version 1 has no windows: a stream that nobody reads stops all others, but not for ever."""

    def setUp(self) -> None:
        self.reached: Counter[Limit] = Counter()
        bounds = LinkBounds(hold=10, reached=lambda limit: self.reached.update([limit]))
        self.links = Links(version=1, receive_buffer=100_000, bounds=bounds)
        self.slow, self.ours, self.taken, self.theirs = self.links.joined()
        self.other, _, self.lively, _ = self.links.joined()
        self.taken.pauseProducing()
        self.source = Source(self.slow, bytes(8 << 20))
        self.links.settle(self.source)
        self.assertFalse(self.links.pipe.client.reading)
        self.other.write(b"waits behind it")

    def pass_time(self, seconds: float) -> None:
        self.links.clock.advance(seconds)
        self.links.settle(self.source)

    def test_aborted(self) -> None:
        self.pass_time(9.9)
        self.assertEqual((self.lively.protocol.received, self.reached), (b"", Counter()))
        self.pass_time(0.1)
        self.assertEqual(self.lively.protocol.received, b"waits behind it")
        self.assertEqual(len(self.theirs.lost), 1)
        self.assertEqual(self.reached, {Limit.STREAM_HOLD: 1})
        self.assertTrue(self.lively.open)
        self.assertEqual(self.links.clock.getDelayedCalls(), [])

    def test_reads_too_little(self) -> None:
        """Some bytes now and then are not enough, even if the link is read when that is looked at."""
        self.theirs.on_data = lambda data: self.taken.pauseProducing()
        self.pass_time(9)
        while not self.links.pipe.client.reading:
            self.taken.resumeProducing()
            self.links.turn()
        self.links.clock.advance(1)
        self.links.settle(self.source)
        self.assertEqual((len(self.theirs.lost), self.reached), (1, {Limit.STREAM_HOLD: 1}))
        self.assertLess(len(self.theirs.received), 10 * SLOWEST_CONSUMER)

    def test_innocent(self) -> None:
        """Who has little waiting does not hold back anybody, even if it is not read for long."""
        links = self.links = Links(version=1, receive_buffer=100_000, bounds=LinkBounds(hold=10))
        idle, _, paused, innocent = links.joined()
        paused.pauseProducing()
        idle.write(bytes(5000))
        slow, _, taken, theirs = links.joined()
        taken.pauseProducing()
        slow.write(bytes(200_000))
        links.settle()
        links.clock.advance(10)
        links.settle()
        self.assertEqual((len(theirs.lost), innocent.lost), (1, []))

    def test_reads_slowly(self) -> None:
        """Faster than the minimum: it may take as long as it likes."""
        self.theirs.on_data = lambda data: self.taken.pauseProducing()
        for _ in range(60):
            for _ in range(2):
                self.taken.resumeProducing()
                self.links.settle(self.source)
            self.pass_time(1)
        self.assertEqual((self.theirs.lost, self.reached), ([], Counter()))
        self.assertGreater(len(self.theirs.received), 60 * SLOWEST_CONSUMER)

    def test_read_in_time(self) -> None:
        self.pass_time(9)
        self.taken.resumeProducing()
        self.links.settle(self.source)
        self.pass_time(20)
        self.assertEqual((len(self.theirs.received), self.reached), (8 << 20, Counter()))

    def test_lost_meanwhile(self) -> None:
        self.links.pipe.break_link()
        self.links.settle()
        self.assertEqual(self.links.clock.getDelayedCalls(), [])

    def test_no_limit(self) -> None:
        links = Links(version=1, receive_buffer=1000, bounds=LinkBounds(hold=0))
        stream, _, taken, theirs = links.joined()
        taken.pauseProducing()
        stream.write(bytes(5000))
        links.settle()
        links.clock.advance(3600)
        links.settle()
        self.assertEqual(theirs.lost, [])
