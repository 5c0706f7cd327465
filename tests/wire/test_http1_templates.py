"""Heads read with patterns: the same result as the plain way, or none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire import http1_reader
from rtunnel.wire.http1 import (
    HeadError,
    HeadLimits,
    RequestReader,
    ResponseReader,
    parse_request,
    parse_response,
)
from rtunnel.wire.http1_shapes import (
    LEARN_AFTER,
    PassingRequest,
    PassingResponse,
    RequestShape,
    ResponseShape,
    Shapes,
)

REQUEST_FIELDS = (
    b"Host",
    b"host",
    b"User-Agent",
    b"Accept",
    b"Cookie",
    b"Connection",
    b"connection",
    b"Content-Length",
    b"X-Forwarded-For",
    b"X-Request-ID",
    b"Via",
    b"Transfer-Encoding",
    b"Upgrade",
    b"TE",
    b"Expect",
    b"X-A",
    b"Keep-Alive",
)
RESPONSE_FIELDS = (
    b"Server",
    b"Date",
    b"Content-Type",
    b"Content-Length",
    b"content-length",
    b"Connection",
    b"Keep-Alive",
    b"Transfer-Encoding",
    b"Set-Cookie",
    b"Via",
    b"ETag",
    b"Upgrade",
)
VALUES = st.sampled_from(
    [
        b"",
        b"a",
        b"pod.local",
        b"pod.local:80",
        b"[::1]:8080",
        b"keep-alive",
        b"Keep-Alive",
        b"close",
        b"close, x-a",
        b"0",
        b"5",
        b"05",
        b"+5",
        b"5, 5",
        b"chunked",
        b"gzip, chunked",
        b"a b\tc",
        b"\xff\x80",
        b"a\x00b",
        b"a\x7fb",
        b"1.1 x",
        b"5" * 19,
        b"100-continue",
        b"trailers",
        b"websocket",
    ]
)
SPACES = st.sampled_from([b" ", b"", b"\t ", b"  "])
START_LINES = st.sampled_from(
    (
        b"GET / HTTP/1.1",
        b"GET /a?b HTTP/1.1",
        b"POST /%20 HTTP/1.1",
        b"GET /#x HTTP/1.1",
        b"GET http://h/ HTTP/1.1",
        b"get / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"OPTIONS * HTTP/1.1",
        b"M-SEARCH / HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET  / HTTP/1.1",
    )
)
STATUS_LINES = st.sampled_from(
    (
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 999 Odd",
        b"HTTP/1.1 404 a  b",
    )
)
BYTES = st.sampled_from((b"", b"\r", b"\n", b"\x00", b" ", b":", b"x", b"\xff", b"7", b"\r\n"))
DAMAGE = st.lists(st.tuples(st.integers(0, 300), BYTES), max_size=3)
METHODS = st.sampled_from((b"GET", b"HEAD", b"POST"))


@st.composite
def heads(draw: st.DrawFn, starts: st.SearchStrategy[bytes], names: tuple[bytes, ...]) -> bytes:
    """Heads that are in order more often than not."""
    line = st.tuples(st.sampled_from(names), st.just(b":"), SPACES, VALUES, SPACES).map(b"".join)
    usual = b"Host: pod.local" if b"Host" in names else b"Content-Length: 5"
    before, after = draw(st.lists(line, max_size=3)), draw(st.lists(line, max_size=3))
    return b"\r\n".join((draw(starts), *before, usual, *after, b"", b""))


def damaged(head: bytes, damage: list[tuple[int, bytes]]) -> bytes:
    """Replace some bytes."""
    for where, byte in damage:
        position = where % len(head)
        head = head[:position] + byte + head[position + 1 :]
    return head


def lines_of(head: bytes) -> list[bytes]:
    """The fields of a head as a proxy may write them: in order, without ``Connection: keep-alive``, white space as usual."""
    lines = [line.partition(b":") for line in head[:-4].split(b"\r\n")[1:]]
    fields = [(name, value.strip(b" \t")) for name, _, value in lines]
    return sorted(name + b":" + value for name, value in fields if name.lower() != b"connection")


class PassingTests(SynchronousTestCase):
    """Heads that pass as they came: what a proxy would write anew means the same."""

    @settings(deadline=None, max_examples=400)
    @given(heads(START_LINES, REQUEST_FIELDS), heads(START_LINES, REQUEST_FIELDS), DAMAGE)
    def test_requests(self, learned: bytes, other: bytes, damage: list[tuple[int, bytes]]) -> None:
        try:
            parse_request(learned)
        except HeadError:
            return
        shapes = Shapes(PassingRequest)
        for _ in range(LEARN_AFTER):
            shapes.learn(learned)
        for head in (learned, damaged(learned, damage), other):
            for shape in shapes.tried:
                match = shape.match(head + b"after")
                if match is None:
                    continue
                whole = (head + b"after")[: match.end()]
                try:
                    expected = parse_request(whole)
                except HeadError as error:
                    # the reader leaves the Host to be judged
                    self.assertIn("Host", error.reason)
                    continue
                self.assertEqual((expected.method, expected.minor, expected.authority), (b"GET", 1, match[1]))
                self.assertEqual((expected.body, expected.keep_alive, expected.forwarded), (0, True, None))
                self.assertEqual((expected.upgrade, expected.expects_continue, expected.te_trailers), (b"", False, False))
                self.assertTrue(whole.startswith(b"GET " + expected.target + b" HTTP/1.1\r\n"))
                self.assertEqual(lines_of(whole), lines_of(b"\r\n" + expected.fields + b"\r\n"))

    @settings(deadline=None, max_examples=400)
    @given(heads(STATUS_LINES, RESPONSE_FIELDS), heads(STATUS_LINES, RESPONSE_FIELDS), DAMAGE)
    def test_responses(self, learned: bytes, other: bytes, damage: list[tuple[int, bytes]]) -> None:
        try:
            parse_response(learned, b"GET")
        except HeadError:
            return
        shapes = Shapes(PassingResponse)
        for _ in range(LEARN_AFTER):
            shapes.learn(learned)
        for head in (learned, damaged(learned, damage), other):
            for shape in shapes.tried:
                match = shape.match(head + b"after")
                if match is None:
                    continue
                whole = (head + b"after")[: match.end()]
                expected = parse_response(whole, b"GET")
                self.assertEqual((expected.body, expected.keep_alive, expected.minor), (int(match[1]), True, 1))
                self.assertGreaterEqual(expected.status, 200)
                self.assertEqual(lines_of(whole), lines_of(b"\r\n" + expected.fields + b"\r\n"))

    def test_what_passes(self) -> None:
        """The usual requests and answers do, once they are known; what needs a proxy's hand does not."""
        requests = RequestReader(HeadLimits())
        head = b"GET /%d HTTP/1.1\r\nHost: pod.local:81\r\nConnection: keep-alive\r\nX-A: %d\r\n\r\n"
        self.assertIsNone(requests.passing(head % (1, 1)))
        for number in range(LEARN_AFTER):
            requests.read(head % (number, number))
        whole = head % (77, 78)
        self.assertEqual(requests.passing(whole + b"next"), (b"pod.local:81", "pod.local", len(whole)))
        for other in (
            whole[:-1],
            whole.replace(b"GET", b"POST"),
            whole.replace(b"keep-alive", b"close"),
            whole.replace(b"X-A", b"Via"),
            whole.replace(b"pod.local:81", b"pod.local:8100000"),
            whole.replace(b"/77", b"/\x7f"),
        ):
            self.assertIsNone(requests.passing(other), other)
        responses = ResponseReader(HeadLimits())
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nDate: %d\r\n\r\n"
        for number in range(LEARN_AFTER):
            responses.read(answer % (number, number), b"GET")
        self.assertEqual(responses.passing(answer % (5, 6) + b"hello"), (len(answer % (5, 6)), 5))
        self.assertIsNone(responses.passing((answer % (5, 6)).replace(b" 5", b" +5")))
        self.assertIsNone(responses.passing((answer % (5, 6)).replace(b"200 OK", b"304 OK")))

    def test_off(self) -> None:
        """With the patterns off nothing passes as it came."""
        self.patch(http1_reader, "FAST", False)
        reader = RequestReader(HeadLimits())
        head = b"GET / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
        for _ in range(LEARN_AFTER * 2):
            reader.read(head)
        self.assertIsNone(reader.passing(head))

    def test_limits(self) -> None:
        reader = RequestReader(HeadLimits(head_bytes=300, line_bytes=200, header_count=5))
        head = b"GET /%b HTTP/1.1\r\nHost: pod.local\r\n\r\n"
        for _ in range(LEARN_AFTER):
            reader.read(head % b"a")
        self.assertIsNotNone(reader.passing(head % b"b"))
        self.assertIsNone(reader.passing(head % (b"b" * 200)))


class RequestTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=400)
    @given(heads(START_LINES, REQUEST_FIELDS), heads(START_LINES, REQUEST_FIELDS), DAMAGE)
    def test_same_as_plain(self, learned: bytes, other: bytes, damage: list[tuple[int, bytes]]) -> None:
        """What a pattern takes, the plain way takes with the same result."""
        try:
            parse_request(learned)
        except HeadError:
            return
        shapes = Shapes(RequestShape)
        for _ in range(LEARN_AFTER):
            shapes.learn(learned)
        for head in (learned, damaged(learned, damage), other):
            for shape in shapes.tried:
                try:
                    found = shape.read(b"before" + head + b"after", 6)
                except HeadError as error:
                    self.assertRaises(HeadError, parse_request, head)
                    self.assertEqual(error.status, 400)
                    continue
                if found is not None:
                    parsed, end = found
                    whole = (head + b"after")[: end - 6]
                    expected = parse_request(whole)
                    # the length keeps its place here and stands behind the others there
                    self.assertEqual(sorted(parsed.fields.split(b"\r\n")), sorted(expected.fields.split(b"\r\n")))
                    parsed.fields = expected.fields
                    self.assertEqual(parsed, expected)

    def test_learns(self) -> None:
        """A shape that comes often gets a pattern; its values may change."""
        shapes = Shapes(RequestShape)
        head = b"GET /%d HTTP/1.1\r\nHost: pod.local\r\nConnection: keep-alive\r\nX-A: %d\r\n\r\n"
        for number in range(LEARN_AFTER):
            self.assertEqual(shapes.tried, [])
            shapes.learn(head % (number, number))
        found = shapes.tried[0].read(head % (12345, 678), 0)
        assert found is not None
        self.assertEqual(found[0].target, b"/12345")
        self.assertEqual(found[0].fields, b"Host: pod.local\r\nX-A: 678\r\n")

    def test_reader(self) -> None:
        """The reader gives the same for each of many heads, whether a pattern took it or not, with the patterns off as well."""
        for fast in (True, False):
            self.patch(http1_reader, "FAST", fast)
            reader = RequestReader(HeadLimits())
            for number in range(100):
                head = b"GET /%d HTTP/1.1\r\nHost: pod.local\r\nX-%d: a\r\n\r\n" % (number, number % 3)
                read = reader.read(b"\r\n" + head + b"rest", 2)
                assert read is not None
                self.assertEqual(read, (parse_request(head), len(head) + 2))

    def test_not_whole(self) -> None:
        reader = RequestReader(HeadLimits())
        head = b"GET / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
        for _ in range(LEARN_AFTER + 1):
            reader.read(head)
        for end in range(1, len(head)):
            self.assertIsNone(reader.read(head[:end]), end)

    def test_limits(self) -> None:
        """A head that is too large is refused, also when its shape is known."""
        reader = RequestReader(HeadLimits(head_bytes=300, line_bytes=200, header_count=5))
        for _ in range(LEARN_AFTER + 1):
            reader.read(b"GET / HTTP/1.1\r\nHost: pod.local\r\nX-A: b\r\n\r\n")
        with self.assertRaises(HeadError) as caught:
            reader.read(b"GET / HTTP/1.1\r\nHost: pod.local\r\nX-A: " + b"b" * 210 + b"\r\n\r\n")
        self.assertEqual(caught.exception.status, 431)

    def test_bounded(self) -> None:
        """Strangers who send ever new shapes do not fill the memory."""
        shapes = Shapes(RequestShape)
        for number in range(1000):
            for _ in range(LEARN_AFTER if number < 200 else 1):
                shapes.learn(b"GET / HTTP/1.1\r\nHost: pod.local\r\nX-%d: a\r\n\r\n" % number)
        self.assertLessEqual(len(shapes._known), 64)
        self.assertLessEqual(len(shapes._counts), 512)
        self.assertLessEqual(len(shapes.tried), 4)


class ResponseTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=400)
    @given(
        heads(STATUS_LINES, RESPONSE_FIELDS),
        heads(STATUS_LINES, RESPONSE_FIELDS),
        DAMAGE,
        st.sampled_from([b"GET", b"HEAD", b"POST"]),
    )
    def test_same_as_plain(self, learned: bytes, other: bytes, damage: list[tuple[int, bytes]], method: bytes) -> None:
        try:
            parse_response(learned, b"GET")
        except HeadError:
            return
        shapes = Shapes(ResponseShape)
        for _ in range(LEARN_AFTER):
            shapes.learn(learned)
        for head in (learned, damaged(learned, damage), other):
            for shape in shapes.tried:
                found = shape.read(head + b"after", method)
                if found is not None:
                    parsed, end = found
                    expected = parse_response((head + b"after")[:end], method)
                    self.assertEqual(sorted(parsed.fields.split(b"\r\n")), sorted(expected.fields.split(b"\r\n")))
                    parsed.fields = expected.fields
                    self.assertEqual(parsed, expected)

    def test_reader(self) -> None:
        for fast in (True, False):
            self.patch(http1_reader, "FAST", fast)
            reader = ResponseReader(HeadLimits())
            for number in range(100):
                head = b"HTTP/1.1 200 OK\r\nDate: %d\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n" % (number, number)
                read = reader.read(head + b"rest", b"GET")
                assert read is not None
                self.assertEqual(read, (parse_response(head, b"GET"), len(head)))
                self.assertEqual(read[0].body, number)
