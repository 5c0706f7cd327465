"""A client that has joined a tunnel: its link and its connector, from the admission to the loss."""

from __future__ import annotations

from functools import partial
from time import time
from typing import Any, Protocol
from uuid import UUID

import attrs
from twisted.logger import Logger

from rtunnel.auth.access_control import AccessControl, ActiveGrant
from rtunnel.auth.authenticator import Grant
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit, LinkEnd
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.intercept_terms import listed
from rtunnel.routing.permissions import Action
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.control_stream import Surroundings
from rtunnel.server.health import HealthMonitor
from rtunnel.server.intercept_admission import Intercept
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.limits import ServerLimits
from rtunnel.server.tunnel_stats import connector_stats
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import LeaseSettings, ListenerSettings
from rtunnel.tunnel.bounds import StreamCount
from rtunnel.tunnel.link import Link
from rtunnel.tunnel.opening import open_link

__all__ = ["ConnectorHost", "ConnectorLink", "Joining"]

_LIMITS = {LinkEnd.STALLED: Limit.LINK_STALL, LinkEnd.OVERFLOWED: Limit.LINK_BUFFER, LinkEnd.FLOODED: Limit.FLOOD}
"""The bounds that end a link."""


class ConnectorHost(Protocol):
    """What the link of a connector needs of the tunnel listener that admitted it."""

    access_control: AccessControl
    connectors: set[Connector[UpstreamPool]]
    health: HealthMonitor
    leases: LeaseManager
    limits: ServerLimits
    links: set[Link]
    registry: TunnelRegistry[UpstreamPool]
    settings: ListenerSettings
    stats: ServerStats
    table: IngressTable
    reactor: Any

    def lease_terms(self, tunnel: UUID) -> LeaseSettings:
        """The terms of the leases of a tunnel."""

    def new_pool(self, link: Link, count: StreamCount) -> UpstreamPool:
        """The idle streams of a new link.

        :param count: of the streams of its tunnel.
        """


@attrs.frozen
class Joining:
    """What a client gets.

    :ivar connector: the ID of its connector.
    :ivar tunnel: what it joins.
    :ivar weight: 1 to 255.
    :ivar grant: the authenticated user.
    :ivar action: what the user must be allowed to do, now and after each reload.
    :ivar peer: its address, for the log.
    :ivar who: its address, with the user if there is one.
    :ivar datagrams: whether it takes datagram streams, and only those.
    :ivar pod: whether it says that it is the client of the service itself.
    :ivar intercept: which requests it gets; None for a share of all.
    """

    connector: UUID
    tunnel: UUID
    weight: int
    grant: Grant
    action: Action
    peer: str
    who: str
    datagrams: bool
    pod: bool
    intercept: Intercept | None


class ConnectorLink:
    """One client of a tunnel, from its admission to the loss of its link; kept by the link, which tells it what the client says.

    :param host: the listener.
    :param joining: what the client gets.
    :ivar link: to be given the connection, then :meth:`joined` has to be called.
    :ivar connector: its connector.
    """

    _log = Logger()

    def __init__(self, host: ConnectorHost, joining: Joining) -> None:
        self._host = host
        self._joining = joining
        count = host.limits.streams_of(joining.tunnel)
        self.link = open_link(
            host.settings.mux,
            opens=True,
            reactor=host.reactor,
            reached=host.stats.reach,
            count=count,
            on_draining=self._draining,
            on_full=self._full,
            on_instance=self._announced,
            on_control=self._takes_control,
            on_lost=self._lost,
            peer=joining.peer,
        )
        intercept = joining.intercept
        self.connector = Connector(
            id=joining.connector,
            tunnel=joining.tunnel,
            weight=joining.weight,
            pool=host.new_pool(self.link, count),
            peer=joining.peer,
            user=joining.grant.user,
            since=time(),
            datagrams=joining.datagrams,
            name="" if intercept is None else intercept.name,
            filters=() if intercept is None else intercept.filters,
            cacheable=intercept is not None and intercept.cacheable,
            pod=joining.pod,
        )
        self._active_grant = ActiveGrant(
            joining.grant,
            joining.action,
            joining.tunnel,
            partial(host.table.patterns, joining.tunnel),
            partial(self.link.close, LinkEnd.FORBIDDEN),
            joining.peer,
        )

    def joined(self) -> None:
        """The link has its connection: requests may come here from now on."""
        host, connector, joining = self._host, self.connector, self._joining
        host.access_control.register(self._active_grant)
        host.links.add(self.link)
        host.connectors.add(connector)
        host.stats.labelled.join(connector.id, partial(connector_stats, connector))
        host.stats.links_total += 1
        host.stats.links_open += 1
        host.registry.add(connector)
        host.health.watch(connector, host.settings.health)
        self.link.ask()
        intercept = joining.intercept
        if intercept is not None:
            host.leases.warn_of_overlaps(intercept.name, connector.holder, intercept.overlaps)
        self._log.info(
            "connector {connector} joined tunnel {tunnel} with weight {weight} from {who}{role}{kind}{filters}",
            connector=short_id(connector.id),
            tunnel=short_id(connector.tunnel),
            weight=connector.weight,
            who=joining.who,
            role=" as the pod" if connector.pod else "",
            kind=" for datagrams" if connector.datagrams else "",
            filters="" if intercept is None else f" as {intercept.name or '?'} for requests with {listed(intercept.filters)}",
        )

    # -- what the client says

    def _announced(self, instance: bytes) -> None:
        """The client says who it is: a link that it had before is dead, whatever the system thinks, and must not count twice."""
        mine, registry = self.connector, self._host.registry
        tunnel = registry.get(mine.tunnel)
        if mine.instance or tunnel is None or mine not in tunnel:
            return
        before = tunnel.announce(mine, instance)
        registry.changed(mine)
        if before is not None and not before.pool.is_remote:
            before.pool.link.drop(LinkEnd.LOST, "its client is back on another connection")

    def _takes_control(self, token: str) -> None:
        """The client can be told something beside the requests, and gets a lease."""
        host, tunnel = self._host, self.connector.tunnel
        surroundings = Surroundings(partial(host.table.patterns, tunnel), lambda: host.settings.http.sticky is not None)
        host.leases.offered(self.connector, token, host.lease_terms(tunnel), surroundings)

    def _draining(self) -> None:
        """The client is draining: it gets no more requests, those in progress go on."""
        self._host.leases.leaves(self.connector)
        self._host.registry.remove(self.connector)
        self.connector.pool.retire()

    # -- what becomes of the link

    def _full(self) -> None:
        """Too much waits for the client: new requests go to others."""
        self._host.health.full(self.connector)

    def _lost(self, link: Link, end: LinkEnd, text: str) -> None:
        host, connector = self._host, self.connector
        host.registry.remove(connector)
        host.access_control.unregister(self._active_grant)
        host.links.discard(link)
        host.connectors.discard(connector)
        host.health.forget(connector)
        host.leases.lost(connector, end)
        host.stats.labelled.leave(connector.id)
        host.stats.links_open -= 1
        host.stats.link_lost(end)
        if end in _LIMITS:
            host.stats.reach(_LIMITS[end])
        self._log.info(
            "connector {connector} left tunnel {tunnel} after {requests} requests: {reason}",
            connector=short_id(connector.id),
            tunnel=short_id(connector.tunnel),
            requests=connector.requests,
            reason=text,
        )
