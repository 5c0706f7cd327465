"""The end of a reactor turn, when everything that was written in the turn leaves in one piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IReactorTime

from rtunnel.reactor_types import IReactorTurns

__all__ = ["EndOfTurn", "end_of_turn"]

EndOfTurn = Callable[[Callable[[], None]], object]
"""Takes a callable and calls it once at the end of the current turn."""


def end_of_turn(reactor: IReactorTime) -> EndOfTurn:
    """Return the reactor's way of calling something at the end of the turn.

    Our own reactor has a hook for it (:meth:`rtunnel.reactor.TurnReactor.end_of_turn`). On any other a timed call of no delay does
    the same: Twisted runs it after the events of this turn and before the next poll, at the cost of a timer each.

    :param reactor: any with a clock; a :class:`twisted.internet.task.Clock` will do.
    """
    if IReactorTurns.providedBy(reactor):
        return cast(IReactorTurns, reactor).end_of_turn
    call_later = reactor.callLater

    def schedule(call: Callable[[], None]) -> object:
        return call_later(0, call)

    return schedule
