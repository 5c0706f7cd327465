"""What the connection under a tunnel can do: the same questions to everything that a link or a visit may sit on."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from rtunnel.transport import sockets
from rtunnel.transport.certificates import client_context, self_signed_context
from rtunnel.transport.connecting import SocketClientEndpoint
from rtunnel.transport.interfaces import ITunnelTransport, PlainTransport
from rtunnel.transport.sockets import SocketServerEndpoint
from rtunnel.transport.tls_creators import ClientConnectionCreator, ServerConnectionCreator
from rtunnel.transport.tls_endpoints import TlsClientEndpoint, TlsServerEndpoint
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint, WebSocketServerEndpoint
from tests.support.pipe import connect
from tests.support.transports import PingingTransport
from tests.tunnel.common import Links

# trial's reactor, whose type depends on the platform
reactor: Any = _reactor

Server = Callable[[IStreamServerEndpoint], IStreamServerEndpoint]
Client = Callable[[IStreamClientEndpoint], IStreamClientEndpoint]


class End(Protocol):
    """One end of a connection."""

    transport: Any

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.made.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class Building(Factory):
    """Gives its one connection a protocol that is there already."""

    noisy = False

    def __init__(self, end: End) -> None:
        self.end = end

    def buildProtocol(self, addr: Any) -> End:
        return self.end


class ConnectedTests(TestCase):
    """Connections on loopback, of everything that an endpoint of ours makes."""

    timeout = 60

    async def joined(self, listening: IStreamServerEndpoint, way: Callable[[int], IStreamClientEndpoint]) -> tuple[Any, Any]:
        """Connect; return the client's and the server's transport."""
        client, server = End(), End()
        port: Any = await listening.listen(Building(server))
        self.addCleanup(port.stopListening)
        await way(getattr(port.getHost(), "port", 0)).connect(Building(client))
        await server.made
        for end in (server, client):
            self.addCleanup(self.close, end)
        return client.transport, server.transport

    async def close(self, end: End) -> None:
        if not end.lost.called:
            end.transport.abortConnection()
        await end.lost

    async def over_tcp(self, server: Server = lambda under: under, client: Client = lambda under: under) -> None:
        """Ask both ends of a connection that is made of these layers upon a socket."""
        listening = server(SocketServerEndpoint(reactor, "127.0.0.1", 0))
        ends = await self.joined(listening, lambda port: client(SocketClientEndpoint(reactor, "127.0.0.1", port)))
        for end, other in (ends, reversed(ends)):
            found = ITunnelTransport(end)
            verifyObject(ITunnelTransport, found)
            tcp = found.tcp_socket()
            assert tcp is not None
            self.assertEqual(tcp.getsockname()[1], other.getPeer().port)
            found.set_no_delay()
            self.assertTrue(tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            await self.pinged(found)
            found.enter_half_close_mode()

    async def pinged(self, connection: ITunnelTransport) -> None:
        """The pong comes where one can be expected."""
        pong: Deferred[None] = Deferred()
        expected = connection.ping(lambda: pong.callback(None))
        self.assertEqual(expected, self.pings)
        if expected:
            await pong

    pings = False

    async def test_socket(self) -> None:
        await self.over_tcp()

    async def test_stock_socket(self) -> None:
        self.patch(sockets, "AT_ONCE", False)
        await self.over_tcp()

    async def test_tls(self) -> None:
        context, _ = self_signed_context(None)
        ours = client_context(verify=False)
        await self.over_tcp(
            lambda under: TlsServerEndpoint(under, ServerConnectionCreator(lambda: context), reactor=reactor),
            lambda under: TlsClientEndpoint(under, ClientConnectionCreator(lambda: ours, "localhost"), reactor=reactor),
        )

    async def test_websocket(self) -> None:
        self.pings = True
        await self.over_tcp(
            lambda under: WebSocketServerEndpoint(under, reactor=reactor),
            lambda under: WebSocketClientEndpoint(under, reactor=reactor, host="localhost", port=80),
        )

    async def test_websocket_over_tls(self) -> None:
        self.pings = True
        context, _ = self_signed_context(None)
        ours = client_context(verify=False)
        await self.over_tcp(
            lambda under: WebSocketServerEndpoint(
                TlsServerEndpoint(under, ServerConnectionCreator(lambda: context), reactor=reactor), reactor=reactor
            ),
            lambda under: WebSocketClientEndpoint(
                TlsClientEndpoint(under, ClientConnectionCreator(lambda: ours, "localhost"), reactor=reactor),
                reactor=reactor,
                host="localhost",
                port=80,
            ),
        )

    async def test_unix_socket(self) -> None:
        """A target's; it is no TCP, and never waits for an acknowledgement."""
        path = os.path.join(mkdtemp(), "socket")
        for end in await self.joined(UNIXServerEndpoint(reactor, path), lambda port: UNIXClientEndpoint(reactor, path)):
            found = ITunnelTransport(end)
            found.set_no_delay()
            self.assertIsNone(found.tcp_socket())


class PlainTests(SynchronousTestCase):
    """Transports that have bytes and nothing else."""

    def plain(self, transport: Any) -> ITunnelTransport:
        found = ITunnelTransport(transport)
        self.assertIsInstance(found, PlainTransport)
        verifyObject(ITunnelTransport, found)
        self.assertFalse(found.ping(self.fail))
        found.enter_half_close_mode(self.fail)
        found.set_no_delay()
        self.assertIsNone(found.tcp_socket())
        return found

    def test_stream(self) -> None:
        self.plain(Links().joined()[0])

    def test_pipe(self) -> None:
        pipe = connect(Protocol(), Protocol())
        self.plain(pipe.client)
        self.assertTrue(pipe.client.getTcpNoDelay())

    def test_string_transport(self) -> None:
        self.plain(StringTransport())

    def test_double(self) -> None:
        """What other tests put in the place of a WebSocket."""
        verifyObject(ITunnelTransport, PingingTransport())
