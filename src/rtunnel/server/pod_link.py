"""A pod link: a developer's machine opens streams on it, and each is joined with one of a client in the pod."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from twisted.logger import Logger

from rtunnel.auth.access_control import AccessControl, ActiveGrant
from rtunnel.auth.authenticator import Grant
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit, LinkEnd, PodOutcome
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.permissions import Action
from rtunnel.routing.pods import choose_pod
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.pod_stream import PodStream
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings
from rtunnel.settings.checks import plain
from rtunnel.tunnel.link import Link
from rtunnel.tunnel.opening import open_link
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest, PodService, Reach

__all__ = ["MAX_STREAMS", "PodHost", "PodLink"]

MAX_STREAMS = 1024
"""Streams of a pod link at a time."""
MAX_NAMED = 500
"""Destinations of a link that are remembered, so that each is one line of the log and not one for each connection."""

_ACTIONS = {PodService.REACH: Action.REACH, PodService.ENV: Action.ENV, PodService.FILES: Action.FILES}
"""What a user must be allowed to do for a service."""
_OUTCOMES = {cause: PodOutcome(cause.name.lower()) for cause in Cause}
_DOES = {
    Action.REACH: "reach what this pod reaches",
    Action.ENV: "read the environment of this pod",
    Action.FILES: "read files of this pod",
}


class PodHost(Protocol):
    """What a pod link needs of the tunnel listener that admitted it."""

    access_control: AccessControl
    known: Callable[[UUID], bool]
    registry: TunnelRegistry[UpstreamPool]
    settings: ListenerSettings
    stats: ServerStats
    table: IngressTable
    reactor: Any


class PodLink:
    """One pod link, from its admission to its loss; owned by the tunnel listener.

    Its user's rights are checked for each stream, and again when users or permissions change; then the whole link is closed, and
    the machine that comes back gets what it still may.

    :param host: the listener.
    :param grant: the authenticated user.
    :param tunnel: whose pod it is.
    :param asked: the host that was asked for, for the log.
    :param peer: the other end, for the log.
    :param on_over: called when it is lost.
    :ivar link: carries the streams.
    """

    _log = Logger()

    def __init__(
        self, host: PodHost, grant: Grant, tunnel: UUID, asked: str, peer: str, on_over: Callable[[PodLink], None]
    ) -> None:
        self.host = host
        self.grant = grant
        self.tunnel = tunnel
        self._asked = asked
        self._peer = peer
        self._on_over = on_over
        self._connector: Connector[UpstreamPool] | None = None
        self._grants: dict[Action, ActiveGrant] = {}
        self._uses: dict[PodRequest, list[int]] = {}
        self._open = 0
        """Streams that were granted and have not ended."""
        self._end: str | None = None
        """Why the link was lost, once it is."""
        self.link = open_link(
            host.settings.mux,
            opens=False,
            reactor=host.reactor,
            reached=host.stats.reach,
            on_stream=self._accept,
            on_lost=self._lost,
            peer=peer,
        )

    @property
    def who(self) -> str:
        """For whom it is, for the log."""
        return plain(self.grant.user) if self.grant.user else f"an anonymous user at {self._peer}"

    def begin(self) -> bool:
        """Note what its user may do; False if that is nothing."""
        return bool([action for action in _ACTIONS.values() if self.allows(action)])

    def opened(self) -> None:
        """The link is up."""
        self.host.stats.pod_links_open += 1
        self._log.info(
            'pod link of {who} from {peer} to the pod of "{host}" in tunnel {tunnel}, for {actions}',
            who=self.who,
            peer=self._peer,
            host=plain(self._asked),
            tunnel=short_id(self.tunnel),
            actions=", ".join(self._grants),
        )

    def allows(self, action: Action) -> bool:
        """Whether its user may do something now; what was allowed once is watched from then on."""
        host, tunnel = self.host, self.tunnel
        if not host.known(tunnel) or not host.access_control.may(self.grant, action, tunnel, host.table.patterns(tunnel)):
            return False
        if action not in self._grants:
            close = partial(self.link.close, LinkEnd.FORBIDDEN)
            grant = ActiveGrant(self.grant, action, tunnel, lambda: host.table.patterns(tunnel), close, self._peer)
            self._grants[action] = grant
            host.access_control.register(grant)
        return True

    # -- streams

    def _accept(self, stream: TunnelStream) -> None:
        stream.protocol = PodStream(self, stream)

    def refusal(self, request: PodRequest) -> PodAnswer | None:
        """Why a request is refused here; None if it is not."""
        action = _ACTIONS[request.service]
        if len(self.link.streams) > MAX_STREAMS:
            self.host.stats.reach(Limit.STREAMS_PER_LINK)
            return PodAnswer(Cause.BUSY, f"there are {MAX_STREAMS} connections over this link, as many as there may be")
        if not self.allows(action):
            who = f"the user {self.grant.user}" if self.grant.user else "a user without a name"
            why = f"the permissions of the server do not allow {who} to {_DOES[action]}; ask its administrator for a line"
            return PodAnswer(Cause.NOT_ALLOWED, f"{why} ({action} in --permissions)")
        return None

    def connector(self, service: PodService) -> Connector[UpstreamPool] | None:
        """The client in the pod that offers a service: the same one for the whole link, as long as it is there."""
        tunnel = self.host.registry.get(self.tunnel)
        connectors = () if tunnel is None else tunnel.connectors
        self._connector = choose_pod(connectors, service, self._connector)
        return self._connector

    # -- the log

    def granted(self, request: PodRequest, connector: Connector[UpstreamPool], answer: PodAnswer) -> None:
        """A request was granted: a line for each destination of a link, for each environment, and for files that were given."""
        self._open += 1
        self.host.stats.pod_requests[PodOutcome.GRANTED] += 1
        if request.service is PodService.REACH and request.reach is not Reach.RULES and self._is_known(request):
            return
        if request.have and not answer.names:
            # nothing was given that was not there already
            return
        names = f": {', '.join(answer.names)}" if answer.names else ""
        self._log.info(
            "{service} of {who} by connector {connector} in tunnel {tunnel}: {what}{names}",
            service=request.service.value,
            who=self.who,
            connector=short_id(connector.id),
            tunnel=short_id(self.tunnel),
            what=plain(str(request)),
            names=names,
        )

    def _is_known(self, request: PodRequest) -> bool:
        known = request in self._uses
        if not known and len(self._uses) < MAX_NAMED:
            self._uses[request] = [0, 0, 0]
        return known

    def refused(self, request: PodRequest, answer: PodAnswer) -> None:
        """A request was refused, here or by the client in the pod."""
        self.host.stats.pod_requests[_OUTCOMES[answer.cause or Cause.FAILED]] += 1
        self._log.info(
            "{service} of {who} in tunnel {tunnel}: {what} refused: {why}",
            service=request.service.value,
            who=self.who,
            tunnel=short_id(self.tunnel),
            what=plain(str(request)),
            why=answer.why,
        )

    def ended(self, request: PodRequest, up: int, down: int) -> None:
        """A stream that was granted has ended.

        :param up: bytes to the pod.
        :param down: bytes from it.
        """
        self._open -= 1
        self.host.stats.bytes_in += up
        self.host.stats.bytes_out += down
        use = self._uses.get(request)
        if use is not None:
            use[0] += 1
            use[1] += up
            use[2] += down
        if self._end is not None and not self._open:
            self._say_goodbye(self._end)

    # -- the end

    def _lost(self, link: Link, end: LinkEnd, text: str) -> None:
        for grant in self._grants.values():
            self.host.access_control.unregister(grant)
        self._on_over(self)
        self.host.stats.pod_links_open -= 1
        self._end = text
        if not self._open:
            self._say_goodbye(text)

    def _say_goodbye(self, reason: str) -> None:
        """It is lost, and so are its streams: say what it was used for."""
        for request, (count, up, down) in self._uses.items():
            self._log.info(
                "reach of {who} in tunnel {tunnel}: {what} had {count} connections, {up} bytes there and {down} back",
                who=self.who,
                tunnel=short_id(self.tunnel),
                what=plain(str(request)),
                count=count,
                up=up,
                down=down,
            )
        self._log.info(
            "pod link of {who} to tunnel {tunnel} has ended: {reason}", who=self.who, tunnel=short_id(self.tunnel), reason=reason
        )
