"""One smux stream as a Twisted transport, for any Protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import classImplements

if TYPE_CHECKING:
    from rtunnel.tunnel.link import Link

__all__ = ["FLUSH_SIZE", "STREAM_BUFFER", "StreamAddress", "TunnelStream"]

FLUSH_SIZE = 1 << 20
"""Bytes that are collected in a turn at most, before they are sent without waiting for its end."""
STREAM_BUFFER = 65536
"""Bytes that may wait for the peer's credit before the producer of a stream is paused."""
TINY = 1024
"""Bytes of a piece that is held, below which the next ones are added to it rather than kept by themselves."""

DONE = Failure(ConnectionDone())


class StreamAddress:
    """The address of a stream, for logs: the link's peer and the stream id."""

    __slots__ = ("peer", "stream_id")

    def __init__(self, peer: str, stream_id: int) -> None:
        self.peer = peer
        self.stream_id = stream_id

    def __repr__(self) -> str:
        return f"stream {self.stream_id} of {self.peer}"


class TunnelStream:
    """A smux stream of a :class:`~rtunnel.tunnel.link.Link`, which owns it until it has ended.

    It ends when both directions have ended, when either side aborts it, or with its link; then ``connectionLost`` of the protocol
    is called, exactly once. Bytes count as consumed, and their credit is returned to the peer, when they were delivered to the
    protocol; while the stream is paused they are held here, at most a window of them.
    """

    __slots__ = (
        "_delivering",
        "_ended",
        "_producer",
        "_producer_paused",
        "_read_ended",
        "_streaming",
        "_write_ended",
        "broken",
        "held",
        "id",
        "link",
        "open",
        "paused",
        "protocol",
        "refused",
    )

    disconnecting = False

    def __init__(self, link: Link, stream_id: int, protocol: Any = None) -> None:
        self.link = link
        self.id = stream_id
        self.protocol: Any = protocol
        """Receives the bytes; may be replaced at any time."""
        self.held: deque[bytes | bytearray] | None = None
        """While it is paused, and until all of them are delivered: the received bytes, and an empty piece for the peer's end."""
        self.paused = False
        """Whether received bytes are held."""
        self._delivering = False
        self.open = True
        """Whether both directions are open: only then can an idle stream carry another exchange."""
        self.broken = False
        """Whether the peer said that its direction ends before it was complete."""
        self.refused = False
        """Whether nothing of what was not answered was delivered: the peer said so, or the link was lost before it had left."""
        self._read_ended = False
        self._write_ended = False
        self._ended = False
        self._producer: Any = None
        self._producer_paused = False
        self._streaming = True

    @property
    def ended(self) -> bool:
        """Whether nothing more can be sent or received."""
        return self._ended

    @property
    def turned_away(self) -> bool:
        """Whether nothing was delivered since the connector itself has left, or is full: a peer says both of the signals then."""
        return self.refused and self.broken

    @property
    def blocked(self) -> bool:
        """Whether the producer is paused until the peer reads, or the link can send."""
        return self._producer_paused

    # -- ITransport, IConsumer: towards the peer

    def write(self, data: bytes) -> None:
        """Send bytes at the end of the turn; a registered producer is paused when the peer or the link is slow."""
        if self._write_ended:
            return
        link = self.link
        session = link.session
        waiting = session.send(self.id, data)
        if not link.flush_scheduled or session.queued > FLUSH_SIZE:
            link.schedule_flush()
        if self._producer is not None:
            if link.congested or waiting > STREAM_BUFFER:
                self._pause_producer()
            elif not self._streaming:
                link.at_turn_end(self._pull)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """End our direction; the other one goes on (half-close)."""
        if self._write_ended:
            return
        self._write_ended = True
        self.open = False
        self.link.finish_stream(self.id)
        self._maybe_end()

    def loseConnection(self) -> None:
        """Send what was written, then end both directions; nothing more is delivered."""
        if self._ended:
            return
        self.link.close_stream(self.id, read_ended=self._read_ended)
        self._end(DONE)

    def abortConnection(self) -> None:
        """Abort the stream at once, dropping what waits for credit; the peer is told to stop."""
        if self._ended:
            return
        self.link.abort_stream(self.id)
        self._end(DONE)

    def stop_peer(self) -> None:
        """Tell the peer to send no more: nobody wants it. Our own direction goes on."""
        if not self._read_ended:
            self.link.stop_stream(self.id)

    def mark_broken(self) -> None:
        """Tell the peer that our direction ends before it was complete; what was written is still sent."""
        if not self._write_ended:
            self.link.mark_broken(self.id)

    def refuse(self) -> None:
        """Abort the stream, and tell the peer that nothing of what was not answered was delivered: it may be sent elsewhere."""
        if self._ended:
            return
        self.link.refuse_stream(self.id)
        self._end(DONE)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume a producer with the credit of the stream and the buffer of its link."""
        if self._ended:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None

    def getPeer(self) -> Any:
        """The address of the stream."""
        return StreamAddress(self.link.peer, self.id)

    def getHost(self) -> Any:
        """The same as :meth:`getPeer`: a stream has one address."""
        return self.getPeer()

    # -- IPushProducer: from the peer

    def pauseProducing(self) -> None:
        """Hold received bytes without returning their credit, so that the peer stops after a window at most."""
        self.paused = True
        if self.held is None:
            self.held = deque()

    def resumeProducing(self) -> None:
        """Deliver what was held, and what is received from now on."""
        self.paused = False
        if self.held is not None and not self._delivering:
            # the caller is the consumer, which must not get an error of the protocol
            self.link.run_guarded(self, self._deliver_held)

    def stopProducing(self) -> None:
        """The consumer is gone: nothing more is delivered, but what was written is still sent.

        Twisted says so to the producer of a connection that is lost, before the connection's own protocol hears of it.
        """
        self.mark_broken()
        self.loseConnection()

    # -- called by the link

    def hold(self, data: bytes) -> None:
        """Keep bytes of the peer while :attr:`held` is not None; else the link gives what it receives to :attr:`protocol` itself.

        Tiny pieces are joined, since each by itself costs much more than its bytes.
        """
        held: Any = self.held
        last = held[-1] if held else b""
        if len(data) >= TINY:
            held.append(data)
        elif type(last) is bytearray and len(last) < TINY:
            last += data
        else:
            held.append(bytearray(data))

    def held_size(self) -> int:
        """Bytes that are held. Counted each time: not for hot paths."""
        return sum(map(len, self.held)) if self.held else 0

    def peer_finished(self) -> None:
        """The peer sends no more."""
        held = self.held
        if held is not None and (held or self._delivering):
            held.append(b"")
        else:
            self._end_read()

    def peer_stopped(self) -> None:
        """The peer reads no more: what is written from now on is dropped, a producer is stopped, and the protocol is told."""
        if self._ended:
            return
        self._write_ended = True
        self.open = False
        if self._producer is not None:
            producer, self._producer = self._producer, None
            producer.stopProducing()
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()
        self._maybe_end()

    def writable(self) -> None:
        """The peer returned credit, or the link is no longer congested."""
        if not self._producer_paused:
            return
        if self.link.congested:
            self.link.wait_for_transport(self)
            return
        if self.link.unsent(self.id) > STREAM_BUFFER:
            # still no credit: this is called again when the peer returns some
            return
        self._producer_paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def at_turn_end(self, call: Callable[[], None]) -> None:
        """Call something at the end of the turn, when all events of the link have been dispatched."""
        self.link.at_turn_end(call)

    def link_lost(self, reason: Failure) -> None:
        """The link is lost, and all its streams with it.

        If the peer had said everything, and a slow consumer has not taken it yet, the stream goes on until it has.
        """
        held = self.held
        if self._ended:
            return
        if held and not held[-1] and not self.broken:
            self.peer_stopped()
        else:
            self._end(reason, at_once=True)

    # -- inside

    def _pause_producer(self) -> None:
        if not self._producer_paused:
            self._producer_paused = True
            if self._streaming:
                self._producer.pauseProducing()
        if self.link.congested:
            self.link.wait_for_transport(self)

    def _pull(self) -> None:
        """Resume a pull producer, which writes once each time."""
        if self._producer is not None and not self._streaming and not self._producer_paused:
            self._producer.resumeProducing()

    def _deliver_held(self) -> None:
        held = self.held
        if held is None:
            return
        self._delivering = True
        try:
            while held and not self.paused and not self._ended:
                data = held.popleft()
                if not data:
                    self.held = None
                    self._end_read()
                    return
                self.protocol.dataReceived(bytes(data))
        finally:
            self._delivering = False
            self.link.return_credit(self)
        if not held and not self.paused:
            self.held = None

    def _end_read(self) -> None:
        if self._read_ended or self._ended:
            return
        self._read_ended = True
        self.open = False
        protocol = self.protocol
        if IHalfCloseableProtocol.providedBy(protocol):
            protocol.readConnectionLost()
            self._maybe_end()
        else:
            self.loseConnection()

    def _maybe_end(self) -> None:
        if self._read_ended and self._write_ended and not self._ended:
            self._end(DONE)

    def _end(self, reason: Failure, at_once: bool = False) -> None:
        """Have the link forget the stream, and tell the protocol, but not from inside one of its own calls."""
        self._ended = self._read_ended = self._write_ended = True
        self.open = False
        self.held = None
        self._producer, producer = None, self._producer
        if producer is not None and at_once:
            self.link.run_guarded(self, producer.stopProducing)
        protocol, self.protocol = self.protocol, None
        self.link.forget(self)
        if protocol is None:
            return
        if at_once:
            protocol.connectionLost(reason)
        else:
            self.link.at_turn_end(lambda: protocol.connectionLost(reason))


classImplements(TunnelStream, ITransport, IConsumer, IPushProducer)

LOST = Failure(ConnectionLost("the link is lost"))
