"""The PROXY protocol: the examples of its specification, every kind of nonsense, and round trips."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.proxyproto import MAX_HEADER, ProxyAddress, ProxyHeader, ProxyProtocolError, take_proxy_header

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
VISITOR = ProxyAddress("192.0.2.1", 56324)
SERVER = ProxyAddress("198.51.100.9", 443)
VISITOR_6 = ProxyAddress("2001:db8::1", 56324)
SERVER_6 = ProxyAddress("2001:db8::9", 443)

INET = SIGNATURE + bytes.fromhex("2111000c c0000201 c6336409 dc04 01bb")
INET6 = (
    SIGNATURE
    + bytes.fromhex("21210024 20010db8000000000000000000000001 20010db8000000000000000000000009")
    + bytes.fromhex("dc04 01bb")
)


def block(command: int, family: int, body: bytes = b"", length: int | None = None) -> bytes:
    """A header of version 2, whatever it holds."""
    return SIGNATURE + bytes((command, family)) + (len(body) if length is None else length).to_bytes(2, "big") + body


def crc32c(data: bytes) -> int:
    """Bit by bit, as the definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


class ReadingTests(SynchronousTestCase):
    """What a receiver makes of headers."""

    def check(self, data: bytes, header: ProxyHeader) -> None:
        """It reads so when whole, says that it is not whole at every cut, and leaves alone what follows."""
        self.assertEqual(take_proxy_header(data), (header, len(data)))
        self.assertEqual(take_proxy_header(data + b"\x16\x03\x01 GET / PROXY"), (header, len(data)))
        for cut in range(len(data)):
            self.assertIsNone(take_proxy_header(data[:cut]), data[:cut])

    def refused(self, data: bytes, reason: str) -> None:
        error = self.assertRaises(ProxyProtocolError, take_proxy_header, data)
        self.assertIn(reason, str(error))

    def test_line(self) -> None:
        self.check(b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\r\n", ProxyHeader(VISITOR, SERVER))
        self.check(b"PROXY TCP6 2001:db8::1 2001:DB8:0::9 56324 443\r\n", ProxyHeader(VISITOR_6, SERVER_6))

    def test_longest_lines(self) -> None:
        """The worst cases that the specification counts out."""
        six = ":".join(["ffff"] * 8)
        self.check(
            f"PROXY TCP6 {six} {six} 65535 65535\r\n".encode(),
            ProxyHeader(ProxyAddress(six, 65535), ProxyAddress(six, 65535)),
        )
        longest = f"PROXY UNKNOWN {six} {six} 65535 65535\r\n".encode()
        self.assertEqual(len(longest), 107)
        self.check(longest, ProxyHeader())

    def test_unknown(self) -> None:
        self.check(b"PROXY UNKNOWN\r\n", ProxyHeader())
        self.check(b"PROXY UNKNOWN whatever \xff there is\r\n", ProxyHeader())

    def test_block(self) -> None:
        self.check(INET, ProxyHeader(VISITOR, SERVER))
        self.check(INET6, ProxyHeader(VISITOR_6, SERVER_6))

    def test_datagrams(self) -> None:
        self.check(block(0x21, 0x12, INET[16:]), ProxyHeader(VISITOR, SERVER, datagram=True))

    def test_unix(self) -> None:
        body = b"/run/from".ljust(108, b"\0") + b"/run/to".ljust(108, b"\0")
        self.check(block(0x21, 0x31, body), ProxyHeader(b"/run/from", b"/run/to"))

    def test_local(self) -> None:
        """Whatever stands in it, the addresses of the connection count."""
        self.check(block(0x20, 0x00), ProxyHeader(local=True))
        self.check(block(0x20, 0x11, INET[16:]), ProxyHeader(local=True))
        self.check(block(0x20, 0xFF, b"junk"), ProxyHeader(local=True))

    def test_unspecified(self) -> None:
        self.check(block(0x21, 0x00, b"junk"), ProxyHeader())

    def test_mapped_address(self) -> None:
        """An IPv4 visitor of a socket for both families is shown as IPv4."""
        self.check(
            b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::9 56324 443\r\n",
            ProxyHeader(VISITOR, SERVER_6),
        )

    def test_additions(self) -> None:
        additions = ((0x01, b"h2"), (0x02, b"pod.local"), (0x04, b""), (0xEA, b"vpce-1"))
        body = INET[16:] + b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in additions)
        self.check(block(0x21, 0x11, body), ProxyHeader(VISITOR, SERVER, additions=additions))

    def test_truncated_additions(self) -> None:
        for tail in (b"\x01", b"\x01\x00", b"\x01\x00\x05abcd"):
            self.refused(block(0x21, 0x11, INET[16:] + tail), "truncated addition")

    def test_checksum(self) -> None:
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        data = block(0x21, 0x11, INET[16:] + b"\x03\x00\x04\0\0\0\0\x04\x00\x01x")
        sum_ = crc32c(data).to_bytes(4, "big")
        right = data[:-8] + sum_ + data[-4:]
        self.check(right, ProxyHeader(VISITOR, SERVER, additions=((0x03, sum_), (0x04, b"x"))))
        self.refused(right[:-1] + b"y", "checksum")
        self.refused(block(0x21, 0x11, INET[16:] + b"\x03\x00\x00"), "checksum")
        # a second one would cost another pass over the header, and so would hundreds
        twice = block(0x21, 0x11, INET[16:] + b"\x03\x00\x04\0\0\0\0\x03\x00\x04five")
        self.refused(twice[:-11] + crc32c(twice).to_bytes(4, "big") + twice[-7:], "two checksums")

    def test_other_protocols(self) -> None:
        for data in (
            b"GET / HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PROXX",
            b"proxy TCP4 ",
            b"\r\n\r\nGET",
            b"\x16\x03\x01",
            b"\x01\x02\x00\x00",
            b"\n",
        ):
            self.refused(data, "no PROXY header")

    def test_malformed_lines(self) -> None:
        for line in (
            "",
            "TCP4",
            "TCP4 192.0.2.1 198.51.100.9 56324",
            "TCP4 192.0.2.1 198.51.100.9 56324 443 ",
            "TCP4  192.0.2.1 198.51.100.9 56324 443",
            "TCP4\t192.0.2.1 198.51.100.9 56324 443",
            "TCP5 192.0.2.1 198.51.100.9 56324 443",
            "UDP4 192.0.2.1 198.51.100.9 56324 443",
            "tcp4 192.0.2.1 198.51.100.9 56324 443",
            "UNKNOWNS",
        ):
            self.refused(f"PROXY {line}\r\n".encode(), "malformed line")
        self.refused(b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\n", "malformed line")

    def test_malformed_addresses(self) -> None:
        for family, host in (
            ("TCP4", "192.0.2"),
            ("TCP4", "192.0.2.256"),
            ("TCP4", "192.0.2.01"),
            ("TCP4", "2001:db8::1"),
            ("TCP4", "pod.local"),
            ("TCP4", ""),
            ("TCP6", "192.0.2.1"),
            ("TCP6", "fe80::1%eth0"),
            ("TCP6", "[2001:db8::1]"),
            ("TCP6", "1::2::3"),
            ("TCP6", ""),
            ("TCP4", "192.0.2.\xb2"),
        ):
            other = "192.0.2.1" if family == "TCP4" else "::1"
            for line in (f"PROXY {family} {host} {other} 1 2\r\n", f"PROXY {family} {other} {host} 1 2\r\n"):
                self.refused(line.encode("latin-1"), "malformed address")

    def test_malformed_ports(self) -> None:
        for port in ("65536", "99999", "123456", "080", "-1", "+1", "0x1", "", "1.0"):
            self.refused(f"PROXY TCP4 192.0.2.1 192.0.2.2 {port} 443\r\n".encode(), "malformed port")

    def test_endless_line(self) -> None:
        """It is refused as soon as a line of allowed length is out of reach."""
        self.assertIsNone(take_proxy_header(b"PROXY " + b"x" * 100))
        self.refused(b"PROXY " + b"x" * 101, "longer than 107 bytes")
        self.refused(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "longer than 107 bytes")

    def test_versions_and_commands(self) -> None:
        for command in (0x00, 0x10, 0x11, 0x22, 0x2F, 0x31, 0xFF):
            self.refused(SIGNATURE + bytes((command,)), "unknown version or command")

    def test_families(self) -> None:
        for family in (0x01, 0x02, 0x10, 0x13, 0x1F, 0x20, 0x30, 0x33, 0x41, 0xF1):
            self.refused(block(0x21, family, bytes(216)), "unknown family or protocol")

    def test_too_short(self) -> None:
        for family, size in ((0x11, 12), (0x21, 36), (0x31, 216)):
            self.refused(block(0x21, family, bytes(size - 1)), "too short")

    def test_too_long(self) -> None:
        """Announced is enough: nobody waits for the rest."""
        for command in (0x20, 0x21):
            self.refused(block(command, 0x11, length=MAX_HEADER - 15), f"longer than {MAX_HEADER} bytes")
            self.assertIsNone(take_proxy_header(block(command, 0x11, length=MAX_HEADER - 16)))


class WritingTests(SynchronousTestCase):
    """What a sender writes."""

    def test_line(self) -> None:
        self.assertEqual(ProxyHeader(VISITOR, SERVER).encode(1), b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\r\n")
        self.assertEqual(ProxyHeader(VISITOR_6, SERVER_6).encode(1), b"PROXY TCP6 2001:db8::1 2001:db8::9 56324 443\r\n")
        self.assertEqual(ProxyHeader().encode(1), b"PROXY UNKNOWN\r\n")
        self.assertEqual(ProxyHeader(local=True).encode(1), b"PROXY UNKNOWN\r\n")

    def test_block(self) -> None:
        self.assertEqual(ProxyHeader(VISITOR, SERVER).encode(2), INET)
        self.assertEqual(ProxyHeader(VISITOR_6, SERVER_6).encode(2), INET6)
        self.assertEqual(ProxyHeader().encode(2), block(0x21, 0))
        self.assertEqual(ProxyHeader(local=True).encode(2), block(0x20, 0))

    def test_two_families(self) -> None:
        """A header has one family: IPv4 is written as IPv6 beside IPv6."""
        header = ProxyHeader(VISITOR, SERVER_6)
        self.assertRegex(header.encode(1), rb"^PROXY TCP6 ::ffff:[0-9a-f:]+ ")
        for version in (1, 2):
            self.assertEqual(take_proxy_header(header.encode(version)), (header, len(header.encode(version))))

    def test_zone_stays_here(self) -> None:
        header = ProxyHeader(ProxyAddress("fe80::1%eth0", 1), SERVER_6)
        self.assertEqual(header.encode(1), b"PROXY TCP6 fe80::1 2001:db8::9 1 443\r\n")

    def test_what_does_not_fit(self) -> None:
        for header, version in (
            (ProxyHeader(VISITOR), 1),
            (ProxyHeader(None, SERVER), 2),
            (ProxyHeader(VISITOR, SERVER), 0),
            (ProxyHeader(VISITOR, SERVER), 3),
            (ProxyHeader(VISITOR, SERVER, datagram=True), 1),
            (ProxyHeader(VISITOR, SERVER, additions=((1, b"h2"),)), 1),
            (ProxyHeader(b"/a", b"/b"), 1),
            (ProxyHeader(b"/a", SERVER), 2),
            (ProxyHeader(b"/a", b"/" * 109), 2),
            (ProxyHeader(VISITOR, ProxyAddress("pod.local", 80)), 1),
            (ProxyHeader(VISITOR, ProxyAddress("pod.local", 80)), 2),
            (ProxyHeader(VISITOR, ProxyAddress("192.0.2.1", 65536)), 1),
            (ProxyHeader(VISITOR, ProxyAddress("192.0.2.1", -1)), 2),
            (ProxyHeader(VISITOR, SERVER, additions=((256, b""),)), 2),
            (ProxyHeader(VISITOR, SERVER, additions=((1, b"x" * 65536),)), 2),
            (ProxyHeader(VISITOR, SERVER, additions=((1, b"x" * 40000), (1, b"x" * 40000))), 2),
        ):
            self.assertRaises(ValueError, header.encode, version)


ports = st.integers(0, 65535)
ends_4 = st.builds(ProxyAddress, st.ip_addresses(v=4).map(str), ports)
ends_6 = st.builds(ProxyAddress, st.ip_addresses(v=6).map(str).filter(lambda host: not host.startswith("::ffff:")), ports)
paths = st.binary(max_size=108).map(lambda path: path.rstrip(b"\0"))
additions = st.lists(st.tuples(st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=300)), max_size=5).map(tuple)
pairs = st.one_of(st.tuples(ends_4, ends_4), st.tuples(ends_6, ends_6))


class PropertyTests(SynchronousTestCase):
    """What holds for every header, and for everything that is none."""

    @settings(deadline=None, max_examples=200)
    @given(pairs)
    def test_lines_return(self, pair: tuple[ProxyAddress, ProxyAddress]) -> None:
        header = ProxyHeader(*pair)
        data = header.encode(1)
        self.assertEqual(take_proxy_header(data + b"more"), (header, len(data)))

    @settings(deadline=None, max_examples=200)
    @given(st.one_of(pairs, st.tuples(paths, paths)), st.booleans(), additions)
    def test_blocks_return(
        self, pair: tuple[ProxyAddress | bytes, ProxyAddress | bytes], datagram: bool, added: tuple[tuple[int, bytes], ...]
    ) -> None:
        header = ProxyHeader(*pair, datagram=datagram, additions=added)
        data = header.encode(2)
        self.assertEqual(take_proxy_header(data + b"more"), (header, len(data)))
        self.assertIsNone(take_proxy_header(data[:-1]))

    @settings(deadline=None, max_examples=500)
    @given(st.sampled_from((b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21", INET[:16])), st.binary(max_size=400))
    def test_anything(self, head: bytes, tail: bytes) -> None:
        """It is a header, not whole yet, or refused; and what was refused stays refused when more comes."""
        data = head + tail
        try:
            taken = take_proxy_header(data)
        except ProxyProtocolError:
            self.assertRaises(ProxyProtocolError, take_proxy_header, data + b"\r\n")
            return
        if taken is not None:
            header, end = taken
            self.assertLessEqual(end, len(data))
            self.assertEqual(take_proxy_header(data[:end]), taken)
            if isinstance(header.source, ProxyAddress):
                self.assertTrue(IPv4Address(header.source.host) if "." in header.source.host else IPv6Address(header.source.host))
