"""Round-robin over interchangeable members, with passive health checks.

Health is passive, as in gost's selector (go-gost/x ``selector/filter.go``, ``selector/strategy.go``): nothing is probed, only
attempts count. After ``max_fails`` consecutive failures a member is skipped until ``fail_timeout`` has passed since the last one.
Unlike gost, this returns an order and not a single choice: after a failure the caller tries the next member at once. Skipped
members come last, so that all are tried when all have failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Member", "RoundRobin"]

T = TypeVar("T")


class Member(Generic[T]):
    """One of a :class:`RoundRobin`, which owns it.

    :ivar thing: what it stands for, e.g. a target.
    :ivar fails: consecutive failures.
    :ivar failed_at: time of the last failure.
    """

    __slots__ = ("failed_at", "fails", "thing")

    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.fails = 0
        self.failed_at = 0.0

    def worked(self) -> None:
        """An attempt succeeded: reset the failures."""
        self.fails = 0

    def failed(self, now: float) -> None:
        """An attempt failed."""
        self.fails += 1
        self.failed_at = now


class RoundRobin(Generic[T]):
    """Determines in which order things are tried.

    :param things: at least one; a thing that is given twice gets two turns.
    :param max_fails: consecutive failures after which a member is skipped.
    :param fail_timeout: how long it is skipped, in seconds; 0 disables skipping.
    """

    def __init__(self, things: Iterable[T], *, max_fails: int, fail_timeout: float) -> None:
        self.members = tuple(Member(thing) for thing in things)
        self._max_fails = max_fails
        self._fail_timeout = fail_timeout
        self._turn = 0

    def is_skipped(self, member: Member[T], now: float) -> bool:
        """Whether a member is skipped for now, because of recent failures."""
        return member.fails >= self._max_fails and now - member.failed_at < self._fail_timeout

    def order(self, now: float) -> list[Member[T]]:
        """All members: first the healthy ones, beginning with the next in turn, then the skipped ones."""
        healthy = [member for member in self.members if not self.is_skipped(member, now)]
        skipped = [member for member in self.members if self.is_skipped(member, now)]
        turn, self._turn = self._turn, self._turn + 1
        return _rotated(healthy, turn) + _rotated(skipped, turn)


def _rotated(members: list[Member[T]], turn: int) -> list[Member[T]]:
    start = turn % len(members) if members else 0
    return members[start:] + members[:start]
