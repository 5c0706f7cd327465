"""The exchange engine: conversations in one piece, byte by byte, and split at random."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire import http1_reader
from rtunnel.wire.http1 import (
    PASS_ALL,
    HeadError,
    HeadLimits,
    RequestHead,
    RequestReader,
    ResponseReader,
    parse_request,
)
from rtunnel.wire.http1_exchange import (
    DATA,
    END,
    HEAD,
    INTERIM,
    MALFORMED,
    MAX_INTERIM,
    UPGRADE,
    WHOLE,
    AnswerSide,
    Event,
    RequestSide,
)
from rtunnel.wire.http1_head import LONG, head_end
from rtunnel.wire.http1_templates import LEARN_AFTER

slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No deadlines: the machine may be busy."""

Said = list[tuple[Any, ...]]
"""Events in a readable form, with adjacent pieces of a body joined."""


def count_reads(case: SynchronousTestCase) -> list[int]:
    """Note the size of what readers search for the end of a head, each time."""
    reads: list[int] = []

    def noting(data: bytes, start: int, limits: HeadLimits) -> int:
        reads.append(len(data))
        return head_end(data, start, limits)

    case.patch(http1_reader, "head_end", noting)
    return reads


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data split at these offsets, without empty pieces."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


def every_cut(data: bytes) -> Iterator[list[bytes]]:
    """The data in one piece, byte by byte, and split in two at each offset."""
    yield [data] if data else []
    yield [data[at : at + 1] for at in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


cut_places = st.lists(st.integers(0, 5000), max_size=8)


def joined(said: Said) -> Said:
    """Join adjacent DATA events: how a body is split has no meaning."""
    result: Said = []
    for event in said:
        if event[0] == "DATA" and result and result[-1][0] == "DATA":
            result[-1] = ("DATA", result[-1][1] + event[1])
        else:
            result.append(event)
    return result


# -- requests


def request(start: bytes = b"GET /", *lines: bytes, body: bytes = b"") -> bytes:
    return b"".join(line + b"\r\n" for line in (start + b" HTTP/1.1", b"Host: a", *lines, b"")) + body


class Asked:
    """A request side and its owner, which responds to each request at once or on demand.

    :param at_once: whether it responds at once.
    """

    def __init__(self, *, at_once: bool = True, reader: RequestReader | None = None) -> None:
        self.side = RequestSide(reader or RequestReader(HeadLimits()))
        self.said: Said = []
        self._at_once = at_once
        self._body = False

    def receive(self, *pieces: bytes) -> Said:
        """:returns: all events so far."""
        for piece in pieces:
            self._note(self.side.receive(piece))
        return joined(self.said)

    def answer(self) -> Said:
        """Respond to the current request."""
        self._note(self.side.next())
        return joined(self.said)

    def answer_all(self) -> Said:
        """Respond to the current request and to those queued after it."""
        said = -1
        while self.waits and said < len(self.said):
            said = len(self.said)
            self.answer()
        return joined(self.said)

    @property
    def waits(self) -> bool:
        """Whether a complete request is waiting for its response."""
        return bool(self.said) and not self._body and self.said[-1][0] in ("HEAD", "END")

    def _note(self, events: list[Event]) -> None:
        while events:
            for kind, head, data in events:
                if kind == HEAD:
                    assert not self._body
                    self.said.append(("HEAD", head.method, head.target))
                    self._body = head.body != 0
                    assert data == b"", "body data has separate events"
                elif kind == DATA:
                    assert data and self._body
                    self.said.append(("DATA", data))
                elif kind == END:
                    assert self._body
                    self._body = False
                    self.said.append(("END",))
                else:
                    assert kind == MALFORMED and isinstance(head, HeadError)
                    self.said.append(("MALFORMED", head.status))
                    self._body = False
                    return
            assert self.side.whole == (not self._body)
            events = self.side.next() if self._at_once and self.waits else []


GET: Said = [("HEAD", b"GET", b"/")]
CHUNKS = b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n"
HIDDEN = request(b"GET /hidden")
REQUESTS: list[tuple[bytes, Said]] = [
    (request(), GET),
    (request() * 3, GET * 3),
    (b"\r\n" * 4 + request(), GET),
    (request() + b"\r\n" + request() + b"\r\n\r\n" + request(), GET * 3),
    (request(b"POST /a", b"Content-Length: 0"), [("HEAD", b"POST", b"/a")]),
    (request(b"POST /a", b"Content-Length: 5", body=b"hello"), [("HEAD", b"POST", b"/a"), ("DATA", b"hello"), ("END",)]),
    (
        request(b"POST /a", b"Content-Length: 5", body=b"hello") + request(),
        [("HEAD", b"POST", b"/a"), ("DATA", b"hello"), ("END",), *GET],
    ),
    (
        request(b"POST /a", b"Content-Length: 5", body=b"hello\r\n") + request(),
        [("HEAD", b"POST", b"/a"), ("DATA", b"hello"), ("END",), *GET],
    ),
    (
        request(b"PUT /a", b"Transfer-Encoding: chunked", body=CHUNKS) + request(),
        [("HEAD", b"PUT", b"/a"), ("DATA", CHUNKS), ("END",), *GET],
    ),
    (
        request(b"PUT /a", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n") * 2,
        [("HEAD", b"PUT", b"/a"), ("DATA", b"0\r\n\r\n"), ("END",)] * 2,
    ),
    (
        request(b"POST /a", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN) + request(),
        [("HEAD", b"POST", b"/a"), ("DATA", HIDDEN), ("END",), *GET],
    ),
    (
        request(b"POST /a", b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
        [("HEAD", b"POST", b"/a"), ("DATA", b"abc"), ("END",)],
    ),
    (b"GET /old HTTP/1.0\r\nHost: a\r\n\r\n" + request(), [("HEAD", b"GET", b"/old"), *GET]),
    (b"", []),
    (request()[:-1], []),
    (b"\r\n\r", []),
    (request() + request()[:20], GET),
    (request(b"POST /a", b"Content-Length: 5", body=b"hell"), [("HEAD", b"POST", b"/a"), ("DATA", b"hell")]),
    (request(b"POST /a", b"Content-Length: 5"), [("HEAD", b"POST", b"/a")]),
    (request(b"POST /a", b"Transfer-Encoding: chunked", body=CHUNKS[:-1]), [("HEAD", b"POST", b"/a"), ("DATA", CHUNKS[:-1])]),
]
"""Input, and the events if each request is responded to at once."""

BAD_REQUESTS: list[tuple[bytes, int]] = [
    (b"\x16\x03\x01\x02\x00", 400),
    (b"\x00", 400),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\n" + request(), 400),
    (b"\r\n" * 5 + request(), 400),
    (request(b"GET  /"), 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (request(b"GET /", b"Host: b"), 400),
    (request(b"GET /#"), 400),
    (request(b"GET /", b"A : b"), 400),
    (request(b"GET /", b"A: b", b" c"), 400),
    (request(b"POST /", b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    (request(b"POST /", b"Content-Length: +5"), 400),
    (request(b"POST /", b"Transfer-Encoding: gzip"), 501),
    (request(b"CONNECT a:80"), 501),
    (request(b"FOO /"), 501),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (request(b"GET /" + b"x" * 20000), 431),
    (request(b"GET /", *[b"A: b"] * 200), 431),
    (request(b"GET /", *[b"A: " + b"b" * 16000] * 5), 431),
]
"""Malformed requests, and the status of the error."""

BAD_CHUNKS = [
    b"g\r\n",
    b"\r\n",
    b"5\nhello\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhello\r\n-1\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nX-Real-IP: 192.0.2.1\r\n\r\n",
    b"0\r\nA\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"1000000000000000\r\n",
]


class RequestSideTests(SynchronousTestCase):
    def test_conversations(self) -> None:
        for data, expected in REQUESTS:
            for pieces in every_cut(data):
                self.assertEqual(Asked().receive(*pieces), joined(expected), pieces)

    def test_answers_that_come_late(self) -> None:
        """Pipelined requests are buffered, and parsed after the response."""
        for data, expected in REQUESTS:
            for pieces in every_cut(data):
                asked = Asked(at_once=False)
                asked.receive(*pieces)
                self.assertLessEqual(len([event for event in asked.said if event[0] == "HEAD"]), 1)
                self.assertEqual(asked.answer_all(), joined(expected), pieces)

    @settings(slowly, max_examples=200)
    @given(st.lists(st.sampled_from(REQUESTS[:13]), max_size=6), st.sampled_from(REQUESTS), cut_places, st.sets(st.integers(0, 7)))
    def test_any_cuts(self, first: list[tuple[bytes, Said]], last: tuple[bytes, Said], cuts: list[int], lazy: set[int]) -> None:
        """Sequences of conversations, split anywhere, with immediate or delayed responses."""
        data = b"".join(data for data, _ in (*first, last))
        expected = joined([event for _, said in (*first, last) for event in said])
        self.assertEqual(Asked().receive(*pieces_of(data, cuts)), expected)
        asked = Asked(at_once=False)
        for number, piece in enumerate(pieces_of(data, cuts)):
            asked.receive(piece)
            if number not in lazy:
                asked.answer_all()
        self.assertEqual(asked.answer_all(), expected)

    def test_known_heads(self) -> None:
        """The same if templates read the heads."""
        reader = RequestReader(HeadLimits())
        for data, _ in REQUESTS * LEARN_AFTER:
            Asked(reader=reader).receive(*pieces_of(data, ()))
        parsed = reader.parsed
        for data, expected in REQUESTS:
            for pieces in every_cut(data):
                self.assertEqual(Asked(reader=reader).receive(*pieces), joined(expected), pieces)
        heads = sum(len(data) * sum(event[0] == "HEAD" for event in expected) for data, expected in REQUESTS)
        self.assertLess(reader.parsed - parsed, heads / 2)

    def test_work_for_a_head_that_comes_byte_by_byte(self) -> None:
        """It is read again when a line ends, not with each byte; limits are noticed at once all the same."""
        reads = count_reads(self)
        for line, count, said in ((b"X: %b" % (b"a" * 2000), 9, GET), (b"X: %b" % (b"a" * 9000), 1, [("MALFORMED", 431)])):
            reads.clear()
            asked = Asked(reader=RequestReader(HeadLimits(head_bytes=20000, line_bytes=8000)))
            data = request(b"GET /", *[line] * count)
            self.assertEqual(asked.receive(*pieces_of(data, range(len(data)))), said)
            self.assertTrue(0 < len(reads) < LONG + 2 * count + 8, len(reads))

    def test_malformed_host_in_a_known_head(self) -> None:
        """A template that takes the lines refuses the host in them."""
        reader = RequestReader(HeadLimits())
        for _ in range(LEARN_AFTER):
            Asked(reader=reader).receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for host in (b"a/b", b"[::g]", b"a:99999"):
            asked = Asked(reader=reader)
            self.assertEqual(asked.receive(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host), [("MALFORMED", 400)], host)

    def test_malformed(self) -> None:
        """Reported once, after the events of all valid data; further data is ignored."""
        for before, said in ((b"", []), (request(), GET), *REQUESTS[5:6], *REQUESTS[8:9]):
            for bad, status in BAD_REQUESTS:
                data = before + bad
                cuts = every_cut(data) if len(data) < 300 else [[data], pieces_of(data, range(0, len(data), 1000))]
                for pieces in cuts:
                    asked = Asked()
                    self.assertEqual(
                        asked.receive(*pieces), joined([*said, ("MALFORMED", status)]), (before, bad[:80], len(pieces))
                    )
                    self.assertEqual(asked.receive(request()), joined([*said, ("MALFORMED", status)]))
                    self.assertEqual(asked.side.detach(), b"")

    def test_malformed_bodies(self) -> None:
        """Only data received before the fault was detected is passed on."""
        begin = request(b"POST /a", b"Transfer-Encoding: chunked")
        for bad in BAD_CHUNKS:
            for pieces in every_cut(begin + bad + request()):
                asked = Asked()
                head, *data, malformed = asked.receive(*pieces)
                self.assertEqual((head, malformed), (("HEAD", b"POST", b"/a"), ("MALFORMED", 400)), bad)
                self.assertFalse(asked.side.whole)
                self.assertLessEqual(len(data), 1)
                for kind, passed in data:
                    self.assertEqual(kind, "DATA")
                    self.assertTrue(bad.startswith(passed), (bad, passed))

    @settings(slowly, max_examples=200)
    @given(
        st.lists(st.sampled_from([data for data, _ in REQUESTS] + [data for data, _ in BAD_REQUESTS[:18]]) | st.binary(max_size=9)),
        cut_places,
    )
    def test_any_bytes(self, parts: list[bytes], cuts: list[int]) -> None:
        """Arbitrary input never raises, and its split only affects how much of a malformed body is passed on."""
        data = b"".join(parts)
        whole, cut, bytewise = Asked().receive(data) if data else [], Asked().receive(*pieces_of(data, cuts)), Asked()
        for at in range(len(data)):
            bytewise.receive(data[at : at + 1])
        for said in (cut, joined(bytewise.said)):
            if whole and whole[-1][0] == "MALFORMED":
                self.assertEqual(said[-1][0], "MALFORMED")
                self.assertEqual(
                    [event[:1] for event in said if event[0] != "DATA"], [event[:1] for event in whole if event[0] != "DATA"]
                )
            else:
                self.assertEqual(said, whole)

    def test_idle(self) -> None:
        """A connection is idle while no part of a request has been received."""
        asked = Asked(at_once=False)
        side = asked.side
        self.assertEqual((side.idle, side.whole, side.buffered), (True, True, b""))
        data = request(b"POST /", b"Content-Length: 3", body=b"abc")
        for at in range(len(data)):
            asked.receive(data[at : at + 1])
            self.assertFalse(side.idle)
        asked.answer()
        self.assertTrue(side.idle)
        asked.receive(request() + b"G")
        self.assertEqual((side.idle, side.buffered), (False, b"G"))
        asked.answer()
        self.assertEqual((side.idle, side.buffered), (False, b"G"))
        asked.receive(request()[1:])
        asked.answer()
        self.assertTrue(side.idle)

    def test_whole(self) -> None:
        """A request is whole when all of its body has been received."""
        for framing, body in ((b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", CHUNKS)):
            side = RequestSide(RequestReader(HeadLimits()))
            side.receive(request(b"POST /", framing))
            for at in range(len(body)):
                self.assertFalse(side.whole)
                side.receive(body[at : at + 1])
            self.assertTrue(side.whole)
            side.receive(request()[:9])
            self.assertTrue(side.whole)
            side.next()
            self.assertTrue(side.whole)

    def test_answered(self) -> None:
        """Whether there is something to go on with; it is parsed with what follows, or by itself."""
        for whole in (True, False):
            side = RequestSide(RequestReader(HeadLimits()))
            side.receive(request())
            self.assertFalse(side.answered())
            side.receive(request() + request(b"GET /b")[: None if whole else 9])
            self.assertTrue(side.answered())
            events = side.next() if whole else side.receive(request(b"GET /b")[9:])
            self.assertEqual([(kind, head.target) for kind, head, _ in events], [(HEAD, b"/b")])

    def test_buffered(self) -> None:
        """Pipelined data is buffered completely and in order."""
        asked = Asked(at_once=False)
        ahead = request(b"POST /a", b"Content-Length: 5", body=b"hello") + request(b"GET /b")
        asked.receive(request() + ahead[:7])
        self.assertEqual(asked.side.buffered, ahead[:7])
        asked.receive(ahead[7:30], ahead[30:])
        self.assertEqual(asked.side.buffered, ahead)
        self.assertEqual(asked.said, GET)
        asked.answer()
        self.assertEqual(asked.side.buffered, request(b"GET /b"))
        self.assertEqual(
            asked.answer(), joined([*GET, ("HEAD", b"POST", b"/a"), ("DATA", b"hello"), ("END",), ("HEAD", b"GET", b"/b")])
        )
        self.assertEqual((asked.side.buffered, asked.answer()[3:]), (b"", [("END",), ("HEAD", b"GET", b"/b")]))

    def test_one_after_another(self) -> None:
        """Requests in one piece are parsed one at a time, each after the previous response."""
        asked = Asked(at_once=False)
        asked.receive(request() * 1000)
        self.assertEqual(asked.said, GET)
        for number in range(2, 1001):
            asked.answer()
            self.assertEqual(len(asked.said), number)
        self.assertEqual(asked.side.buffered, b"")

    def test_detach(self) -> None:
        """Detaching returns the buffered data; further data is ignored."""
        upgrade = request(b"GET /", b"Connection: upgrade", b"Upgrade: websocket")
        for data, rest in (
            (upgrade + b"\x81\x05hello", b"\x81\x05hello"),
            (upgrade, b""),
            (b"", b""),
            (request()[:10], request()[:10]),
            (request(b"POST /", b"Content-Length: 5", body=b"hell"), b""),
            (request(b"POST /", b"Content-Length: 5", body=b"hello\x81"), b"\x81"),
        ):
            for pieces in every_cut(data):
                asked = Asked(at_once=False)
                said = list(asked.receive(*pieces))
                self.assertEqual(asked.side.detach(), rest)
                self.assertEqual((asked.side.buffered, asked.side.idle), (b"", False))
                self.assertEqual(asked.receive(request(), b"x"), said)
                self.assertEqual(asked.side.detach(), b"")

    def test_another_reader(self) -> None:
        """The reader can be replaced between two requests."""
        asked = Asked(at_once=False, reader=RequestReader(HeadLimits(), PASS_ALL))
        asked.receive(request() + request(b"GET /" + b"x" * 100))
        asked.side.reader = RequestReader(HeadLimits(line_bytes=50))
        self.assertEqual(asked.answer(), [*GET, ("MALFORMED", 431)])

    def test_limits(self) -> None:
        """An endless head is refused as soon as it exceeds the limit."""
        asked = Asked()
        sent = 0
        while not asked.said:
            asked.receive(b"GET /" if not sent else b"x" * 100)
            sent += 100
        self.assertEqual(asked.said, [("MALFORMED", 431)])
        self.assertLess(sent, 20000)


# -- answers


def answer(start: bytes = b"200 OK", *lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"".join(line + b"\r\n" for line in (version + b" " + start, *lines, b"")) + body


GETTING = parse_request(request())
HEADING = parse_request(request(b"HEAD /"))
UPGRADING = parse_request(request(b"GET /", b"Connection: upgrade", b"Upgrade: websocket"))
OLD_GETTING = parse_request(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
"""HTTP/1.0 does not have chunked bodies: they are decoded."""


class Exchange(NamedTuple):
    """One exchange, as seen by the answer side.

    :ivar data: the response.
    :ivar said: the events.
    :ivar request: the request.
    :ivar ended: whether the end of the connection completes the response.
    :ivar reusable: whether the connection can be reused.
    """

    data: bytes
    said: Said
    request: RequestHead = GETTING
    ended: bool = False
    reusable: bool = True


class Answered:
    """An answer side and its owner."""

    def __init__(self, reader: ResponseReader | None = None) -> None:
        self.side = AnswerSide(reader or ResponseReader(HeadLimits()))

    def exchange(self, exchange: Exchange, pieces: Sequence[bytes]) -> Said:
        """Announce the request, and receive the response in pieces."""
        self.side.expect(exchange.request)
        assert not self.side.begun
        said = self.receive(*pieces)
        assert self.side.begun == bool(exchange.data)
        return said

    def receive(self, *pieces: bytes) -> Said:
        said: Said = []
        for piece in pieces:
            for kind, head, data in self.side.receive(piece):
                if kind in (WHOLE, HEAD):
                    said.append(("HEAD", head.status))
                elif kind == INTERIM:
                    said.append(("INTERIM", head.status))
                elif kind == UPGRADE:
                    said.append(("UPGRADE", head.upgrade))
                elif kind == MALFORMED:
                    assert isinstance(head, HeadError)
                    said.append(("MALFORMED",))
                elif kind == DATA:
                    assert data
                if data:
                    said.append(("DATA", data))
                if kind in (WHOLE, END):
                    said.append(("END",))
        return joined(said)


def body(status: int, data: bytes = b"") -> Said:
    return [("HEAD", status), *([("DATA", data)] if data else []), ("END",)]


LENGTH_5 = b"Content-Length: 5"
CHUNKED_FIELD = b"Transfer-Encoding: chunked"
ANSWERS = [
    Exchange(answer(b"200 OK", LENGTH_5, body=b"hello"), body(200, b"hello")),
    Exchange(answer(b"200 OK", b"Content-Length: 0"), body(200)),
    Exchange(answer(b"404 Not Found", b"A: b", LENGTH_5, b"Connection: keep-alive", body=b"hello"), body(404, b"hello")),
    Exchange(answer(b"200 OK", LENGTH_5, b"Connection: close", body=b"hello"), body(200, b"hello"), reusable=False),
    Exchange(answer(b"200 OK", LENGTH_5, body=b"hello", version=b"HTTP/1.0"), body(200, b"hello"), reusable=False),
    Exchange(answer(b"200 OK", LENGTH_5, b"Connection: keep-alive", body=b"hello", version=b"HTTP/1.0"), body(200, b"hello")),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, body=CHUNKS), body(200, CHUNKS)),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, body=CHUNKS), body(200, b"hello world"), OLD_GETTING),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, body=b"0\r\n\r\n"), body(200, b"0\r\n\r\n")),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, body=b"0\r\n\r\n"), body(200), OLD_GETTING),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, b"Connection: close", body=CHUNKS), body(200, CHUNKS), reusable=False),
    Exchange(answer(b"200 OK", LENGTH_5, body=b"hello"), body(200, b"hello"), OLD_GETTING),
    Exchange(answer(b"200 OK", LENGTH_5), body(200), HEADING),
    Exchange(answer(b"200 OK", CHUNKED_FIELD), body(200), HEADING),
    Exchange(answer(b"200 OK"), body(200), HEADING),
    Exchange(answer(b"204 No Content"), body(204)),
    Exchange(answer(b"204 No Content", LENGTH_5), body(204)),
    Exchange(answer(b"304 Not Modified", LENGTH_5), body(304)),
    Exchange(answer(b"304 Not Modified", CHUNKED_FIELD), body(304)),
    Exchange(answer(b"200 OK", LENGTH_5, body=b"hello"), body(200, b"hello"), UPGRADING),
    Exchange(
        answer(b"426 Upgrade Required", LENGTH_5, b"Upgrade: h2c", b"Connection: upgrade", body=b"hello"), body(426, b"hello")
    ),
    Exchange(answer(b"100 Continue") + answer(b"200 OK", LENGTH_5, body=b"hello"), [("INTERIM", 100), *body(200, b"hello")]),
    Exchange(
        answer(b"103 Early Hints", b"Link: a") * 3 + answer(b"200 OK", CHUNKED_FIELD, body=CHUNKS),
        [("INTERIM", 103)] * 3 + body(200, CHUNKS),
    ),
    Exchange(answer(b"102 Processing", LENGTH_5) + answer(b"204 No Content"), [("INTERIM", 102), *body(204)]),
    Exchange(answer(b"100 Continue") * MAX_INTERIM + answer(b"204 x"), [("INTERIM", 100)] * MAX_INTERIM + body(204)),
]
"""Complete responses."""

UNENDED = [
    Exchange(answer(b"200 OK", body=b"until the end"), [("HEAD", 200), ("DATA", b"until the end")], ended=True),
    Exchange(answer(b"200 OK"), [("HEAD", 200)], ended=True),
    Exchange(answer(b"200 OK", b"Connection: keep-alive", body=CHUNKS), [("HEAD", 200), ("DATA", CHUNKS)], OLD_GETTING, ended=True),
    Exchange(answer(b"200 OK", body=b"x", version=b"HTTP/1.0"), [("HEAD", 200), ("DATA", b"x")], ended=True),
    Exchange(b"", []),
    Exchange(b"HTTP/1", []),
    Exchange(answer(b"200 OK", LENGTH_5)[:-1], []),
    Exchange(answer(b"200 OK", LENGTH_5), [("HEAD", 200)]),
    Exchange(answer(b"200 OK", LENGTH_5, body=b"hell"), [("HEAD", 200), ("DATA", b"hell")]),
    Exchange(answer(b"200 OK", CHUNKED_FIELD), [("HEAD", 200)]),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, body=CHUNKS[:-2]), [("HEAD", 200), ("DATA", CHUNKS[:-2])]),
    Exchange(answer(b"200 OK", CHUNKED_FIELD, body=CHUNKS[:-2]), [("HEAD", 200), ("DATA", b"hello world")], OLD_GETTING),
    Exchange(answer(b"100 Continue"), [("INTERIM", 100)]),
    Exchange(answer(b"100 Continue") + b"HTTP/1.1 200", [("INTERIM", 100)]),
]
"""Responses that are incomplete or end with the connection."""

SWITCH = answer(b"101 Switching Protocols", b"Connection: upgrade", b"Upgrade: websocket")
SWITCHED = [
    Exchange(SWITCH, [("UPGRADE", b"websocket")], UPGRADING),
    Exchange(answer(b"100 Continue") + SWITCH, [("INTERIM", 100), ("UPGRADE", b"websocket")], UPGRADING),
]

BAD_ANSWERS = [
    Exchange(b"\x00", []),
    Exchange(b"SSH-2.0-OpenSSH_9.2\r\n", []),
    Exchange(b"\r\n" + answer(b"200 OK", LENGTH_5, body=b"hello"), []),
    Exchange(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", []),
    Exchange(answer(b"20 OK", LENGTH_5), []),
    Exchange(answer(b"200 OK", LENGTH_5, b"Content-Length: 6"), []),
    Exchange(answer(b"200 OK", LENGTH_5, CHUNKED_FIELD), []),
    Exchange(answer(b"200 OK", b"Transfer-Encoding: gzip"), []),
    Exchange(answer(b"200 OK", b"A : b", LENGTH_5), []),
    Exchange(answer(b"200 OK", *[b"A: b"] * 200), []),
    Exchange(answer(b"200 OK", b"A: " + b"b" * 20000), []),
    Exchange(request(), []),
    Exchange(SWITCH, []),
    Exchange(answer(b"101 x"), [], UPGRADING),
    Exchange(answer(b"101 x", b"Upgrade: websocket"), [], UPGRADING),
    Exchange(answer(b"100 Continue") + b"\x00", [("INTERIM", 100)]),
    Exchange(answer(b"100 Continue") + SWITCH, [("INTERIM", 100)]),
    Exchange(answer(b"100 Continue") * (MAX_INTERIM + 1), [("INTERIM", 100)] * MAX_INTERIM),
]
"""Malformed responses; ``said`` lists the events before the error."""


def some_cuts(data: bytes) -> Iterable[list[bytes]]:
    return (
        every_cut(data) if len(data) < 300 else [[data], *(pieces_of(data, range(0, len(data), step)) for step in (1, 100, 1000))]
    )


class AnswerSideTests(SynchronousTestCase):
    def test_work_for_a_head_that_comes_byte_by_byte(self) -> None:
        reads = count_reads(self)
        reader = ResponseReader(HeadLimits())
        data = answer(b"200 OK", LENGTH_5, *[b"X: %b" % (b"a" * 2000)] * 9, body=b"hello")
        said = Answered(reader).exchange(Exchange(data, []), pieces_of(data, range(len(data))))
        self.assertEqual(said, body(200, b"hello"))
        self.assertTrue(0 < len(reads) < LONG + 20, len(reads))

    def test_conversations(self) -> None:
        for exchange in ANSWERS:
            for pieces in some_cuts(exchange.data):
                answered = Answered()
                self.assertEqual(answered.exchange(exchange, pieces), exchange.said, pieces)
                self.assertEqual(answered.side.reusable, exchange.reusable, exchange)
                self.assertFalse(answered.side.ended())

    def test_known_heads(self) -> None:
        """The same if templates read the heads."""
        reader = ResponseReader(HeadLimits())
        for exchange in ANSWERS * LEARN_AFTER:
            Answered(reader).exchange(exchange, pieces_of(exchange.data, ()))
        for exchange in (*ANSWERS, *UNENDED, *SWITCHED):
            for _ in range(LEARN_AFTER):
                Answered(reader).exchange(exchange, pieces_of(exchange.data, ()))
            for pieces in some_cuts(exchange.data):
                answered = Answered(reader)
                self.assertEqual(answered.exchange(exchange, pieces), exchange.said, pieces)
                self.assertEqual(answered.side.ended(), exchange.ended)

    def test_whole(self) -> None:
        """A known head together with its complete body is a single event."""
        reader = ResponseReader(HeadLimits())
        exchange = ANSWERS[0]
        for _ in range(LEARN_AFTER):
            Answered(reader).exchange(exchange, pieces_of(exchange.data, ()))
        side = AnswerSide(reader)
        for cut in range(len(exchange.data)):
            side.expect(GETTING)
            kinds = [kind for piece in pieces_of(exchange.data, [cut]) for kind, _, _ in side.receive(piece)]
            self.assertEqual(kinds[0] == WHOLE, cut == 0 or kinds == [WHOLE], kinds)
            self.assertTrue(side.reusable)
        (event,) = self.events(side, exchange.data)
        self.assertEqual((event[0], event[1].status, event[2]), (WHOLE, 200, b"hello"))

    def events(self, side: AnswerSide, data: bytes) -> list[Event]:
        side.expect(GETTING)
        return side.receive(data)

    def test_until_the_connection_ends(self) -> None:
        for exchange in UNENDED:
            for pieces in every_cut(exchange.data):
                answered = Answered()
                self.assertEqual(answered.exchange(exchange, pieces), exchange.said, pieces)
                self.assertFalse(answered.side.reusable)
                self.assertEqual(answered.side.ended(), exchange.ended, exchange)
                self.assertFalse(answered.side.ended(), "only once")
                self.assertEqual(answered.receive(b"more"), [])

    def test_upgrade(self) -> None:
        """After a requested 101 the connection is not HTTP any more; data after it is passed on unparsed."""
        for exchange in SWITCHED:
            for early in (b"", b"\x81\x05hello", answer(b"200 OK", LENGTH_5, body=b"hello")):
                data = exchange.data + early
                for pieces in every_cut(data):
                    answered = Answered()
                    said = answered.exchange(exchange, pieces)
                    self.assertEqual([event for event in said if event[0] != "DATA"], exchange.said)
                    passed = b"".join(event[1] for event in said if event[0] == "DATA")
                    self.assertTrue(early.startswith(passed), "data received with the 101")
                    if len(pieces) == 1:
                        self.assertEqual(passed, early)
                    self.assertFalse(answered.side.reusable)
                    self.assertEqual(answered.receive(b"\x81\x00"), [], "further data is ignored")
                    self.assertFalse(answered.side.ended())

    def test_malformed(self) -> None:
        """Reported once, after preceding interim responses; the connection is not reused."""
        for exchange in BAD_ANSWERS:
            for pieces in some_cuts(exchange.data):
                answered = Answered()
                self.assertEqual(answered.exchange(exchange, pieces), [*exchange.said, ("MALFORMED",)], pieces)
                self.assertFalse(answered.side.reusable)
                self.assertEqual(answered.receive(ANSWERS[0].data), [])
                self.assertFalse(answered.side.ended())

    def test_malformed_bodies(self) -> None:
        """If the first chunk is malformed, there is no HEAD event, so that the owner can still send its own response."""
        begin = answer(b"200 OK", CHUNKED_FIELD)
        for bad in BAD_CHUNKS:
            for asked in (GETTING, OLD_GETTING):
                exchange = Exchange(begin + bad, [], asked)
                self.assertEqual(Answered().exchange(exchange, [exchange.data]), [("MALFORMED",)], bad)
                for pieces in every_cut(exchange.data):
                    answered = Answered()
                    *said, malformed = answered.exchange(exchange, pieces)
                    self.assertEqual(malformed, ("MALFORMED",))
                    self.assertIn([event[:1] for event in said], ([], [("HEAD",)], [("HEAD",), ("DATA",)]))
                    passed = b"".join(event[1] for event in said if event[0] == "DATA")
                    self.assertTrue((bad if asked.takes_chunks else b"hello!").startswith(passed), (bad, passed))
                    self.assertFalse(answered.side.reusable)
                    self.assertEqual(answered.receive(b"0\r\n\r\n"), [])

    def test_malformed_later(self) -> None:
        exchange = Exchange(answer(b"200 OK", CHUNKED_FIELD, body=b"5\r\nhello\r\n"), [("HEAD", 200), ("DATA", b"5\r\nhello\r\n")])
        answered = Answered()
        self.assertEqual(answered.exchange(exchange, [exchange.data]), exchange.said)
        self.assertEqual(answered.receive(b"x"), [("DATA", b"x")])
        self.assertEqual(answered.receive(b"\r\n"), [("MALFORMED",)])

    def test_too_much(self) -> None:
        """Excess data after a response is dropped, and the connection is not reused."""
        for exchange in ANSWERS:
            for excess in (b"x", b"\r\n", answer(b"200 OK", LENGTH_5, body=b"hello")):
                answered = Answered()
                self.assertEqual(answered.exchange(exchange, [exchange.data + excess]), exchange.said)
                self.assertFalse(answered.side.reusable)
                answered = Answered()
                self.assertEqual(answered.exchange(exchange, [exchange.data]), exchange.said)
                self.assertEqual(answered.receive(excess), [("MALFORMED",)])
                self.assertFalse(answered.side.reusable)
                self.assertEqual(answered.receive(excess), [])

    def test_too_much_of_known_heads(self) -> None:
        reader = ResponseReader(HeadLimits())
        for exchange in (ANSWERS[0], ANSWERS[1], ANSWERS[12]):
            for _ in range(LEARN_AFTER + 1):
                Answered(reader).exchange(exchange, pieces_of(exchange.data, ()))
            answered = Answered(reader)
            self.assertEqual(answered.exchange(exchange, [exchange.data + b"x"]), exchange.said)
            self.assertFalse(answered.side.reusable)

    def test_without_a_request(self) -> None:
        answered = Answered()
        self.assertFalse(answered.side.reusable)
        self.assertEqual(answered.receive(ANSWERS[0].data), [("MALFORMED",)])
        self.assertFalse(answered.side.begun)
        self.assertFalse(Answered().side.ended())

    def test_begun(self) -> None:
        """Whether a byte of the response was received; reset for each exchange."""
        side = AnswerSide(ResponseReader(HeadLimits()))
        for exchange in (ANSWERS[0], ANSWERS[12], ANSWERS[21]):
            side.expect(exchange.request)
            self.assertFalse(side.begun)
            side.receive(exchange.data[:1])
            self.assertTrue(side.begun)
            side.receive(exchange.data[1:])
            self.assertTrue(side.begun and side.reusable)

    def test_held(self) -> None:
        """Incomplete heads are held until they are complete; nothing is left for the next response."""
        answered = Answered()
        for exchange in (ANSWERS[0], ANSWERS[6], ANSWERS[21], ANSWERS[22], ANSWERS[2]):
            for pieces in every_cut(exchange.data):
                self.assertEqual(answered.exchange(exchange, pieces), exchange.said, pieces)
                self.assertTrue(answered.side.reusable)

    def test_reusable_is_of_the_last_answer(self) -> None:
        """It is reset by the next request."""
        for second in (*UNENDED, *SWITCHED, *BAD_ANSWERS, *(exchange for exchange in ANSWERS if not exchange.reusable)):
            answered = Answered()
            answered.exchange(ANSWERS[0], [ANSWERS[0].data])
            self.assertTrue(answered.side.reusable)
            answered.side.expect(second.request)
            self.assertFalse(answered.side.reusable)
            answered.exchange(second, [second.data] if second.data else [])
            self.assertFalse(answered.side.reusable, second)

    def test_interim_answers_are_counted_for_each_answer(self) -> None:
        """The limit applies to each response, not to the connection."""
        reader = ResponseReader(HeadLimits())
        hint, final = answer(b"103 Early Hints", b"Link: a"), answer(b"200 OK", LENGTH_5, body=b"hello")
        for _ in range(LEARN_AFTER):
            Answered(reader).exchange(ANSWERS[0], [final])
        exchange = Exchange(hint + final, [("INTERIM", 103), *body(200, b"hello")])
        for pieces in ([hint + final], [hint, final], pieces_of(hint + final, range(len(hint + final)))):
            answered = Answered(reader)
            for _ in range(MAX_INTERIM + 2):
                self.assertEqual(answered.exchange(exchange, pieces), exchange.said)
                self.assertTrue(answered.side.reusable)

    def test_many_interim_answers(self) -> None:
        """Many of them in one piece do not cause recursion."""
        side = AnswerSide(ResponseReader(HeadLimits()))
        side.expect(GETTING)
        events = side.receive(answer(b"100 Continue") * (sys.getrecursionlimit() * 3))
        self.assertEqual([kind for kind, _, _ in events], [INTERIM] * MAX_INTERIM + [MALFORMED])

    def test_limits(self) -> None:
        """An endless head is refused as soon as it exceeds the limit."""
        side = AnswerSide(ResponseReader(HeadLimits(head_bytes=1000, line_bytes=300)))
        side.expect(GETTING)
        side.receive(b"HTTP/1.1 200 OK\r\n")
        for _ in range(9):
            self.assertEqual(side.receive(b"A: ".ljust(98, b"x") + b"\r\n"), [])
        self.assertEqual([kind for kind, _, _ in side.receive(b"A: ".ljust(98, b"x") + b"\r\n")], [MALFORMED])

    @settings(slowly, max_examples=200)
    @given(st.lists(st.sampled_from([exchange for exchange in ANSWERS if exchange.reusable]), max_size=8), st.data())
    def test_one_connection(self, exchanges: list[Exchange], data: st.DataObject) -> None:
        """Several exchanges on one connection, split anywhere."""
        answered = Answered()
        last = data.draw(st.sampled_from((*ANSWERS, *UNENDED, *SWITCHED)))
        for exchange in (*exchanges, last):
            pieces = pieces_of(exchange.data, data.draw(cut_places))
            self.assertEqual(answered.exchange(exchange, pieces), exchange.said)
            self.assertEqual(answered.side.reusable, exchange in ANSWERS and exchange.reusable)
        self.assertEqual(answered.side.ended(), last.ended)

    @settings(slowly, max_examples=200)
    @given(
        st.lists(st.sampled_from([exchange.data for exchange in (*ANSWERS[:-1], *UNENDED, *BAD_ANSWERS)]) | st.binary(max_size=9)),
        st.sampled_from((GETTING, HEADING, OLD_GETTING, UPGRADING)),
        cut_places,
    )
    def test_any_bytes(self, parts: list[bytes], asked: RequestHead, cuts: list[int]) -> None:
        """Arbitrary input never raises, and its split never changes a complete response."""
        exchange = Exchange(b"".join(parts), [], asked)
        whole = Answered().exchange(exchange, [exchange.data] if exchange.data else [])
        for pieces in (pieces_of(exchange.data, cuts), [exchange.data[at : at + 1] for at in range(len(exchange.data))]):
            said = Answered().exchange(exchange, pieces)
            switched = next((at for at, (kind, *_) in enumerate(whole, 1) if kind == "UPGRADE"), 0)
            if switched:
                # what comes after it is its owner's, who has taken the connection away by then
                self.assertEqual(said[:switched], whole[:switched])
            elif ("END",) in whole:
                self.assertEqual(said[: len(whole)], whole)
            elif whole and whole[-1][0] == "MALFORMED":
                self.assertEqual(said[-1][0], "MALFORMED")
            else:
                self.assertEqual(said, whole)
