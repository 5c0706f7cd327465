"""The log of the workers, of which there is one: a worker writes its events as JSON, the supervisor logs them as its own."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Final, TextIO

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    eventAsJSON,
    eventFromJSON,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import implementer

from rtunnel.ops.log_limit import KIND, LimitedObserver
from rtunnel.ops.logs import is_shown, one_line

__all__ = ["WorkerLines", "to_supervisor"]

MARK: Final = "\x1e"
"""Begins the line of an event (RFC 7464). Others come from Python itself, or from a library."""
_KEPT: Final = ("log_level", "log_namespace", "log_time", "log_failure")
MAX_LINE: Final = 1 << 20
"""Bytes of a line at most."""
MAX_TEXT: Final = 4000
"""Characters of a line that is no event, of which more is not logged."""


def to_supervisor(number: int) -> ILogObserver:
    """Return an observer that writes to the current stderr, which the supervisor reads.

    :param number: of this worker.
    """
    return LimitedObserver(_EventObserver(sys.stderr, number))


@implementer(ILogObserver)
class _EventObserver:
    """Writes events as lines.

    :param stream: flushed after each.
    """

    def __init__(self, stream: TextIO, number: int) -> None:
        self._stream = stream
        self._number = number

    def __call__(self, event: LogEvent) -> None:
        if not is_shown(event):
            return
        kept: dict[str, Any] = {name: event[name] for name in _KEPT if name in event}
        # as text: JSON would lose how its values are formatted
        kept |= {"log_format": "worker {worker}: {text}", "worker": self._number, "text": formatEvent(event)}
        kept[KIND] = event.get("log_format") or ""
        if "log_failure" in kept:
            kept["error"] = str(kept["log_failure"].value)
        self._stream.write(f"{MARK}{eventAsJSON(kept)}\n")
        self._stream.flush()


class WorkerLines:
    """What comes from the stderr of one worker, logged line by line.

    :param number: of the worker.
    """

    _log = Logger()

    def __init__(self, number: int) -> None:
        self._number = number
        self._rest = b""

    def received(self, data: bytes) -> None:
        """Some more was written."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._line(line.decode("utf-8", "replace"))

    def ended(self) -> None:
        """No more comes."""
        if self._rest:
            self.received(b"\n")

    def _line(self, line: str) -> None:
        if line.startswith(MARK):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                event = eventFromJSON(line[1:])
                event["log_logger"] = self._log
                if "log_failure" in event:
                    # of the exception JSON only has the type
                    event["log_failure"].value = event["error"]
                globalLogPublisher(event)
                return
        if line.strip():
            self._log.warn("worker {worker}: {text}", worker=self._number, text=one_line(line[:MAX_TEXT]))
