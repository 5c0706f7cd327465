"""The demo as a user runs it: real processes, real requests, and nothing left behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import Process, needed

LIMIT = 120.0
"""Seconds until a process of a test has hung."""
PHASE = re.compile(r"phase (.+): pod ([\d.]+) %, laptop ([\d.]+) % of (\d+) requests, (\d+) failed; (.+) \(.*\)")


class DemoCase(SynchronousTestCase):
    """Starts demos, each the leader of a process group of its own."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        demo = subprocess.Popen(
            [sys.executable, "-m", "rtunnel", "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # an option that would be the demo's ruin, did it reach what it starts
            env={**os.environ, "RTUNNEL_LISTEN": "nonsense", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self.addCleanup(self.end, demo)
        return demo

    def end(self, demo: subprocess.Popen[str]) -> None:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
        demo.communicate()

    def assert_nothing_left(self, demo: subprocess.Popen[str]) -> None:
        """The demo has ended, so its group exists only as long as a process that it started."""
        with self.assertRaises(ProcessLookupError):
            os.killpg(demo.pid, 0)


class ScenarioTests(DemoCase):
    """From the first step to the last."""

    def test_shares(self) -> None:
        demo = self.start("--plain", "--requests", "60")
        output, errors = demo.communicate(timeout=LIMIT)
        self.assertEqual((demo.returncode, errors), (0, ""), output)
        self.assert_nothing_left(demo)
        phases = [match.groups() for match in PHASE.finditer(output)]
        self.assertEqual([phase[3:] for phase in phases], [("60", "0", "as expected")] * 5, output)
        alone, half, takeover, killed, personal = ((float(pod), float(laptop)) for _, pod, laptop, *_ in phases)
        self.assertEqual((alone, takeover, killed), ((100.0, 0.0), (0.0, 100.0), (100.0, 0.0)))
        self.assertEqual(personal, (50.0, 50.0))
        self.assertTrue(0 < half[0] < 100)
        self.assertIn("on 1 keep-alive connection;", output)
        self.type_next(output.partition("What to type next")[2].partition("With a cluster")[0])

    def type_next(self, text: str) -> None:
        """The commands that are printed work as they are printed."""
        needed("curl")
        *services, curl = (line.strip() for line in text.splitlines() if line.startswith("    "))
        signs = ("listens on", "entrypoint on", "joined tunnel")
        for command, sign in zip(services, signs, strict=True):
            process = Process(shlex.split(command))
            self.addCleanup(process.stop)
            process.wait_for(sign)
        answered = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True, timeout=LIMIT)
        self.assertEqual(answered.stdout, "hello\n")


class EndTests(DemoCase):
    """Stopped in the middle."""

    def stopped(self, number: signal.Signals, send: Callable[[int, int], None]) -> None:
        demo = self.start("--plain")
        assert demo.stdout is not None
        self.assertTrue(any(line.startswith("phase ") for line in demo.stdout))
        send(demo.pid, number)
        _, errors = demo.communicate(timeout=LIMIT)
        self.assertEqual(demo.returncode, 1)
        self.assertEqual(errors, f"rtunnel demo: stopped by {number.name}; everything that it started has ended\n")
        self.assert_nothing_left(demo)

    def test_interrupted_by_a_terminal(self) -> None:
        """Ctrl-C goes to all processes of the group."""
        self.stopped(signal.SIGINT, os.killpg)

    def test_terminated(self) -> None:
        self.stopped(signal.SIGTERM, os.kill)


class HelpTests(DemoCase):
    """What a user reads first."""

    def test_help(self) -> None:
        demo = self.start("--help")
        output, errors = demo.communicate(timeout=LIMIT)
        self.assertEqual((demo.returncode, errors), (0, ""))
        self.assertIn("rtunnel demo --plain --requests 100", output)

    def test_unknown_option(self) -> None:
        demo = self.start("--fast")
        output, errors = demo.communicate(timeout=LIMIT)
        self.assertEqual((demo.returncode, output, errors.count("\n")), (1, "", 1), errors)
        self.assertIn("--fast", errors)
