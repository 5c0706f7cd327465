"""The WebSocket as a byte stream: two ends over an in-memory pipe, and ends against a peer that the test plays byte by byte."""

from __future__ import annotations

import base64
import gc
import hashlib
import os
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionClosed, ConnectionDone, NoRouteError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.transport import websocket, websocket_mask
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Flooded
from rtunnel.transport.websocket import CLIENT_KEY, CLOSE_TIMEOUT, MAX_CONTROLS, MAX_HEAD
from rtunnel.transport.websocket_autobahn import client_speakers
from rtunnel.transport.websocket_endpoints import UpgradeRefused, WebSocketClientEndpoint, WebSocketServerEndpoint
from rtunnel.wire.websocket import MAX_MESSAGE
from tests.support.logs import logged
from tests.support.pipe import HIGH_WATER, Pipe, connect
from tests.wire.test_websocket import KEY, frame, xor

MIB = 1 << 20
REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: tunnel.local:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

Frame = tuple[int, bytes]


def frames(data: bytes) -> list[Frame]:
    """Take whole frames apart: their first byte and their payload."""
    found = []
    while data:
        first, size, data = data[0], data[1], data[2:]
        masked, size = size & 0x80, size & 0x7F
        if size > 125:
            width = 2 if size == 126 else 8
            size, data = int.from_bytes(data[:width]), data[width:]
        key, data = (data[:4], data[4:]) if masked else (b"", data)
        payload, data = data[:size], data[size:]
        found.append((first, xor(payload, key) if masked else payload))
    return found


def close_code(sent: list[Frame]) -> int | None:
    """The code of the close frame among them."""
    codes = [int.from_bytes(payload[:2]) for first, payload in sent if first == 0x88]
    return codes[0] if codes else None


class Upper(Protocol):
    """What sits on a stream."""

    greeting = b""
    lose_at = ""
    """What to do in the first dataReceived: nothing, or call this method of the transport."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.pieces = 0
        self.pongs = 0
        self.lost: list[Failure] = []
        self.producing: list[str] = []

    def connectionMade(self) -> None:
        if self.greeting:
            self.stream.write(self.greeting)

    @property
    def stream(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.pieces += 1
        if self.lose_at:
            getattr(self.stream, self.lose_at)()

    def ping(self) -> bool:
        """Whether a pong can be expected."""
        return bool(self.stream.ping(self.pong_received))

    def pong_received(self) -> None:
        self.pongs += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)

    def pauseProducing(self) -> None:
        self.producing.append("pause")

    def resumeProducing(self) -> None:
        self.producing.append("resume")

    def stopProducing(self) -> None:
        self.producing.append("stop")


@implementer(IHalfCloseableProtocol)
class HalfUpper(Upper):
    """Takes the place of another one, and knows half-close."""

    def __init__(self, before: Upper) -> None:
        super().__init__()
        self.ends = 0
        self.makeConnection(before.stream)

    def readConnectionLost(self) -> None:
        self.ends += 1

    def writeConnectionLost(self) -> None:
        """Never asked for."""


class Uppers(Factory):
    """Builds the protocols of one end and remembers them."""

    refuse = False

    def __init__(self, greeting: bytes = b"") -> None:
        self.built: list[Upper] = []
        self.greeting = greeting

    def buildProtocol(self, addr: Any) -> Any:
        if self.refuse:
            return None
        upper = Upper()
        upper.greeting = self.greeting
        self.built.append(upper)
        return upper

    @property
    def one(self) -> Upper:
        (upper,) = self.built
        return upper


class Raw(Protocol):
    """A peer that the test plays."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)

    def take(self) -> bytes:
        data, self.received = self.received, b""
        return data

    def send(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)


class Under:
    """The endpoint beneath: the test makes the connection."""

    factory: Any

    def __init__(self) -> None:
        self.connected: Deferred[Any] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return succeed(None)

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.connected

    def build(self) -> Any:
        return self.factory.buildProtocol(None)


class World:
    """A server's end and a client's end, of which a test uses what it needs."""

    pipe: Pipe

    def __init__(self, *, path: str = "/ws", host: str = "tunnel.local", greeting: bytes = b"", **options: Any) -> None:
        self.clock = Clock()
        self.servers, self.clients = Uppers(greeting), Uppers(greeting)
        self.listening, self.connecting = Under(), Under()
        listening: Any = self.listening
        connecting: Any = self.connecting
        self.refusals: list[str] = []
        WebSocketServerEndpoint(
            listening, reactor=self.clock, handshake_timeout=7, refused=lambda peer, reason: self.refusals.append(reason), **options
        ).listen(self.servers)
        endpoint = WebSocketClientEndpoint(
            connecting, reactor=self.clock, host=host, port=80, path=path, handshake_timeout=9, **options
        )
        self.connect = endpoint.connect

    def dial(self, server: Any) -> Deferred[Any]:
        """Connect the client's end to this protocol, up to but without the first byte."""
        opened = self.connect(self.clients)
        client = self.connecting.build()
        self.pipe = connect(client, server)
        self.connecting.connected.callback(client)
        return opened

    def join(self) -> World:
        """Connect the two ends and let them finish the upgrade."""
        self.dial(self.listening.build())
        self.pipe.pump()
        return self

    def raw_client(self) -> Raw:
        """A test's client at the server's end; nothing has been sent."""
        raw = Raw()
        self.pipe = connect(raw, self.listening.build())
        return raw

    def open_client(self) -> Raw:
        """A test's client, upgraded."""
        raw = self.raw_client()
        raw.send(REQUEST)
        self.pipe.pump()
        assert raw.take().startswith(b"HTTP/1.1 101 ")
        return raw

    def open_server(self) -> Raw:
        """A test's server that has accepted the client's upgrade."""
        raw = Raw()
        self.dial(raw)
        self.pipe.pump()
        raw.send(accepted(raw.take()))
        self.pipe.pump()
        return raw


def accepted(request: bytes) -> bytes:
    """The answer to an upgrade request (RFC 6455 4.2.2)."""
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + b"\r\n\r\n"
    )


class HandshakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()

    def refused(self, answer: bytes, *, close: bool = False) -> UpgradeRefused:
        """Why the upgrade is refused when a server answers so."""
        world = World()
        raw: Any = Raw()
        opened = world.dial(raw)
        world.pipe.pump()
        if answer:
            raw.send(answer)
        if close:
            raw.transport.loseConnection()
        world.pipe.pump()
        error = self.failureResultOf(opened, UpgradeRefused).value
        self.assertEqual(world.clients.built, [])
        self.assertEqual(len(raw.lost), 1, "the connection stays open")
        self.assertEqual(world.clock.getDelayedCalls(), [])
        assert isinstance(error, UpgradeRefused)
        self.assertEqual(str(error), error.reason)
        self.assertNotIn("\n", str(error))
        return error

    def test_fires_after_the_upgrade(self) -> None:
        """A connection is not enough: only the accepted upgrade counts, and then no timer is left."""
        opened = self.world.dial(self.world.listening.build())
        self.assertNoResult(opened)
        while not self.world.servers.built:
            self.assertNoResult(opened)
            self.world.pipe.pump(max_bytes=1)
        self.world.pipe.pump()
        self.assertIs(self.successResultOf(opened), self.world.clients.one)
        self.assertTrue(self.world.pipe.client.getTcpNoDelay())
        self.assertTrue(self.world.pipe.server.getTcpNoDelay())
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_request(self) -> None:
        """The upgrade asks for the host and path it was told, and offers no compression."""
        for host, shown in (("tunnel.local", b"tunnel.local"), ("2001:db8::1", b"[2001:db8::1]")):
            world, raw = World(host=host, path="/some/path"), Raw()
            opened = world.dial(raw)
            world.pipe.pump()
            request = raw.take()
            self.assertTrue(request.startswith(b"GET /some/path HTTP/1.1\r\n"), request)
            self.assertIn(b"\r\nHost: " + shown, request)
            self.assertNotIn(b"Sec-WebSocket-Extensions", request)
            opened.cancel()
            self.failureResultOf(opened, CancelledError)

    def test_addresses(self) -> None:
        """The stream shows the addresses of the connection."""
        client = self.world.join().clients.one.stream
        self.assertEqual(client.getPeer(), self.world.pipe.client.getPeer())
        self.assertEqual(client.getHost(), self.world.pipe.client.getHost())

    def test_wrong_path(self) -> None:
        world = World(path="/other")
        opened = world.dial(world.listening.build())
        world.pipe.pump()
        error: Any = self.failureResultOf(opened, UpgradeRefused).value
        self.assertEqual(error.status, 404)
        self.assertIn("404", str(error))
        self.assertEqual(world.servers.built, [])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_status(self) -> None:
        for status in (403, 404, 502, 503):
            answer = f"HTTP/1.1 {status} Because\r\nContent-Length: 4\r\n\r\nno\r\n".encode()
            self.assertEqual(self.refused(answer).status, status)

    def test_server_that_speaks_tls(self) -> None:
        """Said at once, and not when the handshake has taken too long."""
        error = self.refused(b"\x15\x03\x03\x00\x02\x02\x0a")
        self.assertIn("the server speaks TLS here; use wss://", str(error))

    def test_client_that_speaks_tls(self) -> None:
        raw = self.world.raw_client()
        raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        self.world.pipe.pump()
        self.assertTrue(raw.take().startswith(b"HTTP/1.1 400 this port does not speak TLS\r\n"))
        self.assertEqual(len(raw.lost), 1)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_answer_in_another_encoding(self) -> None:
        """Header values may be of any bytes (RFC 9110 5.5)."""
        error = self.refused("HTTP/1.1 502 Bad Gateway\r\nVia: caf\u00e9\r\n\r\n".encode("latin-1"))
        self.assertEqual(error.status, 502)
        error = self.refused("HTTP/1.1 101 caf\u00e9\r\n\r\n".encode("latin-1"))
        self.assertIsNone(error.status)

    def test_no_answer(self) -> None:
        self.assertIsNone(self.refused(b"", close=True).status)

    def test_one_line(self) -> None:
        """Both ends tell in words of ours why there was no upgrade, and autobahn adds no warning to that."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.refused(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        raw = self.world.raw_client()
        raw.send(b"GET /ws HTTP/1.1\r\nHost: tunnel.local\r\n\r\n")
        self.world.pipe.pump()
        probe: Any = self.world.raw_client()
        probe.transport.loseConnection()
        self.world.pipe.pump()
        self.assertEqual(self.world.refusals, ["not upgraded to a WebSocket: HTTP Upgrade header missing"])
        self.assertEqual([event for event in events if event["log_level"] > LogLevel.info], [])

    def test_half_an_answer(self) -> None:
        self.assertIsNone(self.refused(b"HTTP/1.1 502 Bad", close=True).status)

    def test_other_answers(self) -> None:
        """What is no upgrade is refused in one line."""
        for answer in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ):
            self.assertIsNone(self.refused(answer).status, answer)

    def test_endpoint_beneath_fails(self) -> None:
        opened = self.world.connect(self.world.clients)
        self.world.connecting.connected.errback(NoRouteError())
        self.failureResultOf(opened, NoRouteError)

    def test_client_waits_so_long(self) -> None:
        raw = Raw()
        opened = self.world.dial(raw)
        self.world.pipe.pump()
        self.world.clock.advance(8.9)
        self.world.pipe.pump()
        self.assertNoResult(opened)
        self.world.clock.advance(0.2)
        self.world.pipe.pump()
        error: Any = self.failureResultOf(opened, UpgradeRefused).value
        self.assertIsNone(error.status)
        self.assertEqual(len(raw.lost), 1)

    def test_request_fields(self) -> None:
        """What a proxy says of the client; nobody has looked whether it may say so."""
        raw = self.world.raw_client()
        raw.send(REQUEST[:-2] + b"X-Forwarded-For: 198.51.100.7, 10.0.0.1\r\nX-Real-IP: 198.51.100.9\r\n\r\n")
        self.world.pipe.pump()
        (server,) = self.world.servers.built
        self.assertEqual(ITunnelTransport(server.stream).request_fields(), {b"x-forwarded-for": b"198.51.100.7, 10.0.0.1"})

    def test_client_key(self) -> None:
        """An endpoint sends the same one each time, and no other endpoint does."""
        first, second = (client_speakers("server", 80, "/ws", self.world.clock).headers[CLIENT_KEY] for _ in range(2))
        self.assertNotEqual(first, second)
        self.world.join()
        (server,) = self.world.servers.built
        sent = ITunnelTransport(server.stream).request_fields()[b"client-key"]
        self.assertRegex(sent, rb"^[0-9a-f]{32}$")

    def test_server_waits_so_long(self) -> None:
        raw = self.world.raw_client()
        raw.send(REQUEST[:-1])
        self.world.pipe.pump()
        self.world.clock.advance(6.9)
        self.world.pipe.pump()
        self.assertEqual(raw.lost, [])
        self.world.clock.advance(0.2)
        self.world.pipe.pump()
        self.assertEqual(len(raw.lost), 1)
        self.assertEqual(raw.received, b"")
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_cancelled_while_connecting(self) -> None:
        opened = self.world.connect(self.world.clients)
        opened.cancel()
        self.failureResultOf(opened, CancelledError)
        self.assertTrue(self.world.connecting.connected.called, "the endpoint beneath goes on connecting")

    def test_cancelled_during_the_upgrade(self) -> None:
        raw = Raw()
        opened = self.world.dial(raw)
        opened.cancel()
        self.failureResultOf(opened, CancelledError)
        self.world.pipe.pump()
        self.assertEqual(len(raw.lost), 1)
        self.assertEqual(self.world.clients.built, [])
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_endless_request(self) -> None:
        """A head that does not end is cut off, before the timeout."""
        raw = self.world.raw_client()
        raw.send(REQUEST[:-2] + b"X-Long: " + b"x" * (3 * MAX_HEAD))
        self.world.pipe.pump()
        self.assertEqual(len(raw.lost), 1)
        self.assertEqual(self.world.servers.built, [])
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
        # the connection itself is freed when the collector comes, its bytes at once
        connections = [one for one in gc.get_objects() if isinstance(one, websocket.WebSocketConnection)]
        self.assertEqual([len(one._head) for one in connections if one._head], [])

    def test_endless_answer(self) -> None:
        self.assertIsNone(self.refused(b"HTTP/1.1 101 Switching Protocols\r\nX-Long: " + b"x" * (3 * MAX_HEAD)).status)

    def test_nobody_above_the_server(self) -> None:
        """A factory that builds nothing closes the WebSocket properly."""
        self.world.servers.refuse = True
        self.world.join()
        self.assertTrue(self.world.clients.one.lost[0].check(ConnectionDone))
        self.assertEqual(self.world.clock.getDelayedCalls(), [])


class FastStreamTests(SynchronousTestCase):
    """The open WebSocket, with frames taken apart by ourselves."""

    fast = True
    unsupported = 1003
    """The close code for text."""

    def setUp(self) -> None:
        self.patch(websocket, "FAST", self.fast)
        self.world = World()

    def pump(self, chunk: int | None = None) -> None:
        self.world.pipe.pump(chunk=chunk)

    def both(self) -> tuple[Upper, Upper]:
        """The two ends of an open WebSocket: the client's and the server's."""
        self.world.join()
        return self.world.clients.one, self.world.servers.one

    def ended(self, upper: Upper, kind: type[Exception] = ConnectionDone) -> None:
        """It was told once that the connection is gone, and why; no timer remains."""
        self.assertEqual(len(upper.lost), 1)
        value = upper.lost[0].value
        self.assertIsInstance(value, kind)
        if kind is not ConnectionDone:
            self.assertNotIsInstance(value, ConnectionDone)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    # -- bytes

    def test_both_ways(self) -> None:
        """What is written arrives in order, whatever the sizes."""
        client, server = self.both()
        expected = b""
        for size in (0, 1, 125, 126, 65535, 65536, 3 * MIB, 1, 0, 2):
            data = os.urandom(size)
            expected += data
            client.stream.write(data)
            server.stream.write(data)
        self.pump()
        self.assertEqual(hashlib.sha256(server.received).digest(), hashlib.sha256(expected).digest())
        self.assertEqual(hashlib.sha256(client.received).digest(), hashlib.sha256(expected).digest())

    def test_byte_by_byte(self) -> None:
        """Frames may come apart anywhere."""
        opened = self.world.dial(self.world.listening.build())
        self.pump(chunk=1)
        self.successResultOf(opened)
        client, server = self.world.clients.one, self.world.servers.one
        expected = b""
        for size in (0, 1, 3, 125, 126, 127, 300):
            data = os.urandom(size)
            expected += data
            client.stream.write(data)
            server.stream.write(data)
            client.ping()
            server.ping()
        self.pump(chunk=1)
        self.assertEqual(bytes(server.received), expected)
        self.assertEqual(bytes(client.received), expected)
        self.assertEqual((client.pongs, server.pongs), (7, 7))

    def test_heads_byte_by_byte(self) -> None:
        """Long frames whose heads come apart, with pieces that are no multiple of the masking key."""
        client, server = self.both()
        expected = b""
        for size in (65535, 65536, 70001):
            data = os.urandom(size)
            expected += data
            client.stream.write(data)
            server.stream.write(data)
            self.world.pipe.pump(max_bytes=60, chunk=1)
            self.pump(chunk=1023)
        self.assertEqual(bytes(server.received), expected)
        self.assertEqual(bytes(client.received), expected)

    def test_several_pieces(self) -> None:
        """A sequence leaves as one message."""
        raw = self.world.open_client()
        self.world.servers.one.stream.writeSequence([b"one ", b"", b"two"])
        self.pump()
        self.assertEqual(frames(raw.take()), [(0x82, b"one two")])

    def test_long_writes(self) -> None:
        """No message is longer than MAX_MESSAGE, and empty ones are not sent."""
        raw = self.world.open_client()
        self.world.servers.one.stream.write(b"")
        self.world.servers.one.stream.write(bytes(2 * MAX_MESSAGE + 1))
        self.pump()
        self.assertEqual([len(payload) for _, payload in frames(raw.take())], [MAX_MESSAGE, MAX_MESSAGE, 1])

    def test_client_masks(self) -> None:
        """Each frame of a client has a key of its own (RFC 6455 5.3); a server's have none."""
        raw = self.world.open_server()
        for _ in range(3):
            self.world.clients.one.stream.write(b"abc")
        self.pump()
        sent = raw.take()
        self.assertEqual(frames(sent), [(0x82, b"abc")] * 3)
        self.assertEqual([sent[start + 1] for start in (0, 9, 18)], [0x83] * 3)
        self.assertEqual(len({sent[start + 2 : start + 6] for start in (0, 9, 18)}), 3)

    def test_frames_with_the_request(self) -> None:
        """Frames that come in one piece with the upgrade, whole or not, are not lost."""
        for whole in (True, False):
            world = World(greeting=b"welcome")
            data = REQUEST + frame(0x82, b"first", KEY) + frame(0x82, b"second" * 100, KEY)
            raw = world.raw_client()
            raw.send(data if whole else data[:-300])
            world.pipe.pump()
            raw.send(b"" if whole else data[-300:])
            world.pipe.pump()
            raw.send(frame(0x82, b"third", KEY))
            world.pipe.pump()
            self.assertEqual(bytes(world.servers.one.received), b"first" + b"second" * 100 + b"third")
            self.assertTrue(raw.take().endswith(frame(0x82, b"welcome")))

    def test_frames_with_the_answer(self) -> None:
        """The same at the client's end."""
        raw = Raw()
        opened = self.world.dial(raw)
        self.pump()
        raw.send(accepted(raw.take()) + frame(0x82, b"first") + frame(0x82, b"second")[:4])
        self.pump()
        self.assertIs(self.successResultOf(opened), self.world.clients.one)
        raw.send(frame(0x82, b"second")[4:] + frame(0x82, b"third"))
        self.pump()
        self.assertEqual(bytes(self.world.clients.one.received), b"firstsecondthird")

    def test_greetings(self) -> None:
        """Both ends write as soon as they are connected."""
        self.world = World(greeting=b"hello")
        client, server = self.both()
        self.assertEqual((bytes(client.received), bytes(server.received)), (b"hello", b"hello"))

    def test_fragments(self) -> None:
        """Fragmented messages, with control frames between their parts."""
        data = (
            frame(0x02, b"one ", KEY)
            + frame(0x00, b"", KEY)
            + frame(0x89, b"ping", KEY)
            + frame(0x00, b"two ", KEY)
            + frame(0x80, b"three", KEY)
            + frame(0x82, b" four", KEY)
        )
        for chunk in (None, 1):
            world = World()
            raw = world.open_client()
            raw.send(data)
            world.pipe.pump(chunk=chunk)
            self.assertEqual(bytes(world.servers.one.received), b"one two three four")
            self.assertEqual(frames(raw.take()), [(0x8A, b"ping")])

    # -- control frames

    def test_ping(self) -> None:
        """Pings are answered and pongs are heard, between data."""
        raw = self.world.open_client()
        server = self.world.servers.one
        server.ping()
        self.pump()
        self.assertEqual(frames(raw.take()), [(0x89, b"")])
        raw.send(frame(0x82, b"a", KEY) + frame(0x89, b"are you there", KEY) + frame(0x82, b"b", KEY) + frame(0x8A, b"", KEY))
        self.pump()
        self.assertEqual(bytes(server.received), b"ab")
        self.assertEqual(server.pongs, 1)
        self.assertEqual(frames(raw.take()), [(0x8A, b"are you there")])

    def test_ping_of_ours(self) -> None:
        client, server = self.both()
        self.assertTrue(client.ping())
        self.pump()
        self.assertEqual((client.pongs, server.pongs), (1, 0))

    def test_ping_while_paused(self) -> None:
        """It is sent, which keeps others from closing the connection as idle, and no pong can be expected."""
        client, _ = self.both()
        client.stream.pauseProducing()
        self.assertFalse(client.ping())
        self.pump()
        self.assertEqual(client.pongs, 0)
        client.stream.resumeProducing()
        self.pump()
        self.assertEqual(client.pongs, 1)

    def test_ping_at_the_end(self) -> None:
        client, _ = self.both()
        client.stream.loseConnection()
        self.assertFalse(client.ping())

    def test_pong_that_nobody_asked_for(self) -> None:
        raw = self.world.open_client()
        raw.send(frame(0x8A, b"", KEY) + frame(0x82, b"a", KEY))
        self.pump()
        self.assertEqual(bytes(self.world.servers.one.received), b"a")

    # -- errors of what is above

    def test_error_at_the_beginning(self) -> None:
        """It costs this connection, and is logged once."""

        def fault(*arguments: object) -> None:
            raise ZeroDivisionError

        def broken(address: Any) -> Upper:
            upper = Upper()
            self.patch(upper, "connectionMade", fault)
            return upper

        for build in (fault, broken):
            self.world.servers.buildProtocol = build  # type: ignore[assignment, method-assign]
            raw = self.world.raw_client()
            raw.send(REQUEST)
            self.pump()
            self.assertEqual(len(raw.lost), 1)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.world.clock.getDelayedCalls(), [])
        for build in (fault, broken):
            self.world = World()
            self.world.clients.buildProtocol = build  # type: ignore[assignment, method-assign]
            server = Raw()
            opened = self.world.dial(server)
            self.pump()
            server.send(accepted(server.take()))
            self.pump()
            self.failureResultOf(opened, ZeroDivisionError)
            self.assertEqual(len(server.lost), 1)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # -- what is wrong

    def failed(self, data: bytes, code: int, delivered: bytes = b"") -> None:
        """Bytes for which a server's end gives up the connection: it says why, delivers nothing and is cut in time."""
        for chunk in (None, 1):
            world = self.world = World()
            raw = world.open_client()
            server = world.servers.one
            raw.send(data)
            world.pipe.pump(chunk=chunk)
            raw.send(frame(0x82, b"and on", KEY))
            server.stream.write(b"too late")
            world.pipe.pump()
            self.assertEqual(close_code(frames(raw.received)), code, data[:20])
            self.assertNotIn(b"too late", raw.received)
            self.assertEqual(bytes(server.received), delivered, data[:20])
            world.clock.advance(CLOSE_TIMEOUT)
            world.pipe.pump()
            self.assertEqual(len(raw.lost), 1)
            self.assertEqual(len(server.lost), 1)
            self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_text(self) -> None:
        self.failed(frame(0x81, b"text", KEY), self.unsupported)

    def test_empty_text(self) -> None:
        self.failed(frame(0x81, b"", KEY), self.unsupported)

    def test_fragmented_text(self) -> None:
        self.failed(frame(0x01, b"te", KEY) + frame(0x80, b"xt", KEY), self.unsupported)

    def test_announced_text(self) -> None:
        """A text message is refused at its header, before anything of it is kept."""
        raw = self.world.open_client()
        raw.send(struct.pack(">BBQ", 0x81, 0xFF, 1 << 20) + KEY + bytes(1000))
        self.world.pipe.pump()
        self.assertEqual(close_code(frames(raw.received)), self.unsupported)

    def test_not_masked(self) -> None:
        self.failed(frame(0x82, b"open"), 1002)

    def test_reserved_bits(self) -> None:
        for bit in (0x40, 0x20, 0x10):
            self.failed(frame(0x82 | bit, b"data", KEY), 1002)

    def test_the_reason_is_told_once(self) -> None:
        """By the end of the connection, also when the peer closes properly, and not by autobahn's log."""
        for data, words in ((frame(0x8B, b"data", KEY), "opcode 11"), (frame(0x89, bytes(126), KEY), "control frame")):
            world = World()
            raw = world.open_client()
            with logged() as lines:
                raw.send(data)
                world.pipe.pump()
                raw.send(frame(0x88, struct.pack(">H", 1002), KEY))
                world.pipe.pump()
                world.clock.advance(CLOSE_TIMEOUT)
                world.pipe.pump()
            (reason,) = world.servers.one.lost
            self.assertIn(words, str(reason.value))
            self.assertEqual([line for line in lines if "WebSocket connection" in line or "dropping" in line], [])

    def test_reserved_opcodes(self) -> None:
        for opcode in (3, 7, 11, 15):
            self.failed(frame(0x80 | opcode, b"data", KEY), 1002)

    def test_long_control_frame(self) -> None:
        self.failed(frame(0x89, bytes(126), KEY), 1002)

    def test_fragmented_control_frame(self) -> None:
        self.failed(frame(0x09, b"ping", KEY), 1002)

    def test_nothing_to_continue(self) -> None:
        self.failed(frame(0x80, b"data", KEY), 1002)

    def test_longer_than_necessary(self) -> None:
        """RFC 6455 5.2: the minimal number of bytes, and the most significant bit 0."""
        self.failed(struct.pack(">BBH", 0x82, 0xFE, 4) + KEY + b"data", 1002)
        self.failed(struct.pack(">BBQ", 0x82, 0xFF, 4) + KEY + b"data", 1002)
        self.failed(struct.pack(">BBQ", 0x82, 0xFF, 1 << 63) + KEY + b"data", 1002)

    def test_after_good_data(self) -> None:
        """What came before the fault was delivered."""
        self.failed(frame(0x82, b"good", KEY) + frame(0x82, b"bad"), 1002, b"good")

    def test_masked_server(self) -> None:
        """RFC 6455 5.1: a client fails the connection."""
        raw = self.world.open_server()
        client = self.world.clients.one
        raw.send(frame(0x82, b"data", KEY))
        self.pump()
        self.assertEqual(close_code(frames(raw.take())), 1002)
        self.assertEqual(bytes(client.received), b"")
        self.world.clock.advance(CLOSE_TIMEOUT)
        self.pump()
        self.assertEqual(len(client.lost), 1)

    def test_noise(self) -> None:
        """Whatever comes, no exception: the connection is open or given up."""
        for seed in range(40):
            world = World()
            raw = world.open_client()
            raw.send(hashlib.shake_128(bytes([seed])).digest(400))
            world.pipe.pump(chunk=1 + seed % 7)
            world.pipe.break_link()
            self.assertEqual(len(world.servers.one.lost), 1)
            self.assertEqual(world.clock.getDelayedCalls(), [])

    # -- the end

    def test_client_closes(self) -> None:
        client, server = self.both()
        client.stream.write(b"last words")
        client.stream.loseConnection()
        client.stream.loseConnection()
        client.stream.write(b"too late")
        self.assertTrue(client.stream.disconnecting)
        self.pump()
        self.assertEqual(bytes(server.received), b"last words")
        self.ended(client)
        self.ended(server)

    def test_server_closes(self) -> None:
        client, server = self.both()
        server.stream.write(b"last words")
        server.stream.loseConnection()
        self.pump()
        self.assertEqual(bytes(client.received), b"last words")
        self.ended(client)
        self.ended(server)

    def test_both_close(self) -> None:
        """Close frames that cross: the server hangs up, and may do so before the client has read its frame."""
        client, server = self.both()
        server.stream.loseConnection()
        client.stream.loseConnection()
        self.pump()
        self.assertEqual(len(client.lost), 1)
        self.ended(server)

    def half_closing(self) -> tuple[HalfUpper, HalfUpper]:
        """Two ends that carry the bytes of a visitor."""
        ends = self.both()
        for end in ends:
            end.stream.protocol = HalfUpper(end)
            end.stream.enter_half_close_mode()
        client, server = (end.stream.protocol for end in ends)
        return client, server

    def test_half_close_mode(self) -> None:
        """An empty message ends a direction; the other one goes on, until it ends as well."""
        for turned in (False, True):
            self.world = World()
            first, second = reversed(self.half_closing()) if turned else self.half_closing()
            first.stream.write(b"question")
            first.stream.loseWriteConnection()
            self.pump(chunk=1)
            self.assertEqual((bytes(second.received), second.ends), (b"question", 1))
            second.stream.write(b"answer")
            second.stream.loseConnection()
            self.pump(chunk=1)
            self.assertEqual((bytes(first.received), first.ends), (b"answer", 1))
            self.ended(first)
            self.ended(second)
            self.assertEqual(second.ends, 1)

    def test_slow_reader_in_half_close_mode(self) -> None:
        """A visitor may take its time to read the last bytes; the close frame after them has no time limit."""
        client, server = self.half_closing()
        client.stream.pauseProducing()
        server.stream.write(bytes(MIB))
        server.stream.loseConnection()
        self.pump()
        self.world.clock.advance(CLOSE_TIMEOUT * 10)
        client.stream.resumeProducing()
        self.pump()
        self.assertEqual((len(client.received), client.ends), (MIB, 1))
        self.ended(client)
        self.ended(server)

    def test_closes_while_it_is_paused(self) -> None:
        """What an end would have read is dropped, so it reads on: the other end's close frame comes after it."""
        for turned in (False, True):
            self.world = World()
            closing, other = reversed(self.half_closing()) if turned else self.half_closing()
            closing.stream.pauseProducing()
            other.stream.write(bytes(100_000))
            self.pump()
            closing.stream.loseConnection()
            # as a consumer that is slow would
            closing.stream.pauseProducing()
            self.pump()
            self.ended(closing)
            self.ended(other)

    def test_empty_message_means_nothing_to_a_link(self) -> None:
        client, server = self.both()
        server.stream.protocol = HalfUpper(server)
        client.stream._send_empty()
        client.stream.write(b"x")
        self.pump()
        self.assertEqual((bytes(server.stream.protocol.received), server.stream.protocol.ends), (b"x", 0))

    def test_peer_without_half_close(self) -> None:
        """A gost ignores empty messages and closes the connection: that is a clean end of what it sent."""
        raw: Any = self.world.open_client()
        upper = self.world.servers.one
        half = upper.stream.protocol = HalfUpper(upper)
        upper.stream.enter_half_close_mode()
        raw.send(frame(0x82, b"", KEY) + frame(0x82, b"all I had", KEY))
        self.pump()
        self.assertEqual((bytes(half.received), half.ends), (b"all I had", 0))
        raw.transport.loseConnection()
        self.pump()
        self.assertEqual(half.ends, 1)
        self.ended(half)

    def test_server_without_half_close(self) -> None:
        """Our direction cannot end alone: whoever sits above decides, and by default the WebSocket closes."""
        ends: list[str] = []
        raw: Any = self.world.open_server()
        stream = self.world.clients.one.stream
        stream.enter_half_close_mode(lambda: ends.append("end"))
        stream.loseWriteConnection()
        self.pump()
        self.assertEqual((ends, raw.take()), (["end"], b""))
        stream.enter_half_close_mode()
        stream.loseWriteConnection()
        self.pump()
        self.assertEqual(close_code(frames(raw.take())), 1000)

    def test_half_close(self) -> None:
        """A link's WebSocket has none: it closes."""
        client, server = self.both()
        client.stream.loseWriteConnection()
        self.pump()
        self.ended(client)
        self.ended(server)

    def test_consumer_gone(self) -> None:
        client, server = self.both()
        client.stream.stopProducing()
        self.pump()
        self.ended(client)
        self.ended(server)

    def test_close_frames(self) -> None:
        """A close handshake on the wire: ours says 1000, and the peer's is answered."""
        raw = self.world.open_client()
        self.world.servers.one.stream.loseConnection()
        self.pump()
        self.assertEqual(close_code(frames(raw.take())), 1000)
        raw.send(frame(0x88, struct.pack(">H", 1000), KEY))
        self.pump()
        self.ended(self.world.servers.one)

        self.world = World()
        raw = self.world.open_client()
        raw.send(frame(0x82, b"bye", KEY) + frame(0x88, struct.pack(">H", 1001) + b"going away", KEY))
        self.pump()
        self.assertEqual(close_code(frames(raw.take())), 1000)
        self.assertEqual(bytes(self.world.servers.one.received), b"bye")
        self.ended(self.world.servers.one)

    def test_nothing_after_the_close(self) -> None:
        """What is received after a close frame is not delivered (RFC 6455 5.5.1), and nothing is sent after ours."""
        raw = self.world.open_server()
        client = self.world.clients.one
        raw.send(frame(0x88, struct.pack(">H", 1000)) + frame(0x82, b"ghost"))
        self.pump()
        client.stream.write(b"ghost")
        client.ping()
        self.pump()
        self.assertEqual(bytes(client.received), b"")
        self.assertEqual([first for first, _ in frames(raw.take())], [0x88])

    def test_server_that_does_not_hang_up(self) -> None:
        """The server, which has to end the connection after its close frame, does not: the client cuts it."""
        raw = self.world.open_server()
        raw.send(frame(0x88, struct.pack(">H", 1000)))
        self.pump()
        self.assertEqual(self.world.clients.one.lost, [])
        self.world.clock.advance(CLOSE_TIMEOUT)
        self.pump()
        self.assertEqual(len(self.world.clients.one.lost), 1)
        self.assertEqual(len(raw.lost), 1)

    def test_unanswered_close(self) -> None:
        for role in ("client", "server"):
            world = self.world = World()
            raw = world.open_server() if role == "client" else world.open_client()
            upper = world.clients.one if role == "client" else world.servers.one
            upper.stream.loseConnection()
            world.pipe.pump()
            world.clock.advance(CLOSE_TIMEOUT - 0.1)
            world.pipe.pump()
            self.assertEqual((raw.lost, upper.lost), ([], []))
            world.clock.advance(0.2)
            world.pipe.pump()
            self.assertEqual(len(raw.lost), 1)
            self.ended(upper, ConnectionClosed)

    def test_close_within_a_message(self) -> None:
        """The end of a message that was being received does not disturb the closing, nor does a ping before the answer."""
        answer = frame(0x89, b"ping", KEY) + frame(0x88, struct.pack(">H", 1000), KEY)
        for beginning, rest in (
            (frame(0x82, b"half", KEY)[:-2], frame(0x82, b"half", KEY)[-2:]),
            (frame(0x82, b"half", KEY)[:3], frame(0x82, b"half", KEY)[3:]),
            (frame(0x02, b"one", KEY), frame(0x80, b"two", KEY)),
        ):
            world = self.world = World()
            raw = world.open_client()
            raw.send(beginning)
            world.pipe.pump()
            before = bytes(world.servers.one.received)
            world.servers.one.stream.loseConnection()
            raw.send(rest + answer)
            world.pipe.pump()
            self.assertEqual(bytes(world.servers.one.received), before)
            self.ended(world.servers.one)

    def test_broken_link(self) -> None:
        client, server = self.both()
        client.stream.write(b"lost")
        self.world.pipe.break_link()
        self.ended(client, ConnectionClosed)
        self.ended(server, ConnectionClosed)
        client.stream.write(b"nobody listens")
        client.stream.loseConnection()
        client.ping()

    def test_end_without_close(self) -> None:
        """A peer that closes the connection but not the WebSocket was not in order."""
        raw: Any = self.world.open_client()
        raw.transport.loseConnection()
        self.pump()
        self.ended(self.world.servers.one, ConnectionClosed)

    def test_abort(self) -> None:
        client, server = self.both()
        client.stream.write(b"lost")
        client.stream.abortConnection()
        self.pump()
        self.ended(client, ConnectionClosed)
        self.ended(server, ConnectionClosed)
        self.assertEqual(bytes(server.received), b"")

    def test_end_from_above(self) -> None:
        """Of frames that were read together, those after the bytes at which the upper protocol closed are not delivered."""
        for method in ("abortConnection", "loseConnection"):
            world = self.world = World()
            raw = world.open_client()
            world.servers.one.lose_at = method
            raw.send(frame(0x82, b"one", KEY) + frame(0x89, b"", KEY) + frame(0x82, b"two", KEY))
            world.pipe.pump()
            self.assertEqual(bytes(world.servers.one.received), b"one")
            raw.send(frame(0x88, struct.pack(">H", 1000), KEY))
            world.pipe.pump()
            self.ended(world.servers.one, ConnectionClosed if method == "abortConnection" else ConnectionDone)

    # -- backpressure

    def test_backpressure(self) -> None:
        """A reader that pauses pauses the writer's producer, and nothing is lost."""
        client, server = self.both()
        server.stream.registerProducer(server, True)
        client.stream.pauseProducing()
        server.stream.write(bytes(HIGH_WATER + 1))
        self.pump()
        self.assertEqual(server.producing, ["pause"])
        self.assertEqual(bytes(client.received), b"")
        client.stream.resumeProducing()
        self.pump()
        self.assertEqual(server.producing, ["pause", "resume"])
        self.assertEqual(len(client.received), HIGH_WATER + 1)
        server.stream.unregisterProducer()
        self.assertIsNone(self.world.pipe.server.producer)

    def test_close_with_a_producer(self) -> None:
        """A producer still registered does not keep the connection open."""
        client, server = self.both()
        client.stream.registerProducer(client, True)
        client.stream.loseConnection()
        self.pump()
        self.ended(client)
        self.ended(server)


class PlainStreamTests(FastStreamTests):
    """The same with autobahn's own way of reading and writing messages."""

    fast = False
    unsupported = 3003


class FastDetailTests(SynchronousTestCase):
    """What only our own way of reading frames does."""

    def setUp(self) -> None:
        self.patch(websocket, "FAST", True)

    def test_as_it_comes(self) -> None:
        """The payload of half a frame is delivered before the other half is there."""
        world = World()
        raw = world.open_client()
        data = frame(0x82, bytes(range(200)), KEY)
        raw.send(data[:50])
        world.pipe.pump()
        self.assertEqual(bytes(world.servers.one.received), bytes(range(42)))
        raw.send(data[50:])
        world.pipe.pump()
        self.assertEqual(bytes(world.servers.one.received), bytes(range(200)))

    def test_message_inside_a_message(self) -> None:
        """A message is continued before another begins (RFC 6455 5.4): the second is not delivered."""
        for first in (0x82, 0x02, 0x81):
            world = World()
            raw = world.open_client()
            raw.send(frame(0x02, b"one", KEY) + frame(first, b"two", KEY) + frame(0x80, b"three", KEY))
            world.pipe.pump()
            self.assertEqual(bytes(world.servers.one.received), b"one")
            self.assertEqual(close_code(frames(raw.take())), 1002)
            world.clock.advance(CLOSE_TIMEOUT)
            world.pipe.pump()
            self.assertEqual(len(world.servers.one.lost), 1)

    def test_flood_of_pings(self) -> None:
        """The connection ends; as many as that in a longer time are answered."""
        world = World()
        raw = world.open_client()
        for _ in range(3):
            raw.send(frame(0x89, b"ping", KEY) * MAX_CONTROLS)
            world.pipe.pump()
            self.assertEqual(frames(raw.take()), [(0x8A, b"ping")] * MAX_CONTROLS)
            world.clock.advance(1)
        raw.send(frame(0x89, b"ping", KEY) * (MAX_CONTROLS + 1))
        world.pipe.pump()
        self.assertEqual(len(raw.lost), 1)

    def test_flood_limit(self) -> None:
        """How many is an option, at both ends."""
        served, dialed = World(max_controls=10), World(max_controls=10)
        for world, peer, key in ((served, served.open_client(), KEY), (dialed, dialed.open_server(), b"")):
            peer.send(frame(0x89, b"ping", key) * 10)
            world.pipe.pump()
            self.assertEqual(len(peer.lost), 0)
            peer.send(frame(0x89, b"ping", key))
            world.pipe.pump()
            self.assertEqual(len(peer.lost), 1)

    def test_flood_of_empty_messages(self) -> None:
        world = World()
        raw = world.open_client()
        raw.send(frame(0x82, b"", KEY) * (MAX_CONTROLS + 1))
        world.pipe.pump()
        self.assertEqual(len(raw.lost), 1)
        (reason,) = world.servers.one.lost
        self.assertIsNotNone(reason.check(Flooded))
        self.assertIn("control frames or empty messages in a second", str(reason.value))

    def test_plain_after_fast(self) -> None:
        """Both ways of writing give the same bytes, mask aside."""
        sent = []
        for fast in (True, False):
            self.patch(websocket, "FAST", fast)
            world = World()
            raw = world.open_client()
            for size in (1, 125, 126, 65535, 65536):
                world.servers.one.stream.write(bytes(size))
            world.pipe.pump()
            sent.append(raw.take())
        self.assertEqual(sent[0], sent[1])


class MaskTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
    def test_mask(self, data: bytes, key: bytes) -> None:
        """Masking is exclusive or with the key, over and over; the fallback does the same."""
        self.assertEqual(websocket_mask.mask(data, key), xor(data, key))
        self.assertEqual(websocket_mask._autobahn_mask(data, key), xor(data, key))

    def test_long(self) -> None:
        data = os.urandom(70001)
        self.assertEqual(websocket_mask.mask(data, KEY), xor(data, KEY))
        self.assertEqual(websocket_mask._autobahn_mask(data, KEY), xor(data, KEY))
