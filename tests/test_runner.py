"""The last line of a test run counts right, and in CI nothing is skipped unseen."""

from __future__ import annotations

import unittest as stdlib

from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase

from tests.runner import GOST, JOBS, OPTIONAL, Tally, jobs, no_skips_allowed, tally


class _Cases(SynchronousTestCase):
    """One test for each way to end."""

    def passes(self) -> None:
        pass

    def fails(self) -> None:
        self.fail("on purpose")

    def breaks(self) -> None:
        raise ZeroDivisionError

    def lacks_nginx(self) -> None:
        raise stdlib.SkipTest("nginx is not installed")

    def lacks_gost(self) -> None:
        raise stdlib.SkipTest(f"{GOST} does not name a gost binary")

    def lacks_node(self) -> None:
        raise stdlib.SkipTest(f"{OPTIONAL[-1]} names no node")


def _run(*methods: str, strict: bool = False) -> Tally:
    result = TestResult()
    for method in methods:
        _Cases(method).run(result)
    return tally(result, strict=strict)


class TallyTests(SynchronousTestCase):
    """:func:`tests.runner.tally`."""

    def test_all_passed(self) -> None:
        counted = _run("passes", "passes")
        self.assertEqual(str(counted), "2 passed, 0 failed")
        self.assertTrue(counted.good)

    def test_failures_and_errors_fail(self) -> None:
        counted = _run("passes", "fails", "breaks")
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(str(counted), "1 passed, 2 failed")
        self.assertFalse(counted.good)

    def test_failures_are_told_apart(self) -> None:
        failed, broke = _run("fails", "breaks").broken
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertRegex(failed, r"^tests\.test_runner\._Cases\.fails at tests/test_runner\.py:\d+: \w+: on purpose$")
        self.assertRegex(broke, r"^tests\.test_runner\._Cases\.breaks at tests/test_runner\.py:\d+: ZeroDivisionError: $")

    def test_nothing_ran(self) -> None:
        self.assertFalse(_run().good)

    def test_skips_are_shown(self) -> None:
        counted = _run("passes", "lacks_nginx")
        self.assertEqual(str(counted), "1 passed, 0 failed, 1 skipped")
        self.assertTrue(counted.good)

    def test_skip_fails_in_ci(self) -> None:
        counted = _run("passes", "lacks_nginx", strict=True)
        self.assertEqual(str(counted), "1 passed, 1 failed")
        self.assertIn("nginx is not installed", counted.refused[0])
        self.assertFalse(counted.good)

    def test_optional_programs_are_forgiven_in_ci(self) -> None:
        counted = _run("passes", "lacks_gost", "lacks_node", strict=True)
        self.assertEqual(str(counted), "1 passed, 0 failed, 2 skipped")
        self.assertTrue(counted.good)


class EnvironmentTests(SynchronousTestCase):
    """:func:`tests.runner.no_skips_allowed`."""

    def test_ci(self) -> None:
        self.assertTrue(no_skips_allowed({"CI": "true"}))

    def test_jobs(self) -> None:
        self.assertEqual([jobs(environ) for environ in ({}, {JOBS: ""}, {JOBS: "1"}, {JOBS: "4"})], [3, 3, 1, 4])

    def test_elsewhere(self) -> None:
        for environ in ({}, {"CI": ""}, {"CI": "false"}):
            self.assertFalse(no_skips_allowed(environ))
