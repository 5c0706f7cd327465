"""A stream that carries HTTP, read by the client: exchanges one after another, each to the target that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.dialing import Dialer, no_delay, proxy_header
from rtunnel.client.targets import STREAM_OUTCOMES, Forwarder, OpenStream
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.filters import plain_path
from rtunnel.routing.ingress import normalise_host
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    HeadError,
    LocalRewrite,
    RequestHead,
    RequestReader,
    RequestRewrite,
    ResponseHead,
    ResponseReader,
    write_response,
)
from rtunnel.wire.http1_exchange import DATA, END, HEAD, INTERIM, UPGRADE, WHOLE, AnswerSide, Event, RequestSide
from rtunnel.wire.relay import Response

if TYPE_CHECKING:
    # without the library for terminals, as long as nobody watches
    from rtunnel.client.watch import WatchedRequest

__all__ = ["HttpStream", "HttpStreamSettings"]

_log = Logger()


@frozen
class HttpStreamSettings:
    """What the streams of one forwarder share.

    :ivar requests: reads the heads of requests.
    :ivar answers: reads the heads of answers.
    :ivar rewrite: writes requests for the targets.
    :ivar local: by what targets are reached with, how exchanges are translated that are to look local; empty if they are not.
    """

    requests: RequestReader
    answers: ResponseReader
    rewrite: RequestRewrite
    local: Mapping[Dialer, LocalRewrite]


class TargetConnection(Protocol):
    """A connection to a target, which carries exchanges one after another; owned by an :class:`HttpStream`."""

    transport: Any
    used = False
    """Whether it has carried an exchange."""

    def __init__(self, stream: HttpStream, dialer: Dialer, answers: AnswerSide) -> None:
        self.stream = stream
        self.dialer = dialer
        self.answers = answers

    def dataReceived(self, data: bytes) -> None:
        self.stream.target_data(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.stream.target_lost(self, clean=reason.check(ConnectionDone) is not None)


class _Exchange:
    """A request in progress.

    :ivar connection: to its target, None while that is dialed.
    :ivar early: what came of its body meanwhile.
    :ivar keep: whether the stream goes on after it.
    :ivar begun: whether its answer has begun.
    """

    __slots__ = ("begun", "connection", "early", "head", "keep")

    def __init__(self, head: RequestHead, *, keep: bool) -> None:
        self.head = head
        self.keep = keep
        self.connection: TargetConnection | None = None
        self.early: list[bytes] = []
        self.begun = False


@implementer(IHalfCloseableProtocol)
class HttpStream(OpenStream):
    """A stream that carries HTTP; ends with one recorded outcome. It is longer than others because it is one state machine.

    An upgrade makes it a splice with the target that agreed to it. A target that fails before it answered ends the stream without a
    byte, so that the server may ask another connector. A target learns of one visitor in its PROXY header: with one, each stream
    carries a single exchange.
    """

    def __init__(self, forwarder: Forwarder, settings: HttpStreamSettings, stream: TunnelStream, preface: Response) -> None:
        super().__init__(stream)
        self._forwarder = forwarder
        self._settings = settings
        self._preface = preface
        self._requests = RequestSide(settings.requests)
        self._exchange: _Exchange | None = None
        self._watched: WatchedRequest | None = None
        self._connections: dict[Dialer, TargetConnection] = {}
        self._dialing: Deferred[Any] | None = None
        self._processing = False
        self._closing: StreamOutcome | None = None
        self._lost = False
        self._read_ended = False
        self._up = self._down = 0
        stream.protocol = self
        forwarder.open.add(self)

    # -- what the forwarder asks of a stream

    @property
    def moved(self) -> int:
        """Bytes passed so far, both ways."""
        return self._up + self._down + super().moved

    @property
    def unanswered(self) -> bool:
        """Whether the target is to say something."""
        splice = self._splice
        return splice.last is splice.near if splice is not None else self._exchange is not None

    @property
    def read_ended(self) -> bool:
        """Whether the server ended its direction."""
        return self._read_ended or super().read_ended

    def abort(self) -> None:
        """Give the stream up."""
        if self._splice is not None:
            self._splice.abort()
        else:
            self._close(StreamOutcome.VISITOR_LOST, at_once=True)

    # -- the visitor's side

    def dataReceived(self, data: bytes) -> None:
        self._up += len(data)
        if self._closing is None:
            self._process(self._requests.receive(data))

    def readConnectionLost(self) -> None:
        """The visitor has no more requests, and waits for the answers to those that it sent."""
        self._read_ended = True
        self._end_requests()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        whole = self._exchange is None and not self._requests.buffered
        self._closing = self._closing or (StreamOutcome.DONE if whole else StreamOutcome.VISITOR_LOST)
        for connection in list(self._connections.values()):
            if whole:
                connection.transport.loseConnection()
            else:
                # a target must not take half a request for a whole one
                connection.transport.abortConnection()
        if self._dialing is not None:
            self._dialing.cancel()
        self._record(self._closing)

    def _record(self, outcome: StreamOutcome, up: int = 0, down: int = 0) -> None:
        stats = self._forwarder.stats
        self._forwarder.open.discard(self)
        stats.bytes_in += self._up + up
        stats.bytes_out += self._down + down
        stats.record(outcome)
        if self._watched is not None:
            self._watched.failed(outcome)
            self._watched = None

    def _close(self, outcome: StreamOutcome, *, at_once: bool = False, undelivered: bool = False) -> None:
        """End the stream, after what was written unless ``at_once``; connectionLost follows.

        :param undelivered: whether the target got nothing of the request; then it may be sent elsewhere.
        """
        if self._closing is not None:
            return
        self._closing = outcome
        self._stream.unregisterProducer()
        if undelivered:
            self._stream.refuse()
        elif at_once:
            self._stream.abortConnection()
        else:
            self._stream.loseConnection()

    def _refuse(self, status: int, text: str, outcome: StreamOutcome, *, head_only: bool = False) -> None:
        """Answer ourselves, and end the stream."""
        body = b"" if head_only else f"{text}\n".encode()
        lines = (
            f"HTTP/1.1 {status} {text.partition(':')[0]}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(text) + 1}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        self._stream.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if self._watched is not None:
            self._watched.refused(status)
            self._watched = None
        self._close(outcome)

    # -- requests

    def _process(self, events: list[Event]) -> None:
        """Take requests and their bodies, one request after another."""
        self._processing = True
        for kind, head, data in events:
            if self._closing is not None:
                break
            if kind == HEAD:
                self._begin(head)
            elif kind == DATA:
                self._send_body(data)
            elif kind == END:
                self._body_ended()
            else:
                self._malformed(head)
        self._processing = False
        exchange = self._exchange
        if exchange is not None and (exchange.connection is None or self._requests.buffered):
            # the target is dialed, or is to answer: nothing more is taken, and no credit returned
            self._stream.pauseProducing()
        if self._read_ended:
            self._end_requests()

    def _end_requests(self) -> None:
        """The visitor sends no more: end what it left unfinished, or the stream when all is answered."""
        exchange = self._exchange
        if self._splice is not None:
            return
        if exchange is None:
            self._close(StreamOutcome.VISITOR_LOST if self._requests.buffered else StreamOutcome.DONE)
        elif exchange.connection is not None and not self._requests.whole:
            self._close(StreamOutcome.VISITOR_LOST, at_once=True)

    def _malformed(self, error: HeadError) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.begun:
            self._close(StreamOutcome.BAD_REQUEST)
        else:
            self._refuse(error.status, f"Bad request: {error.reason}", StreamOutcome.BAD_REQUEST)

    def _begin(self, head: RequestHead) -> None:
        watch = self._forwarder.watch
        if watch is not None:
            self._watched = watch.request(head)
        dialer = self._forwarder.choose_for(normalise_host(head.host), "http", plain_path(head.target))
        if dialer is None:
            text = "Not found: no service is for this request"
            self._refuse(404, text, StreamOutcome.NO_TARGET, head_only=head.method == b"HEAD")
            return
        self._exchange = _Exchange(head, keep=head.keep_alive and not self._forwarder.settings.proxy_protocol)
        connection = self._connections.get(dialer)
        if connection is not None and not dialer.reuse:
            self._drop(connection)
            connection = None
        if connection is not None:
            self._send(self._exchange, connection)
        else:
            connection = TargetConnection(self, dialer, AnswerSide(self._settings.answers))
            self._dialing = dialing = dialer.connect(connection, lambda: not self._lost)
            dialing.addCallbacks(self._connected, self._failed)

    def _failed(self, failure: Failure) -> None:
        self._dialing = None
        if not self._lost:
            self._close(StreamOutcome.TARGET_REFUSED, undelivered=True)

    def _connected(self, connection: TargetConnection) -> None:
        self._dialing = None
        exchange = self._exchange
        if self._closing is not None or exchange is None:
            connection.transport.abortConnection()
            return
        no_delay(connection.transport)
        self._connections[connection.dialer] = connection
        version = self._forwarder.settings.proxy_protocol
        if version:
            connection.transport.write(proxy_header(version, self._preface, connection.transport))
        self._send(exchange, connection)
        if self._read_ended:
            self._end_requests()
        self._resume()

    def _send(self, exchange: _Exchange, connection: TargetConnection) -> None:
        """Send what there is of the request; from here on each side slows the other one down."""
        exchange.connection = connection
        connection.answers.expect(exchange.head)
        self._stream.registerProducer(connection.transport, True)
        if exchange.head.body:
            connection.transport.registerProducer(self._stream, True)
        local = self._settings.local.get(connection.dialer)
        head = exchange.head if local is None else local.request(exchange.head)
        connection.transport.write(b"".join((self._settings.rewrite.write(head), *exchange.early)))
        exchange.early = []
        if exchange.head.body and self._requests.whole and not self._processing:
            self._body_ended()

    def _resume(self) -> None:
        """Read on, unless what comes next would have to wait."""
        exchange = self._exchange
        if self._closing is None and (exchange is None or (exchange.connection is not None and not self._requests.buffered)):
            self._stream.resumeProducing()

    def _send_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.connection is None:
            exchange.early.append(data)
        else:
            exchange.connection.transport.write(data)

    def _body_ended(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.connection is not None:
            exchange.connection.transport.unregisterProducer()
            # it may just have been paused, by a target that will not resume it any more
            self._stream.resumeProducing()

    # -- answers

    def target_data(self, connection: TargetConnection, data: bytes) -> None:
        """Take bytes of a target."""
        exchange = self._exchange
        self._down += len(data)
        if exchange is None or exchange.connection is not connection or self._closing is not None:
            # a target that speaks without being asked cannot be trusted with the next request
            if self._closing is None:
                connection.dialer.stop_reuse()
            self._drop(connection)
            return
        for kind, head, piece in connection.answers.receive(data):
            if kind in (WHOLE, HEAD):
                self._begin_answer(exchange, self._for_visitor(head, exchange, connection), piece)
            elif kind == DATA:
                self._stream.write(piece)
            elif kind == INTERIM:
                if exchange.head.minor:
                    self._stream.write(write_response(head, 1, keep_alive=True, chunked=False))
            elif kind == UPGRADE:
                self._upgrade(self._for_visitor(head, exchange, connection), connection, piece)
            elif kind != END:
                _log.info("the target's answer is malformed: {reason}", reason=head.reason)
                if connection.used and not exchange.begun and connection.answers.surplus:
                    # what it sent beyond its last answer; the server sends the request again, if it may
                    connection.dialer.stop_reuse()
                self._close(StreamOutcome.TARGET_LOST)
            if kind in (WHOLE, END):
                self._complete(exchange)

    def _for_visitor(self, head: ResponseHead, exchange: _Exchange, connection: TargetConnection) -> ResponseHead:
        local = self._settings.local.get(connection.dialer)
        return head if local is None else local.response(head, exchange.head)

    def _begin_answer(self, exchange: _Exchange, head: ResponseHead, data: bytes) -> None:
        exchange.begun = True
        if self._watched is not None:
            self._watched.answered(head)
        minor, chunked = exchange.head.minor, head.body == CHUNKED
        if head.body == UNTIL_CLOSE or (chunked and not minor):
            exchange.keep = False
        self._stream.write(write_response(head, minor, exchange.keep, chunked and minor > 0) + data)

    def _complete(self, exchange: _Exchange) -> None:
        """The answer is whole: on to the next request, or to the end of the stream."""
        whole = self._requests.whole
        connection = exchange.connection
        self._exchange = None
        if self._watched is not None:
            self._watched.complete()
            self._watched = None
        self._stream.unregisterProducer()
        if connection is not None:
            if connection.answers.surplus:
                connection.dialer.stop_reuse()
            if whole and connection.answers.reusable and connection.dialer.reuse:
                connection.used = True
                # the last piece of the answer may have paused it, and the stream will not resume it any more
                connection.transport.resumeProducing()
            else:
                self._drop(connection)
        if not (exchange.keep and whole):
            self._close(StreamOutcome.DONE)
            return
        self._process(self._requests.next())
        self._resume()

    def _upgrade(self, head: ResponseHead, connection: TargetConnection, rest: bytes) -> None:
        """Both sides speak something else from here on: join them."""
        self._exchange = None
        if self._watched is not None:
            self._watched.switched(head)
            self._watched = None
        del self._connections[connection.dialer]
        for other in list(self._connections.values()):
            self._drop(other)
        stream, target = self._stream, connection.transport
        stream.write(write_response(head, 1, keep_alive=True, chunked=False))
        stream.unregisterProducer()
        target.unregisterProducer()
        early = self._requests.detach()
        splice = self._splice = Splice(self._splice_ended)
        splice.near.attach(stream)
        splice.far.attach(target)
        # both were counted when they came
        splice.near.early = [early] if early else []
        splice.far.early = [rest] if rest else []
        splice.near.read_ended = self.read_ended
        splice.last = splice.far
        stream.resumeProducing()
        splice.join()

    def _splice_ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        self._record(STREAM_OUTCOMES[outcome], up, down)

    def target_lost(self, connection: TargetConnection, *, clean: bool) -> None:
        """The connection to a target is gone."""
        if self._connections.get(connection.dialer) is connection:
            del self._connections[connection.dialer]
        exchange = self._exchange
        if exchange is None or exchange.connection is not connection or self._closing is not None:
            return
        exchange.connection = None
        self._stream.unregisterProducer()
        if connection.answers.ended() and clean:
            self._complete(exchange)
        else:
            # after what it sent; without a byte when it had not answered yet
            self._stream.mark_broken()
            self._close(StreamOutcome.TARGET_LOST)

    def _drop(self, connection: TargetConnection) -> None:
        if self._connections.get(connection.dialer) is connection:
            del self._connections[connection.dialer]
        connection.transport.unregisterProducer()
        connection.transport.abortConnection()
