"""Turns, and who is left out of them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.round_robin import RoundRobin


class RotaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.round_robin = RoundRobin("abc", max_fails=2, fail_timeout=10)
        self.a, self.b, self.c = self.round_robin.members

    def order(self, now: float = 0) -> str:
        return "".join(member.thing for member in self.round_robin.order(now))

    def test_turns(self) -> None:
        self.assertEqual([self.order() for _ in range(4)], ["abc", "bca", "cab", "abc"])

    def test_left_out_after_failures_in_a_row(self) -> None:
        self.a.failed(0)
        self.assertEqual(self.order()[0], "a")
        self.a.failed(1)
        self.assertEqual({self.order(1)[0] for _ in range(6)}, {"b", "c"})
        self.assertEqual(self.order(1)[-1], "a")

    def test_success_forgives(self) -> None:
        self.a.failed(0)
        self.a.worked()
        self.a.failed(0)
        self.assertFalse(self.round_robin.is_skipped(self.a, 0))

    def test_comes_back_when_the_time_is_over(self) -> None:
        for _ in range(2):
            self.a.failed(5)
        self.assertTrue(self.round_robin.is_skipped(self.a, 14.9))
        self.assertFalse(self.round_robin.is_skipped(self.a, 15))
        # and one more failure is enough to be left out again
        self.a.failed(15)
        self.assertTrue(self.round_robin.is_skipped(self.a, 16))

    def test_all_failed(self) -> None:
        """When all are left out, all are tried, in turn."""
        for member in self.round_robin.members:
            member.failed(0)
            member.failed(0)
        self.assertEqual([self.order(1) for _ in range(3)], ["abc", "bca", "cab"])

    def test_never_left_out(self) -> None:
        round_robin = RoundRobin("ab", max_fails=1, fail_timeout=0)
        round_robin.members[0].failed(0)
        self.assertFalse(round_robin.is_skipped(round_robin.members[0], 0))
