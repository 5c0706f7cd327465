"""The first bytes of a connection: who gets it, with what, and what becomes of those that never say it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.entrypoint import FIRST_BYTES, Entrypoint, Peer
from rtunnel.server.entrypoint.first_bytes import speaker_of
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.proxied import ProxiedEntrypoint
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.wire.proxyproto import ProxyAddress, ProxyHeader
from tests.server.harness import VISITOR, Visitor, World
from tests.support.heads import GET, OK
from tests.support.hellos import hello, record, server_name

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a connection of HTTP/2 begins with (RFC 9113 section 3.4)."""


class Heard(Protocol):
    """What a connection becomes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)


class Listening:
    """A speaker that only listens.

    :ivar accepted: who came, with what, and what it became.
    """

    def __init__(self, name: str, *prefixes: bytes) -> None:
        self.name = name
        self.prefixes = prefixes
        self.accepted: list[tuple[Peer, bytes, Heard]] = []

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        heard = Heard()
        transport.protocol = heard
        heard.makeConnection(transport)
        self.accepted.append((peer, data, heard))


class SpeakerOfTests(SynchronousTestCase):
    """The decision."""

    def setUp(self) -> None:
        self.one, self.other, self.last = Listening("one", b"abc", b"xy"), Listening("other", b"abd", b"b"), Listening("last")
        self.speakers = (self.one, self.other, self.last)

    def check(self, expected: Listening | None, *beginnings: bytes) -> None:
        for data in beginnings:
            self.assertIs(speaker_of(data, self.speakers), expected, data)

    def test_whole(self) -> None:
        self.check(self.one, b"abc", b"abcd", b"xy", b"xyxy")
        self.check(self.other, b"abd", b"b", b"ba")

    def test_not_yet(self) -> None:
        self.check(None, b"a", b"ab", b"x")

    def test_none(self) -> None:
        self.check(self.last, b"c", b"ac", b"abe", b"xz", b"\0")

    def test_the_last_one_alone(self) -> None:
        self.assertIs(speaker_of(b"a", (self.last,)), self.last)


class FirstBytesTests(SynchronousTestCase):
    """An entrypoint with a speaker that has a long prefix, beside the usual ones."""

    def setUp(self) -> None:
        self.speaker = Listening("preface", PREFACE)
        self.world = World(self, speakers=(TLS, self.speaker, HTTP1))

    def heard(self) -> tuple[Peer, bytes, list[bytes]]:
        """The only connection that the speaker got, with its first bytes, and what came later."""
        ((peer, data, heard),) = self.speaker.accepted
        return peer, data, heard.pieces

    def nothing_left(self) -> None:
        entrypoint, stats = self.world.entrypoint, self.world.stats
        self.assertEqual((entrypoint.visitors, entrypoint.connections, stats.visitors_open), (set(), 0, 0))
        self.assertEqual((self.world.outcomes(), sum(stats.tls.values())), ({}, 0))

    def test_prefix_in_one_piece(self) -> None:
        """The speaker gets all that came, and from then on what comes."""
        visitor = self.world.visit(PREFACE + b"more")
        visitor.send(b"and more")
        self.assertEqual(self.heard(), (Peer("192.168.1.1", 54321), PREFACE + b"more", [b"and more"]))
        self.nothing_left()
        self.assertEqual(self.world.stats.visitors_total, 1)

    def test_prefix_byte_by_byte(self) -> None:
        visitor = self.world.visit()
        for position in range(len(PREFACE)):
            self.assertEqual(self.speaker.accepted, [])
            visitor.send(PREFACE[position : position + 1])
        visitor.send(b"more")
        self.assertEqual(self.heard()[1:], (PREFACE, [b"more"]))

    def test_prefix_in_two_pieces(self) -> None:
        """What comes with its end is given as well."""
        self.world.visit(PREFACE[:10]).send(PREFACE[10:] + b"more")
        self.assertEqual(self.heard()[1:], (PREFACE + b"more", []))

    def test_not_the_prefix_after_all(self) -> None:
        """The next speaker gets every byte."""
        pod = self.world.attach()
        visitor = self.world.visit(b"P")
        visitor.send(b"UT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(pod.stream.take().startswith(b"PUT / HTTP/1.1\r\n"))
        pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertTrue(self.world.visit(PREFACE[:-1]).send(b"x").received.startswith(b"HTTP/1.1 "))
        self.assertEqual(self.speaker.accepted, [])

    def test_no_prefix(self) -> None:
        """HTTP, at once."""
        pod = self.world.attach()
        visitor = self.world.visit(GET)
        pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual((self.world.stats.visitors_total, self.world.stats.visitors_open), (1, 1))
        self.assertEqual(self.world.stats.bytes_in, len(GET))

    def test_http_byte_by_byte(self) -> None:
        pod = self.world.attach()
        visitor = self.world.visit()
        for byte in GET:
            visitor.send(bytes([byte]))
        pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.world.stats.bytes_in, len(GET))

    def test_tls(self) -> None:
        pod = self.world.attach()
        data = record(hello(server_name(b"pod.local")))
        self.world.visit(data[:1]).send(data[1:])
        self.assertEqual(pod.stream.take(), data)
        self.assertEqual((self.world.stats.visitors_total, self.world.stats.visitors_open), (1, 1))
        self.assertEqual(self.world.stats.bytes_in, len(data))

    def test_each_says_what_is_wrong_in_its_own_words(self) -> None:
        """What no prefix tells is a malformed request."""
        self.assertTrue(self.world.visit(b"\x05\x01\x00").received.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})

    def test_protocols(self) -> None:
        """For the status."""
        self.assertEqual(self.world.entrypoint.protocols, ("http", "tls", "preface"))

    # -- those that never say it

    def test_silence(self) -> None:
        visitor = self.world.visit()
        self.world.pass_time(14)
        self.assertFalse(visitor.closed)
        self.assertFalse(self.world.entrypoint.busy)
        self.world.pass_time(1)
        self.assertEqual((visitor.received, visitor.closed, visitor.aborted), (b"", True, False))
        self.nothing_left()

    def test_prefix_that_is_never_whole(self) -> None:
        """The limit is that of the whole, and each byte of it does not begin anew."""
        visitor = self.world.visit()
        for position in range(10):
            visitor.send(PREFACE[position : position + 1])
            self.world.pass_time(0.5)
        self.assertFalse(visitor.closed)
        self.world.pass_time(5)
        self.assertEqual((visitor.received, visitor.closed), (b"", True))
        self.assertEqual(self.speaker.accepted, [])
        self.nothing_left()

    def test_leaves(self) -> None:
        for data in (b"", PREFACE[:5]):
            self.world.visit(data).leave()
            self.world.visit(data).vanish()
        self.nothing_left()
        self.assertEqual(self.world.stats.visitors_total, 4)

    def test_drain(self) -> None:
        """They have a moment: what they sent may be on its way."""
        silent, begun = self.world.visit(), self.world.visit(PREFACE[:5])
        begun.transport.write(PREFACE[5:])
        self.world.entrypoint.drain()
        self.assertTrue(self.world.entrypoint.busy)
        self.world.turn()
        self.assertEqual(len(self.speaker.accepted), 1)
        self.assertFalse(silent.closed or begun.closed)
        self.world.pass_time(FIRST_BYTES + 0.5)
        self.assertEqual((silent.received, silent.closed, silent.aborted), (b"", True, False))
        self.assertFalse(begun.closed)
        self.nothing_left()
        self.assertFalse(self.world.entrypoint.busy)

    def test_cut(self) -> None:
        waiting, begun = self.world.visit(), self.world.visit(PREFACE[:5])
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertTrue(waiting.aborted and begun.aborted)
        self.nothing_left()

    # -- who is at the other end

    def test_addresses(self) -> None:
        """A socket for both families shows an IPv4 visitor as IPv6."""
        for address, peer in (
            (VISITOR, Peer("192.168.1.1", 54321)),
            (IPv6Address("TCP", "::ffff:192.0.2.7", 4711), Peer("192.0.2.7", 4711)),
            (IPv6Address("TCP", "2001:db8::7", 4711), Peer("2001:db8::7", 4711)),
        ):
            self.speaker.accepted.clear()
            self.world.visit(PREFACE, address)
            self.assertEqual(self.heard()[0], peer)

    def test_address_that_a_proxy_names(self) -> None:
        """With its header in front, and the prefix in pieces after it."""
        factory = ProxiedEntrypoint(self.world.entrypoint, (ip_network("10.0.0.0/8"),))
        header = ProxyHeader(ProxyAddress("192.0.2.33", 4711), ProxyAddress("198.51.100.1", 80)).encode(2)
        visitor = Visitor(factory, self.world, IPv4Address("TCP", "10.0.0.5", 7777))
        visitor.send(header + PREFACE[:3])
        self.assertEqual(self.speaker.accepted, [])
        visitor.send(PREFACE[3:] + b"more")
        self.assertEqual(self.heard(), (Peer("192.0.2.33", 4711), PREFACE + b"more", []))
