"""A link: one connection between client and server, carrying a smux session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.outcomes import LinkEnd
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Flooded, Stalled, reason_of
from rtunnel.transport.stream_protocol import StreamProtocol
from rtunnel.transport.tcp_info import tcp_acknowledged, tcp_round_trip
from rtunnel.tunnel.bounds import HoldWatch, LinkBounds, StreamCount
from rtunnel.tunnel.stream import FLUSH_SIZE, LOST, TunnelStream
from rtunnel.tunnel.turn import end_of_turn
from rtunnel.wire.smux import (
    BROKEN,
    CONTROL,
    DATA,
    DRAINING,
    FINISHED,
    FLOOD,
    INSTANCE,
    OPENED,
    REFUSED,
    SIGN_OF_LIFE,
    STOPPED,
    WRITABLE,
    Session,
    SmuxError,
)

__all__ = ["STUCK", "Keepalive", "Link", "LinkClosed"]

STUCK = 1.0
"""Seconds in which a peer for which too much waits has to take something."""

PEER_CLOSED = "the peer closed the connection"
STALLED = "the peer took nothing of what was sent for too long (--link-stall-timeout); check it, and the network in between"


class LinkClosed(Exception):
    """No stream can be opened: the link is closing or lost."""


@frozen
class Keepalive:
    """How a dead peer is detected.

    :param interval: seconds between two keepalives (a smux NOP, and a WebSocket ping where there is one); 0 disables them.
    :param timeout: seconds without a byte from the peer after which it is taken for dead.
    """

    interval: float = 10.0
    timeout: float = 30.0


class Link(StreamProtocol):
    """A Protocol that owns one smux session: bytes in, events out, one flush per reactor turn.

    It is the only dispatcher of the session's events. An exception in one stream aborts that stream and no other. The class is
    longer than others because it joins the connection, the session and its streams, and its hot paths are inlined.

    :param session: the engine; the link owns it.
    :param reactor: for timers and the end of the turn.
    :param bounds: what the peer and each stream may cost.
    :param count: where its streams are counted; by default by themselves.
    :param on_stream: called with each stream that the peer opens, before its first byte, to give it a protocol; None when this end
        alone opens streams (a peer that opens one violates the protocol).
    :param on_draining: called when the peer is about to leave, and wants no more streams; those that are open go on.
    :param on_full: called when more than its bounds allow waits for the peer, each time that it begins.
    :param on_instance: called with what the peer calls itself, if it does.
    :param on_control: called when the peer takes a control stream, with what it knows it by.
    :param on_lost: called once when the connection is lost and all streams have ended, with the reason, and the same as text.
    :param peer: the other end, for logs.
    """

    def __init__(
        self,
        session: Session,
        *,
        reactor: IReactorTime,
        keepalive: Keepalive,
        bounds: LinkBounds | None = None,
        count: StreamCount | None = None,
        on_stream: Callable[[TunnelStream], None] | None = None,
        on_draining: Callable[[], None] | None = None,
        on_full: Callable[[], None] | None = None,
        on_instance: Callable[[bytes], None] | None = None,
        on_control: Callable[[str], None] | None = None,
        on_lost: Callable[[Link, LinkEnd, str], None],
        peer: str = "",
    ) -> None:
        super().__init__()
        self.session = session
        self.peer = peer
        self.streams: dict[int, TunnelStream] = {}
        self.control: TunnelStream | None = None
        """The one of them that carries no visitor's bytes (:mod:`rtunnel.wire.control`), if there is one."""
        self.congested = False
        """Whether the transport's buffer is full: streams that write are paused, and what they write is held."""
        self.full = False
        """Whether more waits for the peer than may: no stream can be opened."""
        self.bytes_in = 0
        """Bytes received from the peer, including frame headers."""
        self.bytes_out = 0
        """Bytes sent to the peer, including frame headers."""
        self.round_trip: float | None = None
        """Seconds from the last ping to its pong; None where there was none (a plain connection has no ping)."""
        self.answers_probes = False
        """Whether the peer is known to answer :meth:`probe`: only then does silence mean that it is gone."""
        self.knows_signals = False
        """Whether the peer is known to understand the signals that :mod:`rtunnel.wire.smux` adds."""
        self._heard = True
        """Whether anything was received since the last :meth:`poll_heard`."""
        self._log = Logger()
        self._reactor = reactor
        self._end_of_turn = end_of_turn(reactor)
        self._keepalive = keepalive
        self._on_stream = on_stream
        self._on_draining = on_draining
        self._on_full = on_full
        self._on_instance = on_instance
        self._on_control = on_control
        self._on_lost = on_lost
        self._turn_end_calls: list[Callable[[], None]] = []
        self.flush_scheduled = False
        """Whether the end of the turn flushes it."""
        self._waiting: set[TunnelStream] = set()
        """Streams whose producers wait for the transport."""
        self._received = True
        """Whether anything was received since the last keepalive."""
        self._idle_for = 0.0
        self._ping_sent: float | None = None
        """When the oldest ping without a pong was sent."""
        self._keepalive_timer: Any = None
        self._reading_paused = False
        self._bounds = bounds or LinkBounds()
        self._count = count or StreamCount()
        self._stuck: tuple[float, int] | None = None
        """While too much waits: what the peer had taken, and since when it has taken no more."""
        self._hold_watch = HoldWatch(session, reactor, self._bounds, abort=self._abort_holder)
        self._flooded_at: float | None = None
        """When the last flood of frames began that was short enough to be none."""
        self._closing = False
        self._lost = False
        self.usable = True
        """Whether streams can be opened: neither closing nor lost nor full."""
        self._ignoring_input = False
        """Whether received bytes are dropped: the link is lost, or was cut."""
        self._why: tuple[LinkEnd, str] | None = None
        """Why this end closed it, with details."""

    def tcp_round_trip(self) -> float | None:
        """The kernel's estimate, see :func:`~rtunnel.transport.tcp_info.tcp_round_trip`; None where the link is not over TCP."""
        if self.transport is None or self._lost:
            return None
        connection = ITunnelTransport(self.transport).tcp_socket()
        return None if connection is None else tcp_round_trip(connection)

    def taken(self) -> int:
        """Bytes that the peer has taken of what was sent, as far as this end can tell: it grows as long as the peer reads."""
        beneath = ITunnelTransport(self.transport)
        connection = beneath.tcp_socket()
        acknowledged = None if connection is None else tcp_acknowledged(connection)
        return self.bytes_out - beneath.unsent() if acknowledged is None else acknowledged

    def buffered(self) -> int:
        """Bytes that wait: for the peer, in the connection or for credit, and for consumers. Counted each time, not kept."""
        unsent = 0 if self.transport is None or self._lost else ITunnelTransport(self.transport).unsent()
        return unsent + self.session.buffered + sum([stream.held_size() for stream in self.streams.values() if stream.paused])

    # -- streams

    def open_stream(self, protocol: Any) -> TunnelStream:
        """Open a stream, without waiting for the peer: SYN leaves together with the first bytes.

        :raises LinkClosed: when the link is closing or lost, or its stream ids are used up.
        """
        if not self.usable:
            raise LinkClosed("too much waits for the peer" if self.full else "the link is closed")
        try:
            stream_id = self.session.open()
        except SmuxError as error:
            self.close(LinkEnd.CLOSED, str(error))
            raise LinkClosed(str(error)) from error
        stream = TunnelStream(self, stream_id, protocol)
        self.streams[stream_id] = stream
        self._count.open += 1
        return stream

    def open_control(self, protocol: Any) -> TunnelStream:
        """Open the control stream; see :meth:`open_stream`."""
        self.control = self.open_stream(protocol)
        self._count.open -= 1
        return self.control

    @property
    def carrying(self) -> int:
        """Number of the open streams that carry a visitor's bytes, or wait for some."""
        return len(self.streams) - (self.control is not None)

    # -- called by its streams

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that wait for the peer's credit."""
        return self.session.waiting(stream_id)

    def return_credit(self, stream: TunnelStream) -> None:
        """Return the credit of what a stream has consumed: all that was received of it, and is not held."""
        session = self.session
        size = session.unconsumed_by(stream.id) - stream.held_size()
        if size:
            session.consumed(stream.id, size)
            if session.has_output or self._reading_paused:
                self.schedule_flush()

    def finish_stream(self, stream_id: int) -> None:
        """End our direction of a stream."""
        self.session.finish(stream_id)
        self.schedule_flush()

    def stop_stream(self, stream_id: int) -> None:
        """Tell the peer of a stream to send no more; our own direction goes on."""
        self.session.stop(stream_id)
        self.schedule_flush()

    def close_stream(self, stream_id: int, *, read_ended: bool) -> None:
        """End both directions of a stream: our own after what was written, the peer's by telling it to stop.

        :param read_ended: whether the peer has ended its direction already.
        """
        if not read_ended:
            self.session.stop(stream_id)
        self.finish_stream(stream_id)

    def abort_stream(self, stream_id: int) -> None:
        """Abort a stream, and drop what waits for credit."""
        self.session.abort(stream_id)
        self.schedule_flush()

    def mark_broken(self, stream_id: int) -> None:
        """Say that our direction of a stream ends before it was complete."""
        self.session.mark_broken(stream_id)
        self.schedule_flush()

    def refuse_stream(self, stream_id: int) -> None:
        """Abort a stream, and say that nothing of what was not answered was delivered."""
        self.session.refuse(stream_id)
        self.schedule_flush()

    def wait_for_transport(self, stream: TunnelStream) -> None:
        """Call ``writable`` of a stream when the link is no longer congested."""
        self._waiting.add(stream)

    def forget(self, stream: TunnelStream) -> None:
        """A stream has ended."""
        self.streams.pop(stream.id, None)
        if stream is self.control:
            self.control = None
        else:
            self._count.open -= 1
        self._waiting.discard(stream)

    # -- the life of the link

    def connectionMade(self) -> None:
        """Start to send, and to exchange keepalives."""
        self.transport.registerProducer(self, True)
        if self._keepalive.interval:
            self._send_ping()
            self._keepalive_timer = self._reactor.callLater(self._keepalive.interval, self._keep_alive)
        self.schedule_flush()

    def leave(self) -> None:
        """Tell the peer that this end is about to close the link: it opens no more streams, or joins elsewhere."""
        if not self._closing and not self._lost:
            self.session.leave()
            self.flush()

    def close(self, end: LinkEnd, detail: str = "") -> None:
        """Close the link cleanly: what was written is sent, then the transport closes; streams still open are lost.

        :param end: why; the first reason given counts.
        :param detail: more about it, for the log.
        """
        if self._closing or self._lost:
            return
        self.session.release(sys.maxsize)
        self.flush()
        self._closing = True
        self.usable = False
        self._why = self._why or (end, detail)
        if self.transport is not None:
            # a transport whose producer is paused would wait for it before it closes
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def drop(self, end: LinkEnd, detail: str = "") -> None:
        """Cut the link at once; see :meth:`close`."""
        if self._lost:
            return
        self._closing = self._ignoring_input = True
        self.usable = False
        self._why = self._why or (end, detail)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """All streams end with the link."""
        if self._lost:
            return
        self._lost = self._ignoring_input = True
        self.usable = False
        if self._keepalive_timer is not None:
            self._keepalive_timer.cancel()
            self._keepalive_timer = None
        self._hold_watch.stop()
        self._run_turn_end_calls()
        for stream in list(self.streams.values()):
            stream.refused = stream.refused or not self.session.has_sent(stream.id)
            self.run_guarded(stream, stream.link_lost, LOST)
        self._run_turn_end_calls()
        self.session.discard()
        end, detail = self._why or _end_of(reason)
        self._on_lost(self, end, end.describe(detail))

    def readConnectionLost(self) -> None:
        """The peer ended its direction: a smux session has no use for the other one."""
        self.close(LinkEnd.CLOSED, PEER_CLOSED)

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    # -- bytes in

    def dataReceived(self, data: bytes) -> None:
        """Run the session and dispatch its events to the streams."""
        self._received = self._heard = True
        self.bytes_in += len(data)
        if self._ignoring_input:
            return
        try:
            events = self.session.receive(data)
        except SmuxError as error:
            self.drop(LinkEnd.PROTOCOL_ERROR, str(error))
            return
        except Exception:
            self._break()
            return
        streams = self.streams
        for kind, stream_id, payload in events:
            stream = streams.get(stream_id)
            if stream is None:
                if kind == OPENED:
                    self._accept(stream_id)
                elif kind == DRAINING and self._on_draining is not None:
                    self._guarded(self._on_draining)
                elif kind == SIGN_OF_LIFE:
                    self.answers_probes = self.knows_signals = True
                elif kind == INSTANCE and self._on_instance is not None:
                    self._guarded(self._on_instance, payload)
                elif kind == CONTROL and self._on_control is not None:
                    self._guarded(self._on_control, payload.decode())
                elif kind == FLOOD and self._flooded():
                    return
                continue
            try:
                if kind == DATA:
                    if stream.held is None:
                        stream.protocol.dataReceived(payload)
                    else:
                        stream.hold(payload)
                elif kind == FINISHED:
                    stream.peer_finished()
                elif kind == WRITABLE:
                    stream.writable()
                elif kind == STOPPED:
                    stream.peer_stopped()
                elif kind == REFUSED:
                    stream.refused = True
                elif kind == BROKEN:
                    stream.broken = True
            except Exception:
                self._fail(stream)
        if self.session.due:
            self._return_due_credit()
        if self.session.has_output:
            # credit returned, replies to SYN, frames freed by an UPD
            self.schedule_flush()
        if self.session.congested and not self._reading_paused:
            # a session of version 1 has no windows: when its consumers are slow, the whole connection is paused
            self._reading_paused = True
            self.transport.pauseProducing()
            self._hold_watch.begin()

    def _return_due_credit(self) -> None:
        """Once what came was delivered: many small pieces of a stream cost one count of them."""
        due = self.session.due
        while due:
            stream = self.streams.get(due.pop())
            if stream is not None:
                self.return_credit(stream)

    def _flooded(self) -> bool:
        """Drop the link when two floods followed each other within a second."""
        now, before = self._reactor.seconds(), self._flooded_at
        self._flooded_at = now
        if before is None or now - before >= 1.0:
            return False
        self.drop(LinkEnd.FLOODED, f"more than {self.session.max_futile} frames a second that change nothing")
        return True

    def pong_received(self) -> None:
        """The peer answered a ping."""
        self._received = self._heard = self.answers_probes = True
        if self._ping_sent is not None:
            self.round_trip = max(self._reactor.seconds() - self._ping_sent, 0.0)
            self._ping_sent = None

    def _accept(self, stream_id: int) -> None:
        if self._on_stream is None:
            self.drop(LinkEnd.PROTOCOL_ERROR, "the peer opened a stream, which only this end does")
            return
        stream = TunnelStream(self, stream_id)
        self.streams[stream_id] = stream
        self._count.open += 1
        self.run_guarded(stream, self._on_stream, stream)

    def run_guarded(self, stream: TunnelStream, call: Callable[..., None], *arguments: Any) -> None:
        """Call a method of a stream; an exception aborts the stream and is not propagated."""
        try:
            call(*arguments)
        except Exception:
            self._fail(stream)

    def _guarded(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call something that concerns the whole link; an exception drops the link and is not propagated."""
        try:
            call(*arguments)
        except Exception:
            self._break()

    def _break(self) -> None:
        """Drop the link because of an exception, which is logged: what it carries cannot be relied on any longer."""
        self._log.failure("error in the link with {peer}, which is dropped", peer=self.peer)
        self.drop(LinkEnd.FAILED, "an error of this program, which its log has")

    def _abort_holder(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._log.warn(
                "{stream} holds back all others of its link, since nobody reads what it carries, and is aborted; smux version 2 "
                "does not have this problem (--mux-version)",
                stream=repr(stream.getPeer()),
            )
            self.run_guarded(stream, stream.abortConnection)

    def _fail(self, stream: TunnelStream) -> None:
        self._log.failure("error in {stream}, which is aborted", stream=repr(stream.getPeer()))
        stream.abortConnection()

    # -- bytes out

    def schedule_flush(self) -> None:
        """Send what was written at the end of the turn, or now if it is more than :data:`FLUSH_SIZE`."""
        if self.session.queued > FLUSH_SIZE:
            self.flush()
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self._end_of_turn(self._turn_ended)

    def at_turn_end(self, call: Callable[[], None]) -> None:
        """Call at the end of the turn."""
        self._turn_end_calls.append(call)
        self.schedule_flush()

    def flush(self) -> None:
        """Send what was written, now."""
        if self.transport is None:
            return
        data = self.session.take_output()
        if data and not self._closing:
            # a transport that closes once everything is sent must not be given more
            self.bytes_out += len(data)
            try:
                self.transport.write(data)
            except Exception:
                # some of it may have left, and some not
                self._break()
        if self.congested and not self._closing and not self._lost:
            self._guarded(self.check_unsent)

    def check_unsent(self) -> bool:
        """Open no more streams while too much waits for the peer, and drop the link when the peer takes nothing of it.

        Replies do not wait, and what new requests bring is held: many of them may well be more than a slow link can take at once.
        Called while the link is congested.

        :returns: whether too much waits.
        """
        unsent = ITunnelTransport(self.transport).unsent() + self.session.held
        if unsent <= self._bounds.buffer:
            self._stuck = None
            if self.full:
                self._no_longer_full()
            return False
        self.full, self.usable = True, False
        now, taken = self._reactor.seconds(), self.taken()
        if self._stuck is None and self._on_full is not None:
            self._guarded(self._on_full)
        if self._stuck is None or self._stuck[1] != taken:
            self._stuck = now, taken
        elif now - self._stuck[0] >= STUCK:
            self.drop(LinkEnd.OVERFLOWED, f"its peer does not read, and {unsent} bytes wait for it (--link-buffer)")
        return True

    def _no_longer_full(self) -> None:
        self.full, self.usable = False, not self._closing and not self._lost

    def _turn_ended(self) -> None:
        self.flush_scheduled = False
        if self._turn_end_calls:
            self._run_turn_end_calls()
        if self._lost:
            return
        self.flush()
        if self._reading_paused and not self.session.congested:
            self._reading_paused = False
            self.transport.resumeProducing()

    def _run_turn_end_calls(self) -> None:
        calls, self._turn_end_calls = self._turn_end_calls, []
        for call in calls:
            try:
                call()
            except Exception:
                self._log.failure("error at the end of a stream")

    # -- IPushProducer: the transport's buffer

    def pauseProducing(self) -> None:
        """The transport's buffer is full: streams are paused as they write."""
        self.congested = True
        self.session.hold()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty: it gets what was held, then the streams may write again."""
        self.congested = False
        self._stuck = None
        if self.full:
            self._no_longer_full()
        session, waiting = self.session, self._waiting
        self._waiting = set()
        while not self.congested:
            done = session.release(FLUSH_SIZE)
            if not session.has_output:
                break
            waiting.update([self.streams[stream_id] for stream_id in done if stream_id in self.streams])
            self.flush()
        for stream in waiting:
            if self.congested:
                self._waiting.add(stream)
            else:
                self.run_guarded(stream, stream.writable)

    def stopProducing(self) -> None:
        """The connection is lost; connectionLost follows."""

    # -- keepalives

    def poll_heard(self) -> bool:
        """Whether anything was received since the last call, or nothing can be, since reading is paused."""
        heard, self._heard = self._heard or self._reading_paused, False
        return heard

    def announce(self, instance: int) -> None:
        """Tell the peer who this is; see :meth:`~rtunnel.wire.smux.Session.announce`."""
        self.session.announce(instance)
        self.schedule_flush()

    def offer_control(self, token: int) -> None:
        """Tell the peer that this end takes a control stream; see :meth:`~rtunnel.wire.smux.Session.offer_control`."""
        self.session.offer_control(token)
        self.schedule_flush()

    def ask(self) -> None:
        """Find out whether the peer understands our own signals; see :attr:`knows_signals`."""
        if self.session.ask():
            self.schedule_flush()

    def probe(self) -> None:
        """Ask the peer for a sign of life: with a ping where the transport has one, else within the session."""
        if self._lost or self._closing:
            return
        if not ITunnelTransport(self.transport).ping(self.pong_received):
            self.session.ask()
        self.flush()

    def _keep_alive(self) -> None:
        """At each interval: check for how long nothing was received, and send a keepalive."""
        keepalive = self._keepalive
        # nothing can be received while reading is paused
        self._idle_for = 0.0 if self._received or self._reading_paused else self._idle_for + keepalive.interval
        self._received = False
        if self._idle_for >= keepalive.timeout:
            self._keepalive_timer = None
            self.drop(LinkEnd.KEEPALIVE_TIMEOUT, f"nothing received for {self._idle_for:g} s")
            return
        self.session.ping()
        self._guarded(self._send_ping)
        self.flush()
        self._keepalive_timer = self._reactor.callLater(keepalive.interval, self._keep_alive)

    def _send_ping(self) -> None:
        """Send a ping where the transport has one, and measure the time until its pong."""
        if ITunnelTransport(self.transport).ping(self.pong_received) and self._ping_sent is None:
            self._ping_sent = self._reactor.seconds()


classImplements(Link, IPushProducer, IHalfCloseableProtocol)


def _end_of(reason: Failure) -> tuple[LinkEnd, str]:
    """Why a link ended that this end did not close, according to its transport."""
    if reason.check(ConnectionDone):
        return LinkEnd.CLOSED, PEER_CLOSED
    if reason.check(Stalled):
        return LinkEnd.STALLED, STALLED
    return LinkEnd.FLOODED if reason.check(Flooded) else LinkEnd.LOST, reason_of(reason)
