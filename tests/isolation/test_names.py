"""Names of a cluster on this machine: hosts, their addresses, the files that say so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.isolation.names import Destination, NamedHost, addresses_for, hosts_file, named_hosts, nsswitch_file

POSTGRES = ("postgres", "postgres.shop", "postgres.shop.svc", "postgres.shop.svc.cluster.local")


class HostTests(SynchronousTestCase):
    def test_one_host_under_two_names(self) -> None:
        """What the pod has to be asked for stays the name of the rule, port by port."""
        other = "postgres.shop.svc"
        names = (other, *(name for name in POSTGRES if name != other))
        hosts = named_hosts([Destination("postgres", 5432, POSTGRES), Destination(other, 9187, names)])
        self.assertEqual(hosts, [NamedHost(POSTGRES, {5432: "postgres", 9187: other})])

    def test_joined_by_a_third(self) -> None:
        hosts = named_hosts([Destination("a", 1, ("a", "x")), Destination("b", 2, ("b", "y")), Destination("c", 3, ("x", "y"))])
        self.assertEqual([(set(host.names), dict(host.ports)) for host in hosts], [(set("abxy"), {1: "a", 2: "b", 3: "c"})])

    def test_the_first_one_counts(self) -> None:
        hosts = named_hosts([Destination("a", 1, ("a", "x")), Destination("x", 1, ("x", "a"))])
        self.assertEqual([host.ports for host in hosts], [{1: "a"}])

    @given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 5), st.sets(st.sampled_from("abcdefgh"), max_size=4))))
    def test_each_name_is_of_one_host(self, raw: list[tuple[str, int, set[str]]]) -> None:
        destinations = [Destination(host, port, (host, *sorted(names))) for host, port, names in raw]
        hosts = named_hosts(destinations)
        names = [name for host in hosts for name in host.names]
        self.assertEqual(len(names), len(set(names)))
        for destination in destinations:
            (host,) = (host for host in hosts if destination.host in host.names)
            self.assertIn(destination.port, host.ports)
            self.assertLessEqual(set(destination.names), set(host.names))


class AddressTests(SynchronousTestCase):
    def test_stable_and_different(self) -> None:
        """The same at each start, whatever else is there; another one where it is taken."""
        host = NamedHost(POSTGRES, {5432: "postgres"})
        candidates = addresses_for(host, taken := set())
        first = next(candidates)
        self.assertEqual(first, next(addresses_for(NamedHost(POSTGRES[::-1], {}), ())))
        self.assertRegex(first, r"^127\.77\.\d+\.\d+$")
        taken.add(first)
        second = next(addresses_for(host, taken))
        self.assertNotEqual(first, second)
        self.assertEqual(second, next(candidates))

    def test_all_of_them(self) -> None:
        found = list(addresses_for(NamedHost(("a",), {}), ()))
        self.assertEqual(len(set(found)), 256 * 254)
        self.assertFalse([address for address in found if address.endswith((".0", ".255"))])


class FileTests(SynchronousTestCase):
    def test_hosts(self) -> None:
        """Ours come before those of the machine, which stay."""
        text = hosts_file("127.0.0.1 localhost\n10.0.0.1 postgres", {"127.77.0.5": ("postgres", "postgres.shop")})
        lines = text.splitlines()
        self.assertLess(lines.index("127.77.0.5\tpostgres postgres.shop"), lines.index("10.0.0.1 postgres"))
        self.assertIn("127.0.0.1 localhost", lines)

    def test_nsswitch(self) -> None:
        for text, expected in (
            ("hosts: files dns", "hosts: files dns"),
            (
                "hosts:\t\tresolve [!UNAVAIL=return] files dns # x",
                "hosts: files resolve [!UNAVAIL=return] dns # x",
            ),
            ("passwd: files\nhosts: dns\nnetworks: files", "passwd: files\nhosts: files dns\nnetworks: files"),
            ("passwd: files", "passwd: files"),
        ):
            self.assertEqual(nsswitch_file(text), expected)
