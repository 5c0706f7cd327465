"""The processes of the demo, all of which end with it, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupts", "Process", "ProcessError", "Processes", "free_ports"]

STOP_TIME = 5.0
"""Seconds between SIGTERM and SIGKILL."""
MAX_LINES = 12
"""Lines of a process's output in an error."""
MAX_BYTES = 8192


class ProcessError(Exception):
    """A process did not do what it should; the text ends with its last output."""


class Interrupts:
    """Raises :class:`KeyboardInterrupt` for each signal that stops the demo; within :meth:`held` only after it."""

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._holds = 0
        self._missed: str | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._caught) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._holds:
            self._missed = name
        else:
            raise KeyboardInterrupt(name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals while something must not be interrupted."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if self._missed and not self._holds:
            name, self._missed = self._missed, None
            raise KeyboardInterrupt(name)


class Process:
    """One process of the scenario; it belongs to :class:`Processes`.

    :param name: what it is, for the user.
    :param popen: the process.
    :param output: the file with its output.
    """

    def __init__(self, name: str, popen: subprocess.Popen[bytes], output: Path) -> None:
        self.name = name
        self._popen = popen
        self._output = output
        self._stopping = False

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    @property
    def died(self) -> bool:
        """Whether it ended by itself."""
        return self.ended and not self._stopping

    def stop(self) -> None:
        """Send SIGTERM."""
        self._stopping = True
        self._popen.terminate()

    def kill(self) -> None:
        """Send SIGKILL, and wait for its end."""
        self._stopping = True
        self._popen.kill()
        self._popen.wait()

    def end(self) -> None:
        """Wait for its end after :meth:`stop`, and kill it after :data:`STOP_TIME`."""
        try:
            self._popen.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self.kill()

    def last_output(self) -> str:
        """The last lines of its output."""
        with self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - MAX_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-MAX_LINES:])

    def error(self, what: str) -> ProcessError:
        """An error about this process.

        :param what: what happened, as the text that follows its name.
        """
        status = self._popen.poll()
        ending = "" if status is None else f" ({_ending(status)})"
        output = self.last_output()
        last = f"; its last output:\n{output}" if output else "; it printed nothing"
        return ProcessError(f"{self.name} {what}{ending}{last}")


class Processes:
    """All processes of a demo; leaving the context ends those that still run, the last started first.

    :param folder: for their output; it must exist as long as they run.
    :param interrupts: delays signals while a process is started and while all are ended.
    """

    def __init__(self, folder: Path, interrupts: Interrupts) -> None:
        self._folder = folder
        self._interrupts = interrupts
        self._all: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._interrupts.held():
            running = [process for process in reversed(self._all) if not process.ended]
            for process in running:
                process.stop()
            for process in running:
                process.end()

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Process:
        """Start a module of ours with this Python.

        :param name: what it is, for the user.
        :param module: what follows ``python -m``.
        :param arguments: what follows the module.
        """
        output = self._folder / f"{len(self._all)}.log"
        with self._interrupts.held(), output.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=_environment(os.environ),
            )
            self._all.append(process := Process(name, popen, output))
        return process

    def check(self) -> None:
        """Check that no process has ended by itself.

        :raises ProcessError: one has.
        """
        for process in self._all:
            if process.died:
                raise process.error("ended by itself")


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment without rtunnel's options: the demo gives all of its own on the command line."""
    return {key: value for key, value in ours.items() if not key.startswith("RTUNNEL_")}


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that are free now.

    :param count: how many.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [bound.getsockname()[1] for bound in sockets]
