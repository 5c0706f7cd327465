"""What a run leaves behind: every value of every round, as plain data that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.cases import Values
from bench.stage import Launch


@dataclass(slots=True)
class SystemRecord:
    """A system as it was measured.

    :param launches: of the first measurement that succeeded: how each process was started.
    """

    title: str
    routes: str
    version: str
    launches: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class CaseRecord:
    """A case: for each system one entry for each round, None where the measurement failed."""

    title: str
    growth: bool
    rounds: dict[str, list[Values | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Record:
    """A whole run.

    :param date: ISO date.
    :param label: what the run is about.
    :param machine: see :func:`bench.machine.describe`.
    :param options: rounds and seconds.
    :param skipped: why a system was not measured, by name.
    :param failures: measurements that failed, one line each.
    :param foreign: for each measurement, the share of the machine that others used meanwhile.
    """

    date: str
    label: str
    machine: dict[str, str]
    options: dict[str, float]
    systems: dict[str, SystemRecord] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    cases: dict[str, CaseRecord] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    def add(self, case: str, system: str, values: Values | None) -> None:
        """Add one measurement."""
        self.cases[case].rounds.setdefault(system, []).append(values)

    def series(self, case: str, system: str, metric: str) -> list[float | None]:
        """One figure of all rounds, in order; empty when the case or the system took no part."""
        if case not in self.cases:
            return []
        rounds = self.cases[case].rounds.get(system, [])
        return [None if values is None else values.get(metric) for values in rounds]

    def metrics(self, case: str) -> list[str]:
        """The keys of all figures that a case gave, in the order in which it gave them."""
        entries = [values for rounds in self.cases[case].rounds.values() for values in rounds if values]
        return list(dict.fromkeys(key for values in entries for key in values))

    def remember(self, system: str, launches: Sequence[Launch]) -> None:
        """Keep how a system was started, the first time."""
        if not self.systems[system].launches:
            self.systems[system].launches = [asdict(launch) for launch in launches]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def load_record(path: Path) -> Record:
    """Read what :meth:`Record.save` wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data["systems"] = {name: SystemRecord(**system) for name, system in data["systems"].items()}
    data["cases"] = {name: CaseRecord(**case) for name, case in data["cases"].items()}
    return Record(**data)
