"""Attempts: sending a request or connection to a selected connector, with failover.

Select a connector, open a stream, send what was received so far. **The first byte of the response is the point of no return**:
before it, a failed connector is replaced by the next one; after it, nothing is retried. HTTP exchanges, TLS connections and visits
all use this module, which is also the only one that counts streams and retries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit
from rtunnel.routing.selection import Selector
from rtunnel.routing.tunnels import Connector
from rtunnel.server.health import HealthMonitor
from rtunnel.server.upstream import LinkFull, UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.tunnel.stream import TunnelStream

__all__ = ["Attempts", "PendingOwner", "PendingStream"]


class AttemptStream(Protocol):
    """A stream of a connector, with its protocol."""

    stream: TunnelStream

    @property
    def used(self) -> bool:
        """Whether it has carried an exchange before; then its target may have closed it meanwhile."""


S = TypeVar("S", bound=AttemptStream)


class AttemptHost(Protocol):
    """Where attempts are made: an entrypoint, or the relay entrypoint of visits.

    :ivar max_retries: how often one request or connection is sent again: a tunnel may have hundreds of connectors that fail.
    """

    max_retries: int
    selector: Selector[UpstreamPool]
    stats: ServerStats
    health: HealthMonitor


H = TypeVar("H", bound=AttemptHost)


class Attempts(Generic[H, S]):
    """The attempts to send one request or connection to a connector; the base class of exchanges, TLS connections and visits.

    A subclass is the :class:`~rtunnel.routing.selection.RouteQuery` that it is routed by, sets :attr:`stream` to None in its
    constructor and :attr:`tunnel` to the one of the matching rule, calls :meth:`try_next` once, and :meth:`retry` when a stream was
    closed before the first byte.

    :ivar host: the host that it asks for.
    :ivar tunnel: None before it is routed.
    :ivar connector: the one that was tried last.
    :ivar stream: of the current attempt; None between attempts.
    :ivar failed: the connectors that did not respond, in the order in which they were tried.
    :ivar retries: how often it was retried.
    :ivar crowded: whether one of them could not take it, because too much waits for it or it has too many streams.
    """

    _entrypoint: H
    host: str

    stream: S | None

    # class attributes for what most attempts never set
    tunnel: UUID | None = None
    connector: Connector[UpstreamPool] | None = None
    failed: list[Connector[UpstreamPool]] | None = None
    retries = 0
    crowded = False

    def send_to(self, pool: UpstreamPool, fresh: bool) -> S:
        """Open a stream or acquire an idle one, and send everything received so far.

        :param fresh: whether to use a new stream only, because an idle one was tried and had been closed.
        :raises LinkClosed: when the link accepts no more streams.
        """
        raise NotImplementedError

    def exhausted(self) -> None:
        """No connector is left: none is attached, all were tried, or as many of them as may be."""
        raise NotImplementedError

    # -- RouteQuery: what a connection without HTTP leaves empty

    def method(self) -> bytes:
        """The method of a request."""
        return b""

    def path(self) -> bytes:
        """The target of a request in origin-form."""
        return b""

    def lines(self) -> bytes:
        """The request line and the end-to-end fields of a request."""
        return b""

    def taken(self) -> Mapping[bytes, bytes]:
        """The values of fields of a request that the proxy writes itself."""
        return {}

    def new_visitor(self) -> bytes | None:
        """The key of a visitor that has no cookie yet, and gets it with the response; None where no response could have one."""
        return None

    # -- the attempts

    def try_next(self, again: bool = False) -> None:
        """Try the next connector.

        :param again: whether this is a retry (see :meth:`retry`).
        """
        entrypoint, tunnel = self._entrypoint, self.tunnel
        query: Any = self  # as each subclass is
        while True:
            connector = entrypoint.selector.select(tunnel, query, self.failed) if tunnel is not None else None
            if connector is None:
                self.exhausted()
                return
            self.connector = connector
            if connector.failing:
                entrypoint.health.tried(connector, self.host)
            try:
                stream = self.stream = self.send_to(connector.pool, again)
            except LinkClosed as error:
                if isinstance(error, LinkFull):
                    self.crowded = True
                    entrypoint.stats.reach(error.limit)
                self._fail(connector)
                continue
            if not stream.used:
                connector.streams += 1
                entrypoint.stats.streams_total += 1
            if again:
                self.retries += 1
                entrypoint.stats.retries_total += 1
            return

    def retry(self) -> None:
        """The stream was closed before the first byte of a response: try the next connector."""
        stream, self.stream = self.stream, None
        if stream is None or self.connector is None:
            return
        if not stream.used:
            # an idle stream that had been closed is not a failure of its connector
            self._fail(self.connector)
            self.crowded = self.crowded or self.connector.pool.link.full or stream.stream.turned_away
            self.blame(self.connector, stream.stream)
        if self.retries < self._entrypoint.max_retries:
            self.try_next(again=True)
        else:
            self._entrypoint.stats.reach(Limit.RETRIES)
            self.exhausted()

    def blame(self, connector: Connector[UpstreamPool], stream: TunnelStream) -> None:
        """A connector did not answer on a stream; unless it has left, this is about its target."""
        if not stream.turned_away:
            self._entrypoint.health.failed(connector, self.host, delivered=not stream.refused)

    def succeeded(self) -> None:
        """The first byte of a response was received."""
        connector = self.connector
        if connector is not None and connector.failing:
            self._entrypoint.health.succeeded(connector, self.host)

    @property
    def overloaded(self) -> bool:
        """Whether it fails because there is too much to do, now that no connector is left."""
        return self.crowded or (not self.failed and self._entrypoint.selector.registry.suspended)

    def drop_stream(self) -> None:
        """The visitor is gone: close the stream at once, and with it the target's connection."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.stream.abortConnection()

    def _fail(self, connector: Connector[UpstreamPool]) -> None:
        if self.failed is None:
            self.failed = []
        self.failed.append(connector)


class PendingOwner(Protocol):
    """The owner of a :class:`PendingStream`."""

    def answered(self, pending: PendingStream, data: bytes) -> None:
        """The first bytes were received."""

    def answer_ended(self, pending: PendingStream) -> None:
        """The other end half-closed without sending anything: the target sends no data, or the connector gave up."""

    def stream_lost(self, pending: PendingStream) -> None:
        """The stream was closed."""

    def fail(self) -> None:
        """One of these has raised; called where that was caught."""


class PendingStream:
    """The protocol of a stream that carries one connection, until its first byte; then the two are spliced.

    :raises LinkClosed: when the connector's link accepts no more streams.
    """

    __slots__ = ("_owner", "stream")

    used = False

    def __init__(self, owner: PendingOwner, pool: UpstreamPool) -> None:
        self._owner = owner
        self.stream = pool.open_raw(self)

    def makeConnection(self, transport: Any) -> None:
        """Does nothing: streams are connected from the start."""

    def dataReceived(self, data: bytes) -> None:
        try:
            self._owner.answered(self, data)
        except Exception:
            self._owner.fail()

    def readConnectionLost(self) -> None:
        try:
            self._owner.answer_ended(self)
        except Exception:
            self._owner.fail()

    def writeConnectionLost(self) -> None:
        """Our half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        try:
            self._owner.stream_lost(self)
        except Exception:
            self._owner.fail()


classImplements(PendingStream, IHalfCloseableProtocol)
