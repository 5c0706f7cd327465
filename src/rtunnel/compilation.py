"""Whether the modules that each request passes are compiled (docs/architecture.md says which, and why)."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

__all__ = ["how_it_runs"]

_ENGINE = Path(__file__).parent / "wire" / "smux"
"""One of them; all are, or none."""


def how_it_runs() -> str:
    """``compiled`` or ``interpreted``, for reports of bugs."""
    return "compiled" if any(_ENGINE.with_name(_ENGINE.name + suffix).exists() for suffix in EXTENSION_SUFFIXES) else "interpreted"
