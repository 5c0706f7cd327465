"""What may be reached: rules, names, and the addresses that only a literal rule opens."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.reach import MAX_RULES, ReachGate, ReachRule, ReachRules, Special, special_address, special_name

API = ip_address("10.96.0.1")
OWN = ip_address("10.1.2.3")


class ReachCase(SynchronousTestCase):
    def gate(self, rules: str) -> ReachGate:
        return ReachGate(ReachRules.parse(rules).rules, [API], lambda address: address == OWN)

    def allows(self, rules: str, host: str, port: int, *addresses: str) -> None:
        gate = self.gate(rules)
        self.assertIsNone(gate.refuses_name(host, port))
        for address in addresses:
            self.assertIsNone(gate.refuses_address(host, port, ip_address(address)))

    def denies_name(self, rules: str, host: str, port: int, words: str = "no rule") -> None:
        self.assertIn(words, self.gate(rules).refuses_name(host, port) or "")

    def denies(self, rules: str, host: str, port: int, address: str, special: Special) -> None:
        """The name passes, its address does not."""
        gate = self.gate(rules)
        self.assertIsNone(gate.refuses_name(host, port))
        why = gate.refuses_address(host, port, ip_address(address)) or ""
        self.assertIn(special.value, why)
        self.assertIn(address if address == host else f"is at {address}, which is", why)


class RuleTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for text in (
            "postgres:5432",
            "*.shop.svc:80",
            "10.0.7.*:8000-8099",
            "[fd00::7]:443",
            "*:*",
            "a-b_c.d:1",
            "dns:53/udp",
            "[::1]:*/udp",
        ):
            rule = ReachRule.parse(text)
            self.assertEqual((str(rule), ReachRule.parse(str(rule))), (text, rule))

    def test_spellings(self) -> None:
        self.assertEqual(str(ReachRules.parse(" Postgres.:5432, [FD00:0::7]:1-65535 ,")), "postgres:5432,[fd00::7]:*")

    def test_datagrams(self) -> None:
        """A rule is for connections or for datagrams."""
        gate = ReachGate(ReachRules.parse("dns:53/udp,dns:80,*:1/udp").rules)
        self.assertIsNone(gate.refuses_name("dns", 53, udp=True))
        self.assertIn("dns:53", gate.refuses_name("dns", 53) or "")
        self.assertIn("dns:80/udp", gate.refuses_name("dns", 80, udp=True) or "")
        self.assertIn("localhost:1/udp is the loopback", gate.refuses_name("localhost", 1, udp=True) or "")
        self.assertIn("dns:1/udp is at 127.0.0.1", gate.refuses_address("dns", 1, ip_address("127.0.0.1"), udp=True) or "")

    def test_refused(self) -> None:
        for text, words in (
            ("", "no rule"),
            ("postgres", "has no port"),
            (":80", "has no port"),
            ("a:0", "no port from 1"),
            ("a:65536", "no port from 1"),
            ("a:53/tcp", "no port from 1"),
            ("a:/udp", "no port from 1"),
            ("a:9-8", "no range"),
            ("a:http", "no port from 1"),
            ("a b:80", "is no host"),
            ("http://a:80", "is no host"),
            ("fd00::7:80", "is no host"),
            ("[web]:80", "no address of IPv6"),
            (",".join(f"a{number}:1" for number in range(MAX_RULES + 1)), "more than"),
        ):
            self.assertIn(words, str(self.assertRaises(ValueError, ReachRules.parse, text)), text)

    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        try:
            rules = ReachRules.parse(text)
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertEqual(ReachRules.parse(str(rules)), rules)


class NameTests(ReachCase):
    def test_allowed(self) -> None:
        self.allows("postgres:5432", "postgres", 5432, "10.0.0.7")
        self.allows("postgres:5432", "POSTGRES.", 5432)
        self.allows("*.shop.svc:80", "a.b.shop.svc", 80)
        self.allows("10.0.7.*:8000-8099", "10.0.7.9", 8001, "10.0.7.9")
        self.allows("[fd00::7]:443", "fd00:0:0::7", 443, "fd00::7")

    def test_denied(self) -> None:
        self.denies_name("postgres:5432", "postgres", 5433)
        self.denies_name("postgres:5432", "postgres.shop.svc", 5432)
        self.denies_name("postgres:5432", "xpostgres", 5432)
        self.denies_name("*.shop.svc:80", "shop.svc", 80)
        self.denies_name("*.shop.svc:80", "a.shop.svc.evil.example", 80)
        self.denies_name("10.0.7.*:80", "10.0.8.1", 80)

    def test_nothing_by_default(self) -> None:
        self.assertIn("no rule", ReachGate(ReachRules().rules).refuses_name("a", 1) or "")

    def test_special_names(self) -> None:
        """A pattern does not open them, a literal rule does."""
        for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "Kubernetes.default.svc.cluster.local"):
            self.denies_name("*:*,*.svc:*,k*:*", name, 443, Special.API.value)
        for name in ("localhost", "a.localhost", "LOCALHOST."):
            self.denies_name("*:*", name, 80, Special.LOOPBACK.value)
        self.denies_name("*:80", "metadata.google.internal", 80, Special.METADATA.value)
        self.allows("kubernetes.default.svc:443", "kubernetes.default.svc", 443, str(API))
        self.allows("localhost:80", "localhost", 80, "127.0.0.1", "::1")
        self.assertIsNone(special_name("kubernetes-dashboard.default.svc"))

    def test_ports_of_the_node(self) -> None:
        """They need a rule for exactly the port."""
        self.denies_name("10.0.0.7:*", "10.0.0.7", 10250, Special.NODE_PORT.value)
        self.denies_name("*:10250", "10.0.0.7", 10250, Special.NODE_PORT.value)
        self.allows("10.0.0.7:10250", "10.0.0.7", 10250, "10.0.0.7")


class AddressTests(ReachCase):
    def test_rebinding(self) -> None:
        """A name that is allowed, also literally, leads nowhere special."""
        for rules, host in (("*.example.org:80", "a.example.org"), ("db.shop:80", "db.shop")):
            self.denies(rules, host, 80, "169.254.169.254", Special.METADATA)
            self.denies(rules, host, 80, "fd00:ec2::254", Special.METADATA)
            self.denies(rules, host, 80, "127.0.0.1", Special.LOOPBACK)
            self.denies(rules, host, 80, "::1", Special.LOOPBACK)
            self.denies(rules, host, 80, "0.0.0.0", Special.LOOPBACK)
            self.denies(rules, host, 80, "169.254.1.1", Special.LINK_LOCAL)
            self.denies(rules, host, 80, "fe80::1", Special.LINK_LOCAL)
            self.denies(rules, host, 80, "224.0.0.1", Special.UNUSUAL)
            self.denies(rules, host, 80, "255.255.255.255", Special.UNUSUAL)
            self.denies(rules, host, 80, str(API), Special.API)
            self.denies(rules, host, 80, str(OWN), Special.OWN)

    def test_a_name_of_one_kind_opens_no_other(self) -> None:
        self.denies("localhost:80", "localhost", 80, "169.254.169.254", Special.METADATA)
        self.denies("kubernetes.default:443", "kubernetes.default", 443, "127.0.0.1", Special.LOOPBACK)

    def test_patterns_open_nothing_special(self) -> None:
        for host in ("127.0.0.1", "169.254.169.254", "10.1.2.3", "10.96.0.1"):
            special = special_address(ip_address(host)) or (Special.OWN if host == str(OWN) else Special.API)
            self.denies("*:80,1*:80", host, 80, host, special)

    def test_literally(self) -> None:
        """Exactly that address and port."""
        self.allows("127.0.0.1:6379", "127.0.0.1", 6379, "127.0.0.1")
        self.denies_name("127.0.0.1:6379", "127.0.0.1", 6380)
        self.allows("169.254.169.254:80", "169.254.169.254", 80, "169.254.169.254")
        self.denies("127.0.0.1:80,127.0.0.*:80", "127.0.0.2", 80, "127.0.0.2", Special.LOOPBACK)

    def test_addresses_of_ipv4_inside(self) -> None:
        for text in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"):
            self.assertIs(special_address(ip_address(text)), Special.LOOPBACK, text)
        self.assertIs(special_address(ip_address("64:ff9b::a9fe:a9fe")), Special.METADATA)
        self.assertIn("API", self.gate("a:1").refuses_address("a", 1, ip_address(f"::ffff:{API}")) or "")

    def test_usual_ones(self) -> None:
        for text in ("10.0.0.7", "172.20.0.1", "192.168.1.1", "100.64.0.1", "203.0.113.9", "fd00::7", "2001:db8::1"):
            self.assertIsNone(special_address(ip_address(text)), text)
