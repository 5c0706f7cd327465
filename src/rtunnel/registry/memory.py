"""A shared registry within one process: no Redis, nothing to wait for.

It is what the processes of one server share (``--workers``), each over a connection (:mod:`rtunnel.registry.served`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import count
from typing import Final, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from rtunnel.metrics.stats import RegistryStats, RegistryStatus
from rtunnel.registry.interfaces import RegistryObserver, RegistryUnavailable
from rtunnel.registry.records import ConnectorRecord, ServerRecord

__all__ = ["MemoryHub", "MemoryRegistry"]

MAX_COUNTS: Final = 65536
"""Tunnels of which it is kept whether something was agreed on."""

T = TypeVar("T")


class MemoryHub:
    """What the servers share; each gets a :class:`MemoryRegistry` of it. Records pass as bytes, as they would through Redis."""

    def __init__(self) -> None:
        self.members: dict[UUID, MemoryRegistry] = {}
        """Those that are started, and not lost."""
        self._counts: dict[UUID, int] = {}
        self._numbers = count(1)

    def count(self, tunnel: UUID) -> int:
        """Another number whenever something was written for a tunnel that others may have to agree with."""
        return self._counts.get(tunnel, 0)

    def contested(self, tunnel: UUID) -> None:
        """Whoever decides about a tunnel has to decide again."""
        self._counts.pop(tunnel, None)
        self._counts[tunnel] = next(self._numbers)
        if len(self._counts) > MAX_COUNTS:
            # the oldest one: who decides there just now decides again
            del self._counts[next(iter(self._counts))]

    def registry(self) -> MemoryRegistry:
        """A registry for one more server."""
        return MemoryRegistry(self)

    def others(self, server: UUID) -> Iterator[MemoryRegistry]:
        """All but one."""
        return (member for key, member in list(self.members.items()) if key != server)


class MemoryRegistry:
    """See :class:`~rtunnel.registry.interfaces.SharedRegistry`. Others hear of each change at once.

    :param hub: what it shares with others.
    """

    _server: ServerRecord
    _observer: RegistryObserver

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._own: dict[UUID, ConnectorRecord] = {}
        self.stats = RegistryStats()
        self.available = False
        self.complete = False

    # -- begin and end

    def start(self, server: ServerRecord, observer: RegistryObserver) -> None:
        """Begin; the others are reported at once."""
        self._server = ServerRecord.decode(server.encode())
        self._observer = observer
        self.available = self.complete = True
        for other in self._hub.others(server.id):
            observer.server_up(other._server)
            for record in other._own.values():
                observer.connector_up(record)
            other._observer.server_up(self._server)
        self._hub.members[server.id] = self

    def stop(self) -> Deferred[None]:
        """End; the others forget the server at once."""
        self.lose()
        return succeed(None)

    def lose(self) -> None:
        """End without a word, as a server that was killed, once the others have noticed."""
        if self._hub.members.pop(self._server.id, None) is None:
            return
        self.available = False
        for other in self._hub.others(self._server.id):
            for record in self._own.values():
                other._observer.connector_gone(record)
            other._observer.server_gone(self._server.id)

    def cut(self, available: bool) -> None:
        """The registry cannot be reached any more, or can again: nothing can be agreed on."""
        self.available = available
        self._observer.availability(available)

    # -- records of this server

    def announce(self, server: ServerRecord) -> None:
        """See the interface."""
        self._server = ServerRecord.decode(server.encode())
        for other in self._hub.others(server.id):
            other._observer.server_changed(self._server)

    def publish(self, record: ConnectorRecord) -> None:
        """See the interface."""
        record = ConnectorRecord.decode(record.encode())
        former, self._own[record.id] = self._own.get(record.id), record
        if record == former:
            return
        if former is None and record.filters:
            self._hub.contested(record.tunnel)
        for other in self._hub.others(self._server.id):
            if former is None:
                other._observer.connector_up(record)
            else:
                other._observer.connector_changed(record, former)

    def withdraw(self, connector: UUID) -> None:
        """See the interface."""
        record = self._own.pop(connector, None)
        if record is not None:
            for other in self._hub.others(self._server.id):
                other._observer.connector_gone(record)

    def claim(self, record: ConnectorRecord, decide: Callable[[Iterable[ConnectorRecord]], T]) -> Deferred[T]:
        """See the interface."""
        if not self.available:
            return fail(RegistryUnavailable("it was cut off"))
        decided = maybeDeferred(decide, list(self.records(record.tunnel)))

        def agreed(result: T) -> T:
            self.publish(record)
            return result

        return decided.addCallback(agreed)

    # -- records of others

    def records(self, tunnel: UUID) -> Collection[ConnectorRecord]:
        """See the interface."""
        others = self._hub.others(self._server.id)
        return [record for other in others for record in other._own.values() if record.tunnel == tunnel]

    @property
    def tunnels(self) -> Iterable[UUID]:
        """See the interface."""
        return {record.tunnel for other in self._hub.others(self._server.id) for record in other._own.values()}

    @property
    def servers(self) -> Iterable[ServerRecord]:
        """See the interface."""
        return [other._server for other in self._hub.others(self._server.id)]

    def server(self, server: UUID) -> ServerRecord | None:
        """See the interface."""
        member = self._hub.members.get(server)
        return None if member is None or member is self else member._server

    def tell(self, server: UUID, message: bytes) -> None:
        """See the interface."""
        member = self._hub.members.get(server)
        if member is not None and self.available:
            member._observer.told(self._server.id, message)

    def status(self) -> RegistryStatus:
        """See the interface."""
        others = list(self._hub.others(self._server.id))
        return RegistryStatus(
            address="memory",
            available=self.available,
            complete=self.complete,
            servers=len(others),
            connectors=sum(not record.held for other in others for record in other._own.values()),
            published=len(self._own),
            reason="" if self.available else "it was cut off",
        )
