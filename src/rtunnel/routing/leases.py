"""Leases: the right of a client to its connector, with a holder, a reason and perhaps an end.

A lease begins when a connector's client says who it is, and ends when its time is over, when no request has come for a while, when
its holder or somebody else ends it, or when its client leaves. When only the link is lost, the lease is *held* for a while: its
filters stay taken, and the same client resumes it, with the same end.

Time is counted by :meth:`Leases.advance`, not read from a clock: a machine that slept, or whose clock was set, was not waiting for
anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, StrEnum, auto
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import attrs

from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.intercepts import Conflict, find_conflict
from rtunnel.routing.tunnels import Connector

__all__ = ["Due", "Former", "Lease", "LeaseEnd", "LeaseTerms", "Leases"]

WARNING: Final = 0.1
"""How much of the time is left when the client is warned."""

P = TypeVar("P")


class LeaseEnd(StrEnum):
    """Why a lease ended."""

    EXPIRED = "expired"
    """Its time was over."""
    IDLE = "idle"
    """No request came for the idle limit."""
    RELEASED = "released"
    """Its holder ended it."""
    REVOKED = "revoked"
    """An administrator ended it."""
    TAKEN = "taken"
    """Somebody else asked for it, and it was not used; or took it while its link was lost."""
    LEFT = "left"
    """Its client left."""
    LOST = "lost"
    """Its client did not come back in time after its link was lost."""
    FORBIDDEN = "forbidden"
    """The rules, users or permissions no longer allow it."""


class LeaseTerms(Protocol):
    """What the listener grants."""

    @property
    def longest(self) -> float:
        """Seconds after which a lease ends at the latest; 0 for no end."""

    @property
    def idle(self) -> float:
        """Seconds without a request after which it ends; 0 for no such limit."""

    @property
    def hold(self) -> float:
        """Seconds for which it is held when its link is lost."""

    @property
    def held(self) -> int:
        """How many leases of a tunnel are held at once."""


class Due(Enum):
    """What has become due of a lease."""

    EXPIRES = auto()
    """It ends soon."""
    IDLES = auto()
    """It ends soon, unless it is used."""
    EXPIRED = auto()
    IDLE = auto()
    WISHED = auto()
    """It was asked for and has not been used since."""
    USED = auto()
    """It was asked for and is used."""
    LOST = auto()
    """It was held long enough."""


@attrs.define(eq=False, kw_only=True)
class Lease(Generic[P]):
    """A lease. All times are those of :attr:`Leases.now`.

    :ivar id: its own.
    :ivar tunnel: the tunnel that it is on.
    :ivar connector: of its client; None while it is held.
    :ivar user: the authenticated user, if any.
    :ivar holder: whose it is: the user, or the name.
    :ivar instance: what its client calls itself on each of its links.
    :ivar what: the filters as text, else the weight.
    :ivar length: the seconds of its whole time, 0 without an end.
    :ivar until: when it ends, None without an end.
    :ivar used: when its last request came, or was in progress; None without one.
    :ivar active: the same, or when it began or was resumed.
    :ivar wished_by: who asks for it, ``""`` for nobody; they get it at :attr:`wish_until`.
    """

    id: str
    tunnel: UUID
    connector: Connector[P] | None
    user: str
    holder: str
    name: str
    reason: str
    instance: bytes
    filters: tuple[InterceptFilter, ...]
    what: str
    terms: LeaseTerms
    since: float
    length: float = 0.0
    until: float | None = None
    used: float | None = None
    active: float = 0.0
    held_until: float = 0.0
    wished_by: str = ""
    wish_until: float = 0.0
    requests: int = 0
    warned: bool = False
    idle_warned: bool = False


@attrs.frozen
class Former:
    """A lease that a client has, or had, at another server.

    :ivar age: seconds since it began.
    :ivar length: the seconds of its whole time, 0 without an end.
    :ivar left: seconds until it ends, None without an end.
    """

    id: str
    age: float
    length: float
    left: float | None


class Leases(Generic[P]):
    """All leases of a server.

    :param new_id: makes the ID of a lease.
    :param busy: whether a connector has requests in progress.
    """

    def __init__(self, new_id: Callable[[], str], busy: Callable[[Connector[P]], bool]) -> None:
        self.now = 0.0
        """Seconds that were counted so far."""
        self._new_id = new_id
        self._busy = busy
        self._leases: dict[Lease[P], None] = {}
        self._of: dict[Connector[P], Lease[P]] = {}
        self._by_client: dict[tuple[UUID, str, bytes], Lease[P]] = {}
        self._held: dict[UUID, dict[Lease[P], None]] = {}
        """Those whose link is lost by tunnel, the longest held first."""

    def __iter__(self) -> Iterator[Lease[P]]:
        return iter(list(self._leases))

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, lease: object) -> bool:
        return lease in self._leases

    def of(self, connector: Connector[P]) -> Lease[P] | None:
        """The lease of a connector."""
        return self._of.get(connector)

    def of_client(self, tunnel: UUID, user: str, instance: bytes) -> Lease[P] | None:
        """The lease of a client that says who it is, whether its link is up or not."""
        return self._by_client.get((tunnel, user, instance))

    def left(self, lease: Lease[P]) -> float:
        """The seconds until a lease ends; 0 without an end."""
        return 0.0 if lease.until is None else max(lease.until - self.now, 0.0)

    # -- beginning and end

    def grant(
        self, connector: Connector[P], name: str, reason: str, wanted: float, terms: LeaseTerms, former: Former | None = None
    ) -> tuple[Lease[P], bool]:
        """Give a connector its lease: the one that its client had before, or a new one.

        :param wanted: the seconds that the client asks for; 0 for as many as it may have.
        :param former: the one that it has at another server: it goes on here.
        :returns: the lease, and whether it is the former one.
        """
        lease = self._by_client.get(_client(connector))
        resumed = lease is not None or former is not None
        if lease is None:
            length = _length(wanted, terms) if former is None else former.length
            left = (length or None) if former is None else former.left
            lease = Lease(
                id=self._new_id() if former is None else former.id,
                tunnel=connector.tunnel,
                connector=connector,
                user=connector.user,
                holder=connector.user or name or connector.peer,
                name=name,
                reason=reason,
                instance=connector.instance,
                filters=connector.filters,
                what=connector.what,
                terms=terms,
                since=self.now - (0.0 if former is None else former.age),
                length=length,
                until=None if left is None else self.now + left,
            )
            self._leases[lease] = None
            if lease.instance:
                self._by_client[_client(lease)] = lease
        elif lease.connector is not None:
            del self._of[lease.connector]
        self._forget_held(lease)
        self._of[connector] = lease
        lease.connector, lease.requests, lease.active, lease.idle_warned = connector, connector.requests, self.now, False
        return lease, resumed

    def _forget_held(self, lease: Lease[P]) -> None:
        held = self._held.get(lease.tunnel, {})
        held.pop(lease, None)
        if not held:
            self._held.pop(lease.tunnel, None)

    def hold(self, lease: Lease[P]) -> Lease[P] | None:
        """Keep a lease whose link is lost, without its connector.

        :returns: the one that has to end instead, where too many are held: this one if none is held at all.
        """
        if lease.connector is not None:
            del self._of[lease.connector]
            lease.connector = None
        return self._hold(lease, lease.terms.hold)

    def _hold(self, lease: Lease[P], seconds: float) -> Lease[P] | None:
        lease.held_until = self.now + seconds
        held = self._held.setdefault(lease.tunnel, {})
        held[lease] = None
        return next(iter(held)) if len(held) > lease.terms.held else None

    def keep(self, lease: Lease[P], seconds: float) -> Lease[P] | None:
        """Hold a lease of another server, which stops.

        :param lease: without a connector, of a client that says who it is and has none here.
        :param seconds: for how long.
        :returns: the one that has to end instead, as with :meth:`hold`.
        """
        self._leases[lease] = None
        self._by_client[_client(lease)] = lease
        return self._hold(lease, seconds)

    def end(self, lease: Lease[P]) -> Connector[P] | None:
        """End a lease; returns the connector that it has."""
        connector = lease.connector
        del self._leases[lease]
        self._by_client.pop(_client(lease), None)
        self._forget_held(lease)
        if connector is not None:
            del self._of[connector]
            lease.connector = None
        return connector

    # -- time

    def renew(self, lease: Lease[P], wanted: float) -> None:
        """Have a lease end later, never than its terms allow.

        :param wanted: seconds from now; 0 for as many as at its beginning.
        """
        lease.length = _length(wanted or lease.length, lease.terms)
        lease.until = self.now + lease.length if lease.length else None
        lease.warned = lease.idle_warned = False
        lease.active = self.now

    def used_elsewhere(self, lease: Lease[P], moment: float) -> None:
        """A lease was used at another server."""
        lease.used = moment if lease.used is None else max(lease.used, moment)
        lease.active = max(lease.active, moment)

    def wish(self, lease: Lease[P], by: str, seconds: float) -> None:
        """Somebody asks for a lease: it ends after some seconds, unless it is used."""
        lease.wished_by, lease.wish_until = by, self.now + seconds

    def advance(self, seconds: float) -> list[tuple[Lease[P], Due]]:
        """Count some seconds, and say what has become due in them."""
        self.now += seconds
        due = []
        for lease in self._leases:
            if lease.connector is not None and self._note_use(lease, lease.connector):
                due.append((lease, Due.USED))
            what = self._due(lease)
            if what is not None:
                due.append((lease, what))
        return due

    def _note_use(self, lease: Lease[P], connector: Connector[P]) -> bool:
        """Notice that a lease is used; returns whether that is the answer to a wish."""
        if connector.requests == lease.requests and not self._busy(connector):
            return False
        lease.requests = connector.requests
        lease.used = lease.active = self.now
        lease.idle_warned = False
        wished, lease.wished_by = bool(lease.wished_by), ""
        return wished

    def _due(self, lease: Lease[P]) -> Due | None:
        now, idle = self.now, lease.terms.idle
        if lease.until is not None and now >= lease.until:
            return Due.EXPIRED
        if lease.connector is None:
            return Due.LOST if now >= lease.held_until else None
        if lease.wished_by and now >= lease.wish_until:
            return Due.WISHED
        if idle and now - lease.active >= idle:
            return Due.IDLE
        if lease.until is not None and not lease.warned and lease.until - now <= lease.length * WARNING:
            lease.warned = True
            return Due.EXPIRES
        if idle and not lease.idle_warned and now - lease.active >= idle * (1 - WARNING):
            lease.idle_warned = True
            return Due.IDLES
        return None

    # -- conflicts

    def conflict(self, tunnel: UUID, filters: Iterable[InterceptFilter], holder: str) -> Conflict[Lease[P]] | None:
        """The first filter of a lease that is held for somebody else, which these would take requests from."""
        return find_conflict(self._held.get(tunnel, ()), filters, holder)


def _client(one: Lease[Any] | Connector[Any]) -> tuple[UUID, str, bytes]:
    """Whose a lease or connector is, on whatever link."""
    return one.tunnel, one.user, one.instance


def _length(wanted: float, terms: LeaseTerms) -> float:
    return min(wanted or terms.longest, terms.longest or wanted)
