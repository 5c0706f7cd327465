"""One HTTP request and its answer: the way from a visitor through a connector and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from twisted.logger import Logger

from rtunnel.outcomes import Outcome
from rtunnel.routing.tunnels import Connector
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.server.entrypoint.forwarding import passed_id
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
    accepted,
    write_request,
    write_response,
)
from rtunnel.wire.relay import RelayAddress, stream_preface

if TYPE_CHECKING:
    from rtunnel.server.entrypoint.http import Entrypoint, HttpVisitor

__all__ = ["Exchange"]

_log = Logger()

_ANSWERED: Final = Outcome.ANSWERED  # a member of an Enum costs a call each time it is named, before Python 3.12


class Exchange:
    """A request under way; owned by its visitor's connection, ends with one call of :meth:`_end` and one recorded outcome.

    It chooses a connector, sends the request on a stream of it, and passes the answer back. **The first byte of the answer is the
    point of no return**: before it, a connector that fails is replaced by another one, if the request may be sent again
    (:meth:`_may_resend`); after it, the visitor sees the connection break off.
    """

    # what most exchanges never come to need stands here and not in each of them
    observed = False
    """Whether a subclass looks at what is written and how it ends."""
    ended = False
    method = b"GET"
    _minor = 1
    _head: RequestHead | None = None
    _keep = True
    _connector: Connector[UpstreamPool] | None = None
    _upstream: Upstream | None = None
    _failed: list[Connector[UpstreamPool]] | None = None
    # the request's body: bytes still to come, or the chunks
    _body_left = 0
    _body: ChunkedBody | None = None
    # whether the request may be sent again, and what was sent of its body as long as it may
    _resendable = True
    _body_sent: list[bytes] | None = None
    _body_sent_size = 0
    # the answer: whether it may pass as it came, how its body ends (None before its head), whether the target goes on behind it,
    # and what is left of it
    _may_pass = True
    _answer_begun = False
    _held = b""
    _framing: int | None = None
    _target_stays = True
    _answer_left = 0
    _answer_body: ChunkedBody | None = None

    _request_id = b""
    _sent = b""

    def __init__(self, visitor: HttpVisitor, entrypoint: Entrypoint, authority: bytes, host: str) -> None:
        self.authority = authority
        self.host = host
        self._visitor = visitor
        self._entrypoint = entrypoint

    # -- the request

    @property
    def wants_body(self) -> bool:
        """Whether bytes of the visitor still belong to this request."""
        return self._body_left > 0 or self._body is not None

    @property
    def target(self) -> bytes:
        """What was asked for, in origin-form."""
        return self._sent.split(b" ", 2)[1] if self._head is None else self._head.target

    @property
    def request_id(self) -> bytes:
        """What the request is called in X-Request-Id, in logs and in our own answers."""
        return self._request_id or passed_id(self._sent)

    def start(self, head: RequestHead, request_id: bytes, forwarding: bytes) -> None:
        """Route the request and send its head.

        :param forwarding: header lines for the target, from :class:`~rtunnel.server.entrypoint.forwarding.Forwarding`.
        """
        self._head = head
        self._request_id = request_id
        self.method = head.method
        self._minor = head.minor
        self._keep = head.keep_alive
        if head.body == CHUNKED:
            self._body = ChunkedBody()
        else:
            self._body_left = head.body
        self._sent = write_request(head, forwarding)
        self._resendable = head.idempotent
        self._may_pass = head.keep_alive and head.minor == 1 and head.method != b"HEAD"
        self._route()

    def pass_on(self, request: bytes) -> None:
        """The same for a GET request that passes as it came (:meth:`~rtunnel.wire.http1.RequestReader.passing`).

        :param request: ready, from :meth:`~rtunnel.server.entrypoint.forwarding.Forwarding.passing`.
        """
        self._sent = request
        self._route()

    def _route(self) -> None:
        rule = self._entrypoint.table.lookup(self.host)
        if rule is None or rule.private:
            self.refuse(404, Outcome.UNKNOWN_HOST)
        else:
            self._attempt(rule.tunnel)

    def _attempt(self, tunnel: UUID) -> None:
        """Send what there is of the request to a connector that did not fail yet.

        A free stream may have been closed by its target a moment ago, which shows only after sending. So a request that may not be
        sent twice gets one that has just been in use, which keep-alive limits of a second and more leave open, or a fresh one.
        """
        entrypoint = self._entrypoint
        connector = entrypoint.registry.choose(tunnel, self._failed)
        upstream = None
        if connector is not None:
            pool = connector.link
            upstream = pool.take(self.host) if self._resendable else pool.take_warm(self.host)
        if upstream is None:
            connector, upstream = self._open_upstream(tunnel, connector)
            if upstream is None:
                if self._failed:
                    self.refuse(502, Outcome.TARGET_FAILED)
                else:
                    entrypoint.stats.labelled.count_unrouted(tunnel, Outcome.NO_CONNECTOR)
                    self.refuse(503, Outcome.NO_CONNECTOR)
                return
        self._connector = connector
        self._upstream = upstream
        upstream.exchange = self
        stream = upstream.stream
        data = self._sent
        if self._body_sent is not None:
            data = b"".join((data, *self._body_sent))
        if not upstream.used:
            data = self._preface() + data
        visitor = self._visitor
        if visitor.write_paused:
            stream.pauseProducing()
        if self._body_left or self._body is not None:
            stream.registerProducer(visitor.body_source, True)
        stream.write(data)
        if self._head is None:
            visitor.deadline = entrypoint.deadlines.now + entrypoint.response_limit
        else:
            visitor.deadline = self._request_deadline(self._head)

    def _open_upstream(
        self, tunnel: UUID, connector: Connector[UpstreamPool] | None
    ) -> tuple[Connector[UpstreamPool] | None, Upstream | None]:
        """Open a stream of the connector that was chosen, or of another one when its link is closing."""
        while connector is not None:
            try:
                upstream = connector.link.open(self.host)
            except LinkClosed:
                self._mark_failed(connector)
                connector = self._entrypoint.registry.choose(tunnel, self._failed)
                continue
            connector.streams += 1
            self._entrypoint.stats.streams_total += 1
            return connector, upstream
        return None, None

    def _mark_failed(self, connector: Connector[UpstreamPool]) -> None:
        if self._failed is None:
            self._failed = []
        self._failed.append(connector)

    def _preface(self) -> bytes:
        """What a client reads at the head of a new stream: who visits, and what was asked for."""
        peer = self._visitor.peer
        host, port = _split_port(self.authority, self.host)
        return stream_preface(RelayAddress(peer.host, peer.port), RelayAddress(host, port))

    def _request_deadline(self, head: RequestHead) -> float:
        entrypoint = self._entrypoint
        if self.wants_body:
            return entrypoint.deadlines.now + entrypoint.settings.idle_timeout
        return NEVER if head.upgrade else entrypoint.deadlines.now + entrypoint.response_limit

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
        if self._resendable:
            self._keep_for_resend(part)
        if self._upstream is not None:
            self._upstream.stream.write(part)
            if not self.wants_body:
                self._upstream.stream.unregisterProducer()
        if not self._answer_begun and self._head is not None:
            self._visitor.deadline = self._request_deadline(self._head)
        return rest

    def _keep_for_resend(self, part: bytes) -> None:
        self._body_sent_size += len(part)
        if self._answer_begun or self._body_sent_size > self._entrypoint.settings.retry_buffer_bytes:
            self._send_no_more()
        elif self._body_sent is None:
            self._body_sent = [part]
        else:
            self._body_sent.append(part)

    def _send_no_more(self) -> None:
        """The request will not be sent again."""
        self._resendable = False
        self._body_sent = None

    # -- the answer

    def upstream_data(self, data: bytes) -> None:
        """Take bytes of the target. Most answers come whole and may pass as they came: nothing of them is taken apart then."""
        if self._framing is not None:
            self._answer_data(data)
            return
        upstream = self._upstream
        if upstream is None:
            return
        found = upstream.pool.reader.passing(data) if self._may_pass and not self._entrypoint.draining else None
        if found is None:
            self._answer_head(data, upstream)
            return
        end, length = found
        if length != len(data) - end or self._head is not None or self.observed:
            self._pass_answer(data, end, length)
            return
        # the common case of _pass_answer() and _complete(), without a call in between
        visitor = self._visitor
        stats = self._entrypoint.stats
        stats.bytes_out += len(data)
        visitor.transport.write(data)
        self.ended = True
        self._upstream = None
        upstream.release()
        if self._connector is not None:
            self._connector.requests += 1
        stats.requests[_ANSWERED] += 1
        visitor.answered()

    def _pass_answer(self, data: bytes, end: int, length: int) -> None:
        """Pass an answer on whose head may pass as it came, and whose body is not all there is."""
        self._answer_begun = True
        self._send_no_more()
        self._visitor.deadline = NEVER
        self._framing = self._answer_left = length
        self._answer_data(data[end:], data[:end])

    def _answer_head(self, data: bytes, upstream: Upstream) -> None:
        self._answer_begun = True
        self._may_pass = False
        self._send_no_more()
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            read = upstream.pool.reader.read(data, self.method)
        except HeadError as error:
            _log.info(
                "request {id}: the target's answer is malformed: {reason}",
                id=self.request_id.decode(),
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
            self._interim(response, rest, upstream)
        else:
            self._begin_answer(response, rest)

    def _interim(self, response: ResponseHead, rest: bytes, upstream: Upstream) -> None:
        """1xx: 101 ends HTTP on this connection, any other is passed on, and the answer is still to come."""
        if response.status == 101:
            if self._head is None or not self._head.upgrade:
                self.refuse(502, Outcome.TARGET_FAILED)
                return
            self._upgrade(response, rest)
            return
        if self._minor:
            self._visitor.write(write_response(response, minor=1, keep_alive=True, chunked=False))
        if rest:
            self._answer_head(rest, upstream)

    def _begin_answer(self, response: ResponseHead, rest: bytes) -> None:
        body = self._framing = response.body
        self._target_stays = response.keep_alive
        self._visitor.deadline = NEVER
        minor = self._minor
        chunked = body == CHUNKED
        if body == UNTIL_CLOSE or (chunked and not minor) or self._entrypoint.draining:
            self._keep = False
        head = write_response(response, minor=minor, keep_alive=self._keep, chunked=chunked and minor > 0)
        if chunked:
            self._answer_body = ChunkedBody()
        elif body >= 0:
            if len(rest) == body:
                # the common case: the whole answer came in one piece
                self._visitor.write(head + rest if rest else head)
                self._complete(clean=True)
                return
            self._answer_left = body
        self._answer_data(rest, head)

    def _answer_data(self, data: bytes, head: bytes = b"") -> None:
        """Pass on bytes of the body, after the head if it has not been written yet."""
        if self._answer_body is not None:
            self._answer_chunks(data, head, self._answer_body)
            return
        if self._framing == UNTIL_CLOSE:
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
            if self._minor:
                end = body.feed(data)
                part = data if end == len(data) else data[:end]
            else:
                part, end = body.decode(data, 0)
        except HeadError as error:
            _log.info("request {id}: {reason}", id=self.request_id.decode(), reason=error.reason)
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
            self._upgrade_ended(up, down)

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

    def _upgrade_ended(self, up: int, down: int) -> None:
        """Both sides of an upgraded connection are gone."""
        self._entrypoint.stats.bytes_in += up
        self._entrypoint.stats.bytes_out += down

    # -- failures

    def upstream_ended(self) -> None:
        """The stream ended: the answer is complete, or the connector failed."""
        upstream, self._upstream = self._upstream, None
        if self.ended or upstream is None:
            return
        upstream.discard()
        if self._framing == UNTIL_CLOSE:
            self._complete(clean=False)
        elif self._framing is not None:
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
        return self._resendable and not self._answer_begun

    def refuse(self, status: int, outcome: Outcome) -> None:
        """Answer ourselves, instead of a target."""
        if self.ended:
            return
        self._drop_upstream()
        keep = self._keep and not self.wants_body and not self._entrypoint.draining
        self._visitor.write(
            own_answer(
                status,
                request_id=self.request_id,
                accept=accepted(self._sent) if self._head is None else self._head.accept,
                head_only=self.method == b"HEAD",
                close=not keep,
            )
        )
        self._end(outcome)
        self._visitor.exchange_done(keep=keep)

    def timed_out(self) -> None:
        """The visitor stalled in its body, or the target did not begin to answer."""
        if self._framing is not None:
            return
        if self.wants_body and not self._visitor.read_paused:
            self._keep = False
            self.refuse(408, Outcome.REQUEST_TIMEOUT)
        else:
            self.refuse(504, Outcome.RESPONSE_TIMEOUT)

    def bad_body(self, error: HeadError) -> None:
        """The request's body is malformed: what it means is unknown, so nothing after it is read."""
        self._keep = False
        if self._framing is not None:
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
        whole = not self._body_left and self._body is None
        if upstream is not None:
            if clean and whole and self._target_stays:
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
        connector = self._connector
        if connector is not None:
            if outcome is _ANSWERED:
                connector.requests += 1
            else:
                connector.count(outcome)
        self._entrypoint.stats.requests[outcome] += 1


def _split_port(authority: bytes, host: str) -> tuple[str, int]:
    """The destination that a client is told: the host, and the port of the Host field or 80."""
    tail = authority.rpartition(b":")[2]
    if tail.isdigit() and not authority.endswith(b"]"):
        return host, min(int(tail), 65535)
    return host, 80
