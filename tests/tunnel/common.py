"""Two links over an in-memory connection, and protocols that write down what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.tunnel.bounds import LinkBounds
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.smux import Session
from tests.support.pipe import HIGH_WATER, connect

QUIET = Keepalive(interval=0)
"""No signs of life, so that a Clock has nothing to do but to end turns."""


class Recorder(Protocol):
    """Writes down what comes; ``on_data`` is called with it."""

    transport: Any = None

    def __init__(self) -> None:
        self.received = bytearray()
        self.calls: list[str] = []
        self.lost: list[Failure] = []
        self.on_data: Callable[[bytes], object] = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        assert not self.lost, "data after the end"
        self.received += data
        self.calls.append("data")
        self.on_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.calls.append("lost")
        self.lost.append(reason)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    """The same, and goes on when the peer has ended its direction."""

    def readConnectionLost(self) -> None:
        self.calls.append("read lost")

    def writeConnectionLost(self) -> None:
        self.calls.append("write lost")


@implementer(IPushProducer)
class Source:
    """A push producer with much to write: at each :meth:`push`, as long as it is not paused."""

    def __init__(self, consumer: Any, data: bytes, chunk: int = 16384) -> None:
        self.consumer = consumer
        self.rest = data
        self.chunk = chunk
        self.paused = False
        self.calls: list[str] = []
        consumer.registerProducer(self, True)

    def push(self) -> bool:
        """Write one chunk; return whether something was written."""
        if self.paused or not self.rest:
            return False
        data, self.rest = self.rest[: self.chunk], self.rest[self.chunk :]
        self.consumer.write(data)
        return True

    def pauseProducing(self) -> None:
        self.calls.append("pause")
        self.paused = True

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self.paused = False

    def stopProducing(self) -> None:
        self.calls.append("stop")
        self.paused, self.rest = True, b""


class CountedTransport(StringTransport):
    """Keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Links:
    """A link of a server, which opens streams, and one of a client, which takes them.

    :ivar accepted: the streams that the client was given, in order; each has got a protocol of ``kind``.
    :ivar lost: per end, why it was lost, each time that this was said.
    """

    def __init__(
        self,
        *,
        kind: type[Recorder] = HalfCloser,
        keepalive: Keepalive = QUIET,
        bounds: LinkBounds | None = None,
        high_water: int = HIGH_WATER,
        on_stream: Callable[[TunnelStream], None] | None = None,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.kind = kind
        self.accepted: list[TunnelStream] = []
        self.protocols: dict[int, Recorder] = {}
        self.left: list[str] = []
        self.lost: dict[str, list[str]] = {"server": [], "client": []}
        self.server = Link(
            Session(opens=True, **options),
            reactor=self.clock,
            keepalive=keepalive,
            bounds=bounds,
            on_draining=lambda: self.left.append("client"),
            on_lost=lambda link, end, reason: self.lost["server"].append(reason),
            peer="client",
        )
        self.client = Link(
            Session(opens=False, **options),
            reactor=self.clock,
            keepalive=keepalive,
            bounds=bounds,
            on_stream=on_stream or self.take,
            on_lost=lambda link, end, reason: self.lost["client"].append(reason),
            peer="server",
        )
        self.pipe = connect(self.client, self.server, high_water=high_water)

    def take(self, stream: TunnelStream) -> None:
        self.accepted.append(stream)
        stream.protocol = self.protocols[stream.id] = self.kind()
        stream.protocol.makeConnection(stream)

    def open(self, kind: type[Recorder] | None = None) -> tuple[TunnelStream, Any]:
        """Open a stream; return it with its protocol."""
        protocol = (kind or self.kind)()
        stream = self.server.open_stream(protocol)
        protocol.makeConnection(stream)
        return stream, protocol

    def joined(self, kind: type[Recorder] | None = None) -> tuple[TunnelStream, Any, TunnelStream, Any]:
        """Open a stream and let the other end take it; return stream and protocol of the server, then of the client."""
        stream, protocol = self.open(kind)
        self.server.schedule_flush()
        self.settle()
        assert self.accepted[-1].id == stream.id
        return stream, protocol, self.accepted[-1], self.accepted[-1].protocol

    def turn(self) -> None:
        """End the running turn."""
        self.clock.advance(0)

    def settle(self, *sources: Source) -> None:
        """Let turns end, bytes pass and sources write until nothing is left to do."""
        idle = 0
        while idle < 2:
            pushed = [source.push() for source in sources]
            self.turn()
            moved = self.pipe.pump()
            due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
            idle = 0 if moved or due or any(pushed) else idle + 1
