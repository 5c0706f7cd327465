"""The collectors for Prometheus: they read the counters at each scrape and keep nothing in between.

It is imported when the metrics are asked for, so that a process of which nobody does has no library for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rtunnel import __version__
from rtunnel.ids import short_id
from rtunnel.metrics.labelled_counts import OTHER, Counts, LabelledCounts
from rtunnel.metrics.stats import ClientStats, PeerStats, RegistrySource, ServerStats, TunnelStats
from rtunnel.outcomes import Outcome

__all__ = ["ClientCollector", "ServerCollector", "exposition", "make_registry"]

TunnelStatsSource = Callable[[], Iterable[TunnelStats]]


class ServerCollector(Collector):
    """Collects the metrics of a server.

    :param stats: the counters.
    :param tunnels: returns the tunnels that have a rule or a connector; several items for one tunnel are added up.
    """

    def __init__(self, stats: ServerStats, tunnels: TunnelStatsSource) -> None:
        self._stats = stats
        self._tunnels = tunnels

    def collect(self) -> Iterator[Metric]:
        """The metrics, in the order of docs/metrics.md."""
        stats = self._stats
        yield _build_info()
        yield _counter("server_visitors", "Visitor connections accepted.", stats.visitors_total)
        yield _gauge("server_visitors_open", "Visitor connections open now.", stats.visitors_open)
        yield _counter("server_proxies_refused", "Connections of proxies without a valid PROXY header.", stats.proxies_refused)
        yield _counters("server_requests", "Requests of visitors, by outcome.", "outcome", stats.requests.items())
        yield _counters("server_tls_connections", "TLS connections passed through, by outcome.", "outcome", stats.tls.items())
        yield _counter("server_retries", "Requests sent again through another stream or connector.", stats.retries_total)
        yield _counter("server_received_bytes", "Bytes received from visitors.", stats.bytes_in)
        yield _counter("server_sent_bytes", "Bytes sent to visitors.", stats.bytes_out)
        yield _counter("server_links", "Links of clients admitted.", stats.links_total)
        yield _gauge("server_links_open", "Links of clients that are up now.", stats.links_open)
        yield _counters("server_link_losses", "Links that ended, by reason.", "reason", stats.losses.items())
        yield _counters("server_refusals", "Clients that were rejected, by reason.", "reason", stats.refusals.items())
        yield _counter("server_streams", "Streams opened to connectors.", stats.streams_total)
        yield _counters("server_visits", "Visits of private tunnels that ended, by outcome.", "outcome", stats.visits.items())
        yield _gauge("server_visits_open", "Visits open now.", stats.visits_open)
        yield _gauge("server_pod_links_open", "Pod links open now.", stats.pod_links_open)
        yield _counters("server_pod_requests", "Requests to pods, by outcome.", "outcome", stats.pod_requests.items())
        yield _counter(
            "server_access_log_dropped_lines", "Lines of the access log that could not be written.", stats.access_lines_dropped
        )
        yield _counters("server_limits", "Bounds that were reached, by limit.", "limit", stats.limits.items())
        yield from _of_peers(stats.peers)
        if stats.registry is not None:
            yield from _of_registry(stats.registry)
        label = stats.labelled.tunnel_label
        yield from _tunnel_gauges("server", "Connectors attached now, by tunnel.", self._tunnels(), label)
        yield from _by_tunnel(stats.labelled)
        yield from _by_connector(stats.labelled)


class ClientCollector(Collector):
    """Collects the metrics of a client.

    :param stats: the counters.
    :param tunnels: returns the tunnels that the process joins; several items for one tunnel are added up.
    """

    def __init__(self, stats: ClientStats, tunnels: TunnelStatsSource) -> None:
        self._stats = stats
        self._tunnels = tunnels
        # only for its labels
        self._labelled = LabelledCounts()

    def collect(self) -> Iterator[Metric]:
        """The metrics, in the order of docs/metrics.md."""
        stats = self._stats
        yield _build_info()
        yield _counter("client_attempts", "Attempts to join a tunnel.", stats.attempts)
        yield _counter("client_joins", "Times that a tunnel was joined.", stats.joins)
        yield _counter("client_losses", "Links lost after they had joined.", stats.losses)
        yield _counters("client_streams", "Streams that ended, by outcome.", "outcome", stats.streams.items())
        yield _counter("client_target_sent_bytes", "Bytes passed to targets by ended streams.", stats.bytes_in)
        yield _counter("client_target_received_bytes", "Bytes passed from targets by ended streams.", stats.bytes_out)
        yield _counters("client_visitors", "Connections to local ports that ended, by outcome.", "outcome", stats.visitors.items())
        yield _gauge("client_visitors_open", "Connections to local ports open now.", stats.visitors_open)
        yield _counter("client_visitors_sent_bytes", "Bytes passed to the server by ended connections.", stats.visitor_bytes_in)
        yield _counter(
            "client_visitors_received_bytes", "Bytes passed from the server by ended connections.", stats.visitor_bytes_out
        )
        yield _counters(
            "client_dropped_datagrams", "Datagrams that were dropped, by reason.", "reason", stats.datagrams_dropped.items()
        )
        label = self._labelled.tunnel_label
        yield from _tunnel_gauges("client", "Connectors of this client that have joined, by tunnel.", self._tunnels(), label)


def exposition(stats: ServerStats | ClientStats, tunnels: TunnelStatsSource) -> bytes:
    """The metrics of a process in Prometheus' format.

    :param tunnels: returns what each tunnel carries.
    """
    collector = ServerCollector(stats, tunnels) if isinstance(stats, ServerStats) else ClientCollector(stats, tunnels)
    return generate_latest(make_registry(collector))


def _of_peers(stats: PeerStats) -> Iterator[Metric]:
    """What a server and others forward to each other."""
    yield _counter("peer_links", "Links between this server and others that came up.", stats.links)
    yield _gauge("peer_links_open", "Links between this server and others that are up now.", stats.links_open)
    yield _counters("peer_link_losses", "Links between servers that ended, by reason.", "reason", stats.losses.items())
    yield _counter("peer_failures", "Attempts to link two servers that failed.", stats.refused)
    streams = (("in", stats.streams_in), ("out", stats.streams_out))
    yield _counters("peer_streams", "Streams between servers, by direction: in for clients of this one.", "direction", streams)
    yield _counter("peer_streams_turned_away", "Streams of others whose client had left, or was full.", stats.turned_away)


def _of_registry(registry: RegistrySource) -> Iterator[Metric]:
    """What a server shares with others."""
    stats, status = registry.stats, registry.status()
    yield _gauge("registry_available", "Whether the shared registry answers.", int(status.available))
    yield _gauge("registry_complete", "Whether all is known that other servers have.", int(status.complete))
    yield _gauge("registry_servers", "Other servers that are known.", status.servers)
    yield _gauge("registry_connectors", "Connectors of other servers that are known.", status.connectors)
    yield _gauge("registry_records", "Records of this server in the shared registry.", status.published)
    yield _counter("registry_outages", "How often the shared registry was not available any more.", stats.outages)
    yield _counter("registry_changes", "Changes that were written.", stats.written)
    yield _counter("registry_rewrites", "How often all records were written anew.", stats.rewritten)
    yield _counter("registry_messages", "Messages received from the shared registry.", stats.messages)
    yield _counter("registry_malformed", "Messages and records that could not be read.", stats.malformed)
    yield _counter("registry_records_read", "Records that were read because something was missing.", stats.read)
    yield _counters("registry_claims", "Agreements between servers, by outcome.", "outcome", stats.claims.items())


def make_registry(collector: Collector) -> CollectorRegistry:
    """Return a registry with a collector and the usual process metrics (memory, file descriptors, CPU)."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _build_info() -> Metric:
    metric = GaugeMetricFamily("rtunnel_build_info", "The version, as a label; the value is 1.", labels=["version"])
    metric.add_metric([__version__], 1)
    return metric


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"rtunnel_{name}", text, value=value)


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(f"rtunnel_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> Metric:
    metric = CounterMetricFamily(f"rtunnel_{name}", text, labels=[label])
    for key, value in values:
        metric.add_metric([key], value)
    return metric


Label = Callable[[UUID], str]


def _tunnel_gauges(end: str, connectors_text: str, tunnels: Iterable[TunnelStats], label: Label) -> Iterator[Metric]:
    """Yield the gauges per tunnel.

    :param label: returns the label of a tunnel: the first characters of its ID, because the whole ID is a secret.
    """
    sums: dict[str, tuple[int, int]] = {}
    for tunnel in tunnels:
        connectors, streams = sums.get(label(tunnel.tunnel), (0, 0))
        sums[label(tunnel.tunnel)] = (connectors + tunnel.connectors, streams + tunnel.streams)
    joined = GaugeMetricFamily(f"rtunnel_{end}_connectors", connectors_text, labels=["tunnel"])
    opened = GaugeMetricFamily(f"rtunnel_{end}_streams_open", "Streams open now, by tunnel.", labels=["tunnel"])
    for name, (connectors, streams) in sums.items():
        joined.add_metric([name], connectors)
        opened.add_metric([name], streams)
    yield joined
    yield opened


def _by_tunnel(labelled: LabelledCounts) -> Iterator[Metric]:
    """Yield the counters per tunnel, which include connectors that are gone."""
    requests = CounterMetricFamily(
        "rtunnel_server_tunnel_requests",
        "Requests and connections, by tunnel and outcome.",
        labels=["tunnel", "outcome"],
    )
    received = CounterMetricFamily(
        "rtunnel_server_tunnel_received_bytes", "Bytes received over links, by tunnel.", labels=["tunnel"]
    )
    sent = CounterMetricFamily("rtunnel_server_tunnel_sent_bytes", "Bytes sent over links, by tunnel.", labels=["tunnel"])
    for tunnel, counts in labelled.by_tunnel().items():
        for outcome, count in ({Outcome.ANSWERED: 0} | counts.outcomes).items():
            requests.add_metric([tunnel, outcome], count)
        received.add_metric([tunnel], counts.received_bytes)
        sent.add_metric([tunnel], counts.sent_bytes)
    yield from (requests, received, sent)


def _by_connector(labelled: LabelledCounts) -> Iterator[Metric]:
    """Yield the metrics of attached connectors; those without a label of their own are added up."""
    labels = ["tunnel", "connector"]

    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"rtunnel_server_connector_{name}", text, labels=labels)

    def counter(name: str, text: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"rtunnel_server_connector_{name}", text, labels=labels)

    info = GaugeMetricFamily(
        "rtunnel_server_connector_info", "Whose connectors are, and what they intercept.", labels=[*labels, "holder", "intercept"]
    )
    weight = gauge("weight", "Weights of connectors.")
    round_trip = gauge("round_trip_seconds", "Round-trip times of links.")
    streams = gauge("streams_open", "Streams open now, by connector.")
    requests = counter("requests", "Requests and connections that ended, by connector.")
    received = counter("received_bytes", "Bytes received over the link of a connector.")
    sent = counter("sent_bytes", "Bytes sent over the link of a connector.")

    def add(names: list[str], open_streams: int, counts: Counts) -> None:
        streams.add_metric(names, open_streams)
        requests.add_metric(names, counts.requests)
        received.add_metric(names, counts.received_bytes)
        sent.add_metric(names, counts.sent_bytes)

    others, other_streams = Counts(), 0
    others.add(labelled.others)
    for connector in labelled.connector_stats():
        if not labelled.has_label(connector.connector):
            others.add(connector.counts)
            other_streams += connector.streams
            continue
        names = [labelled.tunnel_label(connector.tunnel), short_id(connector.connector)]
        info.add_metric([*names, connector.holder, connector.intercept], 1)
        weight.add_metric(names, connector.weight)
        if connector.round_trip is not None:
            round_trip.add_metric(names, connector.round_trip)
        add(names, connector.streams, connector.counts)
    if other_streams or others != Counts():
        add([OTHER, OTHER], other_streams, others)
    yield from (info, weight, round_trip, streams, requests, received, sent)
