"""Counters: plain integers in slots, so that counting costs an addition on the hot path and no lock.

They do not depend on Prometheus; :mod:`rtunnel.metrics.exposition` reads them for ``/metrics``. docs/metrics.md describes all of
them.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import attrs

from rtunnel.metrics.labelled_counts import LabelledCounts
from rtunnel.outcomes import (
    DatagramLoss,
    Limit,
    LinkEnd,
    LocalPortOutcome,
    Outcome,
    PodOutcome,
    RefusalReason,
    StreamOutcome,
    TlsOutcome,
    VisitOutcome,
)

__all__ = [
    "CLAIMS",
    "ClientStats",
    "PeerStats",
    "RegistrySource",
    "RegistryStats",
    "RegistryStatus",
    "ServerStats",
    "TunnelStats",
]


@attrs.define
class PeerStats:
    """The counters of what a server and its peers forward to each other.

    :ivar links: peer links that came up, of both directions.
    :ivar links_open: those that are up now.
    :ivar losses: those that ended, by reason.
    :ivar refused: attempts of others to become a peer, and of this server, that failed.
    :ivar streams_in: streams that peers opened for connectors of this server.
    :ivar streams_out: streams that this server opened for connectors of peers.
    :ivar turned_away: streams of peers whose connector had left.
    """

    links: int = 0
    links_open: int = 0
    losses: dict[LinkEnd, int] = attrs.field(factory=lambda: dict.fromkeys(LinkEnd, 0))
    refused: int = 0
    streams_in: int = 0
    streams_out: int = 0
    turned_away: int = 0


CLAIMS = ("agreed", "refused", "unavailable")
"""The outcomes of agreements between servers."""


@attrs.define
class RegistryStats:
    """The counters of a shared registry, as one server uses it.

    :ivar messages: that were received.
    :ivar malformed: messages and records that could not be read.
    :ivar written: changes that were written.
    :ivar rewritten: how often all was written anew.
    :ivar read: records that were read because something was missing.
    :ivar claims: agreements by their outcome.
    :ivar outages: how often the registry was not available any more.
    """

    messages: int = 0
    malformed: int = 0
    written: int = 0
    rewritten: int = 0
    read: int = 0
    claims: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(CLAIMS, 0))
    outages: int = 0


@attrs.frozen(kw_only=True)
class RegistryStatus:
    """How it goes with a shared registry.

    :ivar address: where it is, without a password.
    :ivar available: whether it answers, so that changes are exchanged.
    :ivar complete: whether the copy had everything since it began to be kept; once true it stays true.
    :ivar servers: how many other servers are known.
    :ivar connectors: how many connectors of others are known, without leases that are held.
    :ivar published: how many records of its own a server has there.
    :ivar reason: why it is not available; empty if it is.
    """

    address: str
    available: bool
    complete: bool
    servers: int
    connectors: int
    published: int
    reason: str = ""


class RegistrySource(Protocol):
    """A shared registry, as the metrics see it."""

    @property
    def stats(self) -> RegistryStats:
        """What has happened so far."""

    def status(self) -> RegistryStatus:
        """How it goes."""


@attrs.define
class ServerStats:
    """The counters of a server process since its start; owned by the service, written by all its parts.

    :ivar visitors_total: visitor connections accepted.
    :ivar visitors_open: visitor connections open now.
    :ivar requests: requests by outcome.
    :ivar retries_total: requests sent again through another stream or connector.
    :ivar bytes_in: bytes received from visitors.
    :ivar bytes_out: bytes sent to visitors.
    :ivar links_total: links admitted.
    :ivar links_open: links that are up now.
    :ivar losses: ended links by reason.
    :ivar streams_total: streams opened to connectors.
    :ivar visits: ended visits by outcome.
    :ivar visits_open: visits open now.
    :ivar pod_links_open: links on which developers' machines open streams to pods, open now.
    :ivar pod_requests: what they asked of pods, by outcome.
    :ivar tls: TLS connections by outcome.
    :ivar proxies_refused: connections of proxies that were closed because they did not begin with a valid PROXY header.
    :ivar labelled: counters per tunnel and per connector.
    :ivar access_lines_dropped: lines of the access log that could not be written.
    :ivar refusals: connections to the tunnel listener that were rejected, by reason.
    :ivar limits: how often a bound was reached.
    :ivar peers: what other servers forward here, and this one to them.
    :ivar registry: the shared registry, if there is one.
    """

    visitors_total: int = 0
    visitors_open: int = 0
    requests: dict[Outcome, int] = attrs.field(factory=lambda: dict.fromkeys(Outcome, 0))
    retries_total: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    links_total: int = 0
    links_open: int = 0
    losses: dict[LinkEnd, int] = attrs.field(factory=lambda: dict.fromkeys(LinkEnd, 0))
    streams_total: int = 0
    refusals: dict[RefusalReason, int] = attrs.field(factory=lambda: dict.fromkeys(RefusalReason, 0))
    visits: dict[VisitOutcome, int] = attrs.field(factory=lambda: dict.fromkeys(VisitOutcome, 0))
    visits_open: int = 0
    pod_links_open: int = 0
    pod_requests: dict[PodOutcome, int] = attrs.field(factory=lambda: dict.fromkeys(PodOutcome, 0))
    tls: dict[TlsOutcome, int] = attrs.field(factory=lambda: dict.fromkeys(TlsOutcome, 0))
    proxies_refused: int = 0
    labelled: LabelledCounts = attrs.field(factory=LabelledCounts)
    access_lines_dropped: int = 0
    limits: dict[Limit, int] = attrs.field(factory=lambda: dict.fromkeys(Limit, 0))
    peers: PeerStats = attrs.field(factory=PeerStats)
    registry: RegistrySource | None = None

    def drop_access_lines(self, lines: int) -> None:
        """Count lines of the access log that could not be written."""
        self.access_lines_dropped += lines

    def record(self, outcome: Outcome) -> None:
        """Count the end of a request."""
        self.requests[outcome] += 1

    def link_lost(self, end: LinkEnd) -> None:
        """Count the end of a link."""
        self.losses[end] += 1

    def reach(self, limit: Limit) -> None:
        """Count that a bound was reached."""
        self.limits[limit] += 1


@attrs.define
class ClientStats:
    """The counters of a client process since its start; owned by the service, written by all its parts.

    :ivar attempts: attempts to join a tunnel.
    :ivar joins: successful attempts.
    :ivar losses: links lost after they had joined.
    :ivar streams: ended streams by outcome.
    :ivar bytes_in: bytes passed to targets by ended streams.
    :ivar bytes_out: bytes passed from targets by ended streams.
    :ivar visitors: ended connections to local ports by outcome.
    :ivar visitors_open: connections to local ports open now.
    :ivar visitor_bytes_in: bytes passed to the server by ended connections.
    :ivar visitor_bytes_out: bytes passed from the server by ended connections.
    :ivar datagrams_dropped: dropped datagrams by reason.
    """

    attempts: int = 0
    joins: int = 0
    losses: int = 0
    streams: dict[StreamOutcome, int] = attrs.field(factory=lambda: dict.fromkeys(StreamOutcome, 0))
    bytes_in: int = 0
    bytes_out: int = 0
    visitors: dict[LocalPortOutcome, int] = attrs.field(factory=lambda: dict.fromkeys(LocalPortOutcome, 0))
    visitors_open: int = 0
    visitor_bytes_in: int = 0
    visitor_bytes_out: int = 0
    datagrams_dropped: dict[DatagramLoss, int] = attrs.field(factory=lambda: dict.fromkeys(DatagramLoss, 0))

    def record(self, outcome: StreamOutcome) -> None:
        """Count the end of a stream."""
        self.streams[outcome] += 1

    def drop(self, reason: DatagramLoss) -> None:
        """Count a dropped datagram."""
        self.datagrams_dropped[reason] += 1


@attrs.frozen
class TunnelStats:
    """The statistics of a tunnel.

    :ivar tunnel: its ID.
    :ivar connectors: how many are attached (server), or how many of this process have joined (client).
    :ivar streams: how many are open.
    """

    tunnel: UUID
    connectors: int
    streams: int
