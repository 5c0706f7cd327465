"""``rtunnel``: what it does itself, before twistd takes over."""

from __future__ import annotations

import os
import sys
from io import StringIO

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
