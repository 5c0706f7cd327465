"""The HTTP side of an entrypoint: connections of visitors, each with requests one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import AccessLog
from rtunnel.outcomes import Outcome
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import NEVER, Deadlines
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.server.entrypoint.arrival import Peer, SniffedProtocol, VisitorConnection
from rtunnel.server.entrypoint.exchange import Exchange
from rtunnel.server.entrypoint.forwarding import Forwarding, new_request_id
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.splice import Splice
from rtunnel.wire.http1 import HeadError, HeadLimits, RequestReader, skip_empty_lines

__all__ = ["Entrypoint", "HttpVisitor"]

READ_AHEAD = 32768
"""Bytes of later requests (pipelining) that are read while one is under way."""
LINGER = 2.0
"""Seconds that a visitor may go on sending after an answer that ends its connection early: closing at once would make the system
reset the connection, and the answer might be lost with it (RFC 9112 9.6)."""

# what a visitor's connection is doing
WAITING = 0
BUSY = 1
LINGERING = 2
CLOSED = 3


class Entrypoint(Factory):
    """What all visitors of one entrypoint share; owned by the service.

    :param table: ingress rules of this entrypoint.
    :param registry: the tunnels and who is attached.
    :param others: who takes the connections that do not speak HTTP, by their first byte.
    """

    noisy = False
    address = ""
    """Where it listens, set when it does."""

    def __init__(
        self,
        *,
        settings: HttpSettings,
        table: IngressTable,
        registry: TunnelRegistry[UpstreamPool],
        deadlines: Deadlines,
        stats: ServerStats,
        others: Mapping[int, SniffedProtocol] = MappingProxyType({}),
    ) -> None:
        self.change(settings, table)
        self.registry = registry
        self.deadlines = deadlines
        self.stats = stats
        self.others = others
        self.protocols = ("http", *(other.name for other in others.values()))
        """What visitors may speak here."""
        self.draining = False
        self.visitors: set[VisitorConnection] = set()
        self.splices: set[Splice] = set()
        self.access: AccessLog | None = None
        """Where connections leave a line, if that was asked for."""
        self.visitor: Callable[[Entrypoint], HttpVisitor] = HttpVisitor
        """What a connection becomes; :mod:`rtunnel.server.entrypoint.logged` has another class for this and the next."""
        self.exchange: type[Exchange] = Exchange
        """What a request becomes."""

    def change(self, settings: HttpSettings, table: IngressTable) -> None:
        """Serve by other settings from now on, also on the connections that exist."""
        self.settings = settings
        self.response_limit = settings.response_timeout or NEVER
        self.reader = RequestReader(HeadLimits(settings.head_bytes, settings.line_bytes, settings.header_count))
        self.table = table

    def buildProtocol(self, addr: Any) -> HttpVisitor:
        return self.visitor(self)

    @property
    def connections(self) -> int:
        """How many visitors are connected."""
        return len(self.visitors) + len(self.splices)

    @property
    def busy(self) -> bool:
        """Whether a request is under way or an upgraded connection open."""
        return bool(self.splices) or any(visitor.busy for visitor in self.visitors)

    def drain(self) -> None:
        """Close connections as their requests end; those without one now."""
        self.draining = True
        for visitor in list(self.visitors):
            visitor.drain()

    def cut(self) -> None:
        """Close what is left."""
        for splice in list(self.splices):
            splice.abort()
        for visitor in list(self.visitors):
            visitor.break_off()


@implementer(IPushProducer)
class _BodySource:
    """The producer of a request's body: pauses the reading of its visitor."""

    __slots__ = ("_visitor",)

    def __init__(self, visitor: HttpVisitor) -> None:
        self._visitor = visitor

    def pauseProducing(self) -> None:
        self._visitor.pause_reading()

    def resumeProducing(self) -> None:
        self._visitor.resume_reading()

    def stopProducing(self) -> None:
        """Nobody takes the body any more; an answer may still come, so what is left of the body is read and dropped."""
        self._visitor.resume_reading()


@implementer(IPushProducer)
class HttpVisitor(Protocol):
    """One visitor connection. Its requests are answered in order; each is routed by itself."""

    transport: Any
    deadline = NEVER
    write_paused = False
    """Whether the visitor is behind with reading what it asked for."""
    read_paused = False
    """Whether we are behind with what the visitor sends."""
    peer: Peer
    announced: Peer | None = None
    """Whose connection it is, where a proxy ahead of us said so."""
    _forwarding: Forwarding | None = None
    _exchange: Exchange | None = None
    _body_source: _BodySource | None = None
    _buffer = b""
    _state = WAITING
    _processing = False
    _head_counting = True

    def __init__(self, entrypoint: Entrypoint) -> None:
        self._entrypoint = entrypoint

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._state == BUSY

    @property
    def body_source(self) -> _BodySource:
        """The producer to be paused when a request's body comes too fast."""
        if self._body_source is None:
            self._body_source = _BodySource(self)
        return self._body_source

    # -- the connection

    def connectionMade(self) -> None:
        entrypoint = self._entrypoint
        transport = self.transport
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        entrypoint.visitors.add(self)
        entrypoint.stats.visitors_total += 1
        entrypoint.stats.visitors_open += 1
        self.deadline = entrypoint.deadlines.now + entrypoint.settings.head_timeout
        entrypoint.deadlines.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()
        self._buffer = b""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()

    def _leave(self) -> None:
        """Belong to the entrypoint no more."""
        entrypoint = self._entrypoint
        if self in entrypoint.visitors:
            entrypoint.visitors.discard(self)
            entrypoint.deadlines.discard(self)
            entrypoint.stats.visitors_open -= 1
        self._state = CLOSED

    def hand_over(self) -> bytes:
        """Leave the transport to somebody else (an upgrade); returns what was read and not yet used."""
        self._leave()
        self._exchange = None
        self.transport.unregisterProducer()
        if self.read_paused:
            self.resume_reading()
        early, self._buffer = self._buffer, b""
        return early

    def drain(self) -> None:
        """Close unless a request is under way."""
        if self._state == WAITING:
            self._close()

    def break_off(self) -> None:
        """Cut the connection, so that the visitor sees that the answer is not whole."""
        if self._state != CLOSED:
            self._state = CLOSED
            self.transport.abortConnection()

    def _close(self) -> None:
        """Close after what was written."""
        if self._state != CLOSED:
            self._state = CLOSED
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _linger(self) -> None:
        """End our direction, and drop what the visitor still sends, for a moment."""
        self._state = LINGERING
        self._buffer = b""
        self.deadline = self._entrypoint.deadlines.now + LINGER
        self.resume_reading()
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def expired(self) -> None:
        """A time limit is over (called by the sweep)."""
        if self._state == BUSY and self._exchange is not None:
            self._exchange.timed_out()
        elif self._state == WAITING and self._buffer:
            self._refuse(HeadError(408, "the head did not arrive in time"), Outcome.REQUEST_TIMEOUT)
        elif self._state == WAITING:
            self._close()
        else:
            self.transport.abortConnection()

    # -- bytes in

    def dataReceived(self, data: bytes) -> None:
        entrypoint = self._entrypoint
        entrypoint.stats.bytes_in += len(data)
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        # most requests are all there is and may pass as they came
        found = entrypoint.reader.passing(data) if self._state == WAITING else None
        if found is None or found[2] != len(data):
            self._process(data)
            return
        authority, host, _ = found
        forwarding = self._forwarding or self._meet()
        self._state = BUSY
        exchange = self._exchange = entrypoint.exchange(self, entrypoint, authority, host)
        exchange.pass_on(forwarding.passing(data, authority))

    def _process(self, data: bytes) -> None:
        """Take requests, one after another, as far as the bytes go and the one before is answered."""
        self._processing = True
        try:
            while data:
                if self._state == WAITING:
                    rest = self._take_head(data)
                    if rest is None:
                        break
                    data = rest
                elif self._state == BUSY and self._exchange is not None and self._exchange.wants_body:
                    data = self._take_body(self._exchange, data)
                elif self._state == BUSY:
                    if len(data) > READ_AHEAD:
                        self.pause_reading()
                    break
                else:
                    data = b""
        finally:
            self._processing = False
        self._buffer = data

    def _take_head(self, data: bytes) -> bytes | None:
        """Begin a request when its head is whole; returns what comes after the head, or None when more is needed."""
        entrypoint = self._entrypoint
        start = 0
        if data[0] <= 32:
            if self._forwarding is None and data[0] in entrypoint.others:
                self._give_away(data)
                return b""
            start = skip_empty_lines(data, 0)
        try:
            read = entrypoint.reader.read(data, start)
        except HeadError as error:
            self._refuse(error, Outcome.BAD_REQUEST)
            return b""
        if read is None:
            self._head_begun()
            return None
        head, end = read
        forwarding = self._forwarding
        if forwarding is None:
            forwarding = self._meet()
        request_id, lines = forwarding.fields(head.authority, head.forwarded)
        self._state = BUSY
        exchange = self._exchange = entrypoint.exchange(self, entrypoint, head.authority, head.host)
        exchange.start(head, request_id, lines)
        return data[end:]

    def _give_away(self, data: bytes) -> None:
        """The first byte of the connection says that it is not HTTP."""
        entrypoint = self._entrypoint
        self._meet()
        self.hand_over()
        entrypoint.others[data[0]].take(entrypoint, self.transport, self.peer, data)

    def _head_begun(self) -> None:
        """The first bytes of a head came: the limit of a head counts from here, not anew with each byte."""
        if not self._head_counting:
            self._head_counting = True
            self.deadline = self._entrypoint.deadlines.now + self._entrypoint.settings.head_timeout

    def _meet(self) -> Forwarding:
        """Remember who visits, at the first request."""
        self.peer = self.announced or Peer.of(self.transport)
        forwarding = self._forwarding = Forwarding(self.peer.host, self._entrypoint.settings.trusted_proxies)
        return forwarding

    def _take_body(self, exchange: Exchange, data: bytes) -> bytes:
        try:
            return exchange.request_data(data)
        except HeadError as error:
            exchange.bad_body(error)
            return b""

    def _refuse(self, error: HeadError, outcome: Outcome) -> None:
        """Answer what is not a request, and close: where the next one would begin is unknown."""
        self._entrypoint.stats.record(outcome)
        self.write(own_answer(error.status, request_id=new_request_id(), close=True))
        self._linger()

    # -- bytes out, called by the exchange

    def write(self, data: bytes) -> None:
        """Send bytes of an answer."""
        self._entrypoint.stats.bytes_out += len(data)
        self.transport.write(data)

    def exchange_done(self, *, keep: bool) -> None:
        """The answer is written: go on with the next request, or close."""
        exchange, self._exchange = self._exchange, None
        if self._state != BUSY:
            return
        if not keep:
            if exchange is not None and exchange.wants_body:
                self._linger()
            else:
                self._close()
            return
        self.answered()

    def answered(self) -> None:
        """The answer is written, and the connection stays: on to the next request."""
        self._exchange = None
        if self._state != BUSY:
            return
        self._state = WAITING
        self._head_counting = False
        entrypoint = self._entrypoint
        self.deadline = entrypoint.deadlines.now + entrypoint.settings.idle_timeout
        if self.read_paused:
            self.resume_reading()
        if self._buffer and not self._processing:
            data, self._buffer = self._buffer, b""
            self._process(data)

    # -- flow

    def pause_reading(self) -> None:
        """Read nothing of the visitor for now."""
        if not self.read_paused:
            self.read_paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if self.read_paused:
            self.read_paused = False
            if not self.transport.disconnecting:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The visitor does not read as fast as the target answers."""
        self.write_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resumeProducing(self) -> None:
        """The visitor caught up."""
        self.write_paused = False
        if self._exchange is not None:
            self._exchange.resume()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""
