"""HTTP/2 without TLS at an entrypoint: refused, in its own words (:mod:`rtunnel.wire.http2_refusal`)."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from rtunnel.outcomes import Outcome
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.server.entrypoint.entrypoint import LINGER, Entrypoint, Peer
from rtunnel.server.entrypoint.forwarding import new_request_id
from rtunnel.wire.http2_refusal import CLIENT_PREFACE, Http2Refusal

__all__ = ["HTTP2", "Http2"]

STATUS = 505


class Http2Visitor(Protocol):
    """A connection whose first request is refused; owned by its entrypoint, ends a moment later.

    :param peer: the address of the visitor.
    """

    transport: Any
    idle_since = 0.0
    busy = False
    read_paused = False
    deadline = NEVER

    def __init__(self, entrypoint: Entrypoint, peer: Peer) -> None:
        self._entrypoint = entrypoint
        self._peer = peer
        _, self._text = own_answer(STATUS, Outcome.BAD_REQUEST, request_id=new_request_id())
        self._refusal = Http2Refusal(STATUS, self._text)

    def connectionMade(self) -> None:
        self._entrypoint.enter(self, self._entrypoint.settings.head_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._entrypoint.leave(self)

    def dataReceived(self, data: bytes) -> None:
        stats = self._entrypoint.stats
        stats.bytes_in += len(data)
        over = self._refusal.done
        if over:
            return
        output = self._refusal.receive(data)
        stats.bytes_out += len(output)
        self.transport.write(output)
        if self._refusal.done:
            self._refused()

    def _refused(self) -> None:
        """Half-close, and discard what the visitor sends for a short time (:data:`LINGER`)."""
        entrypoint = self._entrypoint
        entrypoint.stats.record(Outcome.BAD_REQUEST)
        for observer in entrypoint.observers:
            observer.rejected(self._peer.host, STATUS, len(self._text), Outcome.BAD_REQUEST)
        self.deadline = entrypoint.deadlines.now + LINGER
        self.transport.loseWriteConnection()

    def settings_changed(self) -> None:
        """Does nothing: there are none that it keeps to."""

    def drain(self) -> None:
        """Close."""
        self.transport.loseConnection()

    def cut(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    def expired(self) -> None:
        """It sent no request in time, or has not closed its side."""
        if self._refusal.done:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()


class Http2:
    """The speaker that refuses HTTP/2."""

    name = ""
    prefixes = (CLIENT_PREFACE,)

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take over a connection."""
        visitor = Http2Visitor(entrypoint, peer)
        transport.protocol = visitor
        visitor.makeConnection(transport)  # type: ignore[no-untyped-call]
        visitor.dataReceived(data)


HTTP2 = Http2()
