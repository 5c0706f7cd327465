"""Bytes arrive whatever the frames are: messages in fragments, control frames between them, reads that end anywhere."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport import websocket
from tests.transport.test_websocket import World, close_code, frames
from tests.wire.test_websocket import BINARY, CLOSE, CONTINUATION, FIN, KEY, PING, PONG, TEXT, cut, frame

fragment = st.tuples(st.integers(0, 300), st.sampled_from([None, None, PING, PONG]))
message = st.tuples(st.lists(fragment, min_size=1, max_size=4), st.binary(min_size=4, max_size=4))


class AnyFramesTests(SynchronousTestCase):
    """Both of our ends, on the fast path and without it, with a peer that the test plays."""

    @settings(deadline=None, max_examples=100)
    @given(
        messages=st.lists(message, max_size=6),
        cuts=st.lists(st.integers(1, 200), min_size=1, max_size=6),
        to_server=st.booleans(),
        fast=st.booleans(),
    )
    def test_any_frames(
        self, messages: list[tuple[list[tuple[int, int | None]], bytes]], cuts: list[int], to_server: bool, fast: bool
    ) -> None:
        self.patch(websocket, "FAST", fast)
        world = World()
        raw = world.open_client() if to_server else world.open_server()
        upper = world.servers.one if to_server else world.clients.one
        upper.ping()
        world.pipe.pump()
        self.assertEqual(frames(raw.take()), [(FIN | PING, b"")])
        wire = expected = b""
        pings: list[bytes] = []
        pongs = 0
        for fragments, random in messages:
            key = random if to_server else b""
            for index, (size, control) in enumerate(fragments):
                payload = bytes((index + size + number) & 0xFF for number in range(size))
                last = FIN if index == len(fragments) - 1 else 0
                wire += frame(last | (CONTINUATION if index else BINARY), payload, key)
                expected += payload
                if control is not None:
                    wire += frame(FIN | control, payload[:125], key)
                    pings += [payload[:125]] if control == PING else []
                    pongs += control == PONG
        turn = 0
        while wire:
            cut = cuts[turn % len(cuts)]
            raw.send(wire[:cut])
            world.pipe.pump()
            wire, turn = wire[cut:], turn + 1
        self.assertEqual(bytes(upper.received), expected)
        self.assertEqual(frames(raw.take()), [(FIN | PONG, payload) for payload in pings])
        self.assertEqual((upper.pongs, raw.lost, world.clock.getDelayedCalls()), (pongs, [], []))


almost_right = st.tuples(
    st.one_of(
        st.sampled_from([FIN | BINARY, FIN | BINARY, BINARY, CONTINUATION, FIN | CONTINUATION, FIN | PING, FIN | PONG]),
        st.sampled_from([FIN | CLOSE, FIN | TEXT, PING, PONG, FIN | 3, FIN | 11, FIN | 0x40 | BINARY, 0x20 | PING]),
    ),
    st.sampled_from([0, 1, 2, 5, 125, 126, 200, 65536]),
    st.sampled_from([b"", b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xe7", b"\x03\xe8\xff"]),
    st.sampled_from([True] * 12 + [False]),
    st.sampled_from([0] * 8 + [126, 127]),
)


class OracleTests(SynchronousTestCase):
    """Frames that are right or nearly so: we and autobahn deliver the same and answer the same."""

    def ask(self, pieces: list[bytes], *, to_server: bool, fast: bool) -> tuple[bytes, list[bytes], int | None]:
        """What one end delivers, the pings that it answers, and the code with which it closes."""
        self.patch(websocket, "FAST", fast)
        world = World()
        raw = world.open_client() if to_server else world.open_server()
        upper = world.servers.one if to_server else world.clients.one
        for piece in pieces:
            raw.send(piece)
            world.pipe.pump()
        sent = frames(raw.take())
        world.pipe.break_link()
        self.assertEqual((len(upper.lost), world.clock.getDelayedCalls()), (1, []))
        return bytes(upper.received), [payload for first, payload in sent if first == FIN | PONG], close_code(sent)

    @settings(deadline=None, max_examples=400)
    @given(
        parts=st.lists(almost_right, max_size=8), cuts=st.lists(st.integers(1, 90), min_size=1, max_size=5), to_server=st.booleans()
    )
    def test_same(self, parts: list[tuple[int, int, bytes, bool, int]], cuts: list[int], to_server: bool) -> None:
        pieces = []
        for first, size, body, masked, encoding in parts:
            # autobahn goes on to read what it has refused: a text message to its end, and at a close frame it hangs up
            masked_rightly, length = (True, 0) if first & 0x0F in (TEXT, CLOSE) else (masked, encoding)
            payload = body if first & 0x0F == CLOSE else bytes(number & 0xFF for number in range(size))
            key = KEY if masked_rightly is to_server else b""
            pieces.append(frame(first, payload, key, length if len(payload) < 65536 else 0))
        ours, answered, code = self.ask(cut(b"".join(pieces), [size * 40 for size in cuts]), to_server=to_server, fast=True)
        theirs, answered_by_autobahn, code_of_autobahn = self.ask(pieces, to_server=to_server, fast=False)
        event(f"closed with {code_of_autobahn}")
        # of a message that fails later we have delivered the beginning
        self.assertTrue(ours.startswith(theirs))
        if code_of_autobahn is None and not any(first & 0x0F == CLOSE for first, *_ in parts):
            self.assertEqual(answered, answered_by_autobahn)
        else:
            # a connection that is cut in the same turn takes the last pongs with it
            self.assertEqual(answered, answered_by_autobahn[: len(answered)])
        self.assertEqual(code, 1003 if code_of_autobahn == 3003 else code_of_autobahn)
