"""``python -m tests.interop``: the tests beside a real gost, and then one table that shows what works with what.

The rows say what is carried and whose program plays which role, the columns the transport under the tunnel and the version of
smux. A cell is ``ok`` when every test of its combination passed; a number behind it leads to what gost does otherwise there,
which the tests therefore do not ask.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

from tests.runner import GOST, tally
from tests.support.combinations import TRANSPORTS, VERSIONS, Combination

MODULES = ("tests.process.test_gost", "tests.process.test_private", "tests.process.test_udp")

ROLES = ("server", "client", "visitor")
COLUMNS = tuple(product(TRANSPORTS, VERSIONS))

OK, SKIPPED, FAILED = "ok", "skipped", "FAILED"
#: From the best to the worst: of a cell's tests the worst one counts.
OUTCOMES = (OK, SKIPPED, FAILED)

Row = tuple[str, ...]
"""What is carried, and whose program plays each of :data:`ROLES`."""


class InteropReporter(TreeReporter):
    """Trial's reporter, which also keeps how each test ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.passed: list[Any] = []

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self.passed.append(test)

    def outcomes(self) -> Iterable[tuple[type, str]]:
        """The class of each test that ran, with an outcome."""
        yield from ((type(test), OK) for test in self.passed)
        yield from ((type(test), SKIPPED) for test, _ in self.skips)
        yield from ((type(test), FAILED) for test, *_ in (*self.failures, *self.errors, *self.unexpectedSuccesses))


class Matrix:
    """The table, and the notes below it, in the order in which cells lead to them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._rows: dict[Row, dict[tuple[str, int], str]] = {}
        self._notes: dict[tuple[Row, tuple[str, int]], str] = {}

    def add(self, tests: type[Combination], outcome: str) -> None:
        """Add how a test of a combination ended."""
        row, column = row_of(tests), (tests.transport, tests.mux_version)
        cells = self._rows.setdefault(row, {})
        cells[column] = max(cells.get(column, OK), outcome, key=OUTCOMES.index)
        if note := tests.deviation():
            if note not in self.notes:
                self.notes.append(note)
            self._notes[row, column] = note

    def cell(self, row: Row, column: tuple[str, int]) -> str:
        """The text of a cell."""
        outcome = self._rows[row].get(column, "-")
        note = self._notes.get((row, column))
        return f"{outcome} ({self.notes.index(note) + 1})" if note and outcome == OK else outcome

    def table(self) -> Table:
        """As a table that is good Markdown as well."""
        table = Table(box=box.MARKDOWN)
        for head in ("", *ROLES, *(f"{transport} {version}" for transport, version in COLUMNS)):
            table.add_column(head, no_wrap=True)
        for row in sorted(self._rows, key=place):
            table.add_row(*row, *(coloured(self.cell(row, column)) for column in COLUMNS))
        return table

    def show(self, file: TextIO) -> None:
        """Print everything."""
        # a narrow terminal may wrap lines, but no word of them may be lost
        console = Console(file=file, width=200, highlight=False)
        console.print(self.table())
        for number, note in enumerate(self.notes, 1):
            console.print(f"({number}) {note}", soft_wrap=True, markup=False)


def row_of(tests: type[Combination]) -> Row:
    """The row of a combination; a role that takes no part has a line."""
    whose = {role: "gost" if role in tests.gosts else "ours" for role in tests.roles}
    return (tests.kind, *(whose.get(role, "-") for role in ROLES))


def place(row: Row) -> tuple[str, list[bool]]:
    """Where a row stands: by what is carried, and the more important roles ours first."""
    return row[0].casefold(), [who == "gost" for who in row[1:]]


def coloured(text: str) -> str:
    """The text of a cell with rich's markup; colours are seen in a terminal only."""
    colour = {OK: "green", FAILED: "bold red"}.get(text.partition(" ")[0], "yellow")
    return f"[{colour}]{text}[/]"


def main(modules: Sequence[str] = MODULES, environ: Mapping[str, str] = os.environ, file: TextIO | None = None) -> int:
    """Run the tests of these modules and print the matrix.

    :returns: the exit status: 0 when nothing failed and nothing was skipped.
    """
    if not os.access(environ.get(GOST, ""), os.X_OK):
        print(f"{GOST} must name a gost binary, it is '{environ.get(GOST, '')}'", file=file)
        return 1
    result: Any = TrialRunner(InteropReporter).run(TestLoader().loadByNames(list(modules), recurse=True))
    matrix = Matrix()
    for tests, outcome in result.outcomes():
        if issubclass(tests, Combination):
            matrix.add(tests, outcome)
    matrix.show(file or sys.stdout)
    counted = tally(result, strict=False)
    print(counted, file=file)
    return 0 if counted.good and not counted.skipped else 1


if __name__ == "__main__":
    sys.exit(main())
