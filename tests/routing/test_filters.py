"""What a target is for, and how a protocol is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.filters import ANY, PROTOCOLS, TargetFilter, plain_path, protocol_of, ranked


class FilterTests(SynchronousTestCase):
    def test_host(self) -> None:
        for pattern, fitting, others in [
            ("", ("a.org", ""), ()),
            ("*", ("a.org", ""), ()),
            ("A.org", ("a.org",), ("b.a.org", "ba.org", "")),
            ("*.a.org", ("a.org", "b.a.org", "c.b.a.org"), ("ba.org", "org", "")),
            (".a.org", ("a.org", "b.a.org"), ("ba.org",)),
        ]:
            one = TargetFilter(host=pattern)
            for host in fitting:
                self.assertTrue(one.fits(host, ""), (pattern, host))
            for host in others:
                self.assertFalse(one.fits(host, ""), (pattern, host))

    def test_path_and_protocol(self) -> None:
        one = TargetFilter(path="/api", protocol="http")
        self.assertTrue(one.fits("a", "http", b"/api/1"))
        self.assertTrue(one.fits("a", "http", b"/apis"))
        self.assertFalse(one.fits("a", "http", b"/ap"))
        self.assertFalse(one.fits("a", "tls", b""))
        self.assertFalse(TargetFilter(path="/").fits("a", "ssh"))

    def test_malformed(self) -> None:
        for more in ({"path": "api"}, {"path": "/a?b"}, {"path": "/\n"}, {"protocol": "gopher"}, {"host": "a:80"}, {"host": "a*b"}):
            self.assertRaises(ValueError, TargetFilter, **more)

    def test_what_says_most_comes_first(self) -> None:
        order = [
            TargetFilter(host="a.org", path="/x"),
            TargetFilter(host="a.org"),
            TargetFilter(host="*.b.a.org"),
            TargetFilter(host="*.a.org", path="/long"),
            TargetFilter(path="/long", protocol="http"),
            TargetFilter(path="/long"),
            TargetFilter(path="/"),
            TargetFilter(protocol="tls"),
            ANY,
        ]
        self.assertEqual(ranked([*reversed(order), ANY]), order)

    def test_plain_path(self) -> None:
        for target, path in [(b"/a?b=/c", b"/a"), (b"/%61pi/x", b"/api/x"), (b"/a%3Fb?c", b"/a?b"), (b"*", b"*"), (b"/a%", b"/a%")]:
            self.assertEqual(plain_path(target), path)


class ProtocolTests(SynchronousTestCase):
    def test_told(self) -> None:
        for data, protocol in [
            (b"GET / HTTP/1.1\r\n", "http"),
            (b"PROPFIND /a HTTP/1.0\r\nHost: a\r\n\r\n", "http"),
            (b"M-SEARCH * HTTP/1.1\n", "http"),
            (b"\x16\x03\x01\x02\x00", "tls"),
            (b"SSH-2.0-x", "ssh"),
            (b"EHLO mail.example.org\r\n", ""),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
            (b"*1\r\n$4\r\nPING\r\n", ""),
            (b"\x00\x01", ""),
            (b"\x16\x04", ""),
            (b"get / HTTP/1.1\r\n", ""),
            (b"GET /" + b"a" * 20000, ""),
        ]:
            self.assertEqual(protocol_of(data), protocol, data[:20])

    def test_takes_more(self) -> None:
        for data in (b"", b"\x16", b"S", b"SSH", b"GET", b"GET ", b"GET / HTTP/1.", b"EHLO mail"):
            self.assertIsNone(protocol_of(data), data)

    @given(st.binary(max_size=40) | st.sampled_from([b"GET /a HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01"]))
    def test_never_changes_its_mind(self, data: bytes) -> None:
        """What was told of the first bytes is not told otherwise of more."""
        told = None
        for end in range(len(data) + 1):
            now = protocol_of(data[:end])
            self.assertIn(now, (None, "", *PROTOCOLS))
            if told is not None:
                self.assertEqual(now, told)
            told = now
