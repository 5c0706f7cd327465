"""Counters per tunnel and per connector, with a bounded number of labels.

A connector has its own counters as long as its link is up (:class:`~rtunnel.routing.tunnels.Connector`, the link's bytes); they are
read from there. The counters of connectors that are gone are added up here per tunnel, so that those of a tunnel never decrease. At
most :data:`MAX_CONNECTORS` connectors have a label at a time, and none changes its label while it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import attrs

from rtunnel.ids import short_id

__all__ = ["MAX_CONNECTORS", "MAX_TUNNELS", "OTHER", "ConnectorStats", "Counts", "LabelledCounts"]

MAX_TUNNELS = 100
"""Tunnels with their own label, the first ones of the process; all others are added up as ``other``."""
MAX_CONNECTORS = 100
"""Connectors with their own label at a time; those that attach when there are as many are added up as ``other``."""

OTHER = "other"


@attrs.define
class Counts:
    """Counters of one or several links.

    :ivar outcomes: requests and connections by outcome.
    :ivar received_bytes: received over the links.
    :ivar sent_bytes: sent over the links.
    """

    outcomes: dict[str, int] = attrs.field(factory=dict)
    received_bytes: int = 0
    sent_bytes: int = 0

    def add(self, other: Counts) -> None:
        """Add other counters."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes

    @property
    def requests(self) -> int:
        """Requests and connections that ended, with any outcome."""
        return sum(self.outcomes.values())


@attrs.frozen(kw_only=True)
class ConnectorStats:
    """The statistics of a connector.

    :ivar connector: its ID.
    :ivar tunnel: its tunnel's ID.
    :ivar weight: its weight.
    :ivar streams: how many are open.
    :ivar round_trip: in seconds, None if unknown.
    :ivar counts: since its link came up.
    :ivar holder: who it belongs to, ``""`` if nobody says.
    :ivar intercept: its filters, ``""`` for a share of all requests.
    """

    connector: UUID
    tunnel: UUID
    weight: int
    streams: int
    round_trip: float | None
    counts: Counts
    holder: str = ""
    intercept: str = ""


@attrs.define
class LabelledCounts:
    """The labels of tunnels and connectors, and the counters of connectors that are gone; owned by the server's counters.

    :ivar others: counters of the connectors without a label that are gone.
    """

    others: Counts = attrs.field(factory=Counts)
    _tunnels: dict[str, Counts] = attrs.field(factory=dict)
    _labelled: set[UUID] = attrs.field(factory=set)
    _live: dict[UUID, Callable[[], ConnectorStats]] = attrs.field(factory=dict)

    def join(self, connector: UUID, stats: Callable[[], ConnectorStats]) -> None:
        """Add a connector whose link came up.

        :param stats: returns its statistics, whenever called and once more when it leaves.
        """
        self._live[connector] = stats
        if len(self._labelled) < MAX_CONNECTORS:
            self._labelled.add(connector)

    def leave(self, connector: UUID) -> None:
        """Remove a connector whose link is gone, and keep its counters."""
        stats = self._live.pop(connector)()
        self._of(stats.tunnel).add(stats.counts)
        if connector in self._labelled:
            self._labelled.discard(connector)
        else:
            self.others.add(stats.counts)

    def connector_stats(self) -> list[ConnectorStats]:
        """Return the statistics of all connectors whose link is up."""
        return [stats() for stats in self._live.values()]

    def count_unrouted(self, tunnel: UUID, outcome: str) -> None:
        """Count a request or connection that ended before a connector was found for it, or after its connector's link."""
        outcomes = self._of(tunnel).outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    def is_live(self, connector: UUID) -> bool:
        """Tell whether a connector's link is up."""
        return connector in self._live

    def has_label(self, connector: UUID) -> bool:
        """Tell whether a connector has its own label."""
        return connector in self._labelled

    def tunnel_label(self, tunnel: UUID) -> str:
        """Return the label of a tunnel; it never changes."""
        label = short_id(tunnel)
        if label not in self._tunnels:
            if len(self._tunnels) >= MAX_TUNNELS:
                return OTHER
            self._tunnels[label] = Counts()
        return label

    def by_tunnel(self) -> Mapping[str, Counts]:
        """Return everything that was counted since the start, by the label of the tunnel."""
        sums: dict[str, Counts] = {}
        for label, gone in self._tunnels.items():
            sums.setdefault(label, Counts()).add(gone)
        for stats in self.connector_stats():
            sums.setdefault(self.tunnel_label(stats.tunnel), Counts()).add(stats.counts)
        return sums

    def _of(self, tunnel: UUID) -> Counts:
        label = self.tunnel_label(tunnel)
        return self._tunnels.setdefault(label, Counts())
