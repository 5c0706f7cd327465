"""Commands that work on the reactor, as processes: their output, exit statuses and signals."""

from __future__ import annotations

import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.memory import RETURN_EVERY
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

    def test_memory(self) -> None:
        """What a command has freed goes back to the system again and again, as with a service."""
        self.assertEqual(run("timers").stdout, f"{RETURN_EVERY:.0f}\n")

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
