"""Thousands of clients that lose their server and come back to the next one: ``python -m bench.herd``.

The clients are rtunnel's own, in a few processes that speak the real protocol over loopback, each with a tunnel of its own. The
server is killed, and started again after a while. Printed are, for the first join and for the return: seconds until all had joined,
how many joined in each half second, what was refused, and the server's peak memory.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from bench.proc import LOOPBACK, BenchError, free_port, is_listening, raise_file_limit, wait_until
from bench.systems.tunnel import PATH

__all__ = ["main"]

FLEETS = 2
"""Processes of clients."""
STEP = 0.5
"""Seconds between two looks at the server."""
PATIENCE = 120.0
"""Seconds in which all must have joined."""


class Server:
    """One run of the server.

    :param clients: how many will join, all from one address: as many as an Ingress may bring.
    """

    def __init__(self, port: int, admin: int, clients: int) -> None:
        self._admin = admin
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "rtunnel", "server", "--direct"),
                f"--listen=ws://{LOOPBACK}:{port}{PATH}",
                f"--admin={LOOPBACK}:{admin}",
                f"--entrypoint={LOOPBACK}:0",
                *(f"--max-{name}={2 * clients}" for name in ("tunnel-connections", "links-per-address")),
                *(f"--max-{name}={clients}" for name in ("handshakes", "handshakes-per-address")),
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_until(lambda: is_listening(port) and is_listening(admin), "the server listens")

    def counts(self, metric: str) -> dict[str, int]:
        """A metric, by the value of its label; what is 0 is left out."""
        with urlopen(f"http://{LOOPBACK}:{self._admin}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        found = re.findall(rf'^{metric}(?:{{\w+="([^"]*)"}})? (\S+)$', text, re.MULTILINE)
        return {label: round(float(count)) for label, count in found if float(count)}

    @property
    def peak_mib(self) -> float:
        """The most memory that it had resident."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if found is None:
            raise BenchError("the server is gone")
        return int(found[1]) / 1024

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


@contextmanager
def _fleets(port: int, clients: int) -> Iterator[None]:
    """The clients; killed at the end."""
    shares = [clients // FLEETS + (number < clients % FLEETS) for number in range(FLEETS)]
    fleets = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.fleet", str(port), str(share), str(1 + sum(shares[:number]))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number, share in enumerate(shares)
    ]
    try:
        yield
    finally:
        for fleet in fleets:
            fleet.kill()
            fleet.wait()


def _watch(server: Server, clients: int, what: str) -> None:
    """Wait until all have joined, and print how they came."""
    begin = time.monotonic()
    joined, steps = 0, []
    while joined < clients:
        if time.monotonic() - begin > PATIENCE:
            raise BenchError(f"only {joined} of {clients} clients joined within {PATIENCE:g} s")
        time.sleep(STEP)
        before, joined = joined, sum(server.counts("rtunnel_server_links_open").values())
        steps.append(joined - before)
    seconds = time.monotonic() - begin
    print(f"{what}: all {clients:,} joined after {seconds:.1f} s; in each half second: {' '.join(map(str, steps))}")
    print(
        f"  refused: {_shown(server.counts('rtunnel_server_refusals_total'))}, limits reached: "
        f"{_shown(server.counts('rtunnel_server_limits_total'))}, peak memory of the server: {server.peak_mib:.0f} MiB",
        flush=True,
    )


def _shown(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in counts.items()) or "none"


def main(arguments: list[str] | None = None, limit: Callable[[], int] = raise_file_limit) -> None:
    """Run it once."""
    parser = argparse.ArgumentParser(prog="python -m bench.herd", description=__doc__)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--down", type=float, default=5.0, help="seconds without a server")
    options = parser.parse_args(arguments)
    if limit() < 2.5 * options.clients:
        raise SystemExit(
            f"{options.clients} clients need a limit of {2.5 * options.clients:.0f} descriptors; raise it with ulimit -n"
        )
    taken: set[int] = set()
    port, admin = free_port(taken), free_port(taken)
    with ExitStack() as stack:
        server = Server(port, admin, options.clients)
        stack.callback(server.kill)
        stack.enter_context(_fleets(port, options.clients))
        _watch(server, options.clients, "first join")
        server.kill()
        time.sleep(options.down)
        server = Server(port, admin, options.clients)
        stack.callback(server.kill)
        _watch(server, options.clients, f"back after {options.down:g} s without a server")


if __name__ == "__main__":
    main()
