"""A server's HTTP entrypoint in memory: visitors on string transports, connectors that a test plays itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import LinkEnd, Outcome
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.entrypoint.first_bytes import VisitorFactory
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.relay import take_preface
from rtunnel.wire.smux import DATA, FINISHED, OPENED, STOPPED, Session

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
PRIVATE = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")


@implementer(ITCPTransport)
class Transport(StringTransport):
    """A string transport with what a socket has besides."""

    protocol: Any = None
    aborted = False
    half_closed = False
    paused_reading = False
    no_delay = False

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Like a socket's."""

    def unregisterProducer(self) -> None:
        """Like a socket's: also when there is none."""
        self.producer = None

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def pauseProducing(self) -> None:
        self.paused_reading = True

    def resumeProducing(self) -> None:
        self.paused_reading = False


@implementer(ITunnelTransport)
class PingingTransport(Transport):
    """The same as the end of a WebSocket whose peer does not know half-close.

    :ivar pings: how many were sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pings = 0
        self._on_pong: Callable[[], None] = lambda: None
        self._end_write: Callable[[], None] | None = None

    def ping(self, on_pong: Callable[[], None]) -> bool:
        self.pings += 1
        self._on_pong = on_pong
        return not self.paused_reading

    def pong(self) -> None:
        """The peer answers."""
        self._on_pong()

    def enter_half_close_mode(self, end_write: Callable[[], None] | None = None) -> None:
        self._end_write = end_write

    def loseWriteConnection(self) -> None:
        (self._end_write or self.loseConnection)()

    def set_no_delay(self) -> None:
        self.no_delay = True

    def tcp_socket(self) -> None:
        """There is none."""


class Visitor:
    """One visitor connection."""

    def __init__(self, entrypoint: Any, world: World, address: Any = None) -> None:
        self.world = world
        self.transport: Any = Transport(peerAddress=address)
        self.protocol = entrypoint.buildProtocol(address)
        self.protocol.makeConnection(self.transport)
        self.transport.protocol = self.protocol

    def send(self, data: bytes) -> Visitor:
        self.transport.protocol.dataReceived(data)
        self.world.turn()
        return self

    def leave(self) -> None:
        self.transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.world.turn()

    @property
    def received(self) -> bytes:
        """All that came so far."""
        data: bytes = self.transport.value()
        return data

    def take(self) -> bytes:
        """What came since the last time."""
        data = self.received
        self.transport.clear()
        return data

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting or self.transport.half_closed)


class FarStream:
    """A stream as its connector sees it: the test plays the target."""

    def __init__(self, connector: FarConnector, stream_id: int) -> None:
        self.connector = connector
        self.id = stream_id
        self.raw = b""
        self.finished = False
        self.stopped = False
        self.preface: Any = None

    def take(self) -> bytes:
        """The bytes after the preface, each once; they count as consumed."""
        if self.preface is None and (taken := take_preface(self.raw)) is not None:
            self.preface, used = taken
            self.raw = self.raw[used:]
        data, self.raw = self.raw, b""
        return data

    def answer(self, data: bytes) -> None:
        self.connector.session.send(self.id, data)
        self.connector.world.turn()

    def close(self) -> None:
        """The target closed its connection."""
        self.connector.session.finish(self.id)
        self.connector.world.turn()


class FarConnector:
    """A client attached to the tunnel, played by the test: a smux engine at the other end of a real link."""

    def __init__(self, world: World, weight: int, *, consume: bool = True, datagrams: bool = False) -> None:
        self.world = world
        self.session = Session(opens=False)
        self.streams: list[FarStream] = []
        self.transport: Any = Transport()
        self.consume = consume
        self.link = Link(
            Session(opens=True),
            reactor=world.clock,
            keepalive=Keepalive(0),
            on_leaving=self.leaving,
            on_lost=self.lost,
            peer="192.0.2.7:1",
        )
        idle = world.settings.pool_idle if world.settings.pool else 0
        pool = UpstreamPool(self.link, limits=HeadLimits(), idle=idle)
        self.connector: Any = Connector(
            id=uuid4(), tunnel=TUNNEL, weight=weight, pool=pool, peer="192.0.2.7:1", datagrams=datagrams
        )
        self.link.makeConnection(self.transport)
        world.registry.add(self.connector)

    @property
    def stream(self) -> FarStream:
        """The stream opened last."""
        return self.streams[-1]

    def leaving(self) -> None:
        self.world.registry.remove(self.connector)

    def lost(self, link: Link, end: LinkEnd, text: str) -> None:
        self.world.registry.remove(self.connector)

    def lose(self) -> None:
        """The link breaks."""
        self.link.connectionLost(Failure(ConnectionLost()))
        self.world.turn()

    def shuttle(self) -> bool:
        """Move what there is, both ways; whether anything moved."""
        down = self.transport.value()
        self.transport.clear()
        for kind, stream_id, payload in self.session.receive(down):
            if kind == OPENED:
                self.streams.append(FarStream(self, stream_id))
                continue
            stream = next((stream for stream in self.streams if stream.id == stream_id), None)
            if stream is None:
                continue
            if kind == DATA:
                stream.raw += payload
                if self.consume:
                    self.session.consumed(stream_id, len(payload))
            elif kind == FINISHED:
                stream.finished = True
            elif kind == STOPPED:
                stream.stopped = True
        up = self.session.take_output()
        if up:
            self.link.dataReceived(up)
        return bool(down or up)


class World:
    """An entrypoint with its registry and clock."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.settings = settings or HttpSettings()
        self.clock = Clock()
        self.registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        self.stats = ServerStats()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.connectors: list[FarConnector] = []
        rules = [
            IngressRule("pod.local", TUNNEL),
            IngressRule("secret.local", PRIVATE, private=True),
            IngressRule("nobody.local", PRIVATE),
        ]
        self.entrypoint = Entrypoint(
            settings=self.settings,
            table=IngressTable(rules),
            registry=self.registry,
            deadlines=self.deadlines,
            stats=self.stats,
            speakers=(TLS, HTTP1),
        )

    def attach(self, weight: int = 1, *, consume: bool = True, datagrams: bool = False) -> FarConnector:
        connector = FarConnector(self, weight, consume=consume, datagrams=datagrams)
        self.connectors.append(connector)
        return connector

    def visit(self, data: bytes = b"") -> Visitor:
        visitor = Visitor(VisitorFactory(self.entrypoint), self)
        return visitor.send(data) if data else visitor

    def turn(self) -> None:
        """Let everything happen that needs no time."""
        moving = True
        while moving:
            self.clock.advance(0)
            moved = [connector.shuttle() for connector in self.connectors]
            moving = any(moved)
        self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps of the sweep."""
        for _ in range(int(seconds * 2) + 1):
            self.clock.advance(0.5)
        self.turn()

    def outcomes(self) -> dict[Outcome, int]:
        """How many requests ended in which way."""
        return {outcome: count for outcome, count in self.stats.requests.items() if count}
