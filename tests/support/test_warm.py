"""What is forked is as what is started anew."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import LOOPBACK, ask, free_port, rtunnel, run_rtunnel, wait_until

TUNNEL = "0a33d4d0-12cb-49ef-94fc-bbb82c1acdd2"


def answers(port: int) -> bool:
    """Whether a server answers there."""
    return ask(port, "/")[0] > 0


class ForkedTests(SynchronousTestCase):
    def test_as_anew(self) -> None:
        """Output, errors and exit status, of commands that end well and in each of the ways of failing."""
        for words in (("version",), ("servr",), ("client", "--tunnel", "x"), ("status", "4194305"), ("user", "a:b")):
            argv = (sys.executable, "-m", "rtunnel", *words)
            anew = subprocess.run(argv, capture_output=True, text=True, check=False, input="", cwd=tempfile.gettempdir())
            forked = run_rtunnel(*words)
            self.assertEqual((forked.stdout, forked.stderr, forked.returncode), (anew.stdout, anew.stderr, anew.returncode), words)

    def test_no_start(self) -> None:
        """Of a service, by an exception that twistd lets out."""
        words = ("server", "--listen", "192.0.2.1:8421", "--entrypoint", f"{LOOPBACK}:{free_port()}", "--route", f"a={TUNNEL}")
        ended = run_rtunnel(*words)
        self.assertIn("cannot listen on 192.0.2.1:8421", ended.stderr)
        self.assertEqual((ended.stderr.count("\n"), ended.returncode), (1, 1))

    def test_input(self) -> None:
        self.assertRegex(run_rtunnel("user", "alice", typed="swordfish\n").stdout, r"^alice:\$argon2id\$")

    def test_environment_and_folder(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "client.yaml").write_text(f"server: :1\ntunnel: {TUNNEL}\ntarget: :80\n")
        self.assertEqual(run_rtunnel("check", "client.yaml", cwd=str(folder)).returncode, 0)
        words = ("client", "-c", "client.yaml")
        self.assertIn('RTUNNEL_WEIGHT "none"', run_rtunnel(*words, cwd=str(folder), env={"RTUNNEL_WEIGHT": "none"}).stderr)

    def test_signals(self) -> None:
        for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
            port = free_port()
            words = ("--listen", f"{LOOPBACK}:{free_port()}", "--entrypoint", f"{LOOPBACK}:{port}", "--route", f"a={TUNNEL}")
            with rtunnel("server", *words) as server:
                # signals are taken over when the reactor runs
                wait_until(functools.partial(answers, port), "an answer")
                server.send(number)
                self.assertEqual(server.wait(), status, number)
