"""The live screen, drawn on a terminal in memory."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

import pyte
from rich.console import Console
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.watch_lines import Seen
from rtunnel.dev.overview import Line
from rtunnel.dev.screen import MAX_REQUESTS, REFRESH, SOON, Screen, draw

LINES = [Line("who", "alice@laptop"), Line("takes", "you get 1 of 2 requests (50 %)"), Line("link", "not joined", good=False)]


def seen(number: int) -> Seen:
    return Seen(at=0.0, what="GET", place=f"/{number}", result="200", seconds=0.012, more="else pod")


class DrawTests(SynchronousTestCase):
    def drawn(self, requests: list[Seen], height: int, more: str = "", width: int = 80) -> list[str]:
        console = Console(file=io.StringIO(), width=width, height=height, legacy_windows=False)
        console.print(draw("shop.example.org -> localhost:3000", LINES, requests, more, height))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().rstrip("\n").split("\n")

    def test_all_of_it(self) -> None:
        lines = self.drawn([seen(1), seen(2)], 20, "7 more in a second: 7 x 200")
        self.assertTrue(lines[0].startswith("shop.example.org -> localhost:3000 "))
        self.assertEqual([line.split(maxsplit=1)[0] for line in lines[1:4]], ["who", "takes", "link"])
        self.assertEqual(lines[4].strip(), "")
        self.assertRegex(lines[5], r"^\d\d:\d\d:\d\d  GET /1  200  12 ms  else pod *$")
        self.assertIn("GET /2", lines[6])
        self.assertEqual(lines[7:], ["7 more in a second: 7 x 200"])

    def test_never_higher_than_the_terminal(self) -> None:
        """The last requests are shown, as far as there is room; then the overview is cut from its end."""
        for height in range(1, 20):
            for more in ("", "more"):
                lines = self.drawn([seen(number) for number in range(MAX_REQUESTS)], height, more)
                self.assertLessEqual(len(lines), height, (height, more))
                self.assertTrue(lines[0].startswith("shop"))
        self.assertIn(f"GET /{MAX_REQUESTS - 1} ", self.drawn([seen(number) for number in range(MAX_REQUESTS)], 7)[-1])

    def test_narrow(self) -> None:
        """A line is cut, not wrapped, and what it is about stays."""
        lines = self.drawn([seen(1)], 20, width=16)
        self.assertEqual(len(lines), 6)
        self.assertLessEqual(max(map(len, lines)), 16)
        self.assertEqual([line.split()[0] for line in lines[1:4]], ["who", "takes", "link"])

    def test_nothing_is_markup(self) -> None:
        one = Seen(at=0.0, what="GET", place="/[red]x[/red]", result="200", seconds=1.0, more="[bold]")
        text = "\n".join(self.drawn([one], 20))
        self.assertIn("/[red]x[/red]", text)
        self.assertIn("[bold]", text)


class Known:
    """What a screen shows, changed by tests."""

    title = "shop"

    def __init__(self) -> None:
        self.known: list[Line] = LINES

    def lines(self) -> Iterable[Line]:
        return self.known


class ScreenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.written = io.StringIO()
        self.known = Known()
        self.clock = Clock()
        console = Console(file=self.written, force_terminal=True, width=60, height=20, legacy_windows=False, color_system=None)
        self.screen = Screen(self.known, self.clock, console)
        self.before = sys.stderr
        self.screen.start()
        self.addCleanup(self.screen.stop)

    def display(self) -> list[str]:
        """What the terminal shows."""
        terminal = pyte.Screen(60, 20)
        pyte.Stream(terminal).feed(self.written.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in terminal.display if line.strip()]

    def test_at_once(self) -> None:
        self.assertEqual([line.split(maxsplit=1)[0] for line in self.display()], ["shop", "who", "takes", "link"])

    def test_a_request(self) -> None:
        self.screen.show(seen(1))
        self.assertNotIn("GET /1", "\n".join(self.display()))
        self.clock.advance(SOON)
        self.assertIn("GET /1", self.display()[-1])

    def test_many_requests_are_drawn_together(self) -> None:
        size = len(self.written.getvalue())
        for number in range(1000):
            self.screen.show(seen(number))
        self.assertEqual(len(self.written.getvalue()), size)
        self.clock.advance(SOON)
        shown = self.display()
        self.assertIn("GET /999", shown[-1])
        self.assertEqual(sum("GET" in line for line in shown), MAX_REQUESTS)

    def test_what_changes(self) -> None:
        self.known.known = [Line("who", "bob")]
        self.screen.sum_up("5 more in a second")
        self.clock.advance(REFRESH)
        shown = self.display()
        self.assertEqual(shown[1:], ["who  bob", "5 more in a second"])

    def test_the_log_stands_above(self) -> None:
        print("2026-01-31 joined tunnel", file=sys.stderr)
        self.clock.advance(REFRESH)
        shown = self.display()
        self.assertEqual(shown[0], "2026-01-31 joined tunnel")
        self.assertTrue(shown[1].startswith("shop"))
        self.assertEqual(sum(line.startswith("shop") for line in shown), 1)

    def test_the_end(self) -> None:
        """Standard error is what it was, nothing is drawn any more, and the last of it stays."""
        self.screen.show(seen(1))
        self.screen.stop()
        self.assertIs(sys.stderr, self.before)
        size = len(self.written.getvalue())
        self.screen.show(seen(2))
        self.clock.advance(10 * REFRESH)
        self.screen.stop()
        self.assertEqual(len(self.written.getvalue()), size)
        self.assertIn("who", "\n".join(self.display()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
