"""What the peer of a link, and each of its streams, may cost the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from rtunnel.outcomes import Limit
from rtunnel.wire.smux import Session

__all__ = ["SLOWEST_CONSUMER", "HoldWatch", "LinkBounds", "StreamCount", "uncounted"]

SLOWEST_CONSUMER = 16384
"""Bytes in a second that a stream has to consume while it holds back its link."""


def uncounted(limit: Limit) -> None:
    """Nobody counts."""


@frozen
class LinkBounds:
    """The bounds of a link.

    :param buffer: bytes that may wait for the peer; a link with more whose peer takes nothing is dropped. Streams are paused long
        before.
    :param hold: seconds that a stream may hold back all others, which it can in smux version 1; 0 for no limit.
    :param reached: called with each bound that does not end the link.
    """

    buffer: int = 16 << 20
    hold: float = 10.0
    reached: Callable[[Limit], None] = uncounted


class StreamCount:
    """How many streams some links have together; shared by them.

    :ivar open: those that carry a visitor's bytes, or wait for some.
    """

    __slots__ = ("__weakref__", "open")

    def __init__(self) -> None:
        self.open = 0


class HoldWatch:
    """Aborts the streams that hold back a link of smux version 1, which has no window per stream.

    While too much waits for the consumers of such a link, nothing is read from its connection: one visitor that does not read stops
    all others. Who has more waiting than half of an equal share then, and consumes less than :data:`SLOWEST_CONSUMER` in the time
    that follows, is aborted. Owned by its link, which tells it when reading is paused; without that it has no timer.

    :param abort: aborts a stream.
    """

    def __init__(self, session: Session, reactor: Any, bounds: LinkBounds, *, abort: Callable[[int], None]) -> None:
        self._session = session
        self._reactor = reactor
        self._bounds = bounds
        self._abort = abort
        self._timer: Any = None
        self._suspects: dict[int, int] = {}
        """What they had consumed."""

    def begin(self) -> None:
        """Reading is paused: see who is to blame, and look again after a while."""
        if self._timer is None and self._bounds.hold:
            found = self._session.unconsumed()
            share = sum([waiting for _, waiting in found.values()]) // max(len(found), 1)
            self._suspects = {number: consumed for number, (consumed, waiting) in found.items() if 2 * waiting >= share}
            self._timer = self._reactor.callLater(self._bounds.hold, self._look)

    def stop(self) -> None:
        """The link is lost."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        """Whether reading is paused at this moment does not matter: it was, and who reads a little now and then is no better."""
        self._timer = None
        enough = self._bounds.hold * SLOWEST_CONSUMER
        for number, (consumed, _) in self._session.unconsumed().items():
            if number in self._suspects and consumed - self._suspects[number] < enough:
                self._bounds.reached(Limit.STREAM_HOLD)
                self._abort(number)
        if self._session.congested:
            self.begin()
