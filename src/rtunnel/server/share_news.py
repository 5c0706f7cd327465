"""What clients are told of the others of their tunnel: who is there, and which part of the requests each gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Final
from uuid import UUID

from rtunnel.ids import short_id
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.control_stream import ControlStream
from rtunnel.server.upstream import UpstreamPool
from rtunnel.wire.control import MAX_COUNT, Member, Share

__all__ = ["MAX_TOLD", "Controls", "ShareNews"]

MAX_TOLD: Final = 32
"""Clients of a tunnel that are told of each other; in larger crowds nobody reads that."""

Controls = MutableMapping[UUID, dict[Connector[UpstreamPool], ControlStream]]
"""The control streams of the connectors of each tunnel."""


class ShareNews:
    """Tells clients their share: when they join, when they ask, and when somebody else comes, goes or is avoided.

    :param registry: where the connectors are.
    :param controls: the control streams; owned by the lease manager.
    """

    def __init__(self, registry: TunnelRegistry[UpstreamPool], controls: Controls) -> None:
        self._registry = registry
        self._controls = controls
        self._told: dict[UUID, int] = {}
        """How often each tunnel had changed when its clients were told."""

    def tell(self, control: ControlStream) -> None:
        """Tell one client, if it reads what it is told."""
        connector = control.connector
        tunnel = self._registry.get(connector.tunnel)
        if tunnel is None or connector not in tunnel:
            return
        others, count = tunnel.others(connector, MAX_TOLD)
        part, whole = tunnel.share(connector)
        share = Share(
            part=part,
            whole=whole,
            others=count,
            hosts=", ".join(control.surroundings.hosts()),
            sticky=control.surroundings.sticky(),
            requests=min(connector.requests, MAX_COUNT),
        )
        control.mention(*map(_member, others), share)

    def sweep(self) -> None:
        """Tell those whose tunnel has changed since."""
        told, self._told = self._told, {}
        for tunnel_id, controls in self._controls.items():
            tunnel = self._registry.get(tunnel_id)
            if tunnel is None:
                continue
            self._told[tunnel_id] = tunnel.changes
            if told.get(tunnel_id) != tunnel.changes and len(controls) <= MAX_TOLD:
                for control in _greeted(controls):
                    self.tell(control)


def _greeted(controls: Mapping[Connector[UpstreamPool], ControlStream]) -> Iterable[ControlStream]:
    return [control for control in controls.values() if control.greeted]


def _member(connector: Connector[UpstreamPool]) -> Member:
    name = connector.name or connector.user or short_id(connector.id)
    if connector.filters:
        return Member(name, " or ".join(map(str, connector.filters)))
    return Member(name, f"weight {connector.weight}", connector.weight)
