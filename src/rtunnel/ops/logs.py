"""The log as a person reads it: one short line per event, on stdout.

The ``rtunnel`` command logs like this. For twistd it is a choice: ``twistd -n --logger rtunnel.ops.logs.human rtunnel ...``.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

__all__ = ["HumanObserver", "human", "one_line"]


def human() -> ILogObserver:
    """An observer for twistd's ``--logger``; it writes to what is stdout now."""
    return HumanObserver(sys.stdout)


@implementer(ILogObserver)
class HumanObserver:
    """Writes ``2026-01-31 12:00:00 text``, with the level before the text when it is above info.

    What Twisted says of itself (factories, the reactor's class) is left out, unless it is a warning or worse. An event stays on
    one line whatever its text holds; only a traceback follows on lines of its own.

    :param stream: where to write; it is flushed after each event and never closed.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if level < LogLevel.info or (level == LogLevel.info and not _ours(event)):
            return
        moment = datetime.fromtimestamp(event["log_time"]).strftime("%Y-%m-%d %H:%M:%S")
        mark = "" if level == LogLevel.info else f"{level.name}: "
        lines = [f"{moment} {mark}{one_line(formatEvent(event))}"]
        failure = event.get("log_failure")
        if failure is not None:
            lines.append(failure.getTraceback().rstrip())
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()


def _ours(event: LogEvent) -> bool:
    return str(event.get("log_namespace", "")).partition(".")[0] == "rtunnel"


def one_line(text: str) -> str:
    """A text with all that would leave its line, or colour a terminal, written as an escape."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
