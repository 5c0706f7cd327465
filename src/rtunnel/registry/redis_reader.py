"""Reads from Redis what the copy lacks, one server after the other and page by page, so that the reactor has time between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.metrics.stats import RegistryStats
from rtunnel.registry.records import ConnectorRecord, RecordError, ServerRecord
from rtunnel.registry.redis_client import Client
from rtunnel.registry.redis_threads import CommandThread
from rtunnel.registry.scripts import FIELD_NUMBER, FIELD_SERVER, Keys
from rtunnel.registry.view import View

__all__ = ["RedisReader"]

PAGE = 250
"""Records that are read at once: more would keep the reactor busy."""

R = TypeVar("R", ServerRecord, ConnectorRecord)


class RedisReader:
    """Reads for a view; owned by the registry.

    :param view: what is read for.
    :param on_over: called when it has nothing to read any more, for now.
    :param on_failed: called with the error when Redis does not answer.
    :ivar active: whether it may read: not before it is known which servers there are.
    """

    _log = Logger()

    def __init__(
        self,
        view: View,
        commands: CommandThread,
        keys: Keys,
        stats: RegistryStats,
        *,
        on_over: Callable[[], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._view = view
        self._commands = commands
        self._keys = keys
        self._stats = stats
        self._on_over = on_over
        self._on_failed = on_failed
        self.active = False
        self._reading = False
        self._absent: set[UUID] = set()
        """Servers of which there was nothing to read."""
        self._waiting: list[Deferred[None]] = []

    @property
    def missing(self) -> bool:
        """Whether something of others is not known that is in Redis, or will be."""
        return any(server not in self._absent or self._view.server(server) is not None for server in self._view.missing)

    def whole(self) -> Deferred[None]:
        """Fire when nothing is missing."""
        if self.active and not self.missing:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def written(self, server: UUID) -> None:
        """A server has written something: now there is something to read of it."""
        self._absent.discard(server)

    def look_again(self) -> None:
        """Some time has passed: those of which there was nothing may have written."""
        self._absent.clear()
        self.read()

    def read(self) -> None:
        """Read what is missing, unless that is being done."""
        if self._reading or not self.active:
            return
        if not self._view.unread:
            self._over()
            return
        self._reading = True

        def over(_: object) -> None:
            self._reading = False
            self._over()

        Deferred.fromCoroutine(self._read_all()).addErrback(self._failed).addBoth(over)

    def _failed(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        self._on_failed(failure.value)

    def _over(self) -> None:
        if self._waiting and self.active and not self.missing:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
        self._on_over()

    async def _read_all(self) -> None:
        while self.active:
            server = next((server for server in self._view.unread if server not in self._absent), None)
            if server is None:
                return
            await self._read(server)

    async def _read(self, server: UUID) -> None:
        """Read the records of one server."""
        key = self._keys.server(server)
        number, described = await self._commands.run(lambda client: _header(client, key))
        record = None if described is None else self._decode(ServerRecord, described)
        if record is None or number is None or not number.isdigit():
            self._absent.add(server)
            self._view.absent(server)
            return
        reading = self._view.read(server, int(number), record)
        cursor = 0
        while reading is not None and not reading.void:
            cursor, fields = await self._commands.run(partial(_page, key=key, cursor=cursor))
            values = [value for field, value in fields.items() if field not in (FIELD_NUMBER, FIELD_SERVER)]
            records = [found for value in values if (found := self._decode(ConnectorRecord, value)) is not None]
            self._stats.read += len(records)
            reading.page(found for found in records if found.server == server)
            if not cursor:
                reading.over()
                return

    def _decode(self, kind: type[R], data: bytes) -> R | None:
        try:
            return kind.decode(data)
        except RecordError as error:
            self._stats.malformed += 1
            self._log.warn("shared registry: a record cannot be read: {error}", error=str(error))
            return None


def _header(client: Client, key: str) -> tuple[bytes | None, bytes | None]:
    number, record = client.hmget(key, [FIELD_NUMBER, FIELD_SERVER])
    return number, record  # type: ignore[return-value]


def _page(client: Client, key: str, cursor: int) -> tuple[int, dict[bytes, bytes]]:
    answer: Any = client.hscan(key, cursor, count=PAGE)
    following, fields = answer
    return following, fields
