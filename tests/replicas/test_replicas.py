"""``make rollouts`` and ``make chaos`` in short."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.replicas import chaos, rollouts


class RolloutTests(TestCase):
    timeout = 300

    def test_a_round(self) -> None:
        result = rollouts.roll(1, rate=100, size=40 << 20, seconds=3)
        self.assertEqual((result.failed, result.faults), ([], []))
        self.assertEqual(result.restarts, 2)
        self.assertGreater(result.forwarded, 0)
        self.assertGreater(result.transfers, 0)
        self.assertGreater(result.echoes, 0)


class ChaosTests(TestCase):
    timeout = 400

    def test_each_event_once(self) -> None:
        suffered = chaos.suffer(0, 1, rate=100, events=list(chaos.EVENTS))
        self.assertEqual(suffered.wrong, [])
        self.assertGreater(suffered.succeeded, 1000)


class ExplainedTests(SynchronousTestCase):
    """Which failures are explained."""

    def test_struck_while_in_progress(self) -> None:
        log = [(10.0, "client killed"), (20.0, "Redis killed")]
        broken = [(9.5, 11.3, "upload"), (10.2, 10.4, "begun after"), (12.0, 13.0, "of itself")]
        struck = chaos._struck(broken, log)
        self.assertEqual(struck, [(10.0, "upload"), (10.2, "begun after"), (12.0, "of itself")])
        wrong = chaos._unexplained(struck, log, Counter())
        self.assertEqual([line.partition(",")[0] for line in wrong], ["not explained: of itself"])

    def test_only_by_what_happened_before(self) -> None:
        log = [(10.0, "client killed"), (20.0, "Redis killed"), (30.0, "server killed")]
        explained: Counter[str] = Counter()
        failed = [(9.0, "early"), (10.5, "POST 502"), (15.0, "late"), (20.5, "Redis"), (33.0, "GET reset")]
        wrong = chaos._unexplained(failed, log, explained)
        self.assertEqual(explained, Counter({"client killed": 1, "server killed": 1}))
        self.assertEqual(
            [line.partition(",")[0] for line in wrong], [f"not explained: {how}" for how in ("early", "late", "Redis")]
        )
