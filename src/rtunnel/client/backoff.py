"""How long to wait between attempts."""

from __future__ import annotations

from collections.abc import Callable
from random import random

__all__ = ["Backoff"]


class Backoff:
    """How long to wait before the next attempt: doubled each time, with jitter, so that many clients do not come at once.

    :param shortest: the first wait, in seconds.
    :param longest: the bound of all waits.
    :param random: gives numbers from 0 to 1.
    """

    def __init__(self, shortest: float, longest: float, random: Callable[[], float] = random) -> None:
        self._shortest = shortest
        self._longest = longest
        self._random = random
        self._next = shortest

    def reset(self) -> None:
        """Begin with the shortest wait again."""
        self._next = self._shortest

    def wait(self) -> float:
        """Seconds to wait now: from three quarters to all of this step's wait."""
        step, self._next = self._next, min(self._next * 2, self._longest)
        return step * (0.75 + 0.25 * self._random())
