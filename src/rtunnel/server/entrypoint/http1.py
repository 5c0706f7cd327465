"""HTTP/1 at an entrypoint: connections of visitors, each with requests one after another."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.outcomes import Outcome
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.server.entrypoint.entrypoint import LINGER, Entrypoint, Peer
from rtunnel.server.entrypoint.exchange import Exchange
from rtunnel.server.entrypoint.forwarding import Forwarding, new_request_id
from rtunnel.wire.http1 import CHUNKED, HeadError, RequestHead, ResponseHead, write_response
from rtunnel.wire.http1_exchange import DATA, END, HEAD, MALFORMED, Event, RequestSide

__all__ = ["HTTP1", "Http1", "HttpVisitor"]

READ_AHEAD = 32768
"""Bytes of later requests (pipelining) that are read while one is in progress."""

# what becomes of a visitor's connection
OPEN = 0
LINGERING = 1
CLOSED = 2


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
        """The body is wanted no more; an answer may still come, so what is left of the body is read and dropped."""
        self._visitor.resume_reading()


@implementer(IPushProducer)
class HttpVisitor(Protocol):
    """One visitor connection, the downstream of its exchanges. Requests are answered in order; each is routed by itself.

    :param peer: who visits.
    """

    transport: Any
    deadline = NEVER
    write_paused = False
    """Whether the visitor is behind with reading what it asked for."""
    read_paused = False
    """Whether the target is behind with taking what the visitor sends."""
    _body_source: _BodySource | None = None
    _exchange: Exchange | None = None
    _request: RequestHead
    _keep = True
    """Whether the connection stays after the present answer; once it does not, there is no next one."""
    _state = OPEN
    _processing = False
    _advancing = False
    _head_counting = True

    def __init__(self, entrypoint: Entrypoint, peer: Peer) -> None:
        self._entrypoint = entrypoint
        self.peer = peer
        self.requests = RequestSide(entrypoint.reader(trusted=False))
        self._apply_settings()

    def _apply_settings(self) -> None:
        entrypoint, host = self._entrypoint, self.peer.host
        trusted = host in entrypoint.proxies
        self.forwarding = Forwarding(host, trusted=trusted, write_forwarded=entrypoint.settings.write_forwarded)
        self.requests.reader = entrypoint.reader(trusted=trusted)

    @property
    def busy(self) -> bool:
        """Whether a request is in progress."""
        return self._exchange is not None

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
        entrypoint.enter(self, entrypoint.settings.head_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()
        self.requests.detach()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()

    def _leave(self) -> None:
        self._entrypoint.leave(self)
        self._state = CLOSED

    def settings_changed(self) -> None:
        """Go on by other settings from the next request on."""
        self._apply_settings()

    def drain(self) -> None:
        """Close unless a request is in progress."""
        if self._exchange is None and self._state == OPEN:
            self._close()

    def break_off(self) -> None:
        """Cut the connection, so that the visitor sees that the answer is not whole."""
        if self._state != CLOSED:
            self._state = CLOSED
            self.transport.abortConnection()

    def _close(self) -> None:
        """Close after what was written, which a slow visitor has some time to read."""
        if self._state != CLOSED:
            self._state = CLOSED
            self.deadline = self._entrypoint.deadlines.now + self._entrypoint.idle_limit
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _linger(self) -> None:
        """End our direction, and drop what the visitor still sends, for a moment."""
        self._state = LINGERING
        self.requests.detach()
        self.deadline = self._entrypoint.deadlines.now + LINGER
        self.resume_reading()
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def expired(self) -> None:
        """A time limit is over (called by the sweep)."""
        if self._exchange is not None:
            self._exchange.timed_out()
        elif self._state != OPEN:
            self.transport.abortConnection()
        elif self.requests.buffered and not self.write_paused:
            self._reject(HeadError(408, "the head did not arrive in time"), Outcome.REQUEST_TIMEOUT)
        else:
            self._close()

    # -- bytes in

    def dataReceived(self, data: bytes) -> None:
        self._entrypoint.stats.bytes_in += len(data)
        events = self.requests.receive(data)
        if events:
            self._process(events)
        else:
            self._wait()

    def _process(self, events: list[Event]) -> None:
        """Take requests and their bodies."""
        self._processing = True
        for kind, head, data in events:
            if kind == HEAD:
                self._request = head
                request_id, request = self.forwarding.write(head)
                exchange = self._exchange = Exchange(self._entrypoint, self, head, request_id, request)
                exchange.start()
            elif kind == MALFORMED:
                self._malformed(head)
            elif self._exchange is None:
                # the rest of a request that was answered before it was whole
                continue
            elif kind == DATA:
                self._exchange.request_data(data)
            elif kind == END:
                self._exchange.request_ended()
        self._processing = False
        if self._exchange is None:
            self._next()
        elif self.requests.buffered:
            self._wait()

    def _next(self) -> None:
        """Take what was sent ahead, as far as it is answered at once and the visitor reads: in a loop, for it may be a lot."""
        if self._advancing:
            return
        self._advancing = True
        while self._exchange is None and self._state == OPEN and not self.write_paused:
            events = self.requests.next()
            if not events:
                break
            self._process(events)
        self._advancing = False
        if self._exchange is None and self._state == OPEN:
            if not self.write_paused:
                self.resume_reading()
            self._wait()

    def _wait(self) -> None:
        """What is here makes no request yet, or its turn has not come, or the visitor has to read first."""
        if self._exchange is not None or self.write_paused:
            if len(self.requests.buffered) > READ_AHEAD:
                self.pause_reading()
        elif self._state == OPEN and self.requests.buffered and not self._head_counting:
            # the limit of a head counts from its first byte, not anew with each
            self._head_counting = True
            self.deadline = self._entrypoint.deadlines.now + self._entrypoint.settings.head_timeout

    def _malformed(self, error: HeadError) -> None:
        if self._exchange is not None:
            self._exchange.bad_body(error)
        elif self._state == OPEN:
            self._reject(error, Outcome.BAD_REQUEST)

    def _reject(self, error: HeadError, outcome: Outcome) -> None:
        """Answer what is not a request, and close: where the next one would begin is unknown."""
        self._entrypoint.stats.record(outcome)
        head, body = own_answer(error.status, request_id=new_request_id(), close=True)
        self.send(head + body)
        for observer in self._entrypoint.observers:
            observer.rejected(self.peer.host, error.status, len(body), outcome)
        self._linger()

    # -- what its exchange asks for

    def visitor_address(self, head: RequestHead) -> str:
        """The last address before the trusted proxies."""
        if not self.forwarding.trusted:
            return self.peer.host
        return self._entrypoint.proxies.origin(self.peer.host, head.named)

    def interim(self, head: ResponseHead) -> None:
        """Pass an interim answer on; HTTP/1.0 has none."""
        if self._request.minor:
            self.send(write_response(head, minor=1, keep_alive=True, chunked=False))

    def respond(self, head: ResponseHead, data: bytes) -> None:
        """Begin the answer."""
        entrypoint, request = self._entrypoint, self._request
        if head.body < 0 or not request.persistent or entrypoint.draining:
            chunked = head.body == CHUNKED and request.takes_chunks
            self._keep = request.keep_alive and (head.body >= 0 or chunked) and not entrypoint.draining
            data = write_response(head, request.minor, self._keep, chunked) + data
        else:
            # what write_response() says of nearly every head: nothing but its lines
            data = b"%b\r\n%b" % (head.lines, data)
        entrypoint.stats.bytes_out += len(data)
        self.transport.write(data)

    def send(self, data: bytes) -> None:
        """Send more of an answer."""
        self._entrypoint.stats.bytes_out += len(data)
        self.transport.write(data)

    def refuse(self, status: int, head: RequestHead, request_id: bytes, *, read_on: bool) -> bytes:
        """Answer ourselves."""
        self._keep = head.keep_alive and read_on and self.requests.whole and not self._entrypoint.draining
        start, body = own_answer(status, request_id=request_id, accept=head.field(b"accept") or b"", close=not self._keep)
        if head.method == b"HEAD":
            body = b""
        self.send(start + body)
        return body

    def finish(self) -> None:
        """The answer is written: on to the next request, or close."""
        self._exchange = None
        if self._state != OPEN:
            return
        if not self.requests.whole:
            self._linger()
        elif not self._keep or self._entrypoint.draining:
            self._close()
        else:
            entrypoint = self._entrypoint
            self.deadline = entrypoint.deadlines.now + entrypoint.idle_limit
            self._head_counting = False
            if self.read_paused:
                self.resume_reading()
            if not self._processing:
                events = self.requests.next()
                if events:
                    self._process(events)
                elif self.requests.buffered:
                    self._wait()

    def switch(self, head: ResponseHead) -> tuple[Any, bytes]:
        """Pass a 101 on and give the connection up."""
        self.send(write_response(head, minor=1, keep_alive=True, chunked=False))
        self._leave()
        self._exchange = None
        early = self.requests.detach()
        self.transport.unregisterProducer()
        if self.read_paused:
            self.resume_reading()
        return self.transport, early

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
        """The visitor does not read as fast as it is answered."""
        self.write_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resumeProducing(self) -> None:
        """The visitor caught up."""
        self.write_paused = False
        if self._exchange is not None:
            self._exchange.resume()
        else:
            self._next()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""


class Http1:
    """HTTP/1 among what visitors may speak; it gets the connections that no prefix tells, and can say what is wrong with them."""

    name = "http"
    prefixes: tuple[bytes, ...] = ()

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take a connection over."""
        visitor = HttpVisitor(entrypoint, peer)
        transport.protocol = visitor
        visitor.makeConnection(transport)  # type: ignore[no-untyped-call]
        visitor.dataReceived(data)


HTTP1 = Http1()
