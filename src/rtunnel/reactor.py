"""A reactor for many small messages: Twisted's epoll reactor with an end-of-turn hook.

Three things differ from :class:`twisted.internet.epollreactor.EPollReactor`:

- :meth:`TurnReactor.end_of_turn` runs a callable once, when all events of the last poll have been handled: the frames that were
  written to a link during the turn leave as one message, without a timer for each.
- events are dispatched directly, not through ``log.callWithLogger``, whose context switch costs more than the dispatch.
- where no timed call is due, one poll follows the other directly.

Selected with ``twistd --reactor rtunnel`` (a Reactor plugin). Everything works, a little slower, on any stock reactor: see
:func:`rtunnel.tunnel.turn.end_of_turn`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.epollreactor import EPOLLIN, EPollReactor
from twisted.logger import Logger
from zope.interface import implementer

from rtunnel.private_details import EPOLL, available
from rtunnel.reactor_types import IReactorTurns

__all__ = ["TurnReactor", "install"]

_log = Logger()

MAX_EVENTS = 40
"""Events of one turn; the others are left for the next one.

At the end of a turn everything that it wrote leaves in one piece. With a hundred visitors in one turn, the other end of the tunnel
would be idle while this one works, and the other way round; with turns of this size both are busy. Smaller ones cost more, in more
pieces, than they gain.
"""
MAX_TIMEOUT = 2147483.0
"""Seconds that epoll can wait at most (its milliseconds are an int)."""


@implementer(IReactorTurns)
class TurnReactor(EPollReactor):
    """An epoll reactor that knows when a turn ends."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []
        super().__init__()  # type: ignore[no-untyped-call]

    def mainLoop(self) -> None:
        """Run turns until the reactor is stopped."""
        while self._started:
            with _log.failureHandler("Unexpected error in main loop"):
                self._turns()

    def _turns(self) -> None:
        while self._started:
            if self.threadCallQueue or self._newTimedCalls or self._justStopped:
                self.runUntilCurrent()
            timed = self._pendingTimedCalls
            wait = timed[0].time - self.seconds() if timed else None
            if wait is not None and wait <= 0:
                self.runUntilCurrent()
                wait = self.timeout()
            # new timed calls are not included in the wait; nor is the end of the reactor
            self.doPoll((self.timeout() if self._newTimedCalls else wait) if self.running else 0)

    def end_of_turn(self, call: Callable[[], None]) -> None:
        """Call once, without arguments, when the current events have been handled and before the reactor waits again."""
        self._ends.append(call)

    def _end_turn(self) -> None:
        while self._ends:
            ends, self._ends = self._ends, []
            for call in ends:
                try:
                    call()
                except Exception:
                    _log.failure("error at the end of a turn")

    def doPoll(self, timeout: float | None) -> None:
        """Poll once, dispatch the events, end the turn."""
        if self._ends:
            # left by timed calls, which run between two polls; what they cause in turn (a timed call, the end of the reactor) is
            # not included in the timeout
            self._end_turn()
            timeout = 0
        try:
            ready = self._poller.poll(-1 if timeout is None else min(timeout, MAX_TIMEOUT), MAX_EVENTS)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        selectables = self._selectables
        dispatch = self._doReadOrWrite
        for descriptor, event in ready:
            selectable: Any = selectables.get(descriptor)
            if selectable is None:
                continue
            if event != EPOLLIN:
                dispatch(selectable, descriptor, event)  # type: ignore[no-untyped-call]
                continue
            # the same as dispatch where the descriptor is readable and nothing else, as it nearly always is
            try:
                why = selectable.doRead()
            except BaseException as error:
                _log.failure("error while reading")
                why = error
            if why:
                self._disconnectSelectable(selectable, why, True)  # type: ignore[no-untyped-call]
        if self._ends:
            self._end_turn()

    # Twisted's name for it
    doIteration = doPoll


def install() -> EPollReactor:
    """Install the reactor globally (what a Reactor plugin's module must offer).

    Without the details of Twisted that it relies on (:data:`rtunnel.private_details.EPOLL`) it is Twisted's epoll reactor.
    """
    from twisted.internet.main import installReactor

    reactor = TurnReactor() if available(EPOLL, "the reactor is Twisted's") else EPollReactor()
    installReactor(reactor)
    return reactor
