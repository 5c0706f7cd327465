"""Ingress rules: how they are written, and which one a host finds."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import IngressRule, IngressTable, normalise_host

TEXT = "10bc451e-59dc-4c70-999e-91a30813ac78"
NGINX = UUID(TEXT)


def tunnel(number: int) -> UUID:
    return UUID(int=number)


class RuleTests(SynchronousTestCase):
    """What a rule may look like."""

    def test_forms(self) -> None:
        public, private = IngressRule("nginx.local", NGINX), IngressRule("nginx.local", NGINX, private=True)
        for text, rule in (
            (f"nginx.local:{TEXT}", public),
            (f"nginx.local={TEXT}", public),
            (f"nginx.local:${TEXT}", private),
            (f"nginx.local=${TEXT}", private),
            (f" nginx.local = {TEXT} ", public),
            (f"NGINX.Local.:{TEXT.upper()}", public),
        ):
            self.assertEqual(IngressRule.parse(text), rule, text)

    def test_patterns_have_one_form(self) -> None:
        for text, pattern in (
            ("Nginx.LOCAL", "nginx.local"),
            ("nginx.local.", "nginx.local"),
            ("*.Example.org.", "*.example.org"),
            (".example.org", "*.example.org"),
            ("*", "*"),
            ("localhost", "localhost"),
            ("my_service", "my_service"),
            ("192.168.1.1", "192.168.1.1"),
            ("[::1]", "::1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a" * 63, "a" * 63),
        ):
            rule = IngressRule(text, NGINX)
            self.assertEqual(rule.pattern, pattern)
            self.assertEqual(IngressRule(rule.pattern, NGINX), rule)

    def test_as_text(self) -> None:
        for text in (f"nginx.local={TEXT}", f"*.example.org=${TEXT}", f"[::1]={TEXT}", f"*={TEXT}"):
            rule = IngressRule.parse(text)
            self.assertEqual(str(rule), text)
            self.assertEqual(IngressRule.parse(str(rule)), rule)

    def refused(self, text: str, words: str) -> None:
        error = str(self.assertRaises(ValueError, IngressRule.parse, text))
        self.assertIn(words, error)
        self.assertEqual(len(error.splitlines()), 1)

    def test_no_rule(self) -> None:
        for text in ("", "nginx.local", TEXT, f":{TEXT}", f"={TEXT}"):
            self.refused(text, "is not a rule")

    def test_no_tunnel(self) -> None:
        # the last two: what a shell leaves of a $uuid in double quotes
        for text in ("nginx.local:$", "nginx.local=$", "nginx.local:", "nginx.local="):
            self.refused(text, "single quotes")

    def test_no_uuid(self) -> None:
        for uuid in (TEXT[:-1], TEXT + "0", f"{{{TEXT}}}", TEXT.replace("-", ""), f"$${TEXT}", "web"):
            self.refused(f"nginx.local={uuid}", "has no valid UUID")
        self.refused(f"nginx.local={UUID(int=0)}", "zeros")

    def test_no_host(self) -> None:
        for host in (
            "..",
            ".",
            "*..",
            "a..b",
            "-a.org",
            "a-.org",
            "a b",
            "a/b",
            "a" * 64,
            "a." * 127 + "a",
            "[nginx.local]",
            "a\nb",
        ):
            self.refused(f"{host}={TEXT}", "host")

    def test_wildcards_stand_in_front(self) -> None:
        for host in ("a.*.org", "*a.org", "**.org", "*.*.org", "a.*", ".*"):
            self.refused(f"{host}={TEXT}", "wildcard")

    def test_no_port(self) -> None:
        self.refused(f"nginx.local:80:{TEXT}", "port")
        self.refused(f"[::1]:80={TEXT}", "port")

    def test_ascii_only(self) -> None:
        self.refused(f"b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example={TEXT}", "xn--")
        # the Kelvin sign becomes a plain k in lower case
        self.refused(f"\N{KELVIN SIGN}.example={TEXT}", "xn--")

    def test_a_rule_made_by_hand_is_checked_as_well(self) -> None:
        self.assertRaises(ValueError, IngressRule, "a b", NGINX)


class HostTests(SynchronousTestCase):
    """The host as a visitor writes it."""

    def test_normalise(self) -> None:
        for text, host in (
            ("nginx.local", "nginx.local"),
            ("NGINX.local.:8080", "nginx.local"),
            ("nginx.local:", "nginx.local"),
            ("192.168.1.1:80", "192.168.1.1"),
            ("[::1]", "::1"),
            ("[2001:DB8:0:0::1]:443", "2001:db8::1"),
            ("::1", "::1"),
            ("[::1", "::1"),
            ("a:b:c", "a:b:c"),
            ("nginx.local..", "nginx.local."),
            ("", ""),
        ):
            self.assertEqual(normalise_host(text), host, text)


class CountedDict(dict[str, IngressRule]):
    """Counts look-ups."""

    count = 0

    def get(self, key: str, default: object = None) -> IngressRule | None:  # type: ignore[override]
        self.count += 1
        return super().get(key)


class TableTests(SynchronousTestCase):
    """Which rule a host finds."""

    def table(self, *patterns: str) -> IngressTable:
        return IngressTable(IngressRule(pattern, tunnel(number)) for number, pattern in enumerate(patterns, 1))

    def found(self, table: IngressTable, host: str) -> str | None:
        rule = table.lookup(host)
        return None if rule is None else rule.pattern

    def test_exact(self) -> None:
        table = self.table("nginx.local", "192.168.1.1", "[::1]")
        self.assertEqual(self.found(table, "nginx.local"), "nginx.local")
        self.assertEqual(self.found(table, "192.168.1.1"), "192.168.1.1")
        self.assertEqual(self.found(table, normalise_host("[0::1]:80")), "::1")
        for host in ("a.nginx.local", "local", "xnginx.local", "", "."):
            self.assertIsNone(table.lookup(host), host)

    def test_wildcards_take_the_apex_and_any_depth(self) -> None:
        for pattern in ("*.example.org", ".example.org"):
            table = self.table(pattern)
            for host in ("example.org", "a.example.org", "a.b.c.example.org"):
                self.assertEqual(self.found(table, host), "*.example.org")
            for host in ("org", "anexample.org", "example.org.uk", "example.com", ""):
                self.assertIsNone(table.lookup(host), host)

    def test_the_most_exact_rule_is_taken(self) -> None:
        table = self.table("*.org", "a.example.org", "*.b.example.org", "*", "*.example.org")
        for host, pattern in (
            ("a.example.org", "a.example.org"),
            ("x.a.example.org", "*.example.org"),
            ("example.org", "*.example.org"),
            ("b.example.org", "*.b.example.org"),
            ("x.y.b.example.org", "*.b.example.org"),
            ("other.org", "*.org"),
            ("org", "*.org"),
            ("example.com", "*"),
            ("::1", "*"),
            ("", "*"),
        ):
            self.assertEqual(self.found(table, host), pattern, host)

    def test_an_exact_rule_beside_its_wildcard(self) -> None:
        table = self.table("*.example.org", "example.org")
        self.assertEqual(self.found(table, "example.org"), "example.org")
        self.assertEqual(self.found(table, "a.example.org"), "*.example.org")

    def test_private_rules_are_found_as_such(self) -> None:
        table = IngressTable([IngressRule("ssh.local", NGINX, private=True)])
        self.assertEqual(table.lookup("ssh.local"), IngressRule("ssh.local", NGINX, private=True))

    def test_two_rules_for_one_host(self) -> None:
        for one, two, named in (
            ("nginx.local", "NGINX.local.", "nginx.local"),
            ("*.example.org", ".example.org", "*.example.org"),
            ("*", "*", "*"),
            ("[::1]", "[0::1]", "::1"),
        ):
            error = self.assertRaises(ValueError, self.table, one, two)
            self.assertIn(f'"{named}"', str(error))
        public, private = IngressRule("nginx.local", NGINX), IngressRule("nginx.local", NGINX, private=True)
        self.assertRaises(ValueError, IngressTable, [public, private])

    def test_a_repeated_rule_is_one(self) -> None:
        rule = IngressRule("nginx.local", NGINX)
        self.assertEqual(IngressTable([rule, IngressRule("NGINX.LOCAL", NGINX)]).rules, (rule,))

    def test_empty(self) -> None:
        self.assertIsNone(IngressTable([]).lookup("nginx.local"))

    def test_cost_does_not_grow_with_the_rules(self) -> None:
        rules = [IngressRule(f"host{number}.example.org", tunnel(number)) for number in range(5000)]
        rules += [IngressRule(f"*.zone{number}.example.org", tunnel(number)) for number in range(5000)]
        table = IngressTable(rules)
        self.assertEqual(table.lookup("host4999.example.org"), rules[4999])
        self.assertEqual(table.lookup("a.b.zone4999.example.org"), rules[9999])
        exact, below = CountedDict(table._exact), CountedDict(table._below)
        table._exact, table._below = exact, below
        self.assertIsNone(table.lookup("a.b.nowhere.example.com"))
        self.assertEqual((exact.count, below.count), (1, 5))
        # longer than any name: not worth a look at each label
        self.assertIsNone(table.lookup("a." * 30000 + "zone1.example.org"))
        self.assertEqual((exact.count, below.count), (2, 5))


labels = st.sampled_from(["a", "b", "org"])
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
patterns = st.one_of(hosts, hosts.map("*.{}".format), st.just("*"))


def rank(pattern: str, host: str) -> tuple[int, int] | None:
    """How well a pattern fits, None for not at all: the rules once more, the slow way."""
    if pattern == host:
        return 2, 0
    if pattern == "*":
        return 0, 0
    if pattern.startswith("*.") and (host == pattern[2:] or host.endswith(pattern[1:])):
        return 1, len(pattern)
    return None


class TablePropertyTests(SynchronousTestCase):
    """The table finds what comparing with every rule finds."""

    @settings(deadline=None, max_examples=200)
    @given(st.sets(patterns, max_size=10), hosts)
    def test_like_the_slow_way(self, known: set[str], host: str) -> None:
        table = IngressTable(IngressRule(pattern, NGINX) for pattern in known)
        ranks = {pattern: fit for pattern in known if (fit := rank(pattern, host)) is not None}
        best = max(ranks, key=ranks.__getitem__, default=None)
        rule = table.lookup(host)
        self.assertEqual(None if rule is None else rule.pattern, best)

    @settings(deadline=None, max_examples=200)
    @given(st.text(max_size=40))
    def test_any_text_is_a_rule_or_a_value_error(self, text: str) -> None:
        normalise_host(text)
        for candidate in (text, f"{text}={TEXT}"):
            try:
                rule = IngressRule.parse(candidate)
            except ValueError:
                continue
            self.assertEqual(IngressRule.parse(str(rule)), rule)
