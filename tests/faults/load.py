"""Visitors whose every request is counted: so many a second, whatever became of the ones before.

Each request has a connection of its own, so that none inherits the trouble of another.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Event, Thread
from time import monotonic
from types import MappingProxyType

from attrs import define, frozen

from tests.support.processes import LOOPBACK

__all__ = ["BODY", "Load", "Request", "Tally", "fetch"]

BODY = b"x" * 1000
SLOW = 1.0
"""A request that takes longer than this is a trouble for its visitor, even if it is answered."""


@frozen
class Request:
    """One request that is over.

    :param failure: what its visitor saw instead of an answer with 200; empty when it was answered.
    :param began: when it was sent, in seconds of the monotonic clock.
    :param waited: seconds until its end.
    :param body: of the answer.
    """

    method: str
    failure: str
    began: float
    waited: float
    body: bytes = b""


async def fetch(
    port: int,
    host: str,
    method: str = "GET",
    path: str = "/",
    *,
    patience: float = 30.0,
    tls: bool = False,
    fields: Mapping[str, str] = MappingProxyType({}),
) -> Request:
    """Send one request and read its answer to the end.

    :param tls: speak TLS, and take any certificate.
    :param fields: more header fields.
    """
    began, body = monotonic(), b""
    try:
        async with asyncio.timeout(patience):
            body = await _exchange(port, host, method, path, tls, fields)
        failure = ""
    except TimeoutError:
        failure = "timeout"
    except ConnectionRefusedError:
        failure = "refused"
    except (OSError, EOFError):
        failure = "cut"
    except _BadStatus as status:
        failure = str(status)
    return Request(method, failure, began, monotonic() - began, body)


_ANY = ssl.create_default_context()
_ANY.check_hostname, _ANY.verify_mode = False, ssl.CERT_NONE


class _BadStatus(Exception):
    """A status other than 200."""


async def _exchange(port: int, host: str, method: str, path: str, tls: bool, fields: Mapping[str, str]) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=_ANY if tls else None)
    try:
        body = BODY if method in ("POST", "PUT") else b""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        writer.write("\r\n".join([*lines, "\r\n"]).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = head.split(" ", 2)[1]
        if status != "200":
            raise _BadStatus(status)
        (size,) = (int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        return await reader.readexactly(size)
    finally:
        writer.close()


@define
class Tally:
    """What became of some requests.

    :ivar failures: how many of each kind, a kind being a method and what its visitor saw.
    :ivar recovery: seconds from the fault to the last request that failed or was slow; after it all were answered at once.
    :ivar longest: the longest wait, in seconds.
    """

    sent: int
    failures: Counter[str]
    recovery: float
    longest: float

    @classmethod
    def of(cls, requests: Sequence[Request], since: float) -> Tally:
        """Count requests.

        :param since: when the fault began.
        """
        troubled = [request for request in requests if request.failure or request.waited > SLOW]
        return cls(
            sent=len(requests),
            failures=Counter(f"{request.method} {request.failure}" for request in requests if request.failure),
            recovery=max([0.0, *(request.began - since for request in troubled)]),
            longest=max([0.0, *(request.waited for request in requests)]),
        )

    @property
    def failed(self) -> int:
        return self.failures.total()


class Load:
    """Visitors that send GET and POST in turn until they are stopped; a thread with a loop of its own.

    :param port: the entrypoint, or the Ingress before it.
    :param host: what they ask for.
    :param rate: times a second.
    :param burst: requests at each of them.
    :param patience: seconds that a visitor waits for an answer.
    :param methods: taken in turn.
    :param tls: whether visitors speak TLS.
    :ivar requests: those that are over.
    """

    def __init__(
        self,
        port: int,
        host: str,
        *,
        rate: float = 20.0,
        burst: int = 1,
        patience: float = 30.0,
        methods: Sequence[str] = ("GET", "POST"),
        tls: bool = False,
    ) -> None:
        self._port, self._host, self._tls = port, host, tls
        self._rate, self._burst, self._patience, self._methods = rate, burst, patience, methods
        self._over = Event()
        self.requests: list[Request] = []
        self._thread = Thread(target=lambda: asyncio.run(self._send()), daemon=True)
        self._thread.start()

    def served_by(self, who: str) -> bool:
        """Whether the last request was answered by a service with this name."""
        return any(request.body == who.encode() for request in self.requests[-4:])

    def stop(self) -> list[Request]:
        """Send no more, wait for what is on its way, and return all requests."""
        self._over.set()
        self._thread.join()
        return self.requests

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        waiting: set[asyncio.Task[None]] = set()
        began, ticks = loop.time(), 0
        while not self._over.is_set():
            for number in range(self._burst):
                method = self._methods[(ticks * self._burst + number) % len(self._methods)]
                task = loop.create_task(self._one(method))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            ticks += 1
            await asyncio.sleep(max(0.0, began + ticks / self._rate - loop.time()))
        if waiting:
            await asyncio.wait(waiting)

    async def _one(self, method: str) -> None:
        self.requests.append(await fetch(self._port, self._host, method, patience=self._patience, tls=self._tls))
