"""The manual pages as they should be in ``man/``; ``python -m tests.reference.pages`` (``make man``) writes them."""

from __future__ import annotations

from rtunnel.commands import COMMANDS
from rtunnel.reference.describing import describe
from rtunnel.reference.man import main_page, page
from tests.support.processes import ROOT

__all__ = ["FOLDER", "pages", "write"]

FOLDER = ROOT / "man"


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    descriptions = [describe(command) for command in COMMANDS]
    return {"rtunnel.1": main_page(descriptions)} | {f"rtunnel-{one.name}.1": page(one) for one in descriptions}


def write() -> None:
    """Write all pages, and remove those of commands that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for path in FOLDER.glob("*.1"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
