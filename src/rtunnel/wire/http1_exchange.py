"""The exchange engine: requests and responses as events.

A proxy tracks HTTP/1 on two connections at once, and each of them has a side here. :class:`RequestSide` parses requests, one after
another, :class:`AnswerSide` parses responses. The server has the former at a visitor's connection and the latter at a stream; the
client, where it parses HTTP, has the former at a stream and the latter at a target's connection. Neither side does I/O, calls its
owner, or knows the other: the owner announces requests to the answer side (:meth:`AnswerSide.expect`) and completed responses to
the request side (:meth:`RequestSide.next`).

Events are tuples of a kind, a head or None, and bytes:

- (:data:`WHOLE`, head, data): a complete response, as most are received: its head and all of its body.
- (:data:`HEAD`, head, data): a request, or the beginning of a response, with the first bytes of its body, possibly none. A
  request whose ``body`` is 0 is complete.
- (:data:`DATA`, None, data): more of the body, never empty.
- (:data:`END`, None, b""): the body, and with it the request or the response, is complete.
- (:data:`INTERIM`, head, b""): 1xx, the final response follows.
- (:data:`UPGRADE`, head, data): 101, and the data after it: the connection has switched to another protocol.
- (:data:`MALFORMED`, error, b""): a :class:`~rtunnel.wire.http1_head.HeadError`; the side ignores further data.

Chunked bodies are passed on with their chunk framing, unless the request does not accept chunks
(:attr:`~rtunnel.wire.http1_request.RequestHead.takes_chunks`).
"""

from __future__ import annotations

from typing import Any, Final

from rtunnel.wire.http1_body import ChunkedBody
from rtunnel.wire.http1_fields import CHUNKED, UNTIL_CLOSE
from rtunnel.wire.http1_head import HeadError, skip_empty_lines
from rtunnel.wire.http1_reader import RequestReader, ResponseReader
from rtunnel.wire.http1_request import RequestHead

__all__ = ["DATA", "END", "HEAD", "INTERIM", "MALFORMED", "UPGRADE", "WHOLE", "AnswerSide", "Event", "RequestSide"]

WHOLE: Final = 0
HEAD: Final = 1
DATA: Final = 2
END: Final = 3
INTERIM: Final = 4
UPGRADE: Final = 5
MALFORMED: Final = 6

Event = tuple[int, Any, bytes]

MAX_INTERIM: Final = 100
"""Maximum number of interim responses before the final one; a target that sends more is treated as broken."""

_END: Final[Event] = (END, None, b"")
_NOTHING: Final[list[Event]] = []

# what a side waits for; an answer side may be new, or its connection gone before anything was answered
_NEW: Final = -1
_GONE: Final = -2
_FOR_HEAD: Final = 0
_FOR_MORE_OF_HEAD: Final = 1
_FOR_BODY: Final = 2
_FOR_OWNER: Final = 3
_CLOSED: Final = 4


def _forgetful(error: HeadError) -> HeadError:
    """The error without its traceback, whose frames lead to what keeps the error: a cycle with the whole connection in it."""
    error.__traceback__ = error.__context__ = None
    return error


class RequestSide:
    """The requests of one connection, one at a time: the next one is parsed when the response to the last one is complete.

    :param reader: reads the heads; may be replaced between two requests.
    :ivar buffered: buffered bytes: of an incomplete head, or pipelined.
    :ivar whole: whether the current request was received completely; False while bytes of its body are missing.
    """

    __slots__ = ("_chunks", "_left", "_waits", "buffered", "reader", "whole")

    def __init__(self, reader: RequestReader) -> None:
        self.reader = reader
        self._waits = _FOR_HEAD
        self.buffered = b""
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self.whole = True

    @property
    def idle(self) -> bool:
        """Whether no bytes of a request were received."""
        return self._waits == _FOR_HEAD and not self.buffered

    def receive(self, data: bytes) -> list[Event]:
        """Parse bytes of the connection."""
        if self.buffered:
            if self._waits == _FOR_HEAD and self.reader.goes_on(self.buffered, data):
                self.buffered += data
                return _NOTHING
            data = self.buffered + data
            self.buffered = b""
        if self._waits != _FOR_HEAD:
            return self._receive_more(data)
        try:
            template = self.reader.templates.first
            # refuses a malformed Host
            found = None if template is None else template.read(data)
            if found is None:
                found = self.reader.read(data, skip_empty_lines(data))
                if found is None:
                    self.buffered = data
                    return _NOTHING
        except HeadError as error:
            return [self._malformed(error)]
        head, end = found
        if head.body:
            return self._begin_body(head, data[end:])
        self._waits = _FOR_OWNER
        if end != len(data):
            self.buffered = data[end:]
        return [(HEAD, head, b"")]

    def _receive_more(self, data: bytes) -> list[Event]:
        if self._waits == _FOR_BODY:
            return self._read_body(data, [])
        if self._waits == _FOR_OWNER:
            self.buffered = data
        return _NOTHING

    def answered(self) -> bool:
        """The response to the current request is complete.

        :returns: whether bytes of the next one are buffered; :meth:`next` parses them.
        """
        self._waits = _FOR_HEAD
        return self.buffered != b""

    def next(self) -> list[Event]:
        """The response to the current request is complete: continue with buffered data."""
        self._waits = _FOR_HEAD
        if not self.buffered:
            return _NOTHING
        data, self.buffered = self.buffered, b""
        return self.receive(data)

    def detach(self) -> bytes:
        """The connection was upgraded or closed: returns the data that was received and not parsed."""
        self._waits = _CLOSED
        data, self.buffered = self.buffered, b""
        return data

    def _begin_body(self, head: Any, data: bytes) -> list[Event]:
        self._waits = _FOR_BODY
        self.whole = False
        if head.body == CHUNKED:
            self._chunks = ChunkedBody()
        else:
            self._left = head.body
        events: list[Event] = [(HEAD, head, b"")]
        return self._read_body(data, events) if data else events

    def _read_body(self, data: bytes, events: list[Event]) -> list[Event]:
        chunks = self._chunks
        if chunks is None:
            end = min(self._left, len(data))
            self._left -= end
            whole = not self._left
        else:
            try:
                end = chunks.feed(data)
            except HeadError as error:
                events.append(self._malformed(error))
                return events
            whole = chunks.done
        if end < len(data):
            data, self.buffered = data[:end], data[end:]
        events.append((DATA, None, data))
        if whole:
            self._chunks = None
            self._waits = _FOR_OWNER
            self.whole = True
            events.append(_END)
        return events

    def _malformed(self, error: HeadError) -> Event:
        self._waits = _CLOSED
        return (MALFORMED, _forgetful(error), b"")


class AnswerSide:
    """The responses of one connection, each to a request that was announced with :meth:`expect`.

    :param reader: reads the heads; shared by the connections of one target.
    :ivar reusable: whether the connection can be reused after the last response: it was framed, the target keeps the
        connection open, and has sent no excess bytes.
    :ivar surplus: whether bytes came that belong to no response: behind the end of one, or where the next one should begin.
    """

    __slots__ = (
        "_chunks",
        "_head",
        "_held",
        "_interim",
        "_left",
        "_reader",
        "_request",
        "_templates",
        "_waits",
        "reusable",
        "surplus",
    )

    _request: RequestHead

    def __init__(self, reader: ResponseReader) -> None:
        self._reader = reader
        self._templates = reader.templates
        self._waits = _NEW
        self._interim = 0
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self._held = b""
        self._head: Any = None
        self.reusable = self.surplus = False

    def expect(self, request: RequestHead) -> None:
        """A request was sent; its response follows.

        The framing of the response depends on the method; a 101 is only valid if the request asked for an upgrade; and chunks are
        decoded if the request does not accept them.
        """
        self._waits = _FOR_HEAD
        self._request = request
        self.reusable = False

    @property
    def begun(self) -> bool:
        """Whether a byte of the present answer came: the point of no return."""
        return self._waits > _FOR_HEAD

    def receive(self, data: bytes) -> list[Event]:
        """Parse bytes of the connection. Bytes without a request are malformed."""
        if self._waits == _FOR_HEAD:
            # nearly every response matches the last template, and is received in one piece
            template = self._templates.first
            found = None if template is None else template.read(data, self._request.method)
            if found is not None:
                head, end = found
                if len(data) - end == head.body:
                    self._waits = _FOR_OWNER
                    self.reusable = head.keep_alive
                    return [(WHOLE, head, data[end:])]
            return self._read_heads(data)
        if self._waits == _FOR_MORE_OF_HEAD:
            return self._read_heads(data)
        if self._waits == _FOR_BODY:
            return self._read_body(data, [])
        if self._waits in (_FOR_OWNER, _NEW):
            closed = _CLOSED if self.begun else _GONE
            events = [self._malformed(HeadError(502, "an answer without a request"))]
            self._waits = closed
            return events
        return _NOTHING

    def ended(self) -> bool:
        """The connection was closed.

        :returns: whether this completes the response, because its body is delimited by the end of the connection.
        """
        whole = self._waits == _FOR_BODY and self._head.body == UNTIL_CLOSE
        self._waits = _CLOSED if self.begun else _GONE
        return whole

    def _read_heads(self, data: bytes) -> list[Event]:
        """Parse interim responses and the final one, as far as they were received."""
        events: list[Event] = []
        self._waits = _FOR_MORE_OF_HEAD
        if self._held and self._reader.goes_on(self._held, data):
            self._held += data
            return events
        data, self._held = self._held + data, b""
        while data:
            try:
                found = self._reader.read(data, self._request.method)
                if found is None:
                    break
                head, end = found
                rest = data[end:]
                if head.status >= 200:
                    self._begin(head, rest, events)
                    return events
                if head.status == 101:
                    self._switch(head, rest, events)
                    return events
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise HeadError(502, "too many interim answers")
            except HeadError as error:
                self.surplus = not data.startswith(b"HTTP/")
                events.append(self._malformed(error))
                return events
            events.append((INTERIM, head, b""))
            data = rest
        self._held = data
        return events

    def _begin(self, head: Any, rest: bytes, events: list[Event]) -> None:
        self._head = head
        self._interim = 0
        body = head.body
        if body >= 0:
            self._left = body
        elif body == CHUNKED:
            self._chunks = ChunkedBody()
        self._waits = _FOR_BODY
        at = len(events)
        if rest or not body:
            self._read_body(rest, events)
        kind, _, data = events[at] if len(events) > at else _END
        if kind == DATA:
            events[at] = (HEAD, head, data)
        elif kind == END:
            # if the first chunk is malformed, no HEAD event is emitted: the owner can still send another response
            events.insert(at, (HEAD, head, b""))

    def _switch(self, head: Any, rest: bytes, events: list[Event]) -> None:
        if not self._request.upgrade:
            raise HeadError(502, "a 101 to a request that did not ask for an upgrade")
        self._waits = _CLOSED
        self._head = head
        events.append((UPGRADE, head, rest))

    def _read_body(self, data: bytes, events: list[Event]) -> list[Event]:
        chunks = self._chunks
        size = len(data)
        if chunks is not None:
            try:
                if self._request.takes_chunks:
                    end = chunks.feed(data)
                    if end < size:
                        data = data[:end]
                else:
                    data, end = chunks.decode(data, 0)
            except HeadError as error:
                events.append(self._malformed(error))
                return events
            whole = chunks.done
        elif self._head.body == UNTIL_CLOSE:
            events.append((DATA, None, data))
            return events
        else:
            end = min(self._left, size)
            self._left -= end
            if end < size:
                data = data[:end]
            whole = not self._left
        if data:
            events.append((DATA, None, data))
        if whole:
            self._chunks = None
            self._waits = _FOR_OWNER
            self.surplus = end < size
            self.reusable = not self.surplus and self._head.keep_alive
            self._head = None
            events.append(_END)
        return events

    def _malformed(self, error: HeadError) -> Event:
        self._waits = _CLOSED
        self.reusable = False
        return (MALFORMED, _forgetful(error), b"")
