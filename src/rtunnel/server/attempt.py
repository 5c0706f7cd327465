"""Attempts: the one way from a request or connection to a connector that serves it.

Choose a connector, open a stream there, send what there is. **The first byte of an answer is the point of no return**: before it, a
connector that fails is replaced by the next one; after it, nothing is sent again. HTTP exchanges, TLS connections and visits all go
this way; here alone streams and retries are counted.
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
    """A stream of a connector, with what reads it."""

    stream: TunnelStream

    @property
    def used(self) -> bool:
        """Whether it has carried an exchange before; then its target may have closed it in the meantime."""


S = TypeVar("S", bound=AttemptStream)
S_co = TypeVar("S_co", bound=AttemptStream, covariant=True)


class AttemptOwner(RouteQuery, Protocol[S_co]):
    """Who makes an attempt, and what is asked about it."""

    def send_to(self, pool: UpstreamPool, fresh: bool) -> S_co:
        """Open a stream, or take a free one, and send all that there is so far.

        :param fresh: only on one that has carried nothing: a free one was tried and had been closed.
        :raises LinkClosed: when the link takes no more streams.
        """

    def exhausted(self) -> None:
        """No connector is left: none is attached, or each was tried."""


class AttemptHost(Protocol):
    """Where attempts are made: an entrypoint, or what lets visits in."""

    selector: Selector[UpstreamPool]
    stats: ServerStats


class Attempt(Generic[S]):
    """One request or connection on its way to a connector; owned by whoever serves it, from the rule to the end.

    It does not know its owner, which gives itself with each call: two objects that know each other would wait for the collector.

    :param host: where it is made.
    :param tunnel: where the rule leads.
    :ivar connector: the one that was tried last.
    :ivar failed: those that did not answer, in the order in which they were tried.
    :ivar retries: how often it was sent again.
    """

    # what most attempts never come to need stands here and not in each of them
    connector: Connector[UpstreamPool] | None = None
    stream: S | None = None
    """The stream of the present try, None between tries and after the end."""
    failed: list[Connector[UpstreamPool]] | None = None
    retries = 0

    def __init__(self, host: AttemptHost, tunnel: UUID) -> None:
        self._host = host
        self.tunnel = tunnel

    def start(self, owner: AttemptOwner[S], again: bool = False) -> None:
        """Try the connector that comes next.

        :param again: whether it was sent before, which :meth:`lost` knows.
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
        """The stream ended before the first byte of an answer: go on with another one."""
        stream, self.stream = self.stream, None
        if stream is None:
            return
        if not stream.used:
            # a free stream that was closed while it waited says nothing about its connector
            self._fail()
        self.start(owner, again=True)

    def drop(self) -> None:
        """Nobody waits any more: the stream ends at once, and its target's connection with it."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.stream.abortConnection()

    def _fail(self) -> None:
        if self.connector is not None:
            if self.failed is None:
                self.failed = []
            self.failed.append(self.connector)


class PendingOwner(Protocol):
    """Who waits for the first byte of a :class:`PendingStream`."""

    def answered(self, pending: PendingStream, data: bytes) -> None:
        """The first bytes came."""

    def answer_ended(self, pending: PendingStream) -> None:
        """The other end sends nothing: the target has nothing to say, or the connector gave the stream up."""

    def stream_lost(self, pending: PendingStream) -> None:
        """The stream ended."""


@implementer(IHalfCloseableProtocol)
class PendingStream:
    """The protocol of a stream that carries one connection, until its first byte: then the two are spliced.

    :raises LinkClosed: when the connector's link takes no more streams.
    """

    __slots__ = ("_owner", "stream")

    used = False

    def __init__(self, owner: PendingOwner, pool: UpstreamPool) -> None:
        self._owner = owner
        self.stream = pool.open_raw(self)

    def makeConnection(self, transport: Any) -> None:
        """Streams are connected from their beginning."""

    def dataReceived(self, data: bytes) -> None:
        self._owner.answered(self, data)

    def readConnectionLost(self) -> None:
        self._owner.answer_ended(self)

    def writeConnectionLost(self) -> None:
        """Our own half-close went through."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._owner.stream_lost(self)
