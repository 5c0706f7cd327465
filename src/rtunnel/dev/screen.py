"""The live screen: the overview and the last requests, below the lines of the log."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from twisted.internet.task import LoopingCall

from rtunnel.client.watch_lines import Seen, colour_of, span_text, time_text
from rtunnel.dev.overview import Line

__all__ = ["MAX_REQUESTS", "Screen", "Shown", "draw"]

MAX_REQUESTS: Final = 10
"""The last requests that are shown, where there is room for them."""
REFRESH: Final = 1.0
"""Seconds between two updates without a request."""
SOON: Final = 0.1
"""Seconds in which a request is shown."""


class Shown(Protocol):
    """What the screen shows besides requests."""

    @property
    def title(self) -> str:
        """The first line."""

    def lines(self) -> Iterable[Line]:
        """The lines below it."""


class Screen:
    """Draws it as long as it is started; owned by the session.

    What is written to standard error meanwhile, the log that is, stands above it.

    :param shown: is looked up at each update.
    :param reactor: the clock.
    :param console: where it is drawn; by default on standard error, since stdout may be somebody else's.
    """

    def __init__(self, shown: Shown, reactor: Any, console: Console | None = None) -> None:
        self._shown = shown
        self._reactor = reactor
        self._console = console or Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._requests: deque[Seen] = deque(maxlen=MAX_REQUESTS)
        self._more = ""
        self._soon: Any = None
        self._ticking = LoopingCall(self._draw)
        self._ticking.clock = reactor

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._ticking.start(REFRESH)

    def stop(self) -> None:
        """Draw no more; what was drawn last stays."""
        if not self._ticking.running:
            return
        self._ticking.stop()
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._live.stop()

    def show(self, seen: Seen) -> None:
        """A request has ended, or takes long."""
        self._requests.append(seen)
        self._more = ""
        if self._soon is None or not self._soon.active():
            self._soon = self._reactor.callLater(SOON, self._draw)

    def sum_up(self, text: str) -> None:
        """There were more than are shown one by one."""
        self._more = text

    def _draw(self) -> None:
        if self._live.is_started:
            room = max(self._console.height - 1, 1)
            shown = draw(self._shown.title, list(self._shown.lines()), list(self._requests), self._more, room)
            self._live.update(shown, refresh=True)


def draw(title: str, lines: list[Line], requests: list[Seen], more: str, height: int) -> RenderableType:
    """All of it, in some lines of a terminal: what is least important is left out where they are few.

    :param lines: of the overview.
    :param requests: the oldest first.
    :param more: what is said of requests that are not among them.
    :param height: lines that there are.
    """
    known = Table.grid(padding=(0, 2, 0, 0))
    known.add_column(style="dim", no_wrap=True, min_width=max((len(line.label) for line in lines), default=0))
    known.add_column(no_wrap=True, overflow="ellipsis")
    for line in lines[: max(height - 1, 0)]:
        known.add_row(line.label, Text(line.text, "" if line.good else "bold yellow"))
    room = height - len(lines) - 2 - bool(more)
    parts: list[RenderableType] = [Rule(Text(title, "bold"), align="left", style="dim"), known]
    if requests and room > 0:
        parts += [Text(""), _table(requests[-room:])]
    if more and room >= 0:
        parts.append(Text(more, "dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _table(requests: Iterable[Seen]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for style in ("dim", "", "", "", "dim"):
        table.add_column(style=style, no_wrap=True, overflow="ellipsis")
    table.columns[3].justify = "right"
    for seen in requests:
        result = Text(seen.result, colour_of(seen.result))
        table.add_row(time_text(seen.at), Text(f"{seen.what} {seen.place}"), result, span_text(seen.seconds), Text(seen.more))
    return table
