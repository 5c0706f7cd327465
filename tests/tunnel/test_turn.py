"""The end of the turn, with a hook and without."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.reactor_types import IReactorTurns
from rtunnel.tunnel.turn import end_of_turn


@implementer(IReactorTurns)
class Hooked(Clock):
    """A reactor with a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Callable[[], None]] = []

    def end_of_turn(self, call: Callable[[], None]) -> None:
        self.ends.append(call)


class EndOfTurnTests(SynchronousTestCase):
    """:func:`rtunnel.tunnel.turn.end_of_turn`."""

    def test_any_reactor(self) -> None:
        clock = Clock()
        calls: list[int] = []
        schedule = end_of_turn(clock)
        schedule(lambda: calls.append(1))
        self.assertEqual(calls, [], "not at once")
        clock.advance(0)
        clock.advance(1)
        self.assertEqual(calls, [1], "once")

    def test_the_hook_is_preferred(self) -> None:
        reactor = Hooked()
        end_of_turn(reactor)(lambda: None)
        self.assertEqual((len(reactor.ends), reactor.getDelayedCalls()), (1, []))
