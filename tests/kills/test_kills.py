"""``make kills`` in short, and that it finds what is wrong."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.kills.__main__ import main
from tests.kills.site import ACCESS_LOG, PIDFILE, Part
from tests.support.processes import wait_until


class CleanTests(SynchronousTestCase):
    """A part whose configuration is wrong, so that it ends by itself: what lies about is the test's."""

    def setUp(self) -> None:
        self.part = Part("server", Path(self.mktemp()))
        self.part.configure({})
        self.part.start()
        self.addCleanup(self.part.kill)
        wait_until(lambda: self.part.output, "it says that the configuration is wrong")
        self.put(PIDFILE, str(self.part.pid))

    def put(self, name: str, text: str) -> None:
        (self.part.folder / name).write_text(text)

    def unclean(self, words: str) -> None:
        self.assertIn(words, str(self.assertRaises((AssertionError, ValueError), self.part.clean)))

    def test_clean(self) -> None:
        self.put(ACCESS_LOG, '{"kind": "http"}\n')
        self.part.clean()

    def test_pid_of_another(self) -> None:
        self.put(PIDFILE, "1")
        self.unclean("says 1, and the process is")

    def test_more_files(self) -> None:
        self.put("run.sock", "")
        self.unclean("there are more files")

    def test_half_a_line(self) -> None:
        self.put(ACCESS_LOG, '{"kind": "ht{"kind": "http"}\n')
        self.unclean("delimiter")


class KillsTests(TestCase):
    timeout = 120

    def test_a_few(self) -> None:
        with redirect_stdout(io.StringIO()) as said:
            status = main(["--times", "2", "--seed", "2"])
        self.assertEqual(status, 0, said.getvalue())
        self.assertIn("every next start was clean", said.getvalue())
