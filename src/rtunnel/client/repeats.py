"""What is said again and again, and how often it is worth a line."""

from __future__ import annotations

__all__ = ["Repeats"]


class Repeats:
    """Counts how often the same was said in a row.

    :ivar times: how often, with the last time.
    """

    __slots__ = ("_text", "times")

    def __init__(self) -> None:
        self._text = ""
        self.times = 0

    def say(self, text: str) -> bool:
        """Count it; returns whether it is worth a line: the first, second, fourth, eighth time and so on."""
        self.times = self.times + 1 if text == self._text else 1
        self._text = text
        return self.times & (self.times - 1) == 0

    def forget(self) -> None:
        """The next is the first again."""
        self._text = ""
