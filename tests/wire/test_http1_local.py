"""Requests that look local to a target, and responses translated back."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import PASS_ALL, LocalRewrite, RequestHead, parse_request, parse_response, write_request, write_response

LOCAL = LocalRewrite("localhost:3000")


def request(*fields: str, host: str = "shop.example.org") -> RequestHead:
    lines = ["GET /a?b=c HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return parse_request("\r\n".join(lines).encode(), PASS_ALL)


BEHIND_TLS = request("X-Forwarded-Host: shop.example.org", "X-Forwarded-Proto: https")
PLAIN = request("X-Forwarded-Host: shop.example.org", "X-Forwarded-Proto: http")


def fields_of(head: RequestHead) -> dict[str, str]:
    lines = write_request(parse_request(write_request(head, b""), PASS_ALL), b"").decode().split("\r\n")[1:-2]
    fields = [line.partition(": ")[::2] for line in lines]
    assert len({name.lower() for name, _ in fields}) == len(fields), fields
    return dict(fields)


class RequestTests(SynchronousTestCase):
    def sent(self, *fields: str, host: str = "shop.example.org") -> dict[str, str]:
        return fields_of(LOCAL.request(request(*fields, host=host)))

    def test_host(self) -> None:
        self.assertEqual(
            self.sent("Accept: */*"),
            {"Host": "localhost:3000", "Accept": "*/*", "X-Original-Host": "shop.example.org", "X-Original-Proto": "http"},
        )

    def test_own_origin(self) -> None:
        for scheme in ("http", "https"):
            sent = self.sent(f"Origin: {scheme}://shop.example.org", f"referer: {scheme}://Shop.example.org/a?b=http://x")
            self.assertEqual(sent["Origin"], "http://localhost:3000")
            self.assertEqual(sent["referer"], "http://localhost:3000/a?b=http://x")
            self.assertEqual(sent["X-Original-Proto"], scheme)

    def test_other_sites(self) -> None:
        """Who checks origins goes on doing so: only the visitor's own one is translated."""
        for origin in (
            *("https://evil.example", "https://shop.example.org.evil.example", "https://evil.example/shop.example.org"),
            *(
                "https://shop.example.org:8443",
                "https://a@shop.example.org",
                "null",
                "http://localhost:3001",
                "",
                "shop.example.org",
            ),
            "https://shop.example.org, https://evil.example",
        ):
            sent = self.sent(f"Origin: {origin}", f"Referer: {origin}")
            self.assertEqual((sent["Origin"], sent["Referer"]), (origin, origin))
        self.assertEqual(self.sent("Origin: https://shop.example.org:443")["Origin"], "http://localhost:3000")
        self.assertEqual(self.sent("Origin: http://shop.local:8080", host="shop.local:8080")["Origin"], "http://localhost:3000")

    def test_two_origins(self) -> None:
        """A second one does not hide behind the first."""
        sent = LOCAL.request(request("Origin: https://shop.example.org", "Origin: https://evil.example")).lines
        self.assertIn(b"\r\nOrigin: https://evil.example\r\n", sent)

    def test_what_proxies_said(self) -> None:
        """The names of the visitor's side are told by fields that no framework prefers to Host; its address stays."""
        sent = self.sent(
            "X-Forwarded-For: 192.0.2.1",
            *("X-Forwarded-Host: public.example.org, inner", "X-Forwarded-Proto: https, http", "X-Forwarded-Port: 443"),
            *("Forwarded: for=192.0.2.1;host=public.example.org", "X-Forwarded-Ssl: on", "X-Scheme: https", "Front-End-Https: on"),
            *("X-Original-Host: forged", "Origin: https://public.example.org", "X-Request-Id: 7"),
        )
        expected = {"Host": "localhost:3000", "X-Forwarded-For": "192.0.2.1", "Origin": "http://localhost:3000"}
        expected |= {"X-Request-Id": "7", "X-Original-Host": "public.example.org", "X-Original-Proto": "https"}
        self.assertEqual(sent, expected)

    def test_upgrade(self) -> None:
        head = request("Upgrade: websocket", "Connection: Upgrade", "Origin: https://shop.example.org", "Sec-WebSocket-Key: k")
        sent = fields_of(LOCAL.request(head))
        self.assertEqual((sent["Host"], sent["Origin"]), ("localhost:3000", "http://localhost:3000"))
        self.assertEqual((sent["Upgrade"], sent["Connection"]), ("websocket", "upgrade"))

    def test_the_original_is_not_changed(self) -> None:
        head = request("Origin: https://shop.example.org")
        before = head.lines
        LOCAL.request(head)
        self.assertEqual(head.lines, before)


class ResponseTests(SynchronousTestCase):
    def got(self, *fields: str, to: RequestHead = BEHIND_TLS, local: LocalRewrite = LOCAL) -> list[str]:
        head = parse_response("\r\n".join(["HTTP/1.1 302 Found", *fields, "Content-Length: 0", "", ""]).encode(), b"GET")
        written = write_response(local.response(head, to), 1)
        parse_response(written, b"GET")
        first, *lines = written.decode().split("\r\n")[:-2]
        self.assertEqual(first, "HTTP/1.1 302 Found")
        return [line for line in lines if not line.startswith("Content-Length")]

    def test_location(self) -> None:
        for url, place in [
            ("http://localhost:3000/login?next=/a#b", "/login?next=/a#b"),
            ("https://LOCALHOST:3000/x", "/x"),
            ("http://127.0.0.1:3000/x", "/x"),
            ("http://[::1]:3000/x", "/x"),
            ("http://localhost:3000", "/"),
            ("http://localhost:3000?x", "/?x"),
            ("http://localhost:3000//evil.example", "/.//evil.example"),
            ("http://localhost:3000/\\evil.example", "/./\\evil.example"),
            ("http://localhost:3000/\t/evil.example", "/./\t/evil.example"),
        ]:
            self.assertEqual(self.got(f"Location: {url}"), [f"Location: {place}"], url)
            self.assertEqual(self.got(f"content-location: {url}"), [f"content-location: {place}"], url)

    def test_other_locations(self) -> None:
        for url in (
            *("/x", "x", "//localhost:3000/x", "http://localhost:3001/x", "http://localhost/x", "https://shop.example.org/x"),
            *(
                "http://a@localhost:3000/x",
                "http://localhost:3000.evil.example/",
                "ftp://localhost:3000/",
                "",
                "http://login.example/",
            ),
        ):
            self.assertEqual(self.got(f"Location: {url}"), [f"Location: {url}"])

    def test_ports(self) -> None:
        """The port of the scheme may be left out."""
        at_80 = LocalRewrite("localhost")
        for url in ("http://localhost/x", "http://localhost:80/x", "http://127.0.0.1/x"):
            self.assertEqual(self.got(f"Location: {url}", local=at_80), ["Location: /x"])
        self.assertEqual(self.got("Location: https://localhost/x", local=at_80), ["Location: https://localhost/x"])
        named = LocalRewrite("app.test:3000")
        self.assertEqual(self.got("Location: http://app.test:3000/x", local=named), ["Location: /x"])
        self.assertEqual(self.got("Set-Cookie: a=1; Domain=.app.test", local=named), ["Set-Cookie: a=1"])
        six = LocalRewrite("[fd00::7]:3000")
        self.assertEqual(self.got("Location: http://[fd00::7]:3000/x", local=six), ["Location: /x"])

    def test_cookies(self) -> None:
        for cookie, behind_tls, plain in [
            ("a=1; Path=/; HttpOnly", "a=1; Path=/; HttpOnly", "a=1; Path=/; HttpOnly"),
            ("a=1; Domain=localhost; Path=/", "a=1; Path=/", "a=1; Path=/"),
            ("a=1;domain = .LocalHost", "a=1", "a=1"),
            ("a=1; Domain=127.0.0.1", "a=1", "a=1"),
            ("a=1; Domain=example.org", "a=1; Domain=example.org", "a=1; Domain=example.org"),
            ("a=1; Secure; Path=/", "a=1; Secure; Path=/", "a=1; Path=/"),
            ("a=1; SameSite=None; secure;Partitioned", "a=1; SameSite=None; secure;Partitioned", "a=1"),
            ("a=1; SameSite=Lax", "a=1; SameSite=Lax", "a=1; SameSite=Lax"),
            ("secure; x", "secure; x", "secure; x"),
        ]:
            self.assertEqual(self.got(f"Set-Cookie: {cookie}"), [f"Set-Cookie: {behind_tls}"], cookie)
            self.assertEqual(self.got(f"Set-Cookie: {cookie}", to=PLAIN), [f"Set-Cookie: {plain}"], cookie)
        self.assertEqual(len(self.got("Set-Cookie: a=1; Domain=localhost", "Set-Cookie: b=2; Domain=localhost")), 2)

    def test_scheme_of_the_browser(self) -> None:
        """Its own word counts more than that of a server that does not know of the TLS in front of it."""
        to = request("X-Forwarded-Proto: http", "Referer: https://shop.example.org/")
        self.assertEqual(self.got("Set-Cookie: a=1; Secure", to=to), ["Set-Cookie: a=1; Secure"])

    def test_cors(self) -> None:
        for value, expected in [
            ("http://localhost:3000", "https://shop.example.org"),
            ("*", "*"),
            ("null", "null"),
            ("https://other.example", "https://other.example"),
            ("http://localhost:5173", "http://localhost:5173"),
        ]:
            self.assertEqual(self.got(f"Access-Control-Allow-Origin: {value}"), [f"Access-Control-Allow-Origin: {expected}"])

    def test_nothing_to_do(self) -> None:
        head = parse_response(b"HTTP/1.1 200 OK\r\nX-Location: http://localhost:3000/\r\nContent-Length: 0\r\n\r\n", b"GET")
        self.assertIs(LOCAL.response(head, PLAIN), head)


NAMES = st.sampled_from(["Origin", "Referer", "X-Forwarded-Host", "Forwarded", "X-Forwarded-Proto", "Accept", "X-Scheme"])
TEXTS = st.lists(
    st.sampled_from(
        ["http://", "https://", "shop.example.org", "localhost:3000", ":443", "/", "\\", ",", "evil.example", " ", "\t"]
    )
).map(lambda parts: "".join(parts).strip())
PATHS = st.text(alphabet="/\\\t?#.:@a", max_size=8).map(lambda path: path.rstrip())


class PropertyTests(SynchronousTestCase):
    @given(st.lists(st.tuples(NAMES, TEXTS), max_size=5))
    def test_requests_stay_whole(self, fields: list[tuple[str, str]]) -> None:
        """No field appears or disappears but those named, and an Origin is the target's only if it was the visitor's own."""
        head = request(*(f"{name}: {value}" for name, value in fields))
        public = (head.field(b"x-forwarded-host") or b"").split(b",")[0].strip().decode() or "shop.example.org"
        sent = parse_request(write_request(LOCAL.request(head), b""), PASS_ALL)
        lines = sent.lines.decode().split("\r\n")[1:-1]
        kept = [name for name, _ in fields if name in ("Origin", "Referer", "Accept")]
        self.assertEqual([line.partition(":")[0] for line in lines], ["Host", *kept, "X-Original-Host", "X-Original-Proto"])
        origins = [value for name, value in fields if name == "Origin"]
        got = [line.partition(":")[2].strip() for line in lines if line.startswith("Origin")]
        for origin, after in zip(origins, got, strict=True):
            if after != origin:
                asked = urlsplit(origin.split()[0])
                self.assertEqual(
                    (after[:21], asked.netloc.removesuffix(":443")), ("http://localhost:3000", public.removesuffix(":443"))
                )

    @given(PATHS)
    def test_locations_lead_to_the_visitor(self, path: str) -> None:
        """Whatever a path is made of, it leads to no other host. Browsers take a backslash for a slash, and drop tabs."""
        fields = f"HTTP/1.1 302 Found\r\nLocation: http://localhost:3000/{path}\r\nContent-Length: 0\r\n\r\n"
        written = write_response(LOCAL.response(parse_response(fields.encode(), b"GET"), BEHIND_TLS), 1).decode()
        (location,) = (line[10:] for line in written.split("\r\n") if line.startswith("Location: "))
        as_browsers_read = location.replace("\t", "").replace("\\", "/")
        self.assertEqual(urlsplit(urljoin("https://shop.example.org/", as_browsers_read)).netloc, "shop.example.org", location)
