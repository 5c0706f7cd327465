"""``python -m tests.faults``: runs each fault and each attack with real processes and prints two tables.

Beside ours stands a real gost when ``RTUNNEL_TEST_GOST`` names its binary, and an older rtunnel when ``RTUNNEL_BENCH_BEFORE`` names
the Python that it is installed in. The exit status is 1 when rtunnel misses a goal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from unittest import SkipTest

from attrs import define, field

from tests.faults import attacks, faults
from tests.faults.attacks import ATTACKS
from tests.faults.faults import FAULTS
from tests.faults.parties import BEFORE, OURS, Party, parties
from tests.faults.report import AttackRow, FaultRow, attack_table, fault_table, show

TRANSPORTS = ("ws", "wss")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for.

    :returns: the exit status.
    """
    known = {party.name: party for party in parties()}
    given = _arguments(list(known)).parse_args(argv)
    chosen = [known[name] for name in given.programs.split(",")]
    run = _Run()
    if not given.attacks:
        _faults(run, given.only, given.transports.split(","), chosen)
    if not given.faults:
        # a gost has neither our users file nor our admin endpoint
        _attacks(run, given.only, [party for party in chosen if party.name in (OURS.name, BEFORE)])
    if run.faults:
        show(fault_table(run.faults), sys.stdout)
    if run.attacks:
        show(attack_table(run.attacks), sys.stdout)
    return run.status


@define
class _Run:
    """What was run.

    :ivar broken: rows that came to no result.
    """

    faults: list[FaultRow] = field(factory=list)
    attacks: list[AttackRow] = field(factory=list)
    broken: int = 0

    @contextmanager
    def row(self, name: str) -> Iterator[None]:
        """One row: if it comes to no result, the others are still run."""
        print(name, file=sys.stderr, flush=True)
        try:
            yield
        except SkipTest as reason:
            print(f"skipped: {reason}", file=sys.stderr)
        except AssertionError as error:
            self.broken += 1
            print(f"no result: {error}", file=sys.stderr)

    @property
    def status(self) -> int:
        """The exit status."""
        ours = [row.fault.missed(row.tally) for row in self.faults if row.party == OURS.name]
        ours += [row.cost.missed for row in self.attacks if row.party == OURS.name]
        return 1 if self.broken or any(ours) else 0


def _faults(run: _Run, only: str, transports: Sequence[str], chosen: Sequence[Party]) -> None:
    for fault, transport, party in product(FAULTS, transports, chosen):
        if only in f"{fault.role} {fault.name}":
            with run.row(f"{fault.role} {fault.name}, {transport}, {party.name}"):
                run.faults.append(FaultRow(fault, party.name, transport, faults.run(fault, party, transport)))


def _attacks(run: _Run, only: str, chosen: Sequence[Party]) -> None:
    for attack, party in product(ATTACKS, chosen):
        if only in f"{attack.name} {attack.title}":
            with run.row(f"{attack.title}, {party.name}"):
                run.attacks.append(AttackRow(party.name, attacks.run(attack, party)))


def _arguments(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make faults ARGS=...", description="What faults and attacks cost, with real processes.")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows that have this text in their name")
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="of the faults (default: %(default)s)")
    parser.add_argument("--programs", default=",".join(names), help="whose (default: all that the environment names, %(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--faults", action="store_true", help="the faults only")
    which.add_argument("--attacks", action="store_true", help="the attacks only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
