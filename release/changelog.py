"""The changelog's next entry, of the fragments in ``newsfragments/``."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import fill
from typing import Final

from release.commands import run

__all__ = ["collect", "wrapped"]

_COLUMNS: Final = 100
_BEGINNINGS: Final = ("- ", "  ")
"""Of an item, and of a further line or paragraph of it."""


def collect(root: Path) -> None:
    """Move the fragments to ``CHANGELOG.md``, under the version that the tree has.

    :raises ReleaseError: there are none, or the version has an entry already.
    """
    run(sys.executable, "-m", "towncrier", "build", "--yes", folder=root)
    path = root / "CHANGELOG.md"
    path.write_text(wrapped(path.read_text(encoding="utf-8")), encoding="utf-8")


def wrapped(text: str) -> str:
    """Wrap the items of lists, which towncrier has indented, as all prose is wrapped."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("  ") and lines and lines[-1].startswith(_BEGINNINGS):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "".join(f"{_item(line) if line.startswith(_BEGINNINGS) else line}\n" for line in lines)


def _item(line: str) -> str:
    first = "  " if line.startswith("  ") else ""
    text = line.strip()
    return fill(text, _COLUMNS, initial_indent=first, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
