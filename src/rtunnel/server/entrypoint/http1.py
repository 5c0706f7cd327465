"""HTTP/1 at an entrypoint: visitor connections, each with requests one after another."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.outcomes import Limit, Outcome
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.server.entrypoint.entrypoint import LINGER, Entrypoint, Peer
from rtunnel.server.entrypoint.exchange import Exchange
from rtunnel.server.entrypoint.forwarding import Forwarding, came_back, new_request_id
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Stalled
from rtunnel.transport.stream_protocol import StreamProtocol
from rtunnel.wire.http1 import CHUNKED, HeadError, RequestHead, ResponseHead, write_response
from rtunnel.wire.http1_exchange import DATA, END, HEAD, MALFORMED, Event, RequestSide

__all__ = ["HTTP1", "Http1", "HttpVisitor"]

_log = Logger()

READ_AHEAD = 32768
"""Maximum bytes of pipelined requests that are read while one is in progress."""

MAX_AT_ONCE = 32
"""Maximum number of pipelined requests of one visitor that are processed in a turn, when each is answered at once."""

# states of a visitor's connection
OPEN: Final = 0
LAST: Final = 1  # it ends with the current response
LINGERING: Final = 2
CLOSED: Final = 3

# in place of a request, which is not kept longer than it takes: most visitors are idle
_NONE_YET: Final = RequestHead(b"", b"", "", b"")
_NONE_NOW: Final = RequestHead(b"", b"", "", b"")


class _BodySource:
    """The producer of a request body: pauses reading from its visitor."""

    __slots__ = ("_visitor",)

    def __init__(self, visitor: HttpVisitor) -> None:
        self._visitor = visitor

    def pauseProducing(self) -> None:
        self._visitor.pause_reading()

    def resumeProducing(self) -> None:
        self._visitor.resume_reading()

    def stopProducing(self) -> None:
        """The body is not needed any more; a response may still follow, so the rest of the body is read and dropped."""
        self._visitor.resume_reading()


class HttpVisitor(StreamProtocol):
    """One visitor connection, the downstream of its exchanges. Requests are served in order; each is routed individually.

    :param peer: the address of the visitor.
    """

    # class attributes for what most visitors never set: each costs memory in every idle one
    deadline = NEVER
    _body_source: _BodySource | None = None
    _advancing = False
    _request: RequestHead = _NONE_YET

    def __init__(self, entrypoint: Entrypoint, peer: Peer) -> None:
        super().__init__()
        self._entrypoint = entrypoint
        self.peer = peer
        self.write_paused = False
        """Whether the visitor reads responses too slowly."""
        self.read_paused = False
        """Whether the target reads the request body too slowly."""
        self._exchange: Exchange | None = None
        self._state = OPEN
        self._processing = False
        self.requests = RequestSide(entrypoint.reader(trusted=False))
        self._apply_settings()

    def _apply_settings(self) -> None:
        entrypoint, host = self._entrypoint, self.peer.host
        trusted = host in entrypoint.proxies
        settings = entrypoint.settings
        self.forwarding = Forwarding(
            host, trusted=trusted, write_forwarded=settings.write_forwarded, keep_chain=settings.keep_forwarded_for
        )
        self.requests.reader = entrypoint.reader(trusted=trusted)

    @property
    def busy(self) -> bool:
        """Whether a request is in progress."""
        return self._exchange is not None

    @property
    def idle_since(self) -> float | None:
        """See :class:`~rtunnel.server.entrypoint.entrypoint.VisitorConnection`; by its deadline, which moves with each response."""
        if self._exchange is not None:
            return None
        return 0.0 if self._state == OPEN and self._request is _NONE_YET else self.deadline

    @property
    def body_source(self) -> _BodySource:
        """The producer to pause when a request body arrives too fast."""
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
        # the two know each other: without this they, and what came with the head, would wait for the garbage collector
        self._body_source = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort(Outcome.STALLED if reason.check(Stalled) else Outcome.VISITOR_GONE)

    def _leave(self) -> None:
        self._entrypoint.leave(self)
        self._state = CLOSED

    def settings_changed(self) -> None:
        """Apply new settings from the next request on."""
        self._apply_settings()

    def drain(self) -> None:
        """Close unless a request is in progress; one that has come in part is answered, and can be sent elsewhere."""
        if self._exchange is None and self._state == OPEN:
            if self.requests.buffered:
                self._reject(HeadError(503, "the server is stopping"), Outcome.STOPPED)
            else:
                self._close()

    def cut(self) -> None:
        """The drain is over: say so to a visitor that got nothing of its response yet, and break off the others.

        One that has its response is not cut: the system may still have to deliver the end of it.
        """
        if self._exchange is not None:
            self._exchange.stop()
        elif self._state == OPEN:
            # it came while the others were waited for
            self.drain()
        elif ITunnelTransport(self.transport).unsent():
            self.break_off()
        else:
            self._close()

    def break_off(self) -> None:
        """Abort the connection, so that the visitor sees that the response is incomplete."""
        self._state = CLOSED
        self.transport.abortConnection()

    def _close(self) -> None:
        """Close after the pending output, which a slow visitor has some time to read."""
        if self._state != CLOSED:
            self._state = CLOSED
            self.deadline = self._entrypoint.idle_limit.end
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _linger(self) -> None:
        """Half-close, and discard what the visitor sends for a short time (:data:`LINGER`)."""
        self._state = LINGERING
        self.requests.detach()
        self.deadline = self._entrypoint.deadlines.now + LINGER
        self.resume_reading()
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def expired(self) -> None:
        """The deadline has passed (called by the sweep)."""
        try:
            self._expire()
        except Exception:
            self._fail()

    def _expire(self) -> None:
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
        try:
            events = self.requests.receive(data)
            if events:
                self._process(events)
            else:
                self._wait(begun=len(self.requests.buffered) > len(data))
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """Something of this server has raised; called where that was caught. It costs the request in progress alone."""
        self._processing = self._advancing = False
        if self._exchange is not None:
            self._exchange.fail()
            return
        _log.failure("error in the server, in a request of {visitor}", visitor=self.peer.host)
        if self._state == OPEN:
            self._reject(HeadError(500, "an error in the server"), Outcome.ERROR)
        else:
            self.break_off()

    def _process(self, events: list[Event]) -> None:
        """Process requests and their bodies."""
        self._processing = True
        for kind, head, data in events:
            if kind == HEAD:
                self._request = head
                request_id, request = self.forwarding.write(head)
                exchange = self._exchange = Exchange(self._entrypoint, self, head, request_id, request)
                if b"via" in head.named and came_back(head):
                    exchange.refuse(508, Outcome.LOOP)
                else:
                    exchange.start()
            elif kind == MALFORMED:
                self._malformed(head)
            elif self._exchange is None:
                # the rest of a request that got a response before it was complete
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
        """Process pipelined requests, in a loop, while each gets its response at once and the visitor reads."""
        if self._advancing:
            return
        self._advancing = True
        left = MAX_AT_ONCE
        while self._exchange is None and self._state == OPEN and not self.write_paused:
            if not left:
                # the other visitors first; what comes meanwhile waits in the socket
                self._advancing = False
                self._entrypoint.stats.reach(Limit.PIPELINED)
                self.pause_reading()
                self._entrypoint.deadlines.soon(self._go_on)
                return
            left -= 1
            events = self.requests.next()
            if not events:
                break
            self._process(events)
        self._advancing = False
        if self._exchange is None and self._state == OPEN:
            if not self.write_paused:
                self.resume_reading()
            self._wait()

    def _go_on(self) -> None:
        """Continue with the response, or with the next request."""
        try:
            if self._exchange is not None:
                self._exchange.resume()
            else:
                self._next()
        except Exception:
            self._fail()

    def _wait(self, *, begun: bool = False) -> None:
        """Wait for the rest of a request, for the current response, or until the visitor reads.

        :param begun: whether this was waiting for the rest of a head already: its timeout starts with its first byte.
        """
        if self._exchange is not None or self.write_paused:
            if len(self.requests.buffered) > READ_AHEAD:
                self.pause_reading()
        elif self._state == OPEN and self.requests.buffered and not begun:
            self.deadline = self._entrypoint.deadlines.now + self._entrypoint.settings.head_timeout

    def _malformed(self, error: HeadError) -> None:
        if self._exchange is not None:
            self._exchange.bad_body(error)
        elif self._state == OPEN:
            self._reject(error, Outcome.BAD_REQUEST)

    def _reject(self, error: HeadError, outcome: Outcome) -> None:
        """Respond to an invalid request and close: it is unknown where the next one begins."""
        self._entrypoint.stats.record(outcome)
        head, body = own_answer(error.status, outcome, request_id=new_request_id(), close=True)
        self.send(head + body)
        for observer in self._entrypoint.observers:
            observer.rejected(self.peer.host, error.status, len(body), outcome)
        self._linger()

    # -- Downstream, called by the exchange

    def visitor_address(self, head: RequestHead) -> str:
        """The last address before the trusted proxies."""
        if not self.forwarding.trusted:
            return self.peer.host
        return self._entrypoint.proxies.origin(self.peer.host, head.named)

    def interim(self, head: ResponseHead) -> None:
        """Pass on an interim response; HTTP/1.0 has none."""
        if self._request.minor:
            self.send(write_response(head, minor=1, keep_alive=True, chunked=False))

    def respond(self, head: ResponseHead, data: bytes) -> None:
        """Begin the response."""
        entrypoint, request = self._entrypoint, self._request
        if head.body < 0 or not request.persistent or entrypoint.draining:
            chunked = head.body == CHUNKED and request.takes_chunks
            keep = request.keep_alive and (head.body >= 0 or chunked) and not entrypoint.draining
            if not keep:
                self._state = LAST
            data = write_response(head, request.minor, keep, chunked) + data
        else:
            # what write_response() says of nearly every head: nothing but its lines
            data = b"%b\r\n%b" % (head.lines, data)
        entrypoint.stats.bytes_out += len(data)
        self.transport.write(data)

    def send(self, data: bytes) -> None:
        """Send more of the response body."""
        self._entrypoint.stats.bytes_out += len(data)
        self.transport.write(data)

    def refuse(
        self,
        status: int,
        outcome: Outcome,
        head: RequestHead,
        request_id: bytes,
        *,
        read_on: bool,
        fields: bytes = b"",
        who: str = "",
    ) -> bytes:
        """Send a response of our own."""
        keep = head.keep_alive and read_on and self.requests.whole and not self._entrypoint.draining
        if not keep:
            self._state = LAST
        accept = head.field(b"accept") or b""
        start, body = own_answer(status, outcome, request_id=request_id, accept=accept, close=not keep, fields=fields, who=who)
        if head.method == b"HEAD":
            body = b""
        self.send(start + body)
        return body

    def finish(self) -> None:
        """The response is complete: continue with the next request, or close."""
        self._exchange = None
        self._request = _NONE_NOW
        entrypoint = self._entrypoint
        if self._state != OPEN or entrypoint.draining or not self.requests.whole:
            self._finish_last()
            return
        self.deadline = entrypoint.idle_limit.end
        if self.read_paused:
            self.resume_reading()
        if not self._processing and self.requests.answered():
            self._read_on()

    def _read_on(self) -> None:
        """Parse the next request, of which something is buffered."""
        try:
            events = self.requests.next()
            if events:
                self._process(events)
            else:
                self._wait()
        except Exception:
            # the next request's, not that of the one that is complete
            self._fail()

    def _finish_last(self) -> None:
        """The response is complete, and no other one follows."""
        if self._state <= LAST:
            if self.requests.whole:
                self._close()
            else:
                self._linger()

    def switch(self, head: ResponseHead) -> tuple[Any, bytes]:
        """Pass on a 101 and hand over the connection."""
        self.send(write_response(head, minor=1, keep_alive=True, chunked=False))
        self._leave()
        self._exchange = None
        early = self.requests.detach()
        self.transport.unregisterProducer()
        if self.read_paused:
            self.resume_reading()
        return self.transport, early

    # -- flow control

    def pause_reading(self) -> None:
        """Stop reading from the visitor."""
        if not self.read_paused:
            self.read_paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Resume reading from the visitor."""
        if self.read_paused:
            self.read_paused = False
            if not self.transport.disconnecting:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The visitor reads too slowly."""
        self.write_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resumeProducing(self) -> None:
        """The visitor has caught up."""
        self.write_paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The connection was closed; connectionLost follows."""


classImplements(HttpVisitor, IPushProducer)
classImplements(_BodySource, IPushProducer)


class Http1:
    """The HTTP/1 speaker; the default, since it can respond to invalid requests."""

    name = "http"
    prefixes: tuple[bytes, ...] = ()

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take over a connection."""
        visitor = HttpVisitor(entrypoint, peer)
        transport.protocol = visitor
        visitor.makeConnection(transport)
        visitor.dataReceived(data)


HTTP1 = Http1()
