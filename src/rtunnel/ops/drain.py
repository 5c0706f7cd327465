"""Waiting for what is in progress to end, up to a time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["DRAIN_INTERVAL", "drain"]

DRAIN_INTERVAL = 0.05
"""Seconds between two calls of ``busy``."""


def drain(busy: Callable[[], bool], until: float, reactor: IReactorTime) -> Deferred[None]:
    """Wait until nothing is in progress any more, or until the time is over.

    :param busy: tells whether something still is; called once in each interval, at once for the first time.
    :param until: when to stop waiting, in the reactor's seconds.
    :returns: fires with None, at the latest one interval after ``until``.
    """
    done: Deferred[None] = Deferred()

    def check() -> None:
        if reactor.seconds() < until and busy():
            reactor.callLater(DRAIN_INTERVAL, check)
        else:
            done.callback(None)

    check()
    return done
