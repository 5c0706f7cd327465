"""What the demo shows."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.demo.scenario import ALONE, HALF, PHASES, TAKEOVER
from rtunnel.demo.screen import LiveScreen, PlainScreen, bar, table
from rtunnel.demo.shares import Act, Results, Tally


def terminal(*, live: bool = False) -> tuple[Console, StringIO]:
    """Return a console of 80 columns, and what it writes into."""
    written = StringIO()
    return Console(file=written, width=80, force_terminal=live, color_system=None, _environ={}), written


def results() -> Results:
    """Return what a demo has counted in the middle of its third phase."""
    acts = [Act(phase) for phase in PHASES]
    acts[0] = Act(ALONE, Tally(pod=300), done=True)
    acts[1] = Act(HALF, Tally(pod=150, laptop=149, failures={"timed out": 1}), done=True)
    acts[2] = Act(TAKEOVER, Tally(laptop=7))
    return Results(acts, Tally(pod=42), connections=1)


class BarTests(SynchronousTestCase):
    """One bar."""

    def test_shares(self) -> None:
        self.assertEqual(bar(Tally(pod=3)).plain, "█" * 16)
        self.assertEqual(bar(Tally(pod=1, laptop=3)).plain, "█" * 4 + "░" * 12)
        self.assertEqual(bar(Tally(laptop=3)).plain, "░" * 16)

    def test_nothing_yet(self) -> None:
        self.assertEqual(bar(Tally(failures={"timed out": 3})).plain, " " * 16)

    def test_ascii(self) -> None:
        self.assertEqual(bar(Tally(pod=1, laptop=1), ascii_only=True).plain, "#" * 8 + "-" * 8)


class TableTests(SynchronousTestCase):
    """The table."""

    def rows(self, shown: Results) -> list[list[str]]:
        console, written = terminal()
        console.print(table(shown))
        lines = written.getvalue().splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        return [re.split(r"  +", line.strip()) for line in lines if line.startswith(("sidecar", "laptop", "X-User", "joining"))]

    def test_rows_fit_into_80_columns(self) -> None:
        rows = self.rows(results())
        self.assertEqual(rows[0], ["sidecar alone", "█" * 16, "100.0", "0.0", "300", "0", "100/0"])
        self.assertEqual(rows[1][2:], ["50.2", "49.8", "300", "1", "near 50/50"])
        self.assertEqual(rows[3], ["laptop killed", "0", "0", "100/0"])
        self.assertEqual(rows[4], ["X-User: alice", "0", "0", "50/50"])
        self.assertEqual(rows[5][4:], ["42", "0", "any"])
        self.assertEqual(len(rows), 6)


class PlainTests(SynchronousTestCase):
    """The screen without a terminal."""

    def test_a_line_for_each_step(self) -> None:
        console, written = terminal()
        with PlainScreen(console) as screen:
            screen.step("the server", "rtunnel server " + "x" * 200)
            screen.step("somebody leaves")
        self.assertEqual(written.getvalue(), f"the server:\n  rtunnel server {'x' * 200}\nsomebody leaves\n")

    def test_a_line_for_each_phase(self) -> None:
        console, written = terminal()
        with PlainScreen(console) as screen:
            for act in results().acts[:2]:
                screen.played(act)
        self.assertEqual(
            written.getvalue().splitlines(),
            [
                "phase sidecar alone: pod 100.0 %, laptop 0.0 % of 300 requests, 0 failed; as expected (100/0)",
                "phase laptop, weight 1: pod 50.2 %, laptop 49.8 % of 300 requests, 1 failed; NOT as expected (near 50/50)",
            ],
        )

    def test_summary(self) -> None:
        console, written = terminal()
        with PlainScreen(console) as screen:
            screen.counted(results())
            self.assertEqual(written.getvalue(), "")
            screen.summary(results())
        self.assertIn("who answers for nginx.local", written.getvalue())
        self.assertIn("649 requests on 1 keep-alive connection;", written.getvalue())
        self.assertIn("kubectl apply", written.getvalue())


class LiveTests(SynchronousTestCase):
    """The screen on a terminal."""

    def test_the_table_is_drawn_while_counting(self) -> None:
        console, written = terminal(live=True)
        with LiveScreen(console) as screen:
            screen.counted(results())
            self.assertIn("who answers for nginx.local", written.getvalue())

    def test_a_step_leaves_the_table_as_it_was(self) -> None:
        """With its title in the middle, and not in the colour of the step."""
        console, written = terminal(live=True)
        with LiveScreen(console) as screen:
            screen.counted(results())
            screen.step("somebody leaves", "rtunnel client")
            before, _, _ = written.getvalue().rpartition("who answers for")
            self.assertIn("somebody leaves", before)
            self.assertTrue(before.endswith(" " * 10))

    def test_summary(self) -> None:
        console, written = terminal(live=True)
        with LiveScreen(console) as screen:
            screen.step("somebody leaves")
            screen.summary(results())
        text = written.getvalue()
        self.assertLess(text.index("somebody leaves"), text.index("sidecar alone"))
        self.assertLess(text.index("sidecar alone"), text.index("kubectl apply"))
