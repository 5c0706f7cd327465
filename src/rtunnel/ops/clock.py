"""The clock of the process's timers."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["use_monotonic_clock"]


def use_monotonic_clock(reactor: Any) -> None:
    """Have a reactor measure time with a clock that nobody sets.

    Twisted's reactors use the time of day (``twisted.python.runtime.seconds``). When that is set eight hours ahead, every limit has
    expired at once; when it is set back, none expires for eight hours, and no keepalive is sent.

    :param reactor: one that has no timers yet; with timers, whose times are those of its clock, it keeps that.
    """
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
