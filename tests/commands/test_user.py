"""``rtunnel user``."""

from __future__ import annotations

import getpass
import io
import sys

from rtunnel.auth.users import Users
from tests.commands.harness import CommandTestCase


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class UserTests(CommandTestCase):
    def run_user(self, *argv: str, stdin: io.StringIO) -> tuple[int, str, str]:
        self.patch(sys, "stdin", stdin)
        return self.run_command("user", *argv)

    def matches(self, line: str, name: str, password: str) -> bool:
        found = Users.parse(line).get(name)
        return found is not None and found.matches(password)

    def test_from_stdin(self) -> None:
        status, line, _ = self.run_user("alice", stdin=io.StringIO("sword fish\r\nmore\n"))
        self.assertEqual((status, line.count("\n")), (0, 1))
        self.assertTrue(self.matches(line, "alice", "sword fish"))
        self.assertNotIn("sword", line)

    def ask(self, *passwords: str) -> tuple[int, str, str]:
        answers = list(passwords)
        self.patch(getpass, "getpass", lambda prompt: answers.pop(0))
        return self.run_user("alice", stdin=Terminal())

    def test_from_the_terminal(self) -> None:
        status, line, _ = self.ask("swordfish", "swordfish")
        self.assertEqual(status, 0)
        self.assertTrue(self.matches(line, "alice", "swordfish"))

    def test_typed_differently(self) -> None:
        self.assertEqual(self.ask("a", "b"), (1, "", "rtunnel user: the passwords differ; run the command again\n"))

    def test_refused(self) -> None:
        for argv, password, words in (
            (("a:b",), "x", "has a name with a space, a colon"),
            (("alice",), "", "the password must be 1 to 255 bytes"),
            (("alice",), "x" * 256, "the password must be 1 to 255 bytes"),
            ((), "x", "the following arguments are required: NAME"),
            (("alice", "swordfish"), "x", "unrecognized arguments"),
        ):
            status, out, err = self.run_user(*argv, stdin=io.StringIO(password))
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), argv)
            self.assertIn(words, err)

    def test_help(self) -> None:
        status, out, _ = self.run_user("--help", stdin=io.StringIO())
        self.assertEqual(status, 0)
        self.assertIn("rtunnel user alice >> users", out)
