"""What the tables say of requests."""

from __future__ import annotations

from collections import Counter
from io import StringIO

from attrs import evolve
from rich.table import Table
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.attacks import Attack, Cost
from tests.faults.faults import UNREPEATABLE, Fault
from tests.faults.load import Request, Tally
from tests.faults.report import AttackRow, FaultRow, attack_table, fault_table, show
from tests.faults.usage import MIB, Usage

FAULT = Fault("stopped", "laptop", lambda site: None, seconds=8, costs=UNREPEATABLE)


def row(table: Table) -> str:
    """The only row of a table, as it is printed."""
    file = StringIO()
    show(table, file)
    return file.getvalue().strip().splitlines()[-1]


def cells(text: str) -> list[str]:
    """The texts of a row."""
    return [cell.strip() for cell in text.split("|")[1:-1]]


class TallyTests(SynchronousTestCase):
    """Requests of a fault."""

    def tally(self, *requests: Request) -> Tally:
        return Tally.of([Request("GET", "", 101, 0.1), *requests], 100)

    def row(self, tally: Tally, party: str = "rtunnel") -> str:
        return row(fault_table([FaultRow(FAULT, party, "ws", tally)]))

    def test_no_trouble(self) -> None:
        tally = self.tally()
        self.assertEqual((tally.sent, tally.failed, tally.recovery, tally.longest), (1, 0, 0, 0.1))
        self.assertEqual(FAULT.missed(tally), [])
        self.assertEqual(
            self.row(tally).split("|")[5:10], [" 1        ", " 0      ", " 0.0          ", " 0.1              ", "      "]
        )

    def test_slow_and_failed(self) -> None:
        """The last request that failed, or waited for more than a second, says how long the trouble was."""
        tally = self.tally(Request("POST", "502", 101.5, 0.1), Request("GET", "", 103, 1.5))
        self.assertEqual((tally.failures, tally.recovery, tally.longest), (Counter({"POST 502": 1}), 3, 1.5))
        self.assertEqual(FAULT.missed(tally), [])

    def test_missed(self) -> None:
        """What a fault must not cost is marked in the rows of rtunnel, and only there."""
        tally = self.tally(Request("GET", "504", 107.5, 0.1))
        self.assertEqual(FAULT.missed(tally), ["GET 504", "recovery > 5 s"])
        self.assertIn("| 1 GET 504 | > 8", self.row(tally))
        self.assertIn("MISSED: GET 504, recovery > 5 s", self.row(tally))
        self.assertNotIn("MISSED", self.row(tally, "gost"))


class CostTests(SynchronousTestCase):
    """Of an attack."""

    cost = Cost(
        attack=Attack("x", "an attack"),
        before=[Usage(50 * MIB, 10, 1)] * 2,
        peaks=[Usage(60 * MIB, 20, 1)] * 2,
        calm=[Request("GET", "", 0, 0.001)] * 10,
        others=[Request("GET", "", 0, 0.002)] * 10,
        logins=Counter(ok=3),
        probes=Counter(ok=3),
        closed=3,
        lost=0,
        answered=True,
    )

    def row(self, cost: Cost) -> str:
        return row(attack_table([AttackRow("rtunnel", cost)]))

    def test_row(self) -> None:
        self.assertEqual(
            cells(self.row(self.cost)),
            ["an attack", "rtunnel", "+10 / +10", "10 to 20 / 10 to 20", "1 / 1", "2 / 2", "0 of 10", "3 of 3", "3 of 3", "0", ""],
        )

    def test_missed(self) -> None:
        for goal, cost in {
            "memory": evolve(self.cost, peaks=[Usage(81 * MIB, 20, 1)] * 2),
            "p99": evolve(self.cost, others=[Request("GET", "", 0, 0.2)] * 10),
            "failed": evolve(self.cost, others=[Request("GET", "502", 0, 0.01)] * 10),
            "logins": evolve(self.cost, logins=Counter(ok=3, throttled=1)),
            "probes": evolve(self.cost, probes=Counter()),
            "closed": evolve(self.cost, attack=Attack("x", "an attack", closed=4)),
            "link lost": evolve(self.cost, lost=1),
            "dead": evolve(self.cost, answered=False),
        }.items():
            self.assertEqual(cost.missed, [goal])
            self.assertIn(f"MISSED: {goal}", self.row(cost))
