"""``rtunnel``: what it does itself, before twistd takes over."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from rtunnel.__main__ import main


class MainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"]})
        self.out = StringIO()
        self.patch(sys, "stdout", self.out)

    def test_help(self) -> None:
        for flag in ("--help", "-h"):
            self.assertEqual(main([flag]), 0)
        for word in ("server", "client", "check", "convert", "schema", "demo", "--reactor", "Example"):
            self.assertIn(word, self.out.getvalue())

    def test_version(self) -> None:
        self.assertEqual(main(["--version"]), 0)
        self.assertEqual(self.out.getvalue(), f"rtunnel {rtunnel.__version__}\n")

    def test_version_command(self) -> None:
        self.assertEqual(main(["version"]), 0)
        self.assertTrue(self.out.getvalue().startswith(f"rtunnel {rtunnel.__version__}\nPython 3."), self.out.getvalue())
        self.assertIn("Twisted", self.out.getvalue())

    def test_refusals(self) -> None:
        for words, line in [
            (["--reactor"], "rtunnel: --reactor: needs a value"),
            (["--reactor", "nonsense", "server"], 'rtunnel: --reactor "nonsense": unknown reactor; choose one of '),
            (["--nonsense"], "rtunnel: --nonsense: unknown option before the command"),
        ]:
            stopped = self.assertRaises(SystemExit, main, words)
            self.assertIn(line, str(stopped.code))

    def test_reactor_of_the_environment(self) -> None:
        os.environ["RTUNNEL_REACTOR"] = "nonsense"
        self.assertIn("nonsense", str(self.assertRaises(SystemExit, main, ["server"]).code))
        self.assertIn("other", str(self.assertRaises(SystemExit, main, ["--reactor=other", "server"]).code))

    def test_plugins_of_others(self) -> None:
        """They are neither imported nor listed next to themselves: twistd would do both at each start."""
        folder = Path(self.mktemp()) / "twisted" / "plugins"
        folder.mkdir(parents=True)
        (folder / "others.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
        path = os.pathsep.join([str(folder.parent.parent), *filter(None, sys.path)])
        argv = [sys.executable, "-m", "rtunnel", "server", "--listen", "nonsense"]
        done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
        self.assertIn("rtunnel server: --listen", done.stderr)
        self.assertEqual([child.name for child in folder.iterdir() if child.suffix], ["others.py"])
