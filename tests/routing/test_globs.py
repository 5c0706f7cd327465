"""Patterns with ``*``."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.globs import Glob


class GlobTests(SynchronousTestCase):
    @given(st.text("ab*", max_size=8), st.text("abc\n", max_size=12))
    def test_reference(self, pattern: str, text: str) -> None:
        """As the standard library's, which backtracks."""
        self.assertEqual(Glob(pattern).matches(text), fnmatchcase(text, pattern))

    def test_many_stars(self) -> None:
        """With backtracking this would not end."""
        self.assertFalse(Glob("a" + "*" * 50 + "b").matches("a" * 500))
        self.assertFalse(Glob("*a" * 50 + "b").matches("a" * 500))

    def test_equal(self) -> None:
        self.assertEqual(Glob("a*"), Glob("a*"))
        self.assertNotEqual(Glob("a*"), Glob("a"))
