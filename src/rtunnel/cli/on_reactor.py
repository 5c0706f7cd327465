"""A coroutine on the reactor, until it ends or is interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from rtunnel.cli.exit_status import ExitStatus, killed_by
from rtunnel.ops.logs import HumanObserver
from rtunnel.ops.memory import expect_bulk
from rtunnel.ops.signals import StopSignals

__all__ = ["run_on_reactor"]


def run_on_reactor(work: Callable[[], Coroutine[Any, Any, int]], reactor: Any) -> int:
    """Run the reactor until some work has ended.

    SIGTERM and Ctrl-C cancel what the work awaits, so that it can clean up; a second Ctrl-C ends the process at once. The log goes
    to stderr.

    :param work: begins when the reactor runs; returns an exit status.
    :param reactor: not running yet; it cannot run again.
    :returns: the exit status of the work; 128 and the number of the signal after a signal.
    :raises Exception: what the work raised.
    """
    # some of this work carries as much as a service, for as long
    expect_bulk(reactor)
    globalLogBeginner.beginLoggingTo([HumanObserver(_Stderr())], redirectStandardIO=False, discardBuffer=True)
    run = _Run(work, reactor)
    reactor.callWhenRunning(run.begin)
    reactor.run()
    return run.status()


class _Stderr:
    """The standard error as it is at each moment: a live screen puts itself in its place, so that lines stand above it."""

    def write(self, text: str, /) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Run:
    """The work while the reactor runs."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, int]], reactor: Any) -> None:
        self._work = work
        self._reactor = reactor
        self._signals = StopSignals(reactor, self._interrupt)
        self._signal: signal.Signals | None = None
        self._running: Deferred[int] | None = None
        self._result: int | Failure = ExitStatus.FAILED

    def begin(self) -> None:
        """Begin the work."""
        self._signals.install()
        self._running = Deferred.fromCoroutine(self._work())
        self._running.addBoth(self._ended)

    def _ended(self, result: int | Failure) -> None:
        self._result = result
        self._reactor.stop()

    def _interrupt(self, number: signal.Signals) -> None:
        self._signal = number
        if self._running is not None:
            self._running.cancel()

    def status(self) -> int:
        """The exit status, once the reactor has stopped."""
        if not isinstance(self._result, Failure):
            return self._result if self._signal is None else killed_by(self._signal)
        if self._signal is None or not self._result.check(CancelledError):
            self._result.raiseException()
        return killed_by(self._signal)
