"""Files of lines, such as users and owners: one thing a line, empty lines and those that begin with ``#`` say nothing."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LineError", "lines_of"]


class LineError(ValueError):
    """A line cannot be had.

    :param line: its number, counted from 1.
    :param mend: what is wrong and what to write instead; nothing of the line is repeated that could be a secret.
    """

    def __init__(self, line: int, mend: str) -> None:
        super().__init__(line, mend)
        self.line = line
        self.mend = mend

    def __str__(self) -> str:
        return f"line {self.line}: {self.mend}"


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers, without the spaces around them."""
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line and not line.startswith("#"):
            yield number, line
