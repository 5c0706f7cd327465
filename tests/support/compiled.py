"""Whether the modules under test are compiled (docs/architecture.md), and what cannot be tested then."""

from __future__ import annotations

from unittest import skipIf

from rtunnel.wire import smux
from tests.runner import INTERPRETED

__all__ = ["COMPILED", "interpreted"]

COMPILED = not str(smux.__file__).endswith(".py")
"""Whether they are."""

interpreted = skipIf(COMPILED, INTERPRETED)
"""For tests that replace methods of compiled classes or extend them, mostly to have something of ours fail."""
