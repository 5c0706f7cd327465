"""Transports that keep what is written, for tests of one end that call its protocol themselves.

Where two ends talk, or where it matters that a transport pauses and ends as a socket does, :mod:`tests.support.pipe` has the better
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from rtunnel.transport.interfaces import ITunnelTransport

__all__ = ["PingingTransport", "Transport"]


@implementer(ITCPTransport)
class Transport(StringTransport):
    """A string transport with what a socket has besides."""

    protocol: Any = None
    aborted = False
    half_closed = False
    paused_reading = False
    no_delay = False

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Like a socket's."""

    def unregisterProducer(self) -> None:
        """Like a socket's: also when there is none."""
        self.producer = None

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def pauseProducing(self) -> None:
        self.paused_reading = True

    def resumeProducing(self) -> None:
        self.paused_reading = False


@implementer(ITunnelTransport)
class PingingTransport(Transport):
    """The same as the end of a WebSocket whose peer does not know half-close.

    :ivar pings: how many were sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pings = 0
        self.fields: dict[bytes, bytes] = {}
        self.taken: Any = None
        self._on_pong: Callable[[], None] = lambda: None
        self._end_write: Callable[[], None] | None = None

    def ping(self, on_pong: Callable[[], None]) -> bool:
        self.pings += 1
        self._on_pong = on_pong
        return not self.paused_reading

    def pong(self) -> None:
        """The peer answers."""
        self._on_pong()

    def enter_half_close_mode(self, end_write: Callable[[], None] | None = None) -> None:
        self._end_write = end_write

    def loseWriteConnection(self) -> None:
        (self._end_write or self.loseConnection)()

    def set_no_delay(self) -> None:
        self.no_delay = True

    def unsent(self) -> int:
        """Nothing waits."""
        return 0

    def tcp_socket(self) -> None:
        """There is none."""

    def place(self) -> Any:
        return self.taken

    def request_fields(self) -> Mapping[bytes, bytes]:
        return self.fields
