"""docs/stability.md promises what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.cli.exit_status import ExitStatus
from rtunnel.ops.status import STATUS_VERSION
from rtunnel.registry import records
from rtunnel.wire import peers
from tests.test_docs import DOCS, rows

PAGE = DOCS / "stability.md"
TEXT = PAGE.read_text(encoding="utf-8")


class StabilityTests(SynchronousTestCase):
    def test_exit_statuses(self) -> None:
        self.assertEqual([int(number) for number, _ in rows(PAGE, "exit status")], [status.value for status in ExitStatus])

    def test_versions(self) -> None:
        self.assertIn(f"the document has version {STATUS_VERSION},", TEXT)
        self.assertIn(f"`rtunnel:{records.VERSION}:`", TEXT)
        self.assertIn(b"rtunnel peer 1\r\n", Path(peers.__file__).read_bytes().replace(rb"\r\n", b"\r\n"))
        self.assertIn("the handshake has the version 1", TEXT)

    def test_every_format_has_a_row(self) -> None:
        """Pages about what programs read are linked."""
        linked = set(re.findall(r"\]\((\w[\w-]*)\.md", TEXT))
        promised = {
            "access-log",
            "configuration",
            "metrics",
            "options",
            "pod-env",
            "pod-files",
            "protocol",
            "replicas",
            "status",
            "users",
        }
        self.assertEqual(promised - linked, set())
