"""Visitors beside what a test does: requests at a fixed rate on kept-alive connections, and what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException
from itertools import count
from threading import Event, Lock, Thread
from typing import Self

__all__ = ["Load", "Repeating"]


class Repeating:
    """Threads that go on from the beginning of a context to its end.

    :param works: what each does, until :attr:`_over` is set.
    """

    def __init__(self, *works: Callable[[], None]) -> None:
        self._over = Event()
        self._threads = [Thread(target=work) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Load(Repeating):
    """Visitors that send GET and POST in turns; use as a context manager.

    :param port: where they connect to.
    :param host: the Host of the requests.
    :param rate: requests a second, of all visitors together.
    :param visitors: how many send at the same time.
    :param address: where the port is, by default on loopback.
    """

    def __init__(self, port: int, host: str, *, rate: float = 100.0, visitors: int = 10, address: str = "127.0.0.1") -> None:
        self._address = address
        self._port = port
        self._host = host
        self._pause = visitors / rate
        self._lock = Lock()
        super().__init__(*(partial(self._visit, number / rate) for number in range(visitors)))
        self.failed: list[tuple[float, str]] = []
        """When each other one failed, in seconds of the monotonic clock, and how: method and status, or error."""
        self.succeeded: list[tuple[float, str]] = []
        """When each one that succeeded was answered, and the body."""

    @property
    def total(self) -> int:
        """How many have ended."""
        return len(self.failed) + len(self.succeeded)

    def _visit(self, first: float) -> None:
        connection = HTTPConnection(self._address, self._port, timeout=20)
        due = time.monotonic() + first
        for number in count():
            if self._over.wait(max(0.0, due - time.monotonic())):
                break
            # what was late is not caught up with
            due = max(due + self._pause, time.monotonic())
            method, body = ("GET", None) if number % 2 else ("POST", b"x" * 1000)
            try:
                status, answer = self._ask(connection, method, body, {"Host": self._host})
            except (OSError, HTTPException) as error:
                status, answer = repr(error), ""
                connection.close()
            self._count(method, status, answer)
        connection.close()

    @staticmethod
    def _ask(connection: HTTPConnection, method: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[str, str]:
        connection.request(method, "/", body, dict(headers))
        response = connection.getresponse()
        return str(response.status), response.read().decode(errors="replace")

    def _count(self, method: str, status: str, answer: str) -> None:
        now = time.monotonic()
        with self._lock:
            if status == "200":
                self.succeeded.append((now, answer))
            else:
                self.failed.append((now, f"{method} {status}"))
