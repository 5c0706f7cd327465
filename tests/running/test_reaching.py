"""Which services of a pod get listeners."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.isolation.names import Destination
from rtunnel.routing.reach import ReachRules
from rtunnel.routing.reach_list import ReachList
from rtunnel.running.reaching import MAX_PORTS, destinations, unlisted
from rtunnel.settings import Address, LocalForward

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


class DestinationTests(SynchronousTestCase):
    def listed(self, rules: str) -> ReachList:
        return ReachList(ReachRules.parse(rules).rules, SEARCH)

    def test_rules(self) -> None:
        names = ("postgres", "postgres.shop", "postgres.shop.svc", "postgres.shop.svc.cluster.local")
        found = destinations(self.listed("postgres:5432-5433,10.0.0.7:80,*.shop.svc:80,dns:53/udp,web:*"), ())
        expected = [*(Destination("postgres", port, names) for port in (5432, 5433)), Destination("10.0.0.7", 80, ("10.0.0.7",))]
        self.assertEqual(found, expected)

    def test_forwards(self) -> None:
        """Also of what a pattern allows."""
        forward = LocalForward(Address("127.0.0.1", 15432), "db.shop", 5432)
        (found,) = destinations(self.listed("*:5432"), (forward,))
        self.assertEqual((found.host, found.port), ("db.shop", 5432))
        self.assertIn("db.shop.svc.cluster.local", found.names)

    def test_unlisted(self) -> None:
        rules = f"postgres:5432,a:1-{MAX_PORTS},b:1-{MAX_PORTS + 1},*.svc:80,web:*,*:53/udp"
        self.assertEqual(unlisted(self.listed(rules)), [f"b:1-{MAX_PORTS + 1}", "*.svc:80", "web:*"])
