"""One HTTP request and its response: from a visitor through a connector and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger

from rtunnel.outcomes import Outcome
from rtunnel.routing.selection import VisitorProtocol
from rtunnel.routing.sticky import new_key
from rtunnel.server.attempt import Attempts
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.entrypoint import Entrypoint, Peer
from rtunnel.server.entrypoint.marks import mark
from rtunnel.server.entrypoint.sessions import redirect_of, session_of, with_session
from rtunnel.server.entrypoint.upgrade import Side, splice_upgraded
from rtunnel.server.observers import ExchangeObserver
from rtunnel.server.upstream import Upstream, UpstreamPool
from rtunnel.wire.http1 import HeadError, RequestHead, ResponseHead
from rtunnel.wire.http1_exchange import DATA, END, HEAD, INTERIM, UPGRADE, WHOLE, Event
from rtunnel.wire.relay import RelayAddress, stream_preface

__all__ = ["Downstream", "Exchange"]

_log = Logger()

_ANSWERED: Final = Outcome.ANSWERED  # a member of an Enum costs a call each time it is named, before Python 3.12


class Downstream(Protocol):
    """What an exchange needs from the connection, or stream, that its request was received on.

    :ivar peer: the visitor.
    :ivar deadline: the current deadline on the reactor's clock; moved by the exchange.
    :ivar write_paused: whether the visitor reads too slowly.
    :ivar read_paused: whether the request body is paused because the target reads too slowly.
    """

    peer: Peer
    deadline: float
    write_paused: bool
    read_paused: bool

    def visitor_address(self, head: RequestHead) -> str:
        """The address of the visitor, taken from trusted proxies where there are any."""

    @property
    def body_source(self) -> IPushProducer:
        """The producer to pause when a request body arrives too fast."""

    def interim(self, head: ResponseHead) -> None:
        """Pass on an interim response."""

    def respond(self, head: ResponseHead, data: bytes) -> None:
        """Begin the response.

        :param data: the first bytes of its body.
        """

    def send(self, data: bytes) -> None:
        """Send more of the response body."""

    def finish(self) -> None:
        """The response is complete; the exchange has ended."""

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
        """Send a response of our own; :meth:`finish` follows.

        :param outcome: of the request.
        :param read_on: whether the bytes after this request can still be parsed.
        :param fields: further lines of its head.
        :param who: whom the explanation names.
        :returns: the body of the response.
        """

    def switch(self, head: ResponseHead) -> tuple[Any, bytes]:
        """Pass on a 101 and hand over the connection.

        :returns: its transport, and the data that was already read.
        """

    def break_off(self) -> None:
        """Abort it, so that the visitor sees that the response is incomplete."""


class Exchange(Attempts[Entrypoint, Upstream]):
    """A request in progress; owned by its downstream, ends with one recorded outcome.

    It routes the request, sends it on a stream of a connector (:class:`~rtunnel.server.attempt.Attempts`), and passes the response
    back. It knows neither how its downstream writes nor how a head was read.

    The class is longer than others because it is one state machine: routing, retries, body, response and timeouts share its state,
    and splitting it would cost calls in the hot path.

    :param head: the request.
    :param request: the head for the target.
    :param request_id: the value of X-Request-Id, also in logs and in our own responses.
    """

    protocol: Final = VisitorProtocol.HTTP

    # class attributes for what most exchanges neither set nor read
    _resendable = True
    """Whether everything that was received of it is at hand."""
    _kept: list[bytes] | None = None
    """The request body received so far, while it may have to be resent."""
    _kept_size = 0
    _visitor_key: bytes | None = None
    """Of a visitor that gets a cookie with the response."""

    def __init__(
        self, entrypoint: Entrypoint, downstream: Downstream, head: RequestHead, request_id: bytes, request: bytes
    ) -> None:
        self._entrypoint = entrypoint
        self.downstream = downstream
        self.head = head
        self.host = head.host
        self.request_id = request_id
        self._request = request
        self.body_whole = not head.body
        """Whether the request was received completely."""
        self.stream = self.failed = None
        # if they came later, and the first thirty exchanges had not had them, CPython would give each one a dictionary of its own
        self._begun = self.ended = False
        """Whether the response to the visitor has begun: then no other one can be sent; and whether the exchange is over."""
        observers = entrypoint.observers
        self._observers: tuple[ExchangeObserver, ...] = tuple([one.begin(self) for one in observers]) if observers else ()

    # -- RouteQuery

    @property
    def visitor_address(self) -> str:
        """The address of the visitor, taken from trusted proxies where there are any."""
        return self.downstream.visitor_address(self.head)

    def method(self) -> bytes:
        """The method."""
        return self.head.method

    def path(self) -> bytes:
        """The target in origin-form."""
        return self.head.target

    def lines(self) -> bytes:
        """The request line and the end-to-end fields."""
        return self.head.lines

    def taken(self) -> Mapping[bytes, bytes]:
        """The values of fields that the proxy writes itself."""
        return self.head.named

    def new_visitor(self) -> bytes | None:
        """The key of a visitor that has no cookie yet, and gets it with the response."""
        if self._visitor_key is None:
            self._visitor_key = new_key()
        return self._visitor_key

    # -- the request

    def start(self) -> None:
        """Route the request and send what was received of it."""
        selector = self._entrypoint.selector
        rule = selector.rule(self)
        if rule is None:
            self.refuse(404, Outcome.UNKNOWN_HOST)
            return
        self.tunnel = rule.tunnel
        sessions = selector.registry.sessions
        if sessions and (names := sessions.get(rule.tunnel.int)) and self._answer_session(names):
            return
        self.try_next()

    def _answer_session(self, names: Collection[bytes]) -> bool:
        """Answer a link of a session; tell the target the session of the visitor's cookie.

        :returns: whether it was answered.
        """
        fields = redirect_of(self.head, names)
        if fields is not None:
            self.refuse(302, Outcome.SESSION, fields=fields)
            return True
        name = session_of(self, names)
        if name is not None:
            request = with_session(self._request, name)
            if request is None:
                _log.info("request {id}: its baggage is full, and does not say the session", id=self.request_id.decode())
            else:
                self._request = request
        return False

    def send_to(self, pool: UpstreamPool, fresh: bool) -> Upstream:
        """Send what was received of the request on an idle stream, or on a new one.

        The target may have just closed an idle stream, which is noticed only after sending. So a request that must not be repeated
        gets a stream that was in use very recently, which keep-alive timeouts of a second and more leave open, or a new one.

        :raises rtunnel.tunnel.link.LinkClosed: when the link accepts no more streams.
        """
        head, host, downstream = self.head, self.host, self.downstream
        upstream = None
        if not fresh:
            upstream = pool.acquire(host) if head.idempotent else pool.acquire_recent(host)
        if upstream is None:
            upstream = pool.open(host)
        # at once, so that it is closed whatever goes wrong here
        self.stream = upstream
        upstream.exchange = self
        upstream.answers.expect(head)
        data = self._request
        if upstream.used:
            upstream.sent_at = pool.link.bytes_out
        else:
            data = b"".join((self._preface(), data, *(self._kept or ())))
        transport = upstream.stream
        if downstream.write_paused:
            transport.pauseProducing()
        if self.body_whole:
            transport.write(data)
            downstream.deadline = self._entrypoint.response_limit.end
        else:
            transport.registerProducer(downstream.body_source, True)
            transport.write(data)
            self._await()
        return upstream

    def exhausted(self) -> None:
        """No connector is left."""
        selector = self._entrypoint.selector
        holder = None if selector.policies is None or self.tunnel is None else selector.withheld_for(self.tunnel, self)
        if holder is not None:
            self.refuse(503, Outcome.HOLDER_ABSENT, who=holder)
        elif self.failed and not self.overloaded:
            self.refuse(502, Outcome.TARGET_FAILED)
        else:
            outcome = Outcome.OVERLOADED if self.overloaded else Outcome.NO_CONNECTOR
            if self.connector is None and self.tunnel is not None:
                self._entrypoint.stats.labelled.count_unrouted(self.tunnel, outcome)
            self.refuse(503, outcome)

    def _preface(self) -> bytes:
        """The preface of a new stream: the address of the visitor and the requested host."""
        peer = self.downstream.peer
        host, port = _split_port(self.head.authority, self.host)
        return stream_preface(RelayAddress(peer.host, peer.port), RelayAddress(host, port))

    def _await(self) -> None:
        """Move the deadline: for more of the body, or for the response."""
        entrypoint = self._entrypoint
        limit = entrypoint.response_limit if self.body_whole else entrypoint.idle_limit
        self.downstream.deadline = limit.end

    def request_data(self, data: bytes) -> None:
        """Pass on bytes of the request body."""
        for observer in self._observers:
            observer.request_data(data)
        if self._resendable and not self._begun:
            self._keep(data)
        upstream = self.stream
        if upstream is not None:
            upstream.stream.write(data)
        if not self._begun:
            self._await()

    def request_ended(self) -> None:
        """The request body is complete."""
        self.body_whole = True
        upstream = self.stream
        if upstream is not None:
            upstream.stream.unregisterProducer()
        if not self._begun:
            self._await()

    def _keep(self, data: bytes) -> None:
        self._kept_size += len(data)
        if self._kept_size > self._entrypoint.settings.retry_buffer_bytes:
            self._disable_retries()
        elif self._kept is None:
            self._kept = [data]
        else:
            self._kept.append(data)

    def _disable_retries(self) -> None:
        """The body is too large to be buffered for a retry."""
        self._resendable = False
        self._kept = None

    # -- the response

    def answer(self, events: list[Event]) -> None:
        """Process events of the response."""
        downstream = self.downstream
        connector: Any = self.connector
        marked = connector.filters or self._entrypoint.marks_responses
        for kind, head, data in events:
            if kind == WHOLE:
                if marked:
                    self._mark(head)
                for observer in self._observers:
                    observer.answer_begun(head.status, data)
                downstream.respond(head, data)
                self._complete()
            elif self.ended:
                return
            elif kind == HEAD:
                self._begun = True
                if self._kept is not None:
                    self._kept = None
                self.succeeded()
                downstream.deadline = NEVER
                if marked:
                    self._mark(head)
                for observer in self._observers:
                    observer.answer_begun(head.status, data)
                downstream.respond(head, data)
            elif kind == END:
                self._complete()
            elif kind == DATA:
                for observer in self._observers:
                    observer.answer_data(data)
                downstream.send(data)
            elif kind == INTERIM:
                downstream.interim(head)
            elif kind == UPGRADE:
                self._upgrade(head, data)
            else:
                self._malformed(head)

    def _mark(self, head: ResponseHead) -> None:
        """Say in the response who served it, that it must not be cached, and what the visitor is known by."""
        if self.connector is not None:
            mark(head, self.head, self.connector, self._entrypoint.policies.served_by(self.host), self._visitor_key)

    def _malformed(self, error: HeadError) -> None:
        _log.info("request {id}: the target's response is malformed: {reason}", id=self.request_id.decode(), reason=error.reason)
        upstream = self.stream
        if self._begun:
            self._break_off(Outcome.ABORTED)
        elif upstream is not None and upstream.used:
            # perhaps what the target sent beyond its last response: it is asked again on a new stream, if it may be
            if upstream.answers.surplus:
                upstream.pool.stop_reuse(self.host)
            self._not_answered(upstream, begun=False)
        else:
            self.refuse(502, Outcome.TARGET_FAILED)

    def _upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Both sides switch to another protocol: splice them."""
        upstream, observers = self.stream, self._observers
        if upstream is None:
            return
        self.succeeded()
        self.stream = None
        for observer in observers:
            observer.answer_begun(head.status, b"")
        # they are called when both sides of the connection are closed
        self._observers = ()
        self._end_unanswered(Outcome.UPGRADED)
        upstream.exchange = None
        transport, early = self.downstream.switch(head)
        splice_upgraded(self._entrypoint, observers, Side(transport, early), Side(upstream.stream, data))

    def upstream_ended(self) -> None:
        """The stream was closed: the response is complete, or the connector failed."""
        upstream = self.stream
        if self.ended or upstream is None:
            return
        answers = upstream.answers
        if answers.ended() and not upstream.stream.broken:
            self._complete()
        elif self._begun:
            self._break_off(Outcome.ABORTED)
        else:
            self._not_answered(upstream, begun=answers.begun)

    def _not_answered(self, upstream: Upstream, *, begun: bool) -> None:
        """Try the next connector, if that is safe.

        :param begun: whether a byte of the response was received: then it is not.
        """
        if begun or not self._resendable or not (self.head.idempotent or upstream.stream.refused):
            # it may have been carried out, unless the client says that it was not delivered
            if self.connector is not None and not upstream.used and not begun:
                self.blame(self.connector, upstream.stream)
            self.refuse(502, Outcome.TARGET_FAILED)
        else:
            upstream.discard()
            if self.downstream.read_paused:
                # paused by the stream that was lost, which will not resume it
                self.downstream.body_source.resumeProducing()
            self.retry()

    # -- end

    def refuse(self, status: int, outcome: Outcome, *, read_on: bool = True, fields: bytes = b"", who: str = "") -> None:
        """Send a response of our own instead of the target's.

        :param read_on: whether the bytes after this request can still be parsed.
        :param fields: further lines of its head.
        :param who: whom the explanation names, if it names somebody.
        """
        if self.ended:
            return
        self._drop()
        body = self.downstream.refuse(status, outcome, self.head, self.request_id, read_on=read_on, fields=fields, who=who)
        for observer in self._observers:
            observer.answer_begun(status, body)
        self._end_unanswered(outcome)
        self.downstream.finish()

    def timed_out(self) -> None:
        """The visitor stalled in its body, or the target did not respond in time."""
        if self._begun:
            return
        if not self.body_whole and not self.downstream.read_paused:
            self.refuse(408, Outcome.REQUEST_TIMEOUT, read_on=False)
        else:
            _log.info(
                "request {id}: no response began within {limit:g} s; see --response-timeout",
                id=self.request_id.decode(),
                limit=self._entrypoint.response_limit.seconds,
            )
            self.refuse(504, Outcome.RESPONSE_TIMEOUT)

    def bad_body(self, error: HeadError) -> None:
        """The request body is malformed: nothing after it can be parsed."""
        if self._begun:
            self._break_off(Outcome.BAD_REQUEST)
        else:
            self.refuse(error.status, Outcome.BAD_REQUEST, read_on=False)

    def fail(self, *, answering: bool = False) -> None:
        """Something of this server has raised, be it an observer; called where that was caught. It costs this exchange alone.

        :param answering: whether something of the response may have been passed on.
        """
        _log.failure('request {id} for "{host}": error in the server', id=self.request_id.decode(), host=self.host)
        if self.ended:
            self.downstream.break_off()
        elif answering or self._begun:
            self._break_off(Outcome.ERROR)
        else:
            self.refuse(500, Outcome.ERROR, read_on=False)

    def stop(self) -> None:
        """The server stops, and waits no longer."""
        if self._begun:
            self._break_off(Outcome.STOPPED)
        else:
            self.refuse(503, Outcome.STOPPED)

    def abort(self, outcome: Outcome) -> None:
        """The visitor is gone: close its stream at once.

        :param outcome: how it went.
        """
        if not self.ended:
            try:
                self._drop()
            finally:
                self._end_unanswered(outcome)

    def pause(self) -> None:
        """The visitor reads too slowly."""
        upstream = self.stream
        if upstream is not None:
            upstream.stream.pauseProducing()

    def resume(self) -> None:
        """The visitor has caught up."""
        upstream = self.stream
        if upstream is not None:
            upstream.stream.resumeProducing()

    def _break_off(self, outcome: Outcome) -> None:
        """Too late for a response of our own: the visitor must see that this one is incomplete."""
        self._drop()
        self._end_unanswered(outcome)
        self.downstream.break_off()

    def _complete(self) -> None:
        """The response is complete."""
        upstream = self.stream
        if self.body_whole and upstream is not None:
            upstream.release()
        else:
            self._drop()
        connector: Any = self.connector
        connector.requests += 1
        if connector.failing:
            self.succeeded()
        self._end(_ANSWERED)
        self.downstream.finish()

    def _drop(self) -> None:
        upstream, self.stream = self.stream, None
        if upstream is not None:
            upstream.stream.unregisterProducer()
            upstream.discard()

    def _end_unanswered(self, outcome: Outcome) -> None:
        """It ends otherwise than with the complete response of its connector."""
        if self.connector is not None:
            self.connector.count(outcome)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self.ended = True
        self._entrypoint.stats.requests[outcome] += 1
        if self._observers:
            # they know the exchange: without this the two would wait for the garbage collector
            observers, self._observers = self._observers, ()
            for observer in observers:
                try:
                    observer.ended(outcome)
                except Exception:
                    _log.failure('request {id} for "{host}": error in an observer', id=self.request_id.decode(), host=self.host)


def _split_port(authority: bytes, host: str) -> tuple[str, int]:
    """The destination in the preface: the host, and the port of the Host field or 80."""
    tail = authority.rpartition(b":")[2]
    if tail.isdigit() and not authority.endswith(b"]"):
        return host, min(int(tail), 65535)
    return host, 80
