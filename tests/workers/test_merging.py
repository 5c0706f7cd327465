"""One view of several workers."""

from __future__ import annotations

import json
from typing import Any

import attrs
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.exposition import exposition
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.status import (
    ConnectorStatus,
    EntrypointStatus,
    ListenerStatus,
    PeerStatus,
    RegistryState,
    RuleStatus,
    ServiceStatus,
    TunnelStatus,
    WorkerStatus,
)
from rtunnel.workers.merging import merged_metrics, merged_status


def worker(number: int) -> WorkerStatus:
    return WorkerStatus(number=number, pid=100 + number, state="ready", since=1.5, restarts=number - 1, links=0, visitors=0)


def connector(name: str, since: str) -> ConnectorStatus:
    return ConnectorStatus(
        id=name,
        tunnel="7a0c6a1e",
        network="tcp",
        state="joined",
        peer="192.0.2.1:1",
        weight=1,
        name=name,
        intercept=("path=/api",),
        since=since,  # type: ignore[arg-type]
        streams=2,
        requests=3,
        received_bytes=4,
        sent_bytes=5,
        round_trip=None,
    )


def document(visitors: int, connectors: tuple[ConnectorStatus, ...], streams: int) -> dict[str, Any]:
    """What a worker answers."""
    status = ServiceStatus(
        role="server",
        listeners=(ListenerStatus(address="*:8421", transport="ws", links=len(connectors)),),
        entrypoints=(EntrypointStatus(address="*:80", protocols=("http", "tls"), visitors=visitors),),
        rules=(RuleStatus(host="pod.local", tunnel="7a0c6a1e", private=False),),
        tunnels=(TunnelStatus(tunnel="7a0c6a1e", connectors=3, streams=streams),),
        connectors=connectors,
        registry=(RegistryState(address="redis", state="available", servers=2, connectors=2, published=1, reason=None),),
        peers=(PeerStatus(server="5f1c", name="other", address="a:1", state="up", connectors=1, streams=streams),),
    )
    written: dict[str, Any] = json.loads(json.dumps(attrs.asdict(status)))
    return written


class StatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.late, self.early, self.third = connector("b", "2026-02"), connector("a", "2026-01"), connector("c", "2026-03")
        self.documents = {1: document(4, (self.late, self.third), 5), 3: document(1, (self.early,), 1)}

    def test_sums(self) -> None:
        """Each connector once, links and visitors added up; the one that did not answer is there with what is known of it."""
        merged = merged_status(self.documents, map(worker, (1, 2, 3)), shares_alone=True)
        self.assertEqual([listener.links for listener in merged.listeners], [3])
        self.assertEqual([(one.protocols, one.visitors) for one in merged.entrypoints], [(("http", "tls"), 5)])
        self.assertEqual(len(merged.rules), 1)
        self.assertEqual([(tunnel.connectors, tunnel.streams) for tunnel in merged.tunnels], [(3, 6)])
        self.assertEqual(merged.connectors, (self.early, self.late, self.third))
        self.assertEqual([(one.number, one.links, one.visitors) for one in merged.workers], [(1, 2, 4), (2, 0, 0), (3, 1, 1)])
        self.assertEqual((merged.registry, merged.peers), ((), ()))

    def test_other_servers(self) -> None:
        merged = merged_status(self.documents, (), shares_alone=False)
        self.assertEqual(len(merged.registry), 2)
        self.assertEqual([(peer.connectors, peer.streams) for peer in merged.peers], [(1, 6)])

    def test_nobody_answers(self) -> None:
        merged = merged_status({}, [worker(1)], shares_alone=True)
        self.assertEqual((merged.listeners, merged.connectors, len(merged.workers)), ((), (), 1))


class MetricsTests(SynchronousTestCase):
    def test_labels(self) -> None:
        one, two = ServerStats(), ServerStats()
        one.visitors_total, two.visitors_total = 3, 4
        texts = {1: exposition(one, list), 2: exposition(two, list)}
        merged = merged_metrics(texts, running=2, restarts=1).decode()
        samples = {
            (sample.name, sample.labels.get("worker")): sample.value
            for family in text_string_to_metric_families(merged)
            for sample in family.samples
        }
        self.assertEqual(samples["rtunnel_server_visitors_total", "1"], 3)
        self.assertEqual(samples["rtunnel_server_visitors_total", "2"], 4)
        self.assertEqual((samples["rtunnel_workers", None], samples["rtunnel_worker_restarts_total", None]), (2, 1))
        self.assertIn(("process_resident_memory_bytes", "supervisor"), samples)
        self.assertEqual(merged.count("# TYPE rtunnel_server_visitors_total counter"), 1)
