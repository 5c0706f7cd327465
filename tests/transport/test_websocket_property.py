"""Bytes arrive whatever the frames are: messages in fragments, control frames between them, reads that end anywhere."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport import websocket
from tests.transport.test_websocket import World, frame, frames

BINARY, CONTINUATION, PING, PONG = 2, 0, 9, 10
FIN = 0x80

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
