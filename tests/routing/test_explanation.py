"""Explanations agree with what happens."""

from __future__ import annotations

from collections import Counter
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.explanation import AskedRequest, Explanation, explain
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.selection import Selector
from rtunnel.routing.tunnels import Connector, TunnelRegistry

TUNNEL, PRIVATE = UUID(int=1), UUID(int=2)
HOST = "shop.example.org"
FILTERS = ("header:X-User=alice", "header:X-User^=al", "header:X-User=alice; path^=/api", "header:X-User; !method=POST", "path=/")
DRAWS = 200


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry: TunnelRegistry[str] = TunnelRegistry(Random(7).random)
        rules = (IngressRule(HOST, TUNNEL), IngressRule("private.local", PRIVATE, private=True))
        self.selector = Selector(self.registry, IngressTable(rules))

    def attach(self, name: str, *filters: str, weight: int = 1, datagrams: bool = False) -> Connector[str]:
        parsed = tuple(map(InterceptFilter.parse, filters))
        connector = Connector(
            UUID(int=len(list(self.registry))), TUNNEL, weight, "", name=name, filters=parsed, datagrams=datagrams
        )
        self.registry.add(connector)
        return connector

    def explain(self, user: str = "", path: str = "/", host: str = f"{HOST}:80") -> Explanation:
        return explain(self.selector, self.asked(user, path, host))

    def asked(self, user: str, path: str = "/", host: str = HOST) -> AskedRequest:
        return AskedRequest(host, "GET", path, (("X-User", user),) if user else ())

    def reasons(self, user: str = "", path: str = "/") -> dict[str, tuple[float, str]]:
        return {one.holder: (one.share, one.because) for one in self.explain(user, path).connectors}


class NobodyTests(Case):
    def test_no_rule(self) -> None:
        found = self.explain(host="other.local")
        self.assertEqual((found.rule, found.tunnel, found.status), (None, None, 404))
        self.assertIn("no rule", found.because)

    def test_private(self) -> None:
        found = self.explain(host="private.local")
        self.assertEqual((found.rule, found.status), ("private.local", 404))
        self.assertIn("private", found.because)

    def test_no_client(self) -> None:
        found = self.explain()
        self.assertEqual((found.status, found.because), (503, "no client has joined the tunnel"))

    def test_no_filter_matches_and_no_pod(self) -> None:
        self.attach("alice", "header:X-User=alice")
        self.attach("udp", datagrams=True)
        found = self.explain()
        self.assertEqual((found.status, found.because), (503, "no client takes the request"))
        self.assertEqual(self.reasons(), {"alice": (0, "none of its filters matches"), "udp": (0, "it takes datagrams only")})

    def test_suspended(self) -> None:
        self.attach("pod")
        self.registry.suspended = True
        found = self.explain()
        self.assertEqual((found.status, len(found.connectors)), (503, 1))
        self.assertIn("--max-buffered", found.because)


class ReasonTests(Case):
    def test_terms(self) -> None:
        self.attach("alice", "header:X-User=alice; !path^=/health")
        (wanted,) = self.explain("alice", "/health").connectors[0].filters
        self.assertFalse(wanted.matches)
        self.assertEqual(
            [(term.term, term.matches) for term in wanted.terms], [("!path^=/health", False), ("header:x-user=alice", True)]
        )

    def test_by_weight(self) -> None:
        self.attach("pod", weight=3)
        self.attach("laptop")
        found = self.explain()
        self.assertEqual((found.rule, found.status, found.because), (HOST, None, ""))
        self.assertEqual(
            self.reasons(),
            {
                "pod": (0.75, "no filter matches, and 3 of 4 is its share by weight"),
                "laptop": (0.25, "no filter matches, and 1 of 4 is its share by weight"),
            },
        )

    def test_exclusive(self) -> None:
        self.attach("pod")
        self.attach("laptop", weight=255)
        self.assertEqual(
            self.reasons(), {"laptop": (1, "no filter matches"), "pod": (0, "the weight 255 of laptop takes what no filter takes")}
        )

    def test_filters(self) -> None:
        self.attach("pod")
        self.attach("alice", "header:X-User=alice")
        self.attach("al", "header:X-User^=al")
        self.assertEqual(
            self.reasons("alice"),
            {
                "alice": (1, 'its filter "header:x-user=alice" matches'),
                "al": (0, 'the filter "header:x-user=alice" of alice is more specific, or older'),
                "pod": (0, 'the filter "header:x-user=alice" of alice takes it'),
            },
        )

    def test_avoided(self) -> None:
        alice = self.attach("alice", "header:X-User=alice")
        self.attach("pod")
        self.registry.avoid(alice, True)
        self.assertEqual(self.reasons("alice"), {"pod": (1, "no filter matches"), "alice": (0, "it is silent")})

    def test_failing(self) -> None:
        alice = self.attach("alice", "header:X-User=alice")
        pod = self.attach("pod")
        for connector, reasons in (
            (alice, {"pod": (1, "no filter matches"), "alice": (0, "its target for the host cannot be reached")}),
            (pod, {"alice": (1, 'its filter "header:x-user=alice" matches')}),
        ):
            connector.failing.add(HOST)[0].avoided = True
            self.registry.failing_changed(connector)
            found = self.reasons("alice")
            self.assertEqual({name: found[name] for name in reasons}, reasons)

    def test_probe(self) -> None:
        self.attach("pod")
        self.attach("alice", "path=/")
        request = AskedRequest(HOST, fields=(("User-Agent", "kube-probe/1.30"),))
        shares = {one.holder: (one.share, one.because) for one in explain(self.selector, request).connectors}
        self.assertEqual(shares["pod"][0], 1)
        self.assertIn("probes of load balancers", shares["alice"][1])


class AgreementTests(Case):
    """Whoever gets a request is said to get it, about as often as is said."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from((1, 2, 255)), st.sets(st.sampled_from(FILTERS), max_size=2)), max_size=6),
        st.sampled_from(("", "alice", "al", "bob")),
        st.sampled_from(("/", "/api", "/x")),
        st.sets(st.integers(0, 5)),
        st.sets(st.integers(0, 5)),
    )
    def test_shares(self, attached: list[tuple[int, set[str]]], user: str, path: str, avoided: set[int], failing: set[int]) -> None:
        self.setUp()
        for number, (weight, filters) in enumerate(attached):
            connector = self.attach(str(number), *filters, weight=weight)
            self.registry.avoid(connector, number in avoided)
            if number in failing:
                connector.failing.add(HOST)[0].avoided = True
                self.registry.failing_changed(connector)
        found = self.explain(user, path)
        drawn = [self.selector.select(TUNNEL, self.asked(user, path)) for _ in range(DRAWS)]
        counts = Counter(connector.name for connector in drawn if connector is not None)
        shares = {one.holder: one.share for one in found.connectors if one.share}
        self.assertEqual(found.status is None, bool(counts))
        self.assertLessEqual(set(counts), set(shares))
        for name, share in shares.items():
            self.assertLess(abs(counts[name] / DRAWS - share), 0.2)
