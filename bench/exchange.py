"""Exchanges of HTTP through the server's code alone: no sockets, no client, no target. Timed by :mod:`bench.micro`.

``python -m bench.exchange`` times each kind of exchange, in processes of their own that take turns, and prints what it costs beside
a plain one. What it leaves out is what the kernel and the reactor cost; docs/performance.md adds them up.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITransport
from twisted.internet.task import Clock
from zope.interface import implementer

from bench.table import markdown, ratios, spread, summarise
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import FORMATS, Access, AccessLog
from rtunnel.reactor_types import IReactorTurns
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter, session_filters
from rtunnel.routing.policies import Policies, Policy
from rtunnel.routing.sticky import Sticky
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.entrypoint.first_bytes import VisitorFactory
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.health import HealthMonitor
from rtunnel.server.observers.access_log import AccessLogObserver
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.smux import DATA, Session

#: Visitors that ask in the same turn.
VISITORS = 32

_TUNNEL = UUID("5f3a9f60-6d2c-4b8e-9a51-0c7c2f6f0001")
REQUEST = b"GET /small/%(number)d HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: wrk\r\nAccept: */*\r\nX-Visit: %(number)d\r\n\r\n"
#: As ``vary.lua`` has it.
_INGRESS = (
    b"GET /small/%(number)d HTTP/1.1\r\nHost: bench.local\r\nX-Request-ID: 6f0c2b9e41d7a85300c4e1f2%(number)08x\r\n"
    b"X-Real-IP: 198.51.100.%(address)d\r\nX-Forwarded-For: 198.51.100.%(address)d\r\nX-Forwarded-Host: bench.local\r\n"
    b"X-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Scheme: https\r\nX-Scheme: https\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: https://bench.local/small/\r\n"
    b"Cookie: theme=dark; consent=all; _ga=GA1.1.1834592038.1760000000; session=9b1d4e7c2a5f8036%(number)d\r\n"
    b"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 15\r\nLast-Modified: Mon, 23 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "6742-%x"\r\nAccept-Ranges: bytes\r\n\r\nhello, visitor\n'
)

_SECONDS = 1.0
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked, and of what kind of server.

    :param request: with a number and the last part of an address, which vary.
    :param trusted: whether the server believes its visitors' X-Forwarded-*.
    :param log: the format of its access log, None for no log.
    :param clients: that share by weight.
    :param sticky: what keeps a visitor with one of them, if anything does.
    :param filters: of personal intercepts that match none of the requests, each of a client of its own.
    """

    request: bytes = REQUEST
    trusted: bool = False
    log: str | None = None
    filters: tuple[str, ...] = ()
    clients: int = 1
    sticky: str | None = None


def _people(count: int) -> tuple[str, ...]:
    """Filters as people write them."""
    return tuple(f"header:X-User=user-{number}; path^=/api" for number in range(count))


#: By name; the first one is what the others are compared with.
KINDS = {
    "plain": Kind(),
    "as from an Ingress": Kind(_INGRESS, trusted=True),
    "as from an Ingress, not believed": Kind(_INGRESS),
    "plain, text log": Kind(log="text"),
    "plain, JSON log": Kind(log="json"),
    "as from an Ingress, text log": Kind(_INGRESS, trusted=True, log="text"),
    "plain, 2 clients": Kind(clients=2),
    "plain, 2 clients, sticky by header": Kind(clients=2, sticky="header:X-Visit"),
    "plain, 1 session": Kind(filters=tuple(map(str, session_filters("alice")))),
    "plain, 1 filter": Kind(filters=_people(1)),
    "plain, 50 filters": Kind(filters=_people(50)),
    "plain, 1000 filters": Kind(filters=_people(1000)),
    "plain, 50 filters by 50 names": Kind(filters=tuple(f"header:X-User-{number}=me" for number in range(50))),
    "as from an Ingress, 50 filters": Kind(_INGRESS, trusted=True, filters=_people(50)),
}


@implementer(ITransport)
class MemoryTransport:
    """Keeps what is written; everything else that is asked of a transport does nothing."""

    disconnecting = False
    protocol: Any = None

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
class Turns:
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
    """:data:`VISITORS` kept-alive visitors of a server with one connector, whose client and target are played here.

    :ivar heads: what the client got of the last turn.
    :ivar lines: what the last turn left in the access log.
    """

    def __init__(self, kind: Kind = KINDS["plain"]) -> None:
        self._kind = kind
        self.heads: list[bytes] = []
        self.lines: list[str] = []
        turns: Any = Turns()
        self._turns = turns
        self._ended: list[Access] = []
        registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        link = self._link = Link(Session(opens=True), reactor=turns, keepalive=Keepalive(0), on_lost=lambda *_: None, peer="bench")
        pool = UpstreamPool(link, limits=HeadLimits(), idle=30.0)
        for _ in range(kind.clients):
            registry.add(Connector(id=uuid4(), tunnel=_TUNNEL, weight=1, pool=pool))
        for text in kind.filters:
            registry.add(Connector(id=uuid4(), tunnel=_TUNNEL, weight=1, pool=pool, filters=(InterceptFilter.parse(text),)))
        self._below = MemoryTransport()
        link.makeConnection(self._below)
        self._far = Session(opens=False)
        entrypoint = Entrypoint(
            settings=HttpSettings(
                trusted_proxies=(ip_network("127.0.0.1/32"),) if kind.trusted else (),
                sticky=None if kind.sticky is None else Sticky.parse(kind.sticky),
            ),
            policies=Policies((), Policy()),
            table=IngressTable([IngressRule("bench.local", _TUNNEL)]),
            registry=registry,
            deadlines=Deadlines(turns),
            stats=ServerStats(),
            health=HealthMonitor(registry),
            speakers=(HTTP1,),
            observers=() if kind.log is None else (AccessLogObserver(AccessLog(self._ended.append)),),
        )
        self._visitors = []
        for _ in range(VISITORS):
            visitor, transport = VisitorFactory(entrypoint).buildProtocol(None), MemoryTransport()
            transport.protocol = visitor
            visitor.makeConnection(transport)
            self._visitors.append(transport)
        self._number = 0

    def turn(self) -> float:
        """One exchange for each visitor.

        :returns: the seconds that the server's code took.
        """
        self._number += VISITORS
        self.lines.clear()
        numbers = range(self._number, self._number + VISITORS)
        requests = [self._kind.request % {b"number": number, b"address": number % 250} for number in numbers]
        start = perf_counter()
        for transport, request in zip(self._visitors, requests, strict=True):
            transport.protocol.dataReceived(request)
        self._turns.end()
        taken = perf_counter() - start
        arrived = {stream: data for kind, stream, data in self._far.receive(self._below.take()) if kind == DATA}
        self.heads = [bytes(data) for data in arrived.values()]
        for stream, data in arrived.items():
            self._far.consumed(stream, len(data))
            self._far.send(stream, ANSWER % (self._number + stream))
        answers = self._far.take_output()
        start = perf_counter()
        self._link.dataReceived(answers)
        self._turns.end()
        if self._kind.log is not None:
            self.lines = list(map(FORMATS[self._kind.log], self._ended))
            self._ended.clear()
        taken += perf_counter() - start
        for transport in self._visitors:
            if not transport.take().endswith(b"hello, visitor\n"):
                raise RuntimeError("a visitor got no answer")
        if self._kind.log is not None and len(self.lines) != VISITORS:
            raise RuntimeError("an exchange left no line")
        return taken


def microseconds(kind: Kind, seconds: float) -> float:
    """What one exchange costs, measured for some seconds once the code is warm."""
    exchanges = Exchanges(kind)
    for _ in range(200):
        exchanges.turn()
    taken, turns = 0.0, 0
    while taken < seconds:
        taken += exchanges.turn()
        turns += 1
    return taken / turns / VISITORS * 1e6


def main() -> None:
    """Print one kind's microseconds when it is named, else the table of all."""
    if len(sys.argv) > 1:
        print(microseconds(KINDS[sys.argv[1]], _SECONDS))
        return
    figures: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(_ROUNDS):
        for name, series in figures.items():
            argv = [sys.executable, "-m", "bench.exchange", name]
            series.append(float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout))
    plain = next(iter(figures.values()))
    rows = [[name, spread(summarise(series), 2), spread(ratios(series, plain), 2)] for name, series in figures.items()]
    print("\n".join(markdown([f"an exchange, {VISITORS} in a turn", "us", "of a plain one"], rows)))


if __name__ == "__main__":
    main()
