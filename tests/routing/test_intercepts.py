"""Who gets a request that intercept filters ask for; and which filters are in each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.intercepts import find_conflict
from rtunnel.routing.request_properties import RequestProperties
from rtunnel.routing.selection import Selector, VisitorProtocol
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from tests.routing.test_request_properties import Request

TUNNEL = UUID(int=1)
parse = InterceptFilter.parse


class Query(Request):
    """A request to be routed."""

    protocol = VisitorProtocol.HTTP
    visitor_address = ""

    def new_visitor(self) -> bytes | None:
        return None


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry: TunnelRegistry[str] = TunnelRegistry(Random(7).random)
        self.selector = Selector(self.registry, IngressTable([]))

    def attach(self, name: str, *filters: str, weight: int = 1) -> Connector[str]:
        connector = Connector(UUID(int=len(list(self.registry))), TUNNEL, weight, "", name=name, filters=tuple(map(parse, filters)))
        self.registry.add(connector)
        return connector

    def select(self, *fields: str, failed: Sequence[Connector[str]] | None = None, **more: str) -> str | None:
        connector = self.selector.select(TUNNEL, Query(*fields, **more), failed)
        return None if connector is None else connector.name


class ChoiceTests(Case):
    """By filter first, then by weight."""

    def test_beside_a_pod(self) -> None:
        self.attach("pod")
        self.attach("alice", "header:X-User=alice", "cookie:debug=alice")
        self.attach("bob", "header:X-User=bob; path^=/api")
        for fields, path, name in (
            ((), "/", "pod"),
            (("X-User: alice",), "/", "alice"),
            (("X-User: Alice",), "/", "pod"),
            (("Cookie: a=b; debug=alice",), "/api", "alice"),
            (("X-User: bob",), "/", "pod"),
            (("X-User: bob",), "/api/x", "bob"),
            (("X-User: bobby",), "/api/x", "pod"),
            (("X-User: carol", "X-User: bob"), "/api", "bob"),
        ):
            self.assertEqual(self.select(*fields, target=path), name, fields)

    def test_fields_that_the_proxy_takes(self) -> None:
        self.attach("pod")
        self.attach("alice", "header:Via*=*proxy")
        self.assertEqual(self.select(), "alice")

    def test_exclusive_connectors_do_not_take_them(self) -> None:
        """The weight 255 takes what no filter asks for."""
        self.attach("pod")
        self.attach("bob", weight=255)
        self.attach("alice", "header:X-User=alice")
        self.assertEqual((self.select("X-User: alice"), self.select()), ("alice", "bob"))

    def test_the_most_specific_one(self) -> None:
        self.attach("pod")
        self.attach("path", "path^=/api")
        self.attach("user", "header:X-User=alice")
        self.attach("both", "header:X-User=alice; path^=/api")
        self.assertEqual(self.select("X-User: alice", target="/api"), "both")
        self.assertEqual(self.select("X-User: alice", target="/"), "user")
        self.assertEqual(self.select(target="/api"), "path")

    def test_the_older_one_of_equals(self) -> None:
        self.attach("first", "header:X-A=1")
        self.attach("second", "header:X-B=1")
        self.assertEqual({self.select("X-A: 1", "X-B: 1") for _ in range(20)}, {"first"})

    def test_same_filter_by_weight(self) -> None:
        self.attach("pod")
        self.attach("one", "header:X-User=alice", weight=1)
        self.attach("three", "header:X-User=alice", weight=3)
        drawn = [self.select("X-User: alice") for _ in range(2000)]
        self.assertEqual(set(drawn), {"one", "three"})
        self.assertApproximates(drawn.count("three") / 2000, 0.75, 0.04)

    def test_failed_ones(self) -> None:
        """The next filter that matches, then those without filters, then none."""
        pod = self.attach("pod")
        both = self.attach("both", "header:X-User=alice; path^=/")
        user = self.attach("user", "header:X-User=alice")
        self.assertEqual(self.select("X-User: alice", failed=[both]), "user")
        self.assertEqual(self.select("X-User: alice", failed=[both, user]), "pod")
        self.assertIsNone(self.select("X-User: alice", failed=[both, user, pod]))

    def test_avoided_ones(self) -> None:
        """The pod answers; without a pod the avoided one is better than nobody."""
        pod = self.attach("pod")
        alice = self.attach("alice", "header:X-User=alice")
        self.registry.avoid(alice, True)
        self.assertEqual(self.select("X-User: alice"), "pod")
        self.assertEqual(self.select("X-User: alice", failed=[pod]), "alice")
        self.registry.remove(pod)
        self.assertEqual(self.select("X-User: alice"), "alice")
        self.assertIsNone(self.select())
        self.registry.avoid(alice, False)
        self.attach("pod")
        self.assertEqual(self.select("X-User: alice"), "alice")

    def test_alone(self) -> None:
        """Nobody gets what the filter does not ask for."""
        alice = self.attach("alice", "header:X-User=alice")
        self.assertIsNone(self.select())
        self.assertEqual(self.select("X-User: alice"), "alice")
        self.registry.remove(alice)
        self.assertIsNone(self.registry.get(TUNNEL))

    def test_connections_without_http(self) -> None:
        """They have no fields and go by the weights."""
        self.attach("pod")
        self.attach("alice", "host=shop.example.org")
        self.assertEqual(self.select(), "alice")
        for protocol in (VisitorProtocol.TLS, VisitorProtocol.RELAY):
            query = Query()
            query.protocol = protocol
            connector = self.selector.select(TUNNEL, query)
            assert connector is not None
            self.assertEqual(connector.name, "pod")

    def test_probes(self) -> None:
        """Health checks go to the pod unless a filter names them."""
        self.attach("pod")
        self.attach("alice", "path^=/health")
        self.assertEqual(self.select(target="/health"), "alice")
        self.assertEqual(self.select("User-Agent: kube-probe/1.31", target="/health"), "pod")
        self.attach("prober", "header:User-Agent^=kube-probe")
        self.assertEqual(self.select("User-Agent: kube-probe/1.31", target="/health"), "prober")

    def test_most_requests_are_not_compared(self) -> None:
        """One search tells that no filter can match: of that many it makes no difference."""
        self.attach("pod")
        self.attach("alice", *(f"header:X-User=user-{number}; path=/" for number in range(10)))
        tunnel = self.registry.get(TUNNEL)
        assert tunnel is not None
        for fields, asks in ((("X-Users: a", "X-Us: b"), False), (("A: b", "x-USER:user-1"), True)):
            self.assertEqual(tunnel.asks(Query(*fields)), asks)
        self.attach("bob", "path=/b")
        self.assertTrue(tunnel.asks(Query()))

    def test_without_filters_nothing_is_read(self) -> None:
        for connectors in range(2):
            self.attach(f"pod {connectors}")
            query = Query()
            self.selector.select(TUNNEL, query)
            self.assertEqual(query.asked, 0)


_FILTERS = st.sampled_from(
    [
        *("header:X=1", "header:X=2", "header:X", "header:X^=1", "header:Y=1", "header:X=1; header:Y=1", "cookie:c=1"),
        *("path^=/a", "path=/a/b", "method=GET", "query:q=1; method=POST", "!header:X; path^=/a", "baggage:s=alice", "host=h"),
    ]
)
_LINES = st.lists(st.sampled_from(["X: 1", "X: 12", "X: 2", "Y: 1", "Cookie: c=1", "Baggage: s=alice"]), max_size=3)


class ReferenceTests(Case):
    """Compared with the same choice made without an index."""

    @settings(deadline=None, max_examples=400)
    @given(
        attached=st.lists(st.lists(_FILTERS, max_size=3, unique=True), max_size=8),
        fields=_LINES,
        target=st.sampled_from(["/", "/a", "/a/b", "/ab?q=1", "/a?q=2"]),
        method=st.sampled_from(["GET", "POST"]),
        failed=st.sets(st.integers(0, 7)),
    )
    def test_choice(self, attached: list[list[str]], fields: list[str], target: str, method: str, failed: set[int]) -> None:
        self.setUp()
        connectors = [self.attach(str(number), *filters) for number, filters in enumerate(attached)]
        excluded = [connectors[number] for number in failed if number < len(connectors)]
        query = Query(*fields, target=target, method=method, host="h")
        properties = RequestProperties(query)
        ages = {wanted: -age for age, wanted in enumerate(dict.fromkeys(one for c in connectors for one in c.filters))}
        matching = [
            ((*wanted.rank, ages[wanted]), connector)
            for connector in connectors
            for wanted in connector.filters
            if wanted.fits(properties) and connector not in excluded
        ]
        best = max((rank for rank, _ in matching), default=None)
        expected = {connector for rank, connector in matching if rank == best} or {
            connector for connector in connectors if not connector.filters and connector not in excluded
        }
        found = self.selector.select(TUNNEL, query, excluded)
        self.assertEqual(found in expected, bool(expected))
        if not expected:
            self.assertIsNone(found)


class ComingAndGoingTests(Case):
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.lists(_FILTERS, max_size=3, unique=True), st.booleans()), max_size=8), _LINES, st.sampled_from("/ab")
    )
    def test_as_if_others_had_never_come(self, attached: list[tuple[list[str], bool]], fields: list[str], path: str) -> None:
        """Those who have left make no difference."""
        target = "/" if path == "/" else f"/{path}"
        self.setUp()
        for number, (filters, _) in enumerate(attached):
            self.attach(str(number), *filters)
        for connector in list(self.registry):
            if attached[int(connector.name)][1]:
                self.registry.remove(connector)
        found = self.matching(fields, target)
        self.setUp()
        for number, (filters, leaves) in enumerate(attached):
            if not leaves:
                self.attach(str(number), *filters)
        self.assertEqual(found, self.matching(fields, target))

    def matching(self, fields: list[str], target: str) -> list[tuple[str, list[str]]]:
        tunnel = self.registry.get(TUNNEL)
        turns = () if tunnel is None else tunnel.turns(Query(*fields, target=target))
        return [(str(wanted), [member.name for member in members]) for wanted, members in turns]


class ConflictTests(Case):
    """What is answered to a client that asks for somebody else's requests."""

    def conflict(self, wanted: str, holder: str = "bob") -> str | None:
        tunnel = self.registry.get(TUNNEL)
        assert tunnel is not None
        found = tunnel.conflict([parse(wanted)], holder)
        return None if found is None else f"{found.connector.name}: {found.filter}"

    def overlaps(self, wanted: str) -> list[str]:
        tunnel = self.registry.get(TUNNEL)
        assert tunnel is not None
        return [str(found.filter) for found in tunnel.overlaps([parse(wanted)], "bob")]

    def test_conflicts(self) -> None:
        self.attach("alice", "header:X-User=alice; path^=/api", "cookie:debug")
        for wanted, taken in (
            ("header:X-User=alice; path^=/api", "alice: header:x-user=alice; path^=/api"),
            # contained: it would take a part of hers
            ("header:X-User=alice; path^=/api/v1", "alice: header:x-user=alice; path^=/api"),
            ("header:X-User=alice; path^=/api; method=GET", "alice: header:x-user=alice; path^=/api"),
            ("cookie:debug=1", "alice: cookie:debug"),
            # wider: hers is more specific and wins
            ("header:X-User=alice", None),
            ("path^=/api", None),
            ("header:X-User=bob; path^=/api", None),
        ):
            self.assertEqual(self.conflict(wanted), taken, wanted)

    def test_own_ones(self) -> None:
        """Several connectors of one holder share."""
        self.attach("alice", "header:X-User=alice")
        self.assertIsNone(self.conflict("header:X-User=alice", holder="alice"))

    def test_avoided_ones_still_hold(self) -> None:
        self.registry.avoid(self.attach("alice", "header:X-User=alice"), True)
        self.assertIsNotNone(self.conflict("header:X-User=alice"))

    def test_overlaps(self) -> None:
        self.attach("alice", "header:X-User=alice", "path^=/api")
        self.assertEqual(self.overlaps("header:X-User=bob"), ["path^=/api"])
        self.assertEqual(self.overlaps("header:X-User=bob; path^=/web"), [])
        self.assertEqual(self.overlaps("cookie:debug"), ["header:x-user=alice", "path^=/api"])

    @settings(deadline=None)
    @given(
        st.lists(st.lists(_FILTERS, min_size=1, max_size=3), max_size=6),
        st.lists(_FILTERS, min_size=1, max_size=3),
    )
    def test_found_as_by_looking_at_all(self, attached: list[list[str]], wanted: list[str]) -> None:
        """Those that are left out because they ask for another value are in nobody's way."""
        self.setUp()
        others = [self.attach(str(number), *filters) for number, filters in enumerate(attached)]
        filters = tuple(map(parse, wanted))
        tunnel = self.registry.get(TUNNEL)
        if tunnel is not None:
            plainly = find_conflict(others, filters, "me")
            self.assertEqual(tunnel.conflict(filters, "me") is None, plainly is None)
            pairs = {
                (one, other, who.name) for who in others for other in who.filters for one in filters if not other.excludes(one)
            }
            found = tunnel.overlaps(filters, "me")
            self.assertEqual({(one.wanted, one.filter, one.connector.name) for one in found}, pairs)

    def test_users_count_not_names(self) -> None:
        """Whoever is authenticated is told apart by the user, whatever the client calls itself."""
        self.registry.add(Connector(UUID(int=9), TUNNEL, 1, "", user="alice", name="bob", filters=(parse("header:X"),)))
        self.assertIsNotNone(self.conflict("header:X", holder="bob"))
        self.assertIsNone(self.conflict("header:X", holder="alice"))
