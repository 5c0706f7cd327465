"""``rtunnel user``."""

from __future__ import annotations

import getpass
import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth import command
from rtunnel.auth.users import Users


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class CommandTests(SynchronousTestCase):
    def run_command(self, *argv: str, stdin: Any) -> tuple[int, str, str]:
        self.patch(sys, "stdin", stdin)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = command.main(list(argv))
            except SystemExit as end:
                status = int(end.code or 0)
        return status, out.getvalue(), err.getvalue()

    def matches(self, line: str, name: str, password: str) -> bool:
        found = Users.parse(line).get(name)
        return found is not None and found.matches(password)

    def test_from_stdin(self) -> None:
        status, line, _ = self.run_command("alice", stdin=io.StringIO("sword fish\r\nmore\n"))
        self.assertEqual((status, line.count("\n")), (0, 1))
        self.assertTrue(self.matches(line, "alice", "sword fish"))
        self.assertNotIn("sword", line)

    def ask(self, *passwords: str) -> tuple[int, str, str]:
        answers = list(passwords)
        self.patch(getpass, "getpass", lambda prompt: answers.pop(0))
        return self.run_command("alice", stdin=Terminal())

    def test_from_the_terminal(self) -> None:
        status, line, _ = self.ask("swordfish", "swordfish")
        self.assertEqual(status, 0)
        self.assertTrue(self.matches(line, "alice", "swordfish"))

    def test_typed_differently(self) -> None:
        self.assertEqual(self.ask("a", "b"), (1, "", "rtunnel user: the two passwords are not the same; begin again\n"))

    def test_refused(self) -> None:
        for argv, password, words in (
            (("a:b",), "x", "has a name with a space, a colon"),
            (("alice",), "", "the password must have 1 to 255 bytes"),
            (("alice",), "x" * 256, "the password must have 1 to 255 bytes"),
            ((), "x", "the following arguments are required: NAME"),
            (("alice", "swordfish"), "x", "unrecognized arguments"),
        ):
            status, out, err = self.run_command(*argv, stdin=io.StringIO(password))
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), argv)
            self.assertIn(words, err)

    def test_help(self) -> None:
        status, out, _ = self.run_command("--help", stdin=io.StringIO())
        self.assertEqual(status, 0)
        self.assertIn("rtunnel user alice >> users", out)
