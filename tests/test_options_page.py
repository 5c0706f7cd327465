"""docs/options.md names every option, key and variable, with default and unit."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options import ignored_gost_keys
from rtunnel.options.environment import REACTOR
from rtunnel.options.groups import groups
from rtunnel.options.kinds import Kind
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option, default

PAGE = Path(__file__).parent.parent / "docs" / "options.md"


def unit(kind: Kind) -> str:
    """The column "unit", of a number without one."""
    return kind.unit or "-"


def row(option: Option) -> str:
    """The line of the table for an option; printed when it is missing, so that it can be pasted."""
    flag = "-" if option.secret else f"`{option.flag} {option.kind.metavar}".strip().replace("|", "\\|") + "`"
    keys = ", ".join(f"`{name}`" for key in option.keys for name in key.names) or "-"
    value = default(option)
    shown = "-" if value is None else f"`{value}`"
    return f"| {flag} | `{option.variable}` | {keys} | {shown} | {unit(option.kind)} | {option.help} |"


class PageTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.page = PAGE.read_text(encoding="utf-8")
        server, client, visitor = (self.page.index(f"\n## {title}") for title in ("Server", "Client", "Visitor"))
        self.sections = (
            (SERVER, self.page[server:client]),
            (CLIENT, self.page[client:visitor]),
            (VISITOR, self.page[visitor:]),
        )

    def test_every_option(self) -> None:
        for rows, section in self.sections:
            lines = section.splitlines()
            self.assertEqual([row(option) for option in rows if row(option) not in lines], [])

    def test_nothing_else(self) -> None:
        for rows, section in self.sections:
            flags = {option.flag for option in rows} | {"-"}
            found = [line for line in section.split("\n## ")[1].splitlines() if line.startswith(("| `-", "| - "))]
            self.assertEqual(len(found), len(rows), flags)

    def test_groups(self) -> None:
        """The headings of ``--help``, with the same options below each of them."""
        for (rows, section), command in zip(self.sections, ("server", "client", "visitor"), strict=True):
            parts = re.split(r"(?m)^### (.*)\n", section.split("\n## ")[1])
            shown = {
                heading: [line for line in text.splitlines() if line.startswith(("| `-", "| - "))]
                for heading, text in zip(parts[1::2], parts[2::2], strict=True)
            }
            expected = {heading: list(map(row, options)) for heading, options in groups(command, rows).items()}
            self.assertEqual(list(shown.items()), list(expected.items()))

    def test_keys_that_are_left_out(self) -> None:
        for name in (
            ignored_gost_keys.OF_SERVER
            | ignored_gost_keys.OF_CLIENT
            | ignored_gost_keys.OF_TARGET
            | ignored_gost_keys.OF_VISITOR
            | ignored_gost_keys.ACCESS
        ):
            self.assertIn(f"`{name}`", self.page)

    def test_the_command_itself(self) -> None:
        for word in ("`--reactor NAME`", f"`{REACTOR}`"):
            self.assertIn(word, self.page)
