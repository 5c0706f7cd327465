"""All leases as callers see and change them, whichever server their clients are attached to."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed

from rtunnel.registry.records import ConnectorRecord, LeaseRecord
from rtunnel.routing.leases import LeaseEnd
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.lease_calls import CallFailed
from rtunnel.server.lease_manager import LeaseManager, PoolLease
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.server.upstream import UpstreamPool

__all__ = ["KnownLease", "LeaseBook", "Unleased"]


@frozen
class KnownLease:
    """A lease at this server or another one.

    :ivar age: seconds since it began.
    :ivar left: seconds until it ends; 0 without an end.
    :ivar used: seconds since its last request; negative without one.
    :ivar held: whether its link is lost.
    :ivar filtered: whether it is for some requests only.
    :ivar instance: what its client calls itself on each of its links, if it does.
    :ivar own: the lease, if it is one of this server.
    :ivar server: else the server that its client is attached to.
    """

    id: str
    tunnel: UUID
    user: str
    holder: str
    name: str
    reason: str
    what: str
    age: float
    left: float
    used: float
    held: bool
    filtered: bool
    instance: bytes = b""
    own: PoolLease | None = None
    server: UUID | None = None

    @property
    def client(self) -> object:
        """Whose it is, at whatever server."""
        return (self.tunnel, self.user, self.instance) if self.instance else self.id


@frozen
class Unleased:
    """A connector whose client takes no lease, such as gost's."""

    tunnel: UUID
    name: str
    holder: str
    what: str


class LeaseBook:
    """The leases of this server and, where these are shared, of all others.

    :param manager: those of this server.
    :param registry: its connectors.
    :ivar shared: those of others, if any.
    """

    def __init__(self, manager: LeaseManager, registry: TunnelRegistry[UpstreamPool], shared: SharedLeases | None) -> None:
        self.shared = shared
        self._manager = manager
        self._registry = registry

    # -- what there is

    def __iter__(self) -> Iterator[KnownLease]:
        """Those of this server first; a client that is attached to several servers has one at each of them."""
        yield from map(self._of_own, self._manager.leases)
        if self.shared is not None:
            for tunnel in self.shared.shared.tunnels:
                yield from self._of_others(tunnel)

    def of_tunnel(self, tunnel: UUID) -> list[KnownLease]:
        """The leases of a tunnel, the oldest first; of a client that is attached to several servers, one."""
        once: dict[object, KnownLease] = {}
        for lease in self._all_of(tunnel):
            if lease.client not in once or (once[lease.client].held and not lease.held):
                once[lease.client] = lease
        return sorted(once.values(), key=lambda lease: lease.age, reverse=True)

    def _all_of(self, tunnel: UUID) -> Iterator[KnownLease]:
        yield from (self._of_own(lease) for lease in self._manager.leases if lease.tunnel == tunnel)
        yield from self._of_others(tunnel)

    def unleased(self, tunnel: UUID) -> Iterator[Unleased]:
        """The connectors of a tunnel that have no lease."""
        joined = self._registry.get(tunnel)
        for connector in () if joined is None else joined.connectors:
            if not connector.pool.is_remote and self._manager.leases.of(connector) is None:
                yield _unleased(connector)
        for record in () if self.shared is None else self.shared.shared.records(tunnel):
            if record.lease is None:
                what = " or ".join(record.filters) or f"weight {record.weight}"
                yield Unleased(record.tunnel, record.name, record.user or record.name, what)

    @property
    def tunnels(self) -> set[UUID]:
        """Those that have a connector or a lease."""
        tunnels = {tunnel.id for tunnel in self._registry.tunnels} | {lease.tunnel for lease in self._manager.leases}
        return tunnels if self.shared is None else tunnels | set(self.shared.shared.tunnels)

    @property
    def outdated(self) -> bool:
        """Whether the leases of others may have changed without this server knowing."""
        return self.shared is not None and not self.shared.shared.available

    def _of_others(self, tunnel: UUID) -> Iterator[KnownLease]:
        if self.shared is not None:
            for record in self.shared.shared.records(tunnel):
                if record.lease is not None:
                    yield self._of_other(record, record.lease, self.shared)

    def _of_own(self, lease: PoolLease) -> KnownLease:
        leases = self._manager.leases
        return KnownLease(
            id=lease.id,
            tunnel=lease.tunnel,
            user=lease.user,
            holder=lease.holder,
            name=lease.name,
            reason=lease.reason,
            what=lease.what,
            age=leases.now - lease.since,
            left=leases.left(lease),
            used=-1.0 if lease.used is None else leases.now - lease.used,
            held=lease.connector is None,
            filtered=bool(lease.filters),
            instance=lease.instance,
            own=lease,
        )

    def _of_other(self, record: ConnectorRecord, lease: LeaseRecord, shared: SharedLeases) -> KnownLease:
        now = shared.clock()
        return KnownLease(
            id=lease.id,
            tunnel=record.tunnel,
            user=record.user,
            holder=lease.holder,
            name=lease.name,
            reason=lease.reason,
            what=lease.what,
            age=max(now - lease.since, 0.0),
            left=shared.left(lease),
            used=max(now - lease.used, 0.0) if lease.used else -1.0,
            held=record.held,
            filtered=bool(record.filters),
            instance=record.instance,
            server=record.server,
        )

    # -- what is done with them

    def twins(self, lease: KnownLease) -> list[KnownLease]:
        """What the client of a lease has at all servers, with this one."""
        return [other for other in self._all_of(lease.tunnel) if other.client == lease.client]

    def end(self, lease: KnownLease, cause: LeaseEnd, by: str, text: str = "") -> Deferred[None]:
        """End a lease; fails with :exc:`~rtunnel.server.lease_calls.CallFailed`."""
        if lease.own is not None:
            if lease.own in self._manager.leases:
                self._manager.end(lease.own, cause, by, text)
            return succeed(None)
        shared, server = self._elsewhere(lease)
        return shared.calls.end(server, lease.id, cause, by, text)

    def renew(self, lease: KnownLease, wanted: float) -> Deferred[float]:
        """Have a lease end later; fires with the seconds until then."""
        if lease.own is not None:
            return succeed(self._manager.renew(lease.own, wanted))
        shared, server = self._elsewhere(lease)
        return shared.calls.renew(server, lease.id, wanted)

    def ask(self, lease: KnownLease, by: str, text: str) -> Deferred[LeaseEnd | None]:
        """Ask the holder to give a lease up; fires with its end, or None when it is used. Cancel it when the caller is gone."""
        own = lease.own
        if own is None:
            shared, server = self._elsewhere(lease)
            return shared.calls.ask(server, lease.id, by, text)
        answered: Deferred[LeaseEnd | None] = Deferred(lambda _: self._manager.forget(own))
        if not self._manager.ask(own, by, text, answered.callback):
            return fail(CallFailed(f"somebody else has asked {lease.name} already; try again in a minute"))
        return answered

    def _elsewhere(self, lease: KnownLease) -> tuple[SharedLeases, UUID]:
        assert self.shared is not None and lease.server is not None, "it is one of this server"
        return self.shared, lease.server


def _unleased(connector: Connector[UpstreamPool]) -> Unleased:
    what = " or ".join(map(str, connector.filters)) or f"weight {connector.weight}"
    return Unleased(connector.tunnel, connector.name, connector.user or connector.name, what)
