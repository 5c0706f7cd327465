"""What hosts demand of clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter, session_filters
from rtunnel.routing.policies import Demand, OnAbsent, Policies, Policy, PolicyRow, ServedBy, Shares
from tests.support.ids import TUNNEL

DEFAULTS = Policy(max_lease=100.0, idle=50.0, served_by=ServedBy.ON_REQUEST)
HOSTS = ("a.example.org", "b.example.org", "example.org", "a.b.example.org", "other.net")
PATTERNS = (*HOSTS, "*.example.org", "*.b.example.org", "*.org", "*")


def policies(*rows: PolicyRow) -> Policies:
    return Policies(rows, DEFAULTS)


def row(pattern: str, shares: Shares | None = None, **more: object) -> PolicyRow:
    return PolicyRow(pattern=pattern, shares=shares, **more)  # type: ignore[arg-type]


class HostTests(SynchronousTestCase):
    """The most specific row that says something counts."""

    def test_options(self) -> None:
        nothing = policies()
        self.assertEqual(nothing.of_tunnel(["a.example.org"]), DEFAULTS)
        self.assertEqual((nothing.served_by("a"), nothing.withholds("a")), (ServedBy.ON_REQUEST, False))
        self.assertTrue(nothing.say_who)
        self.assertFalse(Policies((), Policy()).say_who)

    def test_most_specific(self) -> None:
        some = policies(
            row("*", served_by=ServedBy.ALWAYS, on_absent=OnAbsent.UNAVAILABLE),
            row("*.example.org", served_by=ServedBy.NEVER),
            row("a.example.org", on_absent=OnAbsent.POD),
        )
        self.assertEqual([some.served_by(host) for host in ("a.example.org", "example.org", "net")], ["never", "never", "always"])
        self.assertEqual([some.withholds(host) for host in ("a.example.org", "b.example.org", "net")], [False, True, True])
        self.assertEqual((some.say_who, some.withhold), (True, True))

    def test_spellings(self) -> None:
        self.assertEqual(PolicyRow(pattern=".Example.org.").pattern, "*.example.org")
        self.assertRaises(ValueError, PolicyRow, pattern="a.*.org")


class TunnelTests(SynchronousTestCase):
    """The strictest of what is said of its hosts counts."""

    def test_several_hosts(self) -> None:
        some = policies(
            row("a.example.org", Shares.OWNERS, max_lease=200.0, require=(Demand.parse("session"),)),
            row("other.net", Shares.FORBID, max_lease=0.0, idle=10.0, require=(Demand.parse("header"),)),
        )
        self.assertEqual(some.of_tunnel(["a.example.org"]).max_lease, 200, "in place of the option")
        both = some.of_tunnel(["a.example.org", "other.net"])
        self.assertEqual((both.shares, both.max_lease, both.idle), (Shares.FORBID, 200, 10))
        self.assertEqual(len(both.require), 2)
        self.assertEqual(some.of_tunnel(["a.example.org", "b.example.org"]).max_lease, 100, "that of the host without a row")

    def test_part_of_a_rule(self) -> None:
        """A rule leads more hosts there than the row names."""
        self.assertIs(policies(row("a.example.org", Shares.FORBID)).of_tunnel(["*.example.org"]).shares, Shares.FORBID)
        self.assertIs(policies(row("*.b.example.org", Shares.FORBID)).of_tunnel(["*"]).shares, Shares.FORBID)
        self.assertIs(policies(row("a.example.org", Shares.FORBID)).of_tunnel(["*.b.example.org"]).shares, Shares.ALLOW)

    def test_without_a_host(self) -> None:
        """A tunnel without a rule, where its ID is enough."""
        self.assertIs(policies(row("a.example.org", Shares.FORBID)).of_tunnel([]).shares, Shares.ALLOW)
        self.assertIs(policies(row("*", Shares.FORBID)).of_tunnel([]).shares, Shares.FORBID)

    @given(
        st.dictionaries(st.sampled_from(PATTERNS), st.sampled_from(Shares)),
        st.lists(st.sampled_from(PATTERNS), min_size=1, unique=True),
    )
    def test_never_less_strict_than_a_host(self, said: dict[str, Shares], patterns: list[str]) -> None:
        some = policies(*(row(pattern, shares) for pattern, shares in said.items()))
        table = IngressTable(IngressRule(pattern, TUNNEL) for pattern in patterns)
        whole = some.of_tunnel(patterns)
        for host in HOSTS:
            if table.lookup(host) is not None:
                strict = list(Shares).index(some.of_tunnel([host]).shares)
                self.assertGreaterEqual(list(Shares).index(whole.shares), strict, (host, said, patterns))


class DemandTests(SynchronousTestCase):
    def test_met(self) -> None:
        for demand, met, not_met in (
            (
                "header:X-User",
                ("header:x-user=alice", "path^=/a; header:X-User=b"),
                ("header:X-User", "header:X-Other=a", "path=/"),
            ),
            ("header", ("header:X=1",), ("header:X^=1", "header:X*=*", "!header:X=1; path=/", "cookie:X=1", "header:X=")),
            ("session", tuple(map(str, session_filters("alice"))), ("cookie:other=alice", "cookie:rtunnel-session")),
            ("query:Who", ("query:Who=me",), ("query:who=me",)),
            ("baggage", ("baggage:a=b",), ("cookie:a=b",)),
        ):
            policy = policies(row("*", require=(Demand.parse(demand),))).of_tunnel(["a"])
            for text in met:
                self.assertEqual(policy.missing(InterceptFilter.parse(text)), (), (demand, text))
            for text in not_met:
                self.assertEqual(
                    list(map(str, policy.missing(InterceptFilter.parse(text)))), [demand.lower() if "header" in demand else demand]
                )

    def test_one_of_several(self) -> None:
        demands = tuple(map(Demand.parse, ("session", "header:X-User")))
        policy = policies(row("a", require=demands), row("b", require=())).of_tunnel(["a", "b"])
        self.assertEqual(policy.missing(InterceptFilter.parse("header:X-User=a")), ())
        self.assertEqual(policy.missing(InterceptFilter.parse("path=/")), demands)

    def test_refused(self) -> None:
        for text in ("path", "method", "header:", "session:alice", "", "X-User"):
            self.assertRaises(ValueError, Demand.parse, text)


class ShareTests(SynchronousTestCase):
    def test_who_may(self) -> None:
        """The pod always, an owner where owners may, the others where all may."""
        for shares, anybody, owner in ((Shares.ALLOW, True, True), (Shares.OWNERS, False, True), (Shares.FORBID, False, False)):
            policy = Policy(shares=shares)
            self.assertEqual(not policy.refused_share(pod=False, owner=False), anybody)
            self.assertEqual(not policy.refused_share(pod=False, owner=True), owner)
            self.assertFalse(policy.refused_share(pod=True, owner=False))
