"""One address, however it is spelled."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.addresses import counted_as, parse_address, plain_address


class SpellingTests(SynchronousTestCase):
    def test_parse(self) -> None:
        for text, found in (
            ("192.0.2.1", IPv4Address("192.0.2.1")),
            ("::ffff:192.0.2.1", IPv4Address("192.0.2.1")),
            ("0:0:0:0:0:FFFF:C000:0201", IPv4Address("192.0.2.1")),
            ("2001:DB8::0:1", IPv6Address("2001:db8::1")),
            ("fe80::1%eth0", IPv6Address("fe80::1")),
            ("pod.local", None),
            ("", None),
        ):
            self.assertEqual(parse_address(text), found, text)

    def test_plain(self) -> None:
        for text, found in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("2001:0DB8::0001", "2001:db8::1"),
            ("FE80::1%eth0", "fe80::1%eth0"),
            ("::1", "::1"),
            ("no:address", "no:address"),
            ("", ""),
        ):
            self.assertEqual(plain_address(text), found, text)

    def test_counted(self) -> None:
        """A host with one IPv6 address has as many as it likes."""
        same = ("2001:db8::1", "2001:DB8:0:0::2", "2001:0db8:0000:0000:ffff::")
        self.assertEqual({counted_as(text) for text in same}, {"2001:db8::/64"})
        self.assertNotEqual(counted_as("2001:db8:0:1::1"), "2001:db8::/64")
        same = ("192.0.2.1", "::ffff:192.0.2.1", "::FFFF:c000:0201")
        self.assertEqual({counted_as(text) for text in same}, {"192.0.2.1"})
        self.assertEqual(counted_as("?"), "?")
