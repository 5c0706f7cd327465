"""Tunnels, their connectors, and the weighted choice of a connector.

Each choice is independent and random, unless visitors are to stay where they are (:mod:`rtunnel.routing.sticky`): a connector of
weight 3 is chosen three times as often as one of weight 1. The weight 255 is
exclusive: as long as a connector with it is attached, those with smaller weights are not chosen; several exclusive connectors share
evenly (the same rule as in go-gost/x ``handler/tunnel/tunnel.go``). A connector that the caller excludes, because it has just
failed, counts as absent: when all exclusive ones are excluded, the others are chosen.

A connector with intercept filters is chosen for requests that match one of them, before all others, and for nothing else
(:mod:`rtunnel.routing.intercepts`).

A connector accepts either byte streams or datagram streams (UDP), and is chosen only for its own kind. A gost with a single
connector sends both to it (``handler/tunnel/tunnel.go``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import IntEnum
from itertools import accumulate, chain, islice
from random import random as random_number
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import attrs

from rtunnel.ids import short_id
from rtunnel.routing.failing import FailingHosts
from rtunnel.routing.intercept_terms import FilterRank, InterceptFilter
from rtunnel.routing.intercepts import Conflict, Drawable, Interceptor, Intercepts
from rtunnel.routing.pods import PodOffer
from rtunnel.routing.request_properties import HttpQuery
from rtunnel.routing.sticky import KeyOf, rendezvous

__all__ = ["EXCLUSIVE_WEIGHT", "Connector", "Rank", "RegistryWatcher", "Tunnel", "TunnelRegistry"]

EXCLUSIVE_WEIGHT: Final = 255
"""While a connector of this weight is attached, those with smaller weights are not chosen."""

P = TypeVar("P")


class Rank(IntEnum):
    """The order in which connectors are tried: a later rank is used only when all connectors of earlier ranks are excluded."""

    EXCLUSIVE = 0
    SHARING = 1
    AVOIDED = 2
    """Whatever its weight: it is silent."""


def _check_weight(_connector: object, _attribute: attrs.Attribute[int], weight: int) -> None:
    if not 1 <= weight <= EXCLUSIVE_WEIGHT:
        raise ValueError(f"the weight {weight} of a connector is not from 1 to {EXCLUSIVE_WEIGHT}")


# without hooks on assignment: the counters are incremented with each request
@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class Connector(Generic[P]):
    """One client attached to a tunnel; created when its link is up, removed from the registry when the link is lost.

    Only the counters change, and what :mod:`rtunnel.server.health` finds out. Connectors are compared by identity.

    :param id: the connector's own ID, which its client knows.
    :param tunnel: the tunnel that it belongs to.
    :param weight: its share, 1 to 255.
    :param pool: what opens streams; opaque to this module.
    :param peer: address of the client, for logs.
    :param user: the authenticated user, if any.
    :param datagrams: whether it accepts datagram streams, and only those.
    :param name: what its client calls itself, for display.
    :param filters: what it intercepts; empty if it takes a share of all requests.
    :param pod: whether its client says that it is the one of the service itself.
    :param cacheable: whether its responses may be cached as its target says, if it has filters.
    :param since: when its link came up, in seconds since the epoch, for display.
    :ivar shown: its ID as it is shown, for what shows it with each request.
    :ivar tunnel_shown: the same of its tunnel.
    :ivar instance: what its client calls itself on each of its links, if it does.
    :ivar offer: what its client offers of its pod.
    :ivar avoided: whether it is chosen only when all others are excluded; see :meth:`TunnelRegistry.avoid`.
    :ivar failing: the hosts of which it does not reach the target; see :meth:`TunnelRegistry.failing_changed`.
    :ivar streams: streams opened so far; incremented by the caller that opens them.
    :ivar requests: requests and connections that ended so far; see :meth:`count`.
    :ivar outcomes: their outcomes, except those whose response was passed on completely.
    :raises ValueError: when the weight is out of bounds.
    """

    id: UUID
    tunnel: UUID
    weight: int = attrs.field(validator=_check_weight)
    pool: P
    peer: str = ""
    user: str = ""
    since: float = 0.0
    datagrams: bool = False
    name: str = ""
    filters: tuple[InterceptFilter, ...] = ()
    cacheable: bool = False
    pod: bool = False
    shown: str = attrs.field(init=False, repr=False)
    tunnel_shown: str = attrs.field(init=False, repr=False)
    instance: bytes = attrs.field(default=b"", init=False, repr=False)
    offer: PodOffer = attrs.field(default=PodOffer(), init=False)
    avoided: bool = attrs.field(default=False, init=False)
    failing: FailingHosts = attrs.field(factory=FailingHosts, init=False)
    streams: int = attrs.field(default=0, init=False)
    requests: int = attrs.field(default=0, init=False)
    outcomes: dict[str, int] = attrs.field(factory=dict, init=False)

    @shown.default
    def _make_shown(self) -> str:
        return short_id(self.id)

    @tunnel_shown.default
    def _make_tunnel_shown(self) -> str:
        return short_id(self.tunnel)

    @property
    def holder(self) -> str:
        """Who it belongs to: the authenticated user, or else whom it claims to be."""
        return self.user or self.name or self.peer

    @property
    def what(self) -> str:
        """What it gets: its filters, else its weight."""
        return " or ".join(map(str, self.filters)) or f"weight {self.weight}"

    @property
    def rank(self) -> Rank:
        """Its rank among the connectors of its tunnel."""
        if self.avoided:
            return Rank.AVOIDED
        return Rank.EXCLUSIVE if self.weight == EXCLUSIVE_WEIGHT else Rank.SHARING

    @property
    def identity(self) -> bytes:
        """What visitors that stay with it find it by: the same on each link of its client, if that says so."""
        return self.instance or self.id.bytes

    def count(self, outcome: str) -> None:
        """Count a request or connection that ended with another outcome than a complete response."""
        self.requests += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class _Group(Generic[P]):
    """Connectors of one rank, chosen by weight.

    The prefix sums of their weights are stored, so that a draw is a binary search; connector ``i`` owns the numbers from
    ``sums[i - 1]`` up to ``sums[i]``.
    """

    __slots__ = ("index", "members", "sums")

    def __init__(self) -> None:
        self.members: list[Connector[P]] = []
        self.sums: list[int] = []
        self.index: dict[Connector[P], int] = {}

    def add(self, connector: Connector[P]) -> None:
        self.index[connector] = len(self.members)
        self.members.append(connector)
        self.sums.append((self.sums[-1] if self.sums else 0) + connector.weight)

    def remove(self, connector: Connector[P]) -> None:
        del self.members[self.index[connector]]
        self.index = {member: position for position, member in enumerate(self.members)}
        self.sums = list(accumulate(member.weight for member in self.members))

    def draw(
        self, exclude: Collection[Connector[Any]] | None, random: Callable[[], float], key_of: KeyOf | None = None
    ) -> Connector[P] | None:
        """Draw one that is not excluded, None if there is none.

        :param key_of: finds the key of a visitor that stays with one of them.
        """
        members = self.members
        if exclude:
            return self._draw_without(exclude, random, key_of)
        if len(members) == 1:
            return members[0]
        if key_of is not None and (key := key_of()) is not None:
            return rendezvous(members, key)
        sums = self.sums
        return members[bisect_right(sums, int(random() * sums[-1]))]

    def _draw_without(
        self, exclude: Collection[Connector[Any]], random: Callable[[], float], key_of: KeyOf | None
    ) -> Connector[P] | None:
        """Draw while skipping the numbers of the excluded connectors."""
        index, members, sums = self.index, self.members, self.sums
        holes = sorted({index[connector] for connector in exclude if connector in index})
        if len(holes) == len(members):
            return None
        if key_of is not None and len(members) - len(holes) > 1 and (key := key_of()) is not None:
            return rendezvous([member for member in members if member not in exclude], key)
        number = int(random() * (sums[-1] - sum(members[hole].weight for hole in holes)))
        for hole in holes:
            weight = members[hole].weight
            if number < sums[hole] - weight:
                break
            number += weight
        return members[bisect_right(sums, number)]


class _Absent:
    """Those with one filter whose link is lost; none of them is drawn."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: list[Any] = []

    def add(self, connector: Any) -> None:
        self.members.append(connector)

    def draw(self, exclude: object, random: object, key_of: object) -> None:
        return None


class Tunnel(Generic[P]):
    """The connectors of one tunnel; owned by the registry while at least one is attached.

    :param tunnel_id: the tunnel's ID.
    :param absent: see :attr:`absent`.
    """

    __slots__ = (
        *("_absent", "_asking", "_by_instance", "_groups", "_intercepts", "_tiers", "changes", "failing", "filtered", "id", "only"),
        "rest",
    )

    def __init__(self, tunnel_id: UUID, absent: Intercepts[Any] | None = None) -> None:
        self.id = tunnel_id
        self._absent = absent
        self._groups: dict[tuple[bool, Rank], _Group[P]] = {}
        self._by_instance: dict[tuple[str, bytes], Connector[P]] = {}
        """Those that say who they are, by user and instance."""
        self._tiers: dict[bool, tuple[_Group[P], ...]] = {False: (), True: ()}
        """For byte streams (False) and datagram streams (True), the groups in order of rank; none of them is empty."""
        self.only: Connector[P] | None = None
        """The connector that gets every byte stream, if there is only one candidate, and all targets are reached."""
        self.rest: Connector[P] | None = None
        """The same for requests that no filter takes."""
        self._asking: tuple[Intercepts[Any], ...] = ()
        """Those that have filters."""
        self.failing: set[Connector[P]] = set()
        """The connectors that do not reach the target of some host."""
        self._intercepts: dict[bool, Intercepts[Connector[P]]] = {avoided: Intercepts(_Group) for avoided in (False, True)}
        """Those with filters; those that are avoided on their own."""
        self.filtered = False
        """Whether any has filters."""
        self.changes = 0
        """How often somebody has come, gone, or changed rank."""

    @property
    def absent(self) -> Intercepts[Any] | None:
        """The filters of those whose link is lost, as long as they are held; None if there are none."""
        return self._absent

    @absent.setter
    def absent(self, absent: Intercepts[Any] | None) -> None:
        self._absent = absent
        self._arrange()

    @property
    def connectors(self) -> tuple[Connector[P], ...]:
        """The attached connectors: those with filters first, those for datagrams last, the others by rank."""
        return (
            *self.intercepting,
            *(member for tier in self._tiers.values() for group in tier for member in group.members),
        )

    @property
    def intercepting(self) -> tuple[Connector[P], ...]:
        """Those with filters."""
        return tuple(connector for intercepts in self._intercepts.values() for connector in intercepts)

    def __len__(self) -> int:
        return sum(len(group.members) for group in self._groups.values()) + sum(map(len, self._intercepts.values()))

    def __contains__(self, connector: Connector[Any]) -> bool:
        if connector.filters:
            return connector in self._intercepts[connector.avoided]
        group = self._groups.get((connector.datagrams, connector.rank))
        return group is not None and connector in group.index

    def add(self, connector: Connector[P]) -> None:
        """Attach a connector that is not attached yet."""
        if connector.filters:
            intercepts = self._intercepts[connector.avoided]
            intercepts.add(connector)
            is_first = len(intercepts) == 1
        else:
            key = (connector.datagrams, connector.rank)
            group = self._groups.get(key)
            is_first = group is None
            if group is None:
                group = self._groups[key] = _Group()
            group.add(connector)
        if connector.failing:
            self.failing.add(connector)
        if connector.instance:
            self._by_instance.setdefault((connector.user, connector.instance), connector)
        if is_first:
            self._arrange()
        else:
            # the groups are the same: a server that starts adds very many
            self.changes += 1
            self._find_only()

    def remove(self, connector: Connector[P]) -> None:
        """Detach a connector that is attached."""
        if connector.filters:
            self._intercepts[connector.avoided].remove(connector)
        else:
            key = (connector.datagrams, connector.rank)
            group = self._groups[key]
            group.remove(connector)
            if not group.members:
                del self._groups[key]
        self.failing.discard(connector)
        if self._by_instance.get((connector.user, connector.instance)) is connector:
            del self._by_instance[connector.user, connector.instance]
        self._arrange()

    def announce(self, connector: Connector[P], instance: bytes) -> Connector[P] | None:
        """An attached connector says who it is.

        :returns: the one that said the same before it, on another link of the same client.
        """
        connector.instance = instance
        before = self._by_instance.get((connector.user, instance))
        self._by_instance[connector.user, instance] = connector
        return before

    def share(self, connector: Connector[P]) -> tuple[int, int]:
        """Which part of the requests an attached connector gets that no filter takes: so many of so many.

        :returns: 0 of 0 for one with filters.
        """
        if connector.filters:
            return 0, 0
        first = self._tiers[connector.datagrams][0]
        return connector.weight if connector in first.index else 0, first.sums[-1]

    def others(self, connector: Connector[P], most: int) -> tuple[list[Connector[P]], int]:
        """Who is there besides an attached connector and carries the same, in the order of :attr:`connectors`.

        :param most: of how many at most, so that it costs the same in a crowd.
        :returns: these, and how many there are in all.
        """
        intercepts = () if connector.datagrams else tuple(self._intercepts.values())
        groups = self._tiers[connector.datagrams]
        count = sum(map(len, intercepts)) + sum(len(group.members) for group in groups) - 1
        members = chain(*intercepts, *(group.members for group in groups))
        return list(islice((member for member in members if member is not connector), most)), count

    def failing_changed(self, connector: Connector[P]) -> None:
        """The first host of a connector fails, or none does any more."""
        (self.failing.add if connector.failing else self.failing.discard)(connector)
        self._find_only()

    def _arrange(self) -> None:
        self.changes += 1
        for datagrams in self._tiers:
            keys = sorted(key for key in self._groups if key[0] == datagrams)
            self._tiers[datagrams] = tuple(self._groups[key] for key in keys)
        absent = () if self._absent is None else (self._absent,)
        self._asking = tuple(intercepts for intercepts in (*self._intercepts.values(), *absent) if len(intercepts))
        self.filtered = bool(self._asking)
        self._find_only()

    def _find_only(self) -> None:
        first = self._tiers[False][:1]
        alone = first and len(first[0].members) == 1 and not self.failing
        self.rest = first[0].members[0] if alone else None
        self.only = None if self.filtered else self.rest

    def asks(self, request: HttpQuery) -> bool:
        """Whether a filter may match a request."""
        return any(intercepts.asks(request) for intercepts in self._asking)

    def choose(
        self,
        exclude: Collection[Connector[Any]] | None,
        random: Callable[[], float],
        *,
        datagrams: bool = False,
        request: HttpQuery | None = None,
        key_of: KeyOf | None = None,
        withhold: bool = False,
    ) -> Connector[P] | None:
        """Draw a connector.

        :param request: what filters are compared with; None for everything but HTTP.
        :param key_of: finds the key of a visitor that stays with one of those that share by weight.
        :param withhold: whether a request that a filter takes goes to those with this filter, or to nobody.
        :returns: one with a filter that matches; or one without filters by weight, from the first rank that is not completely
            excluded; or one with a filter that is avoided; None if there is none.
        """
        if withhold and request is not None and (groups := self._withheld(request)) is not None:
            drawn_ones = (group.draw(exclude, random, key_of) for _, group in groups)
            return next((drawn for drawn in drawn_ones if drawn is not None), None)
        if request is not None and (drawn := self._intercepts[False].choose(request, exclude, random, key_of)) is not None:
            return drawn
        for group in self._tiers[datagrams]:
            drawn = group.draw(exclude, random, key_of)
            if drawn is not None:
                return drawn
        return None if request is None else self._intercepts[True].choose(request, exclude, random, key_of)

    def turns(self, request: HttpQuery, *, withhold: bool = False) -> Iterator[tuple[InterceptFilter | None, list[Connector[P]]]]:
        """The connectors in the order of :meth:`choose`: each time those between which it draws, and their filter, if any."""
        if withhold and (groups := self._withheld(request)) is not None:
            yield from ((wanted, group.members) for wanted, group in groups)
            return
        for wanted, group in self._intercepts[False].matching(request):
            yield wanted, group.members
        for tier in self._tiers[False]:
            yield None, tier.members
        for wanted, group in self._intercepts[True].matching(request):
            yield wanted, group.members

    def _withheld(self, request: HttpQuery) -> list[tuple[InterceptFilter, Drawable[Connector[P]]]] | None:
        """The connectors with the best filter that matches, be it of somebody who is gone; None if no filter matches."""
        here = [turn for intercepts in self._intercepts.values() for turn in intercepts.matching(request)]
        best = max((wanted for wanted, _ in (*here, *self._away(request))), key=_rank_of, default=None)
        return None if best is None else [turn for turn in here if turn[0] == best]

    def _away(self, request: HttpQuery) -> Iterator[tuple[InterceptFilter, Drawable[Any]]]:
        return iter(()) if self._absent is None else self._absent.matching(request)

    def takes(self, request: HttpQuery, rank: FilterRank) -> bool:
        """Whether a connector has a filter that matches and is at least as specific."""
        found = (wanted for intercepts in self._intercepts.values() for wanted, _ in intercepts.matching(request))
        return any(wanted.rank >= rank for wanted in found)

    def conflict(self, filters: Iterable[InterceptFilter], holder: str) -> Conflict[Connector[P]] | None:
        """See :meth:`~rtunnel.routing.intercepts.Intercepts.conflict`."""
        filters = tuple(filters)
        found = (intercepts.conflict(filters, holder) for intercepts in self._intercepts.values())
        return next((conflict for conflict in found if conflict is not None), None)

    def overlaps(self, filters: Iterable[InterceptFilter], holder: str) -> list[Conflict[Connector[P]]]:
        """See :meth:`~rtunnel.routing.intercepts.Intercepts.overlaps`."""
        filters = tuple(filters)
        return [overlap for intercepts in self._intercepts.values() for overlap in intercepts.overlaps(filters, holder)]


def _rank_of(wanted: InterceptFilter) -> FilterRank:
    return wanted.rank


class RegistryWatcher(Protocol[P]):
    """Hears which connectors are attached; called after each change."""

    def attached(self, connector: Connector[P]) -> None:
        """A connector was attached."""

    def detached(self, connector: Connector[P]) -> None:
        """It was detached."""

    def changed(self, connector: Connector[P]) -> None:
        """Something else is true of one that is attached."""


class TunnelRegistry(Generic[P]):
    """All tunnels that have a connector. Iterating yields every connector.

    :param random: returns numbers in [0, 1).
    :ivar watcher: hears of each change; None for nobody.
    """

    __slots__ = ("_absent", "_random", "_tunnels", "by_number", "sessions", "watcher")

    def __init__(self, random: Callable[[], float] = random_number) -> None:
        self._random = random
        self._tunnels: dict[int, Tunnel[P]] = {}
        """The tunnels by the integer value of their ID: the hash of a UUID is computed in Python, that of an int in C."""
        self.by_number = self._tunnels
        """Those of which connectors are chosen: all, or none while it is suspended."""
        self._absent: dict[int, Intercepts[Any]] = {}
        """For each tunnel the filters of those whose link is lost, as long as they are held."""
        self.sessions: dict[int, frozenset[bytes]] = {}
        """For each tunnel whose connectors have sessions, their names."""
        self.watcher: RegistryWatcher[P] | None = None

    @property
    def suspended(self) -> bool:
        """Whether no connector is chosen at all, as if none were attached. That costs the choice nothing."""
        return self.by_number is not self._tunnels

    @suspended.setter
    def suspended(self, suspended: bool) -> None:
        self.by_number = {} if suspended else self._tunnels

    def add(self, connector: Connector[P]) -> None:
        """Attach a connector to its tunnel.

        :raises ValueError: if it is already attached.
        """
        tunnel = self._tunnels.get(connector.tunnel.int)
        if tunnel is None:
            tunnel = self._tunnels[connector.tunnel.int] = Tunnel(connector.tunnel, self._absent.get(connector.tunnel.int))
        elif connector in tunnel:
            raise ValueError(f"the connector {short_id(connector.id)} is already attached")
        tunnel.add(connector)
        self._note_sessions(tunnel, connector)
        if self.watcher is not None:
            self.watcher.attached(connector)

    def remove(self, connector: Connector[P]) -> bool:
        """Detach a connector; a tunnel without connectors is removed.

        :returns: whether it was attached.
        """
        tunnel = self._tunnels.get(connector.tunnel.int)
        if tunnel is None or connector not in tunnel:
            return False
        tunnel.remove(connector)
        self._note_sessions(tunnel, connector)
        if not len(tunnel):
            del self._tunnels[connector.tunnel.int]
        if self.watcher is not None:
            self.watcher.detached(connector)
        return True

    def changed(self, connector: Connector[P]) -> None:
        """Something else is true of a connector, such as who its client is."""
        tunnel = self._tunnels.get(connector.tunnel.int)
        if self.watcher is not None and tunnel is not None and connector in tunnel:
            self.watcher.changed(connector)

    def _note_sessions(self, tunnel: Tunnel[P], changed: Connector[P]) -> None:
        if changed.filters:
            filters = (wanted for connector in tunnel.intercepting for wanted in connector.filters)
            names = frozenset(filter(None, (wanted.session for wanted in filters)))
            if names:
                self.sessions[tunnel.id.int] = names
            else:
                self.sessions.pop(tunnel.id.int, None)

    def gone(self, tunnel_id: UUID, holder: Interceptor) -> None:
        """Note the filters of somebody whose link is lost: requests that they take may be kept from others."""
        absent = self._absent.setdefault(tunnel_id.int, Intercepts(_Absent))
        if holder not in absent:
            absent.add(holder)
        self._note_absent(tunnel_id, absent)

    def no_longer_gone(self, tunnel_id: UUID, holder: Interceptor) -> None:
        """They are back, or their filters are free."""
        absent = self._absent.get(tunnel_id.int)
        if absent is None or holder not in absent:
            return
        absent.remove(holder)
        if not len(absent):
            del self._absent[tunnel_id.int]
        self._note_absent(tunnel_id, absent if len(absent) else None)

    def _note_absent(self, tunnel_id: UUID, absent: Intercepts[Any] | None) -> None:
        tunnel = self._tunnels.get(tunnel_id.int)
        if tunnel is not None:
            tunnel.absent = absent

    def withheld_for(self, tunnel_id: UUID, request: HttpQuery) -> str | None:
        """Who is gone and takes a request, if no connector has a filter that is as specific; None if nobody is."""
        absent, tunnel = self._absent.get(tunnel_id.int), self._tunnels.get(tunnel_id.int)
        for wanted, group in () if absent is None else absent.matching(request):
            if tunnel is None or not tunnel.takes(request, wanted.rank):
                holder: str = group.members[0].holder
                return holder
            break
        return None

    def avoid(self, connector: Connector[P], avoided: bool) -> None:
        """Choose a connector only when no other one is left, or as its weight says again.

        :param avoided: whether it is to be avoided.
        """
        if connector.avoided == avoided:
            return
        tunnel = self._tunnels.get(connector.tunnel.int)
        if tunnel is None or connector not in tunnel:
            connector.avoided = avoided
            return
        tunnel.remove(connector)
        connector.avoided = avoided
        tunnel.add(connector)
        if self.watcher is not None:
            self.watcher.changed(connector)

    def failing_changed(self, connector: Connector[P]) -> None:
        """The first host of a connector fails, or none does any more."""
        tunnel = self._tunnels.get(connector.tunnel.int)
        if tunnel is not None and connector in tunnel:
            tunnel.failing_changed(connector)

    def choose(
        self,
        tunnel_id: UUID,
        exclude: Collection[Connector[Any]] | None = None,
        *,
        datagrams: bool = False,
        request: HttpQuery | None = None,
        key_of: KeyOf | None = None,
        withhold: bool = False,
    ) -> Connector[P] | None:
        """Draw a connector of a tunnel, by filter and by weight, in time logarithmic in their number.

        :param exclude: connectors not to choose, e.g. those that failed for this request.
        :param datagrams: whether the stream carries datagrams.
        :param request: what filters are compared with; None for everything but HTTP.
        :param key_of: finds the key of a visitor that stays with one of those that share by weight.
        :param withhold: whether a request that a filter takes goes to those with this filter, or to nobody.
        :returns: None if no connector is attached, or none that takes the request, or all are excluded.
        """
        tunnel = self.by_number.get(tunnel_id.int)
        if tunnel is None:
            return None
        return tunnel.choose(exclude, self._random, datagrams=datagrams, request=request, key_of=key_of, withhold=withhold)

    def get(self, tunnel_id: UUID) -> Tunnel[P] | None:
        """A tunnel, None if no connector is attached to it."""
        return self._tunnels.get(tunnel_id.int)

    @property
    def tunnels(self) -> tuple[Tunnel[P], ...]:
        """The tunnels that have a connector."""
        return tuple(self._tunnels.values())

    def __iter__(self) -> Iterator[Connector[P]]:
        # iterates over copies: connectors may attach and detach meanwhile
        for tunnel in self.tunnels:
            yield from tunnel.connectors
