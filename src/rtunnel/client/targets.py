"""The targets of a client: where the streams of a tunnel go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.dialing import DialedTarget, Dialer, EndpointFor, no_delay, proxy_header, target_endpoint
from rtunnel.client.stream_budget import StreamBudget
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.filters import ANY, TargetFilter, ranked
from rtunnel.routing.ingress import normalise_host
from rtunnel.settings import Address, ForwardSettings, TargetList, UdpSettings, UnixSocket
from rtunnel.tunnel.splice import Side, Splice, SpliceOutcome, Tap
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import RESERVED_HOSTS
from rtunnel.wire.relay import RelayError, Response, Status, take_preface

if TYPE_CHECKING:
    # without the library for terminals, as long as nobody watches
    from rtunnel.client.watch import ConnectorWatch, StreamWatch

__all__ = ["STREAM_OUTCOMES", "ForwardedStream", "Forwarder", "OpenStream"]

STALL_SWEEP = 10.0
"""Seconds between two checks for streams that are stalled, or not begun."""
MAX_STALLS = 3
"""Checks at which a stream may be stalled before it is given up: 20 to 30 seconds."""
MAX_UNSAID = 2
"""The same for one of which the server does not say what it is for: 10 to 20 seconds."""

STREAM_OUTCOMES = {
    SpliceOutcome.DONE: StreamOutcome.DONE,
    SpliceOutcome.NEAR_LOST: StreamOutcome.VISITOR_LOST,
    SpliceOutcome.FAR_LOST: StreamOutcome.TARGET_LOST,
}
"""How a stream ended that was spliced with its target: its near side is the stream."""


class Forwarder:
    """Forwards each stream of a link to a target; owned by the connector.

    :param targets: where to connect.
    :param settings: how streams are passed on.
    :param timeout: seconds that a connect may take.
    :param budget: how many streams the process may have; by default any number.
    :param udp: limits of associations, where the targets take datagrams: there each stream is one.
    :param endpoint_for: how to reach a target; by default its socket.
    """

    def __init__(
        self,
        *,
        targets: TargetList,
        settings: ForwardSettings,
        timeout: float,
        stats: ClientStats,
        reactor: Any,
        budget: StreamBudget | None = None,
        udp: UdpSettings | None = None,
        endpoint_for: EndpointFor | None = None,
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.reactor = reactor
        self.open: set[OpenStream] = set()
        self.reserved: Callable[[TunnelStream, Response], Any] = _nothing_reserved
        """Gives a stream that is for no target its protocol: called with its preface; None for one that is not the server's."""
        self.watch: ConnectorWatch | None = None
        """Who watches what is passed on."""
        self._budget = budget or StreamBudget()
        self._budget.add(self)
        self._datagrams = targets.udp
        self._moved = -1
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor
        endpoint_for = endpoint_for or target_endpoint(reactor, timeout, (udp or UdpSettings()).idle, stats.drop)
        by_filter: dict[TargetFilter, list[Address | UnixSocket]] = {}
        for target in targets.targets:
            by_filter.setdefault(target.filter, []).append(target.address)
        self._dialers = [
            (one, Dialer(by_filter[one], settings=settings, endpoint_for=endpoint_for, reactor=reactor))
            for one in ranked(by_filter)
        ]
        self._only = self._dialers[0][1] if list(by_filter) == [ANY] else None

    @property
    def targets(self) -> list[DialedTarget]:
        """All targets, of whatever filter."""
        return [target for _, dialer in self._dialers for target in dialer.targets]

    def start(self) -> None:
        """Begin to check for stalled streams."""
        self._sweeping.start(STALL_SWEEP, now=False)

    def stop(self) -> None:
        """Check no more."""
        if self._sweeping.running:
            self._sweeping.stop()

    def _sweep(self) -> None:
        for forwarded in list(self.open):
            forwarded.check_stalled()

    def accept(self, stream: TunnelStream) -> None:
        """Forward a stream that the server opened; without a descriptor for its target, the server is to send it elsewhere."""
        if self._budget.is_used_up:
            self.stats.record(StreamOutcome.TOO_MANY)
            stream.refuse()
        else:
            stream.protocol = self.forwarded(stream)

    def forwarded(self, stream: TunnelStream) -> ForwardedStream:
        """The protocol of a stream."""
        return ForwardedStream(self, stream)

    def choose(self, preface: Response, protocol: str = "") -> Dialer | None:
        """Choose the targets of a stream; None when there are none for it.

        :param protocol: what the visitor speaks, where that is known.
        """
        return self._only or self.choose_for(normalise_host(preface.addresses[-1].host if preface.addresses else ""), protocol)

    def choose_for(self, host: str, protocol: str, path: bytes = b"") -> Dialer | None:
        """Choose the targets of a host, a protocol and the path of a request; see :mod:`rtunnel.routing.filters`."""
        for one, dialer in self._dialers:
            if one.fits(host, protocol, path):
                return dialer
        return None

    def poll_activity(self) -> bool:
        """Tell whether some stream is in the middle of something: bytes moved since the last call, or an answer is awaited.

        A stream that a server keeps for the next request is not: there the target spoke last. Each call starts a new interval, so
        there is one caller: the drain of the connector.
        """
        moved = sum(forwarded.moved for forwarded in self.open)
        before, self._moved = self._moved, moved
        if moved != before or self._datagrams:
            # whether a datagram is still to be answered cannot be known
            return moved != before
        return any(forwarded.unanswered for forwarded in self.open)


def _nothing_reserved(stream: TunnelStream, preface: Response) -> None:
    """There are no such streams."""


class OpenStream:
    """A stream that is forwarded, as its :class:`Forwarder` sees it."""

    __slots__ = ("_moved", "_splice", "_stalls", "_stream")

    def __init__(self, stream: TunnelStream) -> None:
        self._stream = stream
        self._splice: Splice | None = None
        self._moved = -1
        self._stalls = 0

    @property
    def moved(self) -> int:
        """Bytes passed so far, both ways."""
        return self._splice.near.received + self._splice.far.received if self._splice is not None else 0

    @property
    def unanswered(self) -> bool:
        """Whether an answer of the target is awaited."""
        return self._splice is None or self._splice.last is self._splice.near

    @property
    def read_ended(self) -> bool:
        """Whether the server ended its direction."""
        return self._splice is not None and self._splice.near.read_ended

    def check_stalled(self) -> None:
        """Give the stream up when it is stalled after the server ended its direction.

        A gost that has lost its visitor sends a FIN, which could be a half-close, and forgets the stream; what the target still
        sends fills the window and would wait there forever. (An rtunnel server signals that nothing is read any more.)
        """
        if not self.begun:
            self._stalls += 1
            if self._stalls >= MAX_UNSAID:
                self.expire()
            return
        if not self.read_ended or not self._stream.blocked:
            self._stalls = 0
            return
        self._stalls = self._stalls + 1 if self.moved == self._moved else 0
        self._moved = self.moved
        if self._stalls >= MAX_STALLS - 1:
            self.abort()

    @property
    def begun(self) -> bool:
        """Whether the server has said what it is for."""
        return True

    def expire(self) -> None:
        """Give it up, since it has not begun in time."""
        self.abort()

    def abort(self) -> None:
        """Give the stream up."""
        raise NotImplementedError


@implementer(IHalfCloseableProtocol)
class ForwardedStream(OpenStream):
    """One stream: its preface is read, its target dialed, then the two are spliced; ends with one recorded outcome."""

    __slots__ = ("_buffer", "_dialing", "_forwarder", "_preface", "_read_ended", "_watched")

    def __init__(self, forwarder: Forwarder, stream: TunnelStream) -> None:
        super().__init__(stream)
        self._forwarder = forwarder
        self._buffer = b""
        """What came and was not passed on yet."""
        self._read_ended = False
        """Whether the server ended its direction before the target was there."""
        self._preface: Response | None = None
        self._watched: StreamWatch | None = None
        self._dialing: Deferred[Any] | None = None
        forwarder.open.add(self)

    # -- before the target is there

    @property
    def begun(self) -> bool:
        """Whether the preface is there."""
        return self._preface is not None

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            taken = take_preface(self._buffer)
        except RelayError:
            self._give_up(StreamOutcome.BAD_PREFACE)
            return
        if taken is None:
            return
        preface, used = taken
        if preface.status is not Status.OK:
            self._give_up(StreamOutcome.BAD_PREFACE)
            return
        early, self._buffer = self._buffer[used:], b""
        self._preface = preface
        if preface.addresses and preface.addresses[-1].host in RESERVED_HOSTS:
            self._become_reserved(preface, early)
        else:
            self._begin(preface, early)

    def _become_reserved(self, preface: Response, early: bytes) -> None:
        """The server wants something of us, and not of a target."""
        protocol = self._forwarder.reserved(self._stream, preface)
        if protocol is None:
            self._give_up(StreamOutcome.NO_TARGET)
            return
        self._forwarder.open.discard(self)
        self._stream.protocol = protocol
        protocol.makeConnection(self._stream)
        if early:
            protocol.dataReceived(early)

    def _begin(self, preface: Response, early: bytes) -> None:
        """The preface is read: dial the target.

        :param early: what came with it.
        """
        self._forward(self._forwarder.choose(preface), early)

    def _forward(self, dialer: Dialer | None, early: bytes) -> None:
        if dialer is None:
            self._give_up(StreamOutcome.NO_TARGET)
            return
        self._buffer = early
        # nothing more is read, and no credit returned, until there is somewhere to put it
        self._stream.pauseProducing()
        splice = Splice(self._ended, self._stream.mark_broken, None if self._forwarder.watch is None else self._taps())
        self._dialing = dialer.connect(splice.far, lambda: self in self._forwarder.open)
        self._dialing.addCallbacks(self._connected, self._failed)

    def _taps(self) -> tuple[Tap, Tap] | None:
        """What watches the stream."""
        watch, preface = self._forwarder.watch, self._preface
        if watch is None or preface is None:
            return None
        watched = self._watched = watch.stream(preface)
        return watched.near, watched.far

    def readConnectionLost(self) -> None:
        """The server has no more to say: half a conversation, or the end of a stream of which it did not say what it is for."""
        self._read_ended = True
        if self._preface is None:
            self._give_up_early()

    def writeConnectionLost(self) -> None:
        """The server reads no more, so nobody wants what the target would answer."""
        self._give_up_early()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._give_up_early()

    def _give_up_early(self) -> None:
        """The server gave the stream up before the target was there."""
        begun = self._preface is None and self._buffer
        self._give_up(StreamOutcome.BAD_PREFACE if begun else StreamOutcome.VISITOR_LOST)

    def expire(self) -> None:
        """There is no preface."""
        self._give_up(StreamOutcome.BAD_PREFACE)

    def _give_up(self, outcome: StreamOutcome) -> None:
        if self not in self._forwarder.open:
            return
        self._forwarder.open.discard(self)
        if self._dialing is not None:
            self._dialing.cancel()
        self._forwarder.stats.record(outcome)
        if self._watched is not None:
            self._watched.given_up(outcome, self._buffer)
        self._stream.protocol = None
        if outcome is StreamOutcome.TARGET_REFUSED:
            self._stream.refuse()
        else:
            self._stream.abortConnection()

    # -- with the target

    def _connected(self, side: Side) -> None:
        self._dialing = None
        splice = self._splice = side.splice
        splice.near.attach(self._stream)
        if self._buffer:
            splice.near.dataReceived(self._buffer)
            self._buffer = b""
        splice.near.read_ended = self._read_ended
        no_delay(side.transport)
        version = self._forwarder.settings.proxy_protocol
        if version and self._preface is not None:
            side.transport.write(proxy_header(version, self._preface, side.transport))
        splice.join()
        self._stream.resumeProducing()

    def _failed(self, failure: Failure) -> None:
        self._dialing = None
        if self in self._forwarder.open:
            self._give_up(StreamOutcome.TARGET_REFUSED)

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._forwarder.stats
        self._forwarder.open.discard(self)
        stats.bytes_in += up
        stats.bytes_out += down
        stats.record(STREAM_OUTCOMES[outcome])
        if self._watched is not None:
            self._watched.ended(STREAM_OUTCOMES[outcome], up, down)

    def abort(self) -> None:
        """Give the stream up (the client stops)."""
        if self._splice is not None:
            self._splice.abort()
        else:
            self._give_up(StreamOutcome.STOPPED)
