"""The clients: curl, httpx, Node.js' fetch and Go's net/http, each with five connections that are kept alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any, Final, Protocol
from unittest import SkipTest

from attrs import frozen

from tests.astray.heads import HOST, Head
from tests.support.processes import needed, optional

__all__ = ["CLIENTS", "Client", "Result"]

PROGRAMS: Final = Path(__file__).parent / "programs"
CONNECTIONS: Final = 5
QUEUED: Final = 2 * CONNECTIONS
"""Requests that a program has at a time."""
PER_CURL: Final = 50
"""Requests of one curl, over one connection."""
DELAY: Final = 0.5
"""Seconds that it may take until a line of curl is read."""


@frozen
class Result:
    """What came of a request.

    :ivar start: when it was sent, or somewhat earlier; seconds of the epoch.
    :ivar end: when its response had come, or somewhat later.
    :ivar status: 0 without a response.
    :ivar name: who answered; without a response the error.
    """

    client: str
    head: Head
    start: float
    end: float
    status: int
    name: str


Note = Callable[[Result], None]


class Client(Protocol):
    """Sends requests until there are no more."""

    def run(self, port: int, heads: Iterator[Head], note: Note) -> None:
        """Send them.

        :param heads: shared with other clients.
        :param note: called with each result, in any thread.
        """


class Program:
    """A program that reads requests and prints results.

    :param name: for the report.
    :param argv: given a folder, the port and the host, its command line.
    :param repeats: whether it can send a field twice.
    """

    def __init__(self, name: str, argv: Callable[[str, int], list[str]], *, repeats: bool = True) -> None:
        self.name = name
        self._argv = argv
        self._repeats = repeats

    def run(self, port: int, heads: Iterator[Head], note: Note) -> None:
        with tempfile.TemporaryDirectory(prefix="rtunnel-astray-") as folder:
            argv = self._argv(folder, port)
            with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                self._converse(process, heads, note)

    def _converse(self, process: subprocess.Popen[str], heads: Iterator[Head], note: Note) -> None:
        assert process.stdin is not None and process.stdout is not None
        mine = (head for head in heads if self._repeats or not head.repeated)
        asked: list[Head] = []

        def ask(head: Head) -> None:
            line = {"n": len(asked), "method": head.method, "path": head.path, "fields": head.fields}
            asked.append(head)
            process.stdin.write(json.dumps(line) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        for head in islice(mine, QUEUED):
            ask(head)
        for done, line in enumerate(process.stdout, 1):
            found: dict[str, Any] = json.loads(line)
            note(Result(self.name, asked[found["n"]], found["start"], found["end"], found["status"], found["name"]))
            following = next(mine, None)
            if following is not None:
                ask(following)
            elif done == len(asked):
                process.stdin.close()
        assert process.wait(60) == 0, process.args


class Curl:
    """curl, of which each run has one connection."""

    name = "curl"

    def __init__(self, program: str) -> None:
        self._argv = [*_unbuffered(), program, "--silent", "--no-progress-meter", "--config", "-"]

    def run(self, port: int, heads: Iterator[Head], note: Note) -> None:
        def work() -> None:
            while batch := list(islice(heads, PER_CURL)):
                self._send(port, batch, note)

        threads = [Thread(target=work) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, port: int, heads: list[Head], note: Note) -> None:
        config = "next\n".join(_section(port, head) for head in heads)
        start = time.time()
        with subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(config)
            process.stdin.close()
            for head, line in zip(heads, process.stdout, strict=False):
                status, _, name = line.rstrip("\n").partition(" ")
                note(Result(self.name, head, start - DELAY, time.time(), int(status), name))
                start = time.time()
        assert process.returncode is not None


def _section(port: int, head: Head) -> str:
    """A request as curl's configuration."""

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [f"url = {quoted(f'http://127.0.0.1:{port}{head.path}')}", f"request = {head.method}", "output = /dev/null"]
    lines += [f"header = {quoted(f'{name}: {value}')}" for name, value in (("Host", HOST), *head.fields)]
    lines += ['write-out = "%{http_code} %header{x-name}\\n"', "max-time = 60", "path-as-is"]
    if head.method.startswith("P"):
        lines.append('data = "x"')
    return "\n".join(lines) + "\n"


def _unbuffered() -> list[str]:
    return [needed("stdbuf"), "--output=L"]


def _httpx() -> Client:
    try:
        import httpx  # noqa: F401
    except ImportError:
        raise SkipTest("httpx is not installed (pip install 'rtunnel[test]')") from None
    return Program(
        "httpx",
        lambda _, port: [sys.executable, str(PROGRAMS / "httpx_client.py"), f"http://127.0.0.1:{port}", HOST],
    )


def _node() -> Client:
    program = optional("RTUNNEL_TEST_NODE", "node")
    return Program("fetch", lambda _, port: [program, str(PROGRAMS / "fetch.js"), f"http://{HOST}:{port}"], repeats=False)


def _go() -> Client:
    program = optional("RTUNNEL_TEST_GO", "go", "/usr/local/go/bin/go")

    def argv(folder: str, port: int) -> list[str]:
        made = os.path.join(folder, "client")
        subprocess.run([program, "build", "-o", made, str(PROGRAMS / "client.go")], check=True, cwd=folder, timeout=300)
        return [made, f"http://127.0.0.1:{port}", HOST]

    return Program("net/http", argv)


CLIENTS: Final[dict[str, Callable[[], Client]]] = {
    "curl": lambda: Curl(needed("curl")),
    "httpx": _httpx,
    "fetch": _node,
    "net/http": _go,
}
"""Each by its name; raises SkipTest where it is not installed."""
