"""Why links ended, in the counts of a server: a client and a server in memory, over a plain connection and over a WebSocket."""

from __future__ import annotations

import socket
import struct
from typing import Any
from unittest import skipUnless

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.auth.access_control import Rights
from rtunnel.client.connector import ConnectorClient
from rtunnel.metrics.stats import ClientStats, ServerStats
from rtunnel.outcomes import Limit, LinkEnd, RefusalReason
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.drain_queue import DrainQueue
from rtunnel.server.health import HealthMonitor
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listener_group import ListenerGroup, Shared
from rtunnel.server.plan import planned_listeners
from rtunnel.server.routes import Routes
from rtunnel.settings import Address, ConnectorSettings, LimitSettings, ListenerSettings, MuxSettings, ServerSettings
from rtunnel.transport.reasons import Stalled
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint, WebSocketServerEndpoint
from rtunnel.tunnel.link import STUCK
from tests.support.ids import TUNNEL
from tests.support.logs import logged
from tests.support.pipe import Pipe, PipeTransport, connect
from tests.tunnel.common import HalfCloser

DRAIN = 5


@implementer(IStreamClientEndpoint)
class Dialed:
    """The way from a client to a server, in memory."""

    pipe: Pipe

    def __init__(self) -> None:
        self.listening: Any = None

    def listen(self, factory: Any) -> Deferred[Any]:
        self.listening = factory
        return succeed(None)

    def connect(self, factory: Any) -> Deferred[Any]:
        client = factory.buildProtocol(None)
        self.pipe = connect(client, self.listening.buildProtocol(None))
        return succeed(client)


class RecordingSocket(socket.socket):
    """Writes down the options that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.options: list[tuple[int, Any]] = []

    def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
        self.options.append((option, value))


class PlayedPort:
    """A bound port that nobody connects to."""

    def __init__(self, bound: socket.socket) -> None:
        self.port = self.accepting = self
        self.socket = bound

    def use(self, gate: Any) -> None:
        """It accepts nothing."""

    def listen(self, factory: Any) -> None:
        """Nobody connects."""

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", *self.socket.getsockname())


class PlainLinkEndTests(SynchronousTestCase):
    """Over a connection without a close handshake."""

    mux = MuxSettings(link_buffer=1 << 20)

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ServerStats()
        self.draining = DrainQueue(self.clock.seconds)
        rules = (IngressRule("pod.local", TUNNEL),)
        settings = ListenerSettings(
            listen=Address("", 8421),
            transport="tcp",
            entrypoints=(Address("", 80),),
            rules=rules,
            mux=self.mux,
        )
        (planned,) = planned_listeners(ServerSettings(listeners=(settings,)))
        registry: TunnelRegistry[Any] = TunnelRegistry()
        shared = Shared(
            registry,
            Deadlines(self.clock),
            self.stats,
            HealthMonitor(registry),
            self.draining,
            LeaseManager(registry, self.draining, lambda: 10.0, self.stats),
            ServerLimits(LimitSettings(), self.stats),
            None,
            lambda tunnel: False,
            lambda: None,
            self.clock,
        )
        self.group = ListenerGroup(planned, Routes(rules, None, reactor=self.clock), Rights(None, None), shared)
        self.way = Dialed()
        self.connector = self.make_client()
        self.connector.start()
        self.settle()
        self.assertTrue(self.connector.joined)
        self.addCleanup(self.connector.stop)
        self.addCleanup(self.group.stop, 0)

    def make_client(self, mux: MuxSettings | None = None) -> ConnectorClient:
        return ConnectorClient(
            ConnectorSettings(
                server=Address("server", 8421),
                transport="tcp",
                tunnel=TUNNEL,
                target=Address("localhost", 80),
                mux=mux or self.mux,
            ),
            stats=ClientStats(),
            reactor=self.clock,
            on_joined=lambda: None,
            endpoint=self.connect(),
        )

    def connect(self) -> IStreamClientEndpoint:
        """Have the server listen; return how it is reached."""
        self.way.listen(self.group.listener)
        return self.way

    def settle(self) -> None:
        for _ in range(3):
            self.clock.advance(0)
            self.way.pipe.pump()

    def ended(self, end: LinkEnd) -> None:
        self.assertEqual({kind: count for kind, count in self.stats.losses.items() if count}, {end: 1})

    @skipUnless(hasattr(socket, "TCP_USER_TIMEOUT"), "only Linux ends connections that make no progress")
    def test_visitors_that_make_no_progress(self) -> None:
        """The limit is one of the port, which accepted connections inherit."""
        with socket.create_server(("127.0.0.1", 0)) as bound:
            (key,) = self.group.planned.entrypoints
            port: Any = PlayedPort(bound)
            self.group.listen({key: port}, None)
            self.assertEqual(bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 60_000)

    def test_each_knows_the_other(self) -> None:
        """Both ends find out that the other one is ours, and the server who the client is."""
        (link,) = self.group.listener.links
        assert self.connector.link is not None
        self.assertTrue(link.knows_signals and self.connector.link.knows_signals)
        (connector,) = self.group.listener.connectors
        self.assertEqual(len(connector.instance), 8)

    def test_client_stops(self) -> None:
        self.connector.drain()
        self.connector.stop()
        self.settle()
        self.ended(LinkEnd.CLOSED)

    def test_connection_breaks(self) -> None:
        self.way.pipe.break_link()
        self.ended(LinkEnd.LOST)

    def test_silent_client(self) -> None:
        self.way.pipe.silent = True
        for _ in range(4):
            self.clock.advance(10)
        self.way.pipe.break_link()
        self.ended(LinkEnd.KEEPALIVE_TIMEOUT)

    def test_protocol_error(self) -> None:
        (link,) = self.group.listener.links
        link.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.settle()
        self.ended(LinkEnd.PROTOCOL_ERROR)

    def test_flood(self) -> None:
        (link,) = self.group.listener.links
        link.dataReceived(bytes.fromhex("0203000000000000") * 50_000)
        self.settle()
        self.ended(LinkEnd.FLOODED)
        self.assertEqual(self.stats.limits[Limit.FLOOD], 1)

    def test_client_does_not_read(self) -> None:
        """More waits for it than the link may buffer; what it sends itself does not help."""
        (link,) = self.group.listener.links
        self.way.pipe.client.pauseProducing()
        with logged() as lines:
            while not link.check_unsent():
                link.open_stream(HalfCloser()).write(bytes(200_000))
                self.clock.advance(0)
            self.clock.advance(STUCK)
            link.check_unsent()
            self.settle()
        self.ended(LinkEnd.OVERFLOWED)
        self.assertEqual(self.stats.limits[Limit.LINK_BUFFER], 1)
        self.assertTrue(any("overflowed: its peer does not read" in line for line in lines), lines)

    @skipUnless(hasattr(socket, "TCP_USER_TIMEOUT"), "only Linux ends connections that make no progress")
    def test_system_ends_what_stalls(self) -> None:
        """Both ends ask the system to end a link that makes no progress; it is counted for what it is."""
        self.connector.stop()
        self.settle()
        self.stats.losses.update(dict.fromkeys(LinkEnd, 0))
        with RecordingSocket() as connection:
            self.patch(PipeTransport, "handle", connection)
            self.connector = self.make_client(attrs.evolve(self.mux, stall_timeout=20))
            self.connector.start()
            self.settle()
            self.patch(PipeTransport, "handle", None)
        limits = [value for option, value in connection.options if option == socket.TCP_USER_TIMEOUT]
        self.assertEqual(limits, [20_000, 60_000], "the client's, the server's")
        (link,) = self.group.listener.links
        link.connectionLost(Failure(Stalled()))
        self.ended(LinkEnd.STALLED)
        self.assertEqual(self.stats.limits[Limit.LINK_STALL], 1)

    def test_server_stops(self) -> None:
        self.group.listener.close()
        self.settle()
        self.ended(LinkEnd.SERVER_STOPPED)

    def test_listener_stops(self) -> None:
        """A reload that no longer wants the listener."""
        with logged() as lines:
            self.group.stop(DRAIN)
            self.settle()
        told = any("is about to stop; joining again" in line for line in lines)
        self.assertEqual(told, self.mux.version == 2, lines)
        with logged() as lines:
            self.draining.sweep(self.clock.seconds())
            self.settle()
        self.ended(LinkEnd.SERVER_STOPPED)
        self.assertTrue(any("after 0 requests: server stopped: its listener is stopping" in line for line in lines), lines)

    def test_no_rule_any_longer(self) -> None:
        self.group.routes.tunnels = frozenset()
        self.group.drop_unwelcome_connectors(DRAIN)
        self.draining.sweep(self.clock.seconds())
        self.settle()
        self.ended(LinkEnd.UNROUTED)


class Version1Tests(PlainLinkEndTests):
    """The same with smux version 1, which has no windows and none of our signals."""

    mux = MuxSettings(version=1, stream_window=4096, receive_buffer=100_000, link_buffer=1 << 20)

    def test_each_knows_the_other(self) -> None:
        (link,) = self.group.listener.links
        self.assertFalse(link.knows_signals)

    def test_flood(self) -> None:
        (link,) = self.group.listener.links
        link.dataReceived(bytes.fromhex("0103000000000000") * 50_000)
        self.settle()
        self.ended(LinkEnd.FLOODED)

    def test_stream_that_nobody_reads(self) -> None:
        """It is aborted after a while, and counted."""
        (link,) = self.group.listener.links
        visitor = HalfCloser()
        stream = link.open_stream(visitor)
        stream.pauseProducing()
        for _ in range(3):
            link.dataReceived(struct.pack("<BBHI", 1, 2, 50_000, stream.id) + bytes(50_000))
        self.clock.advance(10)
        self.settle()
        self.assertEqual((len(visitor.lost), self.stats.limits[Limit.STREAM_HOLD]), (1, 1))


class WebSocketLinkEndTests(PlainLinkEndTests):
    """The same over a WebSocket."""

    def connect(self) -> IStreamClientEndpoint:
        below: Any = self.way
        WebSocketServerEndpoint(below, reactor=self.clock).listen(self.group.listener)
        return WebSocketClientEndpoint(below, reactor=self.clock, host="tunnel.local", port=80)

    def test_flood_of_pings(self) -> None:
        self.way.pipe.client.write(b"\x89\x80\0\0\0\0" * 200)
        self.settle()
        self.ended(LinkEnd.FLOODED)
        self.assertEqual(self.stats.limits[Limit.FLOOD], 1)

    def test_flood_before_the_join(self) -> None:
        """By somebody who has not said who it is: refused, and counted."""
        stranger = WebSocketClientEndpoint(self.way, reactor=self.clock, host="tunnel.local", port=80)
        upper = Factory.forProtocol(HalfCloser)
        opened = stranger.connect(upper)
        self.settle()
        self.successResultOf(opened)
        with logged() as lines:
            self.way.pipe.client.write(b"\x89\x80\0\0\0\0" * 200)
            self.settle()
        self.assertEqual(self.stats.limits[Limit.FLOOD], 1)
        self.assertEqual(self.stats.refusals[RefusalReason.BAD_REQUEST], 1)
        self.assertTrue(any("refused" in line and "control frames" in line for line in lines), lines)

    def test_client_is_killed(self) -> None:
        """Its system closes the connection, and nobody the WebSocket."""
        self.way.pipe.client.loseConnection()
        self.settle()
        self.ended(LinkEnd.LOST)
