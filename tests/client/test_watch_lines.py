"""What is shown of what a client watches."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client import watch_lines
from rtunnel.client.watch_lines import MOST, Seen, Terminal, WatchLines
from tests.support.logs import logged

SEEN = Seen(1_000_000_000.0, "GET", "/cart", "200", 0.0124, "else pod/shop")


class AmountTests(SynchronousTestCase):
    """Lines, as long as they can be read."""

    def setUp(self) -> None:
        self.shown: list[Seen] = []
        self.sums: list[str] = []
        self.lines = WatchLines(self.shown.append, self.sums.append)

    def see(self, count: int, result: str = "200") -> None:
        for _ in range(count):
            self.lines.add(Seen(0.0, "GET", "/", result, 0.0))

    def test_few(self) -> None:
        for _ in range(3):
            self.see(MOST)
            self.lines.tick()
        self.assertEqual((len(self.shown), self.sums), (3 * MOST, []))

    def test_many(self) -> None:
        """The first ones of the first second, then a line for each second, until there are few again."""
        self.see(MOST)
        self.see(1000)
        self.see(1, "404")
        self.lines.tick()
        self.assertEqual(len(self.shown), MOST)
        self.assertEqual(self.sums, ["1,001 more in a second: 1,000 x 200, 1 x 404"])
        self.see(MOST + 1)
        self.lines.tick()
        self.assertEqual((len(self.shown), self.sums[1:]), (MOST, ["21 more in a second: 21 x 200"]))
        self.see(2)
        self.lines.tick()
        self.assertEqual((len(self.shown), self.sums[2:]), (MOST, ["2 more in a second: 2 x 200"]))
        self.see(2)
        self.lines.tick()
        self.assertEqual((len(self.shown), len(self.sums)), (MOST + 2, 3))

    def test_a_closed_terminal(self) -> None:
        """Said once, in the log; whoever passes requests on hears nothing of it."""

        def write(seen: object) -> None:
            raise OSError(5, "Input/output error")

        lines = WatchLines(write, write)
        with logged() as said:
            for _ in range(MOST + 5):
                lines.add(SEEN)
            lines.tick()
        self.assertEqual(said, ["requests are not shown any more: [Errno 5] Input/output error"])

    def test_many_results(self) -> None:
        self.see(MOST)
        for status in range(400, 408):
            self.see(1, str(status))
        self.lines.tick()
        self.assertTrue(self.sums[0].endswith(", 3 other results"), self.sums)


class TerminalTests(SynchronousTestCase):
    def written(self, seen: Seen, *, terminal: bool, width: int = 60) -> str:
        out = StringIO()
        # a terminal as rich sees it
        how: dict[str, Any] = {"force_terminal": True, "width": width, "color_system": "standard"} if terminal else {}
        self.patch(watch_lines, "Console", lambda **more: Console(**more, **how))
        shown = Terminal(out)
        shown.show(seen)
        shown.sum_up("3 more")
        return out.getvalue()

    def test_in_a_pipe(self) -> None:
        """No colours, and nothing is cut that can be read."""
        long = Seen(1_000_000_000.0, "GET", "/" + "x" * 150, "404", 2.5)
        for seen, end in ((SEEN, "GET /cart  200 12 ms  else pod/shop"), (long, f"GET {long.place}  404 2.5 s")):
            line, total, _ = self.written(seen, terminal=False).split("\n")
            self.assertRegex(line, r"^\d\d:\d\d:\d\d GET /")
            self.assertTrue(line.endswith(end), line)
            self.assertEqual(total, "3 more")

    def test_on_a_terminal(self) -> None:
        """In colours, and cut to the width; however narrow it is, something of the path is there."""
        text = self.written(Seen(0.0, "GET", "/" + "x" * 150, "500", 0.01), terminal=True)
        self.assertIn("\x1b[31m", text)
        self.assertIn("...", text)
        self.assertNotIn("x" * 50, text)
        self.assertIn("x" * 16 + "...", self.written(Seen(0.0, "GET", "/" + "x" * 150, "200", 0.01), terminal=True, width=10))

    def test_markup(self) -> None:
        """What others say is text, whatever it looks like."""
        line = self.written(Seen(0.0, "GET", "/[red]a[/red]:smile:", "200", 0.01), terminal=False)
        self.assertIn("/[red]a[/red]:smile:", line)
