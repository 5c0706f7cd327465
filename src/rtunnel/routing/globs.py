"""Globs, in which ``*`` is any text: matched in linear time, whatever the pattern is.

A regular expression of the same meaning takes a time that grows with a power of the text's length, one for each ``*``.
"""

from __future__ import annotations

from typing import Any, AnyStr, Generic

from attrs import field, frozen

__all__ = ["Glob"]


def _pieces(pattern: Any) -> Any:
    return tuple(pattern.split("*" if isinstance(pattern, str) else b"*"))


@frozen
class Glob(Generic[AnyStr]):
    """A pattern; those with the same text are equal.

    :ivar pieces: the literal texts around each ``*``.
    """

    pieces: tuple[AnyStr, ...] = field(converter=_pieces)

    def matches(self, text: AnyStr) -> bool:
        """Whether a whole text matches: each literal is searched for after the one before."""
        # what a type checker cannot tell: either all of them are texts, or all are bytes
        pieces: Any = self.pieces
        whole: Any = text
        first, *others = pieces
        if not others:
            return bool(whole == first)
        *middle, last = others
        at, end = len(first), len(whole) - len(last)
        if at > end or not whole.startswith(first) or not whole.endswith(last):
            return False
        for literal in middle:
            at = whole.find(literal, at, end)
            if at < 0:
                return False
            at += len(literal)
        return True
