"""Visits: a visitor's connection, spliced with a stream of a private tunnel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import Access
from rtunnel.outcomes import VisitOutcome
from rtunnel.routing.selection import Selector, VisitorProtocol
from rtunnel.server.attempt import Attempts, PendingStream
from rtunnel.server.health import HealthMonitor
from rtunnel.server.tunnel_stats import count_ended
from rtunnel.server.upstream import UpstreamPool
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Stalled
from rtunnel.transport.tcp_info import tcp_is_closed
from rtunnel.tunnel.link import Keepalive
from rtunnel.tunnel.liveness import LivenessMonitor
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.wire.relay import RelayAddress, stream_preface

__all__ = ["CROWDED", "Visit"]

_OUTCOMES = {
    SpliceOutcome.DONE: VisitOutcome.DONE,
    SpliceOutcome.NEAR_LOST: VisitOutcome.VISITOR_GONE,
    SpliceOutcome.FAR_LOST: VisitOutcome.TARGET_GONE,
}

CROWDED = "the connectors of tunnel {tunnel} have as much to do as they may (--link-buffer, --max-streams-per-tunnel)"
"""The reason when none of them could take a visit."""

_log = Logger()


class VisitHost(Protocol):
    """What a visit needs from the relay entrypoint that admitted it.

    :ivar max_retries: how often a visit is sent to another connector.
    :ivar visits: those in progress.
    :ivar keepalive: how a dead visitor is detected.
    """

    max_retries: int
    selector: Selector[UpstreamPool]
    stats: ServerStats
    health: HealthMonitor
    visits: set[Visit]
    keepalive: Keepalive


class Visit(Attempts[VisitHost, PendingStream]):
    """A visitor's connection and the stream that it is spliced with; ends with exactly one recorded outcome.

    Opening a stream needs no confirmation, so an unreachable target is noticed only later. Here the first byte **from either side**
    is the point of no return, because in some protocols the target speaks first: before it, a stream that is closed is replaced by
    one of another connector (:class:`~rtunnel.server.attempt.Attempts`); after it the two are spliced.

    :param tunnel: the tunnel that the visitor was admitted to.
    :param transport: the visitor's connection.
    :param host: the requested host.
    :param source: the address of the visitor.
    :param addresses: those of the request: the visitor's own address and the destination, or the destination alone.
    :param access: its line in the access log, if there is one.
    :param datagrams: whether it carries datagrams; their framing is passed on, so only the choice of a connector differs.
    """

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
        self._entrypoint = relay
        self.stream = None
        self._transport = transport
        self.host = host
        self.protocol = VisitorProtocol.DATAGRAMS if datagrams else VisitorProtocol.RELAY
        self._source = source
        self._access = access
        self._tunnel_shown = short_id(tunnel)
        if access is not None:
            access.tunnel = self._tunnel_shown
        self._preface = stream_preface(source, addresses[-1] if addresses else RelayAddress("", 0))
        self.tunnel = tunnel
        self._begun = False
        self._aborted: VisitOutcome | None = None
        """Why it was aborted, if it was: this is the outcome then, whatever the two connections report."""
        self._far_silent = False
        self._on_end: Callable[[], None] = lambda: None
        self._splice: Splice | None = None
        self._liveness: LivenessMonitor | None = None

    # -- RouteQuery

    @property
    def visitor_address(self) -> str:
        """The address of the visitor."""
        return self._source.host

    def unsent(self) -> int:
        """Bytes that wait for the visitor."""
        return ITunnelTransport(self._transport).unsent()

    # -- before the first byte

    def open(self) -> bool:
        """Open a stream to a connector; False if there is none."""
        self.try_next()
        return self.stream is not None

    def send_to(self, pool: UpstreamPool, fresh: bool) -> PendingStream:
        """Send the preface on a new stream: no data of the visitor was read yet.

        :raises LinkClosed: when the link accepts no more streams.
        """
        pending = PendingStream(self, pool)
        self._far_silent = False
        pending.stream.write(self._preface)
        return pending

    def exhausted(self) -> None:
        """No connector is left. Before the visitor got its OK, :meth:`open` returns False."""
        if not self._begun:
            return
        if self.overloaded:
            _log.warn("visitor rejected: " + CROWDED, tunnel=self._tunnel_shown)
        else:
            _log.warn(
                "visitor rejected: no connector of tunnel {tunnel} reaches its target; check the log of its clients",
                tunnel=self._tunnel_shown,
            )
        self._end(VisitOutcome.OVERLOADED if self.overloaded else VisitOutcome.TARGET_FAILED)
        self._transport.abortConnection()

    def begin(self, on_end: Callable[[], None]) -> None:
        """The OK was sent to the visitor.

        :param on_end: called when the visit has ended.
        """
        self._begun = True
        self._on_end = on_end
        self._entrypoint.visits.add(self)
        self._entrypoint.stats.visits_open += 1
        connection = ITunnelTransport(self._transport)
        connection.set_no_delay()
        connection.enter_half_close_mode()

    def dataReceived(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception:
            self.fail()

    def _take(self, data: bytes) -> None:
        splice = self.join()
        if splice is not None:
            splice.near.dataReceived(data)

    def readConnectionLost(self) -> None:
        splice = self.join()
        if splice is not None:
            splice.near.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Does nothing: the visit never half-closes by itself."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._splice is None and self in self._entrypoint.visits:
            self.drop_stream()
            self._end(VisitOutcome.STALLED if reason.check(Stalled) else VisitOutcome.VISITOR_GONE)

    def join(self) -> Splice | None:
        """Splice the two sides unless they already are; None if the other side is gone."""
        if self._splice is not None:
            return self._splice
        pending = self.stream
        if pending is not None and pending.stream.ended:
            self.retry()
            pending = self.stream
        if pending is None:
            return None
        splice = self._splice = Splice(self._ended)
        splice.near.attach(self._transport)
        splice.far.attach(pending.stream)
        self._liveness = LivenessMonitor(splice.near, self._entrypoint.keepalive)
        splice.join()
        if self._far_silent:
            splice.far.readConnectionLost()
        return splice

    def answered(self, pending: PendingStream, data: bytes) -> None:
        """The target sends the first byte."""
        self.succeeded()
        splice = self.join()
        if splice is not None:
            splice.far.dataReceived(data)

    def answer_ended(self, pending: PendingStream) -> None:
        """The target half-closed without sending anything, or the connector gave up; at the end of the turn it is known which."""
        if pending is self.stream:
            self._far_silent = True
            pending.stream.at_turn_end(lambda: self._no_data_received(pending))

    def _no_data_received(self, pending: PendingStream) -> None:
        if pending is self.stream and not pending.stream.ended:
            self.join()

    def stream_lost(self, pending: PendingStream) -> None:
        """The stream was closed before the first byte: its target cannot be reached, or its link was lost."""
        if pending is self.stream and self._splice is None:
            self.retry()

    # -- from the first byte on

    def check_reset(self) -> None:
        """Abort the visit if its visitor has reset it while nothing is read of it or written to it, which nobody else notices."""
        connection = ITunnelTransport(self._transport).tcp_socket()
        if connection is not None and tcp_is_closed(connection):
            self._transport.abortConnection()

    def check_liveness(self) -> None:
        """Abort the visit if its visitor is dead."""
        if self._liveness is None:
            # an unreachable target would have been noticed by now
            self.join()
        elif not self._liveness.check():
            self._abort(VisitOutcome.VISITOR_GONE)

    def forbid(self, reason: str) -> None:
        """The visit is not allowed any more: abort both sides."""
        self._abort(VisitOutcome.FORBIDDEN)

    def abort(self) -> None:
        """The drain timeout of a stopping server has expired: abort both sides."""
        self._abort(VisitOutcome.STOPPED)

    def fail(self) -> None:
        """Something of this server has raised; called where that was caught. It costs this visit alone."""
        _log.failure('visit of "{host}" in the tunnel {tunnel}: error in the server', host=self.host, tunnel=self._tunnel_shown)
        self._abort(VisitOutcome.ERROR)

    def _abort(self, outcome: VisitOutcome) -> None:
        self._aborted = outcome
        if self._splice is not None:
            self._splice.abort()
        else:
            self._transport.abortConnection()

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._entrypoint.stats
        stats.bytes_in += up
        stats.bytes_out += down
        if self._access is not None:
            self._access.received, self._access.sent = up, down
        stalled = self._splice is not None and self._splice.near.stalled and outcome is SpliceOutcome.NEAR_LOST
        self._end(VisitOutcome.STALLED if stalled else _OUTCOMES[outcome])

    def _end(self, outcome: VisitOutcome) -> None:
        outcome = self._aborted or outcome
        self._entrypoint.visits.discard(self)
        self._entrypoint.stats.visits_open -= 1
        self._entrypoint.stats.visits[outcome] += 1
        connector, access = self.connector, self._access
        if connector is not None:
            count_ended(self._entrypoint.stats.labelled, connector, outcome)
        if access is not None:
            access.connector = connector.shown if connector is not None else ""
            access.retries = self.retries
            access.end(outcome)
        self._on_end()


classImplements(Visit, IHalfCloseableProtocol)
