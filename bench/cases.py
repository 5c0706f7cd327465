"""What is measured of every system."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench import load, nginx
from bench.chat import chat
from bench.datagrams import flood
from bench.idle import IdleVisitors, affordable, settled_rss
from bench.load import Head, Visit, Visited, visit
from bench.proc import BenchError, CpuTime, cpu_time
from bench.service import BULK_BYTES, Service
from bench.stage import HOST, INGRESS, SIDES, Stage
from bench.systems.base import ACCESS_LOG, Ability, Setup

#: The values of one measurement, by keys of :data:`bench.metrics.METRICS`.
Values = dict[str, float]

#: Seconds of load before the measured ones: connections made, pools filled, code warm.
WARM_UP = 1.0


@dataclass(frozen=True, slots=True)
class Site:
    """One system that is up, and what measures it.

    :param port: for visitors.
    :param stage: has its processes.
    :param service: what stands behind it.
    :param seconds: how long a load lasts.
    """

    port: int
    stage: Stage
    service: Service
    seconds: float

    def cpu(self) -> dict[str, CpuTime]:
        """Processor time used so far by each side that exists."""
        return {side: cpu_time(self.stage.pids(side)) for side in self.sides()}

    def sides(self) -> list[str]:
        """The sides that this system has."""
        return [side for side in SIDES if self.stage.pids(side)]


class Case(ABC):
    """One thing to measure.

    :param name: for ``--cases`` and JSON.
    :param title: for the report.
    :param needs: what a system must be able to do; others are left out.
    """

    #: Whether only the default systems of the growth group are measured, when none are named.
    growth = False
    #: Whether ``--quick`` measures it.
    quick = False

    def __init__(self, name: str, title: str, needs: Iterable[Ability] = ()) -> None:
        self.name = name
        self.title = title
        self.needs = frozenset(needs)

    def setup(self, service: Service) -> Setup:
        """What it asks of a system."""
        return Setup(targets=service.ports[:1])

    @abstractmethod
    def measure(self, site: Site) -> Values:
        """Measure once.

        :raises BenchError: when the system did not do what was asked.
        """


def per_unit(site: Site, before: dict[str, CpuTime], count: float) -> Values:
    """Processor time since ``before`` of each side that exists, in microseconds for each of ``count``; the kernel's part too."""
    values: Values = {}
    for side, now in site.cpu().items():
        values[f"{side}_us"] = (now.total - before[side].total) / count * 1e6
        values[f"{side}_kernel_us"] = (now.kernel - before[side].kernel) / count * 1e6
    return values


def per_gigabyte(site: Site, before: dict[str, CpuTime], moved: int) -> Values:
    """Processor seconds since ``before`` of each side that exists, for each 10^9 bytes."""
    return {f"{side}_s_per_gb": (now.total - before[side].total) / moved * 1e9 for side, now in site.cpu().items()}


def measured_visit(site: Site, what: Visit) -> tuple[Visited, Values]:
    """Warm up, then one visit with its processor time.

    :raises BenchError: when more than one request in a hundred failed: no speed is worth that.
    """
    visit(site.port, what, WARM_UP)
    before = site.cpu()
    seen = visit(site.port, what, site.seconds)
    values = {"rps": seen.requests / seen.seconds, "p50": seen.p50, "p99": seen.p99}
    values |= per_unit(site, before, seen.requests)
    errors = seen.failed + seen.refused
    if errors > seen.requests / 100:
        raise BenchError(f"{errors} errors in {seen.requests} requests")
    return seen, {**values, "errors": errors}


class Requests(Case):
    """Requests per second of one kind of visit.

    :param trusted: whether the visitors are an Ingress, which the system believes.
    """

    def __init__(
        self, name: str, title: str, what: Visit, needs: Iterable[Ability] = (), quick: bool = False, trusted: bool = False
    ) -> None:
        super().__init__(name, title, needs)
        self.visit = what
        self.quick = quick
        self.trusted = trusted

    def setup(self, service: Service) -> Setup:
        return Setup(targets=service.ports[:1], trusted=self.trusted)

    def measure(self, site: Site) -> Values:
        return measured_visit(site, self.visit)[1]


class Ingress(Requests):
    """The visitors ask a real nginx, which is the Ingress before the system."""

    def measure(self, site: Site) -> Values:
        port = site.stage.port()
        config = site.stage.write("ingress.conf", nginx.ingress_config(port, site.port, HOST))
        site.stage.start(INGRESS, nginx.command(config))
        site.stage.wait_listening(port)
        site.stage.wait_answer(port)
        return super().measure(replace(site, port=port))


class Logged(Requests):
    """Requests per second while each leaves a line in an access log: a text or an object of JSON.

    A log that drops lines costs less than one that does not, so it is counted.
    """

    #: The share of the requests that must have their line, in percent.
    LEAST = 99.0

    def __init__(self, name: str, title: str, what: Visit, log: str, trusted: bool = False) -> None:
        super().__init__(name, title, what, {Ability.ACCESS_LOG}, trusted=trusted)
        self._log = log

    def setup(self, service: Service) -> Setup:
        return replace(super().setup(service), access_log=self._log)

    def measure(self, site: Site) -> Values:
        lines, requests = self._lines(site), sum(site.service.requests())
        values = super().measure(site)
        # Lines may stand in the file a little later than the answers.
        time.sleep(1.0)
        logged = 100 * (self._lines(site) - lines) / (sum(site.service.requests()) - requests)
        if logged < self.LEAST:
            raise BenchError(f"only {logged:.1f} % of the requests are in the access log")
        return {**values, "logged": logged}

    def _lines(self, site: Site) -> int:
        with (site.stage.directory / ACCESS_LOG).open("rb") as log:
            return sum(piece.count(b"\n") for piece in iter(lambda: log.read(1 << 20), b""))


class Filtered(Requests):
    """Requests that nobody intercepts, beside filters of many people."""

    def __init__(self, name: str, title: str, what: Visit, filters: int) -> None:
        super().__init__(name, title, what, {Ability.FILTERS})
        self._filters = filters

    def setup(self, service: Service) -> Setup:
        return replace(super().setup(service), filters=self._filters)


class Pair(Case):
    """Two connectors of the same weight: speed, and how the requests are shared."""

    def setup(self, service: Service) -> Setup:
        return Setup(targets=service.ports)

    def measure(self, site: Site) -> Values:
        before = site.service.requests()
        values = measured_visit(site, Visit(64))[1]
        first, second = (new - old for new, old in zip(site.service.requests(), before, strict=True))
        return {**values, "share": 100 * first / (first + second)}


class Down(Case):
    """One download of 256 MiB, twice."""

    quick = True

    def measure(self, site: Site) -> Values:
        before = site.cpu()
        rates = [load.download(site.port, f"/bulk/{number}", BULK_BYTES) for number in range(2)]
        return {"mbps": sum(rates) / 2} | per_gigabyte(site, before, 2 * BULK_BYTES)


class Up(Case):
    """One upload of 256 MiB, twice."""

    quick = True

    def measure(self, site: Site) -> Values:
        before = site.cpu()
        rates = [load.upload(site.port, f"/sink/{number}", site.service.bulk_file) for number in range(2)]
        return {"mbps": sum(rates) / 2} | per_gigabyte(site, before, 2 * BULK_BYTES)


class Chat(Case):
    """WebSocket messages echoed through the entrypoint, 64 visitors with one message under way each."""

    def setup(self, service: Service) -> Setup:
        return Setup(targets=(service.echo_port,))

    def measure(self, site: Site) -> Values:
        chat(site.port, 64, WARM_UP)
        before = site.cpu()
        seen = chat(site.port, 64, site.seconds)
        values = {"messages": seen.messages / seen.seconds, "p50": seen.p50, "p99": seen.p99}
        return values | per_unit(site, before, seen.messages)


class Datagrams(Case):
    """Datagrams echoed by UDP, a few of each of 16 visitors under way."""

    VISITORS = 16
    WINDOW = 4

    def setup(self, service: Service) -> Setup:
        return Setup(targets=(service.echo_port,), datagrams=True)

    def measure(self, site: Site) -> Values:
        flood(site.port, self.VISITORS, self.WINDOW, WARM_UP)
        before = site.cpu()
        seen = flood(site.port, self.VISITORS, self.WINDOW, site.seconds)
        values = {"datagrams": seen.datagrams / seen.seconds, "lost": 100 * seen.lost / (seen.datagrams + seen.lost)}
        return values | {"p50": seen.p50, "p99": seen.p99} | per_unit(site, before, seen.datagrams)


class Idle(Case):
    """Memory of visitors that asked once and stay."""

    def __init__(self, name: str, title: str, visitors: int) -> None:
        super().__init__(name, title)
        self._visitors = affordable(visitors)

    def measure(self, site: Site) -> Values:
        with IdleVisitors(site.port, 64):
            pass
        sides = site.sides()
        base = {side: settled_rss(site.stage.pids(side)) for side in sides}
        values: Values = {}
        with IdleVisitors(site.port, self._visitors) as visitors:
            for side in sides:
                grown = settled_rss(site.stage.pids(side)) - base[side]
                values[f"{side}_kib"] = grown / self._visitors / 1024
            values |= {f"{side}_base": base[side] / (1 << 20) for side in sides}
            values["visitors"] = visitors.still_open()
        return values


def standard_cases() -> list[Case]:
    """The cases for every system, in the order of the report."""
    ingress = Visit(64, head=Head.INGRESS)
    return [
        Requests(
            "ingress-k64", "Requests as they come from an Ingress, 64 keep-alive connections", ingress, quick=True, trusted=True
        ),
        Requests("k64", "64 keep-alive connections", Visit(64), quick=True),
        Requests("ingress-untrusted-k64", "Requests as from an Ingress, which is not believed", ingress, {Ability.TRUST}),
        Logged("ingress-access-text-k64", "Requests as from an Ingress, and an access log as text", ingress, "text", trusted=True),
        Logged("access-text-k64", "64 keep-alive connections, and an access log as text", Visit(64), "text"),
        Logged("access-json-k64", "64 keep-alive connections, and an access log as JSON", Visit(64), "json"),
        *(
            Filtered(f"filters-{count}-k64", f"64 keep-alive connections, beside {count} filters", Visit(64), count)
            for count in (1, 50, 1000)
        ),
        Ingress(
            "nginx-ingress-k64", "A browser's requests through an nginx as Ingress", Visit(64, head=Head.BROWSER), trusted=True
        ),
        Requests("ingress-k1", "Requests as they come from an Ingress, 1 connection", Visit(1, head=Head.INGRESS), trusted=True),
        Requests("k1", "1 keep-alive connection", Visit(1), quick=True),
        Requests("k16", "16 keep-alive connections", Visit(16)),
        Requests("k256", "256 keep-alive connections", Visit(256)),
        Requests("churn", "A new connection for each request, 64 at once", Visit(64, close=True), quick=True),
        Requests("10k", "Responses of 10 KiB, 64 connections", Visit(64, "/10k/")),
        Requests("1m", "Responses of 1 MiB, 16 connections", Visit(16, "/1m/")),
        Requests("post", "POST of 10 KiB, 64 connections", Visit(64, "/post/", "POST", 10 << 10)),
        Down("down", "Download of 256 MiB"),
        Up("up", "Upload of 256 MiB"),
        Chat("websocket", "WebSocket, 64 visitors, messages of 128 bytes echoed"),
        Datagrams("udp", "UDP, 16 visitors, datagrams of 1200 bytes echoed, 4 of each under way", {Ability.DATAGRAMS}),
        Pair("pair", "Two connectors 1:1, 64 keep-alive connections", {Ability.PAIR}),
        Idle("idle", "Memory of 10,000 idle visitors, or as many as file descriptors allow", 10_000),
    ]
