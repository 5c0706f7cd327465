"""Streams that carry HTTP exchanges one after another, pooled per connector and host.

A pooled stream is already connected to its target: a request on it costs no SYN, no connect and no FIN.

HTTP/1 does not say which request a response belongs to, so bytes beyond the end of a response would be taken for the next one.
They are noticed where that can be known: behind the response, on an idle stream, before the next request has left, or because they
are no response. Then the stream is closed, and no stream to this host of the connector is reused any more, since such a target does
it again.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from math import inf
from typing import Any, Protocol

from attrs import Factory, frozen
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.outcomes import Limit
from rtunnel.tunnel.bounds import StreamCount
from rtunnel.tunnel.link import Link, LinkClosed
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1 import HeadLimits, ResponseReader
from rtunnel.wire.http1_exchange import AnswerSide, Event

__all__ = ["MAX_UNFIT", "AnswerOwner", "LinkFull", "StreamLimits", "Upstream", "UpstreamPool"]

_log = Logger()

MAX_IDLE = 512
"""Maximum number of idle streams that a pool keeps, of all hosts: each is a connection of the client to its target, too."""
MAX_UNFIT = 64
"""Hosts of a connector that a pool remembers as unfit for reuse; with more of them it keeps no idle streams at all."""


class LinkFull(LinkClosed):
    """No stream can be opened at the moment.

    :param limit: that is reached.
    """

    def __init__(self, limit: Limit, text: str) -> None:
        super().__init__(text)
        self.limit = limit


@frozen
class StreamLimits:
    """How many streams there may be.

    :param of_link: those of one link.
    :param of_tunnel: those of all links of its tunnel.
    :param count: how many the tunnel has.
    """

    of_link: int = sys.maxsize
    of_tunnel: int = sys.maxsize
    count: StreamCount = Factory(StreamCount)


class AnswerOwner(Protocol):
    """Receives the response on an upstream."""

    def answer(self, events: list[Event]) -> None:
        """A part of the response was received."""

    def upstream_ended(self) -> None:
        """The stream was closed, or half-closed by its other end."""

    def fail(self, *, answering: bool = False) -> None:
        """One of these has raised; called where that was caught.

        :param answering: whether something of the response may have been passed on.
        """


class Upstream:
    """The protocol of one stream for its whole lifetime; owned by an exchange while :attr:`exchange` is set, else by its pool."""

    __slots__ = ("answers", "exchange", "host", "idle_since", "pool", "sent_at", "stream", "used")

    def __init__(self, pool: UpstreamPool, host: str) -> None:
        self.pool = pool
        self.host = host
        self.stream = pool.open_raw(self)
        self.answers = AnswerSide(pool.reader)
        self.exchange: AnswerOwner | None = None
        self.used = False
        """Whether an exchange was completed on it: then the target may have closed it meanwhile."""
        self.idle_since = 0.0
        self.sent_at = -1
        """What the link had sent when the request of the exchange was written: as long as that does not change, it has not left."""

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # a target that sends data without a request cannot be trusted with the next one
            if not self.idle_since:
                self.pool.stop_reuse(self.host)
            self.discard()
        elif self.sent_at == self.pool.link.bytes_out:
            # the request has not left yet, so this belongs to nobody
            self.pool.stop_reuse(self.host)
            self._tell_end(exchange)
        else:
            try:
                exchange.answer(self.answers.receive(data))
            except Exception:
                exchange.fail(answering=True)

    def readConnectionLost(self) -> None:
        if self.exchange is None:
            self.discard()
        else:
            self._tell_end(self.exchange)

    def writeConnectionLost(self) -> None:
        """Our half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        exchange = self.exchange
        self.pool.forget(self)
        if exchange is not None:
            self._tell_end(exchange)

    def _tell_end(self, exchange: AnswerOwner) -> None:
        try:
            exchange.upstream_ended()
        except Exception:
            exchange.fail()

    def discard(self) -> None:
        """Close the stream at once, and with it the target's connection."""
        self.exchange = None
        self.pool.forget(self)
        self.stream.abortConnection()

    def release(self) -> None:
        """The exchange is complete: return the stream to the pool if it can be reused."""
        stream, pool = self.stream, self.pool
        if self.answers.reusable and not (pool.unfit and self.host in pool.unfit):
            self.exchange = None
            self.used = True
            if stream.paused:
                # what arrives now was not asked for, and closes it
                stream.resumeProducing()
            if stream.open:
                free = pool.free[self.host]
                if pool.idle < pool.max_idle or pool.make_room():
                    pool.idle += 1
                    self.idle_since = 0.0
                    free.append(self)
                    return
        elif self.answers.surplus:
            pool.stop_reuse(self.host)
        stream.unregisterProducer()
        self.discard()


classImplements(Upstream, IHalfCloseableProtocol)


class UpstreamPool:
    """The idle streams of one connector; owned by its link.

    :param link: where new streams are opened.
    :param limits: maximum sizes of a response head.
    :param idle: how long an idle stream is kept, in seconds; 0 disables pooling.
    :param streams: how many streams there may be, idle ones included.
    """

    __slots__ = ("_idle_time", "_streams", "free", "idle", "link", "max_idle", "reader", "unfit")

    is_remote = False
    """Whether the link leads to another server, and carries the streams of other connectors, too."""

    def __init__(self, link: Link, *, limits: HeadLimits, idle: float, streams: StreamLimits | None = None) -> None:
        self.reader = ResponseReader(limits)
        self.link = link
        self.max_idle = MAX_IDLE if idle else 0
        """Maximum number of idle streams."""
        self.idle = 0
        """Number of idle streams."""
        self._idle_time = idle
        self._streams = streams or StreamLimits()
        self.free: defaultdict[str, list[Upstream]] = defaultdict(list)
        """The idle streams by host, the most recently used ones last."""
        self.unfit: set[str] = set()
        """Hosts whose target sent bytes that belong to no request: their streams carry one exchange each."""

    @property
    def busy(self) -> bool:
        """Whether a stream of the link is in use, by an exchange or otherwise."""
        return self.link.carrying > self.idle

    @property
    def knows_signals(self) -> bool:
        """Whether the client is known to understand the signals that :mod:`rtunnel.wire.smux` adds."""
        return self.link.knows_signals

    def acquire(self, host: str) -> Upstream | None:
        """Acquire the most recently used idle stream of a host; None if there is none or the link is closing."""
        free = self.free.get(host)
        if not free or not self.link.usable:
            return None
        self.idle -= 1
        return free.pop()

    def acquire_recent(self, host: str) -> Upstream | None:
        """The same, if no sweep has seen it idle: it was in use less than half a second ago, so its target has hardly closed it."""
        free = self.free.get(host)
        return None if not free or free[-1].idle_since else self.acquire(host)

    def open(self, host: str) -> Upstream:
        """Open a stream for a host.

        :raises LinkFull: when there are as many streams as there may be, or too much waits for the client.
        :raises LinkClosed: when the link accepts no more streams.
        """
        return Upstream(self, host)

    def open_raw(self, protocol: Any) -> TunnelStream:
        """Open a stream for one connection of any protocol.

        :raises LinkFull: when there are as many streams as there may be, or too much waits for the client.
        :raises LinkClosed: when the link accepts no more streams.
        """
        link, streams = self.link, self._streams
        if link.full:
            raise LinkFull(Limit.LINK_BUFFER, "too much waits for the client")
        if len(link.streams) >= streams.of_link and not self.make_room():
            raise LinkFull(Limit.STREAMS_PER_LINK, "the link has as many streams as it may have")
        if streams.count.open >= streams.of_tunnel and not self.make_room():
            raise LinkFull(Limit.STREAMS_PER_TUNNEL, "the tunnel has as many streams as it may have")
        return link.open_stream(protocol)

    def forget(self, upstream: Upstream) -> None:
        """A stream was closed."""
        free = self.free.get(upstream.host)
        if free and upstream in free:
            free.remove(upstream)
            self.idle -= 1

    def stop_reuse(self, host: str) -> None:
        """A target sent bytes that belong to no request: none of its streams can be trusted with a further one."""
        if host in self.unfit or not self.max_idle:
            return
        self.unfit.add(host)
        _log.warn(
            'the target of "{host}" at {peer} sends more than its responses: each request to it gets a connection of its own',
            host=host,
            peer=self.link.peer,
        )
        if len(self.unfit) > MAX_UNFIT:
            self.retire()
        for upstream in list(self.free.get(host, ())):
            upstream.discard()

    def make_room(self) -> bool:
        """Close the stream that has been idle for longest; False if none may be kept at all."""
        idle = [upstream for free in self.free.values() for upstream in free[:1]]
        if not self.max_idle or not idle:
            return False
        # those that no sweep has seen yet are the newest ones
        min(idle, key=lambda upstream: upstream.idle_since or inf).discard()
        return True

    def retire(self) -> None:
        """Keep no idle stream any more, and close the others when their exchange ends: a client that leaves sees when it may go."""
        self.max_idle = 0
        for free in list(self.free.values()):
            for upstream in list(free):
                upstream.discard()

    def sweep(self, now: float) -> None:
        """Close streams that were idle for too long, counted from the first sweep that saw them idle."""
        for host, free in list(self.free.items()):
            if not free:
                del self.free[host]
            for upstream in list(free):
                if not upstream.idle_since:
                    upstream.idle_since = now
                elif now - upstream.idle_since >= self._idle_time:
                    upstream.discard()
