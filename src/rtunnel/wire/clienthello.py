"""The ClientHello of TLS, and the server name in it.

Nothing is decrypted: a :class:`ClientHelloReader` only extracts the requested server name, so that the connection can be passed on
unchanged. It is sent unencrypted (RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3) in every version of TLS. With an encrypted
hello (ECH) the outer name is used: it belongs to the server that can decrypt the inner one.

Unknown extensions and values, such as GREASE (RFC 8701), are skipped. A malformed or ambiguous hello is rejected with the alert
that a TLS server would send.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from attrs import frozen

__all__ = ["HANDSHAKE", "MAX_HELLO", "Alert", "ClientHello", "ClientHelloError", "ClientHelloReader", "alert_record"]

HANDSHAKE: Final = 0x16
"""The first byte of a connection that begins with a ClientHello: the type of the record that carries it."""

MAX_HELLO: Final = 65536
"""Maximum length of the hello with its record headers, in bytes. Common ones have 200 to 2000; this leaves room for session tickets
of any size in use."""

MAX_RECORD: Final = 16384
"""Maximum length of a record, in bytes (RFC 8446 section 5.1)."""
RECORD_HEADER: Final = 5
MESSAGE_HEADER: Final = 4

CLIENT_HELLO: Final = 1
SERVER_NAME: Final = 0
HOST_NAME: Final = 0

MAX_NAME: Final = 255

# as in wire/http1_authority.py; addresses are not allowed (RFC 6066 section 3), but an IPv4 address looks like a name
_NAME: Final = re.compile(rb"([0-9A-Za-z_-]++(?:\.[0-9A-Za-z_-]++)*)\.?")


class Alert(IntEnum):
    """Why a TLS server ends a connection (RFC 8446 section 6.2)."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    UNRECOGNIZED_NAME = 112


def alert_record(alert: Alert) -> bytes:
    """A record with a fatal alert, to be sent before any other response."""
    return bytes((21, 3, 3, 0, 2, 2, alert))


class ClientHelloError(Exception):
    """The received data is not a valid ClientHello.

    :param alert: the alert to send to the client.
    :param reason: what is wrong.
    """

    def __init__(self, alert: Alert, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


@frozen
class ClientHello:
    """The ClientHello.

    :param server_name: the requested host, in lower case and without a trailing dot; None if there is none.
    """

    server_name: str | None


class ClientHelloReader:
    """Parses the first bytes of a connection, in pieces of any size, until the ClientHello is complete.

    The hello may be split into any number of records. Time and memory are linear in the number of bytes, which is limited to
    :data:`MAX_HELLO`. The caller keeps the bytes and passes them on unchanged.
    """

    __slots__ = ("_fed", "_header", "_left", "_message")

    def __init__(self) -> None:
        self._fed = 0
        self._header = b""
        self._left = 0
        """Remaining bytes of the current record."""
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """Parse more bytes.

        :returns: the hello when it is complete, None until then; what follows it is not parsed.
        :raises ClientHelloError: as soon as it cannot become a valid hello.
        """
        data = data[: MAX_HELLO - self._fed]
        self._fed += len(data)
        position = 0
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                self._left -= len(piece)
                self._message += piece
                if self._whole():
                    return _read_hello(bytes(self._message))
            else:
                piece = data[position : position + RECORD_HEADER - len(self._header)]
                self._header += piece
                self._open_record()
            position += len(piece)
        if self._fed >= MAX_HELLO:
            raise ClientHelloError(Alert.ILLEGAL_PARAMETER, f"the hello is longer than {MAX_HELLO} bytes")
        return None

    def _open_record(self) -> None:
        """Parse the header of a record as far as it was received."""
        header = self._header
        if header[0] != HANDSHAKE:
            raise ClientHelloError(Alert.UNEXPECTED_MESSAGE, "another record before the end of the hello")
        # the minor version is meaningless here: clients send 1 or 3 regardless of their version
        if len(header) > 1 and header[1] != 3:
            raise ClientHelloError(Alert.PROTOCOL_VERSION, "unknown version of the record")
        if len(header) < RECORD_HEADER:
            return
        length = int.from_bytes(header[3:], "big")
        if length > MAX_RECORD:
            raise ClientHelloError(Alert.RECORD_OVERFLOW, f"a record is longer than {MAX_RECORD} bytes")
        if not length:
            raise ClientHelloError(Alert.UNEXPECTED_MESSAGE, "an empty record")
        self._header, self._left = b"", length

    def _whole(self) -> bool:
        """Whether the message is complete; removes what follows it."""
        message = self._message
        if message[0] != CLIENT_HELLO:
            raise ClientHelloError(Alert.UNEXPECTED_MESSAGE, "the first message is not a ClientHello")
        if len(message) < MESSAGE_HEADER:
            return False
        end = MESSAGE_HEADER + int.from_bytes(message[1:MESSAGE_HEADER], "big")
        if end > MAX_HELLO:
            raise ClientHelloError(Alert.ILLEGAL_PARAMETER, f"the hello is longer than {MAX_HELLO} bytes")
        if len(message) < end:
            return False
        del message[end:]
        return True


class _Cursor:
    """Reads bytes in order."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise ClientHelloError(Alert.DECODE_ERROR, "a field is longer than what it is in")
        start = self._position
        self._position += size
        return self._data[start : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.read(size), "big")

    def vector(self, size: int, low: int, high: int) -> bytes:
        """Bytes with a length prefix of ``size`` bytes; the length must be from ``low`` to ``high``."""
        count = self.number(size)
        if not low <= count <= high:
            raise ClientHelloError(Alert.DECODE_ERROR, "a field is too short or too long")
        return self.read(count)

    def end(self) -> None:
        if self.left:
            raise ClientHelloError(Alert.DECODE_ERROR, "bytes after the last field")


def _read_hello(message: bytes) -> ClientHello:
    """Parse a whole message (RFC 8446 section 4.1.2; RFC 5246 section 7.4.1.2 is the same without a need for extensions)."""
    hello = _Cursor(message)
    hello.read(MESSAGE_HEADER)
    if hello.number(2) >> 8 != 3:
        raise ClientHelloError(Alert.PROTOCOL_VERSION, "unknown version of the hello")
    hello.read(32)  # random
    hello.vector(1, 0, 32)  # session id
    if len(hello.vector(2, 2, 65534)) % 2:  # cipher suites
        raise ClientHelloError(Alert.DECODE_ERROR, "half a cipher suite")
    hello.vector(1, 1, 255)  # compression methods
    extensions = _Cursor(hello.vector(2, 0, 65535)) if hello.left else _Cursor(b"")
    hello.end()
    name: str | None = None
    seen: set[int] = set()
    while extensions.left:
        kind = extensions.number(2)
        value = extensions.vector(2, 0, 65535)
        if kind in seen:
            raise ClientHelloError(Alert.ILLEGAL_PARAMETER, "an extension is there twice")
        seen.add(kind)
        if kind == SERVER_NAME:
            name = _read_server_name(value)
    return ClientHello(name)


def _read_server_name(value: bytes) -> str:
    """Parse the extension (RFC 6066 section 3).

    Its list has one entry: only one type of name was ever defined, and only one name of it is allowed.
    """
    extension = _Cursor(value)
    names = _Cursor(extension.vector(2, 1, 65535))
    extension.end()
    kind = names.number(1)
    name = names.vector(2, 1, 65535)
    names.end()
    match = _NAME.fullmatch(name) if kind == HOST_NAME and len(name) <= MAX_NAME else None
    if match is None:
        raise ClientHelloError(Alert.ILLEGAL_PARAMETER, "the server name is not a host name")
    return match[1].decode("ascii").lower()
