"""One view of several workers: what each answers, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

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

__all__ = ["SUPERVISOR", "merged_metrics", "merged_status"]

SUPERVISOR = "supervisor"
"""Its label, among the numbers of the workers."""

Document = Mapping[str, Any]
Row = TypeVar("Row")


def merged_status(documents: Mapping[int, Document], workers: Iterable[WorkerStatus], *, shares_alone: bool) -> ServiceStatus:
    """The status of all workers together: each connector once, counts added up.

    :param documents: what the workers that answer say at ``/status``, by their numbers.
    :param workers: what the supervisor knows of all of them; links and visitors are filled in.
    :param shares_alone: whether they share with nobody but each other, so that registry and peers are nothing to tell.
    """
    first: Document = next(iter(documents.values()), {})

    def rows(name: str) -> list[dict[str, Any]]:
        return [row for document in documents.values() for row in document[name]]

    connectors = [ConnectorStatus(**_tuples(row)) for row in rows("connectors")]
    return ServiceStatus(
        role="server",
        listeners=tuple(_sums(ListenerStatus, rows("listeners"), "address", links=sum)),
        entrypoints=tuple(_sums(EntrypointStatus, rows("entrypoints"), "address", visitors=sum)),
        rules=tuple(RuleStatus(**row) for row in first.get("rules", ())),
        # each of them knows all connectors
        tunnels=tuple(_sums(TunnelStatus, rows("tunnels"), "tunnel", connectors=max, streams=sum)),
        connectors=tuple(sorted(connectors, key=lambda connector: str(connector.since))),
        registry=() if shares_alone else tuple(RegistryState(**row) for row in rows("registry")),
        peers=() if shares_alone else tuple(_sums(PeerStatus, rows("peers"), "server", connectors=max, streams=sum)),
        workers=tuple(_counted(worker, documents.get(worker.number)) for worker in workers),
    )


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def _sums(kind: Callable[..., Row], rows: Iterable[dict[str, Any]], key: str, **counts: Callable[[list[int]], int]) -> list[Row]:
    """Rows with the same key as one, in the order in which they come."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_key.setdefault(row[key], []).append(row)
    return [
        kind(**_tuples(same[0]) | {name: add([row[name] for row in same]) for name, add in counts.items()})
        for same in by_key.values()
    ]


def _counted(worker: WorkerStatus, document: Document | None) -> WorkerStatus:
    if document is None:
        return worker
    links = sum(listener["links"] for listener in document["listeners"])
    visitors = sum(entrypoint["visitors"] for entrypoint in document["entrypoints"])
    return attrs.evolve(worker, links=links, visitors=visitors)


def merged_metrics(texts: Mapping[int, bytes], *, running: int, restarts: int) -> bytes:
    """The metrics of all workers, each with the label ``worker``: whoever reads them adds up, and knows when one began anew.

    :param texts: what the workers that answer say at ``/metrics``, by their numbers.
    :param running: how many are running.
    :param restarts: how often one was started again.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(texts, running, restarts))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, texts: Mapping[int, bytes], running: int, restarts: int) -> None:
        self._texts = texts
        self._running = running
        self._restarts = restarts

    def collect(self) -> Iterable[Metric]:
        """Metrics of the same name are one."""
        yield GaugeMetricFamily("rtunnel_workers", "Processes of the server that are running.", value=self._running)
        yield CounterMetricFamily(
            "rtunnel_worker_restarts", "Processes of the server that were started again.", value=self._restarts
        )
        merged: dict[str, Metric] = {}
        for number, text in self._texts.items():
            _add(merged, text_string_to_metric_families(text.decode()), str(number))
        own = CollectorRegistry()
        ProcessCollector(registry=own)
        _add(merged, own.collect(), SUPERVISOR)
        yield from merged.values()


def _add(merged: dict[str, Metric], families: Iterable[Metric], worker: str) -> None:
    for family in families:
        known = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        for sample in family.samples:
            known.add_sample(sample.name, {"worker": worker, **sample.labels}, sample.value)
