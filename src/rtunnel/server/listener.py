"""The tunnel listener: admits clients, which become connectors of their tunnels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time
from typing import Any
from uuid import uuid4

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from rtunnel.ops.metrics import ServerStats
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.loads import connector_load
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings
from rtunnel.transport.sockets import plain_address
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.relay import (
    Command,
    RelayAddress,
    Request,
    Response,
    Status,
    TunnelFeature,
    endpoint_host,
    take_request,
)
from rtunnel.wire.smux import Session

__all__ = ["TunnelListener"]


class TunnelListener(Factory):
    """What all links of one tunnel listener share; owned by the service.

    :param settings: of the listener.
    :param known: says whether a tunnel id may be bound: whether an ingress rule names it.
    :param registry: where connectors are entered as long as their link lives.
    """

    noisy = False

    def __init__(
        self,
        *,
        settings: ListenerSettings,
        known: Callable[[Any], bool],
        registry: TunnelRegistry[UpstreamPool],
        stats: ServerStats,
        reactor: Any,
    ) -> None:
        self.settings = settings
        self.known = known
        self.registry = registry
        self.stats = stats
        self.reactor = reactor
        self.admissions: set[Admission] = set()
        self.links: set[Link] = set()
        self.connectors: set[Connector[UpstreamPool]] = set()
        """Those whose link is up; also of clients that are about to stop, which the registry has given up."""
        self.address = ""
        """Where it listens, set when it does."""

    def buildProtocol(self, addr: Any) -> Admission:
        return Admission(self)

    def close(self, reason: str) -> None:
        """Close all links in good order, and whoever has not become one."""
        for admission in list(self.admissions):
            admission.refuse_quietly()
        for link in list(self.links):
            link.close(reason)


class Admission(Handshake[Request]):
    """One connection to the tunnel listener: reads the relay request, then is the link of a connector."""

    _connector: Connector[UpstreamPool]

    def __init__(self, listener: TunnelListener) -> None:
        super().__init__(take_request, seconds=listener.settings.handshake_timeout, reactor=listener.reactor)
        self._listener = listener
        self._peer = ""
        self._log = Logger()

    def connectionMade(self) -> None:
        super().connectionMade()
        address = self.transport.getPeer()
        self._peer = f"{plain_address(getattr(address, 'host', '?'))}:{getattr(address, 'port', '?')}"
        self._listener.admissions.add(self)

    def received(self, message: Request) -> None:
        self._admit(message)

    def malformed(self, reason: str) -> None:
        self._refuse(Status.BAD_REQUEST, reason)

    def expired(self) -> None:
        self._log.info("refused {peer}: no request came in time", peer=self._peer)
        self.settle()
        self.transport.abortConnection()

    def settle(self) -> None:
        super().settle()
        self._listener.admissions.discard(self)

    def _admit(self, request: Request) -> None:
        if request.command is not Command.BIND:
            self._refuse(Status.BAD_REQUEST, f"the request {request.command.name} is not served here")
        elif request.tunnel is None:
            self._refuse(Status.BAD_REQUEST, "the request names no tunnel")
        elif not self._listener.known(request.tunnel.id):
            self._refuse(Status.FORBIDDEN, f"no ingress rule names the tunnel {request.tunnel.id}")
        else:
            self._bind(request, request.tunnel)

    def _bind(self, request: Request, tunnel: TunnelFeature) -> None:
        """Make the connection a link and enter its connector."""
        listener = self._listener
        connector_id = uuid4()
        weight = tunnel.weight or 1
        asked = request.addresses[-1] if request.addresses else RelayAddress("", 0)
        answer = Response(
            status=Status.OK,
            addresses=(RelayAddress(endpoint_host(tunnel.id), asked.port),),
            tunnel=TunnelFeature(connector_id, weight=tunnel.weight),
        )
        self.transport.write(answer.encode())
        mux = listener.settings.mux
        link = Link(
            Session(
                opens=True,
                version=mux.version,
                window=mux.stream_window,
                frame_size=mux.frame_size,
                receive_buffer=mux.receive_buffer,
            ),
            reactor=listener.reactor,
            keepalive=Keepalive(mux.keepalive_interval, mux.keepalive_timeout),
            on_leaving=self._leaving,
            on_lost=self._link_lost,
            peer=self._peer,
        )
        http = listener.settings.http
        pool = UpstreamPool(
            link,
            limits=HeadLimits(http.head_bytes, http.line_bytes, http.header_count),
            idle=http.pool_idle if http.pool else 0,
        )
        self._connector = Connector(id=connector_id, tunnel=tunnel.id, weight=weight, link=pool, peer=self._peer, since=time())
        listener.links.add(link)
        listener.connectors.add(self._connector)
        listener.stats.attachments.join(connector_id, partial(connector_load, self._connector))
        listener.stats.links_total += 1
        listener.stats.links_open += 1
        self.become(link)
        listener.registry.add(self._connector)
        self._log.info(
            "connector {connector} joined tunnel {tunnel} with weight {weight} from {peer}",
            connector=str(connector_id),
            tunnel=str(tunnel.id),
            weight=weight,
            peer=self._peer,
        )

    def _leaving(self) -> None:
        """The client is about to stop: it gets no more requests, those under way go on."""
        self._listener.registry.remove(self._connector)

    def _link_lost(self, link: Link, reason: str) -> None:
        listener = self._listener
        connector = self._connector
        listener.registry.remove(connector)
        listener.links.discard(link)
        listener.connectors.discard(connector)
        listener.stats.attachments.leave(connector.id)
        listener.stats.links_open -= 1
        listener.stats.link_lost(reason)
        self._log.info(
            "connector {connector} left tunnel {tunnel} after {requests} requests: {reason}",
            connector=str(connector.id),
            tunnel=str(connector.tunnel),
            requests=connector.requests,
            reason=reason,
        )

    def _refuse(self, status: Status, reason: str) -> None:
        """Say no, with the status that gost's clients know, and close."""
        self._log.info("refused {peer}: {reason}", peer=self._peer, reason=reason)
        self.settle()
        self.transport.write(Response(status=status).encode())
        self.transport.loseConnection()

    def refuse_quietly(self) -> None:
        """Close before anything was asked (the server stops)."""
        self.settle()
        self.transport.loseConnection()
