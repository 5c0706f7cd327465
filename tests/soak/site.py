"""The processes of a soak: a server, clients of public, TLS and private tunnels, a visitor, and their services."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from urllib.request import urlopen
from uuid import uuid4

from tests.faults.usage import Usage
from tests.support.authority import Authority
from tests.support.processes import LOOPBACK, Process, free_port, listening, python_path, wait_until

__all__ = ["MISHAPS", "Site"]

WEB, TLS, ECHO = "web.local", "tls.local", "echo.svc"
STOPPED = 3.0
"""Seconds that the laptop is stopped: long enough to be avoided."""
IDLE = "2s"
"""How long streams and associations without work are kept; short, so that all is over soon after the last visitor."""

LOOKS = 5
LASTING = ("server", "tls client", "visitor")
"""The processes that nobody kills: what they use is compared."""


class Site:
    """All of it; a context manager that ends it.

    :ivar log: the access log, in JSON.
    :ivar entrypoint: the port of public visitors.
    :ivar local: the visitor's local port, of TCP and of UDP.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rtunnel-soak-")))
        self.log = folder / "access.log"
        self._listen, self.entrypoint, self._admin, self.local = (free_port() for _ in range(4))
        self._web, self._tls, self._echo = (str(uuid4()) for _ in range(3))
        self._ports = {name: free_port() for name in ("pod", "laptop", "tls", "echo")}
        certificate, key = Authority(folder).issue(TLS)
        self._commands: dict[str, list[str]] = {
            "server": [
                *("rtunnel", "server", "--listen", f"{LOOPBACK}:{self._listen}", "--entrypoint", f"{LOOPBACK}:{self.entrypoint}"),
                *("--route", f"{WEB}={self._web}", "--route", f"{TLS}={self._tls}", "--route", f"{ECHO}=${self._echo}"),
                *("--admin", f"{LOOPBACK}:{self._admin}", "--access-log", str(self.log), "--access-log-format", "json"),
                *("--pool-idle", IDLE, "--trusted-proxy", f"{LOOPBACK}/32"),
            ],
            "pod": self._client(self._web, "pod"),
            "laptop": self._client(self._web, "laptop"),
            "tls client": self._client(self._tls, "tls"),
            "echo client": [
                *self._client(self._echo, "echo"),
                "--target",
                f"udp://{LOOPBACK}:{self._ports['echo']}",
                "--udp-idle",
                IDLE,
            ],
            "visitor": [
                *("rtunnel", "visitor", "--server", f"{LOOPBACK}:{self._listen}", "--tunnel", self._echo, "--udp-idle", IDLE),
                *("--listen", f"{LOOPBACK}:{self.local}", "--to", ECHO, "--listen", f"udp://{LOOPBACK}:{self.local}", "--to", ECHO),
            ],
            "pod service": ["tests.faults.target", "pod", str(self._ports["pod"]), "--echo", str(self._ports["echo"])],
            "laptop service": ["tests.faults.target", "laptop", str(self._ports["laptop"])],
            "tls service": ["tests.faults.target", "tls", str(self._ports["tls"]), "--cert", certificate, "--key", key],
        }
        self._processes: dict[str, Process] = {}

    def _client(self, tunnel: str, service: str) -> list[str]:
        where = ["--server", f"{LOOPBACK}:{self._listen}", "--tunnel", tunnel, "--target", f"{LOOPBACK}:{self._ports[service]}"]
        # a client that was killed comes back at once, so that the next mishap finds it
        return ["rtunnel", "client", *where, "--backoff-min", "100ms", "--backoff-max", "1s"]

    def __enter__(self) -> Site:
        try:
            for name in self._commands:
                self.start(name)
                if name == "server":
                    wait_until(lambda: listening(self.entrypoint), "the server listens")
            self.complete()
            wait_until(lambda: listening(self.local), "the visitor listens")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start(self, name: str) -> None:
        """Start one of the processes, for the first time or again."""
        argv = [sys.executable, "-m", *self._commands[name]]
        self._processes[name] = self._stack.enter_context(Process(argv, env={"PYTHONPATH": python_path()}))

    def end(self, name: str, number: signal.Signals) -> None:
        """End one of the processes by a signal, and start it again."""
        self._processes[name].send(number)
        self._processes[name].wait()
        self.start(name)

    def pause(self, name: str) -> None:
        """Stop one of the processes for a while."""
        process = self._processes[name]
        process.send(signal.SIGSTOP)
        sleep(STOPPED)
        process.send(signal.SIGCONT)

    def usage(self) -> dict[str, Usage]:
        """What the processes that nobody kills use now: the least of a second, in which what was asked last is closed."""
        looks: list[dict[str, Usage]] = []
        for _ in range(LOOKS):
            looks.append({name: Usage.of(self._processes[name].pid) for name in LASTING})
            sleep(1 / LOOKS)
        return {name: min((look[name] for look in looks), key=lambda usage: usage.descriptors) for name in LASTING}

    def metrics(self) -> list[str]:
        """The samples of the server's metrics."""
        with urlopen(f"http://{LOOPBACK}:{self._admin}/metrics", timeout=10) as answer:
            return [line for line in answer.read().decode().splitlines() if not line.startswith("#")]

    def metric(self, name: str) -> float:
        """The sum of one metric over its labels."""
        return sum(float(line.rpartition(" ")[2]) for line in self.metrics() if line.partition(" ")[0].partition("{")[0] == name)

    def complete(self) -> None:
        """Wait until every client has joined."""
        wait_until(lambda: self.metric("rtunnel_server_connectors") == CONNECTORS, "all clients have joined", 60)

    def settle(self) -> None:
        """Wait until nobody visits, nothing is open, and every client is there."""
        for name in ("rtunnel_server_visitors_open", "rtunnel_server_visits_open", "rtunnel_server_streams_open"):
            wait_until(lambda name=name: self.metric(name) == 0, f"{name} is 0", 60)  # type: ignore[misc]
        self.complete()


CONNECTORS = 5
"""Pod, laptop, TLS, and the private tunnel's for TCP and UDP."""

MISHAPS: Sequence[Callable[[Site], None]] = (
    lambda site: site.end("laptop", signal.SIGKILL),
    lambda site: site.end("laptop service", signal.SIGKILL),
    lambda site: site.end("echo client", signal.SIGKILL),
    lambda site: site.end("laptop", signal.SIGTERM),
    lambda site: site.end("pod", signal.SIGTERM),
    lambda site: site.pause("laptop"),
    lambda site: site.end("tls service", signal.SIGTERM),
    lambda site: site.end("pod", signal.SIGKILL),
)
"""What happens, one after the other."""
