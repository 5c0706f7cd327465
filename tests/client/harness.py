"""A client's end of connections and links whose other ends the test plays, over pipes that pause, half-close and break."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.client.http_forwarder import HttpForwarder, needs_http
from rtunnel.client.stream_budget import StreamBudget
from rtunnel.client.targets import Forwarder
from rtunnel.metrics.stats import ClientStats
from rtunnel.options.targets import TARGETS
from rtunnel.outcomes import StreamOutcome
from rtunnel.settings import ForwardSettings, TargetList
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.relay import RelayAddress, stream_preface
from rtunnel.wire.smux import DATA, Session
from tests.support.pipe import Pipe, PipeTransport, connect

PREFACE = stream_preface(RelayAddress("192.0.2.1", 4711), RelayAddress("pod.local", 80))


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """The other end of a connection: what came there, and what became of it.

    :ivar received: what came and was not taken yet.
    :ivar read_ended: whether our end has sent all that it has.
    :ivar lost: why the connection was lost there, None as long as it is not.
    """

    transport: PipeTransport

    def __init__(self) -> None:
        self.received = bytearray()
        self.read_ended = False
        self.lost: Failure | None = None

    def take(self) -> bytes:
        """What came since the last call."""
        data, self.received = bytes(self.received), bytearray()
        return data

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.read_ended = True

    def writeConnectionLost(self) -> None:
        """The test asked for it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


@implementer(IStreamClientEndpoint)
class PlayedEndpoint:
    """An endpoint whose connects wait until the test accepts or refuses them.

    :ivar waiting: the connects that wait, with the factory of each.
    :ivar cancelled: how many were cancelled while they waited.
    :ivar pipe: the connection that was accepted last.
    :ivar peer: its other end.
    """

    pipe: Pipe
    peer: Peer

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Deferred[Any]]] = []
        self.pipes: list[Pipe] = []
        self.cancelled = 0

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        def cancel(deferred: Deferred[Any]) -> None:
            self.cancelled += 1
            self.waiting = [one for one in self.waiting if one[1] is not deferred]

        deferred: Deferred[Any] = Deferred(cancel)
        self.waiting.append((protocolFactory, deferred))
        return deferred

    def accept(self) -> Peer:
        """Accept the connect that has waited longest."""
        factory, deferred = self.waiting.pop(0)
        protocol = factory.buildProtocol(None)
        self.peer = Peer()
        self.pipe = connect(protocol, self.peer)
        self.pipes.append(self.pipe)
        deferred.callback(protocol)
        return self.peer

    def refuse(self, error: Exception | None = None) -> None:
        """Have the connect that has waited longest fail."""
        self.waiting.pop(0)[1].errback(Failure(error or ConnectError()))

    @property
    def transport(self) -> PipeTransport:
        """Our end of the connection that was accepted last."""
        return self.pipe.client


class PlayedSocket:
    """A socket for datagrams, and its transport: what was sent through it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.transport = self
        self.open = True

    def write(self, datagram: bytes, address: Any) -> None:
        assert self.open
        self.sent.append((datagram, address))

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "127.0.0.1", 5353)

    def stopListening(self) -> Deferred[None]:
        self.open = False
        return succeed(None)


def settle(clock: Clock, *endpoints: PlayedEndpoint) -> None:
    """Let everything happen that needs no time; a turn ends before anything else is read, as in a reactor."""
    quiet = 0
    while quiet < 2:
        calls = len(clock.getDelayedCalls())
        clock.advance(0)
        moved = sum(pipe.pump() for endpoint in endpoints for pipe in endpoint.pipes)
        quiet = 0 if moved or len(clock.getDelayedCalls()) != calls else quiet + 1


def closed(transport: PipeTransport) -> bool:
    """Whether our end has closed a connection cleanly."""
    return transport.lost is not None and transport.lost.check(ConnectionDone) is not None


def aborted(transport: PipeTransport) -> bool:
    """Whether our end has aborted a connection."""
    return transport.lost is not None and transport.lost.check(ConnectionAborted) is not None


def upgrade_answer(request: bytes, *, half_closes: bool = False) -> bytes:
    """What a server answers that accepts the upgrade to a WebSocket (RFC 6455 4.2.2).

    :param half_closes: whether it takes an empty message for the end of a direction.
    """
    key = request.split(b"Sec-WebSocket-Key: ", 1)[1].split(b"\r\n", 1)[0]
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept]
    return b"\r\n".join([*lines, *([b"Half-Close: empty-message"] if half_closes else []), b"", b""])


def message(data: bytes) -> bytes:
    """A short binary message of a server."""
    return bytes((0x82, len(data))) + data


class ServerEnd(Protocol):
    """The server's end of a link, which opens the streams.

    :cvar consume: whether what comes is taken, and credit returned.
    """

    transport: PipeTransport
    consume = True

    def __init__(self) -> None:
        self.session = Session(opens=True)
        self.received: dict[int, bytes] = {}
        self.signals: list[int] = []

    def dataReceived(self, data: bytes) -> None:
        for kind, stream, payload in self.session.receive(data):
            if kind == DATA:
                self.received[stream] = self.received.get(stream, b"") + payload
                if self.consume:
                    self.session.consumed(stream, len(payload))
            else:
                self.signals.append(kind)

    def flush(self) -> None:
        """Send what the session has to say."""
        self.transport.write(self.session.take_output())


class ForwarderCase(SynchronousTestCase):
    """A forwarder, a link whose server is the test, and one stream of it.

    :cvar targets: what the forwarder forwards to, as a user would write it.
    :cvar settings: how.
    :cvar target_class: what plays a target.
    """

    targets = "localhost:80"
    settings = ForwardSettings()
    target_class: type[PlayedEndpoint] = PlayedEndpoint

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ClientStats()
        targets: TargetList = TARGETS.parse(self.targets)
        self.all_targets = {str(target.address): self.target_class() for target in targets.targets}
        self.target = next(iter(self.all_targets.values()))
        self.budget = StreamBudget()
        forwarder = HttpForwarder if needs_http(targets, self.settings) else Forwarder
        self.forwarder: Forwarder = forwarder(
            targets=targets,
            settings=self.settings,
            timeout=10,
            stats=self.stats,
            reactor=self.clock,
            budget=self.budget,
            endpoint_for=lambda address: self.all_targets[str(address)],
        )
        self.forwarder.start()
        self.link = Link(
            Session(opens=False),
            reactor=self.clock,
            keepalive=Keepalive(0),
            on_stream=self.forwarder.accept,
            on_lost=lambda link, end, text: None,
        )
        self.end = ServerEnd()
        self.wire = connect(self.link, self.end)
        self.server = self.end.session
        self.stream = self.server.open()

    @property
    def received(self) -> bytes:
        """What came on the stream."""
        return self.end.received.get(self.stream, b"")

    @property
    def signals(self) -> list[int]:
        """What else came on the link."""
        return self.end.signals

    def turn(self) -> None:
        """Let everything happen that needs no time."""
        quiet = 0
        while quiet < 2:
            self.end.flush()
            moved = self.wire.pump()
            settle(self.clock, *self.all_targets.values())
            quiet = 0 if moved or self.server.has_output else quiet + 1

    def send(self, data: bytes) -> None:
        """The server sends bytes on the stream."""
        self.server.send(self.stream, data)
        self.turn()

    def say(self, data: bytes) -> None:
        """The target sends bytes."""
        self.target.peer.transport.write(data)
        self.turn()

    def outcomes(self) -> dict[StreamOutcome, int]:
        return {outcome: count for outcome, count in self.stats.streams.items() if count}
