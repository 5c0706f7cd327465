"""Datagrams on a stream of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.datagram import MAX_DATAGRAM, DatagramReader, frame_datagram
from rtunnel.wire.relay import take_response
from tests.support.vectors import conversations

DATAGRAMS = st.lists(st.binary(max_size=300), max_size=20)


class FrameTests(SynchronousTestCase):
    def test_form(self) -> None:
        self.assertEqual(frame_datagram(b"one"), b"\0\3one")
        self.assertEqual(frame_datagram(b""), b"\0\0")

    def test_largest(self) -> None:
        for size in (MAX_DATAGRAM, 65535):
            self.assertEqual(DatagramReader().receive(frame_datagram(b"x" * size)), [b"x" * size])
        with self.assertRaisesRegex(ValueError, "at most 65535 bytes"):
            frame_datagram(b"x" * 65536)

    def test_recorded(self) -> None:
        """What a gost's visitor and its server say after the answer to CONNECT."""
        for conversation, question in zip(conversations("private-udp-visitor")[1:], (b"one", b"two-two"), strict=True):
            answer = conversation.sent_by("server")
            taken = take_response(answer)
            assert taken is not None
            self.assertEqual(DatagramReader().receive(answer[taken[1] :]), [b"echo:" + question])
            self.assertTrue(conversation.sent_by("client").endswith(frame_datagram(question)))


class ReaderTests(SynchronousTestCase):
    @given(DATAGRAMS, st.lists(st.integers(min_value=1, max_value=400), min_size=1))
    def test_cut_anywhere(self, datagrams: list[bytes], cuts: list[int]) -> None:
        """The same datagrams come out, whatever the pieces; each as soon as it is whole."""
        data = b"".join(map(frame_datagram, datagrams))
        reader, found, position, turn = DatagramReader(), [], 0, 0
        while position < len(data):
            size = cuts[turn % len(cuts)]
            found += reader.receive(data[position : position + size])
            position, turn = position + size, turn + 1
            whole = sum(len(datagram) + 2 for datagram in found)
            self.assertEqual(reader.waiting, min(position, len(data)) - whole)
        self.assertEqual((found, reader.waiting), (datagrams, 0))

    @given(st.binary(max_size=2000))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are some datagrams and the beginning of another one: nothing is lost, and nothing raises."""
        reader = DatagramReader()
        found = b"".join(map(frame_datagram, reader.receive(data)))
        self.assertEqual(data[: len(found)], found)
        self.assertEqual(len(found) + reader.waiting, len(data))

    def test_bounded(self) -> None:
        """What waits is less than one datagram with its length."""
        reader = DatagramReader()
        for _ in range(100):
            reader.receive(b"\xff" * 50_000)
            self.assertLess(reader.waiting, 65535 + 2)
