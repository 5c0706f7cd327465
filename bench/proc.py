"""Processes and what the kernel tells about them: ports, memory, processor time.

Linux only: everything is read from ``/proc``.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"

#: Below the kernel's ephemeral range, so that a visitor's own port never takes the one picked for a listener.
LISTENER_PORTS = range(12000, 30000)

#: File descriptors wanted for each process: 10,000 idle visitors cost some systems three on one side.
WANTED_FILES = 65536

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KERNEL_THREADS = 2
_LISTEN = "0A"
_ESTABLISHED = "01"


class BenchError(Exception):
    """Something a measurement needs did not happen; the text says what, in one line."""


def raise_file_limit() -> int:
    """Ask for as many file descriptors as the machine grants; children inherit them.

    :returns: the limit now in force.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, WANTED_FILES), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            continue
        return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port(taken: set[int]) -> int:
    """A loopback port that nobody listens on, added to ``taken``.

    :raises BenchError: when a thousand tries found none.
    """
    for _ in range(1000):
        port = random.choice(LISTENER_PORTS)
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                raise
        taken.add(port)
        return port
    raise BenchError("no free port found on the loopback")


def _sockets(state: str) -> Iterable[int]:
    """Local ports of all TCP sockets in a state, from ``/proc/net/tcp`` and ``tcp6``."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if fields[3] == state:
                    yield int(fields[1].rpartition(":")[2], 16)


def is_listening(port: int) -> bool:
    """Whether somebody listens on the port; asked of the kernel, so that no listener sees a stray connection."""
    return port in set(_sockets(_LISTEN))


def established(port: int) -> int:
    """How many connections are established on this local port."""
    return sum(1 for local in _sockets(_ESTABLISHED) if local == port)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0, pause: float = 0.02) -> None:
    """Wait until a condition holds.

    :param what: what is waited for, for the error.
    :raises BenchError: after ``seconds``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not after {seconds:g} s")
        time.sleep(pause)


def process_tree(pid: int) -> list[int]:
    """The process and all that descend from it (nginx has workers)."""
    pids = [pid]
    for known in pids:
        for children in Path(f"/proc/{known}/task").glob("*/children"):
            try:
                pids.extend(int(child) for child in children.read_text(encoding="ascii").split())
            except OSError:
                continue
    return pids


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor seconds: in the programs, and in the kernel on their behalf."""

    user: float
    kernel: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.kernel


def cpu_time(pids: Iterable[int]) -> CpuTime:
    """Processor time used so far (``/proc/PID/stat``, resolution 10 ms)."""
    user = kernel = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        user += int(fields[11])
        kernel += int(fields[12])
    return CpuTime(user / _TICKS, kernel / _TICKS)


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory now (``/proc/PID/statm``)."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in pids) * _PAGE


def _account(pid: int) -> tuple[int, float]:
    """The parent, and the processor time of a process with that of the children it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def foreign_seconds() -> float:
    """Processor time of all processes that are neither this one, nor its descendants, nor the kernel's threads."""
    ours = set(process_tree(os.getpid()))
    everyone = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    accounts = [_account(pid) for pid in everyone if pid not in ours]
    return sum(seconds for parent, seconds in accounts if parent != _KERNEL_THREADS)


class Process:
    """One child process, from its start to its end; its output goes to a log file.

    :param argv: the command line.
    :param cwd: where it runs.
    :param env: its whole environment.
    :param log: file for both of its output streams, kept for errors.
    """

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str], log: Path) -> None:
        self.argv = argv
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def pids(self) -> list[int]:
        """The process and its descendants."""
        return process_tree(self.pid)

    def check(self) -> None:
        """Complain when the process has ended.

        :raises BenchError: with the last lines of its log.
        """
        if self._child.poll() is not None:
            raise BenchError(f"{Path(self.argv[0]).name} ended with {self._child.returncode}: {self.last_words()}")

    def last_words(self, lines: int = 3) -> str:
        """The end of the log, as one line."""
        text = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in text[-lines:])[-600:]

    def stop(self, patience: float = 3.0) -> None:
        """SIGTERM, and SIGKILL after ``patience`` seconds; returns when the process is gone."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
