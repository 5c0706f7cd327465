"""The stage: a directory, some ports, and the processes of one measurement, which end with it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.proc import LOOPBACK, BenchError, Process, free_port, is_listening, wait_until

#: Memory-backed when the machine has it: bulk transfers must not measure a disk.
_FAST_DIRECTORY = Path("/dev/shm")
_ROOM = 1 << 29

#: The sides of a system, and the Ingress before it where a case has one. A system of one process has only a server.
#: Bystanders take part but are not measured.
SERVER = "server"
CLIENT = "client"
VISITOR = "visitor"
INGRESS = "ingress"
SIDES = (SERVER, CLIENT, VISITOR, INGRESS)
BYSTANDER = "bystander"

#: The Host that every visitor asks for.
HOST = "bench.local"


@dataclass(frozen=True, slots=True)
class Launch:
    """How one process was started, fit to be published: base names only, nothing of this machine.

    :param role: one of :data:`SIDES`, or ``bystander``.
    :param command: the command line; the binary by its base name.
    :param environment: the variables set for it.
    :param files: the configuration files written for it, by name.
    """

    role: str
    command: str
    environment: dict[str, str]
    files: dict[str, str]


class Stage:
    """Owns everything that one measurement starts. A context manager: leaving it stops the processes, newest first.

    :param name: part of the directory's name, for whoever looks at it while it runs.
    :param taken: ports in use by others of this run; ours are added.
    """

    def __init__(self, name: str, taken: set[int]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=_parent()))
        # nginx's workers may run as another user.
        self.directory.chmod(0o755)
        self.launches: list[Launch] = []
        self._taken = taken
        self._ports: set[int] = set()
        self._processes: list[tuple[str, Process]] = []
        self._files: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for _, process in reversed(self._processes):
            process.stop()
        self._taken -= self._ports
        shutil.rmtree(self.directory, ignore_errors=True)

    def port(self) -> int:
        """A free loopback port, ours until the end."""
        port = free_port(self._taken)
        self._ports.add(port)
        return port

    def write(self, name: str, text: str) -> str:
        """Write a configuration file for the next process.

        :returns: its name, relative to the directory in which processes run.
        """
        (self.directory / name).write_text(text, encoding="utf-8")
        self._files[name] = text
        return name

    def start(self, role: str, argv: list[str], env: dict[str, str] | None = None) -> Process:
        """Start a process in the stage's directory; it takes the files written since the last start."""
        log = self.directory / f"{len(self._processes)}-{role}.log"
        process = Process(argv, self.directory, {**_environment(), **(env or {})}, log)
        self._processes.append((role, process))
        self.launches.append(Launch(role, publishable(argv), public_environment(env or {}), self._files))
        self._files = {}
        return process

    def pids(self, role: str) -> list[int]:
        """All processes of one side, workers included."""
        return [pid for owner, process in self._processes if owner == role for pid in process.pids()]

    def check(self) -> None:
        """Complain when any process has ended.

        :raises BenchError: with its last words.
        """
        for _, process in self._processes:
            process.check()

    def wait_listening(self, *ports: int) -> None:
        """Wait until every port has its listener.

        :raises BenchError: when that takes too long or a process ends.
        """

        def up() -> bool:
            self.check()
            return all(is_listening(port) for port in ports)

        wait_until(up, f"listening on {', '.join(map(str, ports))}")

    def wait_words(self, process: Process, words: str, seconds: float = 120.0, count: int = 1) -> None:
        """Wait until a process has said something, perhaps several times.

        :raises BenchError: when that takes too long or a process ends.
        """

        def said() -> bool:
            self.check()
            return process.log.read_text(encoding="utf-8", errors="replace").count(words) >= count

        wait_until(said, f'"{words}"', seconds, pause=0.05)

    def wait_answer(self, port: int, path: str = "/small/ready", seconds: float = 20.0) -> None:
        """Wait until a GET through the whole system is answered with 200.

        :raises BenchError: when that takes too long or a process ends.
        """

        def answered() -> bool:
            self.check()
            return status_of(port, path) == 200

        try:
            wait_until(answered, f"an answer on {port}", seconds, pause=0.05)
        except BenchError as error:
            words = " // ".join(f"{role}: {process.last_words()}" for role, process in self._processes)
            raise BenchError(f"{error}; {words}") from None

    def wait_echo(self, port: int, seconds: float = 20.0) -> None:
        """Wait until a datagram comes back through the whole system.

        :raises BenchError: when that takes too long or a process ends.
        """

        def echoed() -> bool:
            self.check()
            return comes_back(port)

        wait_until(echoed, f"an echo on {port}", seconds, pause=0.05)


def _parent() -> Path | None:
    """Where directories are made: in memory when there is room, else where temporary files go."""
    if os.access(_FAST_DIRECTORY, os.W_OK) and shutil.disk_usage(_FAST_DIRECTORY).free > _ROOM:
        return _FAST_DIRECTORY
    return None


def _environment() -> dict[str, str]:
    """Ours, without what would configure the program that is measured."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RTUNNEL_")}


def status_of(port: int, path: str, timeout: float = 2.0) -> int:
    """The status of one GET, 0 when there was no answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": HOST, "Connection": "close"})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    return response.status


def comes_back(port: int, timeout: float = 0.5) -> bool:
    """Whether one datagram is echoed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
        visitor.settimeout(timeout)
        visitor.connect((LOOPBACK, port))
        try:
            visitor.send(b"ready?")
            return visitor.recv(65536) == b"ready?"
        except OSError:
            return False


def without_paths(text: str) -> str:
    """A text in which every absolute path has become its last part."""
    return re.sub(r"(?<![\w.:/])(?:/[\w.@+-]+)+/(?=[\w.@+-])", "", text)


def publishable(argv: Iterable[str]) -> str:
    """A command line without anything of this machine; long ones are cut in the middle."""
    binary, *rest = argv
    name = "python" if binary == sys.executable else Path(binary).name.removesuffix(".bin")
    words = [name, *(f'"{word}"' if set(word) & set("&?$ ") else word for word in rest)]
    if len(words) > 40:
        words = [*words[:20], f"... ({len(words) - 30} more) ...", *words[-10:]]
    return " ".join(word if len(word) <= 400 else f"{word[:200]}...{word[-100:]}" for word in words)


def public_environment(env: dict[str, str]) -> dict[str, str]:
    """The variables worth publishing: not those that hold a path."""
    return {key: value for key, value in env.items() if "/" not in value}
