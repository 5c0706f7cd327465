from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.goals import Goal
from bench.record import CaseRecord, Record, SystemRecord, load_record
from bench.report import render
from bench.stage import Launch, publishable, without_paths


def example() -> Record:
    record = Record("2026-01-02", "example", {"cores": "2"}, {"rounds": 2, "seconds": 4.0})
    for name in ("direct", "hop", "rtunnel", "rathole"):
        record.systems[name] = SystemRecord(f"the {name}", "HTTP", "1.0")
    record.cases["k64"] = CaseRecord("64 connections", growth=False)
    for system, rates in {"direct": (400, 200), "hop": (200, 100), "rtunnel": (100, 60), "rathole": (100, 50)}.items():
        for rate in rates:
            record.add("k64", system, {"rps": float(rate), "p99": 1.5, "errors": 0.0})
    record.remember("rtunnel", [Launch("server", "rtunnel server", {}, {"a.conf": "x = 1\n"})])
    return record


class RecordTests(SynchronousTestCase):
    def test_json_keeps_everything(self) -> None:
        record = example()
        path = Path(self.mktemp())
        record.save(path)
        self.assertEqual(load_record(path), record)

    def test_a_failed_measurement_leaves_a_hole(self) -> None:
        record = example()
        record.add("k64", "hop", None)
        self.assertEqual(record.series("k64", "hop", "rps"), [200.0, 100.0, None])

    def test_what_was_not_measured_is_empty(self) -> None:
        self.assertEqual(example().series("k1", "hop", "rps"), [])
        self.assertEqual(example().series("k64", "gost", "rps"), [])


class GoalTests(SynchronousTestCase):
    def check(self, goal: Goal, expected: bool) -> None:
        summary = goal.summary(example())
        assert summary is not None
        self.assertIs(goal.reached(summary), expected)

    def test_against_another_system(self) -> None:
        self.check(Goal("k64", "rps", "rathole", 1.1), True)
        self.check(Goal("k64", "rps", "rathole", 1.2), False)

    def test_from_above(self) -> None:
        self.check(Goal("k64", "p99", "rathole", 1.0, at_most=True), True)
        self.check(Goal("k64", "p99", None, 1.0, at_most=True), False)

    def test_not_measured(self) -> None:
        self.assertIsNone(Goal("k1", "rps", "rathole", 1.0).summary(example()))


class RenderTests(SynchronousTestCase):
    def test_case_with_ratios_to_both_baselines(self) -> None:
        self.assertIn(
            "| the rtunnel | 80 (60 to 100) | 1.50 (1.50 to 1.50) | 0.275 (0.250 to 0.300) | 0.550 (0.500 to 0.600) |",
            render(example()),
        )

    def test_goals_and_command_lines(self) -> None:
        text = render(example())
        self.assertIn("| k64, requests/s | rathole | at least 1 | 1.10 (1.00 to 1.20) | reached |", text)
        self.assertIn("rtunnel server\n\n# a.conf\nx = 1\n", text)

    def test_failures_and_skips_are_seen(self) -> None:
        record = example()
        record.failures.append("round 1/2, k64, piko: no answer")
        record.skipped["gost"] = "RTUNNEL_BENCH_GOST is not set"
        text = render(record)
        self.assertIn("- Failed: round 1/2, k64, piko: no answer", text)
        self.assertIn("- Skipped: gost: RTUNNEL_BENCH_GOST is not set.", text)


class BesideTests(SynchronousTestCase):
    """The tables that lay one case, or one version, beside another."""

    def test_burdens_beside_plain_requests_of_the_same_round(self) -> None:
        record = example()
        record.cases["ingress-k64"] = CaseRecord("as from an Ingress", growth=False)
        for rate in (90, 45):
            record.add("ingress-k64", "rtunnel", {"rps": float(rate)})
        text = render(record)
        self.assertIn("| system | as from an Ingress |", text)
        self.assertIn("| the rtunnel | 0.82 (0.75 to 0.90) |", text)
        self.assertNotIn("| the rathole | - |", text)

    def test_no_burdens_without_their_cases(self) -> None:
        self.assertNotIn("Behind an Ingress", render(example()))

    def test_version_before(self) -> None:
        record = example()
        self.assertNotIn("Beside the version before", render(record))
        record.systems["before"] = SystemRecord("rtunnel before", "HTTP", "0.9")
        for rate in (80, 40):
            record.add("k64", "before", {"rps": float(rate), "p99": 3.0, "errors": 1.0})
        text = render(record)
        self.assertIn("| k64, requests/s | 60 (40 to 80) | 80 (60 to 100) | 1.38 (1.25 to 1.50) |", text)
        self.assertIn("| k64, p99 ms | 3.00 (3.00 to 3.00) | 1.50 (1.50 to 1.50) | 0.50 (0.50 to 0.50) |", text)
        self.assertNotIn("| k64, errors", text)

    def test_ingress_comes_first(self) -> None:
        record = example()
        record.cases["ingress-k64"] = CaseRecord("as from an Ingress", growth=False)
        record.add("ingress-k64", "rtunnel", {"rps": 90.0})
        head = next(line for line in render(record).splitlines() if line.startswith("| system | routes |"))
        self.assertLess(head.index("Ingress k64 r/s"), head.index("| k64 r/s"))


class PublishableTests(SynchronousTestCase):
    def test_base_name_only(self) -> None:
        self.assertEqual(publishable(["/opt/some where/gost.bin", "-L", "a://:1?b=c"]), 'gost -L "a://:1?b=c"')

    def test_paths_become_names(self) -> None:
        self.assertEqual(without_paths('File "/opt/x/src/a.py", line 1'), 'File "a.py", line 1')
        self.assertEqual(without_paths("ws://127.0.0.1:1/proxy/x"), "ws://127.0.0.1:1/proxy/x")

    def test_a_thousand_rules_are_cut(self) -> None:
        text = publishable(["/bin/rtunnel", *(["--route", "x"] * 1000)])
        self.assertIn("(1971 more)", text)
        self.assertLess(len(text), 500)
