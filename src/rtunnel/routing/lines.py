"""Line-based files, such as users and permissions: one entry per line; empty lines and lines that begin with ``#`` are ignored."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LineError", "lines_of"]


class LineError(ValueError):
    """A line is invalid.

    :param line: its number, counted from 1.
    :param hint: what is wrong and how to fix it; never contains what could be a secret.
    """

    def __init__(self, line: int, hint: str) -> None:
        super().__init__(line, hint)
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        return f"line {self.line}: {self.hint}"


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The entries with their line numbers, stripped of surrounding spaces."""
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line and not line.startswith("#"):
            yield number, line
