"""``python -m tests.runner [NAME ...]``: trial, with a last line that counts, and no silent skips where nobody looks.

The last line is ``N passed, N failed`` (``, N skipped`` follows when there were any), and the exit status says the
same. With ``CI=true`` a skipped test has failed: what it needs has to be installed there. Only the tests may be
skipped that need a gost binary, because no package brings one, Chromium, Node.js, Go or PostgreSQL, whose packages are large, or a
development server; their reasons name one of :data:`OPTIONAL`. And those that compiled modules cannot run (:data:`INTERPRETED`).

The tests of real processes mostly wait for them, so the tests run in three processes, or in as many as ``RTUNNEL_TEST_JOBS`` says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.trial._dist.disttrial import DistTrialRunner
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

__all__ = ["GOST", "INTERPRETED", "JOBS", "OPTIONAL", "Tally", "explain", "jobs", "main", "no_skips_allowed", "tally"]

GOST = "RTUNNEL_TEST_GOST"
"""The environment variable that names a gost binary; the reason of a skip that CI forgives contains it."""

OPTIONAL = (
    GOST,
    *("RTUNNEL_TEST_CHROMIUM", "RTUNNEL_TEST_VITE", "RTUNNEL_TEST_DJANGO", "RTUNNEL_TEST_JUPYTER"),
    *("RTUNNEL_TEST_NODE", "RTUNNEL_TEST_GO"),
    *("RTUNNEL_TEST_HELM", "RTUNNEL_TEST_KUBECTL", "RTUNNEL_TEST_PROMTOOL"),
    "RTUNNEL_TEST_POSTGRES",
)
"""All of these: of programs that no package brings, or a large one."""

INTERPRETED = "methods of compiled classes cannot be replaced, and tests cannot subclass them"
"""The reason of a test that compiled modules skip; others run it with the interpreted ones."""

JOBS = "RTUNNEL_TEST_JOBS"
"""The environment variable for the number of processes that tests run in."""


@frozen
class Tally:
    """What a run came to.

    :param refused: names and reasons of the tests that must not have been skipped; they are counted in ``failed``.
    :param broken: the other tests that failed: name, line of the test, and why. Their tracebacks are far above the last line,
        where a log that is cut to its end does not show them.
    """

    passed: int
    failed: int
    skipped: int
    refused: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether something was tested and nothing failed."""
        return self.failed == 0 and self.passed > 0

    def __str__(self) -> str:
        line = f"{self.passed} passed, {self.failed} failed"
        return f"{line}, {self.skipped} skipped" if self.skipped else line


def no_skips_allowed(environ: Mapping[str, str]) -> bool:
    """Tell whether this is CI."""
    return environ.get("CI", "").lower() in ("true", "1", "yes")


def jobs(environ: Mapping[str, str]) -> int:
    """In how many processes the tests run."""
    return int(environ.get(JOBS) or 3)


def forgiven(reason: str) -> bool:
    """Whether a skip with this reason is allowed in CI."""
    return reason == INTERPRETED or any(variable in reason for variable in OPTIONAL)


def explain(test: Any, failure: Any) -> str:
    """Name a test that failed, the last line of the tests' own that it came to, and the reason.

    :param failure: Twisted's ``Failure``, or a copy of one that another process has sent.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    steps = [f" at tests/{os.path.relpath(file, here)}:{line}" for _, file, line, *_ in failure.frames if file.startswith(here)]
    kind = getattr(failure.type, "__name__", failure.type)
    return f"{test.id()}{''.join(steps[-1:])}: {kind}: {' '.join(str(failure.value).split())[:500]}"


def tally(result: Any, *, strict: bool) -> Tally:
    """Count a finished run.

    :param result: trial's reporter.
    :param strict: whether a skip fails, unless a missing program of :data:`OPTIONAL` is its reason.
    """
    refused = tuple(f"{test.id()}: {reason}" for test, reason in result.skips if strict and not forgiven(str(reason)))
    broken = tuple(explain(test, failure) for test, failure in (*result.failures, *result.errors))
    failures = (broken, result.unexpectedSuccesses, refused)
    return Tally(
        passed=result.successes + len(result.expectedFailures),
        failed=sum(map(len, failures)),
        skipped=len(result.skips) - len(refused),
        refused=refused,
        broken=broken,
    )


def main(names: Sequence[str], environ: Mapping[str, str] = os.environ, say: Callable[[str], object] = print) -> int:
    """Run tests by their dotted names, all of them when there are none.

    :returns: the exit status.
    """
    suite = TestLoader().loadByNames(list(names) or ["tests"], recurse=True)
    processes = jobs(environ)
    runner: Any = TrialRunner(TreeReporter) if processes == 1 else DistTrialRunner(TreeReporter, processes, [])
    result = runner.run(suite)
    counted = tally(result, strict=no_skips_allowed(environ))
    for line in counted.broken:
        say(f"failed: {line}")
    for line in counted.refused:
        say(f"skipped, which CI does not allow: {line}")
    if not counted.passed + counted.failed:
        say("no test ran")
    say(str(counted))
    return 0 if counted.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
