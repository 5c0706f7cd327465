from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.table import Summary, markdown, ratios, spread, summarise


class SummariseTests(SynchronousTestCase):
    def test_median_with_least_and_greatest(self) -> None:
        self.assertEqual(summarise([3.0, 1.0, 10.0]), Summary(3.0, 1.0, 10.0, 3))

    def test_rounds_that_failed_do_not_count(self) -> None:
        self.assertEqual(summarise([None, 4.0, 2.0]), Summary(3.0, 2.0, 4.0, 2))

    def test_nothing_measured_is_nothing(self) -> None:
        self.assertIsNone(summarise([]))
        self.assertIsNone(summarise([None]))


class RatioTests(SynchronousTestCase):
    def test_taken_within_each_round(self) -> None:
        # The machine was half as fast in the second round, for both: the ratio knows nothing of it.
        self.assertEqual(ratios([100.0, 50.0], [200.0, 100.0]), Summary(0.5, 0.5, 0.5, 2))

    def test_median_of_the_rounds_and_not_ratio_of_the_medians(self) -> None:
        self.assertEqual(ratios([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]), Summary(2.0, 1.0, 3.0, 3))

    def test_a_round_without_one_of_the_two_is_left_out(self) -> None:
        self.assertEqual(ratios([6.0, None, 8.0], [3.0, 1.0, None]), Summary(2.0, 2.0, 2.0, 1))

    def test_nothing_to_compare_with(self) -> None:
        self.assertIsNone(ratios([1.0], []))
        self.assertIsNone(ratios([1.0], [0.0]))


class TextTests(SynchronousTestCase):
    def test_one_round_has_no_spread(self) -> None:
        self.assertEqual(spread(Summary(1.25, 1.25, 1.25, 1), 1), "1.2")

    def test_several_rounds_have_one(self) -> None:
        self.assertEqual(spread(Summary(20.0, 10.0, 30.0, 3)), "20 (10 to 30)")

    def test_nothing_is_a_dash(self) -> None:
        self.assertEqual(spread(None), "-")

    def test_markdown(self) -> None:
        self.assertEqual(markdown(["system", "r/s"], [["one", "1"]]), ["| system | r/s |", "| --- | ---: |", "| one | 1 |", ""])
