"""Forwarding: a stream of a peer link, joined with a stream of a local connector.

The other server has chosen the connector, and whatever it knows about the request. Here nothing is routed, and nothing is read but
the prefix: a stream that came from a peer never goes to another one.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.metrics.stats import ServerStats
from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import LinkFull, UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.peers import PREFIX, take_prefix
from rtunnel.wire.relay import RelayError

__all__ = ["Forwarding"]


class Forwarding:
    """Takes the streams of peer links; owned by what the server shares with others.

    :param find: finds a local connector that may get new streams, None if there is none with that ID.
    """

    _log = Logger()

    def __init__(self, find: Callable[[UUID], Connector[UpstreamPool] | None], stats: ServerStats) -> None:
        self._find = find
        self._stats = stats

    def accept(self, stream: TunnelStream) -> None:
        """Take a stream that a peer has opened."""
        self._stats.peers.streams_in += 1
        stream.protocol = _Prefix(self, stream)

    def begin(self, stream: TunnelStream, prefix: bytes, rest: bytes) -> None:
        """Join a stream with one of the connector that its prefix names."""
        try:
            connector = self._find(take_prefix(prefix))
        except RelayError as error:
            self._log.warn("{stream}: {reason}", stream=repr(stream.getPeer()), reason=error.reason)
            connector = None
        if connector is None:
            self._turn_away(stream)
            return
        near, far = _End(is_near=True), _End(is_near=False)
        near.other, far.other = far, near
        near.stream = stream
        try:
            far.stream = connector.pool.open_raw(far)
        except LinkClosed as error:
            if isinstance(error, LinkFull):
                self._stats.reach(error.limit)
            self._turn_away(stream)
            return
        connector.streams += 1
        self._stats.streams_total += 1
        stream.protocol = near
        stream.registerProducer(far, True)
        far.stream.registerProducer(near, True)
        if rest:
            far.stream.write(rest)

    def _turn_away(self, stream: TunnelStream) -> None:
        """Nothing was delivered, and not for the target: the connector has left, or is full. Only peers say both at once."""
        self._stats.peers.turned_away += 1
        stream.mark_broken()
        stream.refuse()


@implementer(IHalfCloseableProtocol)
class _Prefix:
    """The protocol of a stream of a peer until its prefix is there."""

    __slots__ = ("_buffer", "_forwarding", "_stream")

    def __init__(self, forwarding: Forwarding, stream: TunnelStream) -> None:
        self._forwarding = forwarding
        self._stream = stream
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        data = self._buffer + data
        if len(data) < PREFIX:
            self._buffer = data
        else:
            self._forwarding.begin(self._stream, data[:PREFIX], data[PREFIX:])

    def readConnectionLost(self) -> None:
        self._stream.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It carried nothing yet."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class _End:
    """One of two streams that are joined: the protocol of its stream, and the producer of the other one.

    Whatever can be said on a stream is passed on as it is: bytes, the end of a direction, *stop sending*, *nothing was delivered*
    and *this end is no proper one*. A slow reader pauses the stream that writes to it, which holds a window at most.

    :param is_near: whether it is the stream of the peer.
    """

    __slots__ = ("_is_near", "other", "stream")

    other: _End
    stream: TunnelStream

    def __init__(self, *, is_near: bool) -> None:
        self._is_near = is_near

    # -- the protocol of its stream

    def dataReceived(self, data: bytes) -> None:
        self.other.stream.write(data)

    def readConnectionLost(self) -> None:
        if not self._tell_refusal():
            self.other.stream.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """Our own half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        other = self.other.stream
        # the two know each other, and would wait for the garbage collector
        del self.other
        if reason.check(ConnectionDone) is not None:
            other.loseConnection()
        elif self._is_near:
            # nobody is left who would read
            other.abortConnection()
        else:
            other.mark_broken()
            other.loseConnection()

    def _tell_refusal(self) -> bool:
        """Say what the other end of this stream has said about its end; whether that was a refusal, after which nothing follows."""
        stream, other = self.stream, self.other.stream
        if stream.refused:
            other.refuse()
        elif stream.broken:
            other.mark_broken()
        return stream.refused

    # -- the producer of the other one

    def pauseProducing(self) -> None:
        self.stream.pauseProducing()

    def resumeProducing(self) -> None:
        self.stream.resumeProducing()

    def stopProducing(self) -> None:
        """The other end of the other stream reads no more. If that stream has ended, its protocol hears of it as well."""
        if self.stream.ended:
            return
        other = self.other
        if not other.stream.ended and not other._tell_refusal():
            self.stream.stop_peer()
