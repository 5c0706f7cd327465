"""What is counted per tunnel and per connector, in few labels.

A connector counts for itself as long as its link is up (:class:`~rtunnel.routing.tunnels.Connector`, the link's bytes). Here is
where to ask it, and what is left of those that are gone, so that the counts of a tunnel never go down; and which connectors have
a label of their own, so that there are never more than :data:`MAX_CONNECTORS` of them, and none changes its label while it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import attrs

from rtunnel.ids import short_id

__all__ = ["MAX_CONNECTORS", "MAX_TUNNELS", "OTHER", "ConnectorStats", "Counts", "LabelledCounts"]

MAX_TUNNELS = 100
"""Tunnels that get a label of their own, the first ones of the process; the rest is summed up as ``other``."""
MAX_CONNECTORS = 100
"""Connectors that have a label of their own at one time; those that come when there are so many are summed up as ``other``."""

OTHER = "other"


@attrs.define
class Counts:
    """What went through one or several links.

    :ivar outcomes: requests and connections by how they ended.
    :ivar received_bytes: received over the links.
    :ivar sent_bytes: sent over the links.
    """

    outcomes: dict[str, int] = attrs.field(factory=dict)
    received_bytes: int = 0
    sent_bytes: int = 0

    def add(self, other: Counts) -> None:
        """Count what another one has counted."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes

    @property
    def requests(self) -> int:
        """Requests and connections that ended, however they did."""
        return sum(self.outcomes.values())


@attrs.frozen(kw_only=True)
class ConnectorStats:
    """What a connector carries at this moment, and has carried.

    :ivar connector: its ID.
    :ivar tunnel: its tunnel's ID.
    :ivar weight: its share.
    :ivar streams: how many are open.
    :ivar round_trip: seconds to the other end, None when not known.
    :ivar counts: since its link came up.
    """

    connector: UUID
    tunnel: UUID
    weight: int
    streams: int
    round_trip: float | None
    counts: Counts


@attrs.define
class LabelledCounts:
    """The labels of tunnels and connectors, and what those have counted that are gone; owned by the counts of the server.

    :ivar others: of the connectors without a label that are gone.
    """

    others: Counts = attrs.field(factory=Counts)
    _tunnels: dict[str, Counts] = attrs.field(factory=dict)
    _labelled: set[UUID] = attrs.field(factory=set)
    _live: dict[UUID, Callable[[], ConnectorStats]] = attrs.field(factory=dict)

    def join(self, connector: UUID, load: Callable[[], ConnectorStats]) -> None:
        """A link came up.

        :param load: says what it carries, each time it is asked and once more when it leaves.
        """
        self._live[connector] = load
        if len(self._labelled) < MAX_CONNECTORS:
            self._labelled.add(connector)

    def leave(self, connector: UUID) -> None:
        """A link is gone."""
        load = self._live.pop(connector)()
        self._of(load.tunnel).add(load.counts)
        if connector in self._labelled:
            self._labelled.discard(connector)
        else:
            self.others.add(load.counts)

    def tunnel_stats(self) -> list[ConnectorStats]:
        """What those carry whose link is up."""
        return [load() for load in self._live.values()]

    def count_unrouted(self, tunnel: UUID, outcome: str) -> None:
        """A request or connection ended before a connector was found for it."""
        outcomes = self._of(tunnel).outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    def has_label(self, connector: UUID) -> bool:
        """Whether a connector is shown by itself."""
        return connector in self._labelled

    def tunnel_label(self, tunnel: UUID) -> str:
        """The label of a tunnel, the same one as long as the process lives."""
        label = short_id(tunnel)
        if label not in self._tunnels:
            if len(self._tunnels) >= MAX_TUNNELS:
                return OTHER
            self._tunnels[label] = Counts()
        return label

    def by_tunnel(self) -> Mapping[str, Counts]:
        """All that was ever counted, by the label of the tunnel."""
        sums: dict[str, Counts] = {}
        for label, gone in self._tunnels.items():
            sums.setdefault(label, Counts()).add(gone)
        for load in self.tunnel_stats():
            sums.setdefault(self.tunnel_label(load.tunnel), Counts()).add(load.counts)
        return sums

    def _of(self, tunnel: UUID) -> Counts:
        label = self.tunnel_label(tunnel)
        return self._tunnels.setdefault(label, Counts())
