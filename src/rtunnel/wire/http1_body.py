"""Chunked bodies of HTTP/1 (RFC 9112 section 7.1): their end, and their payload."""

from __future__ import annotations

import re
from typing import Final

from rtunnel.wire.http1_fields import HOP_BY_HOP
from rtunnel.wire.http1_head import HeadError
from rtunnel.wire.http1_policy import is_forwarding

__all__ = ["LAST_CHUNK", "ChunkedBody", "write_chunk"]

LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""

MAX_EXTENSION_BYTES: Final = 256
"""Maximum length of chunk extensions, in bytes. They are hardly used, except for request smuggling and denial of service."""
MAX_SIZE_DIGITS: Final = 15
"""Maximum number of digits of a chunk size: an exabyte, and still a 64-bit integer everywhere."""
MAX_TRAILER_BYTES: Final = 16384
"""Maximum size of a trailer section, in bytes."""
MAX_TRAILER_COUNT: Final = 64
"""Maximum number of trailers."""

_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,%d}+)(?:;[\t\x20-\x7e\x80-\xff]{0,%d}+)?\r\n" % (MAX_SIZE_DIGITS, MAX_EXTENSION_BYTES - 1)
)
_MAX_SIZE_LINE: Final = MAX_SIZE_DIGITS + MAX_EXTENSION_BYTES + 2
_TRAILER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[\t\x20-\x7e\x80-\xff]*+\r\n")
_NO_TRAILERS: Final = HOP_BY_HOP | {b"host", b"content-length", b"via", b"x-request-id"}
"""Fields that are forbidden as trailers (RFC 9110 section 6.5.1), because a target could treat them like fields of the head."""


def write_chunk(payload: bytes) -> bytes:
    """Write a chunk; nothing for an empty payload, because an empty chunk would be the last one."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


class ChunkedBody:
    """Tracks one chunked body in the data that its owner passes on unchanged. Each body needs a new instance.

    Payload is skipped by its size, so a large chunk costs no more than a small one. Extensions and trailers are passed on. After an
    error the connection must be closed, because the end of the body is unknown.

    :ivar done: whether the body has ended, including trailers.
    """

    __slots__ = ("_in_trailers", "_left", "_line", "_trailer_bytes", "_trailer_count", "done")

    def __init__(self) -> None:
        self.done = False
        self._in_trailers = False
        self._left = 0
        """Remaining bytes of the current chunk, including its CRLF."""
        self._line = b""
        """The beginning of an incomplete size or trailer line."""
        self._trailer_bytes = 0
        self._trailer_count = 0

    def feed(self, data: bytes, start: int = 0) -> int:
        """Process ``data`` from ``start``.

        :returns: the index after the last byte of this body; the length of ``data`` if the body continues.
        :raises HeadError: 400 when the chunks or the trailers are malformed.
        """
        return self._follow(data, start, None)

    def decode(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Like :meth:`feed`, but also decode the payload, for a visitor with HTTP/1.0. Trailers are dropped.

        :returns: the payload, and the result of :meth:`feed`.
        :raises HeadError: 400 when the chunks or the trailers are malformed.
        """
        payload: list[bytes] = []
        end = self._follow(data, start, payload)
        return b"".join(payload), end

    def _follow(self, data: bytes, at: int, payload: list[bytes] | None) -> int:
        end = len(data)
        while at < end and not self.done:
            if self._left:
                at = self._pass_chunk(data, at, payload)
            elif self._in_trailers or self._line:
                at = self._gather_line(data, at)
            else:
                at = self._pass_chunks(data, at, payload)
        return at

    def _pass_chunks(self, data: bytes, at: int, payload: list[bytes] | None) -> int:
        """Skip complete chunks, and the size of the first incomplete one."""
        while found := _SIZE.match(data, at):
            at = found.end()
            size = int(found[1], 16)
            end = at + size
            if not size or data[end : end + 2] != b"\r\n":
                self._begin_chunk(size)
                return at
            if payload is not None:
                payload.append(data[at:end])
            at = end + 2
        return self._gather_line(data, at)

    def _pass_chunk(self, data: bytes, at: int, payload: list[bytes] | None) -> int:
        left = self._left
        if left > 2:
            end = min(at + left - 2, len(data))
            if payload is not None:
                payload.append(data[at:end])
            left -= end - at
            at = end
        if left <= 2:
            line_end = b"\r\n"[2 - left :]
            found = data[at : at + left]
            if not line_end.startswith(found):
                raise HeadError(400, "a chunk is longer than its size")
            left -= len(found)
            at += len(found)
        self._left = left
        return at

    def _begin_chunk(self, size: int) -> None:
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True

    def _gather_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at) + 1
        self._line += data[at : end or len(data)]
        if len(self._line) > (MAX_TRAILER_BYTES if self._in_trailers else _MAX_SIZE_LINE):
            raise HeadError(400, "a line of a chunked body is too long")
        if not end:
            return len(data)
        line, self._line = self._line, b""
        if self._in_trailers:
            self._read_trailer(line)
        else:
            self._read_size(line)
        return end

    def _read_size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise HeadError(400, "malformed chunk size")
        self._begin_chunk(int(size[1], 16))

    def _read_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        trailer = _TRAILER.fullmatch(line)
        if trailer is None:
            raise HeadError(400, "malformed trailer")
        name = trailer[1].lower()
        if name in _NO_TRAILERS or is_forwarding(name):
            raise HeadError(400, "a trailer that only a head can have")
        self._trailer_bytes += len(line)
        self._trailer_count += 1
        if self._trailer_bytes > MAX_TRAILER_BYTES or self._trailer_count > MAX_TRAILER_COUNT:
            raise HeadError(400, "too many trailers")
