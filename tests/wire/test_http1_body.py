"""Chunked bodies: followed whole and in pieces, decoded, and refused when two readers could read them in two ways."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import LAST_CHUNK, ChunkedBody, HeadError, write_chunk

NEXT = b"GET / HTTP/1.1\r\n"


def refused(body: bytes, step: int) -> bool:
    """Whether the body is refused when it comes in pieces of this size."""
    chunked = ChunkedBody()
    try:
        for at in range(0, len(body), step):
            chunked.feed(body[at : at + step])
    except HeadError as error:
        return error.status == 400 and error.reason.isascii()
    return False


class FollowTests(SynchronousTestCase):
    bodies = (
        b"0\r\n\r\n",
        b"000\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"1\r\n\n\r\n2\r\n\r\n\r\n0\r\n\r\n",
        b"00a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"5;name=value;other\r\nhello\r\n0;x\r\n\r\n",
        b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
        b"0\r\nX-Sum: abc\r\nExpires:\r\n\r\n",
        b"3\r\nabc\r\n" * 100 + b"0\r\nA: \t b\r\n\r\n",
        b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
    )

    def test_the_end_is_found_and_what_follows_is_left(self) -> None:
        for body in self.bodies:
            chunked = ChunkedBody()
            self.assertEqual(chunked.feed(b"before" + body + NEXT, 6), 6 + len(body))
            self.assertTrue(chunked.done)

    def test_in_pieces_of_any_size(self) -> None:
        for body in self.bodies:
            for step in range(1, 12):
                chunked = ChunkedBody()
                for at in range(0, len(body), step):
                    piece = body[at : at + step]
                    self.assertFalse(chunked.done)
                    self.assertEqual(chunked.feed(piece), len(piece))
                self.assertTrue(chunked.done)

    def test_nothing_belongs_to_it_once_it_is_done(self) -> None:
        chunked = ChunkedBody()
        chunked.feed(LAST_CHUNK)
        self.assertEqual(chunked.feed(NEXT, 0), 0)
        self.assertEqual(chunked.decode(NEXT, 3), (b"", 3))

    def test_a_huge_chunk_is_skipped_by_arithmetic(self) -> None:
        chunked = ChunkedBody()
        self.assertEqual(chunked.feed(b"fffffffffffffff\r\n"), 17)
        self.assertEqual(chunked.feed(b"\n" * 1_000_000), 1_000_000)
        self.assertFalse(chunked.done)

    def test_no_bytes_change_nothing(self) -> None:
        chunked = ChunkedBody()
        self.assertEqual(chunked.feed(b""), 0)
        self.assertEqual(chunked.feed(b"x", 1), 1)
        self.assertFalse(chunked.done)


class DecodeTests(SynchronousTestCase):
    def test_the_payload_without_sizes_and_trailers(self) -> None:
        for body, payload in (
            (LAST_CHUNK, b""),
            (b"5;x\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nA: b\r\n\r\n", b"hello world"),
            (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        ):
            self.assertEqual(ChunkedBody().decode(b"x" + body + NEXT, 1), (payload, 1 + len(body)))
            for step in range(1, 6):
                chunked = ChunkedBody()
                pieces = [chunked.decode(body[at : at + step]) for at in range(0, len(body), step)]
                self.assertEqual(b"".join(piece for piece, _ in pieces), payload)
                self.assertTrue(chunked.done)

    def test_payload_is_given_as_it_comes(self) -> None:
        chunked = ChunkedBody()
        self.assertEqual(chunked.decode(b"a\r\n012"), (b"012", 6))
        self.assertEqual(chunked.decode(b"345"), (b"345", 3))
        self.assertEqual(chunked.decode(b"6789\r\n5\r\nab"), (b"6789ab", 11))


class RefusedTests(SynchronousTestCase):
    def test_malformed_bodies(self) -> None:
        for body in (
            b"\r\n",
            b"\n",
            b"g\r\n",
            b"-5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5_0\r\n",
            b" 5\r\nhello\r\n",
            b"\t5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5 ;x\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\r\nhello\r\n",
            b"5\rhello\r\n",
            b"5,\r\nhello\r\n",
            b"5;x\ny\r\nhello\r\n",
            b"5;\x00\r\nhello\r\n",
            b"5;\x7f\r\nhello\r\n",
            b"\xb2\r\n",
            b"1000000000000000\r\n",
            b"0000000000000005\r\nhello\r\n",
            b"5\r\nhello5\r\n",
            b"5\r\nhello\n5\r\n",
            b"5\r\nhello\r5\r\n",
            b"5\r\nhello\n\r5\r\n",
            b"5\r\nhell\r\n0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5\r\nhello\r\n\r\n",
            b"0\r\n\n",
            b"0\r\n\r\r\n",
            b"0\n\r\n",
        ):
            for step in (1, 2, 3, len(body)):
                self.assertTrue(refused(body, step), (body, step))

    def test_malformed_trailers(self) -> None:
        for trailer in (
            b"A",
            b": b",
            b"A : b",
            b" A: b",
            b"A: b\r\n c",
            b"A: b\nC: d",
            b"A: b\rC: d",
            b"A: b\x00",
            b"A(: b",
            b"GET / HTTP/1.1",
        ):
            for step in (1, 2, 3, 100):
                self.assertTrue(refused(b"0\r\n" + trailer + b"\r\n\r\n", step), trailer)

    def test_trailers_that_a_target_could_take_for_fields_of_the_head(self) -> None:
        for name in (
            *(b"Content-Length", b"transfer-encoding", b"HOST", b"Connection", b"Upgrade", b"te", b"Keep-Alive"),
            *(b"Via", b"X-Request-ID", b"Forwarded", b"X-Real-IP", b"X-Forwarded-For", b"x-forwarded-anything", b"x_forwarded_for"),
            *(b"X_Real-IP", b"X-Original-Forwarded-For", b"True-Client-IP", b"CF-Connecting-IP", b"X-Scheme"),
        ):
            for step in (1, 100):
                self.assertTrue(refused(b"0\r\n" + name + b": 5\r\n\r\n", step), name)

    def test_trailers_that_only_look_like_them(self) -> None:
        for name in (
            b"X-Sum",
            b"Grpc-Status",
            b"ETag",
            b"Hosts",
            b"X-Forward",
            b"Forwarded-By-Me",
            b"X-Client-Id",
            b"Content-Lengths",
        ):
            self.assertFalse(refused(b"0\r\n" + name + b": 5\r\n\r\n", 100), name)


class LimitTests(SynchronousTestCase):
    def test_extensions(self) -> None:
        for size, too_long in ((256, False), (257, True)):
            line = b"5;".ljust(1 + size, b"x") + b"\r\nhello\r\n"
            for step in (1, 100, 1000):
                self.assertIs(refused(line, step), too_long, (size, step))

    def test_a_size_that_never_ends(self) -> None:
        self.assertTrue(refused(b"0" * 300, 300))
        self.assertTrue(refused(b"0" * 300, 1))
        self.assertTrue(refused(b"5;" + b"x" * 300, 7))

    def test_trailers(self) -> None:
        for trailers, too_many in (
            (b"A: b\r\n" * 64, False),
            (b"A: b\r\n" * 65, True),
            (b"A: ".ljust(16382, b"x") + b"\r\n", False),
            (b"A: ".ljust(16383, b"x") + b"\r\n", True),
            (b"A: ".ljust(8190, b"x") + b"\r\n" + b"A: ".ljust(8190, b"x") + b"\r\n", False),
            (b"A: ".ljust(8190, b"x") + b"\r\n" + b"A: ".ljust(8191, b"x") + b"\r\n", True),
            (b"A: ".ljust(17000, b"x"), True),
        ):
            for step in (100, 100_000):
                self.assertIs(refused(b"0\r\n" + trailers, step), too_many, (len(trailers), step))


class WriteChunkTests(SynchronousTestCase):
    def test_a_chunk(self) -> None:
        self.assertEqual(write_chunk(b"hello, world!!!!"), b"10\r\nhello, world!!!!\r\n")

    def test_an_empty_payload_is_no_chunk(self) -> None:
        self.assertEqual(write_chunk(b""), b"")


payloads = st.lists(st.binary(max_size=300), max_size=8)
trailer_sections = st.lists(st.sampled_from([b"A: b\r\n", b"X-Sum:\r\n", b"c:\t\xff\r\n"]), max_size=3).map(b"".join)
noise = st.lists(
    st.sampled_from([b"0", b"1", b"5", b"a", b";", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"A: b\r\n", b" ", b"\x00", b"hello"])
    | st.binary(max_size=4),
    max_size=30,
).map(b"".join)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at these places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


class PropertyTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(payloads, trailer_sections, st.lists(st.integers(0, 5000), max_size=10), st.binary(max_size=10))
    def test_what_was_written_is_read(self, chunks: list[bytes], trailers: bytes, cuts: list[int], rest: bytes) -> None:
        body = b"".join(map(write_chunk, chunks)) + b"0\r\n" + trailers + b"\r\n"
        self.assertEqual(ChunkedBody().decode(body + rest), (b"".join(chunks), len(body)))
        self.assertEqual(ChunkedBody().feed(body + rest), len(body))
        following, decoding = ChunkedBody(), ChunkedBody()
        payload = b""
        for piece in pieces_of(body, cuts):
            self.assertEqual(following.feed(piece), len(piece))
            payload += decoding.decode(piece)[0]
        self.assertEqual(payload, b"".join(chunks))
        self.assertTrue(following.done and decoding.done)

    @settings(deadline=None, max_examples=300)
    @given(noise, st.lists(st.integers(0, 200), max_size=6))
    def test_any_bytes_are_read_alike_in_pieces_and_whole(self, data: bytes, cuts: list[int]) -> None:
        self.assertEqual(self.read([data]), self.read(pieces_of(data, cuts)))
        self.assertEqual(self.read([data]), self.read([data[at : at + 1] for at in range(len(data))]))

    def read(self, pieces: list[bytes]) -> tuple[int, bytes] | None:
        """How many bytes belong to the body and what they carry; None when it is refused."""
        following, decoding = ChunkedBody(), ChunkedBody()
        taken, payload = 0, b""
        try:
            for piece in pieces:
                end = following.feed(piece)
                decoded, same_end = decoding.decode(piece)
                self.assertEqual((end, following.done), (same_end, decoding.done))
                taken += end
                payload += decoded
        except HeadError:
            return None
        return taken, payload
