"""A process on a terminal of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from threading import Thread

from tests.support.processes import TIMEOUT, wait_until

__all__ = ["OnTerminal"]


class OnTerminal:
    """``rtunnel`` with a terminal as its output; end it with :meth:`stop`."""

    def __init__(self, *words: str) -> None:
        master, slave = pty.openpty()
        self._read = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtunnel", *words], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._thread = Thread(target=self._take, args=(master,))
        self._thread.start()

    def _take(self, master: int) -> None:
        with os.fdopen(master, "rb", buffering=0) as terminal:
            while True:
                try:
                    data = terminal.read(65536)
                except OSError:
                    # the other side of a terminal is closed (Linux)
                    return
                if not data:
                    return
                self._read += data

    @property
    def output(self) -> str:
        """What it has written."""
        return self._read.decode()

    def wait_for(self, text: str) -> None:
        """Wait until it has written a text."""
        wait_until(lambda: text in self.output, f"{text!r} in {self.output}")

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join()
