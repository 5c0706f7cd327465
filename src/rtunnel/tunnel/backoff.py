"""How long to wait between attempts."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """How long to wait before the next attempt: up to a bound that doubles each time.

    All of the first wait is left to chance, so that the clients of a server that was lost come back spread over it and not all at
    once; half of each further one, since who tries too fast would soon wait for long.

    :param shortest: the bound of the first wait, in seconds.
    :param longest: the bound of all waits.
    :param random: gives numbers from 0 to 1.
    """

    def __init__(self, shortest: float, longest: float, random: Callable[[], float]) -> None:
        self._shortest = shortest
        self._longest = longest
        self._random = random
        self._next = shortest
        self._least = 0.0
        """The smallest share of the next bound that a wait may take."""

    def reset(self) -> None:
        """Begin with the shortest bound again."""
        self._next = self._shortest
        self._least = 0.0

    def wait(self) -> float:
        """Seconds to wait now."""
        step, self._next = self._next, min(self._next * 2, self._longest)
        least, self._least = self._least, 0.5
        return step * (least + (1 - least) * self._random())
