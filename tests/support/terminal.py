"""A process on a terminal of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from threading import Thread

from tests.support.processes import TIMEOUT, needed, wait_until

__all__ = ["OnTerminal", "Terminal"]


class _Reading:
    """A process whose output goes to a terminal; end it with :meth:`stop`."""

    process: subprocess.Popen[bytes]

    def _read_from(self, master: int) -> None:
        self._read = bytearray()
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


class OnTerminal(_Reading):
    """``rtunnel`` with a terminal as its output."""

    def __init__(self, *words: str) -> None:
        master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtunnel", *words], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._read_from(master)


class Terminal(_Reading):
    """A program with a terminal of its own, at which a test types: it is in the foreground there."""

    def __init__(self, *argv: str, cwd: str, env: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [needed("setsid"), "--ctty", "--wait", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={**os.environ, **env},
        )
        os.close(slave)
        self._read_from(os.dup(self._master))

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def wait(self) -> int:
        """Wait for its end and return the exit status."""
        return self.process.wait(TIMEOUT)

    def stop(self) -> None:
        super().stop()
        os.close(self._master)
