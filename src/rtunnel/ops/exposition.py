"""The counts as Prometheus sees them: read when it asks, nothing kept in between.

Only the admin endpoint imports this module, so that a process without one does not carry the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rtunnel import __version__
from rtunnel.ops.metrics import ClientStats, ServerStats, TunnelLoad
from rtunnel.ops.names import short_id

__all__ = ["MOST_TUNNELS", "ClientCollector", "ServerCollector", "make_registry"]

MOST_TUNNELS = 100
"""Tunnels that get a label of their own; the rest is summed up as ``other``."""

Loads = Callable[[], Iterable[TunnelLoad]]


class ServerCollector(Collector):
    """Gives Prometheus the counts of a server.

    :param stats: the counts.
    :param loads: gives the tunnels that have a rule or a connector, each once or in parts.
    """

    def __init__(self, stats: ServerStats, loads: Loads) -> None:
        self._stats = stats
        self._loads = loads

    def collect(self) -> Iterator[Metric]:
        """The metrics, in the order of docs/metrics.md."""
        stats = self._stats
        yield _build_info()
        yield _counter("server_visitors", "Visitor connections accepted.", stats.visitors_total)
        yield _gauge("server_visitors_open", "Visitor connections open now.", stats.visitors_open)
        yield _counter("server_proxies_refused", "Connections of proxies without a valid PROXY header.", stats.proxies_refused)
        yield _counters("server_requests", "Requests of visitors, by how they ended.", "outcome", stats.requests.items())
        yield _counters(
            "server_tls_connections", "TLS connections passed through, by how they ended.", "outcome", stats.tls.items()
        )
        yield _counter("server_retries", "Requests sent again through another stream or connector.", stats.retries_total)
        yield _counter("server_received_bytes", "Bytes received from visitors.", stats.bytes_in)
        yield _counter("server_sent_bytes", "Bytes sent to visitors.", stats.bytes_out)
        yield _counter("server_links", "Links of clients admitted.", stats.links_total)
        yield _gauge("server_links_open", "Links of clients that are up now.", stats.links_open)
        yield _counters("server_link_losses", "Links that ended, by why.", "reason", stats.losses.items())
        yield _counter("server_streams", "Streams opened to connectors.", stats.streams_total)
        yield _counter(
            "server_access_log_dropped_lines", "Lines of the access log that could not be written.", stats.access_lines_dropped
        )
        yield from _load("server", "Connectors attached now, by the tunnel.", self._loads())


class ClientCollector(Collector):
    """Gives Prometheus the counts of a client.

    :param stats: the counts.
    :param loads: gives the tunnels that the process joins, each once or in parts.
    """

    def __init__(self, stats: ClientStats, loads: Loads) -> None:
        self._stats = stats
        self._loads = loads

    def collect(self) -> Iterator[Metric]:
        """The metrics, in the order of docs/metrics.md."""
        stats = self._stats
        yield _build_info()
        yield _counter("client_attempts", "Attempts to join a tunnel.", stats.attempts)
        yield _counter("client_joins", "Times that a tunnel was joined.", stats.joins)
        yield _counter("client_losses", "Links lost after they had joined.", stats.losses)
        yield _counters("client_streams", "Streams that ended, by how.", "outcome", stats.streams.items())
        yield _counter("client_target_sent_bytes", "Bytes passed to targets by ended streams.", stats.bytes_in)
        yield _counter("client_target_received_bytes", "Bytes passed from targets by ended streams.", stats.bytes_out)
        yield from _load("client", "Connectors of this client that have joined, by the tunnel.", self._loads())


def make_registry(collector: Collector) -> CollectorRegistry:
    """A registry with a collector of ours and what Prometheus expects of any process (memory, descriptors, CPU)."""
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
        metric.add_metric([key.replace(" ", "_")], value)
    return metric


def _load(end: str, connectors_text: str, loads: Iterable[TunnelLoad]) -> Iterator[Metric]:
    connectors = GaugeMetricFamily(f"rtunnel_{end}_connectors", connectors_text, labels=["tunnel"])
    streams = GaugeMetricFamily(f"rtunnel_{end}_streams_open", "Streams open now, by the tunnel.", labels=["tunnel"])
    for label, (joined, opened) in _by_label(loads).items():
        connectors.add_metric([label], joined)
        streams.add_metric([label], opened)
    yield connectors
    yield streams


def _by_label(loads: Iterable[TunnelLoad]) -> dict[str, tuple[int, int]]:
    """Sum up by the beginning of the tunnel's ID.

    Only the beginning: whoever knows a whole ID can join the tunnel, and ``/metrics`` asks nobody who he is.
    """
    sums: dict[str, tuple[int, int]] = {}
    for load in loads:
        label = short_id(load.tunnel)
        if label not in sums and len(sums) >= MOST_TUNNELS:
            label = "other"
        connectors, streams = sums.get(label, (0, 0))
        sums[label] = (connectors + load.connectors, streams + load.streams)
    return sums
