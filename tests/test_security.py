"""docs/security.md lists every limit, with its default, option and counter."""

from __future__ import annotations

import re
from enum import StrEnum

from twisted.trial.unittest import SynchronousTestCase

from rtunnel import outcomes
from rtunnel.options import kinds
from rtunnel.options.table import SERVER, default
from tests.test_docs import DOCS, rows

PAGE = DOCS / "security.md"

BOUNDING = (kinds.DURATION, kinds.SIZE, kinds.NUMBER)
"""The kinds of options that bound something."""
OTHERS = {"--keepalive-interval", "--frame-size", "--mux-version", "--drain", "--ready-wait", "--stop-delay", "--workers"}
"""Options of these kinds that are choices of the operator, and no bound for a stranger."""


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rows = rows(PAGE, "what is limited")
        self.options = {row[1].strip("`"): row[2] for row in self.rows if row[1] != "-"}

    def test_options(self) -> None:
        """Every limit of the server that can be set, with its default."""
        ours = {option.flag: option for option in SERVER if option.kind in BOUNDING}
        self.assertEqual(set(self.options), set(ours) - OTHERS)
        for flag, shown in self.options.items():
            value = default(ours[flag])
            if value is None:
                self.assertNotRegex(shown, r"^`|^$", "a default that depends on others is described")
            else:
                self.assertEqual(shown.partition(":")[0], f"`{value}`", flag)

    def test_counters(self) -> None:
        """Every member of the enumeration, and nothing that no enumeration has."""
        named = {name for row in self.rows for name in re.findall(r"`([^`]+)`", row[3])}
        self.assertEqual(set(outcomes.Limit) - named, set())
        labels = [kind for kind in vars(outcomes).values() if isinstance(kind, type) and issubclass(kind, StrEnum)]
        self.assertEqual(named - {str(value) for label in labels for value in label}, set())
