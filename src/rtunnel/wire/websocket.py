"""The frames of an open WebSocket (RFC 6455 5) that carries a byte stream: bytes to events, payload to frames, no I/O.

Message boundaries carry no meaning: payload is passed on as it is received, before its frame is complete. Only binary messages
are accepted. Control frames are passed on whole, as raw bytes, for the WebSocket library that did the opening handshake: it
handles ping, pong and the closing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

__all__ = ["CONTROL", "EMPTY", "FAILED", "MAX_MESSAGE", "PAYLOAD", "Event", "FrameCodec", "Mask"]

MAX_MESSAGE: Final = 1 << 20
"""Maximum payload of a sent message, in bytes."""

BINARY: Final = 0x82
"""The first byte of a binary message of one frame: FIN, opcode 2."""
MASKED: Final = 0x80
"""The bit of the second byte that says that a masking key follows the length."""

CONTINUATION_OPCODE: Final = 0
TEXT_OPCODE: Final = 1
BINARY_OPCODE: Final = 2
CLOSE_OPCODE: Final = 8
PONG_OPCODE: Final = 10
MAX_CONTROL_PAYLOAD: Final = 125

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003

KEYS: Final = 1024
"""Number of masking keys that are generated at once."""

PAYLOAD: Final = 1
EMPTY: Final = 2
CONTROL: Final = 3
FAILED: Final = 4

Event = tuple[int, bytes]
"""``(kind, bytes)``.

- :data:`PAYLOAD`: bytes of the stream, in order; those of messages that came together are one event, since each costs its receiver
  a call, and a message may have a single byte.
- :data:`EMPTY`: a message without payload, in one frame.
- :data:`CONTROL`: a whole control frame, with its head and mask. Nothing is received after a close frame (RFC 6455 5.5.1).
- :data:`FAILED`: the peer violated the protocol, and nothing more is received (RFC 6455 7.1.7); the bytes are what a close frame
  should tell it: a close code and a reason (RFC 6455 5.5.1).
"""

Mask = Callable[[bytes, bytes], bytes]
"""Applies a masking key of four bytes to payload, or removes it (RFC 6455 5.3)."""

_length16 = Struct(">H")
_length64 = Struct(">Q")
_head16 = Struct(">BBH")
_head64 = Struct(">BBQ")
_keys = Struct("4s")


class FrameCodec:
    """The frames of one end of a WebSocket, in both directions.

    :param client: whether this end is the client, which masks what it sends (RFC 6455 5.1).
    :param mask: applies a key; a parameter, since fast implementations are not pure Python.
    :param random: returns so many bytes of a cryptographically secure source, for masking keys (RFC 6455 5.3).
    """

    __slots__ = (
        "_between_messages",
        "_client",
        "_done",
        "_flag",
        "_fragmented",
        "_key",
        "_keys",
        "_mask",
        "_offset",
        "_partial",
        "_random",
        "_rest",
    )

    def __init__(self, *, client: bool, mask: Mask, random: Callable[[int], bytes]) -> None:
        self._client = client
        self._flag = MASKED if client else 0
        self._mask = mask
        self._random = random
        self._keys: Iterator[tuple[bytes]] = iter(())
        # the payload being received: its remaining size, its key, and the offset into the key
        self._rest = 0
        self._key = b""
        self._offset = 0
        # the beginning of a frame head, or of a control frame
        self._partial = b""
        self._fragmented = False
        self._between_messages = True
        self._done = False

    # -- sending

    def encode(self, payload: bytes) -> bytes:
        """Encode payload as a binary message, or as several if it is longer than :data:`MAX_MESSAGE`."""
        size = len(payload)
        flag = self._flag
        if size < 126:
            head = bytes((BINARY, flag | size))
        elif size < 65536:
            head = _head16.pack(BINARY, flag | 126, size)
        elif size <= MAX_MESSAGE:
            head = _head64.pack(BINARY, flag | 127, size)
        else:
            return b"".join([self.encode(payload[start : start + MAX_MESSAGE]) for start in range(0, size, MAX_MESSAGE)])
        if flag:
            key = self._next_key()
            return b"".join((head, key, self._mask(payload, key)))
        return head + payload

    def _next_key(self) -> bytes:
        for (key,) in self._keys:
            return key
        self._keys = _keys.iter_unpack(self._random(4 * KEYS))
        return self._next_key()

    # -- receiving

    def receive(self, data: bytes) -> list[Event]:
        """Parse bytes of the peer, split anywhere."""
        if self._between_messages and (payload := self._whole_message(data)):
            return [(PAYLOAD, payload)]
        return self._receive(data)

    def _whole_message(self, data: bytes) -> bytes | None:
        """The payload, if the data is exactly one unfragmented message, as it nearly always is."""
        size = len(data)
        if size < 4 or data[0] != BINARY:
            return None
        second = data[1]
        length = second & 0x7F
        start = 2
        if length >= 126:
            length = _length16.unpack_from(data, 2)[0] if length == 126 else 0
            if length < 126:
                return None
            start = 4
        if (second < MASKED) != self._client:
            return None
        if self._client:
            return data[start:] if start + length == size else None
        if start + 4 + length != size:
            return None
        return self._mask(data[start + 4 :], data[start : start + 4])

    def _receive(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._done:
            return events
        payload: list[bytes] = []
        if self._partial:
            data = self._partial + data
            self._partial = b""
        client = self._client
        position = 0
        size = len(data)
        if self._rest:
            position = min(self._rest, size)
            self._rest -= position
            payload.append(self._unmasked(data[:position]))
        while size - position >= 2:
            first, second = data[position], data[position + 1]
            if first & 0x7F != (CONTINUATION_OPCODE if self._fragmented else BINARY_OPCODE) or (second >= MASKED) == client:
                fault = self._fault(first, second)
                if fault is not None:
                    return self._fail(_deliver(payload, events), *fault)
            start = position + 2
            length = second & 0x7F
            if length >= 126:
                start += 2 if length == 126 else 8
                if start > size:
                    break
                short = length == 126
                (length,) = _length16.unpack_from(data, start - 2) if short else _length64.unpack_from(data, start - 8)
                if not (126 if short else 65536) <= length < 1 << 63:
                    return self._fail(
                        _deliver(payload, events), PROTOCOL_ERROR, "the length of a frame is not encoded as RFC 6455 5.2 says"
                    )
            if second >= MASKED:
                start += 4
                if start > size:
                    break
                self._key = data[start - 4 : start]
                self._offset = 0
            end = start + length
            opcode = first & 0x0F
            if opcode >= CLOSE_OPCODE:
                if end > size:
                    break
                _deliver(payload, events).append((CONTROL, data[position:end]))
                position = end
                if opcode == CLOSE_OPCODE:
                    return self._finish(events)
                continue
            self._fragmented = first < 0x80
            position = min(end, size)
            self._rest = end - position
            if position > start:
                payload.append(self._unmasked(data[start:position]))
            elif first == BINARY and not length:
                _deliver(payload, events).append((EMPTY, b""))
        if position < size:
            self._partial = data[position:]
        self._between_messages = not (self._rest or self._partial or self._fragmented)
        return _deliver(payload, events)

    def _fault(self, first: int, second: int) -> tuple[int, str] | None:
        """What is wrong with the first two bytes of a frame: a close code and a reason."""
        opcode = first & 0x0F
        if first & 0x70:
            return PROTOCOL_ERROR, "a reserved bit is set, and no extension was agreed on"
        if (second >= MASKED) == self._client:
            return PROTOCOL_ERROR, "a frame of a server is masked" if self._client else "a frame of a client is not masked"
        if opcode >= CLOSE_OPCODE:
            if opcode > PONG_OPCODE:
                return PROTOCOL_ERROR, f"the opcode {opcode} is reserved"
            if first < 0x80:
                return PROTOCOL_ERROR, "a control frame is fragmented"
            if second & 0x7F > MAX_CONTROL_PAYLOAD:
                return PROTOCOL_ERROR, "a control frame is longer than 125 bytes"
            return None
        if opcode > BINARY_OPCODE:
            return PROTOCOL_ERROR, f"the opcode {opcode} is reserved"
        if (opcode == CONTINUATION_OPCODE) != self._fragmented:
            return (
                PROTOCOL_ERROR,
                "a fragmented message was not continued" if self._fragmented else "no message to continue",
            )
        if opcode == TEXT_OPCODE:
            return UNSUPPORTED_DATA, "only binary messages are supported"
        return None

    def _unmasked(self, payload: bytes) -> bytes:
        """Remove the mask of the frame being received from the next piece of its payload."""
        if self._client:
            return payload
        offset, key = self._offset, self._key
        self._offset = (offset + len(payload)) & 3
        return self._mask(payload, key[offset:] + key[:offset] if offset else key)

    def _fail(self, events: list[Event], code: int, reason: str) -> list[Event]:
        events.append((FAILED, _length16.pack(code) + reason.encode()))
        return self._finish(events)

    def _finish(self, events: list[Event]) -> list[Event]:
        """Receive nothing more."""
        self._done = True
        self._between_messages = False
        return events


def _deliver(payload: list[bytes], events: list[Event]) -> list[Event]:
    """Add what was collected to the events, in one piece."""
    if payload:
        events.append((PAYLOAD, payload[0] if len(payload) == 1 else b"".join(payload)))
        payload.clear()
    return events
