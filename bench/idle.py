"""Visitors that asked once and stay."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.proc import LOOPBACK, BenchError, rss_bytes
from bench.stage import HOST

_BATCH = 64
_ADDRESSES = 16
"""Addresses of loopback that they come from: a server gives one address a part of its connections."""


class IdleVisitors:
    """Kept-alive connections, each of which made one request and got its answer. A context manager that closes them.

    :param port: the entrypoint.
    :param count: how many.
    :raises BenchError: when one of them got no proper answer.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []
        for start in range(0, count, _BATCH):
            self._open(range(start, min(start + _BATCH, count)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def still_open(self) -> int:
        """How many connections the other side has not closed meanwhile."""
        return sum(1 for peer in self._sockets if _is_open(peer))

    def close(self) -> None:
        """Close them all."""
        for peer in self._sockets:
            peer.close()
        self._sockets.clear()

    def _open(self, numbers: range) -> None:
        opened = []
        try:
            for number in numbers:
                source = (f"127.0.0.{1 + number % _ADDRESSES}", 0)
                peer = socket.create_connection((LOOPBACK, self._port), timeout=20, source_address=source)
                opened.append(peer)
                peer.sendall(
                    f"GET /small/{number} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: idle\r\nX-Visit: {number}\r\n\r\n".encode()
                )
            for peer in opened:
                _read_answer(peer)
        except OSError as error:
            raise BenchError(f"idle visitor {len(self._sockets)}: {error}") from None
        finally:
            self._sockets.extend(opened)


def affordable(visitors: int) -> int:
    """As many of the visitors as file descriptors allow: some systems spend two on each in one process."""
    return min(visitors, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 600) // 2)


def _read_answer(peer: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(peer)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"idle visitor was answered {head[:40]!r}")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not lengths:
        raise BenchError("idle visitor got an answer without Content-Length")
    wanted = int(lengths[0].partition(b":")[2])
    while len(body) < wanted:
        body += _some(peer)


def _some(peer: socket.socket) -> bytes:
    data = peer.recv(65536)
    if not data:
        raise BenchError("idle visitor's connection was closed")
    return data


def _is_open(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def settled_rss(pids: Sequence[int], seconds: float = 8.0) -> int:
    """Resident bytes once they have come to rest: two readings a second apart within 0.5 %, or the time is over."""
    end = time.monotonic() + seconds
    last = rss_bytes(pids)
    while time.monotonic() < end:
        time.sleep(1.0)
        now = rss_bytes(pids)
        if abs(now - last) <= last * 0.005:
            return now
        last = now
    return last
