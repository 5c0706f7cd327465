"""Attempts: sending a request or connection to a selected connector, with failover.

Select a connector, open a stream, send what was received so far. **The first byte of the response is the point of no return**:
before it, a failed connector is replaced by the next one; after it, nothing is retried. HTTP exchanges, TLS connections and visits
all use this module, which is also the only one that counts streams and retries.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.metrics.stats import ServerStats
from rtunnel.routing.selection import RouteQuery, Selector
from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.tunnel.stream import TunnelStream

__all__ = ["Attempt", "AttemptOwner", "PendingOwner", "PendingStream"]


class AttemptStream(Protocol):
    """A stream of a connector, with its protocol."""

    stream: TunnelStream

    @property
    def used(self) -> bool:
        """Whether it has carried an exchange before; then its target may have closed it meanwhile."""


S = TypeVar("S", bound=AttemptStream)
S_co = TypeVar("S_co", bound=AttemptStream, covariant=True)


class AttemptOwner(RouteQuery, Protocol[S_co]):
    """The owner of an attempt, and the query that it is routed by."""

    def send_to(self, pool: UpstreamPool, fresh: bool) -> S_co:
        """Open a stream or acquire an idle one, and send everything received so far.

        :param fresh: whether to use a new stream only, because an idle one was tried and had been closed.
        :raises LinkClosed: when the link accepts no more streams.
        """

    def exhausted(self) -> None:
        """No connector is left: none is attached, or all were tried."""


class AttemptHost(Protocol):
    """Where attempts are made: an entrypoint, or the relay entrypoint of visits."""

    selector: Selector[UpstreamPool]
    stats: ServerStats


class Attempt(Generic[S]):
    """The attempts to send one request or connection to a connector; owned by the exchange, TLS connection or visit.

    The owner is an argument of each call and not an attribute: a reference cycle would leave both to the garbage collector.

    :param host: where it is made.
    :param tunnel: the tunnel of the matching rule.
    :ivar connector: the one that was tried last.
    :ivar failed: those that did not respond, in the order in which they were tried.
    :ivar retries: how often it was retried.
    """

    # class attributes for what most attempts never set
    connector: Connector[UpstreamPool] | None = None
    stream: S | None = None
    """The stream of the current attempt, None between attempts and after the end."""
    failed: list[Connector[UpstreamPool]] | None = None
    retries = 0

    def __init__(self, host: AttemptHost, tunnel: UUID) -> None:
        self._host = host
        self.tunnel = tunnel

    def start(self, owner: AttemptOwner[S], again: bool = False) -> None:
        """Try the next connector.

        :param again: whether this is a retry (see :meth:`lost`).
        """
        while True:
            connector = self._host.selector.select(self.tunnel, owner, self.failed)
            if connector is None:
                owner.exhausted()
                return
            self.connector = connector
            try:
                stream = self.stream = owner.send_to(connector.pool, again)
            except LinkClosed:
                self._fail()
                continue
            if not stream.used:
                connector.streams += 1
                self._host.stats.streams_total += 1
            if again:
                self.retries += 1
                self._host.stats.retries_total += 1
            return

    def lost(self, owner: AttemptOwner[S]) -> None:
        """The stream was closed before the first byte of a response: try the next one."""
        stream, self.stream = self.stream, None
        if stream is None:
            return
        if not stream.used:
            # an idle stream that had been closed is not a failure of its connector
            self._fail()
        self.start(owner, again=True)

    def drop(self) -> None:
        """The visitor is gone: close the stream at once, and with it the target's connection."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.stream.abortConnection()

    def _fail(self) -> None:
        if self.connector is not None:
            if self.failed is None:
                self.failed = []
            self.failed.append(self.connector)


class PendingOwner(Protocol):
    """The owner of a :class:`PendingStream`."""

    def answered(self, pending: PendingStream, data: bytes) -> None:
        """The first bytes were received."""

    def answer_ended(self, pending: PendingStream) -> None:
        """The other end half-closed without sending anything: the target sends no data, or the connector gave up."""

    def stream_lost(self, pending: PendingStream) -> None:
        """The stream was closed."""


@implementer(IHalfCloseableProtocol)
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
        self._owner.answered(self, data)

    def readConnectionLost(self) -> None:
        self._owner.answer_ended(self)

    def writeConnectionLost(self) -> None:
        """Our half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._owner.stream_lost(self)
