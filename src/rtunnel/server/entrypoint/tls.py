"""The TLS side of an entrypoint: connections passed through untouched, to the tunnel that the server name leads to.

Nothing is decrypted and no certificate is needed here: the two ends speak TLS with each other, whatever is inside (HTTP/2, gRPC,
anything else). The name stands in the clear at the head of the connection.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.outcomes import TlsOutcome
from rtunnel.routing.tunnels import Connector
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.arrival import Peer, SniffedProtocol
from rtunnel.server.entrypoint.http import LINGER, Entrypoint
from rtunnel.server.upstream import UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.clienthello import Alert, ClientHelloError, ClientHelloReader, alert_record
from rtunnel.wire.relay import RelayAddress, stream_preface

__all__ = ["TLS", "TlsVisitor"]

PORT = 443
"""The port that a client is told beside the name (go-gost/x ``handler/tunnel/entrypoint``): TLS says none."""
READ_AHEAD = 65536
"""Bytes after the ClientHello (early data) that are read before anything was answered: they may have to be sent again."""

# what a connection is doing
HELLO = 0
ASKING = 1
JOINED = 2
LINGERING = 3
CLOSED = 4

_ENDS = {
    SpliceOutcome.DONE: TlsOutcome.DONE,
    SpliceOutcome.NEAR_LOST: TlsOutcome.VISITOR_GONE,
    SpliceOutcome.FAR_LOST: TlsOutcome.TARGET_GONE,
}

_log = Logger()


@implementer(IHalfCloseableProtocol)
class TlsVisitor(Protocol):
    """One TLS connection; owned by its entrypoint, ends with one recorded outcome.

    The ClientHello is collected, then sent on a stream of a connector chosen by weight. **The first byte of an answer is the
    point of no return**: before it, a connector that fails is replaced by another one, since the hello, and what came after it, are
    still here; after it, the two sides are joined (:class:`~rtunnel.tunnel.splice.Splice`) and speak for themselves.
    """

    transport: Any
    deadline = NEVER

    def __init__(self, entrypoint: Entrypoint, peer: Peer) -> None:
        self._entrypoint = entrypoint
        self._peer = peer
        self._state = HELLO
        self._reader = ClientHelloReader()
        self._name = ""
        self._tunnel: UUID | None = None
        self._sent: list[bytes] = []
        """What the visitor said, as long as it may have to be sent again."""
        self._ahead = 0
        self._paused = False
        self._read_ended = False
        self._asked: _Asked | None = None
        self._failed: list[Connector[UpstreamPool]] = []
        self._splice: Splice | None = None
        self._outcome: TlsOutcome | None = None
        self._access = entrypoint.access.begin("tls", peer.host) if entrypoint.access is not None else None

    # -- the connection, as its entrypoint sees it

    @property
    def busy(self) -> bool:
        """Whether a target is spoken with."""
        return self._state in (ASKING, JOINED)

    def drain(self) -> None:
        """Close unless a target is spoken with."""
        if self._state == HELLO:
            self._close(TlsOutcome.STOPPED)

    def break_off(self) -> None:
        """Cut the connection, whatever it does."""
        if self._splice is not None:
            self._record(TlsOutcome.STOPPED)
            self._splice.abort()
            return
        if self._state in (HELLO, ASKING):
            self._close(TlsOutcome.STOPPED)
        self.transport.abortConnection()

    def expired(self) -> None:
        """A time limit is over (called by the sweep)."""
        if self._state == HELLO:
            self._close(TlsOutcome.HELLO_TIMEOUT)
        elif self._state == ASKING:
            self._refuse(Alert.INTERNAL_ERROR, TlsOutcome.RESPONSE_TIMEOUT)
        else:
            self.transport.abortConnection()

    def connectionMade(self) -> None:
        entrypoint = self._entrypoint
        # nothing tells us of a visitor that vanished while both sides are silent, as they may be for hours
        self.transport.setTcpKeepAlive(True)
        entrypoint.visitors.add(self)
        entrypoint.stats.visitors_open += 1
        self.deadline = entrypoint.deadlines.now + entrypoint.settings.head_timeout
        entrypoint.deadlines.add(self)

    def readConnectionLost(self) -> None:
        self._read_ended = True
        if self._state == HELLO:
            self._close(TlsOutcome.VISITOR_GONE)
        elif self._state == LINGERING:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own half-close went through."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state in (HELLO, ASKING):
            self._end(TlsOutcome.VISITOR_GONE)
        self._leave()

    def _leave(self) -> None:
        """Belong to the entrypoint no more."""
        entrypoint = self._entrypoint
        self._state = CLOSED
        if self in entrypoint.visitors:
            entrypoint.visitors.discard(self)
            entrypoint.deadlines.discard(self)
            entrypoint.stats.visitors_open -= 1

    # -- bytes in

    def first(self, data: bytes) -> None:
        """Take what came before the connection was ours, and was counted then."""
        self._take(data)

    def dataReceived(self, data: bytes) -> None:
        self._entrypoint.stats.bytes_in += len(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._state == HELLO:
            self._sent.append(data)
            self._read_hello(data)
        elif self._state == ASKING and self._asked is not None:
            self._sent.append(data)
            self._asked.stream.write(data)
            self._ahead += len(data)
            if self._ahead > READ_AHEAD and not self._paused:
                self._paused = True
                self.transport.pauseProducing()

    def _read_hello(self, data: bytes) -> None:
        try:
            hello = self._reader.feed(data)
        except ClientHelloError as error:
            _log.debug("TLS from {host}: {reason}", host=self._peer.host, reason=error.reason)
            self._refuse(error.alert, TlsOutcome.BAD_HELLO)
            return
        if hello is None:
            return
        name = self._name = hello.server_name or ""
        rule = self._entrypoint.table.lookup(name) if name else None
        if rule is None or rule.private:
            _log.debug('TLS from {host}: no rule for "{name}"', host=self._peer.host, name=name)
            self._refuse(Alert.UNRECOGNIZED_NAME, TlsOutcome.UNKNOWN_NAME)
            return
        self._tunnel = rule.tunnel
        self._state = ASKING
        self._ask(rule.tunnel)

    # -- a stream

    def _ask(self, tunnel: UUID) -> None:
        """Send what the visitor said to a connector that did not fail yet."""
        entrypoint = self._entrypoint
        asked = self._asked = self._next_stream(tunnel)
        if asked is None:
            self._refuse(Alert.INTERNAL_ERROR, TlsOutcome.TARGET_FAILED if self._failed else TlsOutcome.NO_CONNECTOR)
            return
        if self._access is not None:
            self._access.connector = asked.connector.id
        asked.connector.streams += 1
        entrypoint.stats.streams_total += 1
        preface = stream_preface(RelayAddress(self._peer.host, self._peer.port), RelayAddress(self._name, PORT))
        asked.stream.write(preface + b"".join(self._sent))
        self.deadline = entrypoint.deadlines.now + (entrypoint.settings.response_timeout or NEVER)

    def _next_stream(self, tunnel: UUID) -> _Asked | None:
        """Open a stream at a chosen connector, None when there is none left."""
        while True:
            connector = self._entrypoint.registry.choose(tunnel, self._failed)
            if connector is None:
                return None
            try:
                return _Asked(self, connector)
            except LinkClosed:
                self._failed.append(connector)

    def failed(self, asked: _Asked) -> None:
        """A stream ended before its first byte."""
        if asked is not self._asked or self._tunnel is None:
            return
        self._drop_stream()
        self._failed.append(asked.connector)
        self._entrypoint.stats.retries_total += 1
        if self._access is not None:
            self._access.retries += 1
        self._ask(self._tunnel)

    def answered(self, asked: _Asked, data: bytes) -> None:
        """The first bytes of an answer: nothing is sent again, both sides speak for themselves from here on."""
        if asked is not self._asked:
            return
        self._state = JOINED
        if self._access is not None:
            self._access.answered()
            self._access.received = sum(map(len, self._sent))
        self.deadline = NEVER
        self._sent = []
        splice = self._splice = Splice(self._parted)
        splice.near.attach(self.transport)
        splice.far.attach(asked.stream)
        splice.near.read_ended = self._read_ended
        splice.far.dataReceived(data)
        if self._paused:
            self.transport.resumeProducing()
        splice.join()

    def _parted(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._entrypoint.stats
        stats.bytes_in += up
        stats.bytes_out += down
        self._record(_ENDS[outcome])
        self._describe(up, down)
        self._leave()

    def _drop_stream(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.stream.abortConnection()

    # -- ends

    def _refuse(self, alert: Alert, outcome: TlsOutcome) -> None:
        """Say why in the words of TLS, then close; but not at once, which could reset the connection and lose what was said."""
        self._end(outcome)
        self._state = LINGERING
        self.deadline = self._entrypoint.deadlines.now + LINGER
        record = alert_record(alert)
        self._entrypoint.stats.bytes_out += len(record)
        self.transport.write(record)
        if self._paused:
            self.transport.resumeProducing()
        if self._read_ended:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _close(self, outcome: TlsOutcome) -> None:
        """Close without a word."""
        self._end(outcome)
        self._state = LINGERING
        self.deadline = self._entrypoint.deadlines.now + LINGER
        self.transport.loseConnection()

    def _end(self, outcome: TlsOutcome) -> None:
        """It came to nothing."""
        self._record(outcome)
        self._drop_stream()
        said, self._sent = sum(map(len, self._sent)), []
        self._describe(said, 0)

    def _record(self, outcome: TlsOutcome) -> None:
        if self._outcome is None:
            self._outcome = outcome
            stats = self._entrypoint.stats
            stats.tls[outcome] += 1
            connector = self._asked.connector if self._asked is not None else self._failed[-1] if self._failed else None
            if connector is not None:
                connector.count(outcome)
            elif self._tunnel is not None:
                stats.labelled.count_unrouted(self._tunnel, outcome)

    def _describe(self, up: int, down: int) -> None:
        """Leave a line in the access log."""
        access, self._access = self._access, None
        if access is None or self._outcome is None:
            return
        access.host = self._name
        access.tunnel = self._tunnel
        access.received += up
        access.sent += down
        access.end(self._outcome)


@implementer(IHalfCloseableProtocol)
class _Asked:
    """The protocol of a stream until its first byte.

    :raises LinkClosed: when the connector's link takes no more streams.
    """

    __slots__ = ("connector", "stream", "visitor")

    def __init__(self, visitor: TlsVisitor, connector: Connector[UpstreamPool]) -> None:
        self.visitor = visitor
        self.connector = connector
        self.stream: TunnelStream = connector.link.link.open_stream(self)

    def dataReceived(self, data: bytes) -> None:
        self.visitor.answered(self, data)

    def readConnectionLost(self) -> None:
        self.visitor.failed(self)

    def writeConnectionLost(self) -> None:
        """Our own half-close went through."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.visitor.failed(self)


def _take(entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
    visitor = TlsVisitor(entrypoint, peer)
    transport.protocol = visitor
    visitor.makeConnection(transport)  # type: ignore[no-untyped-call]
    visitor.first(data)


TLS = SniffedProtocol("tls", _take)
