"""The last things that went wrong, for whoever asks for the status."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from rtunnel.ids import hide_ids
from rtunnel.ops.logs import one_line

__all__ = ["KEPT", "RecentError", "RecentErrors"]

KEPT = 50
"""How many are kept; the oldest goes first."""
MAX_LINE = 300
"""Characters of a text that are kept."""


@attrs.define
class RecentError:
    """A warning or an error of the log.

    :ivar time: when it was said last, in seconds of the epoch.
    :ivar level: ``warn``, ``error`` or ``critical``.
    :ivar text: in words, on one line, IDs cut down to their beginnings; of an exception only its kind.
    :ivar times: how often in a row.
    """

    time: float
    level: str
    text: str
    times: int = 1


@implementer(ILogObserver)
class RecentErrors(Service):
    """Listens to the log from its start until it is stopped; what it keeps is bounded by :data:`KEPT`."""

    def __init__(self) -> None:
        self._kept: deque[RecentError] = deque(maxlen=KEPT)

    def privilegedStartService(self) -> None:
        """Listen already while the others start: what they warn of is worth being found."""
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
            self._keep(event["log_time"], level.name, _words(event))

    def _keep(self, time: float, level: str, text: str) -> None:
        last = self._kept[-1] if self._kept else None
        if last is not None and (last.level, last.text) == (level, text):
            last.time = time
            last.times += 1
        else:
            self._kept.append(RecentError(time, level, text))

    def __iter__(self) -> Any:
        """The kept ones, the last one first."""
        return reversed(self._kept)


def _words(event: LogEvent) -> str:
    """The text of an event. The words of an exception stay in the log: they may repeat what it choked on."""
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text += f" ({failure.type.__name__})"
    return one_line(hide_ids(text))[:MAX_LINE]
