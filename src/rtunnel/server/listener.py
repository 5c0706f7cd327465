"""The tunnel listener: admits clients, which become connectors of their tunnels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.ops.metrics import ServerStats
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings
from rtunnel.transport.sockets import plain_address
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.relay import (
    MAX_MESSAGE,
    Command,
    RelayAddress,
    RelayError,
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

    def buildProtocol(self, addr: Any) -> Admission:
        return Admission(self)

    def close(self, reason: str) -> None:
        """Close all links in good order, and whoever has not become one."""
        for admission in list(self.admissions):
            admission.refuse_quietly()
        for link in list(self.links):
            link.close(reason)


@implementer(IHalfCloseableProtocol)
class Admission(Protocol):
    """One connection to the tunnel listener: reads the relay request, then passes everything to the link it became."""

    transport: Any

    def __init__(self, listener: TunnelListener) -> None:
        self._listener = listener
        self._buffer = b""
        self._link: Link | None = None
        self._timer: Any = None
        self._peer = ""
        self._log = Logger()

    def connectionMade(self) -> None:
        address = self.transport.getPeer()
        host = plain_address(getattr(address, "host", "?"))
        self._peer = f"{host}:{getattr(address, 'port', '?')}"
        listener = self._listener
        listener.admissions.add(self)
        self._timer = listener.reactor.callLater(listener.settings.handshake_timeout, self._expired)

    def dataReceived(self, data: bytes) -> None:
        if self._link is not None:
            self._link.dataReceived(data)
            return
        if self._timer is None:
            # refused; what still comes is of no interest
            return
        self._buffer += data
        try:
            taken = take_request(self._buffer)
        except RelayError as error:
            self._refuse(Status.BAD_REQUEST, error.reason)
            return
        if taken is None:
            if len(self._buffer) > MAX_MESSAGE:
                self._refuse(Status.BAD_REQUEST, "the request is too long")
            return
        request, used = taken
        rest, self._buffer = self._buffer[used:], b""
        self._admit(request)
        if rest:
            self.dataReceived(rest)

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
        self._settle()
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
        self._connector = Connector(id=connector_id, tunnel=tunnel.id, weight=weight, link=pool, peer=self._peer)
        self._link = link
        listener.links.add(link)
        listener.stats.links_total += 1
        listener.stats.links_open += 1
        link.makeConnection(self.transport)  # type: ignore[no-untyped-call]
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
        self._settle()
        self.transport.write(Response(status=status).encode())
        self.transport.loseConnection()

    def refuse_quietly(self) -> None:
        """Close before anything was asked (the server stops)."""
        self._settle()
        self.transport.loseConnection()

    def _settle(self) -> None:
        """The handshake is over, one way or the other."""
        self._listener.admissions.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _expired(self) -> None:
        self._log.info("refused {peer}: no request came in time", peer=self._peer)
        self._settle()
        self.transport.abortConnection()

    def heard(self) -> None:
        """A pong."""
        if self._link is not None:
            self._link.heard()

    def readConnectionLost(self) -> None:
        if self._link is not None:
            self._link.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._settle()
        if self._link is not None:
            self._link.connectionLost(reason)
