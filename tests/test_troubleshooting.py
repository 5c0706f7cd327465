"""docs/troubleshooting.md has a line for every message of refusal or loss."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from rtunnel import outcomes
from rtunnel.options.table import CLIENT, SERVER, VISITOR
from rtunnel.server.entrypoint import answers
from tests.test_docs import DOCS, cells, texts

PAGE = DOCS / "troubleshooting.md"

MODULES = (
    "rtunnel.auth.access_control",
    "rtunnel.auth.authenticator",
    "rtunnel.cli.admin",
    "rtunnel.client.dialing",
    "rtunnel.server.entrypoint.relay",
    "rtunnel.server.entrypoint.visit",
    "rtunnel.server.health",
    "rtunnel.transport.certificates",
    "rtunnel.transport.reasons",
    "rtunnel.transport.upgrade_faults",
    "rtunnel.transport.tls_errors",
    "rtunnel.transport.proxies",
    "rtunnel.wire.proxy",
    "rtunnel.client.intercepting",
    "rtunnel.client.refusals",
    "rtunnel.ops.start",
)
"""Those whose texts are messages of refusal or loss, all of them."""
OTHERS = {
    "a client without a user",
    "trust its issuer with --ca-file (caFile), or replace the certificate",
    "ask at the --admin address of the process (default: $RTUNNEL_ADMIN, else the socket that each process has)",
    '"…" and --admin: one of them says which process to ask; leave the other out',
    "… of … …",
    "… may connect to …",
    "connector … is there again",
    "connector … of tunnel … ",
    'connector … of tunnel … reaches its target for "…" again',
}
"""Texts in these modules that are parts of others, or good news."""
WORDS = 4
"""Words of a text that is a message; shorter ones are names."""
GOOD = {"answered", "upgraded", "done", "session"}
"""Outcomes that need no advice."""


def strings(tree: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    """Yield the texts of a module as they stand, but for docstrings and the keys of dictionaries."""
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        elif isinstance(node, ast.Dict):
            left_out.update(id(key) for key in node.keys)
        elif isinstance(node, ast.JoinedStr):
            left_out.update(id(part) for part in ast.walk(node) if part is not node)
    for node in ast.walk(tree):
        if id(node) not in left_out and isinstance(node, ast.Constant | ast.JoinedStr):
            yield node


def text_of(node: ast.Constant | ast.JoinedStr, module: ModuleType) -> str:
    """Return a text, with an ellipsis for each part that varies; parts that are constants of the module do not."""
    if isinstance(node, ast.Constant):
        return re.sub(r"\{\w*\}", "…", str(node.value)) if isinstance(node.value, str) else ""
    pieces = []
    for part in node.values:
        name = part.value.id if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) else ""
        known = getattr(module, name, None) if name else None
        pieces.append(str(part.value) if isinstance(part, ast.Constant) else known if isinstance(known, str) else "…")
    return "".join(pieces)


def messages() -> set[str]:
    """Return every message."""
    found = {*chain(answers.EXPLANATIONS.values(), (text for outcome, text in answers.OTHERS.items() if outcome not in GOOD))}
    for name in MODULES:
        module = importlib.import_module(name)
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        found |= {text for node in strings(tree) if len((text := text_of(node, module)).split()) >= WORDS}
    return found - OTHERS


def patterns() -> list[str]:
    """Return what stands in the columns before the last one, between backticks; dots are for whatever varies."""
    lines = [cells(line)[:-1] for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return [pattern for line in lines for cell in line for pattern in re.findall(r"`([^`]+)`", cell)]


def matches(pattern: str, message: str) -> bool:
    """Whether a message has the words of a pattern."""
    return re.search(".+".join(re.escape(part) for part in pattern.split("...")), message) is not None


class MessageTests(SynchronousTestCase):
    maxDiff = None

    def test_every_message(self) -> None:
        known = patterns()
        self.assertEqual([one for one in sorted(messages()) if not any(matches(pattern, one) for pattern in known)], [])

    def test_messages_were_found(self) -> None:
        self.assertTrue({"no tunnel server at … for the host …", "it has failed"} <= {one.partition(";")[0] for one in messages()})

    def test_nothing_else(self) -> None:
        """What the tables of messages name are words of the code."""
        code = texts()
        for row in rows_of("message"):
            for pattern in re.findall(r"`([^`]+)`", row[0]):
                for part in pattern.split("..."):
                    self.assertIn(part.strip(), code, pattern)

    def test_values(self) -> None:
        """Each value of a label leads to a row, and each row is of a value."""
        for head, labels in [
            ("reason", [outcomes.LinkEnd, outcomes.RefusalReason]),
            (
                "outcome",
                [
                    outcomes.Outcome,
                    outcomes.TlsOutcome,
                    outcomes.VisitOutcome,
                    outcomes.StreamOutcome,
                    outcomes.LocalPortOutcome,
                    outcomes.DatagramLoss,
                ],
            ),
        ]:
            listed = {name.replace(" ", "_") for row in rows_of(head) for name in re.findall(r"`([^`]+)`", row[0])}
            self.assertEqual(listed, values(labels) - GOOD, head)

    def test_options(self) -> None:
        """Every option that the page names exists."""
        ours = {option.flag for option in (*SERVER, *CLIENT, *VISITOR)} | {"--help", "--reactor"}
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE.read_text(encoding="utf-8")))
        self.assertEqual(named - ours, set())


def rows_of(head: str) -> Iterator[list[str]]:
    """Yield the rows of all tables whose first column is called so."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    kinds = {tuple(cells(line)) for line in lines if cells(line)[:1] == [head]}
    within = False
    for line in lines:
        row = cells(line)
        within = bool(row) and (within or tuple(row) in kinds)
        if within and tuple(row) not in kinds and not row[0].startswith("---"):
            yield row


def values(labels: list[type[StrEnum]]) -> set[str]:
    """Return the values of some enumerations."""
    return {str(value) for label in labels for value in label}
