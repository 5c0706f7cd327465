"""Admission of clients and visitors: a connection to a tunnel listener, until it is what it asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid4

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.auth.authenticator import ANONYMOUS, AuthenticationFailed, Grant
from rtunnel.ids import short_id
from rtunnel.outcomes import Limit, RefusalReason
from rtunnel.routing.intercept_terms import InterceptFilter, listed
from rtunnel.routing.permissions import Action
from rtunnel.routing.policies import Policy
from rtunnel.server.agreed_admission import agree_on_intercept
from rtunnel.server.connector_link import ConnectorHost, ConnectorLink, Joining
from rtunnel.server.control_connection import ControlConnection
from rtunnel.server.entrypoint.entrypoint import Peer
from rtunnel.server.entrypoint.relay import RelayEntrypoint, VisitDenied
from rtunnel.server.intercept_admission import (
    Intercept,
    InterceptRefused,
    Wanted,
    decide_intercept,
    read_intercept,
    refused_by_policy,
)
from rtunnel.server.limits import ClientPlace
from rtunnel.server.pod_link import PodHost, PodLink
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.settings.checks import plain
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Flooded, reason_of
from rtunnel.transport.sockets import end_when_stalled
from rtunnel.transport.websocket import CLIENT_KEY
from rtunnel.tunnel.handshake import Handshake
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

__all__ = ["MAX_REQUEST", "Admission", "AdmissionHost"]

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


class AdmissionHost(ConnectorHost, PodHost, Protocol):
    """What an admission needs of its tunnel listener, which keeps the connections in their handshake, and what they become."""

    admissions: set[Admission]
    pod_links: set[PodLink]
    relay: RelayEntrypoint
    sharing: SharedLeases | None
    stopping: bool

    def origin(self, transport: Any) -> Peer:
        """Where a connection comes from: the peer, or the one that a trusted proxy names."""

    def is_full(self, tunnel: UUID) -> bool:
        """Whether a tunnel has as many links as it may have."""

    def may_bind(self, grant: Grant, action: Action, tunnel: UUID) -> bool:
        """Whether the permissions allow a user to bind a tunnel, for some requests or for all."""

    def grants_host(self, grant: Grant, action: Action, tunnel: UUID, asked: str) -> bool:
        """Whether a client gets the host name that it asks for."""

    def policy(self, tunnel: UUID) -> Policy:
        """What clients of a tunnel have to keep to."""

    def against_policy(self, tunnel: UUID, user: str, filters: tuple[InterceptFilter, ...] = (), *, pod: bool) -> str | None:
        """Why a client may not have what it asks for; None if it may."""

    def take_questions(self, grant: Grant, tunnel: UUID, transport: Any, who: str) -> ControlConnection:
        """What a connection becomes that asks about leases."""


class Admission(Handshake[Request]):
    """One connection to the tunnel listener: reads the relay request, then becomes the link of a connector, or a visit.

    :param announced_peer: the visitor's address if a proxy announced it; by default the peer of the connection.
    :param visits_only: whether only visitors are admitted.
    """

    def __init__(self, listener: AdmissionHost, announced_peer: Peer | None = None, *, visits_only: bool = False) -> None:
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
        """Turn the connection into the link of a connector.

        :param connector: the ID that was agreed on, if it was.
        """
        action = _ACTIONS[request.command]
        asked = request.addresses[-1] if request.addresses else RelayAddress("", 0)
        joining = Joining(
            connector=connector or uuid4(),
            tunnel=tunnel.id,
            weight=tunnel.weight or 1,
            grant=self._grant,
            action=action,
            peer=self._peer_name,
            who=self._log_name,
            datagrams=request.network is Network.UDP,
            pod=is_pod(request.metadata),
            intercept=intercept,
        )
        answer = Response(
            status=Status.OK,
            addresses=(RelayAddress(self._endpoint(tunnel.id, asked.host, action), asked.port),),
            tunnel=TunnelFeature(joining.connector, weight=tunnel.weight, udp=joining.datagrams),
            metadata=NO_METADATA if intercept is None else self._granted(tunnel, intercept).metadata(),
        )
        self.transport.write(answer.encode())
        # not of a visit, which may have to wait for a program at a breakpoint
        end_when_stalled(ITunnelTransport(self.transport).tcp_socket(), self._listener.settings.mux.stall_timeout)
        client = ConnectorLink(self._listener, joining)
        self.switch_to_link(client.link)
        client.joined()

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
