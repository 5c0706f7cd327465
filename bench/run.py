"""Takes the turns: every round measures every case, every case all systems one after the other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.cases import Case, Site, Values
from bench.metrics import METRICS
from bench.proc import BenchError, foreign_seconds
from bench.record import CaseRecord, Record, SystemRecord
from bench.service import Service
from bench.stage import Stage, without_paths
from bench.systems import System

#: Who is measured in the growth group when no system is named.
GROWTH_SYSTEMS = frozenset({"rtunnel"})


class Runner:
    """One run.

    :param record: takes the values; also names what is skipped.
    :param cases: in order.
    :param systems: in order; the absent ones are recorded as skipped.
    :param named: whether the user chose the systems.
    """

    def __init__(self, record: Record, cases: Sequence[Case], systems: Sequence[System], named: bool) -> None:
        self._record = record
        self._cases = cases
        self._named = named
        self._systems: list[System] = []
        self._taken: set[int] = set()
        for system in systems:
            self._admit(system)
        for case in cases:
            record.cases[case.name] = CaseRecord(case.title, case.growth)

    def run(self, rounds: int, seconds: float) -> Iterator[int]:
        """Measure; yields the number of each finished round."""
        with Stage("service", self._taken) as stage:
            service = Service(stage)
            for turn in range(rounds):
                for case in self._cases:
                    for system in self.order(case, turn):
                        self._measure(case, system, service, seconds, f"round {turn + 1}/{rounds}")
                yield turn + 1

    def order(self, case: Case, turn: int) -> list[System]:
        """Who is measured, and in which order: each round begins with another one."""
        able = [system for system in self._systems if case.needs <= system.can and self._takes_part(case, system)]
        start = turn % len(able) if able else 0
        return able[start:] + able[:start]

    def measurements(self) -> int:
        """How many measurements one round has."""
        return sum(len(self.order(case, 0)) for case in self._cases)

    def _takes_part(self, case: Case, system: System) -> bool:
        if self._named:
            return True
        if case.growth:
            return system.name in GROWTH_SYSTEMS
        return system.cases is None or case.name in system.cases

    def _admit(self, system: System) -> None:
        reason = system.absent()
        if reason is not None:
            self._record.skipped[system.name] = reason
            _say(f"skipped: {system.name}: {reason}")
            return
        self._systems.append(system)
        self._record.systems[system.name] = SystemRecord(system.title, system.routes, system.version())

    def _measure(self, case: Case, system: System, service: Service, seconds: float, turn: str) -> None:
        values: Values | None = None
        try:
            with Stage(system.name, self._taken) as stage:
                site = Site(system.start(case.setup(service), stage), stage, service, seconds)
                with self._watch():
                    values = case.measure(site)
                stage.check()
                self._record.remember(system.name, stage.launches)
        except (BenchError, OSError) as error:
            self._record.failures.append(f"{turn}, {case.name}, {system.name}: {without_paths(str(error))}")
            _say(f"{turn}  {case.name:<12} {system.name:<16} FAILED: {error}")
        else:
            _say(f"{turn}  {case.name:<12} {system.name:<16} {_headline(values)}")
        self._record.add(case.name, system.name, values)

    @contextmanager
    def _watch(self) -> Iterator[None]:
        """Record what share of the machine others used: figures of a shared machine need that beside them."""
        start, before = time.monotonic(), foreign_seconds()
        yield
        share = (foreign_seconds() - before) / (time.monotonic() - start) / len(os.sched_getaffinity(0))
        self._record.foreign.append(round(max(share, 0.0), 4))


def _headline(values: Values) -> str:
    shown = [key for key in values if not METRICS[key].quiet or (key == "errors" and values[key])]
    return "  ".join(f"{METRICS[key].label} {values[key]:.{METRICS[key].digits}f}" for key in shown[:5])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
