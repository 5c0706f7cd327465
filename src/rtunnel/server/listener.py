"""The tunnel listener: where clients attach, and visitors that know a tunnel ID; what it decides for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import attrs
from twisted.internet.protocol import Factory

from rtunnel.auth.access_control import AccessControl
from rtunnel.auth.authenticator import Grant
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import LinkEnd
from rtunnel.routing.ingress import IngressTable, normalise_host
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.permissions import Action
from rtunnel.routing.policies import Policy
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.admission import Admission
from rtunnel.server.control_commands import Caller, ControlCommands
from rtunnel.server.control_connection import ControlConnection
from rtunnel.server.entrypoint.entrypoint import Entrypoint, Peer
from rtunnel.server.entrypoint.forwarding import TrustedProxies
from rtunnel.server.entrypoint.relay import FIRST_BYTE, RelayEntrypoint
from rtunnel.server.health import HealthMonitor
from rtunnel.server.intercept_admission import against_policy
from rtunnel.server.lease_book import LeaseBook
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.limits import ServerLimits
from rtunnel.server.pod_link import PodLink
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.server.upstream import StreamLimits, UpstreamPool
from rtunnel.settings import LeaseSettings, ListenerSettings
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.tunnel.bounds import StreamCount
from rtunnel.tunnel.link import Link
from rtunnel.wire.http1 import HeadLimits

__all__ = ["TunnelListener"]


class TunnelListener(Factory):
    """What all links of one tunnel listener share; owned by its listener group. At the entrypoints it serves the relay protocol.

    :param settings: of the listener.
    :param known: whether a tunnel ID may be bound, e.g. because an ingress rule leads to it.
    :param table: the ingress rules.
    :param access_control: decides who is admitted.
    :param registry: connectors are registered here while their link is up.
    :param health: watches the connectors.
    :param leases: those of the connectors.
    :param sharing: with other servers, if there are any.
    :param limits: how many links there may be.
    :param relay: admits visitors, i.e. connections that send CONNECT.
    """

    noisy = False
    name = "relay"
    prefixes = (bytes([FIRST_BYTE]),)

    def __init__(
        self,
        *,
        settings: ListenerSettings,
        known: Callable[[UUID], bool],
        table: IngressTable,
        access_control: AccessControl,
        registry: TunnelRegistry[UpstreamPool],
        relay: RelayEntrypoint,
        stats: ServerStats,
        health: HealthMonitor,
        leases: LeaseManager,
        limits: ServerLimits,
        reactor: Any,
        sharing: SharedLeases | None = None,
    ) -> None:
        self.settings = settings
        self.policies = settings.policy
        self.known = known
        self.table = table
        self.access_control = access_control
        self.registry = registry
        self.relay = relay
        self.stats = stats
        self.health = health
        self.leases = leases
        self.sharing = sharing
        self.limits = limits
        self.reactor = reactor
        self.admissions: set[Admission] = set()
        self.links: set[Link] = set()
        self.callers: set[ControlConnection] = set()
        """The connections that ask about leases."""
        self.pod_links: set[PodLink] = set()
        """The links on which developers' machines open streams to pods."""
        self.connectors: set[Connector[UpstreamPool]] = set()
        """Those whose link is up, including draining ones, which are no longer in the registry."""
        self.address = ""
        """The address it listens at, once it does."""
        self.stopping = False
        """Whether clients are sent elsewhere."""

    def buildProtocol(self, addr: Any) -> Admission:
        return Admission(self)

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take over a connection of an entrypoint that speaks the relay protocol; it may visit, but not bind."""
        admission = Admission(self, peer, visits_only=True)
        transport.protocol = admission
        admission.makeConnection(transport)  # type: ignore[no-untyped-call]
        admission.dataReceived(data)

    def origin(self, transport: Any) -> Peer:
        """Where a connection comes from: the peer, or the one that a trusted proxy names, such as an Ingress.

        Else all clients behind an Ingress would share one address, and the wrong passwords of one would hold up the others.
        """
        peer = Peer.of(transport)
        fields = ITunnelTransport(transport).request_fields()
        if not fields:
            return peer
        proxies = TrustedProxies(self.settings.http.trusted_proxies)
        if peer.host not in proxies:
            return peer
        host = proxies.origin(peer.host, fields)
        return peer if host == peer.host else Peer(host, 0)

    def may_bind(self, grant: Grant, action: Action, tunnel: UUID) -> bool:
        """Whether the permissions allow a user to bind a tunnel, for some requests or for all."""
        return self.access_control.may(grant, action, tunnel, self.table.patterns(tunnel))

    def policy(self, tunnel: UUID) -> Policy:
        """What clients of a tunnel have to keep to."""
        return self.policies.of_tunnel(self.table.patterns(tunnel))

    def against_policy(self, tunnel: UUID, user: str, filters: tuple[InterceptFilter, ...] = (), *, pod: bool) -> str | None:
        """Why a client may not have what it asks for; None if it may."""
        owner = self.access_control.says(user, Action.GLOBAL, tunnel, self.table.patterns(tunnel))
        return against_policy(self.policy(tunnel), filters, pod=pod, owner=owner)

    def lease_terms(self, tunnel: UUID) -> LeaseSettings:
        """The terms of the leases of a tunnel."""
        policy = self.policy(tunnel)
        return attrs.evolve(self.settings.leases, longest=policy.max_lease, idle=policy.idle)

    def grants_host(self, grant: Grant, action: Action, tunnel: UUID, asked: str) -> bool:
        """Whether a client gets the host name that it asks for: a rule leads it to its tunnel, and its user may bind it."""
        host = normalise_host(asked)
        rule = self.table.lookup(host)
        return rule is not None and rule.tunnel == tunnel and self.access_control.may(grant, action, tunnel, (host,))

    def new_pool(self, link: Link, count: StreamCount) -> UpstreamPool:
        """The idle streams of a new link.

        :param count: of the streams of its tunnel.
        """
        http, limits = self.settings.http, self.limits.settings
        return UpstreamPool(
            link,
            limits=HeadLimits(http.head_bytes, http.line_bytes, http.header_count),
            idle=http.pool_idle if http.pool else 0,
            streams=StreamLimits(limits.streams_per_link, limits.streams_per_tunnel, count),
        )

    def take_questions(self, grant: Grant, tunnel: UUID, transport: Any, who: str) -> ControlConnection:
        """What a connection becomes that asks about leases.

        :param tunnel: that the caller names by its ID.
        :param who: the caller, for the log.
        """
        caller = Caller(grant, self.access_control, self.table, tunnel)
        commands = ControlCommands(caller, LeaseBook(self.leases, self.registry, self.sharing))
        connection = ControlConnection(transport, commands, who, self.reactor, self.callers.discard)
        self.callers.add(connection)
        return connection

    def is_full(self, tunnel: UUID) -> bool:
        """Whether a tunnel has as many links as it may have."""
        joined = self.registry.get(tunnel)
        if joined is None or len(joined) < self.limits.links_per_tunnel:
            return False
        return sum(not connector.pool.is_remote for connector in joined.connectors) >= self.limits.links_per_tunnel

    def leave(self) -> None:
        """The server is about to stop: have the clients join elsewhere, while their links go on; admit no others."""
        self.stopping = True
        for link in (*self.links, *(pod_link.link for pod_link in self.pod_links)):
            link.leave()

    def close(self) -> None:
        """The server stops: close all links cleanly, and the connections that are still in the handshake."""
        for admission in list(self.admissions):
            admission.refuse_quietly()
        for caller in list(self.callers):
            caller.close()
        for link in (*self.links, *(pod_link.link for pod_link in self.pod_links)):
            link.close(LinkEnd.SERVER_STOPPED)
