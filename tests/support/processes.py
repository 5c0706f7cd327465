"""Real processes on loopback: rtunnel's own, nginx, gost; ended by PID, whatever the test does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from itertools import islice
from pathlib import Path
from typing import IO
from unittest import SkipTest

from tests.support.warm import Forked

__all__ = [
    "LOOPBACK",
    "Nginx",
    "Process",
    "ask",
    "free_port",
    "gost",
    "gost_binary",
    "hearing_hang_ups",
    "listening",
    "needed",
    "optional",
    "ourselves",
    "python_path",
    "rtunnel",
    "run_rtunnel",
    "wait_until",
]

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
TIMEOUT = 60.0
"""Seconds that a condition may take on a busy machine; waiting ends as soon as it is true."""
PORTS = 500
"""How many each process of tests has to itself."""


@cache
def _own_ports() -> Iterator[int]:
    """The ports of this process, over and over: no other process of tests has them, and the kernel gives them to no connection.

    The name of an abstract unix socket keeps them while the process runs; it belongs to a network namespace, as ports do.
    """
    end = max(int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]), 20000)
    starts = range(10000, end - PORTS, PORTS)
    for start in random.sample(starts, len(starts)):
        with socket.socket(socket.AF_UNIX) as mark, suppress(OSError):
            mark.bind(f"\0rtunnel-tests-{start}")
            while True:
                yield from range(start, start + PORTS)
    raise AssertionError("other tests have all ports")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """Return a free port of loopback, another one each time, and to no other process of tests the same.

    :param kind: SOCK_STREAM or SOCK_DGRAM.
    """
    for port in islice(_own_ports(), PORTS):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError(f"none of {PORTS} ports is free")


def wait_until(condition: Callable[[], object], what: str, patience: float = TIMEOUT) -> None:
    """Wait for a condition; fail with ``what`` when it does not come true in time."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience:g} s in vain for: {what}")
        time.sleep(0.01)


def listening(port: int) -> bool:
    """Whether somebody accepts connections on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, path: str, host: str = LOOPBACK, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Ask an HTTP server at a port, of loopback by default; returns status and body, 0 and the reason where nobody answers."""
    connection = HTTPConnection(host, port, timeout=20)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def python_path() -> str:
    """PYTHONPATH of a process that imports tests: the modules under test first, which may be compiled, see "make compiled"."""
    return os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT / "src"), str(ROOT)])


def ourselves() -> str:
    """Return how a message names this process, as the holder of a port."""
    return f"{Path('/proc/self/comm').read_text().strip()}, PID {os.getpid()}"


def needed(program: str) -> str:
    """The path of a program that a test needs; skips visibly without it, and fails in CI, where it must be there."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            raise AssertionError(f"{program} is not installed, and in CI it must be")
        raise SkipTest(f"{program} is not installed (apt-get install nginx-light wrk redis-server)")
    return path


def optional(variable: str, *programs: str) -> str:
    """The path of a program that CI need not have: in a variable, or the first that is installed; skips visibly without.

    :param variable: one of ``tests.runner.OPTIONAL``.
    """
    found = next(filter(None, map(shutil.which, (os.environ.get(variable, ""), *programs))), None)
    if found is None:
        raise SkipTest(f"{variable} names no program, and there is no {' or '.join(programs)}")
    return found


@contextmanager
def hearing_hang_ups() -> Iterator[None]:
    """Start children within it that hear SIGHUP, also when the tests run under nohup, which passes on that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class Process:
    """A child process whose output is kept; use as a context manager or end it with :meth:`stop`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = list(argv)
        self._output = tempfile.NamedTemporaryFile(prefix="rtunnel-test-", suffix=".log")  # noqa: SIM115
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process = self._start(environ, cwd or tempfile.gettempdir(), pass_fds)

    def _start(self, env: Mapping[str, str], cwd: str, pass_fds: Sequence[int]) -> subprocess.Popen[bytes] | Forked:
        with hearing_hang_ups():
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return Path(self._output.name).read_text(errors="replace")

    @property
    def resident(self) -> int:
        """Resident memory, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the process has no memory")

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until it has printed a text ``count`` times."""

        def printed() -> bool:
            ended = self._process.poll() is not None
            if self.output.count(text) >= count:
                return True
            if ended:
                raise AssertionError(f"{self.argv} ended with {self._process.returncode}:\n{self.output}")
            return False

        try:
            wait_until(printed, f"{text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\noutput of {self.argv}:\n{self.output}") from None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it as SIGSTOP does, so that all that is sent to it meanwhile is there when it goes on."""
        self.send(signal.SIGSTOP)
        try:
            # "PID (name) T ..."
            wait_until(lambda: Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it stops")
            yield
        finally:
            self.send(signal.SIGCONT)

    def wait(self, patience: float = TIMEOUT) -> int:
        """Wait for its end and return the exit status."""
        return self._process.wait(patience)

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        self._output.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Warm(Process):
    """``python -m rtunnel``, whose modules are imported already."""

    def _start(self, env: Mapping[str, str], cwd: str, pass_fds: Sequence[int]) -> Forked:
        with open(os.devnull) as nothing:
            output = self._output.fileno()
            return Forked(self.argv[3:], env=env, cwd=cwd, descriptors=(nothing.fileno(), output, output))


def rtunnel(*arguments: str, env: Mapping[str, str] | None = None, cwd: str | None = None, anew: bool = False) -> Process:
    """Start ``rtunnel`` with arguments, from the source tree or wherever it is installed.

    :param anew: start Python, too, and do not fork as in :mod:`tests.support.warm`: for what happens then, and for a command line
        in the list of processes.
    """
    return (Process if anew else _Warm)([sys.executable, "-m", "rtunnel", *arguments], env=env, cwd=cwd)


def run_rtunnel(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: str | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command of ``rtunnel`` to its end, as :func:`rtunnel` starts it.

    :param env: more variables.
    :param typed: its standard input.
    """
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
    with ExitStack() as files:
        said: list[IO[str]] = [files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
        said[0].write(typed)
        said[0].seek(0)
        descriptors = [file.fileno() for file in said]
        process = Forked(arguments, env=environ, cwd=cwd or tempfile.gettempdir(), descriptors=descriptors)
        try:
            status = process.wait(TIMEOUT)
        finally:
            process.kill()
        for file in said:
            file.seek(0)
        return subprocess.CompletedProcess(process.args, status, said[1].read(), said[2].read())


def gost_binary() -> str:
    """The path in RTUNNEL_TEST_GOST; skips visibly without."""
    binary = os.environ.get("RTUNNEL_TEST_GOST")
    if not binary:
        raise SkipTest("RTUNNEL_TEST_GOST names no gost binary")
    return binary


def gost(*arguments: str) -> Process:
    """Start a real gost; skips visibly when there is none."""
    return Process([gost_binary(), *arguments])


class Nginx:
    """A real nginx with one http block, its files in a directory of its own.

    :param main: directives outside of the http block.
    """

    def __init__(self, http: str, main: str = "") -> None:
        binary = needed("nginx")
        self._main = main
        self._directory = tempfile.TemporaryDirectory(prefix="rtunnel-nginx-")
        home = self._directory.name
        # a worker that drops its privileges must still reach its own files
        os.chmod(home, 0o755)
        configuration = self._write(http)
        self._process = Process([binary, "-p", home, "-c", str(configuration), "-e", "stderr"])

    def _write(self, http: str) -> Path:
        home = self._directory.name
        configuration = Path(home) / "nginx.conf"
        temporary = "\n".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        configuration.write_text(
            f"daemon off; worker_processes 1; pid {home}/pid; error_log stderr; {self._main}\n"
            "events { worker_connections 1024; }\n"
            f"http {{ access_log off; {temporary}\n{http}\n}}\n"
        )
        return configuration

    def change(self, http: str) -> None:
        """Reload it with another http block; old workers finish what they have."""
        self._write(http)
        self._process.send(signal.SIGHUP)

    def ready(self, port: int) -> Nginx:
        """Wait until it listens."""
        wait_until(lambda: listening(port), f"nginx on port {port}\n{self._process.output}")
        return self

    @property
    def output(self) -> str:
        return self._process.output

    def send(self, number: signal.Signals) -> None:
        """Send its master a signal, e.g. SIGHUP for a reload."""
        self._process.send(number)

    def stop(self) -> None:
        self._process.stop()
        self._directory.cleanup()
