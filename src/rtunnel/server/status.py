"""The status document of a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import time

import attrs

from rtunnel.ids import short_id
from rtunnel.metrics.stats import RegistryStatus, TunnelStats
from rtunnel.ops.status import (
    ConnectorStatus,
    EntrypointStatus,
    ListenerStatus,
    RegistryState,
    RuleStatus,
    ServiceStatus,
    TunnelStatus,
)
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.tunnels import Connector
from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.listener import TunnelListener
from rtunnel.server.replicas import Replicas
from rtunnel.server.tunnel_stats import round_trip
from rtunnel.server.upstream import UpstreamPool

__all__ = ["server_status"]


def server_status(
    *,
    listeners: Iterable[TunnelListener],
    entrypoints: Iterable[Entrypoint],
    rules: Iterable[IngressRule],
    tunnels: Iterable[TunnelStats],
    replicas: Replicas | None = None,
) -> ServiceStatus:
    """Assemble the status of a server.

    :param rules: all active ones.
    :param tunnels: the tunnels that have a rule or a connector.
    :param replicas: what it shares with other servers, if it does.
    """
    listeners = tuple(listeners)
    return ServiceStatus(
        role="server",
        listeners=tuple(
            ListenerStatus(address=listener.address, transport=listener.settings.transport, links=len(listener.links))
            for listener in listeners
            if listener.settings.listen is not None
        ),
        entrypoints=tuple(
            EntrypointStatus(address=entrypoint.address, protocols=entrypoint.protocols, visitors=entrypoint.connections)
            for entrypoint in entrypoints
        ),
        rules=tuple(RuleStatus(host=rule.pattern, tunnel=short_id(rule.tunnel), private=rule.private) for rule in rules),
        tunnels=tuple(
            TunnelStatus(tunnel=short_id(load.tunnel), connectors=load.connectors, streams=load.streams) for load in tunnels
        ),
        connectors=tuple(status for listener in listeners for status in _connectors(listener)),
        registry=() if replicas is None else (_registry(replicas.shared.status()),),
        peers=() if replicas is None else tuple(replicas.remote.status()),
    )


def _registry(status: RegistryStatus) -> RegistryState:
    return RegistryState(
        address=status.address,
        state="available" if status.available else "unavailable",
        servers=status.servers,
        connectors=status.connectors,
        published=status.published,
        reason=status.reason or None,
    )


def _connectors(listener: TunnelListener) -> Iterator[ConnectorStatus]:
    for connector in sorted(listener.connectors, key=lambda connector: connector.since):
        tunnel = listener.registry.get(connector.tunnel)
        leases = listener.leases.leases
        lease = leases.of(connector)
        yield attrs.evolve(
            _connector(connector, "joined" if tunnel is not None and connector in tunnel else "leaving"),
            reason=(lease.reason or None) if lease is not None else None,
            until=time() + leases.left(lease) if lease is not None and lease.until is not None else None,
        )


def _connector(connector: Connector[UpstreamPool], state: str) -> ConnectorStatus:
    link = connector.pool.link
    return ConnectorStatus(
        id=short_id(connector.id),
        tunnel=short_id(connector.tunnel),
        network="udp" if connector.datagrams else "tcp",
        state=state,
        peer=connector.peer,
        user=connector.user or None,
        weight=connector.weight,
        name=connector.name or (connector.holder if connector.filters else None),
        intercept=tuple(map(str, connector.filters)),
        since=connector.since,
        streams=link.carrying,
        requests=connector.requests,
        received_bytes=link.bytes_in,
        sent_bytes=link.bytes_out,
        round_trip=round_trip(connector),
    )
