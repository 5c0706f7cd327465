"""PROXY headers ahead of what a visitor says: from whom they are taken, and what they change."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Limit, Outcome, TlsOutcome
from rtunnel.server.entrypoint.entrypoint import FIRST_BYTES
from rtunnel.server.entrypoint.proxied import ProxiedEntrypoint
from rtunnel.server.limits import ServerLimits
from rtunnel.settings import Address, HttpSettings, LimitSettings, ListenerSettings
from rtunnel.wire.proxyproto import ProxyAddress, ProxyHeader
from tests.server.harness import Visitor, World
from tests.support.heads import GET, OK
from tests.support.hellos import hello, record, server_name

HELLO = record(hello(server_name(b"pod.local")))
PROXY = IPv4Address("TCP", "10.0.0.5", 7777)
STRANGER = IPv4Address("TCP", "203.0.113.9", 7777)
HEADER = ProxyHeader(ProxyAddress("192.0.2.33", 4711), ProxyAddress("198.51.100.1", 80))
LINE = HEADER.encode(1)
BLOCK = HEADER.encode(2)


class ProxiedTests(SynchronousTestCase):
    """An entrypoint that expects headers from 10.0.0.0/8 and fd00::/8."""

    def setUp(self) -> None:
        self.make()

    def make(self, settings: HttpSettings | None = None) -> None:
        self.world = World(self, settings)
        self.pod = self.world.attach()
        self.entrypoint = ProxiedEntrypoint(self.world.entrypoint, (ip_network("10.0.0.0/8"), ip_network("fd00::/8")))

    def arrive(self, data: bytes = b"", address: Any = PROXY) -> Visitor:
        visitor = Visitor(self.entrypoint, self.world, address)
        return visitor.send(data) if data else visitor

    def refused(self, visitor: Visitor) -> None:
        """Nothing was asked of anybody, nothing answered, and the connection was cut."""
        self.assertEqual((visitor.received, visitor.aborted), (b"", True))
        self.assertEqual(self.world.stats.proxies_refused, 1)
        self.assertEqual((self.world.outcomes(), self.pod.streams), ({}, []))
        self.assertEqual(self.world.entrypoint.visitors, set())
        self.assertEqual((self.world.stats.visitors_total, self.world.stats.visitors_open), (0, 0))


class HeaderTests(ProxiedTests):
    """What a header changes."""

    def test_http(self) -> None:
        """The address goes where the visitor's own would: to the header fields and to the client."""
        for header in (LINE, BLOCK):
            self.make()
            visitor = self.arrive(header + GET)
            request = self.pod.stream.take()
            self.assertIn(b"\r\nX-Forwarded-For: 192.0.2.33\r\n", request)
            source = self.pod.stream.preface.addresses[0]
            self.assertEqual((source.host, source.port), ("192.0.2.33", 4711))
            self.pod.stream.answer(OK)
            self.assertEqual(visitor.received, OK)
            visitor.send(GET)
            self.assertIn(b"\r\nX-Forwarded-For: 192.0.2.33\r\n", self.pod.stream.take())
            self.assertEqual((self.world.stats.visitors_total, self.world.stats.visitors_open), (1, 1))

    def test_too_many_of_an_address(self) -> None:
        """The announced one is counted, not the proxy's."""
        limits = ServerLimits(LimitSettings(), self.world.stats)
        limits.visitors.addresses.most = 1
        gate = limits.visitors.gate(ListenerSettings(listen=Address("", 1), proxy_protocol=self.entrypoint.proxies))
        first, second = (Visitor(self.entrypoint, self.world, PROXY, gate) for _ in range(2))
        first.send(LINE)
        self.assertFalse(first.closed)
        second.send(LINE)
        self.assertTrue(second.aborted)
        self.assertEqual(self.world.stats.limits[Limit.CONNECTIONS_PER_ADDRESS], 1)
        first.leave()
        third = Visitor(self.entrypoint, self.world, PROXY, gate).send(LINE)
        self.assertFalse(third.closed)

    def test_byte_by_byte(self) -> None:
        for header in (LINE, BLOCK):
            self.make()
            visitor = self.arrive()
            for byte in header + GET:
                visitor.send(bytes((byte,)))
            self.assertIn(b"\r\nX-Forwarded-For: 192.0.2.33\r\n", self.pod.stream.take())

    def test_tls(self) -> None:
        self.arrive(BLOCK + HELLO)
        self.assertEqual(self.pod.stream.take(), HELLO)
        source = self.pod.stream.preface.addresses[0]
        self.assertEqual((source.host, source.port), ("192.0.2.33", 4711))

    def test_no_visitor_of_its_own(self) -> None:
        """LOCAL, UNKNOWN and Unix sockets name no address: that of the connection counts."""
        for header in (
            ProxyHeader().encode(1),
            ProxyHeader().encode(2),
            ProxyHeader(local=True).encode(2),
            ProxyHeader(b"/a", b"/b").encode(2),
        ):
            self.make()
            self.arrive(header + GET)
            self.assertIn(b"\r\nX-Forwarded-For: 10.0.0.5\r\n", self.pod.stream.take())

    def test_trusted_proxy(self) -> None:
        """Whether X-Forwarded-For is believed depends on the address that was announced, not on the balancer's."""
        said = b"GET / HTTP/1.1\r\nHost: pod.local\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n"
        for trusted, shown in (("192.0.2.33/32", b"8.8.8.8, 192.0.2.33"), ("10.0.0.0/8", b"192.0.2.33")):
            self.make(HttpSettings(trusted_proxies=(ip_network(trusted),)))
            self.arrive(LINE + said)
            self.assertIn(b"\r\nX-Forwarded-For: %b\r\n" % shown, self.pod.stream.take())

    def test_ipv6_sockets(self) -> None:
        """A socket for both families shows an IPv4 proxy as IPv6."""
        for host in ("::ffff:10.0.0.5", "fd00::5"):
            self.make()
            self.arrive(LINE + GET, IPv6Address("TCP", host, 7777))
            self.assertIn(b"\r\nX-Forwarded-For: 192.0.2.33\r\n", self.pod.stream.take())

    def test_one_header_only(self) -> None:
        self.assertTrue(self.arrive(LINE + LINE + GET).received.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})


class RefusalTests(ProxiedTests):
    """Who is not let in."""

    def test_proxy_without_header(self) -> None:
        """Its visitor would be taken for the proxy."""
        for data in (GET, HELLO, b"\x01\x01\0\0"):
            self.make()
            self.refused(self.arrive(data))

    def test_malformed_header(self) -> None:
        for data in (LINE.replace(b"4711", b"04711"), BLOCK[:12] + b"\x31", b"PROXY " + b"x" * 101):
            self.make()
            self.refused(self.arrive(data + GET))

    def test_header_of_a_stranger(self) -> None:
        """It is not believed, and not skipped either: it is a malformed request."""
        for header in (LINE, BLOCK):
            self.make()
            visitor = self.arrive(header + GET, STRANGER)
            self.assertTrue(visitor.received.startswith(b"HTTP/1.1 400 "))
            self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})
            self.assertEqual(self.pod.streams, [])

    def test_stranger_without_header(self) -> None:
        """Directly connected visitors have their own address."""
        self.arrive(GET, STRANGER)
        self.assertIn(b"\r\nX-Forwarded-For: 203.0.113.9\r\n", self.pod.stream.take())

    def test_late_header(self) -> None:
        visitor = self.arrive(LINE[:5])
        for position in range(5, 12):
            visitor.send(LINE[position : position + 1])
            self.world.pass_time(1)
        self.assertFalse(visitor.aborted)
        self.world.pass_time(5)
        self.refused(visitor)

    def test_no_header_at_all(self) -> None:
        visitor = self.arrive()
        self.world.pass_time(16)
        self.refused(visitor)

    def test_cut_header(self) -> None:
        visitor = self.arrive(LINE[:-1])
        visitor.leave()
        self.assertEqual(self.world.stats.proxies_refused, 1)

    def test_probe(self) -> None:
        """A balancer that connects and leaves without a word is no error."""
        self.arrive().leave()
        self.assertEqual(self.world.stats.proxies_refused, 0)
        self.assertEqual(self.world.entrypoint.visitors, set())

    def test_end(self) -> None:
        """When the server stops, a proxy has a moment for the header and the request, which may be on their way."""
        begun, silent, half, slow = self.arrive(LINE[:5]), self.arrive(), self.arrive(), self.arrive(LINE[:5])
        self.assertFalse(self.world.entrypoint.busy)
        self.world.entrypoint.drain()
        self.assertTrue(self.world.entrypoint.busy)
        begun.send(LINE[5:] + GET)
        half.send(LINE)
        self.pod.stream.answer(OK)
        self.assertIn(b"\r\nConnection: close\r\n", begun.received)
        self.world.pass_time(FIRST_BYTES + 0.5)
        self.assertTrue(begun.closed and silent.closed and half.closed and slow.aborted)
        self.assertFalse(self.world.entrypoint.busy)
        self.assertEqual(self.world.stats.proxies_refused, 1)
        late = self.arrive()
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertTrue(late.aborted)
        self.assertEqual(len(self.pod.streams), 1)

    def test_tls_after_the_header(self) -> None:
        """The outcome is that of the TLS connection."""
        self.arrive(LINE + record(hello())).leave()
        self.assertEqual(self.world.stats.tls[TlsOutcome.UNKNOWN_NAME], 1)
        self.assertEqual(self.world.stats.proxies_refused, 0)
