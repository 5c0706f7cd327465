"""The recordings of a real gost in ``tests/data/vectors`` (its README says what they are).

Each line of a recording is one read of a tap between client and server. :func:`conversations` gives them per connection; of a
connection over WebSocket it gives what the messages carried, without the upgrade and the framing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

__all__ = ["CLIENT", "SERVER", "Conversation", "Read", "conversations", "names", "reads"]

VECTORS = Path(__file__).parent.parent / "data" / "vectors"

CLIENT = "client"
SERVER = "server"


@frozen
class Read:
    """What one read of the tap gave.

    :param conn: number of the connection, counted from 1.
    :param sender: :data:`CLIENT` or :data:`SERVER`.
    :param data: the bytes, empty at the end of a direction.
    :param milliseconds: time since the recording began.
    """

    conn: int
    sender: str
    data: bytes
    milliseconds: int = 0

    @property
    def ended(self) -> bool:
        """Whether the sender closed its direction here."""
        return not self.data


@frozen
class Conversation:
    """One connection, from its first byte to its end.

    :param conn: number of the connection, counted from 1.
    :param reads: in the order in which the tap saw them.
    """

    conn: int
    reads: tuple[Read, ...]

    def sent_by(self, sender: str) -> bytes:
        """All bytes of one direction."""
        return b"".join(read.data for read in self.reads if read.sender == sender)


def names() -> list[str]:
    """The names of all recordings."""
    return sorted(path.stem for path in VECTORS.glob("*.jsonl"))


def reads(name: str) -> Iterator[Read]:
    """Give the reads of a recording as they were on the wire.

    :param name: of the recording, e.g. ``bind-http-tcp``.
    """
    with (VECTORS / f"{name}.jsonl").open(encoding="ascii") as lines:
        for line in lines:
            entry = json.loads(line)
            yield Read(entry["conn"], entry["from"], bytes.fromhex(entry["hex"] or ""), entry["ms"])


def conversations(name: str) -> list[Conversation]:
    """Give the connections of a recording, in the order in which they were opened.

    :param name: of the recording, e.g. ``bind-http-ws``.
    """
    by_conn: dict[int, list[Read]] = {}
    for read in reads(name):
        by_conn.setdefault(read.conn, []).append(read)
    return [_conversation(conn, found) for conn, found in by_conn.items()]


def _conversation(conn: int, found: list[Read]) -> Conversation:
    if found[0].data.startswith(b"GET "):
        found = list(_without_websocket(found))
    return Conversation(conn, tuple(found))


def _without_websocket(found: list[Read]) -> Iterator[Read]:
    """Take upgrade and framing away; one read for each that carried something, and the ends."""
    unwrapped = {CLIENT: _Unwrap(), SERVER: _Unwrap()}
    for read in found:
        data = unwrapped[read.sender].take(read.data)
        if data or read.ended:
            yield Read(read.conn, read.sender, data, read.milliseconds)


class _Unwrap:
    """One direction of a WebSocket connection (RFC 6455 section 5.2): first a head of HTTP, then frames."""

    def __init__(self) -> None:
        self._buffer = b""
        self._upgraded = False

    def take(self, data: bytes) -> bytes:
        """Take bytes of the wire, give those that binary messages carried."""
        self._buffer += data
        if not self._upgraded:
            _, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return b""
            self._upgraded, self._buffer = True, rest
        return b"".join(self._payloads())

    def _payloads(self) -> Iterator[bytes]:
        while (frame := _frame(self._buffer)) is not None:
            opcode, payload, used = frame
            self._buffer = self._buffer[used:]
            if opcode in (0, 2):
                yield payload


def _frame(data: bytes) -> tuple[int, bytes, int] | None:
    """The frame at the head of the data: opcode, payload without mask, bytes used; None when it is not whole."""
    if len(data) < 2:
        return None
    size, position = data[1] & 0x7F, 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        size, position = int.from_bytes(data[2 : 2 + wide], "big"), 2 + wide
    mask = b""
    if data[1] & 0x80:
        mask = data[position : position + 4]
        position += 4
    payload = data[position : position + size]
    if len(data) < position + size:
        return None
    if mask:
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return data[0] & 0x0F, payload, position + size
