"""Streams that carry HTTP exchanges one after another, pooled per connector and host.

A pooled stream is connected to its target already: a request on it costs no SYN, no connect and no FIN.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.tunnel.link import Link
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1 import HeadLimits, ResponseReader
from rtunnel.wire.http1_exchange import AnswerSide, Event

__all__ = ["AnswerOwner", "Upstream", "UpstreamPool"]

MAX_IDLE = 1024
"""Free streams that a pool keeps for one host."""


class AnswerOwner(Protocol):
    """Who waits for the answer that comes on an upstream."""

    def answer(self, events: list[Event]) -> None:
        """Something of the answer came."""

    def upstream_ended(self) -> None:
        """The stream ended, or its other end says nothing more."""


@implementer(IHalfCloseableProtocol)
class Upstream:
    """The protocol of one stream for all its life; owned by an exchange while :attr:`exchange` is set, else by its pool."""

    __slots__ = ("answers", "exchange", "host", "idle_since", "pool", "stream", "used")

    def __init__(self, pool: UpstreamPool, host: str) -> None:
        self.pool = pool
        self.host = host
        self.stream: TunnelStream = pool.link.open_stream(self)
        self.answers = AnswerSide(pool.reader)
        self.exchange: AnswerOwner | None = None
        self.used = False
        """Whether an exchange was completed on it: then the target may have closed it in the meantime."""
        self.idle_since = 0.0

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # a target that speaks without being asked cannot be trusted with the next request
            self.discard()
        else:
            exchange.answer(self.answers.receive(data))

    def readConnectionLost(self) -> None:
        if self.exchange is None:
            self.discard()
        else:
            self.exchange.upstream_ended()

    def writeConnectionLost(self) -> None:
        """Our own half-close went through."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        exchange = self.exchange
        self.pool.forget(self)
        if exchange is not None:
            exchange.upstream_ended()

    def discard(self) -> None:
        """Close the stream at once; the target's connection closes with it."""
        self.exchange = None
        self.pool.forget(self)
        self.stream.abortConnection()

    def release(self) -> None:
        """The exchange is complete: the stream carries another one if it can."""
        if not self.answers.reusable:
            self.stream.unregisterProducer()
            self.discard()
            return
        self.exchange = None
        self.used = True
        stream = self.stream
        if stream.paused:
            stream.resumeProducing()
        pool = self.pool
        if stream.open:
            free = pool.free.get(self.host)
            if free is None:
                free = pool.free[self.host] = []
            if len(free) < pool.max_idle:
                self.idle_since = 0.0
                free.append(self)
                return
        self.discard()


class UpstreamPool:
    """The free streams of one connector; owned by its link, ends with it.

    :param link: where new streams are opened.
    :param limits: how large the head of a target's answer may be.
    :param idle: seconds that a free stream is kept; 0 to keep none.
    """

    __slots__ = ("_idle", "free", "link", "max_idle", "reader")

    def __init__(self, link: Link, *, limits: HeadLimits, idle: float) -> None:
        self.reader = ResponseReader(limits)
        self.link = link
        self.max_idle = MAX_IDLE if idle else 0
        """Free streams that are kept for one host."""
        self._idle = idle
        self.free: dict[str, list[Upstream]] = {}
        """The free streams by host, those that were used last at the end."""

    @property
    def busy(self) -> bool:
        """Whether a stream of the link is in use, by an exchange or otherwise."""
        return len(self.link.streams) > sum(map(len, self.free.values()))

    def acquire(self, host: str) -> Upstream | None:
        """Take the free stream of a host that was used last, unless its link is closing: nothing is sent there any more."""
        free = self.free.get(host)
        return free.pop() if free and self.link.usable else None

    def acquire_recent(self, host: str) -> Upstream | None:
        """The same, if no sweep has seen it free: its target answered less than half a second ago, so it hardly has closed it."""
        free = self.free.get(host)
        return free.pop() if free and not free[-1].idle_since and self.link.usable else None

    def open(self, host: str) -> Upstream:
        """Open a stream for a host.

        :raises rtunnel.tunnel.link.LinkClosed: when the link takes no more streams.
        """
        return Upstream(self, host)

    def open_raw(self, protocol: Any) -> TunnelStream:
        """Open a stream for one connection, whatever it speaks.

        :raises rtunnel.tunnel.link.LinkClosed: when the link takes no more streams.
        """
        return self.link.open_stream(protocol)

    def forget(self, upstream: Upstream) -> None:
        """A stream ended."""
        free = self.free.get(upstream.host)
        if free and upstream in free:
            free.remove(upstream)

    def sweep(self, now: float) -> None:
        """Close what was free for too long, counted from the first sweep that saw it free."""
        for host, free in list(self.free.items()):
            if not free:
                del self.free[host]
            for upstream in list(free):
                if not upstream.idle_since:
                    upstream.idle_since = now
                elif now - upstream.idle_since >= self._idle:
                    upstream.discard()
