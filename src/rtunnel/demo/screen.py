"""What the user sees: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtunnel.demo.next_steps import next_steps
from rtunnel.demo.scenario import HOST, Viewer
from rtunnel.demo.shares import Act, Results, Side, Tally

__all__ = ["LiveScreen", "PlainScreen", "bar", "table"]

BAR = 16
"""Characters of a bar."""
REFRESH = 1 / 15
"""Minimum seconds between two updates."""
COLOURS = {Side.POD: "blue", Side.LAPTOP: "green"}


def bar(tally: Tally, *, ascii_only: bool = False) -> Text:
    """The shares of both sides as one bar, the pod's on the left; empty before the first answer.

    :param tally: what was counted.
    :param ascii_only: for terminals without block characters.
    """
    if not tally.answered:
        return Text(" " * BAR)
    laptop = round(BAR * tally.laptop / tally.answered)
    pod_block, laptop_block = "#-" if ascii_only else "█░"
    text = Text(pod_block * (BAR - laptop), COLOURS[Side.POD])
    return text.append(laptop_block * laptop, COLOURS[Side.LAPTOP])


def table(results: Results, *, ascii_only: bool = False) -> Table:
    """All results, a row for each phase.

    :param results: what was counted.
    :param ascii_only: for terminals without block characters.
    """
    shown = Table(title=f"who answers for {HOST}", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("phase", no_wrap=True)
    shown.add_column("pod  |  laptop", width=BAR, justify="center")
    for name in ("pod %", "laptop %", "sent", "failed"):
        shown.add_column(name, justify="right")
    shown.add_column("expected", justify="center", no_wrap=True)
    for act in results.acts:
        shown.add_row(*_row(act.phase.title, act.tally, ascii_only), _verdict(act))
    shown.add_section()
    shown.add_row(*_row("joining, leaving", results.between, ascii_only), "any", style="dim")
    return shown


def _row(title: str, tally: Tally, ascii_only: bool) -> list[Text | str]:
    shares = [f"{tally.percent(side):.1f}" if tally.answered else "" for side in (Side.POD, Side.LAPTOP)]
    failed = Text(str(tally.failed), "bold red" if tally.failed else "")
    return [title, bar(tally, ascii_only=ascii_only), *shares, str(tally.sent), failed]


def _verdict(act: Act) -> Text:
    if not act.done:
        return Text(act.phase.expected, "dim")
    return Text(act.phase.expected, "bold red" if act.complaint else "bold green")


class _Screen(Viewer):
    """What both screens share.

    :param console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._ascii_only = console.options.ascii_only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to restore."""

    def line(self, text: str, style: str = "") -> None:
        """Write one line without wrapping it, so that it can be copied."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def step(self, text: str, *commands: str) -> None:
        self.line(f"{text}:" if commands else text)
        for command in commands:
            self.line(f"  {command}", "cyan")

    def summary(self, results: Results) -> None:
        """Show all results, and what to type next.

        :param results: what was counted.
        """
        connections = f"{results.connections} keep-alive connection" + ("s" if results.connections != 1 else "")
        self.line(f"{results.sent} requests on {connections}; each was routed by itself")
        self.line(f"\n{next_steps()}")


class LiveScreen(_Screen):
    """A live table below the steps."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False)
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the last table on the terminal."""
        self._live.stop()

    def line(self, text: str, style: str = "") -> None:
        super().line(text, style)
        if self._live.is_started:
            # the table was drawn with the style of the line
            self._live.refresh()

    def counted(self, results: Results) -> None:
        now = monotonic()
        if now - self._drawn >= REFRESH:
            self._drawn = now
            self._draw(results)

    def played(self, act: Act) -> None:
        """The table shows it."""

    def summary(self, results: Results) -> None:
        self._draw(results)
        self._live.stop()
        super().summary(results)

    def _draw(self, results: Results) -> None:
        self._live.update(table(results, ascii_only=self._ascii_only), refresh=True)


class PlainScreen(_Screen):
    """A line for each step and each phase, the table at the end."""

    def counted(self, results: Results) -> None:
        """Shown when the phase is over."""

    def played(self, act: Act) -> None:
        tally = act.tally
        pod, laptop = (tally.percent(side) for side in (Side.POD, Side.LAPTOP))
        shares = f"pod {pod:.1f} %, laptop {laptop:.1f} % of {tally.sent} requests, {tally.failed} failed"
        verdict = "NOT as expected" if act.complaint else "as expected"
        self.line(f"phase {act.phase.title}: {shares}; {verdict} ({act.phase.expected})")

    def summary(self, results: Results) -> None:
        self.line("")
        self.console.print(table(results, ascii_only=self._ascii_only))
        super().summary(results)
