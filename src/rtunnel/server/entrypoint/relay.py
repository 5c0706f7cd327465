"""CONNECT: visitors that speak the relay protocol, at the tunnel listener or at an entrypoint.

The semantics are gost's (go-gost/x ``handler/tunnel/connect.go``). A visitor sends a tunnel ID and a destination host. The ingress
rule of the host, public or private, must lead to that tunnel; with ``direct`` the ID alone is enough. The ID of the public
entrypoints (``entrypoint.id``) stands for every public rule: a visitor that knows it is a trusted front proxy, and the visitor
address that it announces is trusted.
"""

from __future__ import annotations

from uuid import UUID

from attrs import frozen
from twisted.logger import Logger

from rtunnel.auth.access_control import AccessControl, ActiveGrant
from rtunnel.auth.authenticator import Grant
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import Access, AccessLog
from rtunnel.outcomes import VisitOutcome
from rtunnel.routing.ingress import IngressRule, IngressTable, normalise_host
from rtunnel.routing.permissions import Action
from rtunnel.routing.selection import Selector
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.entrypoint.entrypoint import Peer
from rtunnel.server.entrypoint.visit import CROWDED, Visit
from rtunnel.server.health import HealthMonitor
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings
from rtunnel.settings.checks import plain
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Keepalive
from rtunnel.wire.relay import Network, RelayAddress, Request, Response, Status

__all__ = ["FIRST_BYTE", "RelayEntrypoint", "VisitDenied"]

FIRST_BYTE = 1
"""The version of the relay protocol, which distinguishes it from HTTP and TLS (go-gost/x ``handler/tunnel/entrypoint``)."""

_log = Logger()


@frozen
class VisitDenied:
    """Why a visitor is rejected.

    :ivar status: the status of the response.
    :ivar outcome: the outcome in the metrics.
    :ivar reason: the reason in the log.
    :ivar tunnel: the requested tunnel, if it was determined.
    """

    status: Status
    outcome: VisitOutcome
    reason: str
    tunnel: UUID | None = None


class RelayEntrypoint:
    """Admits relay visitors; owned by a listener group, shared by its tunnel listener and its entrypoints.

    :param settings: of the listener.
    :param table: the ingress rules of the listener.
    :param registry: the tunnels and their connectors.
    :param access: the access log of visits and rejections.
    :ivar visits: those in progress.
    """

    def __init__(
        self,
        *,
        settings: ListenerSettings,
        table: IngressTable,
        registry: TunnelRegistry[UpstreamPool],
        stats: ServerStats,
        health: HealthMonitor,
        access: AccessLog | None = None,
    ) -> None:
        self.settings = settings
        self.selector = Selector(registry, table)
        self.selector.sticky = settings.http.sticky
        self.stats = stats
        self.health = health
        self.access = access
        self.keepalive = Keepalive(settings.mux.keepalive_interval, settings.mux.keepalive_timeout)
        self.max_retries = settings.http.max_retries
        self.visits: set[Visit] = set()
        self._checked = 0.0

    def change(self, settings: ListenerSettings, table: IngressTable) -> None:
        """Apply new settings and rules to new visits; those in progress go on."""
        self.settings = settings
        self.selector.table = table
        self.selector.sticky = settings.http.sticky
        self.keepalive = Keepalive(settings.mux.keepalive_interval, settings.mux.keepalive_timeout)
        self.max_retries = settings.http.max_retries

    # -- admission

    def route(self, request: Request) -> UUID | VisitDenied:
        """Determine the tunnel of a CONNECT."""
        if request.tunnel is None or not request.tunnel.id.int:
            return VisitDenied(Status.BAD_REQUEST, VisitOutcome.BAD_REQUEST, "the request names no tunnel")
        asked = request.tunnel.id
        host = _host(request)
        rule = self._rule(host)
        if asked == self.settings.entrypoint_id:
            if rule is None:
                reason = f'no ingress rule names the host "{plain(host)}"'
                return VisitDenied(Status.NETWORK_UNREACHABLE, VisitOutcome.UNKNOWN_HOST, reason)
            if rule.private:
                reason = f'the host "{plain(host)}" belongs to a private tunnel'
                return VisitDenied(Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL, reason)
            return rule.tunnel
        if self.settings.direct or (rule is not None and rule.tunnel == asked):
            return asked
        reason = f'no ingress rule leads the host "{plain(host)}" to the requested tunnel'
        return VisitDenied(Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL, reason)

    def _rule(self, host: str) -> IngressRule | None:
        """The rule for a host; None without a host, even if there is a rule for every host."""
        return self.selector.table.lookup(host) if host else None

    def _hosts(self, tunnel: UUID, host: str) -> tuple[str, ...]:
        """Hosts that permissions may match: the requested one, if its rule leads to the tunnel.

        With ``direct`` the ID alone selects the tunnel, and a visitor can send any host with it.
        """
        rule = self._rule(host)
        return (host,) if rule is not None and rule.tunnel == tunnel else ()

    def admit(
        self, request: Request, handshake: Handshake[Request], peer: Peer, grant: Grant, access_control: AccessControl
    ) -> None:
        """Respond to a CONNECT; the connection of the handshake becomes a visit, or is closed after a rejection.

        :param peer: the address of the visitor.
        :param grant: the authenticated user.
        :param access_control: decides what the user may visit.
        """
        where = f"{peer.host}:{peer.port}"
        who = f"{where} (user {plain(grant.user)})" if grant.user else where
        host, source = _host(request), self._source(request, peer)
        datagrams = request.network is Network.UDP
        access = self._begin("udp" if datagrams else "relay", source, host, grant)
        tunnel = self.route(request)
        if isinstance(tunnel, VisitDenied):
            self._refuse(tunnel, handshake, who, access)
            return
        if not access_control.may(grant, Action.VISIT, tunnel, self._hosts(tunnel, host)):
            reason = f'the permissions do not allow it to visit "{plain(host)}" in the tunnel {short_id(tunnel)}'
            self._refuse(VisitDenied(Status.FORBIDDEN, VisitOutcome.FORBIDDEN, reason, tunnel), handshake, who, access)
            return
        visit = Visit(self, tunnel, handshake.transport, host, source, request.addresses, access, datagrams=datagrams)
        if visit.open():
            handshake.transport.write(Response(status=Status.OK).encode())
            handshake.switch_to(visit)
            active_grant = ActiveGrant(grant, Action.VISIT, tunnel, lambda: self._hosts(tunnel, host), visit.forbid, where)
            access_control.register(active_grant)
            visit.begin(lambda: access_control.unregister(active_grant))
        else:
            if visit.crowded:
                outcome, reason = VisitOutcome.OVERLOADED, CROWDED.format(tunnel=short_id(tunnel))
            elif self.selector.registry.suspended:
                outcome, reason = VisitOutcome.OVERLOADED, "the server buffers as much as it may (--max-buffered)"
            else:
                reason = f"no connector {'for datagrams ' if datagrams else ''}is attached to the tunnel {short_id(tunnel)}"
                outcome = VisitOutcome.NO_CONNECTOR
            self._refuse(VisitDenied(Status.SERVICE_UNAVAILABLE, outcome, reason, tunnel), handshake, who, access)

    def _begin(self, kind: str, source: RelayAddress, host: str, grant: Grant) -> Access | None:
        """Start a line of the access log."""
        if self.access is None:
            return None
        access = self.access.begin(kind, source.host)
        access.host, access.user = host, grant.user
        return access

    def _source(self, request: Request, peer: Peer) -> RelayAddress:
        """The address of the visitor: the one that a trusted front proxy announces, else the peer of the connection."""
        if request.tunnel is not None and request.tunnel.id == self.settings.entrypoint_id and len(request.addresses) > 1:
            return request.addresses[0]
        return RelayAddress(peer.host, peer.port)

    def _refuse(self, refusal: VisitDenied, handshake: Handshake[Request], who: str, access: Access | None) -> None:
        """Respond with a status, log the reason, and close."""
        _log.info("visitor {who} rejected: {reason}", who=who, reason=refusal.reason)
        self.stats.visits[refusal.outcome] += 1
        # with ``direct`` a visitor can send any ID: unknown ones get no label in the metrics
        if refusal.tunnel is not None and self.selector.table.patterns(refusal.tunnel):
            self.stats.labelled.count_unrouted(refusal.tunnel, refusal.outcome)
        if access is not None:
            access.tunnel = short_id(refusal.tunnel) if refusal.tunnel is not None else ""
            access.end(refusal.outcome)
        handshake.finish()
        handshake.transport.write(Response(status=refusal.status).encode())
        handshake.transport.loseConnection()

    # -- lifecycle, as of every entrypoint

    def buffered(self) -> int:
        """Bytes that wait for visitors. Counted each time: not for hot paths."""
        return sum([visit.unsent() for visit in self.visits])

    @property
    def busy(self) -> bool:
        """Whether a visit is in progress."""
        return bool(self.visits)

    def drain(self) -> None:
        """Does nothing: the listener accepts no new connections, and visits go on to their end."""

    def cut(self) -> None:
        """Abort the remaining visits."""
        for visit in list(self.visits):
            visit.abort()

    def sweep(self, now: float) -> None:
        """Abort the visits that their visitors have reset; and at each keepalive interval, those whose visitor is dead."""
        for visit in list(self.visits):
            visit.check_reset()
        interval = self.keepalive.interval
        if not interval or now - self._checked < interval:
            return
        self._checked = now
        for visit in list(self.visits):
            visit.check_liveness()


def _host(request: Request) -> str:
    """The requested host, ``""`` if there is none."""
    return normalise_host(request.addresses[-1].host) if request.addresses else ""
