"""The latest warnings and errors, for the status."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from rtunnel.ids import hide_ids
from rtunnel.ops.logs import one_line

__all__ = ["MAX_ERRORS", "RecentError", "RecentErrors"]

MAX_ERRORS = 50
"""How many are kept; the oldest is dropped first."""
MAX_LINE = 300
"""Characters that are kept of a text."""


@attrs.define
class RecentError:
    """A warning or an error of the log.

    :ivar time: when it was logged last, in seconds since the epoch.
    :ivar level: ``warn``, ``error`` or ``critical``.
    :ivar text: one line, with IDs cut to their first characters; of an exception only its type.
    :ivar times: how often in a row it was logged.
    """

    time: float
    level: str
    text: str
    times: int = 1


@implementer(ILogObserver)
class RecentErrors(Service):
    """Observes the log from its start to its stop and keeps the last :data:`MAX_ERRORS`."""

    def __init__(self) -> None:
        self._kept: deque[RecentError] = deque(maxlen=MAX_ERRORS)

    def privilegedStartService(self) -> None:
        """Observe the log while the other services start, because they may warn."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        globalLogPublisher.addObserver(self)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        globalLogPublisher.addObserver(self)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if level >= LogLevel.warn:
            self._keep(event["log_time"], level.name, _text(event))

    def _keep(self, time: float, level: str, text: str) -> None:
        last = self._kept[-1] if self._kept else None
        if last is not None and (last.level, last.text) == (level, text):
            last.time = time
            last.times += 1
        else:
            self._kept.append(RecentError(time, level, text))

    def __iter__(self) -> Any:
        """Iterate over the errors, the latest first."""
        return reversed(self._kept)


def _text(event: LogEvent) -> str:
    """Return the text of an event. The message of an exception stays in the log: it may contain data."""
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text += f" ({failure.type.__name__})"
    return one_line(hide_ids(text))[:MAX_LINE]
