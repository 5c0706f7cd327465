"""One HTTP request and its answer: the way from a visitor through a connector and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from rtunnel.ops.metrics import Outcome
from rtunnel.routing.tunnels import Connector
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.server.upstream import Upstream, UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    ChunkedBody,
    HeadError,
    RequestHead,
    ResponseHead,
    write_request,
    write_response,
)
from rtunnel.wire.relay import RelayAddress, stream_preface

if TYPE_CHECKING:
    from rtunnel.server.entrypoint.http import HttpEntrypoint, HttpVisitor

__all__ = ["Exchange"]

_log = Logger()


class Exchange:
    """A request under way; owned by its visitor's connection, ends with one call of :meth:`_end` and one recorded outcome.

    It chooses a connector, sends the request on a stream of it, and passes the answer back. **The first byte of the answer is the
    point of no return**: before it, a connector that fails is replaced by another one, if the request may be sent again
    (:meth:`_may_resend`); after it, the visitor sees the connection break off.
    """

    __slots__ = (
        "_answer_begun",
        "_answer_body",
        "_answer_left",
        "_body",
        "_body_left",
        "_connector",
        "_entrypoint",
        "_failed",
        "_held",
        "_keep",
        "_replay",
        "_replay_size",
        "_request_id",
        "_response",
        "_sent",
        "_upstream",
        "_visitor",
        "ended",
        "head",
    )

    def __init__(self, visitor: HttpVisitor, entrypoint: HttpEntrypoint, head: RequestHead, request_id: bytes) -> None:
        self.head = head
        self.ended = False
        self._visitor = visitor
        self._entrypoint = entrypoint
        self._request_id = request_id
        self._keep = head.keep_alive
        self._connector: Connector[UpstreamPool] | None = None
        self._upstream: Upstream | None = None
        self._failed: list[Connector[UpstreamPool]] | None = None
        # the request's body: bytes still to come, or the chunks
        self._body_left = head.body if head.body > 0 else 0
        self._body = ChunkedBody() if head.body == CHUNKED else None
        # the request as it was sent, as long as it may be sent again
        self._sent: bytes = b""
        self._replay: list[bytes] | None = None
        self._replay_size = 0
        # the answer
        self._held = b""
        self._response: ResponseHead | None = None
        self._answer_begun = False
        self._answer_left = 0
        self._answer_body: ChunkedBody | None = None

    # -- the request

    @property
    def wants_body(self) -> bool:
        """Whether bytes of the visitor still belong to this request."""
        return self._body_left > 0 or self._body is not None

    def start(self, forwarding: bytes) -> None:
        """Route the request and send its head.

        :param forwarding: header lines for the target, from :class:`~rtunnel.server.entrypoint.forwarding.Forwarding`.
        """
        rule = self._entrypoint.table.lookup(self.head.host)
        if rule is None or rule.private:
            self.refuse(404, Outcome.UNKNOWN_HOST)
            return
        self._sent = write_request(self.head, forwarding)
        if self.head.idempotent:
            self._replay = [self._sent]
        self._attempt(rule.tunnel)

    def _attempt(self, tunnel: Any) -> None:
        """Send what there is of the request to a connector that did not fail yet."""
        upstream = self._next_upstream(tunnel)
        if upstream is None:
            if self._failed:
                self.refuse(502, Outcome.TARGET_FAILED)
            else:
                self.refuse(503, Outcome.NO_CONNECTOR)
            return
        self._upstream = upstream
        upstream.exchange = self
        stream = upstream.stream
        data = self._sent if self._replay is None or len(self._replay) == 1 else b"".join(self._replay)
        if not upstream.used:
            data = self._preface() + data
        if self._visitor.write_paused:
            stream.pauseProducing()
        if self.wants_body:
            stream.registerProducer(self._visitor.body_source, True)
        stream.write(data)
        self._visitor.deadline = self._request_deadline()

    def _next_upstream(self, tunnel: Any) -> Upstream | None:
        """Take a free stream of a chosen connector or open one.

        A free stream may have been closed by its target a moment ago, which shows only after sending. So a request that may not be
        sent twice gets a fresh one.
        """
        host = self.head.host
        while True:
            connector = self._entrypoint.registry.choose(tunnel, self._failed or ())
            if connector is None:
                return None
            self._connector = connector
            pool = connector.link
            upstream = pool.take(host) if self._replay is not None else None
            if upstream is not None:
                return upstream
            try:
                upstream = pool.open(host)
            except LinkClosed:
                self._mark_failed(connector)
                continue
            connector.streams += 1
            self._entrypoint.stats.streams_total += 1
            return upstream

    def _mark_failed(self, connector: Connector[UpstreamPool]) -> None:
        if self._failed is None:
            self._failed = []
        self._failed.append(connector)

    def _preface(self) -> bytes:
        """What a client reads at the head of a new stream: who visits, and what was asked for."""
        peer = self._visitor.peer
        host, port = _split_port(self.head.authority, self.head.host)
        return stream_preface(RelayAddress(peer.host, peer.port), RelayAddress(host, port))

    def _request_deadline(self) -> float:
        entrypoint = self._entrypoint
        if self.wants_body:
            return entrypoint.deadlines.now + entrypoint.settings.idle_timeout
        if self.head.upgrade or not entrypoint.settings.response_timeout:
            return NEVER
        return entrypoint.deadlines.now + entrypoint.settings.response_timeout

    def request_data(self, data: bytes) -> bytes:
        """Take bytes of the visitor; returns those that come after this request.

        :raises HeadError: for a malformed chunk.
        """
        if self._body is not None:
            end = self._body.feed(data)
            if self._body.done:
                self._body = None
        else:
            end = min(self._body_left, len(data))
            self._body_left -= end
        part, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._replay is not None:
            self._keep_for_replay(part)
        if self._upstream is not None:
            self._upstream.stream.write(part)
            if not self.wants_body:
                self._upstream.stream.unregisterProducer()
        if not self._answer_begun:
            self._visitor.deadline = self._request_deadline()
        return rest

    def _keep_for_replay(self, part: bytes) -> None:
        self._replay_size += len(part)
        if self._answer_begun or self._replay_size > self._entrypoint.settings.replay_bytes:
            self._replay = None
        elif self._replay is not None:
            self._replay.append(part)

    # -- the answer

    def upstream_data(self, data: bytes) -> None:
        """Take bytes of the target."""
        if self._response is None:
            self._answer_head(data)
        else:
            self._answer_data(data)

    def _answer_head(self, data: bytes) -> None:
        if self._upstream is None:
            return
        self._answer_begun = True
        self._replay = None
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            read = self._upstream.pool.reader.read(data, self.head.method)
        except HeadError as error:
            _log.info(
                "request {id}: the target's answer is malformed: {reason}",
                id=self._request_id.decode(),
                reason=error.reason,
            )
            self.refuse(502, Outcome.TARGET_FAILED)
            return
        if read is None:
            self._held = data
            return
        response, end = read
        rest = data[end:]
        if response.status < 200:
            self._interim(response, rest)
        else:
            self._begin_answer(response, rest)

    def _interim(self, response: ResponseHead, rest: bytes) -> None:
        """1xx: 101 ends HTTP on this connection, any other is passed on, and the answer is still to come."""
        if response.status == 101:
            if not self.head.upgrade:
                self.refuse(502, Outcome.TARGET_FAILED)
                return
            self._upgrade(response, rest)
            return
        if self.head.minor:
            self._visitor.write(write_response(response, minor=1, keep_alive=True, chunked=False))
        if rest:
            self._answer_head(rest)

    def _begin_answer(self, response: ResponseHead, rest: bytes) -> None:
        self._response = response
        self._visitor.deadline = NEVER
        minor = self.head.minor
        chunked = response.body == CHUNKED
        if response.body == UNTIL_CLOSE or (chunked and not minor) or self._entrypoint.draining:
            self._keep = False
        head = write_response(response, minor=minor, keep_alive=self._keep, chunked=chunked and minor > 0)
        if chunked:
            self._answer_body = ChunkedBody()
        elif response.body >= 0:
            left = response.body
            if len(rest) == left:
                # the common case: the whole answer came in one piece
                self._visitor.write(head + rest if rest else head)
                self._complete(clean=True)
                return
            self._answer_left = left
        self._answer_data(rest, head)

    def _answer_data(self, data: bytes, head: bytes = b"") -> None:
        """Pass on bytes of the body, after the head if it has not been written yet."""
        if self._answer_body is not None:
            self._answer_chunks(data, head, self._answer_body)
            return
        if self._response is not None and self._response.body == UNTIL_CLOSE:
            self._visitor.write(head + data)
            return
        size = len(data)
        excess = size - self._answer_left
        if excess > 0:
            data = data[: self._answer_left]
            size = self._answer_left
        self._answer_left -= size
        self._visitor.write(head + data if head else data)
        if not self._answer_left:
            self._complete(clean=excess <= 0)

    def _answer_chunks(self, data: bytes, head: bytes, body: ChunkedBody) -> None:
        try:
            if self.head.minor:
                end = body.feed(data)
                part = data if end == len(data) else data[:end]
            else:
                part, end = body.decode(data, 0)
        except HeadError as error:
            _log.info("request {id}: {reason}", id=self._request_id.decode(), reason=error.reason)
            if head:
                self.refuse(502, Outcome.TARGET_FAILED)
            else:
                self._break_off(Outcome.ABORTED)
            return
        if head or part:
            self._visitor.write(head + part)
        if body.done:
            self._complete(clean=end == len(data))

    def _upgrade(self, response: ResponseHead, rest: bytes) -> None:
        """Both sides speak something else from here on: join them."""
        upstream, visitor = self._upstream, self._visitor
        if upstream is None:
            return
        visitor.write(write_response(response, minor=1, keep_alive=True, chunked=False))
        entrypoint = self._entrypoint
        self._upstream = None
        self._end(Outcome.UPGRADED)

        def ended(outcome: SpliceOutcome, up: int, down: int) -> None:
            entrypoint.splices.discard(splice)
            entrypoint.stats.bytes_in += up
            entrypoint.stats.bytes_out += down

        splice = Splice(ended)
        entrypoint.splices.add(splice)
        stream = upstream.stream
        upstream.exchange = None
        early = visitor.hand_over()
        stream.unregisterProducer()
        splice.near.attach(visitor.transport)
        splice.far.attach(stream)
        # counted already when it came
        splice.near.early = [early] if early else []
        if rest:
            splice.far.dataReceived(rest)
        stream.resumeProducing()
        splice.join()

    # -- failures

    def upstream_ended(self) -> None:
        """The stream ended: the answer is complete, or the connector failed."""
        upstream, self._upstream = self._upstream, None
        if self.ended or upstream is None:
            return
        upstream.discard()
        if self._response is not None:
            if self._response.body == UNTIL_CLOSE:
                self._complete(clean=False)
            else:
                self._break_off(Outcome.ABORTED)
        elif self._answer_begun:
            self.refuse(502, Outcome.TARGET_FAILED)
        else:
            self._failed_before_answer(upstream)

    def _failed_before_answer(self, upstream: Upstream) -> None:
        connector = self._connector
        if connector is None or not self._may_resend():
            self.refuse(502, Outcome.TARGET_FAILED)
            return
        if not upstream.used:
            # a free stream that was closed while it waited says nothing about its connector
            self._mark_failed(connector)
        self._entrypoint.stats.retries_total += 1
        self._attempt(connector.tunnel)

    def _may_resend(self) -> bool:
        """Whether the request may be sent again: all of it is still here, and twice is as good as once (RFC 9110 9.2.2)."""
        return self._replay is not None and not self._answer_begun

    def refuse(self, status: int, outcome: Outcome) -> None:
        """Answer ourselves, instead of a target."""
        if self.ended:
            return
        self._drop_upstream()
        keep = self._keep and not self.wants_body and not self._entrypoint.draining
        self._visitor.write(
            own_answer(
                status,
                request_id=self._request_id,
                accept=self.head.accept,
                head_only=self.head.method == b"HEAD",
                close=not keep,
            )
        )
        self._end(outcome)
        self._visitor.exchange_done(keep=keep)

    def timed_out(self) -> None:
        """The visitor stalled in its body, or the target did not begin to answer."""
        if self._answer_begun and self._response is not None:
            return
        if self.wants_body and not self._visitor.read_paused:
            self._keep = False
            self.refuse(408, Outcome.REQUEST_TIMEOUT)
        else:
            self.refuse(504, Outcome.RESPONSE_TIMEOUT)

    def bad_body(self, error: HeadError) -> None:
        """The request's body is malformed: what it means is unknown, so nothing after it is read."""
        self._keep = False
        if self._response is not None:
            self._break_off(Outcome.BAD_REQUEST)
        else:
            self.refuse(error.status, Outcome.BAD_REQUEST)

    def abort(self) -> None:
        """The visitor is gone: its stream is freed at once."""
        if self.ended:
            return
        self._drop_upstream()
        self._end(Outcome.VISITOR_GONE)

    def pause(self) -> None:
        """The visitor is behind."""
        if self._upstream is not None:
            self._upstream.stream.pauseProducing()

    def resume(self) -> None:
        """The visitor caught up."""
        if self._upstream is not None:
            self._upstream.stream.resumeProducing()

    # -- ends

    def _break_off(self, outcome: Outcome) -> None:
        """Too late for an answer of our own: the visitor must see that this one is not whole."""
        self._drop_upstream()
        self._end(outcome)
        self._visitor.break_off()

    def _complete(self, *, clean: bool) -> None:
        """The answer is whole."""
        upstream, self._upstream = self._upstream, None
        whole = not self.wants_body
        if upstream is not None:
            if clean and whole and self._response is not None and self._response.keep_alive:
                upstream.release()
            else:
                upstream.stream.unregisterProducer()
                upstream.discard()
        self._end(Outcome.ANSWERED)
        self._visitor.exchange_done(keep=self._keep and whole)

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.stream.unregisterProducer()
            upstream.discard()

    def _end(self, outcome: Outcome) -> None:
        self.ended = True
        if self._connector is not None:
            self._connector.requests += 1
        self._entrypoint.stats.record(outcome)


def _split_port(authority: bytes, host: str) -> tuple[str, int]:
    """The destination that a client is told: the host, and the port of the Host field or 80."""
    tail = authority.rpartition(b":")[2]
    if tail.isdigit() and not authority.endswith(b"]"):
        return host, min(int(tail), 65535)
    return host, 80
