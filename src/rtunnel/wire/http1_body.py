"""Bodies of HTTP/1 in chunks: where they end, and what they carry (RFC 9112 section 7.1)."""

from __future__ import annotations

import re
from typing import Final

from rtunnel.wire.http1_head import HeadError

__all__ = ["LAST_CHUNK", "ChunkedBody", "write_chunk"]

LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""

SIZE_LINE: Final = 1024
"""Most bytes of a chunk's size with its extensions; nobody uses extensions, and they have hidden attacks."""
TRAILER_BYTES: Final = 16384
TRAILER_COUNT: Final = 64

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15}+)[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n")

_AT_SIZE: Final = 0
_IN_DATA: Final = 1
_IN_TRAILERS: Final = 2


def write_chunk(payload: bytes) -> bytes:
    """One chunk; an empty payload gives nothing, because an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


class ChunkedBody:
    """Follows one chunked body; the bytes themselves stay where they are.

    :ivar done: the whole body was seen.
    """

    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "_trailer_count", "done")

    def __init__(self) -> None:
        self.done = False
        self._state = _AT_SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self._trailer_count = 0

    def feed(self, data: bytes, start: int = 0) -> int:
        """Go on with ``data`` from ``start``.

        :returns: the index just after the last byte of this body; the length of ``data`` while the body goes on.
        :raises HeadError: 400 when the chunks are malformed.
        """
        return self._run(data, start, None)

    def decode(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Like :meth:`feed`, and take the payload out of the chunks; trailers are dropped.

        :returns: the payload, and the index that :meth:`feed` would return.
        :raises HeadError: 400 when the chunks are malformed.
        """
        payload: list[bytes] = []
        end = self._run(data, start, payload)
        return b"".join(payload), end

    def _run(self, data: bytes, at: int, payload: list[bytes] | None) -> int:
        size = len(data)
        while at < size and not self.done:
            if self._state == _IN_DATA:
                at = self._skip(data, at, payload)
            else:
                at = self._read_line(data, at)
        return at

    def _skip(self, data: bytes, at: int, payload: list[bytes] | None) -> int:
        left = self._left
        if left > 2:
            end = min(at + left - 2, len(data))
            if payload is not None:
                payload.append(data[at:end])
            self._left = left - (end - at)
            return end
        if data[at] != (13 if left == 2 else 10):
            raise HeadError(400, "a chunk is longer than its size")
        self._left = left - 1
        if left == 1:
            self._state = _AT_SIZE
        return at + 1

    def _read_line(self, data: bytes, at: int) -> int:
        limit = SIZE_LINE if self._state == _AT_SIZE else TRAILER_BYTES
        newline = data.find(b"\n", at)
        end = newline + 1 if newline >= 0 else len(data)
        self._line += data[at:end]
        if len(self._line) > limit:
            raise HeadError(400, "a line of a chunked body is too long")
        if newline >= 0:
            line, self._line = self._line, b""
            if self._state == _AT_SIZE:
                self._take_size(line)
            else:
                self._take_trailer(line)
        return end

    def _take_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise HeadError(400, "bad chunk size")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
            self._state = _IN_DATA
        else:
            self._state = _IN_TRAILERS

    def _take_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        self._trailer_bytes += len(line)
        self._trailer_count += 1
        if self._trailer_bytes > TRAILER_BYTES or self._trailer_count > TRAILER_COUNT:
            raise HeadError(400, "the trailer section is too large")
        if not _TRAILER.fullmatch(line):
            raise HeadError(400, "malformed trailer")
