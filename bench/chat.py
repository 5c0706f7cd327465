"""Visitors with WebSockets, each with one message under way: ``python -m bench.chat PORT CONNECTIONS SECONDS``.

Prints one line of JSON: messages echoed, seconds, and the 50th and 99th percentile of the round trip in milliseconds.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.echo import unmask
from bench.proc import LOOPBACK, BenchError
from bench.service import project_environment
from bench.stage import HOST

#: Bytes of payload of each message.
PAYLOAD = 128


@dataclass(frozen=True, slots=True)
class Chatted:
    """What the visitors saw; round trips in milliseconds."""

    messages: int
    seconds: float
    p50: float
    p99: float


def chat(port: int, connections: int, seconds: float) -> Chatted:
    """Run the visitors in a process of their own.

    :raises BenchError: when a connection was refused or lost.
    """
    argv = [sys.executable, "-m", "bench.chat", str(port), str(connections), str(seconds)]
    env = {**os.environ, **project_environment()}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=seconds + 60, check=False)
    if done.returncode:
        raise BenchError(f"chat: {done.stderr.strip().splitlines()[-1]}")
    return Chatted(**json.loads(done.stdout))


def main(port: int, connections: int, seconds: float) -> None:
    """Chat, and print what was seen."""
    payload = os.urandom(PAYLOAD)
    key = os.urandom(4)
    message = b"\x82\xfe" + PAYLOAD.to_bytes(2, "big") + key + unmask(key, payload)
    echo = b"\x82\x7e" + PAYLOAD.to_bytes(2, "big") + payload
    sockets = {peer.fileno(): peer for peer in (_upgrade(port, number) for number in range(connections))}
    trips, elapsed = _exchange(sockets, message, echo, seconds)
    trips.sort()
    print(
        json.dumps(
            {
                "messages": len(trips),
                "seconds": elapsed,
                "p50": trips[len(trips) // 2] * 1e3,
                "p99": trips[len(trips) * 99 // 100] * 1e3,
            }
        )
    )


def _upgrade(port: int, number: int) -> socket.socket:
    peer = socket.create_connection((LOOPBACK, port), timeout=10)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    peer.sendall(
        f"GET /chat/{number} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode("ascii")
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = peer.recv(1)
        if not data:
            break
        head += data
    if not head.startswith(b"HTTP/1.1 101"):
        raise BenchError(f"upgrade refused: {head[:60]!r}")
    peer.setblocking(False)
    return peer


def _exchange(sockets: dict[int, socket.socket], message: bytes, echo: bytes, seconds: float) -> tuple[list[float], float]:
    """Send, await the echo, send again, on every socket; the round trips in seconds and the time it all took."""
    poll = select.epoll()
    clock = time.perf_counter
    start = clock()
    sent, received, trips = dict.fromkeys(sockets, start), dict.fromkeys(sockets, b""), list[float]()
    for number, peer in sockets.items():
        poll.register(number, select.EPOLLIN)
        peer.send(message)
    while (now := clock()) - start < seconds:
        for number, _ in poll.poll(1.0):
            data = received[number] + sockets[number].recv(65536)
            if len(data) < len(echo):
                if not data:
                    raise BenchError("connection lost")
                received[number] = data
                continue
            if data != echo:
                raise BenchError("the echo differs from the message")
            received[number] = b""
            now = clock()
            trips.append(now - sent[number])
            sent[number] = now
            sockets[number].send(message)
    return trips, now - start


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
