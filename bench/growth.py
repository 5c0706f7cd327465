"""What should stay flat as a server fills up: requests at 64 connections beside more and more of something else."""

from __future__ import annotations

from bench.cases import WARM_UP, Case, Site, Values, measured_visit
from bench.idle import IdleVisitors, affordable
from bench.load import SlowReader, Visit
from bench.service import Service
from bench.systems.base import Ability, Setup

_LOAD = Visit(64)


class Rules(Case):
    """Many ingress rules, one connector."""

    growth = True

    def __init__(self, rules: int) -> None:
        super().__init__(
            f"rules-{rules}", "1 ingress rule, 1 connector" if rules == 1 else f"{rules:,} ingress rules", {Ability.RULES}
        )
        self._rules = rules

    def setup(self, service: Service) -> Setup:
        return Setup(targets=service.ports[:1], rules=self._rules)

    def measure(self, site: Site) -> Values:
        return measured_visit(site, _LOAD)[1]


class Tunnels(Case):
    """Many connectors, each of a tunnel of its own with its rule; one tunnel is visited."""

    growth = True

    def __init__(self, tunnels: int, rules: int = 1) -> None:
        name, title = f"connectors-{tunnels}", f"{tunnels:,} connectors of as many tunnels, one visited"
        if rules > tunnels:
            name, title = f"{name}-rules-{rules}", f"{title}, {rules:,} ingress rules"
        super().__init__(name, title, {Ability.RULES, Ability.TUNNELS})
        self._tunnels = tunnels
        self._rules = rules

    def setup(self, service: Service) -> Setup:
        return Setup(targets=service.ports[:1], tunnels=self._tunnels, rules=self._rules)

    def measure(self, site: Site) -> Values:
        return measured_visit(site, _LOAD)[1]


class Pool(Case):
    """Many connectors of one tunnel, all visited."""

    growth = True

    def __init__(self, connectors: int) -> None:
        super().__init__(f"pool-{connectors}", f"{connectors:,} connectors of one tunnel, all visited", {Ability.POOL})
        self._connectors = connectors

    def setup(self, service: Service) -> Setup:
        return Setup(targets=service.ports[:1], connectors=self._connectors)

    def measure(self, site: Site) -> Values:
        return measured_visit(site, _LOAD)[1]


class Crowd(Case):
    """Requests beside many idle visitors."""

    growth = True

    def __init__(self, visitors: int) -> None:
        super().__init__(f"crowd-{visitors}", f"beside {visitors:,} idle visitors")
        self._visitors = affordable(visitors)

    def measure(self, site: Site) -> Values:
        with IdleVisitors(site.port, self._visitors) as crowd:
            values = measured_visit(site, _LOAD)[1]
            return {**values, "visitors": crowd.still_open()}


class Slow(Case):
    """Requests beside one visitor that reads a long answer slowly."""

    growth = True

    def __init__(self, megabytes: int) -> None:
        super().__init__(f"slow-{megabytes}", f"beside one reader of {megabytes} MB/s")
        self._rate = megabytes * 1_000_000

    def measure(self, site: Site) -> Values:
        reader = SlowReader(site.port, self._rate, site.seconds + 2 * WARM_UP)
        try:
            values = measured_visit(site, _LOAD)[1]
            return {**values, "slow": reader.wait()}
        finally:
            reader.stop()


def growth_cases() -> list[Case]:
    """The growth group, in the order of the report."""
    return [
        *(Rules(count) for count in (1, 100, 10_000)),
        *(Tunnels(count) for count in (100, 1_000)),
        Tunnels(1_000, rules=10_000),
        *(Pool(count) for count in (100, 1_000)),
        Crowd(10_000),
        *(Slow(rate) for rate in (1, 10, 100)),
    ]
