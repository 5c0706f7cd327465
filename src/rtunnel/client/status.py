"""The status of a client."""

from __future__ import annotations

from collections.abc import Iterable
from time import time

from rtunnel.client.connector import ConnectorClient
from rtunnel.client.dialing import DialedTarget
from rtunnel.client.local_port import LocalPort
from rtunnel.ids import short_id
from rtunnel.metrics.stats import TunnelStats
from rtunnel.ops.status import (
    ConnectorStatus,
    OtherStatus,
    PortStatus,
    RoundTrip,
    ServiceStatus,
    ShareStatus,
    TargetStatus,
    TunnelStatus,
)
from rtunnel.settings import Address
from rtunnel.transport.listening import nothing_listens

__all__ = ["client_status"]


def client_status(
    connectors: Iterable[ConnectorClient], ports: Iterable[LocalPort], tunnels: Iterable[TunnelStats]
) -> ServiceStatus:
    """The status of a client out of its parts; with local ports alone it is a visitor.

    :param tunnels: the tunnels that it joins, each once or in parts.
    """
    connectors = tuple(connectors)
    sums: dict[str, tuple[int, int]] = {}
    for stats in tunnels:
        joined, streams = sums.get(short_id(stats.tunnel), (0, 0))
        sums[short_id(stats.tunnel)] = (joined + stats.connectors, streams + stats.streams)
    return ServiceStatus(
        role="client" if connectors else "visitor",
        tunnels=tuple(
            TunnelStatus(tunnel=tunnel, connectors=joined, streams=streams) for tunnel, (joined, streams) in sums.items()
        ),
        connectors=tuple(map(_connector, connectors)),
        ports=tuple(map(_port, ports)),
    )


def _port(port: LocalPort) -> PortStatus:
    return PortStatus(
        address=port.address,
        to=port.to,
        tunnel=short_id(port.settings.tunnel),
        server=port.server,
        connections=len(port.visits),
    )


def _target(target: DialedTarget) -> TargetStatus:
    address = target.address
    if target.failing_since is not None:
        return TargetStatus(address=str(address), state="refused", since=target.failing_since, reason=target.reason)
    if target.tried:
        return TargetStatus(address=str(address), state="reachable")
    if type(address) is Address and nothing_listens(address.host, address.port):
        return TargetStatus(address=str(address), state="refused", reason="nothing listens there")
    return TargetStatus(address=str(address), state="unknown")


def _connector(connector: ConnectorClient) -> ConnectorStatus:
    settings, link, view = connector.settings, connector.link, connector.shares.view
    share = view.share
    return ConnectorStatus(
        id=short_id(connector.id) if connector.id is not None else None,
        tunnel=short_id(settings.tunnel),
        network="udp" if settings.target.udp else "tcp",
        state="ended" if connector.lease.ended else "joining" if link is None else "joined",
        peer=connector.server,
        user=settings.credentials.user if settings.credentials else None,
        target=str(settings.target),
        targets=tuple(map(_target, connector.forwarder.targets)),
        hosts=tuple(filter(None, view.hosts.split(", "))),
        share=ShareStatus(part=share.part, whole=share.whole, text=view.describe()) if share is not None else None,
        others=tuple(OtherStatus(name=other.name, what=other.what) for other in view.others),
        weight=settings.weight,
        name=connector.lease.name,
        reason=settings.reason or None,
        until=None if connector.lease.left is None else time() + connector.lease.left,
        intercept=tuple(map(str, settings.filters)),
        since=None if link is None else connector.since,
        streams=len(connector.forwarder.open),
        requests=None if share is None else share.requests,
        received_bytes=0 if link is None else link.bytes_in,
        sent_bytes=0 if link is None else link.bytes_out,
        round_trip=None if link is None else RoundTrip.of(ping=link.round_trip, tcp=link.tcp_round_trip),
    )
