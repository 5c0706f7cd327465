from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.cases import Case, standard_cases
from bench.goals import GOALS
from bench.growth import growth_cases
from bench.record import Record
from bench.run import Runner
from bench.systems import every_system
from bench.systems.base import System


class PresentSystem(System):
    """One that is always there, and can do what the other can."""

    def __init__(self, other: System) -> None:
        super().__init__(other.name, other.title)
        self.can, self.cases = other.can, other.cases

    def version(self) -> str:
        return "1.0"

    def start(self, setup: object, stage: object) -> int:
        raise NotImplementedError


class OrderTests(SynchronousTestCase):
    """Who takes part in which case."""

    def runner(self, named: bool) -> Runner:
        systems = [PresentSystem(system) for system in every_system()]
        return Runner(Record("2026-01-02", "example", {}, {}), self.cases(), systems, named)

    def cases(self) -> list[Case]:
        return [*standard_cases(), *growth_cases()]

    def is_growth(self, name: str) -> bool:
        return next(case.growth for case in self.cases() if case.name == name)

    def taking_part(self, system: str, named: bool = False) -> set[str]:
        runner = self.runner(named)
        return {case.name for case in self.cases() if system in {each.name for each in runner.order(case, 0)}}

    def test_variant_is_measured_where_it_differs(self) -> None:
        self.assertEqual(self.taking_part("rtunnel-wss"), {"k1", "k64", "down", "up"})

    def test_variant_that_is_named_is_measured_everywhere(self) -> None:
        self.assertLess({"churn", "websocket", "pair"}, self.taking_part("rtunnel-wss", named=True))

    def test_version_before_is_measured_wherever_ours_is(self) -> None:
        ours = {name for name in self.taking_part("rtunnel") if not self.is_growth(name)}
        self.assertEqual(self.taking_part("before"), ours)
        self.assertEqual(self.taking_part("before", named=True), self.taking_part("rtunnel", named=True))

    def test_peers_get_the_requests_of_an_ingress_too(self) -> None:
        for peer in ("direct", "hop", "gost", "gost-keepalive", "rathole", "chisel", "frp", "piko"):
            self.assertLess({"ingress-k64", "ingress-k1", "nginx-ingress-k64", "k64", "k1"}, self.taking_part(peer), peer)

    def test_only_who_can_write_an_access_log_is_asked_for_one(self) -> None:
        writing = {"hop", "rtunnel", "before"}
        for system in every_system():
            self.assertIs("access-json-k64" in self.taking_part(system.name), system.name in writing, system.name)

    def test_every_goal_is_measured(self) -> None:
        """A goal that no default run measures would be missed by nobody."""
        for goal in GOALS:
            self.assertIn(goal.case, self.taking_part(goal.system), goal)
            if goal.against is not None:
                self.assertIn(goal.against_case or goal.case, self.taking_part(goal.against), goal)

    def test_each_round_begins_with_another_system(self) -> None:
        runner, case = self.runner(named=False), standard_cases()[0]
        first, second = runner.order(case, 0), runner.order(case, 1)
        self.assertEqual(second, [*first[1:], first[0]])
