"""Where heads begin and end, and when a peer is told that it went too far."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import HeadError, HeadLimits, head_end, skip_empty_lines

LIMITS = HeadLimits()
SMALL = HeadLimits(head_bytes=100, line_bytes=40, header_count=4)
HEAD = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def verdict(data: bytes, start: int = 0, limits: HeadLimits = LIMITS) -> int:
    """What :func:`head_end` answers, or the status of its error."""
    try:
        return head_end(data, start, limits)
    except HeadError as error:
        return error.status


class HeadEndTests(SynchronousTestCase):
    def test_a_whole_head(self) -> None:
        self.assertEqual(verdict(HEAD), len(HEAD))

    def test_with_bytes_before_and_behind(self) -> None:
        self.assertEqual(verdict(b"body" + HEAD + HEAD + b"rest", 4), 4 + len(HEAD))

    def test_in_a_bytearray(self) -> None:
        self.assertEqual(head_end(bytearray(HEAD), 0, LIMITS), len(HEAD))

    def test_byte_by_byte(self) -> None:
        for head in (HEAD, b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n", b"M-SEARCH * HTTP/1.1\r\n\r\n"):
            for size in range(len(head)):
                self.assertEqual(verdict(head[:size]), -1, head[:size])
            self.assertEqual(verdict(head), len(head))

    def test_another_protocol_is_refused_with_its_first_bytes(self) -> None:
        for data in (
            b"\x16\x03\x01",
            b"\x00",
            b"\x01\x01",
            b" GET",
            b"\tGET",
            b"\nGET",
            b":",
            b"GE\x00T",
            b"\x80",
            b"{}",
            b"\r\rGET",
            b"A" * 33,
        ):
            self.assertEqual(verdict(data), 400, data)

    def test_a_line_that_ends_without_cr_is_refused_at_once(self) -> None:
        for data in (b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"GET / HTTP/1.1\n\n", b"GET / HTTP/1.1\r\n\n"):
            self.assertEqual(verdict(data), 400, data)

    def test_a_cr_at_the_end_may_become_a_line_end(self) -> None:
        self.assertEqual(verdict(b"GET / HTTP/1.1\r"), -1)
        self.assertEqual(verdict(b"\r"), -1)


class LimitTests(SynchronousTestCase):
    def test_the_whole_head(self) -> None:
        lines = b"GET / HTTP/1.1\r\n" + b"A: 45678901234567890123456\r\n" * 3
        fits = lines[:-2] + b"\r\n\r\n"
        self.assertEqual(len(fits), 102 - 2 + 2)
        self.assertEqual(verdict(fits, limits=SMALL), 431)
        fits = lines[:-4] + b"\r\n\r\n"
        self.assertEqual((len(fits), verdict(fits, limits=SMALL)), (100, 100))

    def test_a_head_without_end(self) -> None:
        data = b"GET / HTTP/1.1\r\n" + b"A: 456789012345678901234\r\n" * 4
        self.assertEqual(verdict(data[:100], limits=SMALL), -1)
        self.assertEqual(verdict(data[:101], limits=SMALL), 431)

    def test_a_line(self) -> None:
        for size, expected in ((39, -1), (40, -1), (41, 431)):
            line = b"GET /".ljust(size, b"x")
            self.assertEqual(verdict(line, limits=SMALL), expected)
        for size, refused in ((40, False), (41, True)):
            head = b"GET /".ljust(size, b"x") + b"\r\nHost: a\r\n\r\n"
            self.assertEqual(verdict(head, limits=SMALL), 431 if refused else len(head))
            head = b"GET / HTTP/1.1\r\n" + b"A: ".ljust(size, b"x") + b"\r\n\r\n"
            self.assertEqual(verdict(head, limits=SMALL), 431 if refused else len(head))

    def test_a_line_whose_end_is_cut(self) -> None:
        """The longest line is accepted wherever it is split, also between CR and LF."""
        for line in (b"GET /".ljust(40, b"x"), b"A: ".ljust(40, b"x")):
            begun = (b"" if line.startswith(b"GET") else b"GET / HTTP/1.1\r\n") + line
            for end in (b"\r", b"\r\n", b"\r\n\r"):
                self.assertEqual(verdict(begun + end, limits=SMALL), -1, begun + end)
            self.assertEqual(verdict(begun + b"x\r", limits=SMALL), 431)
            self.assertEqual(verdict(begun + b"\rx", limits=SMALL), 431)

    def test_the_number_of_fields(self) -> None:
        for count, refused in ((0, False), (4, False), (5, True)):
            begun = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * count
            self.assertEqual(verdict(begun, limits=SMALL), 431 if refused else -1)
            head = begun + b"\r\n"
            self.assertEqual(verdict(head, limits=SMALL), 431 if refused else len(head))

    def test_the_defaults(self) -> None:
        self.assertEqual((LIMITS.head_bytes, LIMITS.line_bytes, LIMITS.header_count), (65536, 16384, 128))
        head = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 128 + b"\r\n"
        self.assertEqual(verdict(head), len(head))
        self.assertEqual(verdict(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 129 + b"\r\n"), 431)

    def test_the_body_behind_a_head_does_not_count(self) -> None:
        self.assertEqual(verdict(HEAD + b"\n" * 1000, limits=SMALL), len(HEAD))


class EmptyLineTests(SynchronousTestCase):
    def test_a_few_are_skipped(self) -> None:
        for count in range(5):
            self.assertEqual(skip_empty_lines(b"\r\n" * count + HEAD), 2 * count)

    def test_no_more_than_a_few(self) -> None:
        data = b"\r\n" * 5 + HEAD
        start = skip_empty_lines(data)
        self.assertEqual(start, 8)
        self.assertEqual(verdict(b"\r\n", 0), 400)

    def test_from_an_index_on(self) -> None:
        self.assertEqual(skip_empty_lines(b"body\r\nGET", 4), 6)
        self.assertEqual(skip_empty_lines(b"body\r", 4), 4)
        self.assertEqual(skip_empty_lines(b"", 0), 0)


class ErrorTests(SynchronousTestCase):
    def test_reads_well_in_a_log(self) -> None:
        error = HeadError(431, "too many fields")
        self.assertEqual((error.status, error.reason, str(error)), (431, "too many fields", "431: too many fields"))


names = st.sampled_from([b"A", b"Host", b"X-Y"])
field_lines = st.builds(lambda name, value: name + b": " + value, names, st.text("abc :", max_size=45).map(str.encode))
any_heads = st.builds(
    lambda target, lines: b"\r\n".join((b"GET /" + target + b" HTTP/1.1", *lines, b"", b"")),
    st.text("abc", max_size=30).map(str.encode),
    st.lists(field_lines, max_size=6),
)


class PieceTests(SynchronousTestCase):
    """A head in pieces is accepted or refused like a complete one."""

    def test_pieces(self) -> None:
        verdicts: Counter[bool] = Counter()

        @settings(deadline=None, max_examples=300)
        @given(any_heads, st.binary(max_size=3))
        def check(head: bytes, before: bytes) -> None:
            start = len(before)
            whole = verdict(before + head, start, SMALL)
            pieces = [verdict(before + head[:size], start, SMALL) for size in range(len(head))]
            if whole == 431:
                self.assertLessEqual(set(pieces), {-1, 431})
            else:
                self.assertEqual(whole, start + len(head))
                self.assertEqual(set(pieces), {-1})
            verdicts[whole == 431] += 1

        check()
        self.assertGreater(min(verdicts[True], verdicts[False]), 20, "both results occur")


class AnyBytesTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=300)
    @given(
        st.binary(max_size=200) | st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"GET / HTTP/1.1", b":", b"a"])).map(b"".join)
    )
    def test_give_an_index_or_a_head_error(self, data: bytes) -> None:
        for limits in (LIMITS, SMALL):
            end = verdict(data, limits=limits)
            if end not in (400, 431):
                self.assertEqual(end, data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else -1)
            start = skip_empty_lines(data)
            self.assertEqual(data[:start], b"\r\n" * (start // 2))
