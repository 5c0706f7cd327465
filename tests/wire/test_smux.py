"""The smux engine: fed whole and byte by byte, as a conversation of two, at random, and with what a real gost said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate, groupby
from random import Random
from struct import Struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.smux import (
    BROKEN,
    DATA,
    DRAINING,
    FINISHED,
    INITIAL_WINDOW,
    INSTANCE,
    INSTANCE_BITS,
    MAX_FRAME,
    OPENED,
    REFUSED,
    SIGN_OF_LIFE,
    STOPPED,
    WRITABLE,
    Event,
    Session,
    SmuxError,
)
from tests.support import vectors

SYN, FIN, PSH, NOP, UPD = range(5)
MODULUS = 1 << 32
PATTERN = Random(7).randbytes(1 << 16) * 2
"""What streams carry in these tests: wherever bytes are lost, doubled or out of order, it shows."""

_header = Struct("<BBHI")
_window = Struct("<II")

Frame = tuple[int, int, bytes]


def frame(command: int, stream_id: int = 3, payload: bytes = b"", version: int = 2) -> bytes:
    """Build a frame."""
    return _header.pack(version, command, len(payload), stream_id) + payload


def update(stream_id: int, consumed: int, window: int) -> bytes:
    """Build an UPD."""
    return frame(UPD, stream_id, _window.pack(consumed % MODULUS, window))


def frames(data: bytes) -> list[Frame]:
    """Take whole frames apart, without the engine."""
    reader = FrameReader()
    found = list(reader.feed(data))
    assert not reader.rest, "the bytes end inside a frame"
    return found


def pattern(start: int, size: int) -> bytes:
    """Return ``size`` bytes as they stand from ``start`` on in every stream."""
    whole, half = b"", len(PATTERN) // 2
    while size > 0:
        piece = PATTERN[start % half :][:size]
        whole, start, size = whole + piece, start + len(piece), size - len(piece)
    return whole


class FrameReader:
    """Takes bytes that are cut anywhere apart into frames."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield ``(command, stream id, payload)`` of what became whole."""
        data, position = self.rest + data, 0
        while len(data) - position >= 8:
            _, command, length, stream_id = _header.unpack_from(data, position)
            if len(data) - position < 8 + length:
                break
            position += 8 + length
            yield command, stream_id, data[position - length : position]
        self.rest = data[position:]


def pair(**options: Any) -> tuple[Session, Session]:
    """Make the two ends of a session: the one that opens streams, and the one that takes them."""
    return Session(opens=True, **options), Session(opens=False, **options)


def talk(left: Session, right: Session, *, byte_by_byte: bool = False) -> tuple[list[Event], list[Event]]:
    """Pass all that both have to say, until both are silent; return the events of each."""
    events: tuple[list[Event], list[Event]] = [], []
    step = 1 if byte_by_byte else MAX_FRAME * 16
    while True:
        said = left.take_output(), right.take_output()
        if said == (b"", b""):
            return events
        for data, receiver, seen in zip(said, (right, left), reversed(events), strict=True):
            for start in range(0, len(data), step):
                seen.extend(receiver.receive(data[start : start + step]))


def joined(events: list[Event]) -> list[Event]:
    """Put DATA events of a stream that follow one another together: where they are cut carries no meaning."""
    result: list[Event] = []
    for (kind, stream_id), group in groupby(events, key=lambda event: event[:2]):
        payloads = [payload for _, _, payload in group]
        result.extend((kind, stream_id, payload) for payload in ([b"".join(payloads)] if kind == DATA else payloads))
    return result


def received(events: list[Event], stream_id: int = 3) -> bytes:
    """Return the bytes of a stream."""
    return b"".join(payload for kind, of, payload in events if kind == DATA and of == stream_id)


class SettingsTests(SynchronousTestCase):
    """What a session is made with."""

    def test_refused(self) -> None:
        for options in (
            {"version": 0},
            {"version": 3},
            {"frame_size": 0},
            {"frame_size": MAX_FRAME + 1},
            {"window": 0},
            {"window": 1 << 31},
        ):
            with self.subTest(options):
                self.assertRaises(ValueError, Session, opens=True, **options)

    def test_extremes(self) -> None:
        Session(opens=True, version=1, frame_size=1, window=1)
        Session(opens=True, frame_size=MAX_FRAME, window=(1 << 31) - 1)


class FrameTests(SynchronousTestCase):
    """What is on the wire."""

    def test_ids_as_gost_numbers_them(self) -> None:
        self.assertEqual([Session(opens=True).open(), Session(opens=False).open()], [3, 2])
        session = Session(opens=True)
        self.assertEqual([session.open() for _ in range(3)], [3, 5, 7])

    def test_open_and_first_bytes_in_one_piece(self) -> None:
        session = Session(opens=True)
        session.send(session.open(), b"hello")
        self.assertEqual(session.queued, 5)
        self.assertEqual(session.take_output(), bytes.fromhex("0200000003000000 0202050003000000") + b"hello")
        self.assertEqual((session.queued, session.take_output()), (0, b""))

    def test_every_frame_carries_the_version(self) -> None:
        session = Session(opens=True, version=1)
        stream = session.open()
        session.send(stream, b"x")
        session.ping()
        session.finish(stream)
        session.leave()
        out = b"".join(frame(command, stream if command != NOP else 0, data, 1) for command, data in (
            (SYN, b""), (PSH, b"x"), (NOP, b""), (FIN, b""),
        ))  # fmt: skip
        self.assertEqual(session.take_output(), out)

    def test_long_data_is_cut_into_frames(self) -> None:
        session = Session(opens=True, frame_size=1000)
        stream = session.open()
        self.assertEqual(session.send(stream, pattern(0, 2500)), 0)
        sent = frames(session.take_output())[1:]
        self.assertEqual([len(payload) for _, _, payload in sent], [1000, 1000, 500])
        self.assertEqual(b"".join(payload for _, _, payload in sent), pattern(0, 2500))

    def test_frames_of_any_size_are_taken(self) -> None:
        session = Session(opens=False, frame_size=100)
        events = session.receive(frame(SYN) + frame(PSH, payload=bytes(MAX_FRAME)) + frame(PSH))
        self.assertEqual(events, [(OPENED, 3, b""), (DATA, 3, bytes(MAX_FRAME))])

    def test_large_frames_that_follow_each_other_come_as_one_piece(self) -> None:
        """Wherever they are cut: what stands between them, and frames of other streams, keep their place."""
        run = frame(PSH, 3, b"a" * 5000) + frame(PSH, 3, b"b" * 10) + frame(PSH, 3) + frame(PSH, 3, b"c" * 6000)
        data = frame(SYN, 3) + frame(SYN, 5) + run + frame(PSH, 5, b"d" * 5000) + frame(NOP, 0) + run + frame(FIN, 3)
        piece = b"a" * 5000 + b"b" * 10 + b"c" * 6000
        whole = [(OPENED, 3, b""), (OPENED, 5, b""), (DATA, 3, piece), (DATA, 5, b"d" * 5000), (DATA, 3, piece), (FINISHED, 3, b"")]
        self.assertEqual(Session(opens=False).receive(data), whole)
        for cut in range(len(data)):
            session = Session(opens=False)
            self.assertEqual(joined(session.receive(data[:cut]) + session.receive(data[cut:])), whole)

    def test_a_run_of_frames_keeps_to_the_window(self) -> None:
        session = Session(opens=False, window=INITIAL_WINDOW)
        run = frame(PSH, 3, bytes(MAX_FRAME)) * (INITIAL_WINDOW // MAX_FRAME + 1)
        self.assertRaises(SmuxError, session.receive, frame(SYN, 3) + run)

    def test_a_run_of_frames_ends_with_a_frame_of_another_version(self) -> None:
        for version in (1, 2):
            session = Session(opens=False, version=version)
            run = frame(PSH, 3, bytes(5000), version) + frame(PSH, 3, bytes(5000), 3 - version)
            self.assertRaises(SmuxError, session.receive, frame(SYN, 3, b"", version) + run)

    def test_nothing_to_send_is_no_frame(self) -> None:
        session = Session(opens=True)
        stream = session.open()
        session.take_output()
        self.assertEqual(session.send(stream, b""), 0)
        self.assertEqual(session.take_output(), b"")

    def test_nothing_to_send_waits_for_no_credit(self) -> None:
        session = Session(opens=True)
        stream = session.open()
        session.send(stream, bytes(INITIAL_WINDOW))
        session.receive(update(stream, 0, 1000))
        session.take_output()
        self.assertEqual(session.send(stream, b""), 0)
        session.finish(stream)
        self.assertEqual(frames(session.take_output()), [(FIN, 3, b"")])

    def test_ids_run_out(self) -> None:
        for opens, last in ((True, MODULUS - 1), (False, MODULUS - 2)):
            session = Session(opens=opens)
            session._next_id = last - 2  # two thousand million streams later
            self.assertEqual(session.open(), last)
            self.assertRaises(SmuxError, session.open)

    def test_unknown_streams_are_left_alone(self) -> None:
        session = Session(opens=True)
        self.assertEqual((session.send(3, b"x"), session.waiting(3)), (0, 0))
        session.finish(3)
        session.stop(3)
        session.abort(3)
        session.consumed(3, 10)
        self.assertEqual(session.take_output(), b"")
        self.assertEqual(session.receive(frame(PSH, 3, b"x") + frame(FIN) + update(3, 0, 1) + frame(NOP, 0)), [])


class ConversationTests(SynchronousTestCase):
    """Two engines talk, in whole messages."""

    byte_by_byte = False

    def talk(self, left: Session, right: Session) -> tuple[list[Event], list[Event]]:
        return talk(left, right, byte_by_byte=self.byte_by_byte)

    def test_request_and_answer(self) -> None:
        for version in (1, 2):
            left, right = pair(version=version)
            stream = left.open()
            left.send(stream, b"question")
            left.finish(stream)
            _, events = self.talk(left, right)
            self.assertEqual(joined(events), [(OPENED, 3, b""), (DATA, 3, b"question"), (FINISHED, 3, b"")])
            right.consumed(stream, 8)
            right.send(stream, b"answer")
            right.finish(stream)
            events, _ = self.talk(left, right)
            self.assertEqual(joined(events), [(DATA, 3, b"answer"), (FINISHED, 3, b"")])
            self.assertEqual((left.streams, right.streams), (0, 0))

    def test_streams_do_not_mix(self) -> None:
        left, right = pair()
        streams = [left.open() for _ in range(5)]
        for turn in range(3):
            for stream in streams:
                left.send(stream, b"%d/%d " % (stream, turn))
        _, events = self.talk(left, right)
        for stream in streams:
            self.assertEqual(received(events, stream), b"%d/0 %d/1 %d/2 " % (stream, stream, stream))

    def test_finish_waits_for_what_waits(self) -> None:
        left, right = pair()
        stream, size = left.open(), INITIAL_WINDOW + 1000
        self.assertEqual(left.send(stream, pattern(0, size)), 1000)
        self.assertEqual(left.waiting(stream), 1000)
        left.finish(stream)
        left.send(stream, b"too late")
        _, events = self.talk(left, right)
        self.assertEqual(len(received(events)), INITIAL_WINDOW)
        self.assertNotIn((FINISHED, 3, b""), events)
        right.consumed(stream, INITIAL_WINDOW)
        ours, more = self.talk(left, right)
        self.assertEqual(received(events + more), pattern(0, size))
        self.assertEqual(more[-1], (FINISHED, 3, b""))
        self.assertEqual(ours, [(WRITABLE, 3, b"")])
        self.assertEqual(left.waiting(stream), 0)

    def test_both_finish_while_one_waits(self) -> None:
        left, right = pair()
        stream = left.open()
        left.send(stream, bytes(INITIAL_WINDOW + 1000))
        left.finish(stream)
        self.talk(left, right)
        right.finish(stream)
        self.talk(left, right)
        right.consumed(stream, INITIAL_WINDOW)
        _, events = self.talk(left, right)
        self.assertEqual(joined(events), [(DATA, 3, bytes(1000)), (FINISHED, 3, b"")])
        self.assertEqual((left.streams, right.streams), (0, 0))

    def test_order_of_what_waits(self) -> None:
        left, right = pair(window=5000)
        stream = left.open()
        sizes = [INITIAL_WINDOW, 7000, 10, 4000, 1]
        for start, size in zip((0, *accumulate(sizes)), sizes, strict=False):
            left.send(stream, pattern(start, size))
        data = b""
        while events := self.talk(left, right)[1]:
            data += received(events)
            right.consumed(stream, len(received(events)))
        self.assertEqual(data, pattern(0, sum(sizes)))

    def test_no_direction_ends_the_other(self) -> None:
        left, right = pair()
        stream = left.open()
        left.finish(stream)
        self.talk(left, right)
        right.send(stream, b"still here")
        events, _ = self.talk(left, right)
        self.assertEqual(joined(events), [(DATA, 3, b"still here")])
        self.assertEqual((left.streams, right.streams), (1, 1))

    def test_abort(self) -> None:
        left, right = pair()
        stream = left.open()
        left.send(stream, bytes(INITIAL_WINDOW + 1))
        self.talk(left, right)
        left.abort(stream)
        self.assertEqual((left.streams, left.waiting(stream)), (0, 0))
        right.send(stream, b"not knowing")
        ours, theirs = self.talk(left, right)
        self.assertEqual(theirs, [(STOPPED, 3, b""), (FINISHED, 3, b"")])
        self.assertEqual(ours, [], "what comes after an abort is ignored")
        self.assertEqual(right.streams, 0)

    def test_stop_leaves_our_direction(self) -> None:
        left, right = pair()
        stream = left.open()
        self.talk(left, right)
        self.assertEqual(right.send(stream, bytes(INITIAL_WINDOW + 50)), 50)
        left.stop(stream)
        left.stop(stream)
        left.send(stream, b"more")
        ours, theirs = self.talk(left, right)
        self.assertEqual(joined(theirs), [(STOPPED, 3, b""), (DATA, 3, b"more")])
        self.assertEqual(len(received(ours)), INITIAL_WINDOW, "what was on its way still comes, what waited does not")
        self.assertEqual(ours[-1], (FINISHED, 3, b""))
        self.assertEqual((right.send(stream, b"nobody reads this"), right.waiting(stream)), (0, 0))
        left.finish(stream)
        self.talk(left, right)
        self.assertEqual((left.streams, right.streams), (0, 0))

    def test_leaving(self) -> None:
        left, right = pair()
        stream = left.open()
        right.leave()
        left.send(stream, b"under way")
        ours, theirs = self.talk(left, right)
        self.assertEqual(ours, [(DRAINING, 0, b"")])
        self.assertEqual(joined(theirs), [(OPENED, 3, b""), (DATA, 3, b"under way")])

    def test_refused(self) -> None:
        """Nothing was delivered: the other end is told so before the end of the stream, and what was consumed still counts."""
        left, right = pair()
        stream = left.open()
        left.send(stream, b"for nobody")
        self.talk(left, right)
        right.consumed(stream, 10)
        right.refuse(stream)
        sent = update(stream, 10, (1 << 31) + 1) + update(stream, 10, 0) + frame(FIN, stream)
        self.assertEqual(frames(right.take_output()), frames(sent))
        self.assertEqual(right.streams, 0)
        events = left.receive(sent)
        self.assertEqual([kind for kind, _, _ in events], [REFUSED, STOPPED, FINISHED])
        self.assertEqual(left.streams, 0)

    def test_broken(self) -> None:
        """The end that follows is no proper one; what was sent before is delivered."""
        left, right = pair()
        stream = left.open()
        self.talk(left, right)
        right.send(stream, b"half")
        right.mark_broken(stream)
        right.finish(stream)
        right.mark_broken(stream)
        ours, _ = self.talk(left, right)
        self.assertEqual(joined(ours), [(DATA, stream, b"half"), (BROKEN, stream, b""), (FINISHED, stream, b"")])
        old = Session(opens=False, version=1)
        old.receive(frame(SYN, version=1))
        old.mark_broken(3)
        self.assertEqual(old.take_output(), b"")

    def test_refused_without_the_signal(self) -> None:
        """Version 1 has none: the stream is aborted; and one that was stopped before is so already."""
        session = Session(opens=False, version=1)
        session.receive(frame(SYN, version=1))
        session.refuse(3)
        self.assertEqual(session.take_output(), frame(FIN, version=1))
        session = Session(opens=False)
        session.receive(frame(SYN))
        session.stop(3)
        session.take_output()
        session.refuse(3)
        session.refuse(3)
        self.assertEqual(session.take_output(), frame(FIN))

    def test_announced(self) -> None:
        """Each number has a name of its own, of eight bytes."""
        names = set()
        for instance in (0, 1, 1 << 31, (1 << 31) - 1, 1 << 62, (1 << INSTANCE_BITS) - 1):
            left, right = pair()
            left.announce(instance)
            ((kind, stream, name),) = right.receive(left.take_output())
            self.assertEqual((kind, stream, len(name)), (INSTANCE, 0, 8))
            names.add(name)
        self.assertEqual(len(names), 6)
        old = Session(opens=False, version=1)
        old.announce(1)
        self.assertEqual(old.take_output(), b"")

    def test_sign_of_life(self) -> None:
        left, right = pair()
        self.assertTrue(left.ask())
        ours, theirs = self.talk(left, right)
        self.assertEqual((ours, theirs), ([(SIGN_OF_LIFE, 0, b"")], []))
        for _ in range(1000):
            left.ask()
        right.receive(left.take_output())
        self.assertEqual(len(right.take_output()), 16, "a flood of questions is not one of answers")
        old = Session(opens=True, version=1)
        self.assertFalse(old.ask())
        self.assertEqual(old.take_output(), b"")

    def test_refused_over_max_streams(self) -> None:
        left, right = Session(opens=True), Session(opens=False, max_streams=2)
        first, second, third = left.open(), left.open(), left.open()
        left.send(third, bytes(INITIAL_WINDOW + 5))
        ours, theirs = self.talk(left, right)
        self.assertEqual([event for event in theirs if event[0] == OPENED], [(OPENED, first, b""), (OPENED, second, b"")])
        self.assertEqual(received(theirs, third), b"")
        self.assertEqual(ours, [(STOPPED, third, b""), (FINISHED, third, b"")])
        self.assertEqual((right.streams, left.streams), (2, 2))
        right.abort(first)
        self.talk(left, right)
        self.assertIn((OPENED, left.open(), b""), self.talk(left, right)[1])

    def test_refused_in_version_1(self) -> None:
        left, right = Session(opens=True, version=1), Session(opens=False, version=1, max_streams=0)
        stream = left.open()
        left.send(stream, b"x")
        left.finish(stream)
        self.assertEqual(self.talk(left, right), ([(FINISHED, stream, b"")], []))
        self.assertEqual((left.streams, right.streams), (0, 0))


class ByteByByteTests(ConversationTests):
    """The same, each byte by itself."""

    byte_by_byte = True


class HoldTests(SynchronousTestCase):
    """Payload that is held while the connection takes none."""

    def setUp(self) -> None:
        self.session = Session(opens=True)
        self.streams = [self.session.open() for _ in range(3)]
        self.session.take_output()
        self.session.hold()

    def sent(self) -> list[Frame]:
        """The frames that are queued."""
        return frames(self.session.take_output())

    def test_order(self) -> None:
        """Of each stream, and of the streams by the time that they began to wait; the end comes last."""
        first, second, third = self.streams
        for stream, data in ((second, b"a" * 2000), (first, b"b"), (second, b"c"), (third, b"d")):
            self.assertGreater(self.session.send(stream, data), 0)
        self.session.finish(second)
        self.assertEqual((self.session.held, self.sent()), (2003, []))
        self.assertEqual(self.session.release(1 << 20), [second, first, third])
        self.assertEqual(self.session.held, 0)
        self.assertEqual(
            self.sent(),
            [(PSH, second, b"a" * 2000), (PSH, second, b"c"), (FIN, second, b""), (PSH, first, b"b"), (PSH, third, b"d")],
        )
        self.assertEqual(self.session.send(first, b"at once"), 0)
        self.assertEqual(self.sent(), [(PSH, first, b"at once")])

    def test_other_frames(self) -> None:
        """What is no payload is queued as ever."""
        self.session.send(self.streams[0], b"waits")
        self.session.finish(self.streams[1])
        self.session.ping()
        late = self.session.open()
        self.assertEqual([frame[0] for frame in self.sent()], [FIN, NOP, SYN])
        self.session.abort(late)
        self.assertEqual([frame[0] for frame in self.sent()], [UPD, FIN])

    def test_in_portions(self) -> None:
        for stream in self.streams:
            self.session.send(stream, bytes(100_000))
        self.assertEqual(self.session.release(100_000), self.streams[:2])
        self.assertEqual((self.session.held, self.session.queued), (100_000, 200_000))
        self.session.take_output()
        self.assertEqual(self.session.release(100_000), self.streams[2:])

    def test_aborted(self) -> None:
        """Nothing of it is sent."""
        first, second, third = self.streams
        for stream in self.streams:
            self.session.send(stream, bytes(1000))
        self.session.abort(first)
        self.session.receive(update(second, 0, 0))
        self.assertEqual(self.session.held, 1000)
        self.assertEqual(self.session.release(1 << 20), [third])
        self.assertEqual([stream for command, stream, _ in self.sent() if command == PSH], [third])
        self.session.hold()
        self.session.send(third, bytes(1000))
        self.session.discard()
        self.assertEqual((self.session.held, self.session.release(1 << 20)), (0, []))

    def test_credit(self) -> None:
        """What waits for credit is not held; credit that comes meanwhile does not send it."""
        stream = self.streams[0]
        self.session.release(0)
        self.session.send(stream, bytes(INITIAL_WINDOW + 1000))
        self.session.take_output()
        self.session.hold()
        self.assertEqual((self.session.send(stream, bytes(1000)), self.session.held), (2000, 0))
        self.assertEqual(self.session.receive(update(stream, INITIAL_WINDOW, 1500)), [])
        self.assertEqual((self.session.held, self.sent()), (2000, []))
        self.assertEqual(self.session.release(1 << 20), [])
        self.assertEqual([len(payload) for _, _, payload in self.sent()], [1000, 500])
        self.assertEqual((self.session.held, self.session.waiting(stream)), (0, 500))

    def test_written_while_others_are_held(self) -> None:
        """Between two portions: it keeps its order, and nothing is told twice."""
        for stream in self.streams:
            self.session.send(stream, bytes(1000))
        self.session.release(0)
        last = self.streams[2]
        self.assertEqual(self.session.send(last, b"more"), 0)
        self.session.finish(last)
        self.assertEqual(self.sent()[1:], [(PSH, last, bytes(1000) + b"more"), (FIN, last, b"")])
        self.assertEqual(self.session.held, 1000)
        self.session.release(1 << 20)
        self.assertEqual([stream for command, stream, _ in self.sent() if command == PSH], [self.streams[1]])
        self.assertEqual(self.session.held, 0)

    def test_has_sent(self) -> None:
        first, second, _ = self.streams
        self.session.send(first, b"x")
        self.assertFalse(self.session.has_sent(first))
        self.session.release(0)
        self.assertEqual((self.session.has_sent(first), self.session.has_sent(second)), (True, False))

    def test_version_1(self) -> None:
        session = Session(opens=True, version=1)
        stream = session.open()
        session.take_output()
        session.hold()
        session.send(stream, bytes(100_000))
        self.assertEqual((session.take_output(), session.held), (b"", 100_000))
        self.assertEqual(session.release(0), [stream])


class WindowTests(SynchronousTestCase):
    """Credit, and when it is returned."""

    def test_initial_window(self) -> None:
        session = Session(opens=True)
        stream = session.open()
        self.assertEqual(session.send(stream, bytes(INITIAL_WINDOW)), 0)
        self.assertEqual(session.send(stream, b"x"), 1)
        self.assertEqual(session.send(stream, b"yz"), 3)
        self.assertEqual(session.queued, INITIAL_WINDOW)

    def test_updates_tell_how_much_may_be_in_flight(self) -> None:
        session = Session(opens=True)
        stream = session.open()
        self.assertEqual(session.send(stream, bytes(INITIAL_WINDOW + 100_000)), 100_000)
        session.take_output()
        self.assertEqual(session.receive(update(stream, 10, 1000)), [], "much more than 1000 is in flight already")
        self.assertEqual(session.take_output(), b"")
        self.assertEqual(session.receive(update(stream, INITIAL_WINDOW - 400, 1000)), [], "600 of 100000 may go")
        self.assertEqual([len(payload) for _, _, payload in frames(session.take_output())], [600])
        self.assertEqual(session.waiting(stream), 99_400)
        self.assertEqual(session.receive(update(stream, INITIAL_WINDOW + 600, 1 << 20)), [(WRITABLE, stream, b"")])
        self.assertEqual(sum(len(payload) for _, _, payload in frames(session.take_output())), 99_400)

    def test_small_exchanges_cost_no_update(self) -> None:
        left, right = pair()
        stream = left.open()
        left.send(stream, bytes(65536))
        talk(left, right)
        right.consumed(stream, 65535)
        self.assertEqual(right.take_output(), b"")
        right.consumed(stream, 1)
        self.assertEqual(right.take_output(), update(stream, 65536, 1 << 20))

    def test_later_updates_after_half_the_window(self) -> None:
        left, right = pair()
        stream = left.open()
        left.send(stream, bytes(1 << 20))
        total = updates = 0
        while True:
            _, events = talk(left, right)
            data = received(events)
            if not data:
                break
            for _ in range(0, len(data), 4096):
                right.consumed(stream, 4096)
            total += len(data)
            sent = right.take_output()
            updates += len(frames(sent))
            left.receive(sent)
        self.assertEqual(total, 1 << 20)
        self.assertEqual(updates, 2, "at 64 KiB and half a window later")

    def test_small_windows_are_updated_in_time(self) -> None:
        for window, first in ((1, 1), (2, 1), (100, 50), (131072, 65536), (4 << 20, 65536)):
            right = Session(opens=False, window=window)
            right.receive(frame(SYN) + frame(PSH, payload=bytes(first // 2 + 1)) * 2)
            right.consumed(3, first - 1)
            self.assertEqual(right.take_output(), b"", window)
            right.consumed(3, 1)
            self.assertEqual(right.take_output(), update(3, first, window), window)

    def test_due_when_the_next_update_is(self) -> None:
        for window, first in ((4, 2), (100, 50), (100_000, 50_000), (131_000, 65500)):
            right = Session(opens=False, window=window)
            right.receive(frame(SYN) + frame(PSH, payload=bytes(first - 1)))
            self.assertEqual(right.due, set(), window)
            right.receive(frame(PSH, payload=b"x"))
            self.assertEqual((right.due, right.unconsumed_by(3)), ({3}, first), window)
            right.consumed(3, first)
            right.due.clear()
            right.receive(frame(PSH, payload=bytes(window // 2 - 1)))
            self.assertEqual(right.due, set(), window)
            right.receive(frame(PSH, payload=b"x") + frame(FIN))
            self.assertEqual((right.due, right.unconsumed_by(3)), ({3}, window // 2), window)

    def test_nothing_is_missed_by_who_consumes_when_it_is_due(self) -> None:
        for size in (1, 999, 4095, 4096, 32768, 100_000):
            for options in ({}, {"window": 3000}, {"version": 1}):
                left, right = pair(**options)
                stream, total, sent = left.open(), 0, 0
                while total < 100 * size:
                    if sent < 100 * size and not left.waiting(stream):
                        left.send(stream, bytes(size))
                        sent += size
                    total += len(received(right.receive(left.take_output())))
                    for due in right.due:
                        right.consumed(due, right.unconsumed_by(due))
                    right.due.clear()
                    left.receive(right.take_output())
                self.assertEqual(total, sent)

    def test_no_update_after_the_end(self) -> None:
        right = Session(opens=False)
        right.receive(frame(SYN) + frame(PSH, payload=bytes(40000)) * 5 + frame(FIN))
        right.consumed(3, 200_000)
        self.assertEqual(right.take_output(), b"")

    def test_no_update_opens_the_window_of_a_stopped_stream_again(self) -> None:
        right = Session(opens=False)
        right.receive(frame(SYN) + frame(PSH, payload=bytes(40000)) * 5)
        right.consumed(3, 10)
        right.stop(3)
        right.consumed(3, 200_000 - 10)
        self.assertEqual(right.take_output(), update(3, 10, 0))

    def test_counters_wrap(self) -> None:
        session = Session(opens=True)
        stream = session.open()
        consumed = 0
        for _ in range(3):  # as a peer with a huge window would have it
            session.receive(update(stream, consumed, 1 << 31))
            for _ in range(31):
                session.send(stream, PATTERN)
                consumed += len(PATTERN)
            session._streams[stream].written += 1 << 31
            consumed += 1 << 31
        self.assertGreater(consumed, MODULUS)
        session.take_output()
        self.assertEqual(session.receive(update(stream, consumed, 1000)), [])
        self.assertEqual(session.send(stream, bytes(1500)), 500)
        with self.assertRaises(SmuxError):
            session.receive(update(stream, consumed + 1001, 1000))

    def test_wrapped_updates_are_sent(self) -> None:
        right = Session(opens=False)
        right.receive(frame(SYN) + frame(PSH, payload=bytes(60000)))
        account = right._streams[3]
        for name in ("received", "consumed", "acknowledged"):
            setattr(account, name, getattr(account, name) + MODULUS - 60000)
        right.receive(frame(PSH, payload=bytes(60000)))
        right.consumed(3, 120_000)
        self.assertEqual(right.take_output(), update(3, 60000, 1 << 20))

    def test_the_last_byte_of_the_window(self) -> None:
        for window in (1, 1000, INITIAL_WINDOW, 1 << 20):
            limit = max(window, INITIAL_WINDOW)
            for cut in (False, True):
                session = Session(opens=False, window=window)
                data = frame(PSH, payload=bytes(32768)) * (limit // 32768)
                session.receive(frame(SYN) + data)
                more = frame(PSH, payload=b"x")
                if cut:
                    session.receive(more[:8])
                self.assertRaises(SmuxError, session.receive, more[8:] if cut else more)


class Version1Tests(SynchronousTestCase):
    """Without windows the whole session waits."""

    def test_no_limit_and_no_updates(self) -> None:
        left, right = pair(version=1)
        stream = left.open()
        self.assertEqual(left.send(stream, bytes(3 << 20)), 0)
        _, events = talk(left, right)
        self.assertEqual(len(received(events)), 3 << 20)
        right.consumed(stream, 3 << 20)
        right.stop(stream)
        right.leave()
        self.assertEqual(right.take_output(), b"")

    def test_congested_until_consumed(self) -> None:
        session = Session(opens=False, version=1, receive_buffer=1000)
        session.receive(frame(SYN, 3, version=1) + frame(SYN, 5, version=1))
        session.receive(frame(PSH, 3, bytes(600), version=1))
        self.assertFalse(session.congested)
        session.receive(frame(PSH, 5, bytes(401), version=1))
        self.assertTrue(session.congested)
        session.consumed(3, 1)
        self.assertFalse(session.congested)

    def test_not_congested_by_what_nobody_will_consume(self) -> None:
        for give_up in (Session.abort, Session.stop):
            session = Session(opens=False, version=1, receive_buffer=1000)
            session.receive(frame(SYN, version=1) + frame(PSH, 3, bytes(2000), version=1))
            session.consumed(3, 1)
            give_up(session, 3)
            self.assertFalse(session.congested)
            session.consumed(3, 1999)
            self.assertEqual(session.receive(frame(PSH, 3, bytes(2000), version=1)), [])
            self.assertFalse(session.congested)
            session.receive(frame(FIN, version=1))
            session.finish(3)
            session.receive(frame(SYN, 5, version=1) + frame(PSH, 5, bytes(1000), version=1))
            self.assertFalse(session.congested)
            session.receive(frame(PSH, 5, b"x", version=1))
            self.assertTrue(session.congested, "what was given up is not counted twice either")

    def test_all_that_comes_is_due(self) -> None:
        session = Session(opens=False, version=1)
        session.receive(frame(SYN, version=1) + frame(PSH, 3, b"x", version=1))
        self.assertEqual((session.due, session.unconsumed_by(3)), ({3}, 1))

    def test_never_congested_in_version_2(self) -> None:
        session = Session(opens=False, receive_buffer=0)
        session.receive(frame(SYN) + frame(PSH, payload=bytes(1000)))
        self.assertFalse(session.congested)


class ViolationTests(SynchronousTestCase):
    """What ends a session."""

    def violates(self, data: bytes, *, opens: bool = False, version: int = 2) -> None:
        for step in (len(data), 1):
            session = Session(opens=opens, version=version)
            with self.assertRaises(SmuxError):
                for start in range(0, len(data), step):
                    session.receive(data[start : start + step])

    def test_wrong_version(self) -> None:
        self.violates(frame(NOP, 0, version=1))
        self.violates(frame(NOP, 0, version=3))
        self.violates(frame(NOP, 0), version=1)
        self.violates(frame(SYN) + frame(PSH, payload=b"x", version=1))

    def test_bad_length(self) -> None:
        for command in (SYN, FIN, NOP):
            self.violates(frame(command, payload=b"x"))
        for size in (0, 7, 9):
            self.violates(frame(SYN) + frame(UPD, payload=bytes(size)))

    def test_unknown_command(self) -> None:
        for command in (5, 6, 255):
            self.violates(frame(command))
        self.violates(frame(UPD, payload=bytes(8), version=1), version=1)

    def test_double_syn(self) -> None:
        self.violates(frame(SYN) + frame(SYN))
        self.violates(frame(SYN) + frame(FIN) + frame(SYN))

    def test_ids_that_are_not_the_peers(self) -> None:
        self.violates(frame(SYN, 2))
        self.violates(frame(SYN, 3), opens=True)
        self.violates(frame(SYN, 0))
        self.violates(frame(SYN, 0), opens=True)

    def test_over_the_window(self) -> None:
        self.violates(frame(SYN) + frame(PSH, payload=bytes(65535)) * 17)

    def test_consumed_beyond_written(self) -> None:
        for consumed in (6, 1 << 31, (1 << 31) + 5, MODULUS - 1):
            for window in (0, 1000):
                session = Session(opens=True)
                session.send(session.open(), b"hello")
                self.assertRaises(SmuxError, session.receive, update(3, consumed, window))

    def test_an_id_may_be_used_again_once_it_ended(self) -> None:
        session = Session(opens=False)
        session.receive(frame(SYN) + frame(FIN))
        session.finish(3)
        self.assertEqual(session.receive(frame(SYN)), [(OPENED, 3, b"")])


KINDS = {OPENED, DATA, FINISHED, STOPPED, WRITABLE, DRAINING, REFUSED, SIGN_OF_LIFE, BROKEN, INSTANCE}


class RandomBytesTests(SynchronousTestCase):
    """Nothing that a peer sends raises anything but SmuxError."""

    pieces = st.one_of(
        st.binary(max_size=40),
        st.builds(
            frame,
            st.integers(0, 6),
            st.sampled_from([0, 2, 3, 5, MODULUS - 1]),
            st.one_of(st.just(b""), st.binary(min_size=8, max_size=8), st.binary(max_size=20)),
            st.sampled_from([2, 2, 2, 1]),
        ),
        st.builds(update, st.sampled_from([0, 3, 5]), st.integers(0, 40), st.sampled_from([0, 1, 1000, MODULUS - 1])),
    )

    @settings(deadline=None, max_examples=300)
    @given(
        pieces=st.lists(pieces, max_size=12),
        cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
        opens=st.booleans(),
        version=st.sampled_from([1, 2]),
    )
    def test_random_bytes(self, pieces: list[bytes], cuts: list[int], opens: bool, version: int) -> None:
        session = Session(opens=opens, version=version, window=50, max_streams=2)
        session.send(session.open(), bytes(20))
        data, turn = b"".join(pieces), 0
        try:
            while data:
                cut = cuts[turn % len(cuts)]
                for kind, stream_id, payload in session.receive(data[:cut]):
                    self.assertIn(kind, KINDS)
                    if kind == DATA:
                        session.consumed(stream_id, len(payload))
                        session.send(stream_id, payload)
                data, turn = data[cut:], turn + 1
        except SmuxError:
            pass
        frames(session.take_output())

    @settings(deadline=None, max_examples=100)
    @given(sizes=st.lists(st.integers(0, 3000), max_size=6), cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=6))
    def test_cuts_carry_no_meaning(self, sizes: list[int], cuts: list[int]) -> None:
        sender = Session(opens=True, frame_size=700)
        first, second = sender.open(), sender.open()
        for size in sizes:
            sender.send(first, pattern(0, size))
            sender.send(second, pattern(5, size // 2))
        sender.finish(first)
        sender.abort(second)
        data, turn = sender.take_output(), 0
        whole, cut = Session(opens=False), Session(opens=False)
        expected = whole.receive(data)
        events: list[Event] = []
        while data:
            events += cut.receive(data[: cuts[turn % len(cuts)]])
            data, turn = data[cuts[turn % len(cuts)] :], turn + 1
        self.assertEqual(joined(events), joined(expected))
        self.assertEqual(cut.take_output(), whole.take_output())


class _Way:
    """What is known of one direction of one stream."""

    def __init__(self) -> None:
        self.sent = 0
        self.framed = 0
        self.received = 0
        self.unconsumed = 0
        self.waiting = False
        self.finished = False
        self.stopped = False
        self.ended = False
        self.acknowledged = 0
        self.window = INITIAL_WINDOW


class _End:
    """One engine, the bytes on their way to its peer, and what the test knows of it."""

    def __init__(self, **options: Any) -> None:
        self.session = Session(**options)
        self.wire = b""
        self.said = FrameReader()
        self.heard = FrameReader()
        self.ways: dict[int, _Way] = defaultdict(_Way)
        self.known: set[int] = set()
        self.aborted: set[int] = set()
        self.peer: _End = self

    def collect(self) -> None:
        """Take what the engine says, and check it against the credit that it was given."""
        data = self.session.take_output()
        self.wire += data
        for command, stream_id, payload in self.said.feed(data):
            if command == PSH and stream_id:
                way = self.ways[stream_id]
                way.framed += len(payload)
                if self.session.version == 2:
                    assert way.framed - way.acknowledged <= way.window, "more in flight than the window"
                assert way.framed <= way.sent

    def hear(self, size: int) -> None:
        """Let the engine hear the next bytes of its peer, and check each event."""
        data, self.peer.wire = self.peer.wire[:size], self.peer.wire[size:]
        for command, stream_id, payload in self.heard.feed(data):
            if command == UPD and stream_id:
                consumed, window = _window.unpack(payload)
                if window:
                    self.ways[stream_id].acknowledged, self.ways[stream_id].window = consumed, window
        for kind, stream_id, payload in self.session.receive(data):
            assert stream_id not in self.aborted, "nothing is heard of a stream that was given up"
            incoming = self.peer.ways[stream_id]
            if kind == OPENED:
                self.known.add(stream_id)
            elif kind == DATA:
                assert not incoming.ended, "data after the end"
                assert payload == pattern(incoming.received, len(payload)), "order"
                incoming.received += len(payload)
                incoming.unconsumed += len(payload)
            elif kind == FINISHED:
                assert not incoming.ended, "two ends"
                incoming.ended = True
                if not incoming.stopped:
                    assert incoming.received == incoming.sent, "an end before all was received"
            elif kind == STOPPED:
                self.ways[stream_id].stopped = self.ways[stream_id].finished = True
                self.ways[stream_id].waiting = False
                assert self.session.waiting(stream_id) == 0
            elif kind == WRITABLE:
                assert self.ways[stream_id].waiting, "nothing had waited"
                self.ways[stream_id].waiting = False
        for stream_id, way in self.ways.items():
            assert way.waiting == (self.session.waiting(stream_id) > 0), "whoever waits is told when it is over"


class Conversation(RuleBasedStateMachine):
    """Two engines, whatever is done to them, and whenever their bytes arrive."""

    streams = Bundle("streams")
    ends = st.sampled_from([0, 1])

    @initialize(
        version=st.sampled_from([2, 2, 1]),
        windows=st.tuples(*[st.sampled_from([1, 100, 5000, 300_000, 1 << 20])] * 2),
        frame_size=st.sampled_from([7000, 32768, MAX_FRAME]),
    )
    def begin(self, version: int, windows: tuple[int, int], frame_size: int) -> None:
        self.version = version
        self.both = tuple(
            _End(opens=opens, version=version, window=window, frame_size=frame_size, receive_buffer=0)
            for opens, window in zip((True, False), windows, strict=True)
        )
        self.both[0].peer, self.both[1].peer = self.both[1], self.both[0]

    @rule(target=streams, end=ends, used=st.sampled_from([0, INITIAL_WINDOW - 200, INITIAL_WINDOW]), last=st.booleans())
    def open(self, end: int, used: int, last: bool) -> int:
        stream = self.both[end].session.open()
        self.both[end].known.add(stream)
        self.send(end, stream, [used, 300], last)
        return stream

    @rule(
        end=ends,
        stream=streams,
        sizes=st.lists(st.one_of(st.integers(0, 300), st.sampled_from([5000, 70_000, 200_000])), max_size=3),
        last=st.booleans(),
    )
    def send(self, end: int, stream: int, sizes: list[int], last: bool) -> None:
        sender = self.both[end]
        if stream not in sender.known:
            return
        way = sender.ways[stream]
        for size in sizes:
            waiting = sender.session.send(stream, pattern(way.sent, size))
            if way.finished:
                assert waiting == 0
                return
            way.sent += size
            way.waiting = waiting > 0
            sender.collect()
            assert waiting == way.sent - way.framed == sender.session.waiting(stream)
        if last:
            self.finish(end, stream)

    @rule(end=ends, stream=streams)
    def finish(self, end: int, stream: int) -> None:
        if stream in self.both[end].known:
            self.both[end].session.finish(stream)
            self.both[end].ways[stream].finished = True

    @rule(end=ends, stream=streams)
    def stop(self, end: int, stream: int) -> None:
        end_ = self.both[end]
        if stream in end_.known and not end_.peer.ways[stream].ended:
            end_.session.stop(stream)
            end_.peer.ways[stream].stopped = True

    @rule(end=ends, stream=consumes(streams))
    def abort(self, end: int, stream: int) -> None:
        end_ = self.both[end]
        if stream in end_.known:
            end_.session.abort(stream)
            end_.aborted.add(stream)
            end_.ways[stream].finished = end_.ways[stream].stopped = end_.peer.ways[stream].stopped = True
            end_.ways[stream].waiting = False
            end_.peer.ways[stream].unconsumed = 0

    @rule(end=ends, stream=streams, part=st.sampled_from([0.1, 0.6, 1.0]))
    def consume(self, end: int, stream: int, part: float) -> None:
        end_ = self.both[end]
        way = end_.peer.ways[stream]
        size = int(way.unconsumed * part)
        way.unconsumed -= size
        end_.session.consumed(stream, size)

    @rule(end=ends, size=st.one_of(st.integers(1, 60), st.sampled_from([1000, 60_000, 1 << 22])))
    def deliver(self, end: int, size: int) -> None:
        self.both[end].hear(size)

    @rule()
    def catch_up(self) -> None:
        for end in self.both:
            end.hear(1 << 30)
            for stream, way in end.peer.ways.items():
                end.session.consumed(stream, way.unconsumed)
                way.unconsumed = 0
            end.collect()

    @rule(end=ends)
    def ping(self, end: int) -> None:
        self.both[end].session.ping()

    @invariant()
    def within_the_window(self) -> None:
        for end in self.both:
            end.collect()

    def teardown(self) -> None:
        if not hasattr(self, "both"):
            return
        self.settle()
        for end in self.both:
            for stream in end.known:
                end.session.finish(stream)
                end.ways[stream].finished = True
        self.settle()
        for end in self.both:
            assert not end.session.congested
            assert end.session.streams == 0, "nothing is left once both ends finished"
            for stream, way in end.ways.items():
                if not way.stopped:
                    assert way.received == way.sent, "all that was sent arrives"
                    assert end.session.waiting(stream) == 0

    def settle(self) -> None:
        """Deliver and consume everything, until there is nothing left to say."""
        while True:
            self.catch_up()
            if not any(end.wire for end in self.both):
                return


class ConversationAtRandomTests(SynchronousTestCase):
    """Order and credit hold whatever happens."""

    def test_conversation(self) -> None:
        run_state_machine_as_test(Conversation, settings=settings(deadline=None, max_examples=100, stateful_step_count=30))


class RecordingTests(SynchronousTestCase):
    """A real gost is understood, at both ends, and would understand what we had said in the other's place."""

    def test_recordings(self) -> None:
        replayed = set()
        for name in vectors.names():
            for conversation in vectors.conversations(name):
                if not self.joins(conversation):
                    continue
                for played in (vectors.SERVER, vectors.CLIENT):
                    for step in (MAX_FRAME, 1):
                        with self.subTest(name, played=played, step=step):
                            self.replay(conversation, played, step)
                            replayed.add(name)
        self.assertLessEqual({"flow-control-tcp", "mux-v1-tcp", "keepalive-nop-tcp", "bind-http-ws"}, replayed)

    def joins(self, conversation: vectors.Conversation) -> bool:
        """Whether it is a connection that became a session: BIND, answered with OK."""
        return conversation.sent_by(vectors.CLIENT)[1] & 15 == 2 and conversation.sent_by(vectors.SERVER)[1] == 0

    def replay(self, conversation: vectors.Conversation, played: str, step: int) -> None:
        """Let our engine play one end: it does what that end did, and hears what the other one said."""
        greeted: dict[str, bytes | None] = {vectors.CLIENT: b"", vectors.SERVER: b""}
        readers = {vectors.CLIENT: FrameReader(), vectors.SERVER: FrameReader()}
        version = 1 if any(data.startswith(b"\x01") for data in self.sessions(conversation)) else 2
        ours = Session(opens=played == vectors.SERVER, version=version, window=65536, receive_buffer=0)
        recorded: list[Frame] = []
        events: list[Event] = []
        expected: list[Event] = []
        said = b""
        for read in conversation.reads:
            data = read.data
            if greeted[read.sender] is not None:
                data = self.after_greeting(greeted, read.sender, data)
            told = list(readers[read.sender].feed(data))
            if read.sender == played:
                recorded += told
                self.act(ours, told)
                said += ours.take_output()
            else:
                expected += self.expected(told)
                for start in range(0, len(data), step):
                    for event in ours.receive(data[start : start + step]):
                        ours.consumed(event[1], len(event[2]))
                        if event[0] != WRITABLE:
                            events.append(event)
                said += ours.take_output()
        self.assertEqual(joined(events), joined(expected))
        self.assertEqual(self.meaning(frames(said)), self.meaning(recorded))
        self.assertFalse(ours.congested)

    def sessions(self, conversation: vectors.Conversation) -> Iterator[bytes]:
        """Yield the bytes of the session itself, of the server and of the client."""
        for sender in (vectors.SERVER, vectors.CLIENT):
            data = conversation.sent_by(sender)
            yield data[4 + int.from_bytes(data[2:4], "big") :]

    def after_greeting(self, greeted: dict[str, bytes | None], sender: str, data: bytes) -> bytes:
        """Take the relay message that comes before the session away."""
        whole = (greeted[sender] or b"") + data
        greeted[sender] = whole
        size = 4 + int.from_bytes(whole[2:4], "big")
        if len(whole) < max(4, size):
            return b""
        greeted[sender] = None
        return whole[size:]

    def act(self, session: Session, told: list[Frame]) -> None:
        for command, stream_id, payload in told:
            if command == SYN:
                self.assertEqual(session.open(), stream_id)
            elif command == PSH:
                # the tap may have seen an UPD that had not reached gost when it sent this: then it waits here
                session.send(stream_id, payload)
            elif command == FIN:
                session.finish(stream_id)
            elif command == NOP:
                session.ping()

    def expected(self, told: list[Frame]) -> list[Event]:
        kinds = {SYN: OPENED, PSH: DATA, FIN: FINISHED}
        return [(kinds[command], stream_id, payload) for command, stream_id, payload in told if command in kinds]

    def meaning(self, told: list[Frame]) -> list[Event]:
        """What was said, but for credit: that is each one's own business."""
        return joined(self.expected(told))
