"""Heads of responses: parsed as strictly as those of requests, made ready for the visitor, written anew."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rtunnel.wire.http1_faults import response_fault
from rtunnel.wire.http1_fields import (
    HOP_BY_HOP,
    UNTIL_CLOSE,
    Pieces,
    Special,
    framing,
    is_length,
    obey_connection,
    pick_special,
    special_pattern,
    stays_open,
)
from rtunnel.wire.http1_head import HeadError

__all__ = ["ResponseHead", "parse_response", "write_response"]

_SPECIAL: Final = special_pattern(HOP_BY_HOP | {b"content-length"})
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_STARTS: Final = [b"HTTP/1.1 %d " % status for status in range(1000)]
_KEEP_ALIVE: Final = re.compile(rb"^connection:[ \t]*+keep-alive\r\n", re.IGNORECASE | re.MULTILINE)
_BODILESS: Final = frozenset({204, 304})

_ENDS: Final = {
    (chunked, keep_alive, minor): (b"Transfer-Encoding: chunked\r\n" if chunked else b"") + connection + b"\r\n"
    for chunked in (False, True)
    for keep_alive, minor, connection in (
        (True, 1, b""),
        (True, 0, b"Connection: keep-alive\r\n"),
        (False, 1, b"Connection: close\r\n"),
        (False, 0, b"Connection: close\r\n"),
    )
}
"""The end of a head, by whether its body is chunked, the connection is kept open, and the visitor's minor version."""


class ResponseHead:
    """A response head.

    :ivar status: status code.
    :ivar lines: the status line and the end-to-end fields, ready to be written as HTTP/1.1, each line with its CRLF, in
        order and usually verbatim. The hop-by-hop fields are removed, except for ``Connection: keep-alive``, which is also valid
        for the connection to the visitor as long as that is kept open.
    :ivar body: bytes of the body, :data:`CHUNKED` or :data:`UNTIL_CLOSE`.
    :ivar keep_alive: whether the target keeps the connection open.
    :ivar says_keep_alive: whether the lines contain a ``Connection: keep-alive``.
    :ivar upgrade: the protocol that a 101 switches to; empty for every other status.
    """

    status: int
    keep_alive: bool
    upgrade: bytes = b""
    says_keep_alive: bool = False

    def __init__(self, lines: bytes, body: int) -> None:
        self.lines = lines
        self.body = body

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}, body {self.body}>"

    def with_lines(self, lines: bytes) -> ResponseHead:
        """The same head with other lines."""
        head = ResponseHead(lines, self.body)
        head.status = self.status
        head.keep_alive = self.keep_alive
        head.upgrade = self.upgrade
        head.says_keep_alive = self.says_keep_alive
        return head

    @property
    def reason(self) -> bytes:
        """The reason phrase; may be empty."""
        return self.lines[13 : self.lines.index(b"\r\n")]

    @property
    def fields(self) -> bytes:
        """The lines without the status line."""
        return self.lines.partition(b"\r\n")[2]


def parse_response(head: bytes, method: bytes) -> ResponseHead:
    """Parse the whole head of a response, from the first byte of its status line to its empty line.

    As strict as :func:`~rtunnel.wire.http1_request.parse_request` about the same faults; two equal lengths, which RFC 9110
    section 8.6 allows to merge, are rejected as well. A length in a 1xx or 204 is meaningless and is dropped. Any status from
    100 to 999 is accepted.

    :param method: of the request, because the framing of the body depends on it (RFC 9112 section 6.3).
    :raises HeadError: always with 502.
    """
    try:
        HttpResponseParser(None).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        _refuse(head, method, error)
    try:
        return _read(head, method)
    except HeadError as error:
        raise HeadError(502, error.reason) from None


def _read(head: bytes, method: bytes) -> ResponseHead:
    pieces = _SPECIAL.split(head)
    line, line_end, lines = pieces[0].partition(b"\r\n")
    pieces[0] = line_end + lines
    minor, status, reason = _status_line(line)
    if minor == 1 and status >= 200 and status not in _BODILESS and method != b"HEAD":
        usual = _read_usual(status, reason, pieces)
        if usual is not None:
            return usual
    return _read_unusual(minor, status, reason, pieces, method)


def _read_usual(status: int, reason: bytes, pieces: Pieces) -> ResponseHead | None:
    """Parse the usual kind of head: with Content-Length and perhaps keep-alive, in this spelling.

    :returns: None for other heads, which need :func:`_read_unusual`.
    """
    others = pieces[0]
    length = b""
    for index in range(1, len(pieces) - 3, 3):
        if pieces[index] == b"Content-Length" and not length:
            length = pieces[index + 1]
        elif pieces[index] != b"Connection" or pieces[index + 1] != b"keep-alive":
            return None
        others += pieces[index + 2]
    if not is_length(length) or pieces[-1] or pieces[-3] is not None:
        return None
    lines = b"".join((_STARTS[status], reason, others, b"\r\nContent-Length: ", length, b"\r\n"))
    return _head(status, lines, int(length), keep_alive=True)


def _read_unusual(minor: int, status: int, reason: bytes, pieces: Pieces, method: bytes) -> ResponseHead:
    others, special = pick_special(pieces)
    others, options = obey_connection(others, special)
    body = framing(special, minor, UNTIL_CLOSE)
    if status != 204 and status >= 200 and b"content-length" in special:
        others = b"".join((others, b"\r\nContent-Length: ", special[b"content-length"]))
    if method == b"HEAD" or status in _BODILESS or status < 200:
        body = 0
    upgrade = _upgrade(special, options) if status == 101 else b""
    keep_alive = body != UNTIL_CLOSE and not upgrade and stays_open(minor, options)
    response = _head(status, b"".join((_STARTS[status], reason, others, b"\r\n")), body, keep_alive=keep_alive)
    response.upgrade = upgrade
    return response


def _head(status: int, lines: bytes, body: int, *, keep_alive: bool) -> ResponseHead:
    head = ResponseHead(lines, body)
    head.status = status
    head.keep_alive = keep_alive
    return head


@lru_cache(maxsize=128)
def _status_line(line: bytes) -> tuple[int, int, bytes]:
    """Targets use few status lines, hence the cache; its size bounds what a strange target can put in."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise HeadError(502, "malformed status line, or neither HTTP/1.0 nor HTTP/1.1")
    minor, status, reason = match.groups()
    return int(minor), int(status), reason or b""


def _upgrade(special: Special, options: frozenset[bytes]) -> bytes:
    upgrade = special.get(b"upgrade", b"")
    if not upgrade or b"upgrade" not in options:
        raise HeadError(502, "a 101 that does not say what it changes to")
    return upgrade


def _refuse(head: bytes, method: bytes, error: HttpParserError) -> NoReturn:
    """Raise our description of the fault if we find it, else the one of llhttp, which is constant."""
    fault = response_fault(head)
    if fault is None:
        try:
            _read(head, method)
        except HeadError as found:
            fault = found
    raise HeadError(502, fault.reason if fault else f"llhttp: {error}") from None


def write_response(head: ResponseHead, minor: int, keep_alive: bool = True, chunked: bool = False) -> bytes:
    """Write the head for the visitor; always as HTTP/1.1 (RFC 9112 section 2.3).

    :param minor: minor version of the visitor's HTTP/1.
    :param keep_alive: whether the connection to the visitor is kept open.
    :param chunked: whether the body is sent in chunks.
    """
    lines = head.lines
    if head.status < 200:
        return b"%bUpgrade: %b\r\nConnection: upgrade\r\n\r\n" % (lines, head.upgrade) if head.upgrade else lines + b"\r\n"
    if keep_alive and minor and not chunked:
        return lines + b"\r\n"
    if head.says_keep_alive and not (keep_alive and minor):
        lines = _KEEP_ALIVE.sub(b"", lines, 1)
    return lines + _ENDS[chunked, keep_alive, minor]
