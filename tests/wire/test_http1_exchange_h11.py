"""The exchange engine as a proxy between an h11 client and an h11 server, with data split at random."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import h11
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    HeadLimits,
    RequestHead,
    RequestReader,
    ResponseReader,
    write_request,
    write_response,
)
from rtunnel.wire.http1_exchange import DATA, END, HEAD, INTERIM, WHOLE, AnswerSide, Event, RequestSide
from rtunnel.wire.http1_templates import LEARN_AFTER

slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80, stateful_step_count=40)
"""No deadlines: the machine may be busy."""

Fields = list[tuple[bytes, bytes]]
FIELDS: list[Fields] = [
    [],
    [(b"User-Agent", b"x"), (b"Accept", b"*/*")],
    [(b"X-Real-IP", b"192.0.2.1"), (b"X-Forwarded-Proto", b"https"), (b"User-Agent", b"x"), (b"Cookie", b"a=b; c=d")],
    [(b"Connection", b"keep-alive"), (b"Via", b"1.0 y"), (b"Accept", b"")],
    [(b"TE", b"trailers"), (b"Connection", b"TE, X-A"), (b"X-A", b"b"), (b"x-b", b"c")],
    [(b"Keep-Alive", b"5"), (b"X-A", b"\xff b\t\x80")],
]
ANSWER_FIELDS: list[Fields] = [
    [],
    [(b"Server", b"nginx"), (b"Date", b"Mon"), (b"ETag", b'"x"')],
    [(b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")],
    [(b"Connection", b"X-A"), (b"X-A", b"b"), (b"Via", b"1.1 y"), (b"Trailer", b"X-Sum")],
]
NOT_PASSED_ON = {b"connection", b"keep-alive", b"te", b"transfer-encoding", b"x-real-ip", b"x-forwarded-proto"}
VIA = b"1.1 proxy"


def passed_on(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The end-to-end fields, except Content-Length and Via, which are checked separately."""
    fields = [(name.lower(), value.strip(b" \t")) for name, value in fields]
    named = {option.strip().lower() for name, value in fields if name == b"connection" for option in value.split(b",")}
    return [pair for pair in fields if pair[0] not in NOT_PASSED_ON | named | {b"via", b"content-length"}]


PIECES = [b"x", b"hello", b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"y" * 3000]
TRAILERS: list[Fields] = [[], [], [(b"X-Sum", b"1"), (b"a", b"")]]
HOST = [(b"Host", b"app.local:80")]
CLOSE = (b"Connection", b"close")


def framing_of(pieces: list[bytes], chunked: bool) -> Fields:
    return [(b"Transfer-Encoding", b"chunked")] if chunked else [(b"Content-Length", b"%d" % sum(map(len, pieces)))]


def written(connection: h11.Connection, start: h11.Request | h11.Response, pieces: list[bytes], trailers: Fields) -> bytes:
    """A message as h11 serializes it."""
    data = connection.send(start) or b""
    for piece in pieces:
        data += connection.send(h11.Data(data=piece)) or b""
    return data + (connection.send(h11.EndOfMessage(headers=trailers)) or b"")


class Message(NamedTuple):
    """A request or response: its start line, fields, body and trailers."""

    start: tuple[Any, ...]
    fields: Fields
    body: bytes
    trailers: Fields


def values(message: Message, name: bytes) -> list[bytes]:
    return [value for key, value in message.fields if key.lower() == name]


def check_same(got: Message, sent: Message) -> None:
    """The received message equals the sent one, except for hop-by-hop fields."""
    assert got.start == sent.start
    assert passed_on(got.fields) == passed_on(sent.fields)
    assert values(got, b"content-length") == values(sent, b"content-length")
    assert values(got, b"transfer-encoding") == values(sent, b"transfer-encoding") or not got.body
    assert (got.body, got.trailers) == (sent.body, [(name.lower(), value) for name, value in sent.trailers])


class Hearing:
    """Assembles complete messages from the events of an h11 connection."""

    def __init__(self, connection: h11.Connection) -> None:
        self.connection = connection
        self.start: Any = None
        self.hints: list[int] = []
        self._body = b""

    def messages(self) -> Iterator[Message]:
        """Yield the messages that are complete now."""
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.InformationalResponse):
                self.hints.append(event.status_code)
            elif isinstance(event, h11.Request | h11.Response):
                self.start, self._body = event, b""
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                start = self.start
                told = (start.method, start.target) if isinstance(start, h11.Request) else (start.status_code, bytes(start.reason))
                yield Message(told, list(start.headers), self._body, list(event.headers))
            else:
                assert event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed), event
                return


class Proxy:
    """A visitor's connection and the connections to its target, connected by the two sides.

    :ivar sides: one for each connection to the target; the last one is current.
    :ivar to_target: data to be sent on each of them.
    :ivar open: whether the visitor's connection stays open.
    """

    def __init__(self, requests: RequestReader, answers: ResponseReader) -> None:
        self.requests = RequestSide(requests)
        self.sides: list[AnswerSide] = []
        self.to_target: list[bytes] = []
        self.to_visitor = b""
        self.heads = 0
        self.open = True
        self._reader = answers
        self._answered = True
        self._keep = True

    def from_visitor(self, data: bytes) -> None:
        self._ask(self.requests.receive(data))

    def _ask(self, events: list[Event]) -> None:
        while events:
            for kind, head, data in events:
                assert kind in (HEAD, DATA, END), head
                if kind == HEAD:
                    self._begin(head)
                self.to_target[-1] += data
            events = self._next()

    def _begin(self, head: RequestHead) -> None:
        if not self.sides or not self.sides[-1].reusable:
            self.sides.append(AnswerSide(self._reader))
            self.to_target.append(b"")
        self.sides[-1].expect(head)
        self._answered = False
        self._keep = head.keep_alive
        via = head.named.get(b"via")
        self.to_target[-1] += write_request(head, b"Via: %b\r\n" % (via + b", " + VIA if via else VIA))
        self.heads += 1

    def _next(self) -> list[Event]:
        if not self._answered or not self.requests.whole or not self.open:
            return []
        if self._keep:
            return self.requests.next()
        self.open = False
        return []

    def from_target(self, number: int, data: bytes) -> None:
        for kind, head, payload in self.sides[number].receive(data):
            assert kind in (WHOLE, HEAD, DATA, END, INTERIM), head
            if kind == INTERIM:
                self.heads += 1
                self.to_visitor += write_response(head, minor=1, keep_alive=True, chunked=False)
            elif kind in (WHOLE, HEAD):
                self._keep = self._keep and head.body != UNTIL_CLOSE
                self.to_visitor += write_response(head, minor=1, keep_alive=self._keep, chunked=head.body == CHUNKED)
                self.heads += 1
            self.to_visitor += payload
            if kind in (WHOLE, END):
                self._end()

    def target_ended(self, number: int) -> None:
        if self.sides[number].ended():
            self._end()

    def _end(self) -> None:
        self._answered = True
        self._ask(self._next())


OLD = Message((200, b"OK"), [(b"Server", b"old")], b"", [])
"""A response that ends with the connection, without its body."""


class Between(RuleBasedStateMachine):
    """A proxy between two h11 connections: each receives what the other sent, however the data is split."""

    counts: ClassVar[Counter[str]] = Counter()
    bodies = st.lists(
        st.sampled_from([b"x", b"hello", b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"y" * 3000]), max_size=3
    )
    sizes = st.one_of(st.integers(1, 40), st.sampled_from([100, 1000, 1 << 20, 1 << 20]))

    @initialize(
        taught=st.sampled_from([True, True, False]),
        fields=st.lists(st.sampled_from(FIELDS), min_size=2, max_size=2),
        answer_fields=st.lists(st.sampled_from(ANSWER_FIELDS), min_size=2, max_size=2),
    )
    def begin(self, taught: bool, fields: list[Fields], answer_fields: list[Fields]) -> None:
        self.fields, self.answer_fields = fields, answer_fields
        self.requests, self.answers = RequestReader(HeadLimits()), ResponseReader(HeadLimits())
        if taught:
            self.teach()
        self.parsed = self.requests.parsed + self.answers.parsed
        self.proxy = Proxy(self.requests, self.answers)
        self.asking = True
        self.from_visitor = b""
        self.from_target = b""
        self.sent: list[Message] = []
        self.got = 0
        self.visitors: deque[tuple[Hearing, Message]] = deque()
        self.answered: list[tuple[Message, list[int]]] = []
        self.heard = 0
        self.hints: list[int] = []
        self.connection = -1
        self.connect()

    def teach(self) -> None:
        """Let the readers learn templates."""
        for fields in self.fields:
            for framing in ([], [(b"Content-Length", b"5")]):
                start = h11.Request(method=b"POST" if framing else b"GET", target=b"/", headers=[*HOST, *fields, *framing])
                for _ in range(LEARN_AFTER):
                    self.requests.read(h11.Connection(h11.CLIENT).send(start) or b"")
        for fields in self.answer_fields:
            for framing in ([(b"Content-Length", b"5")], [(b"Transfer-Encoding", b"chunked")]):
                lines = b"".join(b"%b: %b\r\n" % pair for pair in (*fields, *framing))
                for _ in range(LEARN_AFTER):
                    self.answers.read(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n", b"GET")

    def connect(self) -> None:
        """The target accepts the next connection of the proxy."""
        self.target = Hearing(h11.Connection(h11.SERVER))
        self.target_open = True
        self.connection += 1

    @precondition(lambda self: self.asking)
    @rule(
        method=st.sampled_from([b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS"]),
        path=st.sampled_from([b"/", b"/a?b=c", b"*", b"//x"]),
        kind=st.sampled_from([0, 1]),
        pieces=bodies,
        chunked=st.booleans(),
        trailers=st.sampled_from(TRAILERS),
        last=st.sampled_from([False] * 7 + [True]),
        empty_lines=st.sampled_from([0, 0, 0, 2]),
    )
    def ask(
        self,
        method: bytes,
        path: bytes,
        kind: int,
        pieces: list[bytes],
        chunked: bool,
        trailers: Fields,
        last: bool,
        empty_lines: int,
    ) -> None:
        """A visitor sends a request, possibly before the previous response."""
        path = b"/" if path == b"*" and method != b"OPTIONS" else path
        bare = method in (b"GET", b"HEAD") and not pieces
        headers = [*HOST, *self.fields[kind], *([] if bare else framing_of(pieces, chunked)), *([CLOSE] if last else [])]
        message = Message((method, path), headers, b"".join(pieces), trailers if chunked and not bare else [])
        connection = h11.Connection(h11.CLIENT)
        start = h11.Request(method=method, target=path, headers=headers)
        self.from_visitor += b"\r\n" * empty_lines + written(connection, start, pieces, message.trailers)
        self.sent.append(message)
        self.visitors.append((Hearing(connection), message))
        self.asking = not last

    @property
    def answerable(self) -> bool:
        """Whether the target has received a request head and not responded yet."""
        return self.target.start is not None and self.target.connection.our_state is h11.SEND_RESPONSE

    @precondition(lambda self: self.answerable)
    @rule(
        status=st.sampled_from([200, 200, 200, 404, 204, 304, 500]),
        reason=st.sampled_from([b"OK", b"", b"so so"]),
        kind=st.sampled_from([0, 1]),
        pieces=bodies,
        chunked=st.booleans(),
        trailers=st.sampled_from(TRAILERS),
        close=st.sampled_from([False] * 4 + [True]),
    )
    def answer(
        self, status: int, reason: bytes, kind: int, pieces: list[bytes], chunked: bool, trailers: Fields, close: bool
    ) -> None:
        """The target responds, possibly before the request is complete."""
        bodiless = status in (204, 304) or self.target.start.method == b"HEAD"
        headers = [
            *self.answer_fields[kind],
            *([] if status in (204, 304) else framing_of(pieces, chunked)),
            *([CLOSE] if close else []),
        ]
        pieces = [] if bodiless else pieces
        message = Message((status, reason), headers, b"".join(pieces), trailers if chunked and not bodiless else [])
        start = h11.Response(status_code=status, headers=headers, reason=reason)
        self.from_target += written(self.target.connection, start, pieces, message.trailers)
        self.say(message, not close)

    @precondition(lambda self: self.answerable and self.target.connection.their_state is h11.DONE)
    @rule(pieces=bodies)
    def answer_until_the_end(self, pieces: list[bytes]) -> None:
        """An HTTP/1.0 target responds and closes the connection."""
        if self.target.start.method == b"HEAD":
            return
        message = OLD._replace(body=b"".join(pieces))
        self.from_target += b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n" + message.body
        self.say(message, False)
        self.asking = False
        # h11 does not support such a response to HTTP/1.1: the connection is not used any more
        self.target.connection.send_failed()

    def say(self, message: Message, stays: bool) -> None:
        self.answered.append((message, self.hints))
        self.hints = []
        self.target_open = stays

    @precondition(lambda self: self.answerable)
    @rule(status=st.sampled_from([100, 102, 103]))
    def hint(self, status: int) -> None:
        """The target sends an interim response."""
        start = h11.InformationalResponse(status_code=status, headers=[(b"Link", b"a")], reason=b"x")
        self.from_target += self.target.connection.send(start) or b""
        self.hints.append(status)

    @precondition(lambda self: self.asking)
    @rule(kinds=st.tuples(st.sampled_from([0, 1]), st.sampled_from([0, 1])), pieces=bodies, count=st.integers(1, 3))
    def exchange(self, kinds: tuple[int, int], pieces: list[bytes], count: int) -> None:
        """Typical pipelined requests."""
        for _ in range(count):
            self.ask(b"GET", b"/", kinds[0], [], False, [], False, 0)
        for _ in range(count):
            self.carry_all()
            if self.answerable:
                self.answer(200, b"OK", kinds[1], pieces, False, [], False)
            self.carry_all()

    @rule()
    def carry_all(self) -> None:
        for carry in (self.carry_to_proxy, self.carry_to_target, self.carry_to_proxy_back, self.carry_to_visitor):
            carry(1 << 20)

    @rule(size=sizes)
    def carry_to_proxy(self, size: int) -> None:
        if self.proxy.open and self.from_visitor:
            data, self.from_visitor = self.from_visitor[:size], self.from_visitor[size:]
            self.proxy.from_visitor(data)

    @rule(size=sizes)
    def carry_to_target(self, size: int) -> None:
        waiting = self.proxy.to_target
        if self.connection + 1 < len(waiting) and not waiting[self.connection] and not self.from_target:
            self.connect()
        if not waiting or not waiting[self.connection]:
            return
        data, waiting[self.connection] = waiting[self.connection][:size], waiting[self.connection][size:]
        self.read_on()
        self.target.connection.receive_data(data)
        self.read_on()

    def read_on(self) -> None:
        """The target processes received data up to the next request that it has to respond to."""
        connection = self.target.connection
        for message in self.target.messages():
            self.check_request(message)
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()
            self.target.start = None
            for message in self.target.messages():
                self.check_request(message)

    @rule(size=sizes)
    def carry_to_proxy_back(self, size: int) -> None:
        if self.from_target:
            data, self.from_target = self.from_target[:size], self.from_target[size:]
            self.proxy.from_target(self.connection, data)
            if not self.target_open and not self.from_target:
                self.proxy.target_ended(self.connection)

    @rule(size=sizes)
    def carry_to_visitor(self, size: int) -> None:
        data, self.proxy.to_visitor = self.proxy.to_visitor[:size], self.proxy.to_visitor[size:]
        while data:
            hearing, asked = self.visitors[0]
            hearing.connection.receive_data(data)
            data = self.hear(hearing, asked)
        if not self.proxy.open and not self.proxy.to_visitor and self.visitors and self.visitors[0][0].start is not None:
            hearing, asked = self.visitors[0]
            hearing.connection.receive_data(b"")
            self.hear(hearing, asked)

    def hear(self, hearing: Hearing, asked: Message) -> bytes:
        """Let a visitor process received data.

        :returns: data of the next response.
        """
        rest = b""
        for message in hearing.messages():
            self.check_answer(message, asked, hearing.hints)
            rest = hearing.connection.trailing_data[0]
            self.visitors.popleft()
        return rest

    def check_request(self, got: Message) -> None:
        """The target receives what the visitor sent, in order."""
        sent = self.sent[self.got]
        self.got += 1
        check_same(got, sent)
        via = [value for name, value in sent.fields if name == b"Via"]
        assert values(got, b"via") == [b", ".join([*via, VIA])]
        te = values(sent, b"te")
        assert values(got, b"te") == te
        assert values(got, b"connection") in ([b"TE"],) if te else ([], [b"keep-alive"])

    def check_answer(self, got: Message, asked: Message, hints: list[int]) -> None:
        """The visitor receives what the target sent."""
        sent, sent_hints = self.answered[self.heard]
        self.heard += 1
        check_same(got, sent)
        assert hints == sent_hints
        closes = CLOSE in asked.fields or sent._replace(body=b"") == OLD
        assert values(got, b"connection") in ([b"close"],) if closes else ([], [b"keep-alive"])

    def teardown(self) -> None:
        if not hasattr(self, "proxy"):
            return
        state: tuple[Any, ...] = ()
        while state != (state := self.state()):
            self.carry_all()
            if self.answerable and self.target.connection.their_state is h11.DONE:
                self.answer(200, b"OK", 0, [b"the last one"], False, [], False)
        assert not self.from_target and not any(self.proxy.to_target) and not self.proxy.to_visitor
        assert self.got == len(self.answered) == self.heard
        if self.proxy.open:
            assert self.heard == len(self.sent), "every request has a response"
            assert self.proxy.requests.idle or self.from_visitor.strip(b"\r\n") == b""
        self.counts["exchanges"] += self.heard
        self.counts["heads"] += self.proxy.heads
        self.counts["parsed"] += self.requests.parsed + self.answers.parsed - self.parsed
        self.counts["connections"] += len(self.proxy.sides)

    def state(self) -> tuple[Any, ...]:
        proxy = self.proxy
        return (
            self.from_visitor,
            self.from_target,
            list(proxy.to_target),
            proxy.to_visitor,
            self.connection,
            self.got,
            self.heard,
            len(self.answered),
        )


class BetweenTwoTests(SynchronousTestCase):
    """Interoperability with an independent implementation."""

    def test_between_two_of_h11(self) -> None:
        Between.counts.clear()
        run_state_machine_as_test(Between, settings=slowly)
        counts = Between.counts
        self.assertGreater(counts["exchanges"], 60, counts)
        self.assertGreater(counts["exchanges"], counts["connections"], "connections are reused")
        self.assertLess(counts["parsed"], counts["heads"] * 0.97, "some heads are read by templates")
