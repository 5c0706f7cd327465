"""The waits between attempts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.tunnel.backoff import Backoff


class BackoffTests(SynchronousTestCase):
    def test_steps(self) -> None:
        backoff = Backoff(0.5, 30.0, random=lambda: 1.0)
        self.assertEqual([backoff.wait() for _ in range(8)], [0.5, 1, 2, 4, 8, 16, 30, 30])
        backoff.reset()
        self.assertEqual(backoff.wait(), 0.5)

    def test_jitter(self) -> None:
        """Clients that begin together come spread over the first wait, and over half of the others."""
        numbers = iter([0.0, 0.0, 0.5, 0.25])
        backoff = Backoff(1.0, 30.0, random=lambda: next(numbers))
        self.assertEqual([backoff.wait() for _ in range(3)], [0.0, 1.0, 3.0])
        backoff.reset()
        self.assertEqual(backoff.wait(), 0.25)
