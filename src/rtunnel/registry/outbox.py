"""What a server has to write into the registry, without any I/O: its own records, and which of them are not written yet.

Changes are written in batches, one after the other, each with a number. If it is unknown whether a batch was written, it is simply
written again: the registry compares the numbers, and when they do not fit everything is written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

import attrs

from rtunnel.registry.messages import encode_change
from rtunnel.registry.records import ConnectorRecord, ServerRecord

__all__ = ["MAX_BATCH", "Batch", "Outbox"]

MAX_BATCH: Final = 250
"""Records that are written at once at most: while Redis writes them, it does nothing else."""


@attrs.frozen
class Batch:
    """A change that is being written.

    :ivar before: the number of the change before it.
    :ivar server_record: of the server, if it has changed; else empty.
    :ivar written: connectors that are new or changed, by their IDs.
    :ivar gone: connectors that are gone.
    :ivar contested: tunnels in which others may ask for the same requests, so that whoever decides there must decide again.
    """

    before: int
    server_record: bytes
    written: dict[UUID, bytes]
    gone: tuple[UUID, ...]
    contested: frozenset[UUID]

    @property
    def number(self) -> int:
        """Of this change."""
        return self.before + 1

    def message(self, server: UUID) -> bytes:
        """What the others hear of it."""
        return encode_change(server, self.number, server_record=self.server_record, written=self.written.values(), gone=self.gone)


class Outbox:
    """The records of one server; owned by its registry.

    :ivar server: the server.
    :ivar number: of the latest change that was written.
    :ivar anew: whether everything has to be written anew, since the registry has nothing, or something else.
    """

    def __init__(self, server: ServerRecord) -> None:
        self.server = server
        self.number = 0
        self.anew = True
        self._records: dict[UUID, ConnectorRecord] = {}
        self._unwritten: dict[UUID, None] = {}
        """Connectors whose record is to be written, or removed if there is none."""
        self._new: set[UUID] = set()
        """Those of them that nobody knows yet."""
        self._server_unwritten = False
        self._batch: Batch | None = None
        self._claimed: ConnectorRecord | None = None

    def __len__(self) -> int:
        return len(self._records)

    @property
    def pending(self) -> bool:
        """Whether there are changes to write, and none are being written."""
        return self._batch is None and (self._server_unwritten or bool(self._unwritten))

    def get(self, connector: UUID) -> ConnectorRecord | None:
        """The record of a connector."""
        return self._records.get(connector)

    # -- what changes

    def announce(self, server: ServerRecord) -> None:
        """Something else is true of the server."""
        if server != self.server:
            self.server = server
            self._server_unwritten = True

    def publish(self, record: ConnectorRecord) -> None:
        """A connector is new, or something else is true of it."""
        former = self._records.get(record.id)
        if former == record:
            return
        if former is None and record.id not in self._unwritten:
            # else it was withdrawn in the same turn, and others still know it
            self._new.add(record.id)
        self._records[record.id] = record
        self._unwritten[record.id] = None

    def withdraw(self, connector: UUID) -> None:
        """A connector is gone."""
        if self._records.pop(connector, None) is None:
            return
        being_written = self._batch is not None and connector in self._batch.written
        if connector in self._new and not being_written:
            # nobody knows it: in a long outage, very many come and go
            self._unwritten.pop(connector, None)
        else:
            self._unwritten[connector] = None
        self._new.discard(connector)

    # -- how it is written

    def take(self, claimed: ConnectorRecord | None = None) -> Batch:
        """What is to be written next; :meth:`written` or :meth:`failed` says what has become of it.

        :param claimed: is to be written with it, and has become one of the records only when it was.
        """
        keys = list(self._unwritten)[:MAX_BATCH]
        for key in keys:
            del self._unwritten[key]
        records = {key: self._records[key] for key in keys if key in self._records}
        contested = {record.tunnel for key, record in records.items() if key in self._new and record.filters}
        gone = [key for key in keys if key not in records]
        if claimed is not None:
            records[claimed.id] = claimed
            contested.add(claimed.tunnel)
            gone = [key for key in gone if key != claimed.id]
        self._batch = Batch(
            before=self.number,
            server_record=self.server.encode() if self._server_unwritten else b"",
            written={key: record.encode() for key, record in records.items()},
            gone=tuple(gone),
            contested=frozenset(contested),
        )
        self._claimed = claimed
        self._server_unwritten = False
        return self._batch

    def written(self) -> None:
        """The batch was written."""
        batch, self._batch = self._batch, None
        assert batch is not None
        self.number = batch.number
        self._new.difference_update(batch.written)
        if self._claimed is not None:
            self._records[self._claimed.id] = self._claimed

    def failed(self) -> None:
        """The batch was not written, or nobody knows whether it was; what was claimed is taken back."""
        batch, self._batch = self._batch, None
        assert batch is not None
        self._unwritten = dict.fromkeys((*batch.written, *batch.gone)) | self._unwritten
        # one that was published again while its removal was written: others may know it still
        self._new.difference_update(batch.gone)
        self._server_unwritten = self._server_unwritten or bool(batch.server_record)

    def pages(self) -> Iterator[dict[UUID, bytes]]:
        """All records, some at a time, to be written anew; what changes meanwhile is written afterwards."""
        self._unwritten.clear()
        self._new.clear()
        self._server_unwritten = False
        keys = list(self._records)
        for start in range(0, len(keys), MAX_BATCH):
            records = {key: self._records[key] for key in keys[start : start + MAX_BATCH] if key in self._records}
            if records:
                yield {key: record.encode() for key, record in records.items()}

    def rewritten(self) -> None:
        """All was written anew."""
        self.number += 1
        self.anew = False
