"""Connections from a laptop to what a pod reaches: ``python -m bench.reach``.

Server, client in the pod, ``rtunnel reach``, and for comparison ``rtunnel visitor``, chisel (``--chisel BINARY``) and no tunnel at
all, over loopback. Printed are, for SOCKS5, a forward, a private tunnel, the SOCKS5 of chisel and nothing between: connections a
second, each of which carries a byte there and back; the processor time that each process takes for one; and bulk in megabytes a
second, from the pod and to it. The first is what the machine gives when five processes share it; the second says more on a busy
one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from bench.proc import LOOPBACK, free_port, is_listening, raise_file_limit, wait_until
from bench.reach_target import BLOCK

__all__ = ["main"]

HOST = "shop.local"
TICKS = os.sysconf("SC_CLK_TCK")


class Parts:
    """The processes, by name, and the ports at which a visitor may connect."""

    def __init__(self, stack: ExitStack, chisel: str | None) -> None:
        taken: set[int] = set()
        self.target, self.tunnel, self.entrypoint, self.socks, self.forward, self.private = (free_port(taken) for _ in range(6))
        self._stack = stack
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "permissions").write_text("bind,visit,reach * *\n")
        tunnel = str(uuid4())
        self._start("target", self.target, "-m", "bench.reach_target", str(self.target))
        server = ("--listen", f"tcp://{LOOPBACK}:{self.tunnel}", "--entrypoint", f"{LOOPBACK}:{self.entrypoint}")
        rules = ("--route", f"{HOST}=${tunnel}", "--auth-file", str(folder / "auth"), "--permissions", str(folder / "permissions"))
        (folder / "auth").write_text("bench:swordfish\n")
        self._rtunnel("server", self.tunnel, "server", *server, *rules)
        to_server = ("--server", f"tcp://{LOOPBACK}:{self.tunnel}", "--tunnel", tunnel, "--auth-file", str(folder / "auth"))
        target = f"{LOOPBACK}:{self.target}"
        self._rtunnel("pod", None, "client", *to_server, "--target", target, "--reach", target)
        forward = ("--forward", f"{self.forward}:{target}", "--proxy", f"{LOOPBACK}:{self.socks}")
        self._rtunnel("reach", self.socks, "reach", HOST, *to_server, *forward)
        self.chisel = free_port(taken) if chisel else 0
        if chisel:
            port = free_port(taken)
            self._run("chisel server", port, chisel, "server", "--host", LOOPBACK, "--port", str(port), "--socks5")
            socks = f"{LOOPBACK}:{self.chisel}:socks"
            self._run("chisel client", self.chisel, chisel, "client", f"http://{LOOPBACK}:{port}", socks)
        self._rtunnel("visitor", self.private, "visitor", *to_server, "--listen", f"{LOOPBACK}:{self.private}", "--to", HOST)

    def _rtunnel(self, name: str, port: int | None, *arguments: str) -> None:
        self._start(name, port, "-m", "rtunnel", *arguments)

    def _start(self, name: str, port: int | None, *arguments: str) -> None:
        self._run(name, port, sys.executable, *arguments)

    def _run(self, name: str, port: int | None, *argv: str) -> None:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        self.processes[name] = process
        if port is not None:
            wait_until(lambda: is_listening(port), f"{name} listens")

    def spent(self) -> dict[str, float]:
        """Seconds of processor time of each process so far."""
        return {name: _seconds(process.pid) for name, process in self.processes.items()}


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# -- visitors


async def _connect(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, by SOCKS5 if there is a request for it."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=1 << 20)
    if request:
        writer.write(request)
        answer = await reader.readexactly(12)
        if answer[3]:
            raise OSError(f"refused with {answer[3]}")
    return reader, writer


def _socks(port: int) -> bytes:
    return b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2)


async def _connections(port: int, request: bytes, count: int, at_once: int) -> None:
    left = iter(range(count))

    async def visitor() -> None:
        for _ in left:
            reader, writer = await _connect(port, request)
            writer.write(b"x")
            await reader.readexactly(1)
            writer.close()

    await asyncio.gather(*(visitor() for _ in range(at_once)))


async def _down(port: int, request: bytes, size: int) -> None:
    reader, writer = await _connect(port, request)
    writer.write(b"%d\n" % size)
    received = 0
    # not to the end of the stream, which chisel does not pass on
    while received < size and (data := await reader.read(1 << 20)):
        received += len(data)
    writer.close()
    if received != size:
        raise OSError(f"{received} of {size} bytes came")


async def _up(port: int, request: bytes, size: int) -> None:
    reader, writer = await _connect(port, request)
    writer.write(b"-%d\n" % size)
    left = size
    while left:
        block = BLOCK[:left]
        writer.write(block)
        await writer.drain()
        left -= len(block)
    await reader.readexactly(1)
    writer.close()


def _ready(port: int, request: bytes) -> bool:
    try:
        asyncio.run(asyncio.wait_for(_connections(port, request, 1, 1), 5))
    except (OSError, EOFError, TimeoutError):
        return False
    return True


def _measure(parts: Parts, work: Coroutine[Any, Any, None], count: int) -> tuple[float, Mapping[str, float]]:
    """Seconds that some work takes, and the microseconds of processor time of each process for one of ``count``."""
    before, begin = parts.spent(), time.perf_counter()
    asyncio.run(work)
    seconds, after = time.perf_counter() - begin, parts.spent()
    costs = {name: (after[name] - before[name]) / count * 1e6 for name in after}
    return seconds, {name: cost for name, cost in costs.items() if cost >= 1}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it once."""
    parser = argparse.ArgumentParser(prog="python -m bench.reach", description=__doc__)
    parser.add_argument("--chisel", metavar="BINARY", help="compare with chisel (https://github.com/jpillora/chisel)")
    parser.add_argument("--connections", type=int, default=10_000, help="of each way")
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=500, help="of each way")
    options = parser.parse_args(arguments)
    raise_file_limit()
    with ExitStack() as stack:
        parts = Parts(stack, options.chisel)
        ways = {
            "SOCKS5": (parts.socks, _socks(parts.target)),
            "forward": (parts.forward, b""),
            "private tunnel": (parts.private, b""),
            **({"chisel, SOCKS5": (parts.chisel, _socks(parts.target))} if options.chisel else {}),
            "nothing between": (parts.target, b""),
        }
        for name, (port, request) in ways.items():
            wait_until(partial(_ready, port, request), f"{name} works", 60)
            count, size = options.connections, options.megabytes * 1_000_000
            seconds, costs = _measure(parts, _connections(port, request, count, options.at_once), count)
            (down, _), (up, _) = [_measure(parts, bulk(port, request, size), 1) for bulk in (_down, _up)]
            shown = ", ".join(f"{part} {cost:.0f}" for part, cost in costs.items())
            rates = f"bulk {size / down / 1e6:.0f} MB/s down, {size / up / 1e6:.0f} up"
            print(f"{name:<16}{count / seconds:>7.0f} connections/s, us each: {shown}; {rates}", flush=True)


if __name__ == "__main__":
    main()
