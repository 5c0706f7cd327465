"""Visitors of each kind at the same time, until they are stopped."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Event, Thread
from types import MappingProxyType
from typing import Any

from tests.soak.site import TLS, WEB, Site
from tests.support.processes import LOOPBACK

__all__ = ["KINDS", "Traffic"]

PATIENCE = 30.0
PAUSE = 0.02
"""Seconds between two visits of one visitor."""
AFTER_FAILURE = 0.5
LARGE = 2_000_000
SMALL = 100_000

_ANY = ssl.create_default_context()
_ANY.check_hostname, _ANY.verify_mode = False, ssl.CERT_NONE


class Traffic:
    """All visitors; a thread with a loop of its own.

    :param number: of the first request of HTTP.
    :ivar outcomes: how visits ended, by kind and by what their visitor saw.
    :ivar requests: the IDs of the requests of HTTP that were sent.
    """

    def __init__(self, site: Site, number: int = 0) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.requests: set[str] = set()
        self._entrypoint, self._local = site.entrypoint, site.local
        self._number = number
        self._over = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._visit()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start no more visits, and wait for those that there are."""
        self._over.set()
        self._thread.join()

    async def _visit(self) -> None:
        await asyncio.gather(*(self._visitor(kind, visit) for kind, (number, visit) in KINDS.items() for _ in range(number)))

    async def _visitor(self, kind: str, visit: Callable[[Traffic], Awaitable[None]]) -> None:
        while not self._over.is_set():
            try:
                async with asyncio.timeout(PATIENCE):
                    await visit(self)
                outcome = "ok"
            except (TimeoutError, OSError, EOFError, _Wrong) as error:
                outcome = str(error) if isinstance(error, _Wrong) else type(error).__name__
            self.outcomes[kind, outcome] += 1
            await asyncio.sleep(PAUSE if outcome == "ok" else AFTER_FAILURE)

    # -- the kinds

    async def get(self) -> None:
        if await self._request("GET", "/") not in (b"pod", b"laptop"):
            raise _Wrong("another answer")

    async def post(self) -> None:
        await self._digest(1000)

    async def upload(self) -> None:
        await self._digest(LARGE)

    async def download(self) -> None:
        if len(await self._request("GET", f"/down/{LARGE}")) != LARGE:
            raise _Wrong("another answer")

    async def upgrade(self) -> None:
        async with _connected(self._entrypoint) as (reader, writer):
            writer.write(self._head("GET", "/", "Connection: upgrade", "Upgrade: echo"))
            _checked(await reader.readuntil(b"\r\n\r\n"), "101")
            await _echoed(reader, writer)

    async def tls(self) -> None:
        async with _connected(self._entrypoint, ssl=_ANY, server_hostname=TLS) as (reader, writer):
            writer.write(f"GET / HTTP/1.1\r\nHost: {TLS}\r\nConnection: close\r\n\r\n".encode())
            _checked(await reader.readuntil(b"\r\n\r\n"), "200")
            await reader.read()

    async def visit(self) -> None:
        async with _connected(self._local) as (reader, writer):
            await _echoed(reader, writer)

    async def datagram(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
            visitor.setblocking(False)
            visitor.connect((LOOPBACK, self._local))
            await loop.sock_sendall(visitor, b"anybody there?")
            async with asyncio.timeout(2):
                await loop.sock_recv(visitor, 100)
        # each is an association of its own, which is kept for a while
        await asyncio.sleep(0.2)

    async def _digest(self, size: int) -> None:
        body = b"soak" * (size // 4)
        answer = await self._request("POST", "/", body)
        if answer.decode() != f"{size} {hashlib.sha256(body).hexdigest()}":
            raise _Wrong("another answer")

    async def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        async with _connected(self._entrypoint) as (reader, writer):
            writer.write(self._head(method, path, "Connection: close", f"Content-Length: {len(body)}") + body)
            head = await reader.readuntil(b"\r\n\r\n")
            _checked(head, "200")
            (size,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return await reader.readexactly(size)

    def _head(self, method: str, path: str, *fields: str) -> bytes:
        request = f"soak-{self._number + len(self.requests)}"
        self.requests.add(request)
        return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {WEB}", f"X-Request-Id: {request}", *fields, "\r\n"]).encode()


@asynccontextmanager
async def _connected(port: int, **tls: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection; after a failure it is cut, since closing would wait until everything is sent."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, **tls)
    try:
        yield reader, writer
    except BaseException:
        writer.transport.abort()
        raise
    writer.close()


class _Wrong(Exception):
    """Not what was to be answered."""


def _checked(head: bytes, status: str) -> None:
    if (answered := head.split(b" ", 2)[1].decode()) != status:
        raise _Wrong(answered)


async def _echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = b"echo" * (SMALL // 4)
    writer.write(data)
    if await reader.readexactly(len(data)) != data:
        raise _Wrong("another answer")


KINDS = MappingProxyType(
    {
        "GET": (4, Traffic.get),
        "POST": (2, Traffic.post),
        "upload of 2 MB": (1, Traffic.upload),
        "download of 2 MB": (1, Traffic.download),
        "upgrade": (2, Traffic.upgrade),
        "TLS passthrough": (2, Traffic.tls),
        "visit": (2, Traffic.visit),
        "UDP": (1, Traffic.datagram),
    }
)
"""How many visitors of each kind there are, and what one visit is."""
