"""Time limits of many connections, kept by one timer.

A limit of seconds need not be kept to the millisecond. So whoever has one stores when it ends in an attribute, which costs
nothing to move with each request, and one sweep every half second looks for those that are over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["NEVER", "Deadlines", "Limited"]

NEVER = float("inf")
SWEEP = 0.5
"""Seconds between two sweeps: how late a limit may be noticed."""


class Limited(Protocol):
    """Something with a deadline; the sweep compares, nobody else is told when it moves."""

    deadline: float
    """When it ends, in the seconds of :attr:`Deadlines.now`; :data:`NEVER` for none."""

    def expired(self) -> None:
        """The deadline passed. Called at each sweep until it is moved or the thing is discarded."""


class Deadlines:
    """All things with a deadline of one server; owned by the service, which starts and stops the sweep."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._things: set[Limited] = set()
        self._every: list[Callable[[float], None]] = []
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = reactor
        self._log = Logger()
        self.now: float = reactor.seconds()
        """The time of the last sweep, in seconds of the reactor: half a second old at most."""

    def start(self) -> None:
        """Begin to sweep."""
        self._loop.start(SWEEP, now=True)

    def stop(self) -> None:
        """Sweep no more."""
        if self._loop.running:
            self._loop.stop()

    def add(self, thing: Limited) -> None:
        """Watch a thing from now on."""
        self._things.add(thing)

    def discard(self, thing: Limited) -> None:
        """Watch a thing no more."""
        self._things.discard(thing)

    def each_sweep(self, call: Callable[[float], None]) -> None:
        """Call with the time at each sweep."""
        self._every.append(call)

    def _sweep(self) -> None:
        now = self.now = self._reactor.seconds()
        for thing in [thing for thing in self._things if thing.deadline <= now]:
            try:
                thing.expired()
            except Exception:
                self._log.failure("error at a time limit")
        for call in self._every:
            call(now)
