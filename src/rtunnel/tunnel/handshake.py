"""What comes before a link on the same connection: one relay message, in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.tunnel.link import Link
from rtunnel.wire.relay import MAX_MESSAGE, RelayError

__all__ = ["Handshake"]

M = TypeVar("M")


@implementer(IHalfCloseableProtocol)
class Handshake(Protocol, Generic[M]):
    """The Protocol of a connection until it became a link; from then on it only passes everything to the link.

    A subclass says what follows from the message (:meth:`received`), from none (:meth:`expired`), and from what is no message
    (:meth:`malformed`). Each ends the handshake with :meth:`switch_to_link`, :meth:`switch_to` or :meth:`finish`; what comes after
    that is for the link, for the new protocol, or dropped.

    :param take: takes the message off the beginning of the bytes, None while it is not whole.
    :param seconds: how long the message may take.
    """

    transport: Any

    def __init__(self, take: Callable[[bytes], tuple[M, int] | None], *, seconds: float, reactor: IReactorTime) -> None:
        self.link: Any = None
        """What follows: a link, or what carries the bytes of a visitor."""
        self._take = take
        self._seconds = seconds
        self._reactor = reactor
        self._timer: Any = None
        self._buffer = b""
        self._held = False

    def received(self, message: M) -> None:
        """The message is here."""
        raise NotImplementedError

    def malformed(self, reason: str) -> None:
        """What came is not the message."""
        raise NotImplementedError

    def expired(self) -> None:
        """The message did not come in time."""
        raise NotImplementedError

    def switch_to_link(self, link: Link) -> None:
        """The connection is a link from here on."""
        self.finish()
        self.link = link
        # from here on each byte goes to the link without a stop
        self.dataReceived = link.dataReceived  # type: ignore[method-assign]
        link.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def pause(self) -> None:
        """The message came in time, but what follows from it takes a while to know: what comes until :meth:`resume` is kept."""
        Handshake.finish(self)
        self._held = True

    def resume(self) -> None:
        """It is known, and the handshake has ended."""
        self._held = False
        kept, self._buffer = self._buffer, b""
        if kept:
            self.dataReceived(kept)

    def switch_to(self, protocol: Any) -> None:
        """The connection belongs to another protocol from here on, which is connected already; no byte takes the way through us."""
        self.finish()
        self.link = protocol
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self.transport.protocol = protocol

    def finish(self) -> None:
        """The handshake is over, one way or the other."""
        self._held = False
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def connectionMade(self) -> None:
        # what two ends tell each other is small, and each waits for it
        ITunnelTransport(self.transport).set_no_delay()
        self._timer = self._reactor.callLater(self._seconds, self.expired)

    def dataReceived(self, data: bytes) -> None:
        if self._held:
            self._keep(data)
        elif self._timer is not None:
            self._buffer += data
            self._take_message()

    def _keep(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_MESSAGE:
            self._held, self._buffer = False, b""
            self.malformed("too much came before the answer")

    def _take_message(self) -> None:
        try:
            taken = self._take(self._buffer)
        except RelayError as error:
            self.malformed(error.reason)
            return
        if taken is None:
            if len(self._buffer) > MAX_MESSAGE:
                self.malformed("the message is too long")
            return
        message, used = taken
        rest, self._buffer = self._buffer[used:], b""
        self.received(message)
        if rest:
            self.dataReceived(rest)

    def readConnectionLost(self) -> None:
        if self.link is not None:
            self.link.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.finish()
        if self.link is not None:
            self.link.connectionLost(reason)
