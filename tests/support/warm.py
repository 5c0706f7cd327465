"""Starts ``rtunnel`` without waiting until Python has imported it: most of the time that the start of a process takes.

The processes are real ones, with the command line, environment and folder that a test gives them, but they are forked from one that
has imported all of rtunnel (:mod:`tests.support.warm_server`), of which each process of tests has one. That ``python -m rtunnel``
comes as far by itself is what the tests of the commands show.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import RLock

__all__ = ["Forked"]


class _Server:
    """The process that forks; it ends with that of the tests.

    :ivar ended: the exit statuses of the processes that have ended.
    """

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, "-P", str(Path(__file__).with_name("warm_server.py"))]
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        # measured is what is forked, from then on
        if environ.pop("COVERAGE_PROCESS_CONFIG", None):
            argv.append("coverage")
        with theirs:
            self._process = subprocess.Popen(argv, stdin=theirs.fileno(), env=environ)
        self.ended: dict[int, int] = {}
        self._lock = RLock()
        atexit.register(self.stop)

    def stop(self) -> None:
        self._channel.close()
        self._process.wait()

    def start(self, order: Mapping[str, object], descriptors: Sequence[int]) -> int:
        """Start a process; returns its PID."""
        with self._lock:
            socket.send_fds(self._channel, [json.dumps(order).encode()], descriptors)
            while (pid := self._hear()) is None:
                pass
            # of another one that had it before
            self.ended.pop(pid, None)
            return pid

    def status(self, pid: int, patience: float) -> int | None:
        """The exit status of a process; waits some seconds for its end."""
        end = time.monotonic() + patience
        while True:
            with self._lock:
                while select.select([self._channel], [], [], 0)[0]:
                    self._hear()
                if pid in self.ended or time.monotonic() >= end:
                    return self.ended.get(pid)
            # not for long: another thread may be the one that hears of it
            select.select([self._channel], [], [], min(0.1, max(0, end - time.monotonic())))

    def _hear(self) -> int | None:
        """Take the next message; returns the PID of a process that was started."""
        data = self._channel.recv(65536)
        if not data:
            raise AssertionError(f"the process that forks has ended with {self._process.wait()}")
        message = json.loads(data)
        if "ended" in message:
            self.ended[message["ended"]] = message["status"]
            return None
        return int(message["started"])


@cache
def _server() -> _Server:
    return _Server()


class Forked:
    """A process as :class:`subprocess.Popen` has it, so far as the tests use that.

    :param arguments: of the command ``rtunnel``.
    :param env: its whole environment.
    :param descriptors: its standard input, output and errors.
    """

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: str, descriptors: Sequence[int]) -> None:
        order = {"arguments": list(arguments), "env": dict(env), "cwd": cwd}
        self.args = list(arguments)
        self.pid = _server().start(order, descriptors)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, if it has ended; negative for the signal that ended it."""
        if self.returncode is None:
            self.returncode = _server().status(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end.

        :raises subprocess.TimeoutExpired: it goes on.
        """
        if self.returncode is None:
            self.returncode = _server().status(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            # it may end in between
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
