"""Tunnels, who is attached to them, and the choice of a connector by weight.

Each choice is made anew and at random: a connector of weight 3 is chosen three times as often as one of weight 1. The weight 255 is
exclusive: as long as a connector with it is attached, smaller ones get nothing, and several of them share evenly (go-gost/x
``handler/tunnel/tunnel.go`` has the same rule). But a connector that the caller excludes, because it just failed, counts as absent:
when all exclusive ones are excluded, the smaller ones step in.

A connector takes either streams of bytes or streams of datagrams (UDP), and is drawn for its own kind only. A gost with a single
connector gives it both (``handler/tunnel/tunnel.go``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from enum import IntEnum
from itertools import accumulate
from random import random as random_number
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import attrs

from rtunnel.ids import short_id

__all__ = ["EXCLUSIVE_WEIGHT", "Connector", "Rank", "Tunnel", "TunnelRegistry"]

EXCLUSIVE_WEIGHT: Final = 255
"""Connectors of this weight leave nothing to smaller ones."""

P = TypeVar("P")


class Rank(IntEnum):
    """Which connectors are asked first: those of a later rank are drawn only when all of the earlier ones are excluded."""

    EXCLUSIVE = 0
    SHARING = 1


def _check_weight(_connector: object, _attribute: attrs.Attribute[int], weight: int) -> None:
    if not 1 <= weight <= EXCLUSIVE_WEIGHT:
        raise ValueError(f"the weight {weight} of a connector is not from 1 to {EXCLUSIVE_WEIGHT}")


# without hooks on assignment: the counters are counted up with each request
@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class Connector(Generic[P]):
    """One live attachment of a client to a tunnel; made when its link is up, removed from the registry when it is lost.

    Only the counters change. Two connectors are never equal, whatever they say.

    :param id: the connector's own id, which its client was told.
    :param tunnel: the tunnel that it belongs to.
    :param weight: its share, 1 to 255.
    :param pool: what streams are opened on; nothing here looks at it.
    :param peer: where the client comes from, for logs.
    :param user: who the client is, if it was asked.
    :param datagrams: whether it takes streams of datagrams, and only those.
    :param since: when its link came up, in seconds of the epoch, for people.
    :ivar streams: streams opened so far; counted by whoever opens them.
    :ivar requests: requests and connections that ended so far; counted by whoever serves them (:meth:`count`).
    :ivar outcomes: how they ended, those apart whose answer was passed on whole.
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
    streams: int = attrs.field(default=0, init=False)
    requests: int = attrs.field(default=0, init=False)
    outcomes: dict[str, int] = attrs.field(factory=dict, init=False)

    @property
    def rank(self) -> Rank:
        """When it is asked, compared with the others of its tunnel."""
        return Rank.EXCLUSIVE if self.weight == EXCLUSIVE_WEIGHT else Rank.SHARING

    def count(self, outcome: str) -> None:
        """Count the end of a request or connection that was not simply answered."""
        self.requests += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class _Group(Generic[P]):
    """Connectors that are drawn from by weight.

    The running sums of their weights are kept, so that a draw is a binary search; connector number ``i`` owns the numbers from
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

    def draw(self, exclude: Collection[Connector[Any]] | None, random: Callable[[], float]) -> Connector[P] | None:
        """Draw one that is not excluded, None when there is none."""
        members = self.members
        if exclude:
            return self._draw_without(exclude, random)
        if len(members) == 1:
            return members[0]
        sums = self.sums
        return members[bisect_right(sums, int(random() * sums[-1]))]

    def _draw_without(self, exclude: Collection[Connector[Any]], random: Callable[[], float]) -> Connector[P] | None:
        """The numbers of the excluded ones are stepped over."""
        index, members, sums = self.index, self.members, self.sums
        holes = sorted({index[connector] for connector in exclude if connector in index})
        if len(holes) == len(members):
            return None
        number = int(random() * (sums[-1] - sum(members[hole].weight for hole in holes)))
        for hole in holes:
            weight = members[hole].weight
            if number < sums[hole] - weight:
                break
            number += weight
        return members[bisect_right(sums, number)]


class Tunnel(Generic[P]):
    """The connectors of one tunnel; owned by the registry from the first one attached until the last one left.

    :param tunnel_id: the tunnel's id.
    """

    __slots__ = ("_groups", "_tiers", "id", "only")

    def __init__(self, tunnel_id: UUID) -> None:
        self.id = tunnel_id
        self._groups: dict[tuple[bool, Rank], _Group[P]] = {}
        self._tiers: dict[bool, tuple[_Group[P], ...]] = {False: (), True: ()}
        """For streams of bytes (False) and of datagrams (True), the groups in the order of their ranks; none of them is empty."""
        self.only: Connector[P] | None = None
        """The one that gets every stream of bytes, when there is but one to draw."""

    @property
    def connectors(self) -> tuple[Connector[P], ...]:
        """Those attached now: those for datagrams last, the others by their rank."""
        return tuple(member for tier in self._tiers.values() for group in tier for member in group.members)

    def __len__(self) -> int:
        return sum(len(group.members) for group in self._groups.values())

    def __contains__(self, connector: Connector[Any]) -> bool:
        group = self._groups.get((connector.datagrams, connector.rank))
        return group is not None and connector in group.index

    def add(self, connector: Connector[P]) -> None:
        """Attach a connector that is not attached yet."""
        key = (connector.datagrams, connector.rank)
        if key not in self._groups:
            self._groups[key] = _Group()
        self._groups[key].add(connector)
        self._arrange()

    def remove(self, connector: Connector[P]) -> None:
        """Detach a connector that is attached."""
        key = (connector.datagrams, connector.rank)
        group = self._groups[key]
        group.remove(connector)
        if not group.members:
            del self._groups[key]
        self._arrange()

    def _arrange(self) -> None:
        for datagrams in self._tiers:
            keys = sorted(key for key in self._groups if key[0] == datagrams)
            self._tiers[datagrams] = tuple(self._groups[key] for key in keys)
        first = self._tiers[False][:1]
        self.only = first[0].members[0] if first and len(first[0].members) == 1 else None

    def choose(
        self, exclude: Collection[Connector[Any]] | None, random: Callable[[], float], *, datagrams: bool = False
    ) -> Connector[P] | None:
        """Draw a connector by weight: of the first rank that has one which is not excluded; None when there is none."""
        for group in self._tiers[datagrams]:
            drawn = group.draw(exclude, random)
            if drawn is not None:
                return drawn
        return None


class TunnelRegistry(Generic[P]):
    """All tunnels that have a connector; the place where links and visitors meet. Iterating gives every connector.

    :param random: gives numbers from 0 up to, but without, 1.
    """

    __slots__ = ("_random", "by_number")

    def __init__(self, random: Callable[[], float] = random_number) -> None:
        self._random = random
        self.by_number: dict[int, Tunnel[P]] = {}
        """The tunnels by the number of their id: the hash of a UUID is Python code, that of an int is not."""

    def add(self, connector: Connector[P]) -> None:
        """Attach a connector to its tunnel.

        :raises ValueError: when it is attached already.
        """
        tunnel = self.by_number.get(connector.tunnel.int)
        if tunnel is None:
            tunnel = self.by_number[connector.tunnel.int] = Tunnel(connector.tunnel)
        elif connector in tunnel:
            raise ValueError(f"the connector {short_id(connector.id)} is attached already")
        tunnel.add(connector)

    def remove(self, connector: Connector[P]) -> bool:
        """Detach a connector; with its last one a tunnel goes as well.

        :returns: whether it was attached.
        """
        tunnel = self.by_number.get(connector.tunnel.int)
        if tunnel is None or connector not in tunnel:
            return False
        tunnel.remove(connector)
        if not len(tunnel):
            del self.by_number[connector.tunnel.int]
        return True

    def choose(
        self, tunnel_id: UUID, exclude: Collection[Connector[Any]] | None = None, *, datagrams: bool = False
    ) -> Connector[P] | None:
        """Draw a connector of a tunnel by weight; takes the same time for two connectors and for thousands.

        :param exclude: connectors not to be chosen, such as those that failed for this request.
        :param datagrams: whether the stream is to carry datagrams.
        :returns: None when none is attached or all are excluded.
        """
        tunnel = self.by_number.get(tunnel_id.int)
        return None if tunnel is None else tunnel.choose(exclude, self._random, datagrams=datagrams)

    def get(self, tunnel_id: UUID) -> Tunnel[P] | None:
        """A tunnel, None when nobody is attached to it."""
        return self.by_number.get(tunnel_id.int)

    @property
    def tunnels(self) -> tuple[Tunnel[P], ...]:
        """The tunnels that have a connector now."""
        return tuple(self.by_number.values())

    def __iter__(self) -> Iterator[Connector[P]]:
        # out of copies: connectors may come and go on the way
        for tunnel in self.tunnels:
            yield from tunnel.connectors
