"""Heads that look like heads seen before: read with one regular expression made for their shape.

A client sends the same fields in the same order again and again, and so does a target; only values change. Once such a shape
was seen often enough, a pattern is made of it: the names are literal, the values of end-to-end fields may be any text, those that
the framing, the routing or the connection depend on are literal or captured in their strict form. One match then does what
finding the end of the head, judging it and taking it apart did.

This is a fast path and no second opinion: what a pattern takes, :func:`~rtunnel.wire.http1_request.parse_request` and
:func:`~rtunnel.wire.http1_response.parse_response` take with the same result (a test compares them on heads that are damaged in all
ways), and whatever no pattern takes goes to them (:mod:`rtunnel.wire.http1_reader`).

What strangers can put in is bounded: a shape is remembered by a digest of its names, a pattern is made after
:data:`LEARN_AFTER` heads of a shape, of heads of moderate size only, and all is forgotten when there are too many.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from rtunnel.wire.http1_authority import host_of
from rtunnel.wire.http1_fields import CHUNKED, FORWARDING, HOP_BY_HOP
from rtunnel.wire.http1_request import RequestHead
from rtunnel.wire.http1_response import ResponseHead

__all__ = ["LARGEST", "LEARN_AFTER", "PassingRequest", "PassingResponse", "RequestShape", "ResponseShape", "Shapes"]

LEARN_AFTER: Final = 16
"""Heads of one shape that are read the plain way before a pattern is made of it: making one costs as much as reading hundreds."""
MAX_TRIED: Final = 4
"""Patterns that are tried on a head before it is read the plain way; those that fitted last come first."""
MAX_COUNTED: Final = 512
"""Shapes whose heads are counted; when there are more, counting begins anew."""
MAX_KNOWN: Final = 64
"""Patterns that are kept; when there are more, all are forgotten."""
PAUSE: Final = 64
"""Heads that are not looked at after one of which no pattern can be made: they tend to come in numbers."""
MAX_FIELDS: Final = 40
"""Fields of a head that a pattern is made of."""
LARGEST: Final = 4096
"""Bytes of the largest head that a pattern is made of."""

_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_LENGTH: Final = rb"(0|[1-9][0-9]{0,17}+)"
_KEEP_ALIVE: Final = (b"keep-alive", b"Keep-Alive")
_BODILESS: Final = (204, 304)
_NOT_PASSING_REQUEST: Final = FORWARDING | {b"host", b"content-length", b"expect"}

Field = tuple[bytes, bytes, bytes]
"""Name, the same in lower case, and value without the white space around it."""


class Unfit(Exception):
    """No pattern is made of heads like this."""


class _Builder:
    """Puts a pattern together, line by line, and remembers which group holds what."""

    def __init__(self, start: bytes, groups: int) -> None:
        self._parts = [start]
        self._groups = groups
        self._open = False
        self.kept: list[int] = []
        self.captured: dict[bytes, int] = {}

    def keep(self, line: bytes) -> None:
        """A line that passes as it comes; neighbours share a group."""
        if not self._open:
            self._groups += 1
            self.kept.append(self._groups)
            self._parts.append(b"(")
            self._open = True
        self._parts.append(line)

    def drop(self, line: bytes, capture: bytes = b"") -> None:
        """A line that does not pass; its one group, if it has one, is known by the name ``capture``."""
        self._close()
        self._parts.append(line)
        if capture:
            if capture in self.captured:
                raise Unfit
            self._groups += 1
            self.captured[capture] = self._groups

    def _close(self) -> None:
        if self._open:
            self._parts.append(b")")
            self._open = False

    def match(self) -> Callable[[bytes, int], re.Match[bytes] | None]:
        """The pattern's way to match at a position."""
        self._close()
        return re.compile(b"".join((*self._parts, rb"\r\n"))).match


def _split(head: bytes) -> tuple[bytes, list[Field]]:
    """The start line and the fields of a head that was parsed already."""
    start_line, *lines = head[:-4].split(b"\r\n")
    fields = []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, name.lower(), value.strip(b" \t")))
    return start_line, fields


def _any_value(name: bytes) -> bytes:
    return re.escape(name) + b":" + _TEXT + rb"\r\n"


def _literal(name: bytes, value: bytes) -> bytes:
    return re.escape(name) + rb":[ \t]*+" + re.escape(value) + rb"\r\n"


class RequestShape:
    """Requests with one method and one sequence of fields."""

    __slots__ = ("_forwarded", "_host", "_keep_alive", "_kept", "_length", "_match", "_method")

    def __init__(self, start_line: bytes, fields: list[Field]) -> None:
        method, target, version = start_line.split(b" ")
        if version != b"HTTP/1.1" or target[:1] != b"/" or not method.isalpha():
            raise Unfit
        closing = False
        builder = _Builder(re.escape(method) + rb" (/[!\"$-~]*+) HTTP/1\.1\r\n", groups=1)
        for name, lower, value in fields:
            if lower == b"host":
                builder.drop(re.escape(name) + rb":[ \t]*+([!-~]++)\r\n", lower)
            elif lower == b"content-length":
                builder.drop(re.escape(name) + rb":[ \t]*+" + _LENGTH + rb"\r\n", lower)
            elif lower in FORWARDING:
                builder.drop(re.escape(name) + rb":[ \t]*+(" + _TEXT + rb")\r\n", lower)
            elif lower == b"connection" and not closing and (value in _KEEP_ALIVE or value == b"close"):
                closing = value == b"close"
                builder.drop(_literal(name, value))
            elif lower in HOP_BY_HOP or lower == b"expect":
                raise Unfit
            else:
                builder.keep(_any_value(name))
        captured = builder.captured
        if b"host" not in captured:
            raise Unfit
        self._method = method
        self._keep_alive = not closing
        self._match = builder.match()
        self._kept = builder.kept
        self._host = captured.pop(b"host")
        self._length = captured.pop(b"content-length", 0)
        self._forwarded = tuple(captured.items())

    def read(self, data: bytes, start: int) -> tuple[RequestHead, int] | None:
        """Read a head of this shape."""
        match = self._match(data, start)
        if match is None:
            return None
        authority, host = host_of(match[self._host])
        parts = [b"Host: ", authority, b"\r\n", *[match[group] for group in self._kept]]
        body = 0
        if self._length:
            length = match[self._length]
            parts += (b"Content-Length: ", length, b"\r\n")
            body = int(length)
        forwarded = {name: match[group].rstrip(b" \t") for name, group in self._forwarded} if self._forwarded else None
        head = RequestHead(self._method, match[1], 1, authority, host, b"".join(parts), forwarded, body, self._keep_alive)
        return head, match.end()


class ResponseShape:
    """Responses with one status line and one sequence of fields."""

    __slots__ = ("_body", "_keep_alive", "_kept", "_length", "_match", "_reason", "_status")

    def __init__(self, start_line: bytes, fields: list[Field]) -> None:
        version, status, self._reason = (*start_line.split(b" ", 2), b"")[:3]
        self._status = int(status)
        if version != b"HTTP/1.1" or self._status < 200:
            raise Unfit
        self._keep_alive = True
        self._body: int | None = None
        builder = _Builder(re.escape(start_line) + rb"\r\n", groups=0)
        seen = set()
        for name, lower, value in fields:
            if lower == b"content-length":
                builder.drop(re.escape(name) + rb":[ \t]*+" + _LENGTH + rb"\r\n", lower)
            elif lower == b"connection" and lower not in seen and (value in _KEEP_ALIVE or value == b"close"):
                self._keep_alive = value != b"close"
                builder.drop(_literal(name, value))
            elif lower == b"keep-alive":
                builder.drop(_any_value(name))
            elif lower == b"transfer-encoding" and lower not in seen and value == b"chunked":
                self._body = CHUNKED
                builder.drop(_literal(name, value))
            elif lower in HOP_BY_HOP:
                raise Unfit
            else:
                builder.keep(_any_value(name))
            seen.add(lower)
        self._length = builder.captured.get(b"content-length", 0)
        if (self._body is None) != bool(self._length) or (self._status in _BODILESS and not self._length) or self._status == 204:
            raise Unfit
        self._match = builder.match()
        self._kept = builder.kept

    def read(self, data: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
        """Read a head of this shape, the answer to a request with a method."""
        match = self._match(data, 0)
        if match is None:
            return None
        parts = [match[group] for group in self._kept]
        body = CHUNKED
        if self._length:
            length = match[self._length]
            parts += (b"Content-Length: ", length, b"\r\n")
            body = int(length)
        if method == b"HEAD" or self._status in _BODILESS:
            body = 0
        return ResponseHead(self._status, self._reason, 1, b"".join(parts), body, self._keep_alive), match.end()


class PassingRequest:
    """GET requests with one sequence of fields that pass to the target byte by byte as they came.

    They have Host first, no body, nothing that a proxy writes anew, and no hop-by-hop field but ``Connection: keep-alive``, which
    is as true of our connection to the target. So nothing but the Host is taken out of them.

    :ivar match: matches a head; its one group is the value of Host.
    """

    __slots__ = ("match",)

    def __init__(self, start_line: bytes, fields: list[Field]) -> None:
        method, target, version = start_line.split(b" ")
        if method != b"GET" or version != b"HTTP/1.1" or target[:1] != b"/" or not fields or fields[0][1] != b"host":
            raise Unfit
        parts = [rb"GET /[!\"$-~]*+ HTTP/1\.1\r\n", re.escape(fields[0][0]), rb":[ \t]*+([!-~]++)\r\n"]
        for name, lower, value in fields[1:]:
            if lower in _NOT_PASSING_REQUEST:
                raise Unfit
            parts.append(_passing_line(name, lower, value))
        self.match = re.compile(b"".join((*parts, rb"\r\n"))).match


class PassingResponse:
    """Responses with one status line and one sequence of fields that pass to a visitor of HTTP/1.1 byte by byte as they came.

    They have a Content-Length and no hop-by-hop field but ``Connection: keep-alive``, which is as true of our connection to the
    visitor, as long as we mean to keep it.

    :ivar match: matches a head that does not answer a HEAD request; its one group is the Content-Length.
    """

    __slots__ = ("match",)

    def __init__(self, start_line: bytes, fields: list[Field]) -> None:
        version, status = start_line.split(b" ", 2)[:2]
        if version != b"HTTP/1.1" or int(status) < 200 or int(status) in _BODILESS:
            raise Unfit
        parts = [re.escape(start_line), rb"\r\n"]
        lengths = 0
        for name, lower, value in fields:
            if lower == b"content-length":
                lengths += 1
                parts += (re.escape(name), rb":[ \t]*+", _LENGTH, rb"\r\n")
            else:
                parts.append(_passing_line(name, lower, value))
        if lengths != 1:
            raise Unfit
        self.match = re.compile(b"".join((*parts, rb"\r\n"))).match


def _passing_line(name: bytes, lower: bytes, value: bytes) -> bytes:
    if lower == b"connection" and value in _KEEP_ALIVE:
        return _literal(name, value)
    if lower in HOP_BY_HOP:
        raise Unfit
    return _any_value(name)


S = TypeVar("S", bound=RequestShape | ResponseShape | PassingRequest | PassingResponse)


class Shapes(Generic[S]):
    """The shapes of the heads that come to one place; those that fitted last come first in :attr:`tried`.

    :param make: the class of the shapes.
    """

    __slots__ = ("_counts", "_known", "_make", "_pause", "tried")

    def __init__(self, make: Callable[[bytes, list[Field]], S]) -> None:
        self._make = make
        self._counts: dict[int, int] = {}
        self._pause = 0
        self._known: dict[int, S] = {}
        self.tried: list[S] = []

    def learn(self, head: bytes) -> None:
        """Count a head that was parsed the plain way; make a pattern of its shape when it has come often."""
        if self._pause:
            self._pause -= 1
            return
        if len(head) > LARGEST or head.count(b"\r\n") > MAX_FIELDS + 2:
            return
        key = _digest(*_split(head))
        shape = self._known.get(key) or self._count(key, head)
        if shape is not None and shape not in self.tried:
            self.prefer(shape)
        elif shape is not None or self._counts[key] > LEARN_AFTER:
            # no pattern is made of such heads, and many more may come
            self._pause = PAUSE

    def _count(self, key: int, head: bytes) -> S | None:
        """Count a head of a shape without a pattern; with the last one that it takes comes the pattern."""
        if len(self._counts) >= MAX_COUNTED:
            self._counts.clear()
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count != LEARN_AFTER:
            return None
        try:
            shape = self._make(*_split(head))
        except Unfit:
            return None
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
            self.tried.clear()
        self._known[key] = shape
        return shape

    def prefer(self, shape: S) -> None:
        """Try this pattern first from now on: it fitted, or it is new."""
        if shape in self.tried:
            self.tried.remove(shape)
        self.tried.insert(0, shape)
        del self.tried[MAX_TRIED:]


def _digest(start_line: bytes, fields: list[Field]) -> int:
    """What tells one shape from another: method or status line, the names, and the values that are literal in a pattern."""
    start = start_line if start_line.startswith(b"HTTP/") else start_line.split(b" ", 1)[0]
    return hash((start, *((name, value if lower in HOP_BY_HOP else b"") for name, lower, value in fields)))
