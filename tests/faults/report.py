"""The tables of ``make faults``, which are good Markdown as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TextIO

from attrs import frozen
from rich import box
from rich.console import Console
from rich.table import Table

from tests.faults.attacks import Cost, p50, p99
from tests.faults.faults import Fault
from tests.faults.load import Tally

__all__ = ["AttackRow", "FaultRow", "attack_table", "fault_table", "show"]


@frozen
class FaultRow:
    """One fault as it was run."""

    fault: Fault
    party: str
    transport: str
    tally: Tally

    def cells(self, strict: bool) -> tuple[str, ...]:
        """The texts of the row.

        :param strict: whether goals that were missed are marked.
        """
        tally = self.tally
        recovery = f"> {self.fault.seconds:g}" if self.fault.lasts(tally) else f"{tally.recovery:.1f}"
        return (
            *(self.fault.role, self.fault.name, self.transport, self.party, str(tally.sent)),
            *(kinds(tally.failures), recovery, f"{tally.longest:.1f}", missed(self.fault.missed(tally) if strict else ())),
        )


@frozen
class AttackRow:
    """One attack as it was run."""

    party: str
    cost: Cost

    def cells(self, strict: bool) -> tuple[str, ...]:
        """The texts of the row."""
        cost = self.cost
        failures = Counter(request.failure for request in cost.others if request.failure)
        return (
            *(cost.attack.title, self.party, " / ".join(f"{growth:+.0f}" for growth in cost.growth)),
            " / ".join(f"{before.descriptors} to {peak.descriptors}" for before, peak in zip(cost.before, cost.peaks, strict=True)),
            f"{milliseconds(p50(cost.calm))} / {milliseconds(p99(cost.calm))}",
            f"{milliseconds(p50(cost.others))} / {milliseconds(p99(cost.others))}",
            f"{kinds(failures)} of {len(cost.others)}",
            share(cost.logins),
            share(cost.probes),
            str(cost.lost),
            missed(cost.missed if strict else ()),
        )


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def kinds(failures: Counter[str]) -> str:
    """How many failed, and how."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items())) or "0"


def share(answers: Counter[str]) -> str:
    """How many of all were let in."""
    return f"{answers['ok']} of {answers.total()}"


def missed(goals: Iterable[str]) -> str:
    """The goals that were missed, or nothing."""
    return f"MISSED: {', '.join(goals)}" if goals else ""


def fault_table(rows: Sequence[FaultRow]) -> Table:
    """What visitors saw of each fault."""
    heads = ("role", "fault", "transport", "programs", "requests", "failed", "recovery (s)", "longest wait (s)", "goal")
    return _table(heads, (row.cells(row.party == "rtunnel") for row in rows))


def attack_table(rows: Sequence[AttackRow]) -> Table:
    """What each attack cost."""
    heads = (
        *("attack", "programs", "memory of server / client (MiB)", "descriptors of server / client"),
        *("p50 / p99 before (ms)", "p50 / p99 of others (ms)", "failed", "logins", "/livez", "links lost", "goal"),
    )
    return _table(heads, (row.cells(row.party == "rtunnel") for row in rows))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=box.MARKDOWN)
    for head in heads:
        table.add_column(head, no_wrap=True)
    for row in rows:
        table.add_row(*row, style="bold red" if row[-1] else "")
    return table


def show(table: Table, file: TextIO) -> None:
    """Print a table, however narrow the terminal is."""
    Console(file=file, width=400, highlight=False, markup=False).print(table, soft_wrap=True)
