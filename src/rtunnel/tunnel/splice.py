"""The one place where two transports are joined."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from rtunnel.transport.reasons import Stalled
from rtunnel.transport.stream_protocol import StreamProtocol

__all__ = ["Splice", "SpliceOutcome"]


class SpliceOutcome(Enum):
    """How a splice ended; each ends in exactly one way."""

    DONE = "done"
    """Both sides sent everything and closed."""
    NEAR_LOST = "near_lost"
    """The near side (a visitor, or a stream of the link) was lost before both had finished."""
    FAR_LOST = "far_lost"
    """The far side (a target) was lost before both had finished."""


Tap = Callable[[bytes], None]
"""Sees bytes that were passed on."""


class Splice:
    """Joins a near and a far transport both ways, with backpressure and half-close, until both are done.

    Each side is a Protocol (:attr:`near`, :attr:`far`) to be set on its transport; what one receives is written to the other,
    and each transport is the producer of the other, so that a slow side pauses the fast one. The end of one direction is passed
    on as a half-close; when both directions ended, or one side is lost, both transports are closed and ``on_end`` is called, once,
    with the outcome, the bytes that went from near to far and those that went from far to near.

    :param on_broken: called before the near side is closed, when the far side was lost before it had ended.
    :param taps: called with what the near side and the far side have sent, after it was passed on; None for nobody.
    """

    __slots__ = ("_on_broken", "_on_end", "far", "last", "near", "outcome")

    def __init__(
        self,
        on_end: Callable[[SpliceOutcome, int, int], None],
        on_broken: Callable[[], None] = lambda: None,
        taps: tuple[Tap, Tap] | None = None,
    ) -> None:
        self._on_end = on_end
        self._on_broken = on_broken
        self.outcome: SpliceOutcome | None = None
        if taps is None:
            self.near = Side(self, SpliceOutcome.NEAR_LOST)
            self.far = Side(self, SpliceOutcome.FAR_LOST)
        else:
            self.near = TappedSide(self, SpliceOutcome.NEAR_LOST, taps[0])
            self.far = TappedSide(self, SpliceOutcome.FAR_LOST, taps[1])
        self.near.other, self.far.other = self.far, self.near
        self.last: Side | None = None
        """The side that sent last."""

    def join(self) -> None:
        """Start, when both sides are connected; what the near side sent earlier is passed on."""
        for side in (self.near, self.far):
            if not side.other.lost:
                # a side that is lost never resumes, and a transport that is closing would wait for it
                side.transport.registerProducer(side.other.transport, True)
            side.joined = True
        for side in (self.near, self.far):
            early, side.early = side.early, []
            for data in early:
                side.other.send(data)
            if side.read_ended:
                side.other.finish()

    def abort(self) -> None:
        """Cut both sides."""
        for side in (self.near, self.far):
            if side.transport is not None and not side.lost:
                side.transport.abortConnection()

    def side_lost(self, side: Side, clean: bool) -> None:
        """A transport is lost: close the other one, and report the outcome when both are."""
        other = side.other
        if self.outcome is None and not (clean and side.read_ended and other.read_ended):
            self.outcome = side.if_lost
        if not other.lost:
            if side is self.far and not clean and not side.read_ended:
                self._on_broken()
            # what the far side sent is still delivered; a near side that was cut off must not look like a clean end
            other.close(at_once=side is self.near and not clean)
            return
        self.outcome = self.outcome or SpliceOutcome.DONE
        self._on_end(self.outcome, self.near.received, self.far.received)


class Side(StreamProtocol):
    """The Protocol of one side of a :class:`Splice`."""

    other: Side

    def __init__(self, splice: Splice, if_lost: SpliceOutcome) -> None:
        super().__init__()
        self.splice = splice
        self.if_lost = if_lost
        self.received = 0
        self.read_ended = False
        self.lost = False
        self.closed = False
        """Whether it was told to close."""
        self.stalled = False
        """Whether it was lost because it took nothing for too long."""
        self.joined = False
        self.early: list[bytes] = []

    def attach(self, transport: Any) -> None:
        """Take over a connected transport (a stream, a visitor's connection)."""
        self.transport = transport
        transport.protocol = self

    def send(self, data: bytes) -> None:
        """Write what the other side received."""
        self.transport.write(data)

    def finish(self) -> None:
        """The other side has ended: half-close this one, or close both when this one has ended as well."""
        if self.read_ended:
            self.close()
            self.other.close()
        elif not self.lost:
            # Twisted's transport would wait for a paused producer before it half-closes
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def close(self, *, at_once: bool = False) -> None:
        """Close this transport, once everything is sent unless ``at_once``."""
        if self.lost or self.transport is None or (self.closed and not at_once):
            return
        self.closed = True
        self.transport.unregisterProducer()
        if at_once:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self.splice.last = self
        if self.joined:
            self.other.transport.write(data)
        else:
            self.early.append(data)

    def readConnectionLost(self) -> None:
        self.read_ended = True
        if self.joined:
            self.other.finish()

    def writeConnectionLost(self) -> None:
        """Our own half-close is complete."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.lost:
            return
        self.lost = True
        self.stalled = isinstance(reason.value, Stalled)
        self.splice.side_lost(self, clean=isinstance(reason.value, ConnectionDone))


class TappedSide(Side):
    """A side of which somebody sees what it sends.

    :param tap: called with it, after it was passed on; an error there ends that, and nothing else.
    """

    _log = Logger()

    def __init__(self, splice: Splice, if_lost: SpliceOutcome, tap: Tap) -> None:
        super().__init__(splice, if_lost)
        self._tap: Tap | None = tap

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._tap is not None:
            try:
                self._tap(data)
            except Exception:
                self._tap = None
                self._log.failure("error while watching a stream, which goes on unwatched")


classImplements(Side, IHalfCloseableProtocol)
