"""The log for people: one short line per event, on stdout.

The ``rtunnel`` command logs like this, and so does ``twistd -n``, unless one of its own options chooses another log.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Protocol

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from rtunnel.ops.log_limit import LimitedObserver

__all__ = ["HumanObserver", "Writer", "human", "is_shown", "one_line", "show_from"]


class Writer(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> object:
        """Write some text."""

    def flush(self) -> None:
        """Have it seen now."""


class _Shown:
    """What is written, in the whole process: twistd makes its observer from a name alone, without our options."""

    lowest = LogLevel.info


def show_from(level: str) -> None:
    """Write events from a level on.

    :param level: its name: ``debug``, ``info`` or ``warn``.
    """
    _Shown.lowest = LogLevel.levelWithName(level)


def human() -> ILogObserver:
    """Return an observer for twistd's ``--logger``; it writes to the current stdout, and sums up what would flood it."""
    return LimitedObserver(HumanObserver(sys.stdout))


@implementer(ILogObserver)
class HumanObserver:
    """Writes ``2026-01-31 12:00:00+0100 text``, in local time, with the level before the text when it is above info.

    Twisted's own events (factories, the reactor's class) are omitted unless they are warnings or errors, and all events below the
    level of :func:`show_from`. Each event is one line whatever its text contains; only a traceback follows on separate lines.

    :param stream: where to write; it is flushed after each event and never closed.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Writer) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        if not is_shown(event):
            return
        level = event.get("log_level", LogLevel.info)
        time = datetime.fromtimestamp(event["log_time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
        mark = "" if level == LogLevel.info else f"{level.name}: "
        lines = [f"{time} {mark}{one_line(formatEvent(event))}"]
        failure = event.get("log_failure")
        if failure is not None:
            lines.append(failure.getTraceback().rstrip())
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()


def is_shown(event: LogEvent) -> bool:
    """Whether an event is for people: see :class:`HumanObserver`."""
    level = event.get("log_level", LogLevel.info)
    return bool(level >= _Shown.lowest and (level > LogLevel.info or _ours(event)))


def _ours(event: LogEvent) -> bool:
    return str(event.get("log_namespace", "")).partition(".")[0] == "rtunnel"


def one_line(text: str) -> str:
    """Return a text with line breaks and other control characters escaped."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
