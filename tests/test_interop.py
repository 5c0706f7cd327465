"""The matrix of ``make interop`` says what happened, and nothing better than that."""

from __future__ import annotations

import unittest as stdlib
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import Any

from twisted.python.reflect import namedModule
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.interop import FAILED, MODULES, OK, SKIPPED, InteropReporter, Matrix, main, row_of
from tests.support.combinations import Combination, combinations


class _Carried(Combination):
    kind = "parcels"

    def arrives(self) -> None:
        pass

    def gets_lost(self) -> None:
        raise stdlib.TestCase.failureException("on purpose")

    def waits(self) -> None:
        raise stdlib.SkipTest("nobody is there")

    @classmethod
    def deviation(cls) -> str:
        return f"a gost's {min(cls.gosts)} bends parcels" if cls.gosts else ""


CLASSES: dict[str, Any] = combinations(_Carried)
OURS = CLASSES["_CarriedTcpSmux2OurServerOurClient"]
MIXED = CLASSES["_CarriedTcpSmux2GostServerOurClient"]


def classes(module: str) -> Iterator[type[Combination]]:
    """The classes of a module that trial would run and the matrix shows."""
    for found in vars(namedModule(module)).values():
        if isinstance(found, type) and issubclass(found, Combination) and issubclass(found, TestCase):
            yield found


def shown(matrix: Matrix) -> str:
    file = StringIO()
    matrix.show(file)
    return file.getvalue()


class CombinationTests(SynchronousTestCase):
    def test_each_way_once(self) -> None:
        ways = {(tests.transport, tests.mux_version, tests.gosts) for tests in CLASSES.values()}
        self.assertEqual((len(CLASSES), len(ways)), (32, 32))

    def test_row(self) -> None:
        self.assertEqual(row_of(MIXED), ("parcels", "gost", "ours", "-"))


class ModuleTests(SynchronousTestCase):
    """The modules whose tests make the matrix."""

    def test_each_class_has_its_cell_and_no_cell_is_empty(self) -> None:
        cells = {(row_of(tests), tests.transport, tests.mux_version) for name in MODULES for tests in classes(name)}
        kinds = Counter(row[0] for row, *_ in cells)
        self.assertEqual(kinds, {"HTTP": 32, "private TCP": 64, "UDP": 64})


class ReporterTests(SynchronousTestCase):
    def test_outcomes(self) -> None:
        reporter = InteropReporter(StringIO())
        for method in ("arrives", "gets_lost", "waits"):
            OURS(method).run(reporter)
        self.assertEqual(list(reporter.outcomes()), [(OURS, OK), (OURS, SKIPPED), (OURS, FAILED)])


class MatrixTests(SynchronousTestCase):
    def matrix(self, *outcomes: tuple[type[Combination], str]) -> str:
        matrix = Matrix()
        for tests, outcome in outcomes:
            matrix.add(tests, outcome)
        return shown(matrix)

    def test_the_worst_counts(self) -> None:
        text = self.matrix((OURS, OK), (OURS, FAILED), (OURS, SKIPPED), (OURS, OK))
        self.assertIn("FAILED", text)
        self.assertNotIn("ok", text)

    def test_what_was_not_run_is_a_dash(self) -> None:
        line = next(line for line in self.matrix((OURS, OK)).splitlines() if "parcels" in line)
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        self.assertEqual(cells, ["parcels", "ours", "ours", "-", "-", "ok", *["-"] * 6])

    def test_deviation_is_explained_below(self) -> None:
        other = CLASSES["_CarriedTcpSmux1OurServerGostClient"]
        text = self.matrix((OURS, OK), (MIXED, OK), (other, OK))
        self.assertIn("ok (1)", text)
        self.assertIn("ok (2)", text)
        self.assertTrue(text.endswith("\n(1) a gost's server bends parcels\n(2) a gost's client bends parcels\n"), text)

    def test_markdown(self) -> None:
        head, line = self.matrix((OURS, OK)).strip().splitlines()[:2]
        self.assertRegex(head.strip(), r"^\|.*\| tcp 1 +\|.*\| wss 2 +\|$")
        self.assertRegex(line.strip(), r"^\|(-+\|)+$")


class CommandTests(SynchronousTestCase):
    def test_no_gost(self) -> None:
        """Without the binary nothing is shown at all: a matrix of skipped cells would be none."""
        file = StringIO()
        self.assertEqual(main(environ={}, file=file), 1)
        self.assertEqual(file.getvalue(), "RTUNNEL_TEST_GOST must name a gost binary, it is ''\n")
