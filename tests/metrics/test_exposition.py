"""What Prometheus reads."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from twisted.trial.unittest import SynchronousTestCase

from rtunnel import __version__
from rtunnel.metrics.exposition import ClientCollector, ServerCollector, make_registry
from rtunnel.metrics.labelled_counts import MAX_CONNECTORS, MAX_TUNNELS, ConnectorStats, Counts
from rtunnel.metrics.stats import ClientStats, PeerStats, RegistryStats, RegistryStatus, ServerStats, TunnelStats
from rtunnel.outcomes import DatagramLoss, Limit, LinkEnd, LocalPortOutcome, Outcome, StreamOutcome, TlsOutcome, VisitOutcome
from rtunnel.workers.merging import merged_metrics
from tests.support.ids import TUNNEL

CONNECTOR = UUID("216d6bcf-59dc-4c70-999e-91a30813ac78")
PAGE = Path(__file__).parent.parent.parent / "docs" / "metrics.md"

SERVER = f"""\
# HELP rtunnel_build_info The version, as a label; the value is 1.
# TYPE rtunnel_build_info gauge
rtunnel_build_info{{version="{__version__}"}} 1.0
# HELP rtunnel_server_visitors_total Visitor connections accepted.
# TYPE rtunnel_server_visitors_total counter
rtunnel_server_visitors_total 5.0
# HELP rtunnel_server_visitors_open Visitor connections open now.
# TYPE rtunnel_server_visitors_open gauge
rtunnel_server_visitors_open 2.0
# HELP rtunnel_server_proxies_refused_total Connections of proxies without a valid PROXY header.
# TYPE rtunnel_server_proxies_refused_total counter
rtunnel_server_proxies_refused_total 6.0
# HELP rtunnel_server_requests_total Requests of visitors, by outcome.
# TYPE rtunnel_server_requests_total counter
rtunnel_server_requests_total{{outcome="answered"}} 1.0
rtunnel_server_requests_total{{outcome="upgraded"}} 0.0
rtunnel_server_requests_total{{outcome="bad_request"}} 0.0
rtunnel_server_requests_total{{outcome="request_timeout"}} 0.0
rtunnel_server_requests_total{{outcome="session"}} 0.0
rtunnel_server_requests_total{{outcome="unknown_host"}} 0.0
rtunnel_server_requests_total{{outcome="loop"}} 0.0
rtunnel_server_requests_total{{outcome="no_connector"}} 1.0
rtunnel_server_requests_total{{outcome="holder_absent"}} 0.0
rtunnel_server_requests_total{{outcome="overloaded"}} 0.0
rtunnel_server_requests_total{{outcome="target_failed"}} 0.0
rtunnel_server_requests_total{{outcome="response_timeout"}} 0.0
rtunnel_server_requests_total{{outcome="visitor_gone"}} 0.0
rtunnel_server_requests_total{{outcome="stalled"}} 0.0
rtunnel_server_requests_total{{outcome="aborted"}} 0.0
rtunnel_server_requests_total{{outcome="stopped"}} 0.0
rtunnel_server_requests_total{{outcome="error"}} 0.0
# HELP rtunnel_server_tls_connections_total TLS connections passed through, by outcome.
# TYPE rtunnel_server_tls_connections_total counter
rtunnel_server_tls_connections_total{{outcome="done"}} 0.0
rtunnel_server_tls_connections_total{{outcome="visitor_gone"}} 0.0
rtunnel_server_tls_connections_total{{outcome="stalled"}} 0.0
rtunnel_server_tls_connections_total{{outcome="target_gone"}} 0.0
rtunnel_server_tls_connections_total{{outcome="target_failed"}} 0.0
rtunnel_server_tls_connections_total{{outcome="no_connector"}} 0.0
rtunnel_server_tls_connections_total{{outcome="overloaded"}} 0.0
rtunnel_server_tls_connections_total{{outcome="unknown_name"}} 1.0
rtunnel_server_tls_connections_total{{outcome="bad_hello"}} 0.0
rtunnel_server_tls_connections_total{{outcome="hello_timeout"}} 0.0
rtunnel_server_tls_connections_total{{outcome="response_timeout"}} 0.0
rtunnel_server_tls_connections_total{{outcome="stopped"}} 0.0
rtunnel_server_tls_connections_total{{outcome="error"}} 0.0
# HELP rtunnel_server_retries_total Requests sent again through another stream or connector.
# TYPE rtunnel_server_retries_total counter
rtunnel_server_retries_total 1.0
# HELP rtunnel_server_received_bytes_total Bytes received from visitors.
# TYPE rtunnel_server_received_bytes_total counter
rtunnel_server_received_bytes_total 1234.0
# HELP rtunnel_server_sent_bytes_total Bytes sent to visitors.
# TYPE rtunnel_server_sent_bytes_total counter
rtunnel_server_sent_bytes_total 56789.0
# HELP rtunnel_server_links_total Links of clients admitted.
# TYPE rtunnel_server_links_total counter
rtunnel_server_links_total 3.0
# HELP rtunnel_server_links_open Links of clients that are up now.
# TYPE rtunnel_server_links_open gauge
rtunnel_server_links_open 2.0
# HELP rtunnel_server_link_losses_total Links that ended, by reason.
# TYPE rtunnel_server_link_losses_total counter
rtunnel_server_link_losses_total{{reason="closed"}} 0.0
rtunnel_server_link_losses_total{{reason="lost"}} 1.0
rtunnel_server_link_losses_total{{reason="keepalive_timeout"}} 0.0
rtunnel_server_link_losses_total{{reason="protocol_error"}} 0.0
rtunnel_server_link_losses_total{{reason="stalled"}} 0.0
rtunnel_server_link_losses_total{{reason="overflowed"}} 0.0
rtunnel_server_link_losses_total{{reason="flooded"}} 0.0
rtunnel_server_link_losses_total{{reason="failed"}} 0.0
rtunnel_server_link_losses_total{{reason="server_stopped"}} 0.0
rtunnel_server_link_losses_total{{reason="unrouted"}} 0.0
rtunnel_server_link_losses_total{{reason="forbidden"}} 0.0
rtunnel_server_link_losses_total{{reason="lease_ended"}} 0.0
# HELP rtunnel_server_refusals_total Clients that were rejected, by reason.
# TYPE rtunnel_server_refusals_total counter
rtunnel_server_refusals_total{{reason="bad_request"}} 0.0
rtunnel_server_refusals_total{{reason="timeout"}} 0.0
rtunnel_server_refusals_total{{reason="no_password"}} 0.0
rtunnel_server_refusals_total{{reason="wrong_password"}} 0.0
rtunnel_server_refusals_total{{reason="throttled"}} 0.0
rtunnel_server_refusals_total{{reason="unknown_tunnel"}} 0.0
rtunnel_server_refusals_total{{reason="forbidden"}} 0.0
rtunnel_server_refusals_total{{reason="intercept_taken"}} 0.0
rtunnel_server_refusals_total{{reason="not_agreed"}} 0.0
rtunnel_server_refusals_total{{reason="policy"}} 0.0
rtunnel_server_refusals_total{{reason="failed"}} 0.0
rtunnel_server_refusals_total{{reason="stopping"}} 0.0
rtunnel_server_refusals_total{{reason="too_many"}} 0.0
# HELP rtunnel_server_streams_total Streams opened to connectors.
# TYPE rtunnel_server_streams_total counter
rtunnel_server_streams_total 7.0
# HELP rtunnel_server_visits_total Visits of private tunnels that ended, by outcome.
# TYPE rtunnel_server_visits_total counter
rtunnel_server_visits_total{{outcome="done"}} 0.0
rtunnel_server_visits_total{{outcome="visitor_gone"}} 0.0
rtunnel_server_visits_total{{outcome="stalled"}} 0.0
rtunnel_server_visits_total{{outcome="target_gone"}} 0.0
rtunnel_server_visits_total{{outcome="target_failed"}} 0.0
rtunnel_server_visits_total{{outcome="no_connector"}} 3.0
rtunnel_server_visits_total{{outcome="overloaded"}} 0.0
rtunnel_server_visits_total{{outcome="wrong_tunnel"}} 0.0
rtunnel_server_visits_total{{outcome="unknown_host"}} 0.0
rtunnel_server_visits_total{{outcome="forbidden"}} 0.0
rtunnel_server_visits_total{{outcome="bad_request"}} 0.0
rtunnel_server_visits_total{{outcome="stopped"}} 0.0
rtunnel_server_visits_total{{outcome="error"}} 0.0
# HELP rtunnel_server_visits_open Visits open now.
# TYPE rtunnel_server_visits_open gauge
rtunnel_server_visits_open 6.0
# HELP rtunnel_server_pod_links_open Pod links open now.
# TYPE rtunnel_server_pod_links_open gauge
rtunnel_server_pod_links_open 0.0
# HELP rtunnel_server_pod_requests_total Requests to pods, by outcome.
# TYPE rtunnel_server_pod_requests_total counter
rtunnel_server_pod_requests_total{{outcome="granted"}} 0.0
rtunnel_server_pod_requests_total{{outcome="not_allowed"}} 0.0
rtunnel_server_pod_requests_total{{outcome="no_name"}} 0.0
rtunnel_server_pod_requests_total{{outcome="no_dns"}} 0.0
rtunnel_server_pod_requests_total{{outcome="refused"}} 0.0
rtunnel_server_pod_requests_total{{outcome="unreachable"}} 0.0
rtunnel_server_pod_requests_total{{outcome="timed_out"}} 0.0
rtunnel_server_pod_requests_total{{outcome="busy"}} 0.0
rtunnel_server_pod_requests_total{{outcome="no_pod"}} 0.0
rtunnel_server_pod_requests_total{{outcome="failed"}} 0.0
# HELP rtunnel_server_access_log_dropped_lines_total Lines of the access log that could not be written.
# TYPE rtunnel_server_access_log_dropped_lines_total counter
rtunnel_server_access_log_dropped_lines_total 0.0
# HELP rtunnel_server_limits_total Bounds that were reached, by limit.
# TYPE rtunnel_server_limits_total counter
rtunnel_server_limits_total{{limit="pipelined"}} 2.0
# HELP rtunnel_peer_links_total Links between this server and others that came up.
# TYPE rtunnel_peer_links_total counter
rtunnel_peer_links_total 3.0
# HELP rtunnel_peer_links_open Links between this server and others that are up now.
# TYPE rtunnel_peer_links_open gauge
rtunnel_peer_links_open 2.0
# HELP rtunnel_peer_link_losses_total Links between servers that ended, by reason.
# TYPE rtunnel_peer_link_losses_total counter
rtunnel_peer_link_losses_total{{reason="lost"}} 1.0
# HELP rtunnel_peer_failures_total Attempts to link two servers that failed.
# TYPE rtunnel_peer_failures_total counter
rtunnel_peer_failures_total 4.0
# HELP rtunnel_peer_streams_total Streams between servers, by direction: in for clients of this one.
# TYPE rtunnel_peer_streams_total counter
rtunnel_peer_streams_total{{direction="in"}} 5.0
rtunnel_peer_streams_total{{direction="out"}} 6.0
# HELP rtunnel_peer_streams_turned_away_total Streams of others whose client had left, or was full.
# TYPE rtunnel_peer_streams_turned_away_total counter
rtunnel_peer_streams_turned_away_total 7.0
# HELP rtunnel_server_connectors Connectors attached now, by tunnel.
# TYPE rtunnel_server_connectors gauge
rtunnel_server_connectors{{tunnel="10bc451e"}} 2.0
# HELP rtunnel_server_streams_open Streams open now, by tunnel.
# TYPE rtunnel_server_streams_open gauge
rtunnel_server_streams_open{{tunnel="10bc451e"}} 4.0
# HELP rtunnel_server_tunnel_requests_total Requests and connections, by tunnel and outcome.
# TYPE rtunnel_server_tunnel_requests_total counter
rtunnel_server_tunnel_requests_total{{outcome="answered",tunnel="10bc451e"}} 8.0
rtunnel_server_tunnel_requests_total{{outcome="aborted",tunnel="10bc451e"}} 2.0
# HELP rtunnel_server_tunnel_received_bytes_total Bytes received over links, by tunnel.
# TYPE rtunnel_server_tunnel_received_bytes_total counter
rtunnel_server_tunnel_received_bytes_total{{tunnel="10bc451e"}} 1000.0
# HELP rtunnel_server_tunnel_sent_bytes_total Bytes sent over links, by tunnel.
# TYPE rtunnel_server_tunnel_sent_bytes_total counter
rtunnel_server_tunnel_sent_bytes_total{{tunnel="10bc451e"}} 2000.0
# HELP rtunnel_server_connector_info Whose connectors are, and what they intercept.
# TYPE rtunnel_server_connector_info gauge
rtunnel_server_connector_info{{connector="216d6bcf",holder="alice",intercept="header:x-user=\\"alice\\"",tunnel="10bc451e"}} 1.0
# HELP rtunnel_server_connector_weight Weights of connectors.
# TYPE rtunnel_server_connector_weight gauge
rtunnel_server_connector_weight{{connector="216d6bcf",tunnel="10bc451e"}} 3.0
# HELP rtunnel_server_connector_round_trip_seconds Round-trip times of links.
# TYPE rtunnel_server_connector_round_trip_seconds gauge
rtunnel_server_connector_round_trip_seconds{{connector="216d6bcf",tunnel="10bc451e"}} 0.25
# HELP rtunnel_server_connector_streams_open Streams open now, by connector.
# TYPE rtunnel_server_connector_streams_open gauge
rtunnel_server_connector_streams_open{{connector="216d6bcf",tunnel="10bc451e"}} 4.0
# HELP rtunnel_server_connector_requests_total Requests and connections that ended, by connector.
# TYPE rtunnel_server_connector_requests_total counter
rtunnel_server_connector_requests_total{{connector="216d6bcf",tunnel="10bc451e"}} 10.0
# HELP rtunnel_server_connector_received_bytes_total Bytes received over the link of a connector.
# TYPE rtunnel_server_connector_received_bytes_total counter
rtunnel_server_connector_received_bytes_total{{connector="216d6bcf",tunnel="10bc451e"}} 1000.0
# HELP rtunnel_server_connector_sent_bytes_total Bytes sent over the link of a connector.
# TYPE rtunnel_server_connector_sent_bytes_total counter
rtunnel_server_connector_sent_bytes_total{{connector="216d6bcf",tunnel="10bc451e"}} 2000.0
"""

CLIENT = f"""\
# HELP rtunnel_build_info The version, as a label; the value is 1.
# TYPE rtunnel_build_info gauge
rtunnel_build_info{{version="{__version__}"}} 1.0
# HELP rtunnel_client_attempts_total Attempts to join a tunnel.
# TYPE rtunnel_client_attempts_total counter
rtunnel_client_attempts_total 4.0
# HELP rtunnel_client_joins_total Times that a tunnel was joined.
# TYPE rtunnel_client_joins_total counter
rtunnel_client_joins_total 2.0
# HELP rtunnel_client_losses_total Links lost after they had joined.
# TYPE rtunnel_client_losses_total counter
rtunnel_client_losses_total 1.0
# HELP rtunnel_client_streams_total Streams that ended, by outcome.
# TYPE rtunnel_client_streams_total counter
rtunnel_client_streams_total{{outcome="done"}} 0.0
rtunnel_client_streams_total{{outcome="visitor_lost"}} 0.0
rtunnel_client_streams_total{{outcome="target_lost"}} 0.0
rtunnel_client_streams_total{{outcome="target_refused"}} 1.0
rtunnel_client_streams_total{{outcome="no_target"}} 0.0
rtunnel_client_streams_total{{outcome="bad_request"}} 0.0
rtunnel_client_streams_total{{outcome="bad_preface"}} 0.0
rtunnel_client_streams_total{{outcome="stopped"}} 0.0
rtunnel_client_streams_total{{outcome="too_many"}} 0.0
# HELP rtunnel_client_target_sent_bytes_total Bytes passed to targets by ended streams.
# TYPE rtunnel_client_target_sent_bytes_total counter
rtunnel_client_target_sent_bytes_total 10.0
# HELP rtunnel_client_target_received_bytes_total Bytes passed from targets by ended streams.
# TYPE rtunnel_client_target_received_bytes_total counter
rtunnel_client_target_received_bytes_total 20.0
# HELP rtunnel_client_visitors_total Connections to local ports that ended, by outcome.
# TYPE rtunnel_client_visitors_total counter
rtunnel_client_visitors_total{{outcome="done"}} 0.0
rtunnel_client_visitors_total{{outcome="local_gone"}} 0.0
rtunnel_client_visitors_total{{outcome="remote_gone"}} 0.0
rtunnel_client_visitors_total{{outcome="refused"}} 4.0
rtunnel_client_visitors_total{{outcome="unreachable"}} 0.0
rtunnel_client_visitors_total{{outcome="evicted"}} 0.0
rtunnel_client_visitors_total{{outcome="stopped"}} 0.0
# HELP rtunnel_client_visitors_open Connections to local ports open now.
# TYPE rtunnel_client_visitors_open gauge
rtunnel_client_visitors_open 5.0
# HELP rtunnel_client_visitors_sent_bytes_total Bytes passed to the server by ended connections.
# TYPE rtunnel_client_visitors_sent_bytes_total counter
rtunnel_client_visitors_sent_bytes_total 6.0
# HELP rtunnel_client_visitors_received_bytes_total Bytes passed from the server by ended connections.
# TYPE rtunnel_client_visitors_received_bytes_total counter
rtunnel_client_visitors_received_bytes_total 7.0
# HELP rtunnel_client_dropped_datagrams_total Datagrams that were dropped, by reason.
# TYPE rtunnel_client_dropped_datagrams_total counter
rtunnel_client_dropped_datagrams_total{{reason="queue_full"}} 3.0
rtunnel_client_dropped_datagrams_total{{reason="expired"}} 0.0
rtunnel_client_dropped_datagrams_total{{reason="refused"}} 0.0
rtunnel_client_dropped_datagrams_total{{reason="cooldown"}} 1.0
# HELP rtunnel_client_connectors Connectors of this client that have joined, by tunnel.
# TYPE rtunnel_client_connectors gauge
rtunnel_client_connectors{{tunnel="10bc451e"}} 1.0
# HELP rtunnel_client_streams_open Streams open now, by tunnel.
# TYPE rtunnel_client_streams_open gauge
rtunnel_client_streams_open{{tunnel="10bc451e"}} 3.0
"""


def load(connector: UUID = CONNECTOR, tunnel: UUID = TUNNEL, *, requests: int = 8, streams: int = 4) -> ConnectorStats:
    """Return what a connector carries."""
    counts = Counts({"answered": requests, "aborted": 2}, 1000, 2000)
    return ConnectorStats(
        connector=connector,
        tunnel=tunnel,
        weight=3,
        streams=streams,
        round_trip=0.25,
        counts=counts,
        holder="alice",
        intercept='header:x-user="alice"',
    )


def text(collector: Collector) -> str:
    """Return what a scrape of this collector alone gives."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def server_stats() -> ServerStats:
    """Return counts that differ from each other."""
    stats = ServerStats(
        visitors_total=5,
        visitors_open=2,
        retries_total=1,
        bytes_in=1234,
        bytes_out=56789,
        links_total=3,
        links_open=2,
        streams_total=7,
        visits_open=6,
        proxies_refused=6,
    )
    stats.visits[VisitOutcome.NO_CONNECTOR] += 3
    stats.record(Outcome.ANSWERED)
    stats.record(Outcome.NO_CONNECTOR)
    stats.tls[TlsOutcome.UNKNOWN_NAME] += 1
    stats.link_lost(LinkEnd.LOST)
    stats.limits = {Limit.PIPELINED: 2}
    stats.peers = PeerStats(links=3, links_open=2, losses={LinkEnd.LOST: 1}, refused=4, streams_in=5, streams_out=6, turned_away=7)
    stats.labelled.join(CONNECTOR, load)
    return stats


def client_stats() -> ClientStats:
    """Return counts that differ from each other."""
    stats = ClientStats(
        attempts=4, joins=2, losses=1, bytes_in=10, bytes_out=20, visitors_open=5, visitor_bytes_in=6, visitor_bytes_out=7
    )
    stats.visitors[LocalPortOutcome.REFUSED] += 4
    stats.datagrams_dropped[DatagramLoss.QUEUE_FULL] += 3
    stats.drop(DatagramLoss.COOLDOWN)
    stats.record(StreamOutcome.TARGET_REFUSED)
    return stats


class TextTests(SynchronousTestCase):
    maxDiff = None

    def test_server(self) -> None:
        self.assertEqual(text(ServerCollector(server_stats(), lambda: [TunnelStats(TUNNEL, 2, 4)])), SERVER)

    def test_client(self) -> None:
        self.assertEqual(text(ClientCollector(client_stats(), lambda: [TunnelStats(TUNNEL, 1, 3)])), CLIENT)

    def test_a_scrape_reads_the_counts_of_that_moment(self) -> None:
        stats = ServerStats()
        collector = ServerCollector(stats, list)
        self.assertIn("rtunnel_server_visitors_total 0.0", text(collector))
        stats.visitors_total += 1
        self.assertIn("rtunnel_server_visitors_total 1.0", text(collector))


class LoadTests(SynchronousTestCase):
    """The labels of tunnels are few and tell no secret."""

    def loads(self, *loads: TunnelStats) -> dict[str, float]:
        families = text_string_to_metric_families(text(ServerCollector(ServerStats(), lambda: loads)))
        (family,) = (family for family in families if family.name == "rtunnel_server_connectors")
        return {sample.labels["tunnel"]: sample.value for sample in family.samples}

    def test_no_tunnel(self) -> None:
        self.assertEqual(self.loads(), {})

    def test_the_whole_id_is_not_shown(self) -> None:
        shown = text(ServerCollector(ServerStats(), lambda: [TunnelStats(TUNNEL, 1, 0)]))
        self.assertNotIn(str(TUNNEL), shown)

    def test_parts_are_summed(self) -> None:
        other = UUID(int=TUNNEL.int + 1)
        self.assertEqual(self.loads(TunnelStats(TUNNEL, 1, 0), TunnelStats(other, 2, 0)), {"10bc451e": 3.0})

    def test_many_tunnels(self) -> None:
        loads = [TunnelStats(UUID(int=number << 96), 1, 0) for number in range(MAX_TUNNELS + 5)]
        found = self.loads(*loads)
        self.assertEqual(len(found), MAX_TUNNELS + 1)
        self.assertEqual(found["other"], 5.0)


class ConnectorTests(SynchronousTestCase):
    """Few labels, and no count that goes down."""

    def setUp(self) -> None:
        self.stats = ServerStats()
        self.collector = ServerCollector(self.stats, list)

    def samples(self, name: str, label: str) -> dict[str, float]:
        families = text_string_to_metric_families(text(self.collector))
        return {
            sample.labels[label]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"rtunnel_{name}"
        }

    def join(self, number: int) -> UUID:
        connector = UUID(int=number << 96)
        self.stats.labelled.join(connector, lambda: load(connector, requests=number))
        return connector

    def leave(self, connector: UUID) -> None:
        self.stats.labelled.leave(connector)

    def test_gone_ones_count_for_their_tunnel(self) -> None:
        first, _ = self.join(5), self.join(7)
        before = self.samples("server_tunnel_sent_bytes_total", "tunnel")
        self.assertEqual(before, {"10bc451e": 4000.0})
        self.leave(first)
        self.assertEqual(self.samples("server_tunnel_sent_bytes_total", "tunnel"), before)
        self.assertEqual(self.samples("server_tunnel_requests_total", "outcome"), {"answered": 12.0, "aborted": 4.0})
        self.assertEqual(self.samples("server_connector_requests_total", "connector"), {"00000007": 9.0})

    def test_many_connectors(self) -> None:
        """The hundred first have labels; what comes later is ``other`` as long as it lives, and its counts stay there."""
        connectors = [self.join(number) for number in range(MAX_CONNECTORS + 3)]
        found = self.samples("server_connector_requests_total", "connector")
        self.assertEqual(len(found), MAX_CONNECTORS + 1)
        self.assertEqual(found["other"], 100 + 101 + 102 + 3 * 2)
        self.assertEqual(self.samples("server_connector_streams_open", "connector")["other"], 12)
        self.assertEqual(len(self.samples("server_connector_weight", "connector")), MAX_CONNECTORS)
        self.leave(connectors[0])
        self.leave(connectors[101])
        after = self.samples("server_connector_requests_total", "connector")
        self.assertEqual((len(after), after["other"]), (MAX_CONNECTORS, found["other"]))
        newcomer = self.join(500)
        self.assertIn(str(newcomer)[:8], self.samples("server_connector_requests_total", "connector"))

    def test_labels_of_tunnels_stay(self) -> None:
        """Whoever came after the hundredth is ``other`` for good."""
        labelled = self.stats.labelled
        tunnels = [UUID(int=number << 96) for number in range(MAX_TUNNELS + 2)]
        labels = [labelled.tunnel_label(tunnel) for tunnel in tunnels]
        self.assertEqual(labels[MAX_TUNNELS:], ["other", "other"])
        self.assertEqual(len(set(labels)), MAX_TUNNELS + 1)
        self.assertEqual([labelled.tunnel_label(tunnel) for tunnel in reversed(tunnels)], labels[::-1])
        labelled.count_unrouted(tunnels[-1], "no_connector")
        self.assertEqual(labelled.by_tunnel()["other"].outcomes, {"no_connector": 1})

    def test_unserved(self) -> None:
        self.stats.labelled.count_unrouted(TUNNEL, "no_connector")
        self.assertEqual(self.samples("server_tunnel_requests_total", "outcome"), {"answered": 0.0, "no_connector": 1.0})


REGISTRY = """\
# HELP rtunnel_registry_available Whether the shared registry answers.
# TYPE rtunnel_registry_available gauge
rtunnel_registry_available 1.0
# HELP rtunnel_registry_complete Whether all is known that other servers have.
# TYPE rtunnel_registry_complete gauge
rtunnel_registry_complete 1.0
# HELP rtunnel_registry_servers Other servers that are known.
# TYPE rtunnel_registry_servers gauge
rtunnel_registry_servers 2.0
# HELP rtunnel_registry_connectors Connectors of other servers that are known.
# TYPE rtunnel_registry_connectors gauge
rtunnel_registry_connectors 7.0
# HELP rtunnel_registry_records Records of this server in the shared registry.
# TYPE rtunnel_registry_records gauge
rtunnel_registry_records 5.0
# HELP rtunnel_registry_outages_total How often the shared registry was not available any more.
# TYPE rtunnel_registry_outages_total counter
rtunnel_registry_outages_total 1.0
# HELP rtunnel_registry_changes_total Changes that were written.
# TYPE rtunnel_registry_changes_total counter
rtunnel_registry_changes_total 3.0
# HELP rtunnel_registry_rewrites_total How often all records were written anew.
# TYPE rtunnel_registry_rewrites_total counter
rtunnel_registry_rewrites_total 4.0
# HELP rtunnel_registry_messages_total Messages received from the shared registry.
# TYPE rtunnel_registry_messages_total counter
rtunnel_registry_messages_total 9.0
# HELP rtunnel_registry_malformed_total Messages and records that could not be read.
# TYPE rtunnel_registry_malformed_total counter
rtunnel_registry_malformed_total 2.0
# HELP rtunnel_registry_records_read_total Records that were read because something was missing.
# TYPE rtunnel_registry_records_read_total counter
rtunnel_registry_records_read_total 6.0
# HELP rtunnel_registry_claims_total Agreements between servers, by outcome.
# TYPE rtunnel_registry_claims_total counter
rtunnel_registry_claims_total{outcome="agreed"} 8.0
rtunnel_registry_claims_total{outcome="refused"} 0.0
rtunnel_registry_claims_total{outcome="unavailable"} 0.0
"""


class SharedRegistry:
    """As the metrics see it."""

    def __init__(self) -> None:
        self.stats = RegistryStats(messages=9, malformed=2, written=3, rewritten=4, read=6, outages=1)
        self.stats.claims["agreed"] = 8

    def status(self) -> RegistryStatus:
        return RegistryStatus(address="redis://r:1", available=True, complete=True, servers=2, connectors=7, published=5)


class SharedRegistryTests(SynchronousTestCase):
    def test_only_with_a_registry(self) -> None:
        stats = ServerStats(registry=SharedRegistry())
        shown = text(ServerCollector(stats, list))
        start, end = shown.index("# HELP rtunnel_registry"), shown.index("# HELP rtunnel_server_connectors ")
        self.assertEqual(shown[start:end], REGISTRY)


class RegistryTests(SynchronousTestCase):
    def test_process_metrics_are_there(self) -> None:
        shown = generate_latest(make_registry(ServerCollector(ServerStats(), list))).decode()
        self.assertIn("rtunnel_server_visitors_total", shown)
        self.assertIn("process_open_fds", shown)

    def test_each_process_has_its_own(self) -> None:
        """Nothing is registered globally, so two services can live in one process."""
        for _ in range(2):
            make_registry(ServerCollector(ServerStats(), list))


class PageTests(SynchronousTestCase):
    def test_the_page_lists_what_there_is(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        listed = set(re.findall(r"\brtunnel_\w+", page))
        workers = merged_metrics({}, running=0, restarts=0).decode()
        exported = set(re.findall(r"^# TYPE (rtunnel_\w+)", SERVER + REGISTRY + CLIENT + workers, re.MULTILINE))
        self.assertEqual(listed, exported)

    def test_the_page_lists_the_labels(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        for label in re.findall(r'(?:outcome|reason)="(\w+)"', SERVER + CLIENT):
            self.assertIn(f"`{label}`", page)
