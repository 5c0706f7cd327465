"""What precedes a link on the same connection: one relay message, within a time limit."""

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
    """The Protocol of a connection until it becomes a link; from then on everything is passed to the link.

    A subclass decides what follows from the message (:meth:`received`), from a timeout (:meth:`expired`), and from bytes that are
    not a message (:meth:`malformed`). Each ends the handshake with :meth:`switch_to_link`, :meth:`switch_to` or :meth:`finish`;
    what is received after that goes to the link, to the new protocol, or nowhere.

    :param take: parses the message at the beginning of some bytes; None while it is not complete.
    :param seconds: how long the message may take.
    :param most: bytes that are kept of it, and of what follows before :meth:`resume`.
    """

    transport: Any

    def __init__(
        self, take: Callable[[bytes], tuple[M, int] | None], *, seconds: float, reactor: IReactorTime, most: int = MAX_MESSAGE
    ) -> None:
        self.link: Any = None
        """What follows: a link, or the protocol of a visit."""
        self._take = take
        self._seconds = seconds
        self._most = most
        self._reactor = reactor
        self._timer: Any = None
        self._buffer = b""
        self._paused = False

    def received(self, message: M) -> None:
        """The message was received."""
        raise NotImplementedError

    def malformed(self, reason: str) -> None:
        """What was received is not the message."""
        raise NotImplementedError

    def expired(self) -> None:
        """The message was not received in time."""
        raise NotImplementedError

    def switch_to_link(self, link: Link) -> None:
        """The connection is a link from here on."""
        self.finish()
        self.link = link
        # from here on bytes go straight to the link
        self.dataReceived = link.dataReceived  # type: ignore[method-assign]
        link.makeConnection(self.transport)

    def pause(self) -> None:
        """The message was received in time, but its consequences are not known yet: buffer bytes until :meth:`resume`."""
        Handshake.finish(self)
        self._paused = True

    def resume(self) -> None:
        """They are known, and the handshake has ended."""
        self._paused = False
        held, self._buffer = self._buffer, b""
        if held:
            self.dataReceived(held)

    def switch_to(self, protocol: Any) -> None:
        """Hand the connection over to another protocol, which is connected already; nothing passes through here any longer."""
        self.finish()
        self.link = protocol
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self.transport.protocol = protocol

    def finish(self) -> None:
        """End the handshake, whatever follows."""
        self._paused = False
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def connectionMade(self) -> None:
        # the frames of a tunnel are small, and the peer waits for them
        ITunnelTransport(self.transport).set_no_delay()
        self._timer = self._reactor.callLater(self._seconds, self.expired)

    def dataReceived(self, data: bytes) -> None:
        if self._paused:
            self._hold(data)
        elif self._timer is not None:
            self._buffer += data
            self._take_message()

    def _hold(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > self._most:
            self._paused, self._buffer = False, b""
            self.malformed("too many bytes before the answer")

    def _take_message(self) -> None:
        try:
            taken = self._take(self._buffer)
        except RelayError as error:
            # its first bytes say what the other end speaks instead
            self.malformed(error.reason)
            self._buffer = b""
            return
        if taken is None:
            if len(self._buffer) > self._most:
                self._buffer = b""
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
