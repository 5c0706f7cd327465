"""Time limits of many connections, kept by one timer.

Limits of seconds do not need millisecond precision. So each connection stores its deadline in an attribute, which costs nothing to
move with each request, and one sweep every half second finds those that have expired. What a limit adds up to is worked out with
each sweep, not with each request (:class:`TimeLimit`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["NEVER", "Deadlines", "Limited", "TimeLimit"]

NEVER = float("inf")
SWEEP = 0.5
"""Seconds between two sweeps: how late an expired deadline may be noticed."""
HELD_UP = 5.0
"""Seconds without a sweep from which on that time counts against nobody."""


class Limited(Protocol):
    """Something with a deadline; the sweep reads the attribute, so moving it needs no call."""

    deadline: float
    """The deadline on the clock of :attr:`Deadlines.now`; :data:`NEVER` for none."""

    def expired(self) -> None:
        """The deadline has passed. Called at each sweep until it is moved or the object is discarded."""


class TimeLimit:
    """A time limit that many connections have; see :meth:`Deadlines.limit`.

    :ivar seconds: :data:`NEVER` for none.
    :ivar end: the deadline of what begins now.
    """

    __slots__ = ("__weakref__", "end", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.begin(now)

    def begin(self, now: float) -> None:
        """Whatever begins from now on ends that much later."""
        self.end = now + self.seconds


class Deadlines:
    """Everything with a deadline in one server; owned by the service, which starts and stops the sweep."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._things: set[Limited] = set()
        self._limits: WeakSet[TimeLimit] = WeakSet()
        self._every: list[Callable[[float], None]] = []
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = reactor
        self._log = Logger()
        self.now: float = reactor.seconds()
        """The time of the last sweep on the reactor's clock: at most half a second old."""

    def start(self) -> None:
        """Start sweeping."""
        self._set_now(self._reactor.seconds())
        self._loop.start(SWEEP, now=True)

    def stop(self) -> None:
        """Stop sweeping."""
        if self._loop.running:
            self._loop.stop()

    def add(self, thing: Limited) -> None:
        """Start checking an object's deadline."""
        self._things.add(thing)

    def discard(self, thing: Limited) -> None:
        """Stop checking an object's deadline."""
        self._things.discard(thing)

    def limit(self, seconds: float) -> TimeLimit:
        """Make a time limit, whose deadline is kept up to date as long as somebody has it."""
        limit = TimeLimit(seconds, self.now)
        self._limits.add(limit)
        return limit

    def _set_now(self, now: float) -> None:
        self.now = now
        for limit in self._limits:
            limit.begin(now)

    def soon(self, call: Callable[[], object]) -> None:
        """Call in the next turn, when the others have had theirs."""
        self._reactor.callLater(0, call)

    def each_sweep(self, call: Callable[[float], None]) -> None:
        """Register a function that is called with the time at each sweep."""
        self._every.append(call)

    def _sweep(self) -> None:
        before, now = self.now, self._reactor.seconds()
        self._set_now(now)
        if now - before > HELD_UP:
            self._put_off(now - before - SWEEP)
        for thing in [thing for thing in self._things if thing.deadline <= now]:
            try:
                thing.expired()
            except Exception:
                self._log.failure("error while handling an expired deadline")
                # else it would be the same at each sweep
                self._things.discard(thing)
        for call in self._every:
            try:
                call(now)
            except Exception:
                self._log.failure("error in a sweep")

    def _put_off(self, seconds: float) -> None:
        """The process was stopped, or its machine: whatever came meanwhile was not read yet, so nobody was too slow."""
        for thing in self._things:
            thing.deadline += seconds
