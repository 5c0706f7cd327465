"""``make faults`` in short: some of the faults and attacks, with real processes; what takes time there is not asserted here."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.trial.unittest import TestCase

from tests.faults.attacks import ATTACKS, Cost
from tests.faults.attacks import run as attack
from tests.faults.faults import FAULTS
from tests.faults.faults import run as strike
from tests.faults.load import Tally

SOON = ("--suspect-after", "500ms", "--dead-after", "1s")


class FaultTests(TestCase):
    """Visitors of a laptop that takes all requests, as it fails."""

    timeout = 120

    def costs(self, role: str, name: str, server: Sequence[str] = ()) -> Tally:
        """Strike, for two seconds; only what may fail has failed."""
        (fault,) = (each for each in FAULTS if each.role.startswith(role) and each.name.startswith(name) and "1" not in each.role)
        tally = strike(evolve(fault, seconds=2, site={"server": server}), before=0.3, after=0.5)
        self.assertLessEqual(set(tally.failures), fault.costs)
        self.assertGreater(tally.sent, 40)
        return tally

    def test_stopped(self) -> None:
        tally = self.costs("laptop, weight 255", "stopped", SOON)
        # requests on their way wait, and those that may be repeated are answered by the pod
        self.assertGreater(tally.longest, 0.2)
        self.assertGreater(tally.sent, 2 * tally.failed)

    def test_killed(self) -> None:
        self.costs("laptop, weight 255", "killed")

    def test_service_down(self) -> None:
        self.costs("laptop's service", "down")


class AttackTests(TestCase):
    """Strangers, and what they cost those who were there before."""

    timeout = 120

    def attack(self, name: str) -> Cost:
        """Attack for two seconds; only what takes time may be worse than it should."""
        (chosen,) = (each for each in ATTACKS if each.name == name)
        cost = attack(chosen, seconds=2, calm=0.5)
        self.assertLessEqual(set(cost.missed), {"p99"}, cost)
        return cost

    def test_text_frames(self) -> None:
        self.attack("text-frames")

    def test_pings(self) -> None:
        self.attack("pings")
