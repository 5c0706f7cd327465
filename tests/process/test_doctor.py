"""``rtunnel doctor`` as it is run: what the system allows is asked of the system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.doctor.findings import State
from tests.support.processes import ROOT


class DoctorTests(SynchronousTestCase):
    def examine(self, *prefix: str, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
        """The exit status, and the findings by name."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RTUNNEL_", "XDG_"))}
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "rtunnel", "doctor", "--json"],
            env={**clean, "XDG_CONFIG_HOME": str(Path(self.mktemp()).absolute()), **environ},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        document = json.loads(done.stdout)
        self.assertEqual(document["doctor_version"], 1)
        self.assertEqual({State.OK: 0, State.LIMITED: 2, State.FAILED: 1}[State(document["state"])], done.returncode)
        return done.returncode, {one["name"]: one for one in document["findings"]}

    def test_namespaces_are_forbidden(self) -> None:
        """By a seccomp profile; the same program says what then works."""
        status, found = self.examine(sys.executable, str(ROOT / "tests" / "support" / "forbidding.py"))
        self.assertEqual(status, 2)
        self.assertIn("not allowed for names: unshare", found["isolation"]["text"])
        self.assertIn("a seccomp profile", found["isolation"]["hint"])

    def test_a_server_that_cannot_be_named(self) -> None:
        status, found = self.examine(RTUNNEL_PROFILE="nothing")
        self.assertEqual(status, 1)
        self.assertIn("no such profile", found["settings"]["text"])
