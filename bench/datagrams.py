"""Visitors with datagrams, each with a few under way: ``python -m bench.datagrams PORT VISITORS WINDOW SECONDS``.

A visitor sends the next datagram when the echo of an earlier one has come, so the pace is what the system can do. One whose echo
does not come within :data:`PATIENCE` is lost, and makes room for the next. Prints one line of JSON: datagrams echoed, lost,
seconds, and the 50th and 99th percentile of the round trip in milliseconds.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.proc import LOOPBACK, BenchError
from bench.service import project_environment

#: Bytes of each datagram: less than what fits into one packet of Ethernet.
PAYLOAD = 1200

#: Seconds after which an echo does not come any more.
PATIENCE = 1.0

_NUMBER = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Echoed:
    """What the visitors saw; round trips in milliseconds."""

    datagrams: int
    lost: int
    seconds: float
    p50: float
    p99: float


def flood(port: int, visitors: int, window: int, seconds: float) -> Echoed:
    """Run the visitors in a process of their own.

    :raises BenchError: when not one echo came.
    """
    argv = [sys.executable, "-m", "bench.datagrams", str(port), str(visitors), str(window), str(seconds)]
    env = {**os.environ, **project_environment()}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=seconds + 60, check=False)
    if done.returncode:
        raise BenchError(f"datagrams: {done.stderr.strip().splitlines()[-1]}")
    return Echoed(**json.loads(done.stdout))


class Visitor:
    """One address that datagrams come from."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((LOOPBACK, port))
        self.socket.setblocking(False)
        self.trips: list[float] = []
        self.lost = 0
        self._sent: dict[int, float] = {}
        self._number = 0
        self._filling = bytes(PAYLOAD - _NUMBER.size)

    def send(self) -> None:
        """Send the next one."""
        self._number += 1
        self._sent[self._number] = time.perf_counter()
        self.socket.send(_NUMBER.pack(self._number) + self._filling)

    def receive(self) -> None:
        """Take one echo and send the next; one that was given up before is neither."""
        data = self.socket.recv(65536)
        sent = self._sent.pop(_NUMBER.unpack_from(data)[0], None)
        if sent is None:
            return
        if len(data) != PAYLOAD:
            raise BenchError("the echo differs from the datagram")
        self.trips.append(time.perf_counter() - sent)
        self.send()

    def give_up(self, before: float) -> None:
        """Count those as lost that were sent before a time, and send as many."""
        late = [number for number, sent in self._sent.items() if sent < before]
        for number in late:
            del self._sent[number]
            self.lost += 1
            self.send()


def main(port: int, count: int, window: int, seconds: float) -> None:
    """Send and receive, and print what was seen."""
    visitors = {visitor.socket.fileno(): visitor for visitor in (Visitor(port) for _ in range(count))}
    elapsed = _exchange(visitors, window, seconds)
    trips = sorted(trip for visitor in visitors.values() for trip in visitor.trips)
    if not trips:
        raise BenchError("not one echo came")
    seen = Echoed(
        datagrams=len(trips),
        lost=sum(visitor.lost for visitor in visitors.values()),
        seconds=elapsed,
        p50=trips[len(trips) // 2] * 1e3,
        p99=trips[len(trips) * 99 // 100] * 1e3,
    )
    print(json.dumps({name: getattr(seen, name) for name in Echoed.__slots__}))


def _exchange(visitors: dict[int, Visitor], window: int, seconds: float) -> float:
    """Keep so many under way from every visitor; the time it took."""
    poll = select.epoll()
    clock = time.perf_counter
    start = looked = clock()
    for number, visitor in visitors.items():
        poll.register(number, select.EPOLLIN)
        for _ in range(window):
            visitor.send()
    while (now := clock()) - start < seconds:
        for number, _ in poll.poll(0.1):
            visitors[number].receive()
        if now - looked > PATIENCE / 4:
            looked = now
            for visitor in visitors.values():
                visitor.give_up(now - PATIENCE)
    return now - start


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
