"""The kinds of values: what each accepts and refuses, and that it raises nothing but ValueError."""

from __future__ import annotations

import contextlib
import os
from base64 import b64encode, urlsafe_b64encode
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind, ListenAddress
from rtunnel.settings import Address, Credentials

ALL = [kind for kind in vars(kinds).values() if isinstance(kind, Kind)]


class TakesTests(SynchronousTestCase):
    def takes(self, kind: Kind, **values: Any) -> None:
        for text, value in values.items():
            with self.subTest(text=text):
                self.assertEqual(kind.parse(text), value)

    def refuses(self, kind: Kind, *texts: str) -> None:
        for text in texts:
            with self.subTest(text=text):
                self.assertRaises(ValueError, kind.parse, text)

    def test_duration(self) -> None:
        seconds = {"15": 15, "0": 0, "1.5": 1.5, ".5": 0.5, "15s": 15, "1m30s": 90, "250ms": 0.25, "1h": 3600, "1.5m": 90}
        self.takes(kinds.DURATION, **seconds)
        self.refuses(kinds.DURATION, "", "s", "15 s", "-1s", "1d", "1s1", "٣s", "1e3", "inf", "nan", "9" * 20, "1S")

    def test_size(self) -> None:
        self.takes(kinds.SIZE, **{"0": 0, "65536": 65536, "64k": 65536, "64KiB": 65536, "1MB": 2**20, "2g": 2**31})
        self.refuses(kinds.SIZE, "", "k", "-1", "1.5k", "64 k", "1T", "٣", "9" * 16)

    def test_number(self) -> None:
        self.takes(kinds.NUMBER, **{"0": 0, "007": 7, "128": 128})
        self.refuses(kinds.NUMBER, "", "x", "-1", "+1", "1.0", "1_000", " 1", "٣", "9" * 5000)

    def test_switches(self) -> None:
        self.takes(kinds.SWITCH, **{"true": True, "T": True, "1": True, "yes": True, "False": False, "0": False, "off": False})
        self.takes(kinds.NOT, true=False, false=True)
        self.takes(kinds.OFF, true=0.0, false=kinds.UNSET)
        self.takes(kinds.SMUX, smux=kinds.UNSET)
        self.refuses(kinds.SWITCH, "", "2", "maybe")
        self.refuses(kinds.SMUX, "yamux", "")

    def test_address(self) -> None:
        self.takes(kinds.ADDRESS, **{":80": Address("", 80), "a:0": Address("a", 0), "[::1]:80": Address("::1", 80)})
        self.refuses(kinds.ADDRESS, "", "80", "a", "a:", ":http", "::1:80", "[::1]", "[::1:80", "a:65536", "a b:80", "a:-1", ":٨٠")

    def test_target(self) -> None:
        self.takes(kinds.TARGET, **{":80": Address("localhost", 80), "10.0.0.1:80": Address("10.0.0.1", 80)})
        self.refuses(kinds.TARGET, ":0", "a:0")

    def test_bind(self) -> None:
        self.takes(kinds.BIND, **{":0": Address("", 0), "": Address("", 0), "a": Address("a", 0), "a:80": Address("a", 80)})

    def test_place(self) -> None:
        self.takes(
            kinds.LISTEN,
            **{
                ":8421": ListenAddress(Address("", 8421)),
                "WS://:8421": ListenAddress(Address("", 8421), "ws"),
                "ws://:8421/": ListenAddress(Address("", 8421), "ws"),
                "ws://a:8421/b/c": ListenAddress(Address("a", 8421), "ws", "/b/c"),
                "a:8421/b": ListenAddress(Address("a", 8421), None, "/b"),
                "wss://a:8443/b": ListenAddress(Address("a", 8443), "wss", "/b"),
                "tcp://[::1]:8421": ListenAddress(Address("::1", 8421), "tcp"),
                "tls://:8443": ListenAddress(Address("", 8443), "tls"),
            },
        )
        self.refuses(kinds.LISTEN, "tls://a:1/b", "http://a:1", "ws://a", "tcp://a:1/b", "://a:1")

    def test_server(self) -> None:
        self.takes(kinds.SERVER, **{"ws://:8421": ListenAddress(Address("localhost", 8421), "ws")})
        self.refuses(kinds.SERVER, "proxy", "proxy:0")

    def test_half_a_url(self) -> None:
        """What is said is what is missing behind the scheme; the port is not."""
        for kind in (kinds.SERVER, kinds.LISTEN):
            for half in ("wss//", "wss:/", "wss:"):
                error = self.assertRaises(ValueError, kind.parse, f"{half}user:secret@proxy:8421/ws")
                self.assertEqual(str(error), 'no "://" behind wss; write wss://...')
            self.takes(kind, **{"wss:8421": ListenAddress(Address("wss", 8421))})
        error = self.assertRaises(ValueError, kinds.SERVER.parse, "HTTPS:/proxy")
        self.assertEqual(str(error), 'no "://" behind HTTPS; write HTTPS://...')

    def test_server_without_port(self) -> None:
        """It is that of the scheme; and what is copied from a browser's address bar will do."""
        self.takes(
            kinds.SERVER,
            **{
                "wss://shop.example.org/proxy": ListenAddress(Address("shop.example.org", 443), "wss", "/proxy"),
                "ws://shop.example.org": ListenAddress(Address("shop.example.org", 80), "ws"),
                "https://shop.example.org/proxy": ListenAddress(Address("shop.example.org", 443), "wss", "/proxy"),
                "http://shop.example.org:8080/": ListenAddress(Address("shop.example.org", 8080), "ws"),
                "wss://[::1]/ws": ListenAddress(Address("::1", 443), "wss", "/ws"),
                "wss://[::1]:8443/ws": ListenAddress(Address("::1", 8443), "wss", "/ws"),
            },
        )
        self.refuses(kinds.SERVER, "tcp://proxy", "tls://proxy", "wss://proxy:", "wss://")
        self.refuses(kinds.LISTEN, "wss://proxy/ws", "https://proxy:443/ws")

    def test_target_as_a_url(self) -> None:
        self.takes(
            kinds.TARGET,
            **{
                "http://localhost:3000": Address("localhost", 3000),
                "http://localhost:3000/": Address("localhost", 3000),
                "HTTP://my-service": Address("my-service", 80),
            },
        )
        self.refuses(kinds.TARGET, "https://localhost:3000", "http://localhost:3000/path", "ftp://localhost:21", "http://")

    def test_server_with_password_keeps_it_to_itself(self) -> None:
        error = self.assertRaises(ValueError, kinds.SERVER.parse, "ws://me:swordfish@proxy:8421")
        self.assertNotIn("swordfish", str(error))
        self.assertIn("--auth-file", str(error))

    def test_uuid(self) -> None:
        text = "10bc451e-59dc-4c70-999e-91a30813ac78"
        self.assertEqual(str(kinds.UUID.parse(text.upper())), text)
        self.refuses(kinds.UUID, "", text[1:], f"{{{text}}}", f"urn:uuid:{text}", text.replace("-", ""), text + "\n")

    def test_cidr(self) -> None:
        self.takes(kinds.CIDR, **{text: ip_network(text) for text in ("10.0.0.0/8", "fd00::/8", "192.168.1.1")})
        self.takes(kinds.CIDR, **{"::ffff:10.0.0.0/104": ip_network("10.0.0.0/8"), "::FFFF:10.0.0.1": ip_network("10.0.0.1")})
        self.refuses(kinds.CIDR, "", "example.org", "10.0.0.0/33")

    def test_cidr_with_host_bits_names_the_network(self) -> None:
        error = self.assertRaises(ValueError, kinds.CIDR.parse, "10.1.2.3/8")
        self.assertIn("10.0.0.0/8", str(error))

    def test_weight_names_its_bounds(self) -> None:
        self.assertIn("1 to 255", str(self.assertRaises(ValueError, kinds.WEIGHT.parse, "x")))


class SecretTests(SynchronousTestCase):
    def test_auth(self) -> None:
        self.assertEqual(kinds.AUTH.parse("me:a:b"), Credentials("me", "a:b"))
        self.assertRaises(ValueError, kinds.AUTH.parse, "me")
        self.assertRaises(ValueError, kinds.AUTH.parse, ":a")

    def test_base64(self) -> None:
        raw = b"me:~~~?>"
        for text in (b64encode(raw).decode(), urlsafe_b64encode(raw).decode().rstrip("=")):
            self.assertEqual(kinds.AUTH_BASE64.parse(text), Credentials("me", "~~~?>"))
        for text in ("%%%", "bWU=", "w", "/////w=="):
            self.assertRaises(ValueError, kinds.AUTH_BASE64.parse, text)

    def file(self, content: bytes) -> str:
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        return path

    def test_file(self) -> None:
        for content in (b"me:swordfish", b"me:swordfish\n", b"me:swordfish\r\n"):
            self.assertEqual(kinds.AUTH_FILE.parse(self.file(content)), Credentials("me", "swordfish"))

    def test_bad_file_keeps_its_content_to_itself(self) -> None:
        for content in (b"", b"\n", b"swordfish", b"me:swordfish\nyou:swordfish\n", b"\xffswordfish", b"me:swordfish" * 200):
            error = self.assertRaises(ValueError, kinds.AUTH_FILE.parse, self.file(content))
            self.assertNotIn("swordfish", str(error))

    def test_no_file(self) -> None:
        self.assertIn("No such file", str(self.assertRaises(ValueError, kinds.AUTH_FILE.parse, self.mktemp())))
        self.assertIn("directory", str(self.assertRaises(ValueError, kinds.AUTH_FILE.parse, os.curdir)))
        self.assertRaises(ValueError, kinds.AUTH_FILE.parse, "a\0b")


class EveryKindTests(SynchronousTestCase):
    def test_there_are_some(self) -> None:
        self.assertGreater(len(ALL), 15)

    @settings(deadline=None)
    @given(st.sampled_from([kind for kind in ALL if kind is not kinds.AUTH_FILE]), st.text(max_size=40))
    def test_any_text(self, kind: Kind, text: str) -> None:
        with contextlib.suppress(ValueError):
            kind.parse(text)

    @settings(deadline=None)
    @given(st.integers(0, 10**9))
    def test_shown_sizes_are_read_back(self, size: int) -> None:
        self.assertEqual(kinds.SIZE.parse(kinds.SIZE.show(size)), size)

    @settings(deadline=None)
    @given(st.integers(0, 10**6).map(lambda tenths: tenths / 10))
    def test_shown_times_are_read_back(self, seconds: float) -> None:
        self.assertAlmostEqual(kinds.DURATION.parse(kinds.DURATION.show(seconds)), seconds, delta=seconds / 10**5)
