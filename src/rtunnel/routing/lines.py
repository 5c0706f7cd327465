"""Files of lines, such as users and permissions: one thing a line, empty lines and those that begin with ``#`` say nothing."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LineError", "lines_of"]


class LineError(ValueError):
    """A line cannot be had.

    :param line: its number, counted from 1.
    :param hint: what is wrong and what to write instead; nothing of the line is repeated that could be a secret.
    """

    def __init__(self, line: int, hint: str) -> None:
        super().__init__(line, hint)
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        return f"line {self.line}: {self.hint}"


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers, without the spaces around them."""
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line and not line.startswith("#"):
            yield number, line
