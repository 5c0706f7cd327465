"""Waiting for what is in progress."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.drain import DRAIN_INTERVAL, drain


class DrainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked = 0
        self.left = 0

    def busy(self) -> bool:
        self.asked += 1
        self.left -= 1
        return self.left >= 0

    def test_nothing_in_progress(self) -> None:
        self.successResultOf(drain(self.busy, 10.0, self.clock))
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), (1, []))

    def test_ends(self) -> None:
        """Asked once in each interval, and not again when it is over."""
        self.left = 3
        done = drain(self.busy, 10.0, self.clock)
        for asked in (1, 2, 3):
            self.assertNoResult(done)
            self.assertEqual(self.asked, asked)
            self.clock.advance(DRAIN_INTERVAL)
        self.successResultOf(done)
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), (4, []))

    def test_time_is_over(self) -> None:
        self.left = 1_000_000
        done = drain(self.busy, 1.0, self.clock)
        self.clock.pump([DRAIN_INTERVAL] * 19)
        self.assertNoResult(done)
        self.clock.pump([DRAIN_INTERVAL] * 2)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_time(self) -> None:
        self.left = 1
        self.successResultOf(drain(self.busy, 0.0, self.clock))
        self.assertEqual(self.asked, 0)

    def test_error(self) -> None:
        """Reaches the waiting code, which would wait forever otherwise."""
        self.left = 1
        done = drain(lambda: self.busy() or bool(1 // 0), 10.0, self.clock)
        self.assertNoResult(done)
        self.clock.advance(DRAIN_INTERVAL)
        self.failureResultOf(done, ZeroDivisionError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
