"""Timers follow a clock that nobody sets."""

from __future__ import annotations

import time

from twisted.internet.base import ReactorBase
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.clock import use_monotonic_clock


class Reactor(ReactorBase):
    """The timers of every reactor, without its events."""

    def installWaker(self) -> None:
        """Nobody wakes it."""


class ClockTests(SynchronousTestCase):
    def test_timers(self) -> None:
        """The time of day jumps, the timer does not."""
        reactor = Reactor()
        use_monotonic_clock(reactor)
        fired: list[str] = []
        reactor.callLater(0, fired.append, "now")
        reactor.callLater(60, fired.append, "in a minute")
        for hours in (8, -8):
            self.patch(time, "time", lambda hours=hours: time.monotonic() + hours * 3600)
            reactor.runUntilCurrent()
            self.assertEqual(fired, ["now"])
            self.assertTrue(55 < (reactor.timeout() or 0) <= 60)

    def test_timers_that_are_there(self) -> None:
        """Theirs is the time of the clock before."""
        reactor = Reactor()
        call = reactor.callLater(60, lambda: None)
        before = reactor.seconds
        use_monotonic_clock(reactor)
        self.assertEqual(reactor.seconds, before)
        call.cancel()
