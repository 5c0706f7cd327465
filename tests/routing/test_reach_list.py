"""What may be reached as a document, and the names of a Service."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.reach import MAX_RULES, ReachRules
from rtunnel.routing.reach_list import MAX_SEARCH, ReachList, ReachListError, read_reach_list, write_reach_list

RULES = ReachRules.parse("postgres:5432,*.shop.svc:80-90,[fd00::7]:*").rules
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org")


class DocumentTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for listed in (ReachList(RULES, SEARCH), ReachList(RULES)):
            self.assertEqual(read_reach_list(write_reach_list(listed)), listed)

    def test_refused(self) -> None:
        for data in (
            b"",
            b"[]",
            b'{"reach_version": 2, "rules": ["a:1"]}',
            b'{"reach_version": 1}',
            b'{"reach_version": 1, "rules": []}',
            b'{"reach_version": 1, "rules": [1]}',
            b'{"reach_version": 1, "rules": ["a"]}',
            b'{"reach_version": 1, "rules": ["a:1"], "search": "a"}',
            json.dumps({"reach_version": 1, "rules": ["a:1"] * (MAX_RULES + 1)}).encode(),
        ):
            self.assertRaises(ReachListError, read_reach_list, data)

    def test_hostile_search_domains(self) -> None:
        """They are left out; so are those that are too many."""
        search = ["\x1b[2J", "a b", "x" * 300, *(f"{number}.svc.test" for number in range(100))]
        listed = read_reach_list(json.dumps({"reach_version": 1, "rules": ["a:1"], "search": search}).encode())
        self.assertEqual(listed.search, tuple(f"{number}.svc.test" for number in range(MAX_SEARCH - 3)))


class NamesTests(SynchronousTestCase):
    listed = ReachList(RULES, SEARCH)

    def test_place(self) -> None:
        self.assertEqual((self.listed.namespace, self.listed.cluster_domain), ("shop", "cluster.local"))
        self.assertEqual((ReachList(RULES).namespace, ReachList(RULES).cluster_domain), ("", ""))

    def test_of_the_same_namespace(self) -> None:
        """Whatever form the rule has, it comes first."""
        names = {"postgres", "postgres.shop", "postgres.shop.svc", "postgres.shop.svc.cluster.local"}
        for host in names:
            found = self.listed.names(host)
            self.assertEqual((found[0], set(found), len(found)), (host, names, 4))

    def test_of_another_namespace(self) -> None:
        names = ("redis.cache", "redis.cache.svc", "redis.cache.svc.cluster.local")
        self.assertEqual(self.listed.names("redis.cache"), names)
        self.assertEqual(set(self.listed.names("redis.cache.svc")), set(names))

    def test_of_a_pod(self) -> None:
        """Of a StatefulSet."""
        self.assertIn("db-0.db", self.listed.names("db-0.db.shop.svc"))
        self.assertIn("db-0.db.shop.svc.cluster.local", self.listed.names("db-0.db.shop.svc"))

    def test_no_services(self) -> None:
        for host in ("10.0.0.7", "fd00::7", "localhost", "kubernetes", "api.eu.example.org", "a.cluster.local", "a.svc"):
            self.assertEqual(self.listed.names(host), (host,))

    def test_concerns(self) -> None:
        """What a rule is for, and what can only be meant in the cluster; loopback only where that is said."""
        for host, port, expected in (
            ("postgres", 5432, True),
            ("Postgres.", 1, True),
            ("web.shop.svc", 80, True),
            ("web.shop", 1, True),
            ("web.other.svc", 1, True),
            ("web.cluster.local", 1, True),
            ("fd00::7", 1, True),
            ("fd00::8", 1, False),
            ("10.0.0.7", 80, False),
            ("registry.npmjs.org", 443, False),
            ("shop.example.org", 80, False),
            ("localhost", 80, False),
            ("x.localhost", 80, False),
            ("127.0.0.1", 80, False),
            ("::1", 80, False),
            ("0.0.0.0", 80, False),
            ("", 80, True),
        ):
            self.assertIs(self.listed.concerns(host, port), expected, host)
        listed = ReachList(ReachRules.parse("*:80,127.0.0.1:6379,dns:53/udp").rules)
        for host, port, expected in (
            ("a.example.org", 80, True),
            ("localhost", 80, False),
            ("127.0.0.1", 80, False),
            ("127.0.0.1", 6379, True),
            ("localhost", 6379, False),
            ("10.0.0.7", 53, False),
        ):
            self.assertIs(listed.concerns(host, port), expected, host)

    def test_unknown_place(self) -> None:
        self.assertEqual(ReachList(RULES, ("example.org",)).names("postgres"), ("postgres",))
