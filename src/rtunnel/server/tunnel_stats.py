"""Statistics of the connectors of a server, for the metrics."""

from __future__ import annotations

from rtunnel.metrics.labelled_counts import ConnectorStats, Counts, LabelledCounts
from rtunnel.ops.status import RoundTrip
from rtunnel.outcomes import Outcome
from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import UpstreamPool

__all__ = ["connector_stats", "count_ended", "round_trip"]


def connector_stats(connector: Connector[UpstreamPool]) -> ConnectorStats:
    """The statistics of a connector."""
    link = connector.pool.link
    trip = round_trip(connector)
    outcomes = dict(connector.outcomes)
    answered = connector.requests - sum(outcomes.values())
    if answered:
        outcomes[Outcome.ANSWERED] = answered
    return ConnectorStats(
        connector=connector.id,
        tunnel=connector.tunnel,
        weight=connector.weight,
        streams=link.carrying,
        round_trip=None if trip is None else trip.seconds,
        counts=Counts(outcomes, link.bytes_in, link.bytes_out),
        holder=connector.user or connector.name,
        intercept=" or ".join(map(str, connector.filters)),
    )


def count_ended(labelled: LabelledCounts, connector: Connector[UpstreamPool], outcome: str) -> None:
    """Count a connection that ended.

    One that outlived the link, because its visitor had not taken everything yet, counts for the tunnel: the connector's own counts
    were added to it when the link was lost.
    """
    connector.count(outcome)
    if not labelled.is_live(connector.id):
        labelled.count_unrouted(connector.tunnel, outcome)


def round_trip(connector: Connector[UpstreamPool]) -> RoundTrip | None:
    """The round trip to a client."""
    link = connector.pool.link
    return RoundTrip.of(ping=link.round_trip, tcp=link.tcp_round_trip)
