"""The arithmetic of the demo: what was counted, and what is expected of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.demo.shares import Act, Phase, Results, Side, Tally

POD = Phase("the pod", 0)
HALF = Phase("both", 50)
LAPTOP = Phase("the laptop", 100)


class TallyTests(SynchronousTestCase):
    """Counting."""

    def test_empty(self) -> None:
        tally = Tally()
        self.assertEqual((tally.sent, tally.answered, tally.failed), (0, 0, 0))
        self.assertEqual(tally.percent(Side.POD), 0.0)

    def test_outcomes(self) -> None:
        tally = Tally()
        for outcome in (Side.POD, Side.LAPTOP, Side.POD, Side.POD, "timed out", "timed out", "502 Bad Gateway"):
            tally.count(outcome)
        self.assertEqual((tally.pod, tally.laptop, tally.answered, tally.failed, tally.sent), (3, 1, 4, 3, 7))
        self.assertEqual((tally.percent(Side.POD), tally.percent(Side.LAPTOP)), (75.0, 25.0))
        self.assertEqual(tally.failures, {"timed out": 2, "502 Bad Gateway": 1})


class PhaseTests(SynchronousTestCase):
    """What is as expected."""

    def test_words(self) -> None:
        self.assertEqual([phase.expected for phase in (POD, HALF, LAPTOP)], ["100/0", "near 50/50", "0/100"])

    def test_all_or_nothing_is_exact(self) -> None:
        self.assertIsNone(POD.complaint(Tally(pod=300)))
        self.assertIsNone(LAPTOP.complaint(Tally(laptop=300)))
        self.assertEqual(
            POD.complaint(Tally(pod=299, laptop=1)), "the pod: the laptop answered 0.3 % of 300 requests, expected 0 %"
        )
        self.assertIn("99.7 % of 300", LAPTOP.complaint(Tally(pod=1, laptop=299)) or "")

    def test_personal(self) -> None:
        """Half of the requests, exactly."""
        mine = Phase("mine", 50, personal=True)
        self.assertEqual(mine.expected, "50/50")
        self.assertIsNone(mine.complaint(Tally(pod=150, laptop=150)))
        self.assertIsNone(mine.complaint(Tally(pod=11, laptop=10)))
        for tally in (Tally(pod=149, laptop=151), Tally(pod=151, laptop=149), Tally(pod=12, laptop=9), Tally(pod=10, laptop=11)):
            self.assertIsNotNone(mine.complaint(tally))

    def test_half_of_many(self) -> None:
        self.assertEqual(HALF.bounds(300), (35.0, 65.0))
        self.assertIsNone(HALF.complaint(Tally(pod=195, laptop=105)))
        self.assertIsNone(HALF.complaint(Tally(pod=105, laptop=195)))
        self.assertIn("34.7 % of 300 requests, expected 35 to 65 %", HALF.complaint(Tally(pod=196, laptop=104)) or "")
        self.assertIsNotNone(HALF.complaint(Tally(pod=104, laptop=196)))

    def test_half_of_few_is_wider(self) -> None:
        self.assertEqual(HALF.bounds(100), (25.0, 75.0))
        self.assertIsNone(HALF.complaint(Tally(pod=19, laptop=1)))

    @settings(deadline=None, max_examples=200)
    @given(st.integers(2, 100_000))
    def test_half_needs_both(self, requests: int) -> None:
        low, high = HALF.bounds(requests)
        self.assertTrue(0 < low <= 50 <= high < 100)
        self.assertAlmostEqual(low + high, 100)
        self.assertIsNotNone(HALF.complaint(Tally(pod=requests)))
        self.assertIsNotNone(HALF.complaint(Tally(laptop=requests)))

    def test_a_failure_is_never_as_expected(self) -> None:
        complaint = POD.complaint(Tally(pod=298, failures={"timed out": 2}))
        self.assertEqual(complaint, "the pod: 2 of 300 requests failed (2 x timed out)")

    def test_nothing_sent(self) -> None:
        self.assertEqual(POD.complaint(Tally()), "the pod: no request was sent")


class ResultsTests(SynchronousTestCase):
    """All phases together."""

    def test_good(self) -> None:
        results = Results([Act(POD, Tally(pod=5), done=True), Act(LAPTOP, Tally(laptop=5), done=True)], Tally(pod=3))
        self.assertEqual(results.complaints, [])
        self.assertEqual(results.sent, 13)

    def test_a_phase_under_way_is_not_judged(self) -> None:
        self.assertEqual(Results([Act(LAPTOP, Tally(pod=5)), Act(POD)]).complaints, [])

    def test_each_complaint(self) -> None:
        results = Results([Act(POD, Tally(laptop=5), done=True)], Tally(pod=3, failures={"timed out": 1}))
        first, second = results.complaints
        self.assertIn("expected 0 %", first)
        self.assertEqual(second, "while a client joined or left: 1 of 4 requests failed (1 x timed out)")
