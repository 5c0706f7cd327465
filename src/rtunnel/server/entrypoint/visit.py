"""One visit: a visitor's connection and the stream of a private tunnel that it is joined with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import Access
from rtunnel.outcomes import VisitOutcome
from rtunnel.routing.selection import Selector, VisitorProtocol
from rtunnel.server.attempt import Attempt, PendingStream
from rtunnel.server.upstream import UpstreamPool
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.tunnel.link import Keepalive
from rtunnel.tunnel.liveness import LivenessMonitor
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.wire.relay import RelayAddress, stream_preface

__all__ = ["Visit"]

_OUTCOMES = {
    SpliceOutcome.DONE: VisitOutcome.DONE,
    SpliceOutcome.NEAR_LOST: VisitOutcome.VISITOR_GONE,
    SpliceOutcome.FAR_LOST: VisitOutcome.TARGET_GONE,
}

_log = Logger()


class VisitHost(Protocol):
    """What a visit needs of who let it in.

    :ivar visits: those in progress.
    :ivar keepalive: how a visitor that is gone is found.
    """

    selector: Selector[UpstreamPool]
    stats: ServerStats
    visits: set[Visit]
    keepalive: Keepalive


@implementer(IHalfCloseableProtocol)
class Visit:
    """A visitor's connection and the stream that it is joined with; ends with exactly one recorded outcome.

    Opening a stream asks nobody, so whether its target can be reached shows only later. Here the first byte **from either side** is
    the point of no return, for a protocol may begin with the target: before it, a stream that ends is replaced by one of another
    connector (:class:`~rtunnel.server.attempt.Attempt`); from it on the two are spliced.

    :param tunnel: the tunnel that the visitor was let in to.
    :param transport: the visitor's connection.
    :param host: the host that it asked for.
    :param source: where the visitor comes from.
    :param addresses: what the visitor said: its own address and the destination, or the destination alone.
    :param access: the line that it leaves, if there is an access log.
    :param datagrams: whether it sends datagrams; they pass as they are framed, so only the choice of a connector differs.
    """

    __slots__ = (
        "_access",
        "_attempt",
        "_begun",
        "_cut",
        "_far_silent",
        "_liveness",
        "_on_end",
        "_preface",
        "_relay",
        "_source",
        "_splice",
        "_transport",
        "host",
        "protocol",
    )

    def __init__(
        self,
        relay: VisitHost,
        tunnel: UUID,
        transport: Any,
        host: str,
        source: RelayAddress,
        addresses: tuple[RelayAddress, ...],
        access: Access | None = None,
        *,
        datagrams: bool = False,
    ) -> None:
        self._relay = relay
        self._transport = transport
        self.host = host
        self.protocol = VisitorProtocol.DATAGRAMS if datagrams else VisitorProtocol.RELAY
        self._source = source
        self._access = access
        if access is not None:
            access.tunnel = tunnel
        self._preface = stream_preface(source, addresses[-1] if addresses else RelayAddress("", 0))
        self._attempt: Attempt[PendingStream] = Attempt(relay, tunnel)
        self._begun = False
        self._cut: VisitOutcome | None = None
        """Why it was cut, if it was: this, and not what the two connections say then, is how it ended."""
        self._far_silent = False
        self._on_end: Callable[[], None] = lambda: None
        self._splice: Splice | None = None
        self._liveness: LivenessMonitor | None = None

    # -- what the routing may ask (RouteQuery)

    @property
    def visitor_address(self) -> str:
        """The address of the visitor."""
        return self._source.host

    def method(self) -> bytes:
        """Visits have none."""
        return b""

    def path(self) -> bytes:
        """Visits have none."""
        return b""

    def field(self, name: bytes) -> bytes | None:
        """Visits have none."""

    def cookie(self, name: bytes) -> bytes | None:
        """Visits have none."""

    # -- before the first byte

    def open(self) -> bool:
        """Open a stream to a connector; False when there is none."""
        self._attempt.start(self)
        return self._attempt.stream is not None

    def send_to(self, pool: UpstreamPool, fresh: bool) -> PendingStream:
        """Send the preface on a stream of its own: nothing of the visitor was read yet.

        :raises LinkClosed: when the link takes no more streams.
        """
        pending = PendingStream(self, pool)
        self._far_silent = False
        pending.stream.write(self._preface)
        return pending

    def exhausted(self) -> None:
        """No connector is left. Before the visitor was told OK, :meth:`open` says so."""
        if not self._begun:
            return
        tunnel = short_id(self._attempt.tunnel)
        _log.warn("visitor rejected: no connector of tunnel {tunnel} reaches its target", tunnel=tunnel)
        self._end(VisitOutcome.TARGET_FAILED)
        self._transport.abortConnection()

    def begin(self, on_end: Callable[[], None]) -> None:
        """The visitor was told OK.

        :param on_end: called when it has ended.
        """
        self._begun = True
        self._on_end = on_end
        self._relay.visits.add(self)
        self._relay.stats.visits_open += 1
        connection = ITunnelTransport(self._transport)
        connection.set_no_delay()
        connection.enter_half_close_mode()

    def dataReceived(self, data: bytes) -> None:
        splice = self.join()
        if splice is not None:
            splice.near.dataReceived(data)

    def readConnectionLost(self) -> None:
        splice = self.join()
        if splice is not None:
            splice.near.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._splice is None and self._attempt.stream is not None:
            self._attempt.drop()
            self._end(VisitOutcome.VISITOR_GONE)

    def join(self) -> Splice | None:
        """Splice the two sides, once; None when there is no second side any more."""
        if self._splice is not None:
            return self._splice
        pending = self._attempt.stream
        if pending is not None and pending.stream.ended:
            self._attempt.lost(self)
            pending = self._attempt.stream
        if pending is None:
            return None
        splice = self._splice = Splice(self._ended)
        splice.near.attach(self._transport)
        splice.far.attach(pending.stream)
        self._liveness = LivenessMonitor(splice.near, self._relay.keepalive)
        splice.join()
        if self._far_silent:
            splice.far.readConnectionLost()
        return splice

    def answered(self, pending: PendingStream, data: bytes) -> None:
        """The target speaks first."""
        splice = self.join()
        if splice is not None:
            splice.far.dataReceived(data)

    def answer_ended(self, pending: PendingStream) -> None:
        """The target has nothing to say, or the connector gave the stream up: which of the two shows at the end of the turn."""
        if pending is self._attempt.stream:
            self._far_silent = True
            pending.stream.at_turn_end(lambda: self._heard_nothing(pending))

    def _heard_nothing(self, pending: PendingStream) -> None:
        if pending is self._attempt.stream and not pending.stream.ended:
            self.join()

    def stream_lost(self, pending: PendingStream) -> None:
        """The stream ended before the first byte: its target cannot be reached, or its link is gone."""
        if pending is self._attempt.stream and self._splice is None:
            self._attempt.lost(self)

    # -- from the first byte on

    def check_liveness(self) -> None:
        """Cut the visit when its visitor gives no sign of life."""
        if self._liveness is None:
            # a target that cannot be reached would have shown by now
            self.join()
        elif not self._liveness.check():
            self._abort(VisitOutcome.VISITOR_GONE)

    def forbid(self, reason: str) -> None:
        """It is no longer allowed: cut both sides."""
        self._abort(VisitOutcome.FORBIDDEN)

    def abort(self) -> None:
        """The server stops, and its time is over: cut both sides."""
        self._abort(VisitOutcome.STOPPED)

    def _abort(self, outcome: VisitOutcome) -> None:
        self._cut = outcome
        if self._splice is not None:
            self._splice.abort()
        else:
            self._transport.abortConnection()

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._relay.stats
        stats.bytes_in += up
        stats.bytes_out += down
        if self._access is not None:
            self._access.received, self._access.sent = up, down
        self._end(_OUTCOMES[outcome])

    def _end(self, outcome: VisitOutcome) -> None:
        outcome = self._cut or outcome
        self._relay.visits.discard(self)
        self._relay.stats.visits_open -= 1
        self._relay.stats.visits[outcome] += 1
        connector, access = self._attempt.connector, self._access
        if connector is not None:
            connector.count(outcome)
        if access is not None:
            access.connector = connector.id if connector is not None else None
            access.retries = self._attempt.retries
            access.end(outcome)
        self._on_end()
