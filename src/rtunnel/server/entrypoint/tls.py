"""TLS passthrough at an entrypoint: connections are routed by server name (SNI) and passed on unchanged.

Nothing is decrypted and no certificate is needed here: the two ends speak TLS with each other, with any protocol inside (HTTP/2,
gRPC and others). The server name is sent unencrypted in the ClientHello.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.ids import short_id
from rtunnel.outcomes import TlsOutcome
from rtunnel.routing.selection import VisitorProtocol
from rtunnel.server.attempt import Attempts, PendingStream
from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.entrypoint import LINGER, Entrypoint, Peer
from rtunnel.server.tunnel_stats import count_ended
from rtunnel.server.upstream import UpstreamPool
from rtunnel.transport.reasons import Stalled
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.wire.clienthello import HANDSHAKE, Alert, ClientHelloError, ClientHelloReader, alert_record
from rtunnel.wire.relay import RelayAddress, stream_preface

__all__ = ["TLS", "Tls", "TlsVisitor"]

PORT = 443
"""The port in the preface of a stream (go-gost/x ``handler/tunnel/entrypoint``): the ClientHello contains none."""
READ_AHEAD = 65536
"""Maximum bytes after the ClientHello (early data) that are read before the response: they may have to be resent."""

# states of a connection
HELLO = 0
TRYING = 1
JOINED = 2
LINGERING = 3
CLOSED = 4

_ENDS = {
    SpliceOutcome.DONE: TlsOutcome.DONE,
    SpliceOutcome.NEAR_LOST: TlsOutcome.VISITOR_GONE,
    SpliceOutcome.FAR_LOST: TlsOutcome.TARGET_GONE,
}

_log = Logger()


class TlsVisitor(Attempts[Entrypoint, PendingStream]):
    """One TLS connection; owned by its entrypoint, ends with one recorded outcome.

    The ClientHello is collected, then sent on a stream of a connector (:class:`~rtunnel.server.attempt.Attempts`). With the first
    byte of the response the two sides are spliced (:class:`~rtunnel.tunnel.splice.Splice`).
    """

    protocol: Final = VisitorProtocol.TLS
    deadline = NEVER

    def __init__(self, entrypoint: Entrypoint, peer: Peer) -> None:
        self._entrypoint = entrypoint
        self.stream = None
        self.transport: Any = None
        self._peer = peer
        self._state = HELLO
        self._reader = ClientHelloReader()
        self.host = ""
        """The server name."""
        self._sent: list[bytes] = []
        """The data received from the visitor, while it may have to be resent."""
        self._ahead = 0
        self.read_paused = False
        self._read_ended = False
        self._splice: Splice | None = None
        self._outcome: TlsOutcome | None = None
        self._access = entrypoint.access.begin("tls", peer.host) if entrypoint.access is not None else None

    # -- RouteQuery

    @property
    def visitor_address(self) -> str:
        """The address of the visitor."""
        return self._peer.host

    # -- the connection, as its entrypoint sees it

    @property
    def busy(self) -> bool:
        """Whether it is connected, or connecting, to a target."""
        return self._state in (TRYING, JOINED)

    @property
    def idle_since(self) -> float | None:
        """See :class:`~rtunnel.server.entrypoint.entrypoint.VisitorConnection`."""
        if self._state == HELLO:
            return 0.0
        return None if self.busy else self.deadline

    def settings_changed(self) -> None:
        """Does nothing: timeouts are read when they start."""

    def drain(self) -> None:
        """Close unless it is busy."""
        if self._state == HELLO:
            self._close(TlsOutcome.STOPPED)

    def cut(self) -> None:
        """Abort the connection in any state."""
        if self._splice is not None:
            self._record(TlsOutcome.STOPPED)
            self._splice.abort()
            return
        if self._state in (HELLO, TRYING):
            self._close(TlsOutcome.STOPPED)
        self.transport.abortConnection()

    def expired(self) -> None:
        """The deadline has passed (called by the sweep)."""
        if self._state == HELLO:
            self._close(TlsOutcome.HELLO_TIMEOUT)
        elif self._state == TRYING:
            self._refuse(Alert.INTERNAL_ERROR, TlsOutcome.RESPONSE_TIMEOUT)
        else:
            self.transport.abortConnection()

    def makeConnection(self, transport: Any) -> None:
        """Take over a connection. StreamProtocol, which has this too, cannot be a second base of a compiled class."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        # detects a dead visitor on a connection that is idle, as it may be for hours
        self.transport.setTcpKeepAlive(True)
        self._entrypoint.enter(self, self._entrypoint.settings.head_timeout)

    def readConnectionLost(self) -> None:
        self._read_ended = True
        if self._state == HELLO:
            self._close(TlsOutcome.VISITOR_GONE)
        elif self._state == LINGERING:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state in (HELLO, TRYING):
            self._end(TlsOutcome.STALLED if reason.check(Stalled) else TlsOutcome.VISITOR_GONE)
        self._leave()

    def _leave(self) -> None:
        self._state = CLOSED
        self._entrypoint.leave(self)

    # -- bytes in

    def dataReceived(self, data: bytes) -> None:
        self._entrypoint.stats.bytes_in += len(data)
        try:
            self._take(data)
        except Exception:
            self.fail()

    def _take(self, data: bytes) -> None:
        if self._state == HELLO:
            self._sent.append(data)
            self._read_hello(data)
        elif self._state == TRYING and self.stream is not None:
            self._sent.append(data)
            self.stream.stream.write(data)
            self._ahead += len(data)
            if self._ahead > READ_AHEAD and not self.read_paused:
                self.read_paused = True
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
        self.host = hello.server_name or ""
        entrypoint = self._entrypoint
        rule = entrypoint.selector.rule(self) if self.host else None
        if rule is None:
            _log.debug('TLS from {host}: no rule for "{name}"', host=self._peer.host, name=self.host)
            self._refuse(Alert.UNRECOGNIZED_NAME, TlsOutcome.UNKNOWN_NAME)
            return
        self._state = TRYING
        self.tunnel = rule.tunnel
        self.try_next()

    # -- a connector

    def send_to(self, pool: UpstreamPool, fresh: bool) -> PendingStream:
        """Send the data received so far on a new stream.

        :raises LinkClosed: when the link accepts no more streams.
        """
        pending = PendingStream(self, pool)
        entrypoint = self._entrypoint
        preface = stream_preface(RelayAddress(self._peer.host, self._peer.port), RelayAddress(self.host, PORT))
        pending.stream.write(preface + b"".join(self._sent))
        self.deadline = entrypoint.response_limit.end
        return pending

    def exhausted(self) -> None:
        """No connector is left."""
        without = TlsOutcome.TARGET_FAILED if self.failed else TlsOutcome.NO_CONNECTOR
        self._refuse(Alert.INTERNAL_ERROR, TlsOutcome.OVERLOADED if self.overloaded else without)

    def answer_ended(self, pending: PendingStream) -> None:
        """The target half-closed without a ServerHello: treat it as failed."""
        self.stream_lost(pending)

    def stream_lost(self, pending: PendingStream) -> None:
        """The stream was closed before its first byte."""
        if pending is self.stream:
            if not pending.stream.ended:
                pending.stream.abortConnection()
            self.retry()

    def answered(self, pending: PendingStream, data: bytes) -> None:
        """The first bytes of the response: splice the two sides."""
        if pending is not self.stream:
            return
        self._state = JOINED
        self.succeeded()
        if self._access is not None:
            self._access.answered()
            self._access.received = sum(map(len, self._sent))
        self.deadline = NEVER
        self._sent = []
        splice = self._splice = Splice(self._splice_ended)
        splice.near.attach(self.transport)
        splice.far.attach(pending.stream)
        splice.near.read_ended = self._read_ended
        splice.far.dataReceived(data)
        if self.read_paused:
            self.transport.resumeProducing()
        splice.join()

    def _splice_ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._entrypoint.stats
        stats.bytes_in += up
        stats.bytes_out += down
        stalled = self._splice is not None and self._splice.near.stalled and outcome is SpliceOutcome.NEAR_LOST
        self._record(TlsOutcome.STALLED if stalled else _ENDS[outcome])
        self._log_access(up, down)
        self._leave()

    # -- ends

    def fail(self) -> None:
        """Something of this server has raised; called where that was caught. It costs this connection alone."""
        _log.failure('TLS from {host} for "{name}": error in the server', host=self._peer.host, name=self.host)
        self._record(TlsOutcome.ERROR)
        if self._splice is not None:
            self._splice.abort()
        else:
            self._end(TlsOutcome.ERROR)
            self.transport.abortConnection()

    def _refuse(self, alert: Alert, outcome: TlsOutcome) -> None:
        """Send an alert, then close; but not at once, which could reset the connection and lose the alert."""
        self._end(outcome)
        self._state = LINGERING
        self.deadline = self._entrypoint.deadlines.now + LINGER
        record = alert_record(alert)
        self._entrypoint.stats.bytes_out += len(record)
        self.transport.write(record)
        if self.read_paused:
            self.transport.resumeProducing()
        if self._read_ended:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _close(self, outcome: TlsOutcome) -> None:
        """Close without an alert."""
        self._end(outcome)
        self._state = LINGERING
        self.deadline = self._entrypoint.deadlines.now + LINGER
        self.transport.loseConnection()

    def _end(self, outcome: TlsOutcome) -> None:
        """Record a connection that never reached a target."""
        self._record(outcome)
        self.drop_stream()
        received, self._sent = sum(map(len, self._sent)), []
        self._log_access(received, 0)

    def _record(self, outcome: TlsOutcome) -> None:
        if self._outcome is not None:
            return
        self._outcome = outcome
        stats = self._entrypoint.stats
        stats.tls[outcome] += 1
        if self.connector is not None:
            count_ended(stats.labelled, self.connector, outcome)
        elif self.tunnel is not None:
            stats.labelled.count_unrouted(self.tunnel, outcome)

    def _log_access(self, up: int, down: int) -> None:
        """Write the line of the access log."""
        access, self._access = self._access, None
        if access is None or self._outcome is None:
            return
        access.host = self.host
        access.tunnel = short_id(self.tunnel) if self.tunnel is not None else ""
        access.retries = self.retries
        access.connector = self.connector.shown if self.connector is not None else ""
        access.received += up
        access.sent += down
        access.end(self._outcome)


classImplements(TlsVisitor, IProtocol, IHalfCloseableProtocol)


class Tls:
    """The TLS speaker."""

    name = "tls"
    prefixes = (bytes([HANDSHAKE]),)

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take over a connection."""
        visitor = TlsVisitor(entrypoint, peer)
        transport.protocol = visitor
        visitor.makeConnection(transport)
        visitor.dataReceived(data)


TLS = Tls()
