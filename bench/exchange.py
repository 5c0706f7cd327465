"""Exchanges of HTTP through the server's code alone: no sockets, no client, no target. Timed by :mod:`bench.micro`.

What it leaves out is what the kernel and the reactor cost; docs/performance.md adds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITransport
from twisted.internet.task import Clock
from zope.interface import implementer

from rtunnel.ops.stats import ServerStats
from rtunnel.reactor_types import IReactorTurns
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.entrypoint.http import Entrypoint
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.smux import DATA, Session

#: Visitors that ask in the same turn.
VISITORS = 32

_TUNNEL = UUID("5f3a9f60-6d2c-4b8e-9a51-0c7c2f6f0001")
_REQUEST = b"GET /small/%d HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: wrk\r\nAccept: */*\r\nX-Visit: %d\r\n\r\n"
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 15\r\nLast-Modified: Mon, 23 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "6742-%x"\r\nAccept-Ranges: bytes\r\n\r\nhello, visitor\n'
)


@implementer(ITransport)
class _Transport:
    """Keeps what is written; everything else that is asked of a transport does nothing."""

    disconnecting = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.written.append(b"".join(data))

    def take(self) -> bytes:
        written, self.written = self.written, []
        return b"".join(written)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@implementer(IReactorTurns)
class _Turns:
    """A reactor whose turn ends when it is told to."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []
        self._clock: Any = Clock()

    def end_of_turn(self, call: Callable[[], None]) -> None:
        self._ends.append(call)

    def end(self) -> None:
        while self._ends:
            ends, self._ends = self._ends, []
            for call in ends:
                call()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


class Exchanges:
    """:data:`VISITORS` kept-alive visitors of a server with one connector, whose client and target are played here."""

    def __init__(self) -> None:
        turns: Any = _Turns()
        self._turns = turns
        registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        link = self._link = Link(Session(opens=True), reactor=turns, keepalive=Keepalive(0), on_lost=lambda *_: None, peer="bench")
        pool = UpstreamPool(link, limits=HeadLimits(), idle=30.0)
        registry.add(Connector(id=uuid4(), tunnel=_TUNNEL, weight=1, link=pool))
        self._below = _Transport()
        link.makeConnection(self._below)  # type: ignore[no-untyped-call]
        self._far = Session(opens=False)
        entrypoint = Entrypoint(
            settings=HttpSettings(),
            table=IngressTable([IngressRule("bench.local", _TUNNEL)]),
            registry=registry,
            deadlines=Deadlines(turns),
            stats=ServerStats(),
        )
        self._visitors = []
        for _ in range(VISITORS):
            visitor, transport = entrypoint.buildProtocol(None), _Transport()
            visitor.makeConnection(transport)  # type: ignore[no-untyped-call]
            self._visitors.append((visitor, transport))
        self._number = 0

    def turn(self) -> float:
        """One exchange for each visitor.

        :returns: the seconds that the server's code took.
        """
        self._number += VISITORS
        requests = [_REQUEST % (number, number) for number in range(self._number, self._number + VISITORS)]
        start = perf_counter()
        for (visitor, _), request in zip(self._visitors, requests, strict=True):
            visitor.dataReceived(request)
        self._turns.end()
        taken = perf_counter() - start
        for stream in {stream for kind, stream, _ in self._far.receive(self._below.take()) if kind == DATA}:
            self._far.send(stream, _ANSWER % (self._number + stream))
        answers = self._far.take_output()
        start = perf_counter()
        self._link.dataReceived(answers)
        self._turns.end()
        taken += perf_counter() - start
        for _, transport in self._visitors:
            if not transport.take().endswith(b"hello, visitor\n"):
                raise RuntimeError("a visitor got no answer")
        return taken
