"""Proxies as users write them, and as HTTPS_PROXY, NO_PROXY and the like name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.proxies import PROXY, PROXY_FILE, from_environment
from rtunnel.settings import Address, Credentials, ProxySettings, SettingsError


def proxy(scheme: str, host: str, port: int, credentials: Credentials | None = None) -> ProxySettings:
    return ProxySettings(scheme=scheme, address=Address(host, port), credentials=credentials)


class UrlTests(SynchronousTestCase):
    def test_taken(self) -> None:
        for text, expected in [
            ("http://proxy:3128", proxy("http", "proxy", 3128)),
            ("HTTP://proxy:3128/", proxy("http", "proxy", 3128)),
            ("proxy:3128", proxy("http", "proxy", 3128)),
            ("http://proxy", proxy("http", "proxy", 80)),
            ("https://proxy", proxy("https", "proxy", 443)),
            ("socks5://proxy", proxy("socks5", "proxy", 1080)),
            ("socks5h://[::1]:1081", proxy("socks5", "::1", 1081)),
            ("socks5://[::1]", proxy("socks5", "::1", 1080)),
            ("http://ada:sword%40fish+@proxy:1", proxy("http", "proxy", 1, Credentials("ada", "sword@fish+"))),
            ("direct", None),
        ]:
            with self.subTest(text=text):
                self.assertEqual(PROXY.parse(text), expected)

    def test_refused(self) -> None:
        for text, words in [
            ("ftp://proxy:1", "unsupported proxy; use http://, https:// or socks5://"),
            ("socks4://proxy:1", "unsupported proxy"),
            ("http://", "not a proxy URL"),
            ("http://proxy:1/path", "not a proxy URL"),
            ("http://proxy:0", "no port to connect to"),
            ("http://proxy:x", "invalid port"),
            ("http://ada@proxy:1", "user without a password"),
            ("http://ada:@proxy:1", "the password must be 1 to 255 bytes"),
            ("http://ada:100%@proxy:1", 'contains "%" without two hex digits'),
            ("http://a%3Ab:c@proxy:1", "the user must not contain a colon"),
        ]:
            with self.subTest(text=text):
                self.assertIn(words, str(self.assertRaises(ValueError, PROXY.parse, text)))

    def test_secrets_are_not_repeated(self) -> None:
        for text in (
            "http://ada:swordfish@",
            "ftp://ada:swordfish@proxy:1",
            "http://ada:sword%fish@proxy:1",
            "http://a b:swordfish",
        ):
            self.assertNotIn("sword", str(self.assertRaises(ValueError, PROXY.parse, text)))
        found = PROXY.parse("http://ada:swordfish@proxy:1")
        self.assertNotIn("swordfish", f"{found} {found!r}")

    def test_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text("http://ada:swordfish@proxy:3128\n")
        self.assertEqual(PROXY_FILE.parse(str(path)), proxy("http", "proxy", 3128, Credentials("ada", "swordfish")))
        for text in ("", "a:1\nb:2\n", "ftp://ada:swordfish@a:1"):
            path.write_text(text)
            self.assertNotIn("swordfish", str(self.assertRaises(ValueError, PROXY_FILE.parse, str(path))))
        self.assertIn("cannot be read: No such file", str(self.assertRaises(ValueError, PROXY_FILE.parse, "/nowhere")))


class EnvironmentTests(SynchronousTestCase):
    def found(self, transport: str = "wss", host: str = "server.example.org", port: int = 443, **environ: str) -> str:
        """The host of the proxy."""
        return "".join(one.address.host for one in from_environment(environ, transport, Address(host, port)))

    def test_which_variable(self) -> None:
        environ: Any = {"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://b:1", "ALL_PROXY": "socks5://c:1"}
        for transport, host in (("wss", "a"), ("tls", "a"), ("ws", "b"), ("tcp", "c")):
            self.assertEqual(self.found(transport, **environ), host)
        for transport in ("wss", "tls", "ws", "tcp"):
            self.assertEqual(self.found(transport, ALL_PROXY="c:1"), "c")
            self.assertEqual(self.found(transport), "")

    def test_lower_case_first(self) -> None:
        self.assertEqual(self.found(https_proxy="http://a:1", HTTPS_PROXY="http://b:1"), "a")
        self.assertEqual(self.found(https_proxy=" ", HTTPS_PROXY="http://b:1"), "b")

    def test_not_for_this_machine(self) -> None:
        for host in ("localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"):
            self.assertEqual(self.found(host=host, HTTPS_PROXY="http://a:1"), "", host)

    def test_no_proxy(self) -> None:
        for entry in (
            "*",
            "server.example.org",
            "Server.Example.Org",
            "example.org",
            ".example.org",
            "*.example.org",
            "other,example.org",
            "other example.org",
            "example.org:443",
        ):
            self.assertEqual(self.found(HTTPS_PROXY="http://a:1", NO_PROXY=entry), "", entry)
        for entry in ("", "other.org", "ample.org", "server", "example.org:80", "org.", "a.server.example.org", "10.0.0.0/8", ","):
            expected = "" if entry == "org." else "a"
            self.assertEqual(self.found(HTTPS_PROXY="http://a:1", NO_PROXY=entry), expected, entry)

    def test_no_proxy_of_addresses(self) -> None:
        for host, entry, expected in [
            ("10.1.2.3", "10.0.0.0/8", ""),
            ("10.1.2.3", "10.1.2.3", ""),
            ("10.1.2.3", "10.1.2.3:443", ""),
            ("10.1.2.3", "10.1.2.3:80", "a"),
            ("10.1.2.3", "10.1.2.4/8", ""),
            ("11.1.2.3", "10.0.0.0/8", "a"),
            ("2001:db8::1", "2001:db8::/32", ""),
            ("2001:db8::1", "[2001:db8::1]:443", ""),
            ("2001:db8::1", "10.0.0.0/8", "a"),
            ("10.1.2.3", "3", "a"),
        ]:
            self.assertEqual(self.found(host=host, HTTPS_PROXY="http://a:1", NO_PROXY=entry), expected, (host, entry))

    def test_nonsense(self) -> None:
        """The error names the variable, but not the password in it; there is none if no proxy is needed."""
        error = self.assertRaises(SettingsError, self.found, HTTPS_PROXY="ftp://ada:swordfish@proxy:1")
        self.assertIn("HTTPS_PROXY: unsupported proxy", str(error))
        self.assertNotIn("swordfish", str(error))
        self.assertEqual(self.found(host="localhost", HTTPS_PROXY="ftp://proxy:1"), "")
