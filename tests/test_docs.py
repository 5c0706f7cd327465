"""Every link inside the Markdown files leads somewhere, and pages that name all of a kind name all of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
MARKDOWN = MarkdownIt().enable("table")


def pages(root: Path) -> list[Path]:
    """Return our Markdown files; not those in folders of the tools, whose names begin with a dot or a line."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def parse(page: Path) -> list[Token]:
    """Return the tokens of a page."""
    return MARKDOWN.parse(page.read_text(encoding="utf-8"))


def links(tokens: list[Token]) -> Iterator[str]:
    """Yield the address of each link and picture."""
    for token in tokens:
        for child in token.children or ():
            address = child.attrs.get("href" if child.type == "link_open" else "src")
            if address:
                yield str(address)


def anchors(tokens: list[Token]) -> set[str]:
    """Return the anchors of a page's headings, named as GitHub names them."""
    found: set[str] = set()
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(child.content for child in heading.children or ())
            slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            count = sum(anchor == slug or bool(re.fullmatch(re.escape(slug) + r"-\d+", anchor)) for anchor in found)
            found.add(f"{slug}-{count}" if slug in found else slug)
    return found


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere; links to other sites are not followed."""
    for link in links(parse(page)):
        address = urlsplit(link)
        if address.scheme or address.netloc:
            continue
        target = page.parent / unquote(address.path) if address.path else page
        within = address.fragment and target.suffix == ".md"
        if not target.exists() or (within and address.fragment not in anchors(parse(target))):
            yield link


def modules(text: str) -> Iterator[str]:
    """Yield the modules of the list in docs/architecture.md: lines of names, indented under their folders.

    Names come first in a line, with commas between them.
    """
    start = text.index("    src/rtunnel/\n")
    folders: list[tuple[int, str]] = []
    for line in text[start : text.index("\n\n", start)].splitlines()[1:]:
        indentation = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indentation:
            folders.pop()
        names = re.match(r"\s*((?:\w+(?:\.py|/)(?:, )?)+)", line)
        for name in names[1].split(", ") if names else ():
            if name.endswith("/"):
                folders.append((indentation, name))
            elif name:
                yield "".join(folder for _, folder in folders) + name


class LinkTests(SynchronousTestCase):
    """The pages as they are."""

    def test_links_lead_somewhere(self) -> None:
        self.assertEqual([f"{page.relative_to(ROOT)}: {link}" for page in pages(ROOT) for link in broken(page)], [])

    def test_pages_were_found(self) -> None:
        self.assertIn(ROOT / "README.md", pages(ROOT))


class CompleteTests(SynchronousTestCase):
    """Nothing is left out where all of a kind is named."""

    def test_pages(self) -> None:
        """The first page leads to every other one."""
        found = {link.partition("#")[0] for link in links(parse(ROOT / "README.md"))}
        self.assertEqual({f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - found, set())

    def test_modules(self) -> None:
        """The list in docs/architecture.md is the tree."""
        home = ROOT / "src" / "rtunnel"
        tree = {str(path.relative_to(home)) for path in home.rglob("*.py") if path.name != "__init__.py"}
        listed = list(modules((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")))
        self.assertEqual(sorted(set(listed) ^ tree), [])
        self.assertEqual(sorted(listed), sorted(set(listed)))


class BrokenTests(SynchronousTestCase):
    """The check finds what it should."""

    def broken(self, text: str) -> list[str]:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        (folder / "other.md").write_text("# Two `words`, here\n\n## Again\n\n## Again\n", encoding="utf-8")
        page = folder / "page.md"
        page.write_text(text, encoding="utf-8")
        return list(broken(page))

    def test_good(self) -> None:
        text = "# Top\n[a](other.md) [b](other.md#two-words-here) [c](#top) [d](other.md#again-1) [e](https://example.org/x)"
        self.assertEqual(self.broken(text), [])

    def test_missing_file(self) -> None:
        self.assertEqual(self.broken("![a](none.png) `[b](c.md)`"), ["none.png"])

    def test_missing_anchor(self) -> None:
        self.assertEqual(self.broken("[a](other.md#three) [b](#nowhere)"), ["other.md#three", "#nowhere"])
