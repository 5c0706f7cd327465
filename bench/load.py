"""The visitors that others wrote: wrk and curl."""

from __future__ import annotations

import enum
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.proc import LOOPBACK, BenchError
from bench.stage import HOST

_SCRIPT = Path(__file__).with_name("vary.lua")


class Head(enum.Enum):
    """The fields of a request, as ``vary.lua`` names them."""

    #: Four of them: Host, User-Agent, Accept and one that varies.
    PLAIN = "plain"
    #: A browser's, as it reaches an Ingress.
    BROWSER = "browser"
    #: A browser's with what ingress-nginx adds, as it reaches what stands behind an Ingress.
    INGRESS = "ingress"


@dataclass(frozen=True, slots=True)
class Visit:
    """What a wrk visitor does.

    :param connections: how many at once.
    :param path: what it asks for; a number is appended to it, another one for each request.
    :param method: GET, or POST with a body.
    :param body: bytes of body.
    :param close: a new connection for each request (``Connection: close``).
    :param head: which fields its requests have.
    """

    connections: int
    path: str = "/small/"
    method: str = "GET"
    body: int = 0
    close: bool = False
    head: Head = Head.PLAIN


@dataclass(frozen=True, slots=True)
class Visited:
    """What wrk saw. Latencies in milliseconds; ``failed`` connections and ``refused`` requests (status from 400)."""

    requests: int
    seconds: float
    received: int
    p50: float
    p99: float
    failed: int
    refused: int


def visit(port: int, visit: Visit, seconds: float) -> Visited:
    """Run wrk for some seconds, one thread.

    :raises BenchError: when wrk can't be run, or got not one answer.
    """
    argv = ["wrk", "-t1", f"-c{visit.connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s"]
    argv += ["-s", str(_SCRIPT), f"http://{LOOPBACK}:{port}/", "--"]
    argv += [visit.method, visit.path, HOST, str(visit.body), str(int(visit.close)), visit.head.value]
    output = _run(argv, seconds + 30)
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        raise BenchError(f"wrk: {output.strip()[-300:]}")
    seen = json.loads(line)
    if not seen["requests"]:
        raise BenchError("wrk got not one answer")
    return Visited(
        requests=seen["requests"],
        seconds=seen["microseconds"] / 1e6,
        received=seen["bytes"],
        p50=seen["p50"] / 1e3,
        p99=seen["p99"] / 1e3,
        failed=seen["failed"],
        refused=seen["refused"],
    )


def download(port: int, path: str, size: int) -> float:
    """Fetch ``size`` bytes with curl.

    :returns: megabytes (10^6) per second.
    :raises BenchError: when they did not all come.
    """
    return _transfer(["-o", "/dev/null", _url(port, path)], "size_download", size)


def upload(port: int, path: str, file: Path) -> float:
    """Send a file with curl (PUT), until the answer that says it was read.

    :returns: megabytes (10^6) per second.
    :raises BenchError: when it was not all taken.
    """
    # Without Expect: the wait for "100 Continue" is no part of the transfer.
    return _transfer(["-o", "/dev/null", "-H", "Expect:", "-T", str(file), _url(port, path)], "size_upload", None)


class SlowReader:
    """One visitor that reads an endless answer at a limited rate, until :meth:`stop` or its time is over.

    :param rate: bytes per second.
    :param seconds: when it ends by itself.
    """

    def __init__(self, port: int, rate: int, seconds: float) -> None:
        argv = ["curl", "-s", "-o", "/dev/null", "-H", f"Host: {HOST}", "--limit-rate", str(rate)]
        argv += ["--max-time", str(seconds), "-w", "%{speed_download}", _url(port, "/endless/1")]
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def wait(self) -> float:
        """Wait for its end.

        :returns: the rate it got, in megabytes (10^6) per second.
        """
        output, _ = self._child.communicate()
        return float(output) / 1e6

    def stop(self) -> None:
        """End it now, if it still runs."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.communicate()


def _url(port: int, path: str) -> str:
    return f"http://{LOOPBACK}:{port}{path}"


def _transfer(arguments: list[str], counter: str, size: int | None) -> float:
    argv = ["curl", "-sS", "--max-time", "120", "-H", f"Host: {HOST}"]
    argv += ["-w", f"%{{http_code}} %{{{counter}}} %{{time_total}}", *arguments]
    status, moved, seconds = _run(argv, 130).split()
    if status != "200" or (size is not None and int(moved) != size):
        raise BenchError(f"curl: status {status}, {moved} bytes")
    return int(moved) / float(seconds) / 1e6


def _run(argv: list[str], timeout: float) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{argv[0]} did not end within {timeout:g} s") from None
    if done.returncode:
        raise BenchError(f"{argv[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
