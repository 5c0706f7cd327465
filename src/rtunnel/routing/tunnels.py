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
from itertools import accumulate
from random import random as random_number
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import attrs

from rtunnel.ids import short_id

__all__ = ["EXCLUSIVE_WEIGHT", "Connector", "Tunnel", "TunnelRegistry"]

EXCLUSIVE_WEIGHT: Final = 255
"""Connectors of this weight leave nothing to smaller ones."""

L = TypeVar("L")


def _check_weight(_connector: object, _attribute: attrs.Attribute[int], weight: int) -> None:
    if not 1 <= weight <= EXCLUSIVE_WEIGHT:
        raise ValueError(f"the weight {weight} of a connector is not from 1 to {EXCLUSIVE_WEIGHT}")


# without hooks on assignment: the counters are counted up with each request
@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class Connector(Generic[L]):
    """One live attachment of a client to a tunnel; made when its link is up, removed from the registry when it is lost.

    Only the counters change. Two connectors are never equal, whatever they say.

    :param id: the connector's own id, which its client was told.
    :param tunnel: the tunnel that it belongs to.
    :param weight: its share, 1 to 255.
    :param link: what streams are opened on; nothing here looks at it.
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
    link: L
    peer: str = ""
    user: str = ""
    since: float = 0.0
    datagrams: bool = False
    streams: int = attrs.field(default=0, init=False)
    requests: int = attrs.field(default=0, init=False)
    outcomes: dict[str, int] = attrs.field(factory=dict, init=False)

    def count(self, outcome: str) -> None:
        """Count the end of a request or connection that was not simply answered."""
        self.requests += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class _Group(Generic[L]):
    """Connectors that are drawn from by weight.

    The running sums of their weights are kept, so that a draw is a binary search; connector number ``i`` owns the numbers from
    ``sums[i - 1]`` up to ``sums[i]``.
    """

    __slots__ = ("index", "members", "sums")

    def __init__(self) -> None:
        self.members: list[Connector[L]] = []
        self.sums: list[int] = []
        self.index: dict[Connector[L], int] = {}

    def add(self, connector: Connector[L]) -> None:
        self.index[connector] = len(self.members)
        self.members.append(connector)
        self.sums.append((self.sums[-1] if self.sums else 0) + connector.weight)

    def remove(self, connector: Connector[L]) -> None:
        del self.members[self.index[connector]]
        self.index = {member: position for position, member in enumerate(self.members)}
        self.sums = list(accumulate(member.weight for member in self.members))

    def draw(self, random: Callable[[], float]) -> Connector[L] | None:
        members = self.members
        if len(members) == 1:
            return members[0]
        if not members:
            return None
        sums = self.sums
        return members[bisect_right(sums, int(random() * sums[-1]))]

    def draw_without(self, exclude: Collection[Connector[Any]], random: Callable[[], float]) -> Connector[L] | None:
        """Draw from those that are not excluded: the numbers of the excluded ones are stepped over."""
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


class Tunnel(Generic[L]):
    """The connectors of one tunnel; owned by the registry from the first one attached until the last one left.

    :param tunnel_id: the tunnel's id.
    """

    __slots__ = ("_exclusive", "_exclusive_udp", "_sharing", "_sharing_udp", "id", "only")

    def __init__(self, tunnel_id: UUID) -> None:
        self.id = tunnel_id
        self._exclusive: _Group[L] = _Group()
        self._sharing: _Group[L] = _Group()
        self._exclusive_udp: _Group[L] = _Group()
        self._sharing_udp: _Group[L] = _Group()
        self.only: Connector[L] | None = None
        """The one that gets every stream of bytes, when there is but one to draw."""

    @property
    def connectors(self) -> tuple[Connector[L], ...]:
        """Those attached now, the exclusive ones first, and those for datagrams last."""
        return tuple(member for group in self._groups for member in group.members)

    @property
    def _groups(self) -> tuple[_Group[L], ...]:
        return (self._exclusive, self._sharing, self._exclusive_udp, self._sharing_udp)

    def __len__(self) -> int:
        return sum(len(group.members) for group in self._groups)

    def __contains__(self, connector: Connector[Any]) -> bool:
        return connector in self._group(connector).index

    def add(self, connector: Connector[L]) -> None:
        """Attach a connector that is not attached yet."""
        self._group(connector).add(connector)
        self._find_only()

    def remove(self, connector: Connector[L]) -> None:
        """Detach a connector that is attached."""
        self._group(connector).remove(connector)
        self._find_only()

    def _find_only(self) -> None:
        drawn = self._exclusive.members or self._sharing.members
        self.only = drawn[0] if len(drawn) == 1 else None

    def choose(self, exclude: Collection[Connector[Any]] | None, random: Callable[[], float]) -> Connector[L] | None:
        """Draw a connector for a stream of bytes by weight, None when there is none to draw."""
        if not exclude:
            return self._exclusive.draw(random) or self._sharing.draw(random)
        return self._exclusive.draw_without(exclude, random) or self._sharing.draw_without(exclude, random)

    def choose_for_datagrams(self, exclude: Collection[Connector[Any]], random: Callable[[], float]) -> Connector[L] | None:
        """Draw a connector for a stream of datagrams by weight, None when there is none to draw."""
        return self._exclusive_udp.draw_without(exclude, random) or self._sharing_udp.draw_without(exclude, random)

    def _group(self, connector: Connector[Any]) -> _Group[L]:
        if connector.datagrams:
            return self._exclusive_udp if connector.weight == EXCLUSIVE_WEIGHT else self._sharing_udp
        return self._exclusive if connector.weight == EXCLUSIVE_WEIGHT else self._sharing


class TunnelRegistry(Generic[L]):
    """All tunnels that have a connector; the place where links and visitors meet. Iterating gives every connector.

    :param random: gives numbers from 0 up to, but without, 1.
    """

    __slots__ = ("_random", "_tunnels")

    def __init__(self, random: Callable[[], float] = random_number) -> None:
        self._random = random
        # by number: the hash of a UUID is Python code, that of an int is not
        self._tunnels: dict[int, Tunnel[L]] = {}

    def add(self, connector: Connector[L]) -> None:
        """Attach a connector to its tunnel.

        :raises ValueError: when it is attached already.
        """
        tunnel = self._tunnels.get(connector.tunnel.int)
        if tunnel is None:
            tunnel = self._tunnels[connector.tunnel.int] = Tunnel(connector.tunnel)
        elif connector in tunnel:
            raise ValueError(f"the connector {short_id(connector.id)} is attached already")
        tunnel.add(connector)

    def remove(self, connector: Connector[L]) -> bool:
        """Detach a connector; with its last one a tunnel goes as well.

        :returns: whether it was attached.
        """
        tunnel = self._tunnels.get(connector.tunnel.int)
        if tunnel is None or connector not in tunnel:
            return False
        tunnel.remove(connector)
        if not len(tunnel):
            del self._tunnels[connector.tunnel.int]
        return True

    def choose(self, tunnel_id: UUID, exclude: Collection[Connector[Any]] | None = None) -> Connector[L] | None:
        """Draw a connector of a tunnel for a stream of bytes by weight; takes the same time for two connectors and for thousands.

        :param exclude: connectors not to be chosen, such as those that failed for this request.
        :returns: None when none is attached or all are excluded.
        """
        tunnel = self._tunnels.get(tunnel_id.int)
        if tunnel is None:
            return None
        if tunnel.only is not None and not exclude:
            return tunnel.only
        return tunnel.choose(exclude, self._random)

    def choose_for_datagrams(self, tunnel_id: UUID, exclude: Collection[Connector[Any]] = ()) -> Connector[L] | None:
        """Draw a connector of a tunnel for a stream of datagrams, as :meth:`choose` does for bytes."""
        tunnel = self._tunnels.get(tunnel_id.int)
        return tunnel.choose_for_datagrams(exclude, self._random) if tunnel is not None else None

    def get(self, tunnel_id: UUID) -> Tunnel[L] | None:
        """A tunnel, None when nobody is attached to it."""
        return self._tunnels.get(tunnel_id.int)

    @property
    def tunnels(self) -> tuple[Tunnel[L], ...]:
        """The tunnels that have a connector now."""
        return tuple(self._tunnels.values())

    @property
    def tunnel_count(self) -> int:
        """How many tunnels have a connector now."""
        return len(self._tunnels)

    @property
    def connector_count(self) -> int:
        """How many connectors are attached now."""
        return sum(map(len, self._tunnels.values()))

    def __iter__(self) -> Iterator[Connector[L]]:
        # out of copies: connectors may come and go on the way
        for tunnel in self.tunnels:
            yield from tunnel.connectors
