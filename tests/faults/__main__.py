"""``python -m tests.faults``: runs each fault and each attack with real processes and prints two tables.

Beside ours stands a real gost when ``RTUNNEL_TEST_GOST`` names its binary, and an older rtunnel when ``RTUNNEL_BENCH_BEFORE`` names
the Python that it is installed in. The exit status is 1 when rtunnel misses a goal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from unittest import SkipTest

from tests.faults import attacks, faults
from tests.faults.attacks import ATTACKS
from tests.faults.faults import FAULTS
from tests.faults.parties import OURS, parties
from tests.faults.report import AttackRow, FaultRow, attack_table, fault_table, show

TRANSPORTS = ("ws", "wss")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for.

    :returns: the exit status.
    """
    known = {party.name: party for party in parties()}
    given = _arguments(list(known)).parse_args(argv)
    chosen = [known[name] for name in given.programs.split(",")]
    fault_rows: list[FaultRow] = []
    attack_rows: list[AttackRow] = []
    if not given.attacks:
        for fault in (each for each in FAULTS if given.only in f"{each.role} {each.name}"):
            for transport in given.transports.split(","):
                for party in chosen:
                    _say(f"{fault.role} {fault.name}, {transport}, {party.name}")
                    try:
                        fault_rows.append(FaultRow(fault, party.name, transport, faults.run(fault, party, transport)))
                    except SkipTest as reason:
                        _say(f"skipped: {reason}")
    if not given.faults:
        # a gost has neither our users file nor our admin endpoint
        for attack in (each for each in ATTACKS if given.only in f"{each.name} {each.title}"):
            for party in (each for each in chosen if each.name in (OURS.name, "before")):
                _say(f"{attack.title}, {party.name}")
                attack_rows.append(AttackRow(party.name, attacks.run(attack, party)))
    if fault_rows:
        show(fault_table(fault_rows), sys.stdout)
        print()
    if attack_rows:
        show(attack_table(attack_rows), sys.stdout)
    missed = [row for row in fault_rows if row.party == OURS.name and row.fault.missed(row.tally)]
    return 1 if missed or any(row.party == OURS.name and row.cost.missed for row in attack_rows) else 0


def _arguments(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make faults ARGS=...", description="What faults and attacks cost, with real processes.")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows that have this text in their name")
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="of the faults (default: %(default)s)")
    parser.add_argument("--programs", default=",".join(names), help="whose (default: all that the environment names, %(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--faults", action="store_true", help="the faults only")
    which.add_argument("--attacks", action="store_true", help="the attacks only")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
