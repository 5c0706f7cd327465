"""The demo's processes end, and their errors show their output."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.demo.processes import Interrupts, ProcessError, Processes


class InterruptsTests(SynchronousTestCase):
    """Signals that end the demo."""

    def test_raised(self) -> None:
        for number in Interrupts.SIGNALS:
            with Interrupts():
                error = self.assertRaises(KeyboardInterrupt, signal.raise_signal, number)
            self.assertEqual(str(error), number.name)

    def test_held(self) -> None:
        done = []
        with Interrupts() as interrupts:
            try:
                with interrupts.held():
                    with interrupts.held():
                        signal.raise_signal(signal.SIGTERM)
                        done.append("inner")
                    done.append("outer")
            except KeyboardInterrupt as error:
                done.append(str(error))
        self.assertEqual(done, ["inner", "outer", "SIGTERM"])

    def test_put_back(self) -> None:
        before = [signal.getsignal(number) for number in Interrupts.SIGNALS]
        with Interrupts():
            pass
        self.assertEqual([signal.getsignal(number) for number in Interrupts.SIGNALS], before)


class ProcessesTests(SynchronousTestCase):
    """Real processes."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        self.processes = Processes(folder, Interrupts())

    def test_all_end(self) -> None:
        with self.processes:
            started = [self.processes.start("a service", "rtunnel.demo.service", ["--port", "0"]) for _ in range(3)]
            self.assertEqual([process.ended for process in started], [False] * 3)
            started[0].kill()
            self.assertTrue(started[0].ended)
        self.assertEqual([process.ended for process in started], [True] * 3)

    def test_all_end_after_an_error(self) -> None:
        with contextlib.suppress(ZeroDivisionError), self.processes:
            process = self.processes.start("a service", "rtunnel.demo.service", ["--port", "0"])
            self.assertFalse(process.ended)
            divmod(1, 0)
        self.assertTrue(process.ended)

    def test_an_end_that_was_asked_for(self) -> None:
        with self.processes:
            killed, stopped = (self.processes.start("a service", "rtunnel.demo.service", ["--port", "0"]) for _ in range(2))
            killed.kill()
            stopped.stop()
            stopped.end()
            self.processes.check()

    def test_the_error_shows_the_last_output(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, self.processes:
            port = str(taken.getsockname()[1])
            self.processes.start("the service", "rtunnel.demo.service", ["--port", port]).end()
            error = self.assertRaises(ProcessError, self.processes.check)
        self.assertTrue(str(error).startswith("the service ended by itself (exit status 1); its last output:\n  "))
        self.assertIn(f"cannot listen on 127.0.0.1:{port}: ", str(error))
