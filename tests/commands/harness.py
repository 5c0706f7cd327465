"""Runs a command in this process, as the shell would."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.__main__ import main

__all__ = ["CommandTestCase"]


class CommandTestCase(SynchronousTestCase):
    """Commands without the options that the environment of the tests may hold."""

    def setUp(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RTUNNEL_")}
        self.patch(os, "environ", clean)
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def run_command(self, *argv: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        try:
            status = main(argv)
        except SystemExit as end:
            status = int(end.code or 0)
        return status, self.out.getvalue(), self.err.getvalue()

    def write(self, text: str) -> str:
        """The path of a new file."""
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return str(path)
