"""The tunnel listener: admits clients, which become connectors of their tunnels, and visitors that know a tunnel ID."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import time
from typing import Any
from uuid import UUID, uuid4

import attrs
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.auth.access_control import AccessControl, ActiveGrant
from rtunnel.auth.authenticator import ANONYMOUS, AuthenticationFailed, Grant
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit, LinkEnd, RefusalReason
from rtunnel.routing.ingress import IngressTable, normalise_host
from rtunnel.routing.intercept_terms import InterceptFilter, listed
from rtunnel.routing.permissions import Action
from rtunnel.routing.policies import Policy
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.agreed_admission import agree_on_intercept
from rtunnel.server.control_commands import Caller, ControlCommands
from rtunnel.server.control_connection import ControlConnection
from rtunnel.server.control_stream import Surroundings
from rtunnel.server.entrypoint.entrypoint import Entrypoint, Peer
from rtunnel.server.entrypoint.forwarding import TrustedProxies
from rtunnel.server.entrypoint.relay import FIRST_BYTE, RelayEntrypoint, VisitDenied
from rtunnel.server.health import HealthMonitor
from rtunnel.server.intercept_admission import (
    Intercept,
    InterceptRefused,
    Wanted,
    against_policy,
    decide_intercept,
    read_intercept,
    refused_by_policy,
)
from rtunnel.server.lease_book import LeaseBook
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.limits import ClientPlace, ServerLimits
from rtunnel.server.pod_link import PodLink
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.server.tunnel_stats import connector_stats
from rtunnel.server.upstream import StreamLimits, UpstreamPool
from rtunnel.settings import LeaseSettings, ListenerSettings
from rtunnel.settings.checks import plain
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Flooded, reason_of
from rtunnel.transport.sockets import end_when_stalled
from rtunnel.transport.websocket import CLIENT_KEY
from rtunnel.tunnel.bounds import StreamCount
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Link
from rtunnel.tunnel.opening import open_link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.relay import (
    NO_METADATA,
    Command,
    Network,
    RelayAddress,
    Request,
    Response,
    Status,
    TunnelFeature,
    endpoint_host,
    take_request,
)
from rtunnel.wire.relay_intercepts import InterceptAnswer, is_pod

__all__ = ["TunnelListener"]

_NO_HOST = ("", "0.0.0.0", "::")
"""The address of a client that requests no host."""

MAX_REQUEST = 16384
"""Bytes of a request, with all that it may have: a peer that is not admitted yet must not cost more."""

_CLIENT_KEY = CLIENT_KEY.lower().encode()

_STATUSES = {RefusalReason.NO_PASSWORD: Status.UNAUTHORIZED, RefusalReason.WRONG_PASSWORD: Status.UNAUTHORIZED}
"""The statuses that tell a client why it was rejected; other reasons become SERVICE_UNAVAILABLE, so that it retries."""


_ACTIONS = {Command.BIND: Action.GLOBAL, Command.INTERCEPT: Action.INTERCEPT}
"""What a client must be allowed to do for its request."""

_NO_REQUESTS = "all rules of the tunnel are private: visits have no fields to intercept by, so they go to others, by weight"

_LIMITS = {LinkEnd.STALLED: Limit.LINK_STALL, LinkEnd.OVERFLOWED: Limit.LINK_BUFFER, LinkEnd.FLOODED: Limit.FLOOD}
"""The bounds that end a link."""


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


class Admission(Handshake[Request]):
    """One connection to the tunnel listener: reads the relay request, then becomes the link of a connector, or a visit.

    :param announced_peer: the visitor's address if a proxy announced it; by default the peer of the connection.
    :param visits_only: whether only visitors are admitted.
    """

    _connector: Connector[UpstreamPool]
    _active_grant: ActiveGrant

    def __init__(self, listener: TunnelListener, announced_peer: Peer | None = None, *, visits_only: bool = False) -> None:
        super().__init__(take_request, seconds=listener.settings.handshake_timeout, reactor=listener.reactor, most=MAX_REQUEST)
        self._listener = listener
        self._visits_only = visits_only
        self._announced_peer = announced_peer
        self._peer = announced_peer or Peer("", 0)
        self._peer_name = ""
        self._log_name = ""
        self._grant = ANONYMOUS
        self._place: ClientPlace | None = None
        self._counted = False
        self._asked = False
        self._agreeing = False
        """Whether the servers have to agree first on what it gets."""
        self._log = Logger()

    def connectionMade(self) -> None:
        super().connectionMade()
        self._peer = self._announced_peer or self._listener.origin(self.transport)
        self._peer_name = f"{self._peer.host or '?'}:{self._peer.port or '?'}"
        self._log_name = self._peer_name
        self._listener.admissions.add(self)
        place = None if self._visits_only else ITunnelTransport(self.transport).place()
        self._place = place if isinstance(place, ClientPlace) else None
        if self._place is not None and self._peer.host != Peer.of(self.transport).host and not self._place.recount(self._peer.host):
            self._refuse_as_one_too_many("its address has too many handshakes that are not finished")

    @property
    def idle_since(self) -> float | None:
        """For a visitor at an entrypoint: see :class:`~rtunnel.server.entrypoint.entrypoint.VisitorConnection`."""
        return 0.0 if self in self._listener.admissions and not self._asked else None

    def received(self, message: Request) -> None:
        """Authenticate, which may take a while, then decide."""
        self.pause()
        self._asked = True
        if self._place is not None:
            self._place.asked = True
        user = message.credentials[0] if message.credentials else None
        self._log_name = f"{self._peer_name} (user {plain(user)})" if user else self._peer_name
        host = self._peer_name.rpartition(":")[0]
        key = ITunnelTransport(self.transport).request_fields().get(_CLIENT_KEY, b"")
        self._listener.access_control.admit(message.credentials, host, key).addCallbacks(
            self._authenticated, self._rejected, callbackArgs=(message,)
        ).addErrback(self._failed)

    def _authenticated(self, grant: Grant, request: Request) -> None:
        if self in self._listener.admissions:
            self._grant = grant
            self._admit(request)
            if not self._agreeing:
                self.resume()

    def _rejected(self, failure: Failure) -> None:
        refused = failure.value
        if not isinstance(refused, AuthenticationFailed):
            failure.raiseException()
        if self in self._listener.admissions:
            self._refuse(_STATUSES.get(refused.kind, Status.SERVICE_UNAVAILABLE), refused.kind, refused.reason)
        else:
            self._count(refused.kind, f"{refused.reason}, and it did not wait for the response")

    def _failed(self, failure: Failure) -> None:
        """An internal error: log it and abort this connection only."""
        self._log.failure("error while admitting {peer}", failure=failure, peer=self._peer_name)
        self.finish()
        self.transport.abortConnection()

    def malformed(self, reason: str) -> None:
        self._refuse(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST, reason)

    def expired(self) -> None:
        self._count(RefusalReason.TIMEOUT, "it sent no request in time")
        self.finish()
        self.transport.abortConnection()

    def finish(self) -> None:
        super().finish()
        self._listener.admissions.discard(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.link is None and reason.check(Flooded):
            self._listener.stats.reach(Limit.FLOOD)
            self._count(RefusalReason.BAD_REQUEST, reason_of(reason))
        super().connectionLost(reason)

    def _admit(self, request: Request) -> None:
        if request.network not in (Network.TCP, Network.UDP):
            reason = f"tunnels carry TCP and UDP, not {request.network.name}"
            self._refuse(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST, reason)
        elif self._place is not None and not self._place.admit(self._peer.host):
            self._refuse_as_one_too_many("its address has too many links and visits (--max-links-per-address)")
        elif request.command is Command.CONNECT:
            self._listener.relay.admit(request, self, self._peer, self._grant, self._listener.access_control)
        elif request.command is Command.ASSOCIATE or self._visits_only:
            self._refuse(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST, f"the request {request.command.name} is not supported here")
        elif self._listener.stopping and request.command is not Command.CONTROL:
            self._refuse(Status.SERVICE_UNAVAILABLE, RefusalReason.STOPPING, "the server is stopping")
        elif request.tunnel is None or not request.tunnel.id.int:
            self._refuse(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST, "the request names no tunnel")
        elif not self._listener.known(request.tunnel.id):
            reason = f"no ingress rule names the tunnel {short_id(request.tunnel.id)}"
            self._refuse(Status.FORBIDDEN, RefusalReason.UNKNOWN_TUNNEL, reason)
        elif request.command is Command.CONTROL:
            self._take_questions(request.tunnel.id)
        elif request.command is Command.POD:
            self._open_pod(request)
        elif not self._listener.may_bind(self._grant, _ACTIONS[request.command], request.tunnel.id):
            reason = f"the permissions do not allow it to bind the tunnel {short_id(request.tunnel.id)}"
            self._refuse(Status.FORBIDDEN, RefusalReason.FORBIDDEN, reason)
        elif self._listener.is_full(request.tunnel.id):
            self._listener.stats.reach(Limit.LINKS_PER_TUNNEL)
            self._refuse_as_one_too_many(f"the tunnel {short_id(request.tunnel.id)} has too many links (--max-links-per-tunnel)")
        elif request.command is Command.INTERCEPT:
            self._intercept(request, request.tunnel)
        else:
            self._share(request, request.tunnel)

    def _intercept(self, request: Request, tunnel: TunnelFeature) -> None:
        """Bind for some requests only, unless another client has them."""
        listener, user, peer = self._listener, self._grant.user, self._peer_name
        try:
            wanted = read_intercept(request, tunnel.id, listener.policy(tunnel.id), user, peer)
            decide = partial(self._decide, wanted)
            if listener.sharing is None:
                self._bind(request, tunnel, decide())
                return
        except InterceptRefused as refused:
            self._refuse_intercept(refused)
            return
        connector = uuid4()
        self._agreeing = True
        agreed = agree_on_intercept(listener.sharing, wanted, connector, user, peer, decide)
        agreed.addBoth(self._agreed, request, tunnel, connector).addErrback(self._failed)

    def _decide(self, wanted: Wanted) -> Intercept:
        listener = self._listener
        return decide_intercept(wanted, listener.registry.get(wanted.tunnel), listener.leases.leases)

    def _agreed(self, outcome: Intercept | Failure, request: Request, tunnel: TunnelFeature, connector: UUID) -> None:
        """The servers have agreed, or have not."""
        self._agreeing = False
        here = self in self._listener.admissions
        if isinstance(outcome, Failure):
            outcome.trap(InterceptRefused)
            if here:
                assert isinstance(outcome.value, InterceptRefused)
                self._refuse_intercept(outcome.value)
        elif here and not self._listener.stopping:
            self._bind(request, tunnel, outcome, connector)
        else:
            sharing = self._listener.sharing
            assert sharing is not None
            sharing.shared.withdraw(connector)
            if here:
                self._refuse(Status.SERVICE_UNAVAILABLE, RefusalReason.STOPPING, "the server is stopping")
        if here:
            self.resume()

    def _refuse_intercept(self, refused: InterceptRefused) -> None:
        self._refuse(refused.status, refused.kind, refused.reason, refused.answer.metadata())

    def _share(self, request: Request, tunnel: TunnelFeature) -> None:
        """Bind for a share of all requests, unless the policy of a host keeps them for others."""
        reason = self._listener.against_policy(tunnel.id, self._grant.user, pod=is_pod(request.metadata))
        if reason is None:
            self._bind(request, tunnel)
        else:
            self._refuse_intercept(refused_by_policy(reason))

    def _refuse_as_one_too_many(self, reason: str) -> None:
        self._refuse(Status.SERVICE_UNAVAILABLE, RefusalReason.TOO_MANY, reason)

    def _take_questions(self, tunnel: UUID) -> None:
        """Let a caller ask about leases; what of them it sees is decided with each question."""
        self.transport.write(Response(status=Status.OK, metadata=InterceptAnswer().metadata()).encode())
        self.switch_to(self._listener.take_questions(self._grant, tunnel, self.transport, self._log_name))

    def _open_pod(self, request: Request) -> None:
        """Turn the connection into a link on which the other end opens streams to the pod of a host, if it may open any."""
        listener = self._listener
        tunnel = listener.relay.route(request)
        if isinstance(tunnel, VisitDenied):
            self._refuse(tunnel.status, RefusalReason.UNKNOWN_TUNNEL, tunnel.reason)
            return
        asked = request.addresses[-1].host if request.addresses else ""
        pod_link = PodLink(listener, self._grant, tunnel, asked, self._peer_name, listener.pod_links.discard)
        if not pod_link.begin():
            reason = f"the permissions do not allow it anything with the pod of the tunnel {short_id(tunnel)} (reach, env, files)"
            self._refuse(Status.FORBIDDEN, RefusalReason.FORBIDDEN, reason)
            return
        listener.pod_links.add(pod_link)
        self.transport.write(Response(status=Status.OK, metadata=InterceptAnswer().metadata()).encode())
        end_when_stalled(ITunnelTransport(self.transport).tcp_socket(), listener.settings.mux.stall_timeout)
        self.switch_to_link(pod_link.link)
        pod_link.opened()

    def _endpoint(self, tunnel: UUID, asked: str, action: Action) -> str:
        """The host name of the tunnel for its client: the requested one, if a rule leads that host to the tunnel.

        gost grants any host that no rule leads elsewhere (go-gost/x ``handler/tunnel/bind.go``); here a host without a
        rule could not be reached.
        """
        if asked in _NO_HOST:
            return endpoint_host(tunnel)
        if self._listener.grants_host(self._grant, action, tunnel, asked):
            return asked
        self._log.info(
            "{who} asked for the host {host}, to which no ingress rule of tunnel {tunnel} leads; it gets the default one",
            who=self._log_name,
            host=plain(asked),
            tunnel=short_id(tunnel),
        )
        return endpoint_host(tunnel)

    def _bind(
        self, request: Request, tunnel: TunnelFeature, intercept: Intercept | None = None, connector: UUID | None = None
    ) -> None:
        """Turn the connection into a link and register its connector.

        :param connector: the ID that was agreed on, if it was.
        """
        listener = self._listener
        connector_id = connector or uuid4()
        weight = tunnel.weight or 1
        datagrams = request.network is Network.UDP
        asked = request.addresses[-1] if request.addresses else RelayAddress("", 0)
        answer = Response(
            status=Status.OK,
            addresses=(RelayAddress(self._endpoint(tunnel.id, asked.host, _ACTIONS[request.command]), asked.port),),
            tunnel=TunnelFeature(connector_id, weight=tunnel.weight, udp=datagrams),
            metadata=NO_METADATA if intercept is None else self._granted(tunnel, intercept).metadata(),
        )
        self.transport.write(answer.encode())
        mux = listener.settings.mux
        count = listener.limits.streams_of(tunnel.id)
        # not of a visit, which may have to wait for a program at a breakpoint
        end_when_stalled(ITunnelTransport(self.transport).tcp_socket(), mux.stall_timeout)
        link = open_link(
            mux,
            opens=True,
            reactor=listener.reactor,
            reached=listener.stats.reach,
            count=count,
            on_draining=self._client_draining,
            on_full=self._link_full,
            on_instance=self._client_announced,
            on_control=self._client_takes_control,
            on_lost=self._link_lost,
            peer=self._peer_name,
        )
        self._connector = Connector(
            id=connector_id,
            tunnel=tunnel.id,
            weight=weight,
            pool=listener.new_pool(link, count),
            peer=self._peer_name,
            user=self._grant.user,
            since=time(),
            datagrams=datagrams,
            name="" if intercept is None else intercept.name,
            filters=() if intercept is None else intercept.filters,
            cacheable=intercept is not None and intercept.cacheable,
            pod=is_pod(request.metadata),
        )
        self._active_grant = ActiveGrant(
            self._grant,
            _ACTIONS[request.command],
            tunnel.id,
            lambda: listener.table.patterns(tunnel.id),
            partial(link.close, LinkEnd.FORBIDDEN),
            self._peer_name,
        )
        listener.access_control.register(self._active_grant)
        listener.links.add(link)
        listener.connectors.add(self._connector)
        listener.stats.labelled.join(connector_id, partial(connector_stats, self._connector))
        listener.stats.links_total += 1
        listener.stats.links_open += 1
        self.switch_to_link(link)
        listener.registry.add(self._connector)
        listener.health.watch(self._connector, listener.settings.health)
        link.ask()
        if intercept is not None:
            listener.leases.warn_of_overlaps(intercept.name, self._connector.holder, intercept.overlaps)
        self._log.info(
            "connector {connector} joined tunnel {tunnel} with weight {weight} from {who}{role}{kind}{filters}",
            connector=short_id(connector_id),
            tunnel=short_id(tunnel.id),
            weight=weight,
            who=self._log_name if self._grant.user else self._peer_name,
            role=" as the pod" if self._connector.pod else "",
            kind=" for datagrams" if datagrams else "",
            filters="" if intercept is None else f" as {intercept.name or '?'} for requests with {listed(intercept.filters)}",
        )

    def _granted(self, tunnel: TunnelFeature, intercept: Intercept) -> InterceptAnswer:
        """The answer to a client that gets some requests only."""
        if intercept.warning:
            self._log.warn(
                "tunnel {tunnel}: {name} joins for {filters}; {reason}",
                tunnel=short_id(tunnel.id),
                name=intercept.name,
                filters=listed(intercept.filters),
                reason=intercept.warning,
            )
        table = self._listener.table
        warnings = [intercept.warning] if intercept.warning else []
        if table.only_private(tunnel.id):
            warnings.insert(0, _NO_REQUESTS)
        return InterceptAnswer(hosts=table.patterns(tunnel.id), warning="; ".join(warnings))

    def _client_announced(self, instance: bytes) -> None:
        """The client says who it is: a link that it had before is dead, whatever the system thinks, and must not count twice."""
        mine = self._connector
        tunnel = self._listener.registry.get(mine.tunnel)
        if mine.instance or tunnel is None or mine not in tunnel:
            return
        before = tunnel.announce(mine, instance)
        self._listener.registry.changed(mine)
        if before is not None and not before.pool.is_remote:
            before.pool.link.drop(LinkEnd.LOST, "its client is back on another connection")

    def _client_takes_control(self, token: str) -> None:
        """The client can be told something beside the requests, and gets a lease."""
        listener, tunnel = self._listener, self._connector.tunnel
        surroundings = Surroundings(lambda: listener.table.patterns(tunnel), lambda: listener.settings.http.sticky is not None)
        listener.leases.offered(self._connector, token, listener.lease_terms(tunnel), surroundings)

    def _link_full(self) -> None:
        """Too much waits for the client: new requests go to others."""
        self._listener.health.full(self._connector)

    def _client_draining(self) -> None:
        """The client is draining: it gets no more requests, those in progress go on."""
        self._listener.leases.leaves(self._connector)
        self._listener.registry.remove(self._connector)
        self._connector.pool.retire()

    def _link_lost(self, link: Link, end: LinkEnd, text: str) -> None:
        listener = self._listener
        connector = self._connector
        listener.registry.remove(connector)
        listener.access_control.unregister(self._active_grant)
        listener.links.discard(link)
        listener.connectors.discard(connector)
        listener.health.forget(connector)
        listener.leases.lost(connector, end)
        listener.stats.labelled.leave(connector.id)
        listener.stats.links_open -= 1
        listener.stats.link_lost(end)
        if end in _LIMITS:
            listener.stats.reach(_LIMITS[end])
        self._log.info(
            "connector {connector} left tunnel {tunnel} after {requests} requests: {reason}",
            connector=short_id(connector.id),
            tunnel=short_id(connector.tunnel),
            requests=connector.requests,
            reason=text,
        )

    def _refuse(self, status: Status, kind: RefusalReason, reason: str, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Respond with the status that gost's clients know, and close."""
        self._count(kind, reason)
        self.finish()
        self.transport.write(Response(status=status, metadata=metadata).encode())
        self.transport.loseConnection()

    def _count(self, kind: RefusalReason, reason: str) -> None:
        if self._counted:
            return
        self._counted = True
        self._listener.stats.refusals[kind] += 1
        self._log.info("refused {who}: {reason}", who=self._log_name, reason=reason)

    def refuse_quietly(self) -> None:
        """Close without a response (the server stops)."""
        self.finish()
        self.transport.loseConnection()
