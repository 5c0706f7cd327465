"""Turns among things that can take each other's place: round-robin, and whoever failed is left out for a while.

Health is passive, as in gost's selector (go-gost/x ``selector/filter.go``, ``selector/strategy.go``): nothing is probed, an attempt
that failed says it. After ``max_fails`` failures in a row something is left out until ``fail_timeout`` has passed since the last
one. Unlike there, an order is given and not a choice: whoever fails is followed by the next one at once, and those left out come
last, so that all are tried when all have failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Member", "RoundRobin"]

T = TypeVar("T")


class Member(Generic[T]):
    """One of a :class:`RoundRobin`, which owns it.

    :ivar thing: whose place it is.
    :ivar fails: attempts that failed in a row.
    :ivar failed_at: when the last one failed.
    """

    __slots__ = ("failed_at", "fails", "thing")

    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.fails = 0
        self.failed_at = 0.0

    def worked(self) -> None:
        """An attempt succeeded: nothing is held against it any more."""
        self.fails = 0

    def failed(self, now: float) -> None:
        """An attempt failed."""
        self.fails += 1
        self.failed_at = now


class RoundRobin(Generic[T]):
    """Says in which order things are tried.

    :param things: at least one; the same one twice has two turns.
    :param max_fails: failures in a row after which one is left out.
    :param fail_timeout: seconds that it is left out; 0 for never.
    """

    def __init__(self, things: Iterable[T], *, max_fails: int, fail_timeout: float) -> None:
        self.places = tuple(Member(thing) for thing in things)
        self._max_fails = max_fails
        self._fail_timeout = fail_timeout
        self._turn = 0

    def left_out(self, place: Member[T], now: float) -> bool:
        """Whether it failed so often, and so short a time ago, that others come first."""
        return place.fails >= self._max_fails and now - place.failed_at < self._fail_timeout

    def order(self, now: float) -> list[Member[T]]:
        """All places: first those in good health, beginning with the next in turn, then the others."""
        good = [place for place in self.places if not self.left_out(place, now)]
        bad = [place for place in self.places if self.left_out(place, now)]
        turn, self._turn = self._turn, self._turn + 1
        return _turned(good, turn) + _turned(bad, turn)


def _turned(places: list[Member[T]], turn: int) -> list[Member[T]]:
    start = turn % len(places) if places else 0
    return places[start:] + places[:start]
