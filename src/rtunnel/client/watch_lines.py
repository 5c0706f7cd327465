"""What is shown of the requests that a client watches: a line for each, and one for all of a second when there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from time import localtime, strftime
from typing import Final, TextIO

from attrs import frozen
from rich.console import Console
from rich.text import Text
from twisted.logger import Logger

__all__ = ["MOST", "Seen", "Terminal", "WatchLines", "colour_of", "lines_on", "span_text", "time_text"]

MOST: Final = 20
"""Lines in a second; when there are more they are counted."""
MAX_PLACE: Final = 200
"""Characters of a path that are shown where no terminal has fewer."""
MIN_PLACE: Final = 20
"""Characters of a path that are shown however narrow a terminal is."""

_COLOURS: Final = {"1": "cyan", "2": "green", "3": "cyan", "4": "yellow", "5": "red"}


@frozen
class Seen:
    """A request or a connection.

    :ivar at: when it began, in seconds of the epoch.
    :ivar what: the method, or the protocol.
    :ivar place: the path, or who is connected with what; printable.
    :ivar result: the status, or what happened; printable.
    :ivar seconds: how long it took.
    :ivar more: whatever else there is to say.
    """

    at: float
    what: str
    place: str
    result: str
    seconds: float
    more: str = ""


class WatchLines:
    """Shows what is seen, as long as it is not too much to be read, and there is somebody to read it: requests go on without.

    After a second with more than :data:`MOST` of them, the next second's are counted from its beginning.

    :param show: shows one.
    :param sum_up: shows how many were not shown.
    """

    _log = Logger()

    def __init__(self, show: Callable[[Seen], None], sum_up: Callable[[str], None]) -> None:
        self._show = show
        self._sum_up = sum_up
        self._shows = True
        self._number = 0
        self._busy = False
        self._left_out: Counter[str] = Counter()

    def add(self, seen: Seen) -> None:
        """Something has been seen."""
        self._number += 1
        if self._busy or self._number > MOST:
            self._left_out[seen.result] += 1
        else:
            self._guarded(partial(self._show, seen))

    def tick(self) -> None:
        """A second is over."""
        if self._left_out:
            results = ", ".join(f"{number:,} x {result}" for result, number in self._left_out.most_common(5))
            more = f", {len(self._left_out) - 5} other results" if len(self._left_out) > 5 else ""
            self._guarded(partial(self._sum_up, f"{self._left_out.total():,} more in a second: {results}{more}"))
            self._left_out.clear()
        self._busy = self._number > MOST
        self._number = 0

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write, as long as that can be done: a terminal may be closed while its client goes on."""
        if not self._shows:
            return
        try:
            write()
        except Exception as error:
            self._shows = False
            self._log.warn("requests are not shown any more: {reason}", reason=str(error) or type(error).__name__)


class Terminal:
    """Writes the lines, in colours where there is a terminal.

    :param stream: where the log is written, too; each line is flushed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def show(self, seen: Seen) -> None:
        """Write a line."""
        before = f"{time_text(seen.at)} {seen.what} "
        after = [f"  {seen.result}", f" {span_text(seen.seconds)}", f"  {seen.more}" if seen.more else ""]
        room = self._room(len(before) + sum(map(len, after)))
        place = seen.place if len(seen.place) <= room else f"{seen.place[: room - 3]}..."
        self._console.print(Text.assemble((before, "dim"), place, (after[0], colour_of(seen.result)), after[1], (after[2], "dim")))

    def sum_up(self, text: str) -> None:
        """Write how many were not shown."""
        self._console.print(Text(text, "dim"))

    def _room(self, taken: int) -> int:
        if not self._console.is_terminal:
            return MAX_PLACE
        return max(self._console.width - taken, MIN_PLACE)


def lines_on(stream: TextIO) -> WatchLines:
    """Lines on a terminal, or wherever a stream leads."""
    terminal = Terminal(stream)
    return WatchLines(terminal.show, terminal.sum_up)


def colour_of(result: str) -> str:
    """How a result is shown."""
    return _COLOURS.get(result[:1], "red")


def time_text(at: float) -> str:
    """A time of day.

    :param at: in seconds of the epoch.
    """
    return strftime("%H:%M:%S", localtime(at))


def span_text(seconds: float) -> str:
    """How long something took."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
