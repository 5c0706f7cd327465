"""CONNECT: visitors that speak the relay protocol, at the tunnel listener or at an entrypoint.

The rules are gost's (go-gost/x ``handler/tunnel/connect.go``). A visitor names a tunnel by its ID, and a destination host. It must
be the tunnel that the ingress rule for the host leads to, whether the rule is public or private; with ``direct`` the ID alone is
enough. The ID of the public entrypoints (``entrypoint.id``) stands for every public rule: whoever has it is a trusted front,
and is believed about the address that its visitor comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.auth.access_control import AccessControl, ActiveGrant
from rtunnel.auth.authenticator import Grant
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import Access, AccessLog
from rtunnel.outcomes import VisitOutcome
from rtunnel.routing.ingress import IngressRule, IngressTable, normalise_host
from rtunnel.routing.permissions import Action
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.entrypoint.arrival import Peer
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings
from rtunnel.settings.checks import plain
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Keepalive, LinkClosed
from rtunnel.tunnel.liveness import LivenessMonitor
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.relay import Network, RelayAddress, Request, Response, Status, stream_preface

__all__ = ["FIRST_BYTE", "RelayEntrypoint", "Visit"]

FIRST_BYTE = 1
"""The version of the relay protocol, which tells it from HTTP and TLS (go-gost/x ``handler/tunnel/entrypoint``)."""

_log = Logger()


@frozen
class VisitDenied:
    """Why a visitor is not let in.

    :ivar status: what the visitor is told.
    :ivar outcome: how the visit counts.
    :ivar reason: the same for the log.
    :ivar tunnel: where the visitor was led to, if it was.
    """

    status: Status
    outcome: VisitOutcome
    reason: str
    tunnel: UUID | None = None


class RelayEntrypoint:
    """Lets relay visitors in; owned by a site, shared by its tunnel listener and its entrypoints.

    :param settings: of the listener.
    :param table: the ingress rules of the listener.
    :param registry: the tunnels and who is attached.
    :param access: where each visit, and each refusal, leaves a line.
    :ivar visits: those that are under way.
    """

    def __init__(
        self,
        *,
        settings: ListenerSettings,
        table: IngressTable,
        registry: TunnelRegistry[UpstreamPool],
        stats: ServerStats,
        access: AccessLog | None = None,
    ) -> None:
        self.settings = settings
        self.table = table
        self.registry = registry
        self.stats = stats
        self.access = access
        self.keepalive = Keepalive(settings.mux.keepalive_interval, settings.mux.keepalive_timeout)
        self.visits: set[Visit] = set()
        self._looked = 0.0

    def change(self, settings: ListenerSettings, table: IngressTable) -> None:
        """Let in from now on whom other settings and rules let in; visits under way go on."""
        self.settings = settings
        self.table = table
        self.keepalive = Keepalive(settings.mux.keepalive_interval, settings.mux.keepalive_timeout)

    # -- who is let in

    def route(self, request: Request) -> UUID | VisitDenied:
        """Find the tunnel of a CONNECT."""
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
        reason = f'no ingress rule leads the host "{plain(host)}" to the tunnel that the visitor names'
        return VisitDenied(Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL, reason)

    def _rule(self, host: str) -> IngressRule | None:
        """The rule for a host; no host, no rule, also where there is one for every host."""
        return self.table.lookup(host) if host else None

    def _hosts(self, tunnel: UUID, host: str) -> tuple[str, ...]:
        """What of a visitor's word the permissions may go by: the host, if its rule leads to the tunnel.

        With ``direct`` the ID alone decides which tunnel is visited, and any host can be written beside it.
        """
        rule = self._rule(host)
        return (host,) if rule is not None and rule.tunnel == tunnel else ()

    def admit(
        self, request: Request, handshake: Handshake[Request], peer: Peer, grant: Grant, access_control: AccessControl
    ) -> None:
        """Answer a CONNECT; the connection of the handshake is a visit from here on, or closes after a refusal.

        :param peer: whose connection it is.
        :param grant: who that is.
        :param access_control: says what he may.
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
        visit = Visit(self, tunnel, handshake.transport, source, request.addresses, access, datagrams=datagrams)
        if visit.open():
            handshake.transport.write(Response(status=Status.OK).encode())
            handshake.switch_to(visit)
            active_grant = ActiveGrant(grant, Action.VISIT, tunnel, lambda: self._hosts(tunnel, host), visit.forbid, where)
            access_control.register(active_grant)
            visit.begin(lambda: access_control.unregister(active_grant))
        else:
            reason = f"no connector {'for datagrams ' if datagrams else ''}is attached to the tunnel {short_id(tunnel)}"
            refusal = VisitDenied(Status.SERVICE_UNAVAILABLE, VisitOutcome.NO_CONNECTOR, reason, tunnel)
            self._refuse(refusal, handshake, who, access)

    def _begin(self, kind: str, source: RelayAddress, host: str, grant: Grant) -> Access | None:
        """Begin a line of the access log."""
        if self.access is None:
            return None
        access = self.access.begin(kind, source.host)
        access.host, access.user = host, grant.user
        return access

    def _source(self, request: Request, peer: Peer) -> RelayAddress:
        """Where the visitor comes from: what a trusted front says, else what we see."""
        if request.tunnel is not None and request.tunnel.id == self.settings.entrypoint_id and len(request.addresses) > 1:
            return request.addresses[0]
        return RelayAddress(peer.host, peer.port)

    def _refuse(self, refusal: VisitDenied, handshake: Handshake[Request], who: str, access: Access | None) -> None:
        """Answer with a status, log why, and close."""
        _log.info("refused the visitor {who}: {reason}", who=who, reason=refusal.reason)
        self.stats.visits[refusal.outcome] += 1
        # with ``direct`` a visitor may think of any ID, which gets no label of its own in the metrics
        if refusal.tunnel is not None and self.table.patterns(refusal.tunnel):
            self.stats.labelled.count_unrouted(refusal.tunnel, refusal.outcome)
        if access is not None:
            access.tunnel = refusal.tunnel
            access.end(refusal.outcome)
        handshake.finish()
        handshake.transport.write(Response(status=refusal.status).encode())
        handshake.transport.loseConnection()

    # -- life, as the service asks of every entrypoint

    @property
    def busy(self) -> bool:
        """Whether a visit is under way."""
        return bool(self.visits)

    def drain(self) -> None:
        """Nothing has to be told: nobody is let in any more, and visits go on to their end."""

    def cut(self) -> None:
        """Cut what is left."""
        for visit in list(self.visits):
            visit.abort()

    def sweep(self, now: float) -> None:
        """Look after the visits: each interval of the keepalive those whose visitor is gone are cut."""
        interval = self.keepalive.interval
        if not interval or now - self._looked < interval:
            return
        self._looked = now
        for visit in list(self.visits):
            visit.look()


@implementer(IHalfCloseableProtocol)
class Visit:
    """A visitor's connection and the stream that it is joined with; ends with exactly one recorded outcome.

    Opening a stream asks nobody, so whether its target can be reached shows only later. **The first byte, from either side, is the
    point of no return**: before it, a stream that ends is replaced by one of another connector; from it on the two are spliced, and
    we are out of the way of every byte.

    :param tunnel: the tunnel that the visitor was let in to.
    :param transport: the visitor's connection.
    :param source: where the visitor comes from.
    :param addresses: what the visitor said: its own address and the destination, or the destination alone.
    :param access: the line that it leaves, if there is an access log.
    :param datagrams: whether it sends datagrams; they pass as they are framed, so only the choice of a connector differs.
    """

    __slots__ = (
        "_access",
        "_choose",
        "_connector",
        "_cut",
        "_failed",
        "_far_silent",
        "_liveness",
        "_on_end",
        "_preface",
        "_relay",
        "_splice",
        "_transport",
        "_tunnel",
        "_unproven",
    )

    def __init__(
        self,
        relay: RelayEntrypoint,
        tunnel: UUID,
        transport: Any,
        source: RelayAddress,
        addresses: tuple[RelayAddress, ...],
        access: Access | None = None,
        *,
        datagrams: bool = False,
    ) -> None:
        self._relay = relay
        self._choose = relay.registry.choose_for_datagrams if datagrams else relay.registry.choose
        self._tunnel = tunnel
        self._transport = transport
        self._access = access
        if access is not None:
            access.tunnel = tunnel
        self._preface = stream_preface(source, addresses[-1] if addresses else RelayAddress("", 0))
        self._failed: list[Connector[UpstreamPool]] = []
        self._connector: Connector[UpstreamPool] | None = None
        self._cut: VisitOutcome | None = None
        """Why it was cut, if it was: this, and not what the two connections say then, is how it ended."""
        self._unproven: _Unproven | None = None
        self._far_silent = False
        self._on_end: Callable[[], None] = lambda: None
        self._splice: Splice | None = None
        self._liveness: LivenessMonitor | None = None

    # -- before the first byte

    def open(self) -> bool:
        """Open a stream to a connector that did not fail yet; False when there is none."""
        self._far_silent = False
        while True:
            connector = self._choose(self._tunnel, self._failed)
            if connector is None:
                return False
            self._connector = connector
            unproven = _Unproven(self)
            try:
                unproven.stream = connector.link.link.open_stream(unproven)
            except LinkClosed:
                self._failed.append(connector)
                continue
            self._unproven = unproven
            connector.streams += 1
            self._relay.stats.streams_total += 1
            unproven.stream.write(self._preface)
            return True

    def begin(self, on_end: Callable[[], None]) -> None:
        """The visitor was told OK.

        :param on_end: called when it has ended.
        """
        self._on_end = on_end
        self._relay.visits.add(self)
        self._relay.stats.visits_open += 1
        connection = ITunnelTransport(self._transport)
        connection.set_no_delay()
        connection.enter_half_close_mode()

    def dataReceived(self, data: bytes) -> None:
        splice = self.join()
        if splice is not None:
            splice.near.dataReceived(data)

    def readConnectionLost(self) -> None:
        splice = self.join()
        if splice is not None:
            splice.near.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._splice is None and self._unproven is not None:
            unproven, self._unproven = self._unproven, None
            unproven.stream.abortConnection()
            self._end(VisitOutcome.VISITOR_GONE)

    def join(self) -> Splice | None:
        """Splice the two sides, once; None when there is no second side any more."""
        if self._splice is not None:
            return self._splice
        if self._unproven is not None and self._unproven.stream.ended:
            self._replace()
        if self._unproven is None:
            return None
        splice = self._splice = Splice(self._ended)
        splice.near.attach(self._transport)
        splice.far.attach(self._unproven.stream)
        self._liveness = LivenessMonitor(splice.near, self._relay.keepalive)
        splice.join()
        if self._far_silent:
            splice.far.readConnectionLost()
        return splice

    def far_silent(self, unproven: _Unproven) -> None:
        """The target has nothing to say, or the connector gave the stream up: which of the two shows at the end of the turn."""
        if unproven is self._unproven:
            self._far_silent = True
            unproven.stream.link.at_turn_end(lambda: self._heard_nothing(unproven))

    def _heard_nothing(self, unproven: _Unproven) -> None:
        if unproven is self._unproven and not unproven.stream.ended:
            self.join()

    def stream_ended(self, unproven: _Unproven) -> None:
        """The stream ended before the first byte: its target cannot be reached, or its link is gone."""
        if unproven is self._unproven and self._splice is None:
            self._replace()

    def _replace(self) -> None:
        """Go on with a stream of another connector, or turn the visitor away."""
        self._unproven = None
        if self._connector is not None:
            self._failed.append(self._connector)
        if self.open():
            self._relay.stats.retries_total += 1
            if self._access is not None:
                self._access.retries += 1
            return
        _log.warn("no connector of tunnel {tunnel} reaches its target; a visitor is turned away", tunnel=short_id(self._tunnel))
        self._end(VisitOutcome.TARGET_FAILED)
        self._transport.abortConnection()

    # -- from the first byte on

    def look(self) -> None:
        """Cut the visit when its visitor gives no sign of life."""
        if self._liveness is None:
            # a target that cannot be reached would have shown by now
            self.join()
        elif not self._liveness.check():
            self._abort(VisitOutcome.VISITOR_GONE)

    def forbid(self, reason: str) -> None:
        """It is no longer allowed: cut both sides."""
        self._abort(VisitOutcome.FORBIDDEN)

    def abort(self) -> None:
        """The server stops, and its time is over: cut both sides."""
        self._abort(VisitOutcome.STOPPED)

    def _abort(self, outcome: VisitOutcome) -> None:
        self._cut = outcome
        if self._splice is not None:
            self._splice.abort()
        else:
            self._transport.abortConnection()

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._relay.stats
        stats.bytes_in += up
        stats.bytes_out += down
        if self._access is not None:
            self._access.received, self._access.sent = up, down
        self._end(_OUTCOMES[outcome])

    def _end(self, outcome: VisitOutcome) -> None:
        outcome = self._cut or outcome
        self._relay.visits.discard(self)
        self._relay.stats.visits_open -= 1
        self._relay.stats.visits[outcome] += 1
        connector, access = self._connector, self._access
        if connector is not None:
            connector.count(outcome)
        if access is not None:
            access.connector = connector.id if connector is not None else None
            access.end(outcome)
        self._on_end()


def _host(request: Request) -> str:
    """The host that a visitor asks for, ``""`` when it names none."""
    return normalise_host(request.addresses[-1].host) if request.addresses else ""


_OUTCOMES = {
    SpliceOutcome.DONE: VisitOutcome.DONE,
    SpliceOutcome.NEAR_LOST: VisitOutcome.VISITOR_GONE,
    SpliceOutcome.FAR_LOST: VisitOutcome.TARGET_GONE,
}


@implementer(IHalfCloseableProtocol)
class _Unproven:
    """The protocol of a visit's stream until its first byte."""

    __slots__ = ("_visit", "stream")

    stream: TunnelStream

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def dataReceived(self, data: bytes) -> None:
        splice = self._visit.join()
        if splice is not None:
            splice.far.dataReceived(data)

    def readConnectionLost(self) -> None:
        self._visit.far_silent(self)

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._visit.stream_ended(self)
