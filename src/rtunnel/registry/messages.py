"""Messages about changes, as the servers publish them: lines of text, so that ``redis-cli subscribe`` shows what goes on.

The first line names the server and the number of its latest change. The others say what has changed::

    5f1c...-...-... 17
    +{"i":"...", ...}     a connector is new, or something else is true of it
    -7a0c...-...-...      a connector is gone
    ={"i":"...", ...}     something else is true of the server

A change has all that was to be said at once, and one number more than the one before; a message that only has its first line is a
sign of life. Two more lines stand alone: ``*`` says that all was written anew, and has to be read; ``!`` that the server stops.
Lines of other kinds, which a later version may write, are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

import attrs

from rtunnel.registry.records import ConnectorRecord, RecordError, ServerRecord

__all__ = ["ANEW", "STOPS", "Change", "encode_change"]

ANEW: Final = b"*"
"""All records of the server were written anew."""
STOPS: Final = b"!"
"""The server stops; its records are gone."""
_HEADER: Final = 36
"""Characters of an ID."""


@attrs.frozen
class Change:
    """A message.

    :ivar server: whose it is.
    :ivar number: of its latest change, with this one.
    :ivar server_record: what it says of itself, if anything.
    :ivar written: connectors that are new or changed.
    :ivar gone: connectors that are gone.
    :ivar anew: whether all was written anew.
    :ivar stops: whether the server stops.
    """

    server: UUID
    number: int
    server_record: ServerRecord | None = None
    written: tuple[ConnectorRecord, ...] = ()
    gone: tuple[UUID, ...] = ()
    anew: bool = False
    stops: bool = False

    @property
    def is_sign_of_life(self) -> bool:
        """Whether it says nothing but that."""
        return not (self.server_record or self.written or self.gone or self.anew or self.stops)

    @classmethod
    def decode(cls, data: bytes) -> Change:
        """Read a message.

        :raises RecordError: when it is none.
        """
        header, *lines = data.split(b"\n")
        server, number = _read_header(header)
        if len(lines) == 1 and lines[0] in (ANEW, STOPS):
            return cls(server, number, anew=lines[0] == ANEW, stops=lines[0] == STOPS)
        record = None
        written, gone = [], []
        for line in lines:
            if line[:1] == b"+":
                connector = ConnectorRecord.decode(line[1:])
                if connector.server != server:
                    raise RecordError("a change with the connector of another server")
                written.append(connector)
            elif line[:1] == b"-":
                gone.append(_read_id(line[1:]))
            elif line[:1] == b"=":
                record = ServerRecord.decode(line[1:])
                if record.id != server:
                    raise RecordError("a change with the record of another server")
        return cls(server, number, record, tuple(written), tuple(gone))


def encode_change(
    server: UUID, number: int, *, server_record: bytes = b"", written: Iterable[bytes] = (), gone: Iterable[UUID] = ()
) -> bytes:
    """Write a message down, with records that are written down already."""
    lines = [f"{server} {number}".encode()]
    if server_record:
        lines.append(b"=" + server_record)
    lines += [b"+" + record for record in written]
    lines += [f"-{connector}".encode() for connector in gone]
    return b"\n".join(lines)


def _read_header(header: bytes) -> tuple[UUID, int]:
    number = header[_HEADER + 1 :]
    if header[_HEADER : _HEADER + 1] != b" " or not number.isdigit() or len(number) > 18:
        raise RecordError("a change without server and number")
    return _read_id(header[:_HEADER]), int(number)


def _read_id(text: bytes) -> UUID:
    try:
        return UUID(text.decode("ascii"))
    except ValueError:
        raise RecordError("a change with an ID that is none") from None
