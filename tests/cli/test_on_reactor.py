"""Commands that work on the reactor, as processes: their output, exit statuses, signals and children."""

from __future__ import annotations

import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import ROOT, TIMEOUT, Process

SCRIPT = """
import sys
from twisted.internet import reactor
from rtunnel.cli.command import ReactorCommand
sys.exit(ReactorCommand("sample", "does what it is told", package="tests.cli").run(sys.argv[1:], reactor))
"""
COMMAND = (sys.executable, "-c", SCRIPT)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the sample until it ends."""
    return subprocess.run(
        (*COMMAND, *words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, cwd=ROOT, check=False
    )


class EndTests(SynchronousTestCase):
    def test_status_and_output(self) -> None:
        for status in (0, 5):
            ended = run(str(status))
            self.assertEqual((ended.returncode, ended.stdout), (status, "done\n"))
            self.assertRegex(ended.stderr, r"^[\d: +-]+ what is logged\n$")

    def test_command_error(self) -> None:
        ended = run("fail")
        self.assertEqual((ended.returncode, ended.stdout), (7, ""))
        self.assertEqual(ended.stderr, "rtunnel sample: no such thing; try another\n  the detail\n")

    def test_exit(self) -> None:
        """As the parser of arguments ends a command."""
        self.assertEqual(run("leave").returncode, 3)

    def test_bug(self) -> None:
        ended = run("break")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("ZeroDivisionError", ended.stderr)


class SignalTests(SynchronousTestCase):
    def start(self, *words: str) -> Process:
        process = Process([*COMMAND, *words], cwd=str(ROOT))
        self.addCleanup(process.stop)
        process.wait_for("begun")
        return process

    def ended_by(self, process: Process, *numbers: signal.Signals) -> int:
        for number in numbers:
            process.send(number)
        return process.wait()

    def test_cleans_up(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start("wait")
            self.assertEqual(self.ended_by(process, number), 128 + number)
            self.assertIn("cleaned up", process.output)
            self.assertNotIn("Traceback", process.output)

    def test_child_is_told_to_stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            process = self.start(
                "child", "sh", "-c", f"trap 'echo told; exit 9' {number.value}; echo ready; while :; do sleep 0.01; done"
            )
            process.wait_for("ready")
            self.assertEqual(self.ended_by(process, number), 9)
            self.assertIn("told", process.output)

    def test_interrupt_is_left_to_the_child(self) -> None:
        """The terminal sends it to both."""
        process = self.start("child", "sh", "-c", "kill -INT $PPID; exit 4")
        self.assertEqual(process.wait(), 4)


class ChildTests(SynchronousTestCase):
    def child(self, *argv: str) -> tuple[int, str, str]:
        ended = run("child", *argv)
        return ended.returncode, ended.stdout.removeprefix("begun\n"), ended.stderr

    def test_its_status_is_ours(self) -> None:
        for status in (0, 1, 42):
            self.assertEqual(self.child("sh", "-c", f"exit {status}"), (status, "", ""))

    def test_its_signal_is_our_status(self) -> None:
        self.assertEqual(self.child("sh", "-c", "kill -KILL $$"), (137, "", ""))

    def test_its_output_and_environment(self) -> None:
        script = 'echo "$WORD $1"; echo wrong >&2; env | grep -c PYTHON'
        self.assertEqual(self.child("sh", "-c", script, "sh", "a b"), (1, "of ours a b\n0\n", "wrong\n"))

    def test_no_such_program(self) -> None:
        line = "rtunnel sample: no-such-program: command not found\n"
        self.assertEqual(self.child("no-such-program", "x"), (127, "", line))
