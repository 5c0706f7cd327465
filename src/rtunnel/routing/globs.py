"""Globs, in which ``*`` is any text: matched in linear time, whatever the pattern is.

A regular expression of the same meaning takes a time that grows with a power of the text's length, one for each ``*``.
"""

from __future__ import annotations

from attrs import field, frozen

__all__ = ["Glob"]


def _pieces(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.split("*"))


@frozen
class Glob:
    """A pattern; those with the same text are equal.

    :ivar pieces: the literal texts around each ``*``.
    """

    pieces: tuple[str, ...] = field(converter=_pieces)

    def matches(self, text: str) -> bool:
        """Whether a whole text matches: each literal is searched for after the one before."""
        first, *others = self.pieces
        if not others:
            return text == first
        *middle, last = others
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for literal in middle:
            at = text.find(literal, at, end)
            if at < 0:
                return False
            at += len(literal)
        return True
