"""What the user is told to type after the demo."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.commands.client import Options
from rtunnel.demo.next_steps import JOIN, JOIN_URL, next_steps
from rtunnel.demo.scenario import HOST, TUNNEL
from rtunnel.settings import ClientSettings

ROOT = Path(__file__).parent.parent.parent


class NextTests(SynchronousTestCase):
    def asked(self, command: str) -> ClientSettings:
        role, *words = shlex.split(command)
        self.assertEqual(role, "client")
        options = Options()
        options.parseOptions(words)
        settings: ClientSettings = options.resolved.settings
        return settings

    def test_both_ways_mean_the_same(self) -> None:
        self.assertEqual(self.asked(JOIN), self.asked(JOIN_URL))
        (connector,) = self.asked(JOIN).connectors
        self.assertEqual((str(connector.tunnel), connector.weight, connector.host), (TUNNEL, 1, HOST))

    def test_named_files_exist(self) -> None:
        names = re.findall(r"\b(?:docs|deploy)/[\w/.]+|\w+\.md\b", next_steps())
        self.assertEqual([name for name in names if not (ROOT / name).exists()], [])
        self.assertEqual(len(names), 3)

    def test_an_id_of_its_own(self) -> None:
        """That of the examples would be warned of."""
        local = next_steps().partition("With a cluster")[0]
        self.assertNotIn(TUNNEL, local)

    def test_how_it_is_called(self) -> None:
        """As the shell finds it, else by its path."""
        folder = Path(self.mktemp()).absolute() / "bin"
        folder.mkdir(parents=True)
        for name in ("python", "rtunnel"):
            (folder / name).touch(mode=0o755)
        self.patch(sys, "executable", str(folder / "python"))
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(folder.parent)
        self.patch(shutil, "which", lambda name: None)
        self.assertIn("\n    bin/rtunnel server ", next_steps())
        self.patch(shutil, "which", lambda name: str(folder / name))
        self.assertIn("\n    rtunnel server ", next_steps())
        (folder / "rtunnel").unlink()
        self.assertIn("\n    bin/python -m rtunnel server ", next_steps())
