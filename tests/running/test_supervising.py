"""A command under its supervisor, as processes: its output, exit status, signals, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from errno import EACCES, ENOENT
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import ROOT, TIMEOUT, Process, needed, wait_until

COMMAND = (sys.executable, "-m", "tests.running.sample", "none")


def lives(process: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class StatusTests(SynchronousTestCase):
    def run_it(self, *argv: str, text: str = "") -> tuple[int, str, str]:
        ended = subprocess.run((*COMMAND, *argv), input=text, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
        return ended.returncode, ended.stdout.removeprefix("begun\n"), ended.stderr

    def test_its_status_is_ours(self) -> None:
        for status in (0, 1, 42):
            self.assertEqual(self.run_it("sh", "-c", f"exit {status}"), (status, "", ""))

    def test_its_signal_is_our_status(self) -> None:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
            self.assertEqual(self.run_it("sh", "-c", f"kill -{number} $$"), (128 + number, "", ""))

    def test_its_input_output_and_environment(self) -> None:
        script = 'cat; echo "$WORD $1"; echo wrong >&2; env | grep -c PYTHON'
        self.assertEqual(self.run_it("sh", "-c", script, "sh", "a b", text="in\n"), (1, "in\nof ours a b\n0\n", "wrong\n"))

    def test_its_signals_are_as_usual(self) -> None:
        """None is ignored or blocked because it is so with us: a pipe whose reader is gone ends a program."""
        _, output, _ = self.run_it("grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status")
        usual = (1 << 31) - 1
        self.assertEqual([int(line.split()[1], 16) & usual for line in output.splitlines()], [0, 0])

    def test_nohup(self) -> None:
        """Who wants it to go on when the terminal is gone wants the command to."""
        argv = (needed("nohup"), *COMMAND, "grep", "^SigIgn:", "/proc/self/status")
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
        self.assertEqual(int(ended.stdout.split()[-1], 16) & 1, 1)

    def test_no_such_program(self) -> None:
        self.assertEqual(self.run_it("no-such-program", "x"), (99, f"cannot be started: command not found {ENOENT}\n", ""))

    def test_no_program(self) -> None:
        file = Path(self.mktemp()).absolute()
        file.write_text("#!/no/such/interpreter\n")
        self.assertEqual(self.run_it(str(file))[1], f"cannot be started: command not found {ENOENT}\n")
        file.chmod(0o755)
        self.assertEqual(self.run_it(str(file))[1], f"cannot be started: No such file or directory {ENOENT}\n")
        if os.geteuid() != 0:
            self.assertEqual(self.run_it("/etc")[1], f"cannot be started: Permission denied {EACCES}\n")


class EndTests(SynchronousTestCase):
    def start(self, script: str) -> Process:
        process = Process([*COMMAND, "sh", "-c", script], cwd=str(ROOT))
        self.addCleanup(process.stop)
        return process

    def numbers(self, process: Process, word: str) -> list[int]:
        """The process IDs that it has printed behind a word."""
        wait_until(lambda: f"{word} " in process.output and process.output.endswith("\n"), f"{word} in {process.output}")
        return [int(line.split()[1]) for line in process.output.splitlines() if line.startswith(word)]

    def test_signals_are_passed_on(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process = self.start(f"trap 'echo told; exit 9' {number.value}; echo ready; while :; do sleep 0.01; done")
            process.wait_for("ready")
            process.send(number)
            self.assertEqual(process.wait(), 9)
            self.assertIn("told", process.output)

    def test_twice_interrupted(self) -> None:
        """What does not end by itself is killed."""
        process = self.start("trap 'echo told' INT; trap '' TERM; echo ready; while :; do sleep 0.01; done")
        for word in ("ready", "told"):
            process.wait_for(word)
            process.send(signal.SIGINT)
        self.assertEqual(process.wait(), 128 + signal.SIGKILL)

    def test_what_it_leaves_ends_with_it(self) -> None:
        """Also what has left its process group, and what its children have left."""
        script = "sleep 100 & echo left $!; setsid sh -c 'sleep 100 & echo left $!; wait' & sleep 0.3; echo left $!; exit 5"
        process = self.start(script)
        self.assertEqual(process.wait(), 5)
        left = self.numbers(process, "left")
        self.assertEqual(len(left), 3)
        self.assertEqual([number for number in left if lives(number)], [])

    def test_what_does_not_end_is_killed(self) -> None:
        process = self.start("sh -c 'trap \"\" HUP TERM; echo left $$; while :; do sleep 0.01; done' & sleep 0.3; exit 5")
        self.assertEqual(process.wait(), 5)
        (left,) = self.numbers(process, "left")
        self.assertFalse(lives(left))

    def test_killed(self) -> None:
        """Nothing is left of a command whose rtunnel was killed, whether it ends by itself or not."""
        process = self.start(
            "sh -c 'trap \"\" HUP TERM; echo left $$; while :; do sleep 0.01; done' & echo left $$; wait; sleep 100"
        )
        wait_until(lambda: process.output.count("left ") == 2, "both run")
        left = self.numbers(process, "left")
        process.send(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(map(lives, left)), "they end", TIMEOUT)

    def test_supervisor_killed(self) -> None:
        """As if the command had been."""
        process = self.start("echo left $$ $PPID; sleep 100; echo more")
        (left,) = self.numbers(process, "left")
        supervisor = int(process.output.split()[-1])
        os.kill(supervisor, signal.SIGKILL)
        self.assertEqual(process.wait(), 128 + signal.SIGKILL)
        wait_until(lambda: not lives(left), "it ends")


class WithoutProcTests(SynchronousTestCase):
    """As on macOS: where the system does not tell which processes there are, the command itself ends."""

    def test_killed(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("mounting needs root")
        hidden = ("-m", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh")
        process = Process([needed("unshare"), *hidden, *COMMAND, "sh", "-c", "echo left $$; exec sleep 100"], cwd=str(ROOT))
        self.addCleanup(process.stop)
        process.wait_for("left ")
        left = int(process.output.split("left ")[1])
        process.send(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not lives(left), "it ends")
