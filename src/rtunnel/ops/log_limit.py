"""Keeps anybody from flooding the log: of many lines of one kind the first ones are written, and the others summed up in one line.

Lines are of one kind when the same call logs them: their format is the same, whatever their values are. Of each kind :data:`BURST`
are written in a :data:`PERIOD`; then one line says how many more there were, with the last of them::

    refused 192.0.2.7:50123 (user alice): wrong password ... and 1,234 more like it in 60 s

A single one is written late, but as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any
from weakref import WeakSet

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

__all__ = ["BURST", "FAILURE_BURST", "KIND", "MAX_KINDS", "PERIOD", "LimitedObserver", "LogSummaries"]

PERIOD = 60.0
"""Seconds in which lines of one kind are counted together."""
BURST = 100
"""Lines of one kind in a period that are written."""
FAILURE_BURST = 10
"""The same of those with a traceback, for each type of exception."""
MAX_KINDS = 1000
"""Kinds that are counted at once; far more than there are calls."""

KIND = "log_kind"
"""In events that another process has logged: the format that they had there."""

_observers: WeakSet[LimitedObserver] = WeakSet()


class _Kind:
    """The lines of one kind in the current period."""

    __slots__ = ("burst", "count", "last", "since")

    def __init__(self, since: float, burst: int) -> None:
        self.since = since
        self.burst = burst
        self.count = 0
        self.last: LogEvent = {}


@implementer(ILogObserver)
class LimitedObserver:
    """Passes events on to an observer, as long as there are not too many of one kind.

    Details for debugging are not counted: who asks for them wants all. Time is that of the events and of :meth:`sweep`.

    :param observer: writes the lines.
    """

    def __init__(self, observer: ILogObserver) -> None:
        self._observer = observer
        self._kinds: dict[tuple[Any, ...], _Kind] = {}
        _observers.add(self)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.debug:
            self._observer(event)
            return
        now = event["log_time"]
        failure = event.get("log_failure")
        type_ = None if failure is None else failure.type
        key = (event.get("log_namespace"), event.get("log_level"), event.get(KIND) or event.get("log_format"), type_)
        kind = self._kinds.get(key)
        if kind is not None and not 0 <= now - kind.since < PERIOD:
            # the period is over, or the clock was set back
            self._sum_up(key, now)
            kind = None
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                self.flush(now)
            kind = self._kinds[key] = _Kind(now, BURST if failure is None else FAILURE_BURST)
        kind.count += 1
        if kind.count > kind.burst:
            kind.last = event
        else:
            self._observer(event)

    def sweep(self, now: float) -> None:
        """Write the sums of the periods that are over."""
        for key in [key for key, kind in self._kinds.items() if not 0 <= now - kind.since < PERIOD]:
            self._sum_up(key, now)

    def flush(self, now: float) -> None:
        """Write all sums; the next lines are the first ones again."""
        for key in list(self._kinds):
            self._sum_up(key, now)

    def _sum_up(self, key: tuple[Any, ...], now: float) -> None:
        """Begin a new period with the next line of a kind."""
        kind = self._kinds.pop(key)
        more = kind.count - kind.burst - 1
        if more < 0:
            return
        event = kind.last
        if more:
            event = {name: value for name, value in event.items() if name != "log_failure"} | {
                "log_format": "{log_summed} ... and {log_more:,} more like it in {log_seconds:.0f} s",
                "log_summed": formatEvent(event),
                "log_more": more,
                "log_seconds": max(now - kind.since, 1.0),
            }
        self._observer(event | {"log_time": now})


class LogSummaries(Service):
    """Has the sums of all observers written in time, and what is left at the stop; so it must be the last that stops.

    :param reactor: for its timer.
    :param clock: the time of the log, in seconds of the epoch.
    """

    def __init__(self, reactor: Any, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = reactor

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(1.0, now=False)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        for observer in list(_observers):
            observer.flush(self._clock())

    def _sweep(self) -> None:
        for observer in list(_observers):
            observer.sweep(self._clock())
