"""Fuzz targets for HTTP/1: heads, chunked bodies, whole conversations, and what others make of what is passed on."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import h11
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from rtunnel.wire.http1 import (
    CHUNKED,
    PASS_ALL,
    TRUSTED,
    UNTIL_CLOSE,
    UNTRUSTED,
    ChunkedBody,
    FieldPolicy,
    HeadError,
    HeadLimits,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
    parse_request,
    write_request,
    write_response,
)
from rtunnel.wire.http1_body import MAX_TRAILER_BYTES
from rtunnel.wire.http1_exchange import DATA, END, HEAD, INTERIM, MALFORMED, UPGRADE, WHOLE, AnswerSide, Event, RequestSide
from rtunnel.wire.http1_templates import LEARN_AFTER
from tests.fuzz.target import Target, cuts
from tests.smuggling.backends import BACKENDS, agree
from tests.smuggling.forwarding import forwarded, rewritten
from tests.wire.test_http1_properties import request_attributes

__all__ = ["TARGETS"]

LIMITS = HeadLimits(head_bytes=1024, line_bytes=256, header_count=16)
POLICIES = (UNTRUSTED, TRUSTED, PASS_ALL.noting({b"x-a", b"cookie"}))


# -- requests


def requests(data: bytes) -> None:
    """Requests, then at most one HeadError; the same however the bytes are cut, and with templates of such heads."""
    for policy in POLICIES:
        found = converse(RequestReader(LIMITS, policy), [data])
        for pieces in cuts(data):
            assert converse(RequestReader(LIMITS, policy), pieces) == found
        assert converse(learned(policy), [data]) == found, "a template reads something else"


USUAL = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: b\r\nVia: x\r\nCookie: \xff\r\nConnection: close\r\n\r\n",
]
USUAL_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
]


@cache
def learned(policy: FieldPolicy) -> RequestReader:
    """A reader that has templates of usual heads, and learns no others."""
    reader = RequestReader(LIMITS, policy)
    for head in USUAL * LEARN_AFTER:
        reader.read(head)
    learn_no_more(reader)
    return reader


@cache
def learned_answers() -> ResponseReader:
    reader = ResponseReader(LIMITS)
    for head in USUAL_ANSWERS * LEARN_AFTER:
        reader.read(head, b"GET")
    learn_no_more(reader)
    return reader


def learn_no_more(reader: RequestReader | ResponseReader) -> None:
    """Have a result depend on the input alone, not on those before it."""
    reader.templates._pause = sys.maxsize


def converse(reader: RequestReader, pieces: Iterable[bytes]) -> list[Any]:
    """All requests, as if each were answered at once."""
    side = RequestSide(reader)
    found: list[Any] = []
    for piece in pieces:
        events = side.receive(piece)
        while events:
            note(events, found)
            events = side.next() if side.whole and found[-1] == "end" else []
        assert len(side.buffered) <= LIMITS.head_bytes + len(piece), "more is kept than a head can have"
    if found[-1:] == ["malformed"] and isinstance(found[-2:][0], bytes):
        # what came together with the fault is not passed on, what came before it was
        del found[-2]
    return found


def note(events: Iterable[Event], found: list[Any]) -> None:
    """Write down events in a form that does not depend on how the bytes were cut."""
    for kind, value, piece in events:
        assert found[-1:] != ["malformed"], "an event after the end"
        if kind == HEAD:
            found.append(request_attributes(value))
            # a template passes on the spelling of the name
            found[-1]["fields"][0] = (b"Host", value.authority)
            check_request(value)
            if not value.body:
                found.append("end")
        elif kind == DATA:
            assert piece
            add(piece, found)
        elif kind == END:
            found.append("end")
        else:
            assert kind == MALFORMED
            check_error(value)
            found.append("malformed")


def add(data: bytes, found: list[Any]) -> None:
    """Add data to what is noted, in one piece with what is there."""
    found.append(found.pop() + data if isinstance(found[-1], bytes) else data)


def check_request(head: RequestHead) -> None:
    """What is written of a head is read as the same; nothing in it begins another line or head."""
    written = write_request(head, b"")
    assert written.count(b"\r\n\r\n") == 1 and written.endswith(b"\r\n\r\n")
    check_lines(written)
    again = parse_request(written, PASS_ALL)
    for name in ("method", "target", "authority", "host", "body", "upgrade", "te_trailers"):
        assert getattr(again, name) == getattr(head, name), name
    rewritten = write_request(again, b"")
    assert write_request(parse_request(rewritten, PASS_ALL), b"") == rewritten


def check_lines(written: bytes) -> None:
    """No line ends in another way than with CRLF."""
    assert written.count(b"\n") == written.count(b"\r") == written.count(b"\r\n")


def check_error(error: Any) -> None:
    assert isinstance(error, HeadError)
    assert error.status in (400, 431, 501, 502, 505)
    assert error.reason.isascii() and error.reason.isprintable()


# -- responses


def ask(method: bytes, minor: int) -> RequestHead:
    lines = b"%b / HTTP/1.%d\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" % (method, minor)
    return parse_request(lines, PASS_ALL)


_BLANKS = re.compile(rb"^([^:\r\n]+):[ \t]*", re.MULTILINE)
REQUESTS = [ask(b"GET", 1), ask(b"HEAD", 1), ask(b"GET", 0)]


def responses(data: bytes) -> None:
    """One response or a HeadError; the same however the bytes are cut; a visitor sees exactly that response in what is written."""
    plain: bytes | None = None
    for request in REQUESTS:
        found = answer(request, [data], ResponseReader(LIMITS))
        assert answer(request, [data], learned_answers()) == found, "a template reads something else"
        for pieces in cuts(data):
            other = answer(request, pieces, ResponseReader(LIMITS))
            assert other == found or (other[-1] == found[-1] == "malformed"), (other, found)
        if found and found[-1] == "end" and request.method == b"GET":
            body = found[-2] if isinstance(found[-2], bytes) else b""
            payload = check_visitor(request, found, body)
            assert plain in (None, payload), "a visitor with HTTP/1.0 gets something else"
            plain = payload


def answer(request: RequestHead, pieces: Iterable[bytes], reader: ResponseReader) -> list[Any]:
    """The events up to the end of the first response, in a form that does not depend on how the bytes were cut."""
    side = AnswerSide(reader)
    side.expect(request)
    found: list[Any] = []
    for piece in pieces:
        if found and found[-1] in ("end", "malformed", "upgrade"):
            break
        for kind, value, data in side.receive(piece):
            note_answer(kind, value, data, found)
    if found and found[-1] == "end":
        assert not side.reusable or side.receive(b"x")[0][0] == MALFORMED
    elif found and found[-1] not in ("malformed", "upgrade") and side.ended():
        found.append("end")
    return found


def note_answer(kind: int, value: Any, data: bytes, found: list[Any]) -> None:
    if kind in (HEAD, WHOLE, INTERIM):
        # written whatever the cut, so that heads can be compared
        # a template passes on the blanks behind a colon as they came, of which any number means the same (RFC 9110 section 5.5)
        found.append((value.status, _BLANKS.sub(rb"\1: ", value.lines), value.body))
    if kind == UPGRADE:
        found.append("upgrade")
    elif kind == MALFORMED:
        check_error(value)
        found.append("malformed")
    elif data:
        add(data, found)
    if kind in (END, WHOLE):
        found.append("end")


def check_visitor(request: RequestHead, found: list[Any], body: bytes) -> bytes:
    """Read with h11 what is written to the visitor; returns the payload."""
    heads = [part for part in found if isinstance(part, tuple)]
    status, lines, framing = heads[-1]
    check_lines(lines)
    head = ResponseHead(lines, framing)
    head.status, head.keep_alive = status, True
    chunked = framing == CHUNKED and request.takes_chunks
    expected = ChunkedBody().decode(body)[0] if chunked else body
    stays = framing != UNTIL_CLOSE and not (framing == CHUNKED and not chunked)
    visitor = h11.Connection(h11.CLIENT)
    visitor.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    visitor.send(h11.EndOfMessage())
    visitor.receive_data(write_response(head, request.minor, stays, chunked) + body)
    if not stays:
        visitor.receive_data(b"")
    payload = b""
    try:
        while not isinstance(event := visitor.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, "the visitor waits for more"
            if isinstance(event, h11.Response):
                assert event.status_code == status
            elif isinstance(event, h11.Data):
                payload += bytes(event.data)
    except h11.RemoteProtocolError:
        # stricter than the grammar of RFC 9112, e.g. about the value of a field
        return expected
    assert payload == expected
    assert not visitor.trailing_data[0], "bytes after the response"
    return expected


# -- chunked bodies

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(data: bytes) -> None:
    """The end of a body or a HeadError; the same however the bytes are cut, and llhttp finds the same payload."""
    end, payload = follow([data])
    for pieces in cuts(data):
        other_end, other_payload = follow(pieces)
        assert other_end == end
        assert end is None or other_payload == payload
    if end is not None and end >= 0:
        theirs = by_llhttp(data[:end])
        assert theirs is None or theirs == payload


def follow(pieces: Iterable[bytes]) -> tuple[int | None, bytes]:
    """The length of a body, -1 if it goes on, None after an error; and its payload."""
    passed, decoding = ChunkedBody(), ChunkedBody()
    payload, size = b"", 0
    for piece in pieces:
        try:
            end = passed.feed(piece)
        except HeadError as error:
            check_error(error)
            try:
                decoding.decode(piece)
            except HeadError:
                return None, payload
            raise AssertionError("a body that is malformed can be decoded") from None
        more, same = decoding.decode(piece)
        assert same == end and decoding.done == passed.done
        payload += more
        size += end
        assert len(passed._line) <= MAX_TRAILER_BYTES, "a line is kept that is too long"
        if passed.done:
            return size, payload
        assert end == len(piece)
    return -1, payload


def by_llhttp(body: bytes) -> bytes | None:
    """The payload, None if it is refused or not complete."""
    payload: list[bytes] = []
    complete: list[bool] = []

    class Callbacks:
        def on_body(self, data: bytes) -> None:
            payload.append(data)

        def on_message_complete(self) -> None:
            complete.append(True)

    try:
        HttpRequestParser(Callbacks()).feed_data(CHUNKED_HEAD + body)
    except (HttpParserError, HttpParserUpgrade):
        return None
    assert complete == [True], "llhttp waits for more of a body that is complete"
    return b"".join(payload)


# -- what others make of it


def smuggling(data: bytes) -> None:
    """Servers see the requests that were passed on, and no others; also behind a client that changes header fields."""
    sent, written = forwarded(data)
    again, changed = rewritten(written)
    assert again == sent, f"a client sees {again} in {written!r}, which was {sent}"
    for passed_on in (written, changed):
        for name, backend in BACKENDS.items():
            seen, went_on = backend(passed_on)
            assert agree(sent, seen, went_on), f"{name} sees {seen} in {passed_on!r}, which was {sent}"


_NAMES = b"Host Content-Length Transfer-Encoding Connection Upgrade TE Expect Via Keep-Alive X-Forwarded-For Trailer".split()
_FIELDS = [b"\r\n" + name + b": " for name in _NAMES]
_REQUEST = [
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST ",
    b"http://b/",
    b"OPTIONS * HTTP/1.1",
    b" HTTP/1.0\r\n",
    b"chunked",
    b"close",
    b"100-continue",
]
_CHUNKS = [b"0\r\n\r\n", b"\r\n\r\n", b"1\r\nx\r\n", b";a=b\r\n", b"\x0b", b"\r", b"\n", b"Expect: \r\n"]
_MODULES = tuple(f"rtunnel.wire.http1_{name}" for name in ("exchange", "reader", "head", "fields", "templates", "policy"))

TARGETS = (
    Target(
        "http-requests",
        requests,
        (*_MODULES, "rtunnel.wire.http1_request", "rtunnel.wire.http1_authority", "rtunnel.wire.http1_faults"),
        [*_FIELDS, *_REQUEST, *_CHUNKS],
        shares="smuggling",
    ),
    Target(
        "http-responses",
        responses,
        (*_MODULES, "rtunnel.wire.http1_response"),
        [*_FIELDS, *_CHUNKS, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"101 ", b"100 ", b"304 ", b"204 "],
    ),
    Target("chunks", chunks, ("rtunnel.wire.http1_body",), _CHUNKS),
    Target("smuggling", smuggling, ("rtunnel.wire.http1_request", "rtunnel.wire.http1_body"), [*_FIELDS, *_REQUEST, *_CHUNKS]),
)
