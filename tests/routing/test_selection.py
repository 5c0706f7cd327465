"""Selection: rules by host, connectors by protocol and rank, and lazy evaluation of queries."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from uuid import UUID

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.selection import RouteQuery, Selector, VisitorProtocol
from rtunnel.routing.tunnels import EXCLUSIVE_WEIGHT, Connector, TunnelRegistry

NGINX = UUID(int=1)
OTHER = UUID(int=2)
STREAMS = [protocol for protocol in VisitorProtocol if protocol is not VisitorProtocol.DATAGRAMS]


class Untouchable(AssertionError):
    """Something was read that no rule needs."""


@frozen
class Query:
    """A query with a host and a protocol; reading anything else fails."""

    host: str = ""
    protocol: VisitorProtocol = VisitorProtocol.HTTP

    @property
    def visitor_address(self) -> str:
        raise Untouchable

    def method(self) -> bytes:
        raise Untouchable

    def path(self) -> bytes:
        raise Untouchable

    def lines(self) -> bytes:
        raise Untouchable

    def taken(self) -> Mapping[bytes, bytes]:
        raise Untouchable

    def new_visitor(self) -> bytes | None:
        raise Untouchable


def connector(weight: int = 1, tunnel: UUID = NGINX, *, datagrams: bool = False) -> Connector[str]:
    return Connector(id=UUID(int=0), tunnel=tunnel, weight=weight, pool="", datagrams=datagrams)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry: TunnelRegistry[str] = TunnelRegistry(Random(7).random)
        self.selector = Selector(self.registry, IngressTable([]))

    def attach(self, *weights: int, datagrams: bool = False) -> list[Connector[str]]:
        connectors = [connector(weight, datagrams=datagrams) for weight in weights]
        for one in connectors:
            self.registry.add(one)
        return connectors

    def select(
        self,
        failed: list[Connector[str]] | None = None,
        tunnel: UUID = NGINX,
        protocol: VisitorProtocol = VisitorProtocol.HTTP,
    ) -> Connector[str] | None:
        return self.selector.select(tunnel, Query(protocol=protocol), failed)


class RuleTests(Case):
    """Which tunnel a host leads to."""

    public = IngressRule("nginx.local", NGINX)
    private = IngressRule("secret.nginx.local", OTHER, private=True)

    def rule(self, host: str, *rules: IngressRule) -> IngressRule | None:
        self.selector.table = IngressTable(rules)
        found, *others = (self.selector.rule(Query(host, protocol)) for protocol in VisitorProtocol)
        self.assertEqual(others, [found] * len(others), "for every protocol")
        return found

    def test_by_host(self) -> None:
        self.assertEqual(self.rule("nginx.local", self.public, self.private), self.public)
        self.assertIsNone(self.rule("other.local", self.public, self.private))
        self.assertIsNone(self.rule("", self.public, self.private))

    def test_private_rules_are_hidden(self) -> None:
        """Private rules do not match at an entrypoint."""
        self.assertIsNone(self.rule("secret.nginx.local", self.public, self.private))

    def test_a_private_rule_hides_its_host(self) -> None:
        """A private rule takes precedence over less specific public ones."""
        wildcard, everything = IngressRule("*.nginx.local", NGINX), IngressRule("*", NGINX)
        self.assertIsNone(self.rule("secret.nginx.local", wildcard, everything, self.private))
        self.assertEqual(self.rule("open.nginx.local", wildcard, everything, self.private), wildcard)
        self.assertEqual(self.rule("", wildcard, everything, self.private), everything)

    def test_another_table(self) -> None:
        """The table is replaced at a reload."""
        self.assertEqual(self.rule("nginx.local", self.public), self.public)
        self.assertIsNone(self.rule("nginx.local"))


class SelectTests(Case):
    """Which connector is tried next."""

    def test_nobody(self) -> None:
        self.assertIsNone(self.select())
        self.attach(1)
        self.assertIsNone(self.select(tunnel=OTHER))

    def test_by_protocol(self) -> None:
        """Datagrams go to connectors for datagrams, everything else to the others."""
        (stream,) = self.attach(1)
        (datagrams,) = self.attach(1, datagrams=True)
        for protocol in STREAMS:
            self.assertIs(self.select(protocol=protocol), stream)
            self.assertIsNone(self.select([stream], protocol=protocol))
        self.assertIs(self.select(protocol=VisitorProtocol.DATAGRAMS), datagrams)
        self.assertIsNone(self.select([datagrams], protocol=VisitorProtocol.DATAGRAMS))

    def test_only_one_kind_attached(self) -> None:
        self.attach(1, EXCLUSIVE_WEIGHT, datagrams=True)
        for protocol in STREAMS:
            self.assertIsNone(self.select(protocol=protocol))

    def test_failed(self) -> None:
        first, second = self.attach(1, 1)
        self.assertIs(self.select([first]), second)
        self.assertIs(self.select([second]), first)
        self.assertIsNone(self.select([first, second]))
        self.assertIn(self.select([]), (first, second))

    def test_failed_elsewhere(self) -> None:
        """Failed connectors that are not attached any more, or belong to another tunnel, are ignored."""
        (one,) = self.attach(1)
        self.assertIs(self.select([connector(), connector(tunnel=OTHER)]), one)

    def order(self, protocol: VisitorProtocol) -> list[Connector[str]]:
        """All connectors in the order in which they are tried if each fails."""
        failed: list[Connector[str]] = []
        while (one := self.select(failed, protocol=protocol)) is not None:
            self.assertNotIn(one, failed, "failed connectors are not tried again")
            failed.append(one)
        return failed

    @settings(deadline=None, max_examples=100)
    @given(
        attached=st.lists(
            st.tuples(st.sampled_from([1, 5, 254, EXCLUSIVE_WEIGHT]), st.booleans()),
            max_size=8,
        )
    )
    def test_ranks_in_order(self, attached: list[tuple[int, bool]]) -> None:
        """Each connector of the right kind is tried once, in order of rank."""
        self.setUp()
        connectors = [self.attach(weight, datagrams=datagrams)[0] for weight, datagrams in attached]
        for protocol in VisitorProtocol:
            asked = self.order(protocol)
            datagrams = protocol is VisitorProtocol.DATAGRAMS
            self.assertEqual([one.rank for one in asked], sorted(one.rank for one in asked))
            self.assertEqual(len(asked), len(set(asked)))
            self.assertEqual(set(asked), {one for one in connectors if one.datagrams == datagrams})

    def test_by_weight_within_a_rank(self) -> None:
        small, large = self.attach(1, 3)
        drawn = [self.select() for _ in range(2000)]
        self.assertApproximates(drawn.count(large) / 2000, 0.75, 0.04)
        self.assertEqual(set(drawn), {small, large})


class UntouchedTests(Case):
    """Queries are evaluated lazily: rules that match on hosts read nothing but the host."""

    def test_query(self) -> None:
        self.selector.table = IngressTable([IngressRule("nginx.local", NGINX), IngressRule("*", OTHER, private=True)])
        first, _ = self.attach(1, EXCLUSIVE_WEIGHT)
        query: RouteQuery = Query("nginx.local")
        rule = self.selector.rule(query)
        assert rule is not None
        self.assertIsNotNone(self.selector.select(rule.tunnel, query))
        self.assertIsNotNone(self.selector.select(rule.tunnel, query, [first]))
        self.assertIsNone(self.selector.rule(Query("elsewhere.local")))

    def test_it_would_show(self) -> None:
        for touch in (Query().path, Query().method, Query().lines, Query().taken):
            self.assertRaises(Untouchable, touch)
        self.assertRaises(Untouchable, getattr, Query(), "visitor_address")
