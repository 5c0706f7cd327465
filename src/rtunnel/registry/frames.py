"""What a process says to the one that keeps the shared registry for it, and hears from there; without any I/O.

Each frame is one byte, which says what it is, and its content. Both ends belong to one release, so there are no versions.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from rtunnel.registry.records import MAX_RECORD, ConnectorRecord, RecordError

__all__ = [
    "ALL",
    "CLAIM",
    "COUNT",
    "GONE",
    "MAX_FRAME",
    "SERVER",
    "SERVER_GONE",
    "TELL",
    "WRITTEN",
    "claim_frame",
    "frame",
    "read_claim",
    "read_id",
    "read_ids",
    "read_number",
    "read_told",
    "told_frame",
]

MAX_FRAME: Final = 2 * MAX_RECORD
"""Bytes of a frame at most."""

SERVER: Final = b"="
"""A record of a server: the first one of each server says that it is there."""
SERVER_GONE: Final = b"~"
"""The ID of a server that is gone."""
WRITTEN: Final = b"+"
"""A record of a connector, new or changed."""
GONE: Final = b"-"
"""The ID of a connector that is gone, after that of its server."""
ALL: Final = b"."
"""All is said that was known when the process began."""
COUNT: Final = b"#"
"""Asks for the count of a tunnel, or answers that, and a claim: 1 for what was written, 0 for what has to be decided again."""
CLAIM: Final = b"!"
"""A record that is to be written if the count of its tunnel is still the one given."""
TELL: Final = b"t"
"""A message to a server, or from one."""

_ID: Final = 36
"""Characters of an ID."""


def frame(kind: bytes, *content: object) -> bytes:
    """A frame with texts and bytes, separated by blanks."""
    return kind + b" ".join(part if isinstance(part, bytes) else str(part).encode() for part in content)


def told_frame(server: UUID, message: bytes) -> bytes:
    """A message, and who it is for or from."""
    return TELL + str(server).encode() + message


def claim_frame(count: int, record: ConnectorRecord) -> bytes:
    """A claim."""
    return frame(CLAIM, count, record.encode())


def read_id(content: bytes) -> UUID:
    """One ID.

    :raises RecordError: it is none.
    """
    try:
        return UUID(content.decode("ascii"))
    except ValueError:
        raise RecordError("an ID that is none") from None


def read_ids(content: bytes) -> tuple[UUID, UUID]:
    """Two of them.

    :raises RecordError: they are none.
    """
    first, _, second = content.partition(b" ")
    return read_id(first), read_id(second)


def read_number(content: bytes) -> int:
    """A number.

    :raises RecordError: it is none.
    """
    if not content.isdigit() or len(content) > 18:
        raise RecordError("a number that is none")
    return int(content)


def read_told(content: bytes) -> tuple[UUID, bytes]:
    """A message, and who it is for or from.

    :raises RecordError: it is none.
    """
    return read_id(content[:_ID]), content[_ID:]


def read_claim(content: bytes) -> tuple[int, ConnectorRecord]:
    """A claim.

    :raises RecordError: it is none.
    """
    count, _, record = content.partition(b" ")
    return read_number(count), ConnectorRecord.decode(record)
