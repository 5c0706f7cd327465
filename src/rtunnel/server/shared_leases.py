"""Leases as all servers know them: what others are told of those of this server, and what is known of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from time import time
from typing import Any, Final
from uuid import UUID, uuid4

import attrs
from attrs import frozen
from twisted.logger import Logger

from rtunnel.ids import short_id
from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.registry.records import ConnectorRecord, LeaseRecord
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.intercepts import Conflict, find_conflict
from rtunnel.routing.leases import Former, Lease, LeaseEnd, LeaseTerms
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.lease_calls import LeaseCalls
from rtunnel.server.lease_manager import LeaseManager, PoolLease
from rtunnel.server.share_news import MAX_TOLD
from rtunnel.server.upstream import UpstreamPool
from rtunnel.wire.control import Ended, Joined, Left

__all__ = ["RemoteInterceptor", "SharedLeases"]

MAX_KEPT: Final = 86400.0
"""Seconds for which a lease of another server is kept at most."""
ClientKey = tuple[str, bytes] | UUID

USE_INTERVAL: Final = 30.0
"""Seconds between two times that others are told when a lease was used last."""


@frozen(eq=False)
class RemoteInterceptor:
    """A connector of another server, or a lease that is held there, with the filters that it has.

    :ivar record: what is known of it.
    """

    record: ConnectorRecord
    filters: tuple[InterceptFilter, ...]

    @property
    def holder(self) -> str:
        """Whose it is."""
        return self.record.holder if self.record.lease is None else self.record.lease.holder or self.record.holder


class SharedLeases:
    """What a server shares of its leases; owned by the service.

    :param shared: the shared registry.
    :param manager: the leases of this server, which reports what happens to them.
    :param registry: the connectors.
    :param record_of: what others are told of a connector of this server.
    :param terms: those of the leases of a tunnel.
    :ivar own: the ID of this server.
    :ivar clock: returns seconds since the epoch, as in records.
    :ivar calls: asks the servers of other leases.
    """

    _log = Logger()

    def __init__(
        self,
        shared: SharedRegistry,
        own: UUID,
        *,
        manager: LeaseManager,
        registry: TunnelRegistry[UpstreamPool],
        record_of: Callable[[Connector[UpstreamPool]], ConnectorRecord],
        terms: Callable[[UUID], LeaseTerms],
        reactor: Any,
    ) -> None:
        self.shared = shared
        self.calls = LeaseCalls(shared, manager, self._keep, reactor)
        self.own = own
        self._manager = manager
        self._registry = registry
        self._record_of = record_of
        self._terms = terms
        self.clock: Callable[[], float] = time
        self._records: dict[PoolLease, LeaseRecord] = {}
        """What others know of the leases of this server."""
        self._held: dict[PoolLease, ConnectorRecord] = {}
        """The records of those that are held."""
        self._absent: dict[UUID, RemoteInterceptor] = {}
        """Those that are held at other servers."""
        self._waited = 0.0

    # -- leases of this server

    def lease_of(self, connector: Connector[UpstreamPool]) -> LeaseRecord | None:
        """What others are told of the lease of a connector."""
        lease = self._manager.leases.of(connector)
        return None if lease is None else self._records.get(lease)

    def changed(self, lease: PoolLease) -> None:
        """A lease has begun, or something else is true of it."""
        self._records[lease] = self._describe(lease)
        if lease.connector is not None:
            self._drop_held(lease)
            self._registry.changed(lease.connector)

    def held(self, lease: PoolLease, connector: Connector[UpstreamPool]) -> None:
        """The link of a lease is lost, and it is held, unless its client is attached elsewhere already."""
        elsewhere = self._elsewhere(lease.tunnel, lease.user, lease.instance)
        if any(not record.held for record in elsewhere):
            self._manager.gone_elsewhere(lease)
            return
        self._records[lease] = self._describe(lease)
        self._held[lease] = attrs.evolve(self._record_of(connector), lease=self._records[lease])
        self.shared.publish(self._held[lease])

    def ended(self, lease: PoolLease) -> None:
        """A lease is over."""
        self._records.pop(lease, None)
        self._drop_held(lease)

    def missed(self, lease: PoolLease, ended: Ended) -> None:
        """Its client may not have heard that it has ended, and come back to another server."""
        for server in self.shared.servers:
            self.calls.tell_end(server.id, lease, ended)

    def _drop_held(self, lease: PoolLease) -> None:
        record = self._held.pop(lease, None)
        if record is not None:
            self.shared.withdraw(record.id)

    def _describe(self, lease: PoolLease) -> LeaseRecord:
        leases, now = self._manager.leases, self.clock()
        return LeaseRecord(
            id=lease.id,
            holder=lease.holder,
            name=lease.name,
            reason=lease.reason,
            what=lease.what,
            since=now - (leases.now - lease.since),
            until=0.0 if lease.until is None else now + leases.left(lease),
            length=lease.length,
            used=0.0 if lease.used is None else now - (leases.now - lease.used),
            held_until=0.0 if lease.connector is not None else now + lease.held_until - leases.now,
        )

    def sweep(self, seconds: float) -> None:
        """Count the time: now and then, others are told which leases are used."""
        self._waited += seconds
        if self._waited < USE_INTERVAL:
            return
        self._waited = 0.0
        leases, now = self._manager.leases, self.clock()
        for lease in leases:
            known = self._records.get(lease)
            if lease.used is not None and known is not None and now - (leases.now - lease.used) > known.used + 1.0:
                self.changed(lease)

    # -- when a server stops

    def hand_over(self) -> None:
        """The server stops: another one keeps the leases of clients that are not attached elsewhere yet."""
        heir = min((server for server in self.shared.servers if not server.leaving), key=lambda server: server.id, default=None)
        if heir is None:
            return
        for lease in self._manager.leases:
            if not lease.instance or self._elsewhere(lease.tunnel, lease.user, lease.instance):
                continue
            known = self._held.get(lease) if lease.connector is None else self._record_of(lease.connector)
            if known is not None:
                described = self._describe(lease)
                held_until = described.held_until or self.clock() + lease.terms.hold
                kept = attrs.evolve(known, id=uuid4(), lease=attrs.evolve(described, held_until=held_until))
                self.calls.hand_over(heir.id, kept)

    def _keep(self, record: ConnectorRecord) -> None:
        """Another server stops: keep a lease of it, unless its client is here or elsewhere meanwhile."""
        known, now, leases = record.lease, self.clock(), self._manager.leases
        here = leases.of_client(record.tunnel, record.user, record.instance)
        others = (other for other in self._elsewhere(record.tunnel, record.user, record.instance) if not self._leaves(other))
        if known is None or not record.instance or known.held_until <= now or here is not None or any(others):
            return
        filters = tuple(map(_parse, record.filters))
        lease: PoolLease = Lease(
            id=known.id,
            tunnel=record.tunnel,
            connector=None,
            user=record.user,
            holder=known.holder,
            name=known.name,
            reason=known.reason,
            instance=record.instance,
            filters=filters,
            what=known.what,
            terms=self._terms(record.tunnel),
            since=leases.now - max(now - known.since, 0.0),
            length=known.length,
            until=leases.now + self.left(known) if known.until else None,
        )
        if self._manager.keep(lease, min(known.held_until - now, MAX_KEPT)):
            self._records[lease] = self._describe(lease)
            self._held[lease] = attrs.evolve(record, server=self.own, lease=self._records[lease])
            self.shared.publish(self._held[lease])

    def _leaves(self, record: ConnectorRecord) -> bool:
        """Whether the server of a record is about to stop."""
        server = self.shared.server(record.server)
        return server is not None and server.leaving

    # -- of others

    def former(self, connector: Connector[UpstreamPool]) -> Former | None:
        """The lease that the client of a connector has, or had, at another server."""
        leases = (record.lease for record in self._elsewhere(connector.tunnel, connector.user, connector.instance))
        found = min((lease for lease in leases if lease is not None), key=lambda lease: lease.since, default=None)
        if found is None:
            return None
        now = self.clock()
        left = found.until - now if found.until else None
        return Former(id=found.id, age=max(now - found.since, 0.0), length=found.length, left=left)

    def _elsewhere(self, tunnel: UUID, user: str, instance: bytes) -> list[ConnectorRecord]:
        """The records of a client at other servers."""
        if not instance:
            return []
        return [record for record in self.shared.records(tunnel) if (record.user, record.instance) == (user, instance)]

    def others(self, lease: PoolLease) -> list[Joined]:
        """What the client of a lease is told of those at other servers; nothing of many."""
        there: dict[ClientKey, Joined] = {}
        records = self.shared.records(lease.tunnel)
        for record in records if len(records) <= MAX_TOLD else ():
            other = _live(record)
            if other is not None and not self._is_here(record):
                there[_client(record)] = Joined(other.name, other.what, other.reason)
        return list(there.values())

    def _is_here(self, record: ConnectorRecord) -> bool:
        """Whether its client is attached to this server, too."""
        mine = self._manager.leases.of_client(record.tunnel, record.user, record.instance) if record.instance else None
        return mine is not None and mine.connector is not None

    def _mention(self, record: ConnectorRecord, former: ConnectorRecord | None, *, gone: bool = False) -> None:
        """Tell the clients of this server who has joined another one, or has left; not in a crowd."""
        if not self._manager.tells(record.tunnel) or len(self.shared.records(record.tunnel)) > MAX_TOLD:
            return
        before, after = _live(former), None if gone else _live(record)
        if (before is None) is (after is None) or self._is_here(record):
            return
        lease = after or before
        twins = (
            other for other in self.shared.records(record.tunnel) if other.id != record.id and _client(other) == _client(record)
        )
        if lease is None or any(_live(twin) is not None for twin in twins):
            return
        if after is not None:
            self._manager.mention(record.tunnel, Joined(lease.name, lease.what, lease.reason, new=True))
        else:
            # what has ended it is known at its server only
            self._manager.mention(record.tunnel, Left(lease.name, lease.what, "" if record.held else LeaseEnd.LEFT))

    def heard(self, record: ConnectorRecord, former: ConnectorRecord | None = None) -> None:
        """A record of another server is new, or has changed."""
        self._mention(record, former)
        self._note_absence(record)
        if record.lease is None:
            return
        leases = self._manager.leases
        mine = leases.of_client(record.tunnel, record.user, record.instance) if record.instance else None
        if mine is None:
            return
        if mine.connector is None and not record.held:
            self._manager.gone_elsewhere(mine)
        elif record.lease.used and mine.id == record.lease.id:
            used = leases.now - max(self.clock() - record.lease.used, 0.0)
            leases.used_elsewhere(mine, used)

    def heard_end(self, record: ConnectorRecord) -> None:
        """A record of another server is gone."""
        self._mention(record, record, gone=True)
        self._end_absence(record)

    def _end_absence(self, record: ConnectorRecord) -> None:
        absent = self._absent.pop(record.id, None)
        if absent is not None:
            self._registry.no_longer_gone(record.tunnel, absent)

    def _note_absence(self, record: ConnectorRecord) -> None:
        """Requests of those whose link is lost at another server may be kept from others here, too."""
        self._end_absence(record)
        if record.held and record.filters:
            for absent in self._interceptors((record,)):
                self._absent[record.id] = absent
                self._registry.gone(record.tunnel, absent)

    def _interceptors(self, records: Iterable[ConnectorRecord]) -> Iterator[RemoteInterceptor]:
        for record in records:
            if record.filters:
                try:
                    yield RemoteInterceptor(record, tuple(map(_parse, record.filters)))
                except ValueError as error:
                    self._log.warn(
                        "a filter of connector {connector} of server {server} is not understood: {reason}",
                        connector=short_id(record.id),
                        server=short_id(record.server),
                        reason=str(error),
                    )

    # -- agreements

    def conflict(
        self, records: Iterable[ConnectorRecord], filters: Iterable[InterceptFilter], holder: str
    ) -> Conflict[RemoteInterceptor] | None:
        """The first filter of another holder at another server, from whom these would take requests."""
        return find_conflict(self._interceptors(records), filters, holder)

    def left(self, lease: LeaseRecord) -> float:
        """The seconds until a lease of another server ends; 0 without an end."""
        return max(lease.until - self.clock(), 0.0) if lease.until else 0.0


def _live(record: ConnectorRecord | None) -> LeaseRecord | None:
    """The lease of a connector whose link is up."""
    return None if record is None or record.held else record.lease


def _client(record: ConnectorRecord) -> ClientKey:
    """Whose a record is: that of a client, at whatever server, or of one that does not say who it is."""
    return (record.user, record.instance) if record.instance else record.id


@lru_cache(10_000)
def _parse(text: str) -> InterceptFilter:
    return InterceptFilter.parse(text)
