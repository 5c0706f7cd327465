"""A command on a terminal: it is the command's, with Ctrl-C, Ctrl-Z and the end of input, as without us."""

from __future__ import annotations

import shlex
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import ROOT, needed
from tests.support.terminal import Terminal

COMMAND = (sys.executable, "-m", "tests.running.sample", "none")


class TerminalTests(SynchronousTestCase):
    def open(self, *argv: str) -> Terminal:
        terminal = Terminal(*argv, cwd=str(ROOT), env={"PS1": "$ "})
        self.addCleanup(terminal.stop)
        return terminal

    def command(self, script: str) -> Terminal:
        return self.open(*COMMAND, "sh", "-c", script)

    def test_it_is_the_commands(self) -> None:
        """It reads what is typed, and is in the foreground."""
        terminal = self.command("test -t 0 -a -t 1 -a -t 2 && echo terminal; read line; echo got $line; cat; exit 6")
        terminal.wait_for("terminal")
        terminal.type("hello\n")
        terminal.wait_for("got hello")
        terminal.type("\x04")
        self.assertEqual(terminal.wait(), 6)

    def test_interrupted_once(self) -> None:
        """The terminal has told the command: we do not tell it again."""
        terminal = self.command("trap 'echo told' INT; echo ready; while ! read line; do :; done; exit 5")
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("told")
        terminal.type("end\n")
        self.assertEqual(terminal.wait(), 5)
        self.assertEqual(terminal.output.count("told"), 1)

    def test_interrupted(self) -> None:
        # what says that it is ready is what is interrupted, and the shell waits for it by then
        terminal = self.command("sh -c 'echo ready; exec cat'; echo more")
        terminal.wait_for("ready")
        terminal.type("\x03")
        self.assertEqual(terminal.wait(), 130)
        self.assertNotIn("more", terminal.output)

    def test_interrupted_twice(self) -> None:
        """What does not listen is killed."""
        terminal = self.command("trap 'echo told' INT; echo ready; while :; do sleep 0.01; done")
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("told")
        terminal.type("\x03")
        self.assertEqual(terminal.wait(), 137)

    def test_quit(self) -> None:
        terminal = self.command("ulimit -c 0; echo ready; exec cat")
        terminal.wait_for("ready")
        terminal.type("\x1c")
        self.assertEqual(terminal.wait(), 131)

    def test_stopped_and_continued(self) -> None:
        """By the keys and commands of a shell with job control."""
        terminal = self.open(needed("bash"), "--norc", "--noediting", "-i")
        terminal.wait_for("$ ")
        terminal.type(shlex.join([*COMMAND, "sh", "-c", "echo ready; while read line; do echo got $line; done; exit 4"]) + "\n")
        terminal.wait_for("\nready")
        terminal.type("\x1a")
        terminal.wait_for("Stopped")
        terminal.type("echo at the $((6*7))th prompt\n")
        terminal.wait_for("at the 42th prompt")
        terminal.type("fg\n")
        terminal.type("hello\n")
        terminal.wait_for("got hello")
        terminal.type("\x04")
        terminal.type("echo status $?\n")
        terminal.wait_for("status 4")
        terminal.type("exit\n")
        terminal.wait()
