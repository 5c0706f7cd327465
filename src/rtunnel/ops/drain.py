"""Waiting for what is in progress to end, up to a time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["DRAIN_INTERVAL", "drain"]

DRAIN_INTERVAL = 0.05
"""Seconds between two calls of ``busy``."""


def drain(busy: Callable[[], bool], until: float, reactor: IReactorTime) -> Deferred[None]:
    """Wait until nothing is in progress any more, or until the time is over.

    :param busy: tells whether something still is; called once in each interval, at once for the first time.
    :param until: when to stop waiting, in the reactor's seconds.
    :returns: fires with None, at the latest one interval after ``until``; fails with what ``busy`` raises.
    """

    def check() -> None:
        if reactor.seconds() >= until or not busy():
            checks.stop()

    checks = LoopingCall(check)
    checks.clock = reactor
    return checks.start(DRAIN_INTERVAL).addCallback(lambda _: None)
