"""A machine that slept: a closed lid, a hibernation.

Its links are probably dead, since the servers and the routers between have given them up, and nothing says so. While it slept its
timers stood still, so the keepalive would need its whole time to find out. But there is a clock that went on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["SLEPT", "SleepWatch", "time_asleep"]

CHECK = 1.0
"""Seconds between two looks at the clocks."""
SLEPT = 5.0
"""Seconds of sleep after which a link is worth a question."""


def _clock_that_goes_on() -> int | None:
    """The number of the system's clock that counts sleep as well; None where there is none."""
    return getattr(time, "CLOCK_MONOTONIC_RAW" if sys.platform == "darwin" else "CLOCK_BOOTTIME", None)


def time_asleep() -> float:
    """Seconds that this machine has slept since some moment; always 0 where the system does not tell."""
    clock = _clock_that_goes_on()
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()


class SleepWatch:
    """Notices that the machine has slept; owned by the client's service.

    :param woke: called after each sleep, with its seconds.
    :param asleep: see :func:`time_asleep`.
    """

    def __init__(self, woke: Callable[[float], None], reactor: IReactorTime, asleep: Callable[[], float] = time_asleep) -> None:
        self._woke = woke
        self._asleep = asleep
        self._before = 0.0
        self._checks = LoopingCall(self._check)
        self._checks.clock = reactor

    def start(self) -> None:
        """Begin to watch."""
        self._before = self._asleep()
        self._checks.start(CHECK, now=False)

    def stop(self) -> None:
        """Watch no more."""
        if self._checks.running:
            self._checks.stop()

    def _check(self) -> None:
        before, self._before = self._before, self._asleep()
        if self._before - before >= SLEPT:
            self._woke(self._before - before)
