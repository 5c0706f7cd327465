"""Streams that a client reads as HTTP: to choose a target by what a visitor speaks or asks for, or to change requests on their way.

A client whose targets have no filter of protocol or path, and which changes no header, comes nowhere near this module.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.dialling import Dialler, no_delay, proxy_header
from rtunnel.client.targets import STREAM_OUTCOMES, ForwardedStream, Forwarder, OpenStream
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.filters import plain_path, protocol_of
from rtunnel.routing.ingress import normalise_host
from rtunnel.settings import ForwardSettings, TargetList
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    ChunkedBody,
    HeadError,
    HeadLimits,
    RequestHead,
    RequestRewrite,
    ResponseHead,
    head_end,
    parse_request,
    parse_response,
    skip_empty_lines,
    write_response,
)
from rtunnel.wire.relay import Response

__all__ = ["HttpForwarder", "needs_http"]

LIMITS = HeadLimits()

_log = Logger()


def needs_http(targets: TargetList, settings: ForwardSettings) -> bool:
    """Whether streams have to be looked into."""
    return settings.rewrites or any(target.filter.path or target.filter.protocol for target in targets.targets)


class HttpForwarder(Forwarder):
    """Takes each stream to a target that is for what comes on it.

    What a stream carries is told by its first bytes. HTTP is followed request by request where the path of a request matters or
    where requests are changed, for a server sends several through one stream; anything else is passed on as it is.
    """

    def __init__(self, *, targets: TargetList, settings: ForwardSettings, **more: Any) -> None:
        super().__init__(targets=targets, settings=settings, **more)
        self.follows = settings.rewrites or any(target.filter.path for target in targets.targets)
        """Whether HTTP is followed."""
        self.rewrite = RequestRewrite(settings.set_host, settings.set_headers, settings.remove_headers)

    def accept(self, stream: TunnelStream) -> None:
        """Forward a stream that the server opened."""
        stream.protocol = SniffingStream(self, stream)


class SniffingStream(ForwardedStream):
    """One stream: its preface is read, then its first bytes until they tell a protocol; and on to a target."""

    __slots__ = ("_read_ended",)

    _forwarder: HttpForwarder

    def __init__(self, forwarder: HttpForwarder, stream: TunnelStream) -> None:
        super().__init__(forwarder, stream)
        self._read_ended = False

    def dataReceived(self, data: bytes) -> None:
        if self._preface is None:
            super().dataReceived(data)
        else:
            self._buffer += data
            self._look()

    def _begin(self, preface: Response, early: bytes) -> None:
        self._buffer = early
        # who waits for the other side to speak first is let through when the time is over
        self._timer = self._forwarder.reactor.callLater(self._forwarder.settings.sniff_timeout, self._tell, "")
        if early:
            self._look()

    def _look(self) -> None:
        protocol = protocol_of(self._buffer)
        if protocol is not None:
            self._tell(protocol)

    def _tell(self, protocol: str) -> None:
        """It is known what the visitor speaks, or too late to wait for it."""
        if self._timer.active():
            self._timer.cancel()
        forwarder, preface = self._forwarder, self._preface
        early, self._buffer = self._buffer, b""
        if preface is None:
            return
        if protocol == "http" and forwarder.follows:
            forwarder.open.discard(self)
            followed = HttpStream(forwarder, self._stream, preface)
            followed.dataReceived(early)
            if self._read_ended:
                followed.readConnectionLost()
            return
        self._forward(forwarder.choose(preface, protocol), early)
        if self._read_ended and self._splice is not None:
            self._splice.near.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The visitor said all it had to say before that told what it speaks."""
        if self._preface is None:
            super().readConnectionLost()
        else:
            self._read_ended = True
            self._tell("")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._give_up(StreamOutcome.BAD_PREFACE if self._preface is None else StreamOutcome.VISITOR_LOST)


class TargetConnection(Protocol):
    """A connection to a target, which carries exchanges one after another; owned by a :class:`HttpStream`."""

    transport: Any

    def __init__(self, stream: HttpStream, dialler: Dialler) -> None:
        self.stream = stream
        self.dialler = dialler

    def dataReceived(self, data: bytes) -> None:
        self.stream.target_data(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.stream.target_lost(self, clean=reason.check(ConnectionDone) is not None)


class _Exchange:
    """A request under way, and its answer.

    :ivar connection: to the target, None while it is dialled.
    :ivar request_left: bytes of the request's body that are to come, when they were counted.
    :ivar request_chunks: where the request's body stands, when it is chunked and goes on.
    :ivar held: the beginning of an answer's head.
    :ivar response: the answer, once its head is here.
    """

    __slots__ = ("answer_chunks", "answer_left", "connection", "head", "held", "keep", "request_chunks", "request_left", "response")

    def __init__(self, head: RequestHead, keep: bool) -> None:
        self.head = head
        self.keep = keep
        self.connection: TargetConnection | None = None
        self.request_left = max(head.body, 0)
        self.request_chunks = ChunkedBody() if head.body == CHUNKED else None
        self.held = b""
        self.response: ResponseHead | None = None
        self.answer_left = 0
        self.answer_chunks: ChunkedBody | None = None

    @property
    def wants_body(self) -> bool:
        """Whether bytes of the visitor still belong to the request."""
        return self.request_left > 0 or self.request_chunks is not None

    def take_body(self, data: bytes) -> int:
        """How many bytes of ``data`` belong to the request.

        :raises HeadError: for a malformed chunk.
        """
        if self.request_chunks is None:
            end = min(self.request_left, len(data))
            self.request_left -= end
            return end
        end = self.request_chunks.feed(data)
        if self.request_chunks.done:
            self.request_chunks = None
        return end


@implementer(IHalfCloseableProtocol)
class HttpStream(OpenStream):
    """A stream that carries HTTP, one exchange after another, each to the target that it is for; ends with one recorded outcome.

    An upgrade makes it a splice with the target that agreed to it. A target that fails before it answered ends the stream without a
    byte, so that the server may ask another connector. A target learns of one visitor in its PROXY header: with one, each stream
    carries a single exchange.
    """

    def __init__(self, forwarder: HttpForwarder, stream: TunnelStream, preface: Response) -> None:
        super().__init__(stream)
        self._forwarder = forwarder
        self._preface = preface
        self._buffer = b""
        self._exchange: _Exchange | None = None
        self._connections: dict[Dialler, TargetConnection] = {}
        self._dialling: Deferred[Any] | None = None
        self._advancing = False
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
        """Whether the target's word is awaited."""
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
        if self._closing is not None:
            return
        self._buffer += data
        self._advance()

    def readConnectionLost(self) -> None:
        """The visitor has no more requests, and waits for the answers of those that it sent."""
        self._read_ended = True
        self._advance()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        whole = self._exchange is None and not self._buffer
        self._closing = self._closing or (StreamOutcome.DONE if whole else StreamOutcome.VISITOR_LOST)
        for connection in list(self._connections.values()):
            if whole:
                connection.transport.loseConnection()
            else:
                # a target must not take half a request for a whole one
                connection.transport.abortConnection()
        if self._dialling is not None:
            self._dialling.cancel()
        self._record(self._closing)

    def _record(self, outcome: StreamOutcome, up: int = 0, down: int = 0) -> None:
        stats = self._forwarder.stats
        self._forwarder.open.discard(self)
        stats.bytes_in += self._up + up
        stats.bytes_out += self._down + down
        stats.record(outcome)

    def _close(self, outcome: StreamOutcome, *, at_once: bool = False) -> None:
        """End the stream, behind what was written unless ``at_once``; connectionLost follows."""
        if self._closing is not None:
            return
        self._closing = outcome
        self._stream.unregisterProducer()
        if at_once:
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
        self._close(outcome)

    # -- requests

    def _advance(self) -> None:
        """Take requests, and their bodies, as far as the bytes go and the one before is answered."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and self._closing is None and self._splice is None:
                exchange = self._exchange
                if exchange is None:
                    if not self._take_head():
                        break
                elif exchange.connection is None or not exchange.wants_body:
                    # the target is dialled, or has the word: nothing more is taken, and no credit returned
                    self._stream.pauseProducing()
                    break
                else:
                    self._take_body(exchange, exchange.connection)
        except HeadError as error:
            self._malformed(error)
        finally:
            self._advancing = False
        if self._read_ended and self._splice is None:
            self._end_with(self._exchange)

    def _end_with(self, exchange: _Exchange | None) -> None:
        """The visitor sends no more: end what it left unfinished, or the stream when all is answered."""
        if exchange is None:
            self._close(StreamOutcome.VISITOR_LOST if self._buffer else StreamOutcome.DONE)
        elif exchange.connection is not None and exchange.wants_body and not self._buffer:
            self._close(StreamOutcome.VISITOR_LOST, at_once=True)

    def _malformed(self, error: HeadError) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.response is not None:
            self._close(StreamOutcome.BAD_REQUEST)
        else:
            self._refuse(error.status, f"Bad request: {error.reason}", StreamOutcome.BAD_REQUEST)

    def _take_head(self) -> bool:
        """Begin an exchange when the head of its request is whole.

        :raises HeadError: when it is none.
        """
        start = skip_empty_lines(self._buffer)
        end = head_end(self._buffer, start, LIMITS) if start < len(self._buffer) else -1
        if end < 0:
            return False
        head = parse_request(self._buffer[start:end])
        self._buffer = self._buffer[end:]
        dialler = self._forwarder.choose_for(normalise_host(head.host), "http", plain_path(head.target))
        if dialler is None:
            self._refuse(
                404, "Not found: no service is for this request", StreamOutcome.NO_TARGET, head_only=head.method == b"HEAD"
            )
            return False
        keep = head.keep_alive and not self._forwarder.settings.proxy_protocol
        self._exchange = _Exchange(head, keep)
        connection = self._connections.get(dialler)
        if connection is not None:
            self._send(connection)
        else:
            self._dial(dialler)
        return True

    def _dial(self, dialler: Dialler) -> None:
        self._stream.pauseProducing()
        dialling = dialler.connect(TargetConnection(self, dialler), lambda: not self._lost)
        self._dialling = dialling
        dialling.addCallbacks(self._connected, self._failed)

    def _failed(self, failure: Failure) -> None:
        self._dialling = None
        if not self._lost:
            self._close(StreamOutcome.TARGET_REFUSED, at_once=True)

    def _connected(self, connection: TargetConnection) -> None:
        self._dialling = None
        if self._closing is not None:
            connection.transport.abortConnection()
            return
        no_delay(connection.transport)
        self._connections[connection.dialler] = connection
        version = self._forwarder.settings.proxy_protocol
        if version:
            connection.transport.write(proxy_header(version, self._preface, connection.transport))
        self._send(connection)
        self._resume()

    def _send(self, connection: TargetConnection) -> None:
        """Send the head of the request; from here on each side slows the other one down."""
        exchange = self._exchange
        if exchange is None:
            return
        exchange.connection = connection
        self._stream.registerProducer(connection.transport, True)
        if exchange.wants_body:
            connection.transport.registerProducer(self._stream, True)
        connection.transport.write(self._forwarder.rewrite.write(exchange.head))

    def _take_body(self, exchange: _Exchange, connection: TargetConnection) -> None:
        end = exchange.take_body(self._buffer)
        part, self._buffer = self._buffer[:end], self._buffer[end:]
        connection.transport.write(part)
        if not exchange.wants_body:
            connection.transport.unregisterProducer()
            # it may have been paused a moment ago, by a target that will not resume it any more
            self._stream.resumeProducing()

    def _resume(self) -> None:
        """Go on with what was read, and with reading."""
        self._advance()
        exchange = self._exchange
        if self._closing is None and (exchange is None or (exchange.connection is not None and not self._buffer)):
            self._stream.resumeProducing()

    # -- answers

    def target_data(self, connection: TargetConnection, data: bytes) -> None:
        """Take bytes of a target."""
        exchange = self._exchange
        self._down += len(data)
        if exchange is None or exchange.connection is not connection or self._closing is not None:
            # a target that speaks without being asked cannot be trusted with the next request
            self._drop(connection)
        elif exchange.response is None:
            self._take_answer(exchange, connection, data)
        else:
            self._take_answer_body(exchange, exchange.response, data)

    def _take_answer(self, exchange: _Exchange, connection: TargetConnection, data: bytes) -> None:
        data = exchange.held + data
        while True:
            try:
                end = head_end(data, 0, LIMITS) if data else -1
                response = parse_response(data[:end], exchange.head.method) if end >= 0 else None
                if response is not None and response.upgrade and not exchange.head.upgrade:
                    raise HeadError(502, "a 101 that nobody asked for")
            except HeadError as error:
                _log.info("the target's answer is malformed: {reason}", reason=error.reason)
                self._close(StreamOutcome.TARGET_LOST)
                return
            if response is None:
                exchange.held = data
                return
            data = data[end:]
            if response.upgrade:
                self._upgrade(response, connection, data)
                return
            if response.status >= 200:
                break
            if exchange.head.minor:
                self._stream.write(write_response(response, minor=1, keep_alive=True, chunked=False))
        self._begin_answer(exchange, response, data)

    def _begin_answer(self, exchange: _Exchange, response: ResponseHead, rest: bytes) -> None:
        exchange.response = response
        minor, chunked = exchange.head.minor, response.body == CHUNKED
        if response.body == UNTIL_CLOSE or (chunked and not minor):
            exchange.keep = False
        if chunked:
            exchange.answer_chunks = ChunkedBody()
        else:
            exchange.answer_left = max(response.body, 0)
        self._stream.write(write_response(response, minor=minor, keep_alive=exchange.keep, chunked=chunked and minor > 0))
        self._take_answer_body(exchange, response, rest)

    def _take_answer_body(self, exchange: _Exchange, response: ResponseHead, data: bytes) -> None:
        if response.body == UNTIL_CLOSE:
            self._stream.write(data)
            return
        if exchange.answer_chunks is None:
            part, end = data[: exchange.answer_left], min(len(data), exchange.answer_left)
            exchange.answer_left -= end
            whole = not exchange.answer_left
        else:
            try:
                if exchange.head.minor:
                    end = exchange.answer_chunks.feed(data)
                    part = data[:end]
                else:
                    part, end = exchange.answer_chunks.decode(data)
            except HeadError as error:
                _log.info("the target's answer is malformed: {reason}", reason=error.reason)
                self._close(StreamOutcome.TARGET_LOST)
                return
            whole = exchange.answer_chunks.done
        if part:
            self._stream.write(part)
        if whole:
            self._complete(exchange, response, clean=end == len(data))

    def _complete(self, exchange: _Exchange, response: ResponseHead, *, clean: bool) -> None:
        """The answer is whole: on to the next request, or to the end of the stream."""
        whole = not exchange.wants_body
        connection = exchange.connection
        self._exchange = None
        self._stream.unregisterProducer()
        if connection is not None and not (clean and whole and response.keep_alive):
            self._drop(connection)
        elif connection is not None:
            # the last piece of the answer may have paused it, and the stream will not resume it any more
            connection.transport.resumeProducing()
        if exchange.keep and whole:
            self._resume()
        else:
            self._close(StreamOutcome.DONE)

    def _upgrade(self, response: ResponseHead, connection: TargetConnection, rest: bytes) -> None:
        """Both sides speak something else from here on: join them."""
        self._exchange = None
        del self._connections[connection.dialler]
        for other in list(self._connections.values()):
            self._drop(other)
        stream, target = self._stream, connection.transport
        stream.write(write_response(response, minor=1, keep_alive=True, chunked=False))
        stream.unregisterProducer()
        target.unregisterProducer()
        splice = self._splice = Splice(self._splice_ended)
        splice.near.attach(stream)
        splice.far.attach(target)
        # both were counted when they came
        splice.near.early = [self._buffer] if self._buffer else []
        splice.far.early = [rest] if rest else []
        splice.near.read_ended = self.read_ended
        splice.last = splice.far
        self._buffer = b""
        stream.resumeProducing()
        splice.join()

    def _splice_ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        self._record(STREAM_OUTCOMES[outcome], up, down)

    def target_lost(self, connection: TargetConnection, *, clean: bool) -> None:
        """The connection to a target is gone."""
        if self._connections.get(connection.dialler) is connection:
            del self._connections[connection.dialler]
        exchange = self._exchange
        if exchange is None or exchange.connection is not connection or self._closing is not None:
            return
        exchange.connection = None
        self._stream.unregisterProducer()
        if clean and exchange.response is not None and exchange.response.body == UNTIL_CLOSE:
            self._complete(exchange, exchange.response, clean=False)
        else:
            # behind what it sent; without a byte when it had not answered yet
            self._close(StreamOutcome.TARGET_LOST)

    def _drop(self, connection: TargetConnection) -> None:
        if self._connections.get(connection.dialler) is connection:
            del self._connections[connection.dialler]
        connection.transport.unregisterProducer()
        connection.transport.abortConnection()
