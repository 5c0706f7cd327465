"""The Markdown files: links lead somewhere, prose is wrapped, and what can be compared with the code is what the code does."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from twisted.trial.unittest import SynchronousTestCase

from rtunnel import outcomes
from rtunnel.reactor import MAX_EVENTS
from rtunnel.wire.relay import Status

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCES = ROOT / "src" / "rtunnel"
MARKDOWN = MarkdownIt().enable("table")

COLUMNS = 100
"""Characters of a line of prose."""


def pages(root: Path) -> list[Path]:
    """Return our Markdown files; not those in folders of the tools, many of whose names begin with a dot or a line."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name[0] not in "._" and name not in ("build", "dist")]
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


def long_lines(page: Path) -> Iterator[int]:
    """Yield the numbers of lines of prose that are longer than :data:`COLUMNS`.

    Code and tables may be as long as they need, and so may a line that cannot be broken: a picture, a link, a piece of code.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    for token in parse(page):
        if token.type != "paragraph_open" or token.map is None:
            continue
        for number in range(*token.map):
            words = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "_"), lines[number]).split()
            markers = sum(bool(re.fullmatch(r"[-*]|\d+\.", word)) for word in words[:2])
            if len(lines[number]) > COLUMNS and len(words) > markers + 1 and not lines[number].startswith("!["):
                yield number + 1


def rows(page: Path, *head: str) -> list[list[str]]:
    """Return the cells of a table, without its head; the one whose first cells are these.

    :raises AssertionError: there is no such table.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if cells(line)[: len(head)] == list(head):
            end = next((at for at, text in enumerate(lines[number:], number) if not text.startswith("|")), len(lines))
            return [cells(row) for row in lines[number + 2 : end]]
    raise AssertionError(f"{page.name} has no table {head}")


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table, an empty list for any other line."""
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def texts() -> str:
    """Return all string constants of the package, one below the other."""
    found = []
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        found += [value for value in values if isinstance(value, str)]
        found += [value.decode("latin-1") for value in values if isinstance(value, bytes)]
    return "\n".join(found)


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
        self.assertEqual({f"docs/{page.name}" for page in DOCS.glob("*.md")} - found, set())

    def test_modules(self) -> None:
        """The list in docs/architecture.md is the tree."""
        tree = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if path.name != "__init__.py"}
        listed = list(modules((DOCS / "architecture.md").read_text(encoding="utf-8")))
        self.assertEqual(sorted(set(listed) ^ tree), [])
        self.assertEqual(sorted(listed), sorted(set(listed)))


class TrueTests(SynchronousTestCase):
    """What pages say of the code."""

    def test_outcomes(self) -> None:
        """docs/metrics.md explains every value of every label, and no other."""
        heads: dict[str, type[StrEnum]] = {
            "outcome of a request": outcomes.Outcome,
            "outcome of a TLS connection": outcomes.TlsOutcome,
            "outcome of a visit": outcomes.VisitOutcome,
            "outcome of a request to a pod": outcomes.PodOutcome,
            "reason why a link ended": outcomes.LinkEnd,
            "reason why a client was rejected": outcomes.RefusalReason,
            "limit": outcomes.Limit,
            "outcome of a stream": outcomes.StreamOutcome,
            "outcome of a connection to a local port": outcomes.LocalPortOutcome,
            "reason why a datagram was dropped": outcomes.DatagramLoss,
        }
        for head, values in heads.items():
            listed = [row[0].strip("`") for row in rows(DOCS / "metrics.md", head)]
            self.assertEqual(listed, [str(value) for value in values], head)

    def test_statuses(self) -> None:
        """docs/protocol.md explains every status that the server sends, and no other."""
        source = "\n".join(path.read_text(encoding="utf-8") for path in (SOURCES / "server").rglob("*.py"))
        sent = {Status[name] for name in re.findall(r"\bStatus\.([A-Z_]+)", source)}
        listed = [(int(row[0]), row[1]) for row in rows(DOCS / "protocol.md", "status", "name")]
        self.assertEqual(listed, [(status.value, words(status)) for status in sorted(sent)])

    def test_turns(self) -> None:
        for page in ("architecture.md", "performance.md"):
            text = (DOCS / page).read_text(encoding="utf-8")
            self.assertEqual(re.findall(r"turns of (\d+) events", text, re.IGNORECASE), [str(MAX_EVENTS)], page)

    def test_figures(self) -> None:
        """The figures are those of the newest full run."""
        newest = max((ROOT / "bench" / "results").glob("*-full.md"))
        page = DOCS / "performance.md"
        named = set(re.findall(r"bench/results/([\w-]+)\.\w+", page.read_text(encoding="utf-8")))
        self.assertEqual({run for run in named if run.endswith("-full")}, {newest.stem})
        for head in (("system", "routes"), ("figure", "against")):
            self.assertEqual(rows(page, *head), rows(newest, *head))

    def test_figures_of_the_readme(self) -> None:
        """They are the medians of the ratios within each round of the run that README plots."""
        page = ROOT / "README.md"
        (run,) = re.findall(r"bench/results/([\w-]+)\.svg", page.read_text(encoding="utf-8"))
        measured = json.loads((ROOT / "bench" / "results" / f"{run}.json").read_text(encoding="utf-8"))["cases"]
        cases = {"requests as they come from an Ingress": "ingress-k64", "plain requests": "k64"}
        table = rows(page, "64 keep-alive connections of wrk, no access log, one machine with two cores")
        self.assertEqual([said for said, *_ in table], list(cases))
        for said, *ratios in table:
            rounds = measured[cases[said]]["rounds"]
            for peer, ratio in zip(("gost", "rathole"), ratios, strict=True):
                both = zip(rounds["rtunnel"], rounds[peer], strict=True)
                self.assertEqual(ratio, f"{median(ours['rps'] / theirs['rps'] for ours, theirs in both):.2f}")

    def test_figures_of_requests_from_an_ingress(self) -> None:
        """Those behind an Ingress and with an access log are of the runs that their section names."""
        _, _, after = (DOCS / "performance.md").read_text(encoding="utf-8").partition("\n## Behind an Ingress")
        section = after.partition("\n## ")[0]
        named = set(re.findall(r"bench/results/([\w-]+)\.md", section))
        self.assertTrue(named)
        results = "".join((ROOT / "bench" / "results" / f"{run}.md").read_text(encoding="utf-8") for run in sorted(named))
        figures = re.findall(r"[\d.]+\s+\([\d.]+\s+to\s+[\d.]+", section)
        self.assertTrue(figures)
        for figure in figures:
            self.assertIn(" ".join(figure.split()), results)

    def test_what_a_change_has_to_pass(self) -> None:
        """CONTRIBUTING.md names what .ci/run runs."""
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        run = re.findall(r"^(?:check |    )make ([\w-]+)", script, re.MULTILINE)
        said = dict(rows(ROOT / "CONTRIBUTING.md", "command"))["`bash .ci/run`"]
        self.assertEqual(sorted(re.findall(r"`([\w-]+)`", said)), sorted(run))

    def test_messages(self) -> None:
        """Messages in tables of what can go wrong are messages of the code; what varies in them is in capitals, numbers or dots."""
        code = texts()
        for page in DOCS.glob("*.md"):
            _, heading, after = page.read_text(encoding="utf-8").partition("\n## Troubleshooting\n")
            found = [line.split("|")[1] for line in after.partition("\n## ")[0].splitlines() if line.startswith("|")]
            self.assertEqual(bool(heading), bool(found), page)
            for message in re.findall(r"`([^`]+)`", "\n".join(found)):
                for part in re.split(r"\b[A-Z]+(?::[A-Z]+)?\b|\d+|\.\.\.|: |[()]", message):
                    self.assertIn(part.strip(), code, f"{page.name}: {message}")


def words(status: Status) -> str:
    """Return the name of a status as users read it."""
    return "OK" if status is Status.OK else status.name.lower().replace("_", " ")


class LanguageTests(SynchronousTestCase):
    """The words are those of the field."""

    def test_phrases(self) -> None:
        """Nothing of what can be said in standard terms: "in progress", "cleanly", "forever", "invalid", "how to fix it"."""
        phrases = re.compile(r"\b(?:whoever|somebody|under way|in good order|for ever|cannot be had|a moment ago|mend)\b", re.I)
        found = [
            f"{page.relative_to(ROOT)}: {phrase}"
            for page in pages(ROOT)
            if page.parent.name != "results"
            for phrase in phrases.findall(page.read_text(encoding="utf-8"))
        ]
        self.assertEqual(found, [])


class WrapTests(SynchronousTestCase):
    """Prose is wrapped."""

    def test_pages(self) -> None:
        found = [f"{page.relative_to(ROOT)}:{line}" for page in pages(ROOT) for line in long_lines(page)]
        self.assertEqual([place for place in found if not place.startswith("bench/results/")], [])

    def test_the_check(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        page = folder / "page.md"
        text = "x" * 60
        code = f"`{text} {text}`"
        lines = [f"{text} {text}", "", f"- {text} {text}", f"- {code}", "", code, "", "# Heading", "", f"    {text} {text}", ""]
        page.write_text("\n".join([*lines, f"| {text} | {text} |", "|---|---|", ""]), encoding="utf-8")
        self.assertEqual(list(long_lines(page)), [1, 3])


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
