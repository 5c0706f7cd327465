"""Datagrams of SOCKS5: destinations and answers, and what is dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.proxy_datagrams import take_datagram, wrap_datagram

DNS = (53).to_bytes(2)


class DatagramTests(SynchronousTestCase):
    def test_examples(self) -> None:
        for data, expected in (
            (b"\0\0\0\x01\x0a\0\0\x07" + DNS + b"query", ("10.0.0.7", 53, b"query")),
            (b"\0\0\0\x03\x03dns" + DNS + b"query", ("dns", 53, b"query")),
            (b"\0\0\0\x04\xfd" + b"\0" * 14 + b"\x07" + DNS, ("fd00::7", 53, b"")),
        ):
            self.assertEqual(take_datagram(data), expected)
            self.assertEqual(wrap_datagram(*expected), data)

    def test_dropped(self) -> None:
        for data in (
            b"",
            b"\0\0\0",
            b"\0\0\0\x01",
            b"\0\0\0\x01\x0a\0\0\x07\0",
            b"\0\0\0\x02\x0a\0\0\x07" + DNS,
            b"\0\0\x01\x01\x0a\0\0\x07" + DNS + b"a fragment",
            b"\0\0\x80\x01\x0a\0\0\x07" + DNS + b"the last fragment",
            b"\1\0\0\x01\x0a\0\0\x07" + DNS,
            b"\0\0\0\x01\x0a\0\0\x07\0\0no port",
            b"\0\0\0\x03\0" + DNS + b"no name",
            b"\0\0\0\x03\x03a b" + DNS,
            b"\0\0\0\x03\x02\xff\xfe" + DNS,
            b"\0\0\0\x03\xffdns" + DNS,
        ):
            self.assertIsNone(take_datagram(data), data)

    @given(st.text(min_size=1, max_size=60).filter(lambda name: name.isprintable() and " " not in name), st.binary(max_size=100))
    def test_any_name(self, name: str, datagram: bytes) -> None:
        found = take_datagram(wrap_datagram(name, 53, datagram))
        assert found is not None
        self.assertEqual(found[1:], (53, datagram))
