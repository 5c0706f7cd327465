"""Visitors stay with one of the connectors that share by weight."""

from __future__ import annotations

from collections import Counter
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.explanation import AskedRequest, explain
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.selection import Selector, VisitorProtocol
from rtunnel.routing.sticky import Sticky, StickyBy, new_key, rendezvous
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from tests.routing.test_request_properties import Request

TUNNEL = UUID(int=1)
VISITORS = range(400)


class Query(Request):
    """A request of a visitor."""

    protocol = VisitorProtocol.HTTP

    def __init__(self, *fields: str, address: str = "", key: bytes | None = None) -> None:
        super().__init__(*fields)
        self.visitor_address = address
        self.key = key

    def new_visitor(self) -> bytes | None:
        return self.key


class OptionTests(SynchronousTestCase):
    def test_parse(self) -> None:
        self.assertEqual(Sticky.parse("cookie"), Sticky(StickyBy.COOKIE))
        self.assertEqual(Sticky.parse("address"), Sticky(StickyBy.ADDRESS))
        self.assertEqual(Sticky.parse("header:X-User"), Sticky(StickyBy.HEADER, "x-user"))
        for text in ("cookie", "address", "header:x-user"):
            self.assertEqual(str(Sticky.parse(text)), text)

    def test_refused(self) -> None:
        for text in ("", "Cookie", "header", "header:", "header:a b", "header:a:b", "cookie:a"):
            with self.assertRaisesRegex(ValueError, "header:NAME"):
                Sticky.parse(text)


class KeyTests(SynchronousTestCase):
    def key(self, option: str, *fields: str, address: str = "") -> bytes | None:
        return Sticky.parse(option).key(Query(*fields, address=address, key=b"new"))

    def test_cookie(self) -> None:
        self.assertEqual(self.key("cookie", "Cookie: a=b; rtunnel-visitor=x; c=d"), b"x")
        self.assertEqual(self.key("cookie", "Cookie: rtunnel-visitor="), b"new")
        self.assertEqual(self.key("cookie"), b"new")

    def test_header(self) -> None:
        self.assertEqual(self.key("header:X-User", "x-user: alice"), b"alice")
        self.assertIsNone(self.key("header:X-User"))

    def test_address(self) -> None:
        self.assertEqual(self.key("address", address="::1"), b"::1")
        self.assertIsNone(self.key("address"))

    def test_new_keys_differ(self) -> None:
        keys = {new_key() for _ in range(100)}
        self.assertEqual((len(keys), {len(key) for key in keys}), (100, {16}))


class StayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry: TunnelRegistry[str] = TunnelRegistry(Random(7).random)
        self.selector = Selector(self.registry, IngressTable([IngressRule("shop.example.org", TUNNEL)]))
        self.selector.sticky = Sticky.parse("address")

    def attach(self, number: int, weight: int = 1, *filters: str) -> Connector[str]:
        wanted = tuple(map(InterceptFilter.parse, filters))
        connector = Connector(UUID(int=number), TUNNEL, weight, "", name=str(number), filters=wanted)
        self.registry.add(connector)
        return connector

    def sides(self, failed: list[Connector[str]] | None = None) -> dict[int, str]:
        """Where each visitor is."""
        chosen = {one: self.selector.select(TUNNEL, Query("X-User: al", address=f"192.0.2.{one}"), failed) for one in VISITORS}
        return {visitor: connector.name for visitor, connector in chosen.items() if connector is not None}

    def test_stays_and_weighs(self) -> None:
        self.attach(1, 3)
        self.attach(2, 1)
        sides = self.sides()
        self.assertEqual(self.sides(), sides)
        self.assertTrue(260 <= Counter(sides.values())["1"] <= 340, Counter(sides.values()))

    def test_who_joins_and_leaves(self) -> None:
        """A visitor moves only to one that joins, or from one that leaves; and comes back with it."""
        for number in (1, 2):
            self.attach(number)
        before = self.sides()
        third = self.attach(3)
        after = self.sides()
        moved = {visitor for visitor in VISITORS if before[visitor] != after[visitor]}
        self.assertEqual({after[visitor] for visitor in moved}, {"3"})
        self.assertTrue(90 <= len(moved) <= 180, len(moved))
        self.assertEqual(self.sides([third]), before, "so do retries")
        self.registry.remove(third)
        self.assertEqual(self.sides(), before)

    def test_who_comes_back(self) -> None:
        """With another ID on a new link, by what its client calls itself."""
        self.attach(1)
        second = self.attach(2)
        second.instance = b"laptop"
        before = self.sides()
        self.registry.remove(second)
        second = self.attach(3)
        second.name = "2"
        self.assertNotEqual(self.sides(), before)
        second.instance = b"laptop"
        self.assertEqual(self.sides(), before)

    def test_equal_filters(self) -> None:
        self.attach(1)
        for number in (2, 3):
            self.attach(number, 1, "header:X-User=al")
        sides = self.sides()
        self.assertEqual(set(sides.values()), {"2", "3"})
        self.assertEqual(self.sides(), sides)

    def test_nothing_is_read_without_a_choice(self) -> None:
        self.selector.sticky = Sticky.parse("cookie")
        laptop = self.attach(1)
        query = Query(key=b"x")
        self.selector.select(TUNNEL, query)
        pod = self.attach(2)
        self.selector.select(TUNNEL, query, [pod])
        self.assertEqual(query.asked, 0)
        self.selector.select(TUNNEL, query)
        self.assertEqual(query.asked, 1)
        self.selector.sticky = None
        self.selector.select(TUNNEL, query, [laptop])
        self.selector.select(TUNNEL, query)
        self.assertEqual(query.asked, 1)

    def test_without_a_key_by_chance(self) -> None:
        self.selector.sticky = Sticky.parse("header:X-Nobody")
        for number in (1, 2):
            self.attach(number)
        self.assertNotEqual(self.sides(), self.sides())

    def test_explained(self) -> None:
        self.selector.sticky = Sticky.parse("header:X-User")
        for number in (1, 2):
            self.attach(number)
        for user in map(str, range(10)):
            chosen = self.selector.select(TUNNEL, Query(f"X-User: {user}"))
            assert chosen is not None
            found = explain(self.selector, AskedRequest("shop.example.org", fields=(("X-User", user),)))
            self.assertEqual(
                {one.holder: (one.share, one.because) for one in found.connectors},
                {
                    name: (1, "the visitor stays with it (--sticky)")
                    if name == chosen.name
                    else (0, "the visitor stays with another (--sticky)")
                    for name in ("1", "2")
                },
            )

    @given(st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.integers(1, 255)), min_size=1, unique_by=lambda one: one[0]))
    def test_order_does_not_matter(self, given: list[tuple[bytes, int]]) -> None:
        """Every server chooses the same one, and without any other the choice is the same."""
        connectors: list[Connector[str]] = []
        for number, (instance, weight) in enumerate(given):
            connectors.append(Connector(UUID(int=number), TUNNEL, weight, ""))
            connectors[-1].instance = instance
        chosen = rendezvous(connectors, b"key")
        self.assertIs(rendezvous(reversed(connectors), b"key"), chosen)
        for other in connectors:
            if other is not chosen:
                self.assertIs(rendezvous([one for one in connectors if one is not other], b"key"), chosen)
