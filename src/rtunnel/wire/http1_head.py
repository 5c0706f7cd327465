"""The start and end of an HTTP/1 head in a byte stream, and the error for invalid HTTP of a peer."""

from __future__ import annotations

import re
from typing import Final

import attrs

__all__ = ["LONG", "HeadError", "HeadLimits", "goes_on", "head_end", "skip_empty_lines"]

LONG: Final = 256
"""Bytes of an incomplete head from which it is read again only when another line of it ends."""
MAX_EMPTY_LINES: Final = 4
"""Maximum number of empty lines before a request line (RFC 9112 section 2.2 asks for at least one)."""

_BEGINNING: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}+(?:[ /]|\Z)|\r?\Z")
"""The beginning of every request and response, possibly incomplete: a method or ``HTTP/``."""


class HeadError(Exception):
    """A peer sent invalid HTTP/1, exceeded a limit, or sent something that cannot be forwarded.

    :param status: the status for the visitor: 400, 431, 501 or 505; 502 if it is the fault of the target.
    :param reason: one line, safe to log and to show: it never contains data of the peer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@attrs.frozen
class HeadLimits:
    """Maximum sizes of a head.

    :param head_bytes: bytes of a head, including the empty line at its end.
    :param line_bytes: bytes of one line, without its CRLF.
    :param header_count: number of fields.
    """

    head_bytes: int = 65536
    line_bytes: int = 16384
    header_count: int = 128


def skip_empty_lines(data: bytes | bytearray, start: int = 0) -> int:
    """Skip the few empty lines that are allowed before a request line (RFC 9112 section 2.2).

    :returns: the index of the first byte after them; after :data:`MAX_EMPTY_LINES` a further one is an error, which
        :func:`head_end` and the parser report.
    """
    for _ in range(MAX_EMPTY_LINES):
        if not data.startswith(b"\r\n", start):
            break
        start += 2
    return start


def head_end(data: bytes | bytearray, start: int, limits: HeadLimits) -> int:
    """Find the end of the head that begins at ``start``.

    :returns: the index after its CRLFCRLF, or -1 while it is incomplete.
    :raises HeadError: 431 when it exceeds a limit, 400 as soon as it cannot become a valid head (data of another
        protocol, a line that ends without CR). For responses, the caller turns either into a 502.
    """
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        _check_beginning(data, start, limits)
        return -1
    end += 4
    if end - start > limits.line_bytes:
        _check_size(data, start, end, limits)
    if data.count(b"\n", start, end) > limits.header_count + 2:
        raise HeadError(431, "too many fields")
    return end


def goes_on(begun: bytes, data: bytes, limits: HeadLimits) -> bool:
    """Whether a head that is incomplete is neither complete nor invalid with more data, so that it need not be read again.

    Without this a long head that comes byte by byte would take time that grows with the square of its length.

    :param begun: the head as far as it was read; :func:`head_end` found no end of it.
    """
    size = len(begun) + len(data)
    if len(begun) < LONG or b"\n" in data or size > limits.head_bytes:
        return False
    return size - begun.rfind(b"\n") <= limits.line_bytes


def _check_beginning(data: bytes | bytearray, start: int, limits: HeadLimits) -> None:
    if not _BEGINNING.match(data, start):
        raise HeadError(400, "not HTTP/1")
    lines = data.count(b"\r\n", start)
    if data.count(b"\n", start) != lines:
        raise HeadError(400, "a line ends without CR")
    if lines > limits.header_count + 1:
        raise HeadError(431, "too many fields")
    if len(data) - start > limits.line_bytes:
        # a CR at the end does not belong to the line if LF follows
        _check_size(data, start, len(data) - data.endswith(b"\r"), limits)


def _check_size(data: bytes | bytearray, start: int, end: int, limits: HeadLimits) -> None:
    if end - start > limits.head_bytes:
        raise HeadError(431, "the head is too large")
    if any(len(line) > limits.line_bytes for line in data[start:end].split(b"\r\n")):
        raise HeadError(431, "a line is too long")
