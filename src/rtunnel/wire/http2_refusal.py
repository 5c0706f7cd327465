"""The answer to HTTP/2 without TLS, which is not supported: a response that every client can read, and the end.

Nothing of the client's is decoded (RFC 9113, RFC 7541): the first request is found by its frame, and answered by its number.

A GOAWAY with HTTP_1_1_REQUIRED alone, which section 7 has for this, would tell people nothing: curl shows a framing error, and
the C core of gRPC sends the request again and again, or aborts the process, because it does not know this code.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CLIENT_PREFACE", "Http2Refusal"]

CLIENT_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a connection of HTTP/2 begins with (RFC 9113 section 3.4)."""
MAX_BEFORE: Final = 65536
"""Maximum bytes before the first request."""

_FRAME_HEADER: Final = 9
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_NO_ERROR = 0
# fields of RFC 7541 appendix A that are written without being indexed (section 6.2.2)
_STATUS, _CONTENT_LENGTH, _CONTENT_TYPE = 8, 28, 31


class Http2Refusal:
    """One connection that began with :data:`CLIENT_PREFACE`.

    :param status: of the response, three digits.
    :param text: its body, in ASCII, and the debug data of the GOAWAY; of less than 16384 bytes.
    :ivar done: whether nothing more is expected: the connection is to be closed after the output.
    """

    def __init__(self, status: int, text: bytes) -> None:
        self._status = b"%d" % status
        self._text = text
        self._data = b""
        self._before = 0
        self._begun = False
        self.done = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the connection, from the preface on; returns what to send."""
        if self.done:
            return b""
        self._data += data
        output = b""
        if not self._begun:
            if len(self._data) < len(CLIENT_PREFACE):
                return b""
            self._begun = True
            self._data = self._data[len(CLIENT_PREFACE) :]
            output = _frame(_SETTINGS, 0, 0) + _frame(_SETTINGS, _ACK, 0)
        stream = self._first_request()
        if stream:
            output += self._response(stream)
        elif self._before > MAX_BEFORE:
            output += self._goaway(0)
        return output

    def _first_request(self) -> int:
        """The number of the first stream; 0 if there is none yet. The payloads of all frames are skipped."""
        data, start = self._data, 0
        while len(data) - start >= _FRAME_HEADER:
            kind, stream = data[start + 3], int.from_bytes(data[start + 5 : start + _FRAME_HEADER]) & 0x7FFFFFFF
            if kind == _HEADERS and stream:
                return stream
            size = _FRAME_HEADER + int.from_bytes(data[start : start + 3])
            if self._before + size > MAX_BEFORE:
                self._before += size
                break
            if len(data) - start < size:
                break
            self._before += size
            start += size
        # once, not with each frame: many tiny ones would cost a copy of all that follows
        self._data = data[start:]
        return 0

    def _response(self, stream: int) -> bytes:
        fields = (
            (_STATUS, self._status),
            (_CONTENT_TYPE, b"text/plain; charset=utf-8"),
            (_CONTENT_LENGTH, b"%d" % len(self._text)),
        )
        head = b"".join(_literal(name, value) for name, value in fields)
        return _frame(_HEADERS, _END_HEADERS, stream, head) + _frame(_DATA, _END_STREAM, stream, self._text) + self._goaway(stream)

    def _goaway(self, stream: int) -> bytes:
        self.done = True
        self._data = b""
        return _frame(_GOAWAY, 0, 0, stream.to_bytes(4) + _NO_ERROR.to_bytes(4) + self._text)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(name: int, value: bytes) -> bytes:
    """A field with an indexed name and a plain value (RFC 7541 section 6.2.2); a name from 15 on needs a second byte (5.1)."""
    index = bytes((name,)) if name < 15 else bytes((15, name - 15))
    return index + bytes((len(value),)) + value
