"""The proxy's engine: what programs ask for in each protocol, what is refused, and what web pages cannot do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.pod import Cause
from rtunnel.wire.proxy_server import NotProxied, ProxyServer, Wanted, WantedDatagrams
from rtunnel.wire.proxy_server_http import ClosingResponse

GREETING = b"\x05\x01\x00"
POSTGRES = Wanted("postgres", 5432)
PORT = (5432).to_bytes(2)
GET = b"GET http://web/ HTTP/1.1\r\nHost: web\r\n%b\r\n"


def socks5(kind: int, address: bytes, port: bytes = PORT, command: int = 1) -> bytes:
    return GREETING + bytes((5, command, 0, kind)) + address + port


EXAMPLES = {
    "SOCKS5 name": (socks5(3, b"\x08postgres"), POSTGRES, b"\x05\x00"),
    "SOCKS5 IPv4": (socks5(1, b"\x0a\0\0\x07"), Wanted("10.0.0.7", 5432), b"\x05\x00"),
    "SOCKS5 IPv6": (socks5(4, b"\xfd" + b"\0" * 14 + b"\x07"), Wanted("fd00::7", 5432), b"\x05\x00"),
    "SOCKS4": (b"\x04\x01" + PORT + b"\x0a\0\0\x07me\0", Wanted("10.0.0.7", 5432), b""),
    "SOCKS4a": (b"\x04\x01" + PORT + b"\0\0\0\x01\0postgres\0", POSTGRES, b""),
    "CONNECT": (b"CONNECT postgres:5432 HTTP/1.1\r\nHost: postgres:5432\r\nProxy-Authorization: Basic eDp5\r\n\r\n", POSTGRES, b""),
    "CONNECT 1.0": (b"CONNECT [fd00::7]:80 HTTP/1.0\r\n\r\n", Wanted("fd00::7", 80), b""),
}


class ProxyServerCase(SynchronousTestCase):
    def read(self, data: bytes, size: int = 1 << 20) -> tuple[ProxyServer, bytes, bytes]:
        """An engine that has read something, in pieces; what it sent to the program, and what goes to the other end."""
        server, answer, passed = ProxyServer(), b"", b""
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            if server.wanted is None:
                answer += server.receive(piece)
                passed += server.early
            else:
                passed += server.pass_on(piece)
        return server, answer, passed

    def refused(self, data: bytes, words: str, answer: bytes = b"") -> bytes:
        refused: NotProxied = self.assertRaises(NotProxied, self.read, data)
        self.assertIn(words, str(refused))
        self.assertTrue(refused.answer.startswith(answer), refused.answer)
        return refused.answer


class RequestTests(ProxyServerCase):
    def test_examples(self) -> None:
        """However they are cut; what follows is for the other end."""
        for name, (data, wanted, answer) in EXAMPLES.items():
            for size in (1, 2, 7, 1000):
                server, answered, passed = self.read(data + b"hello", size)
                self.assertEqual((server.wanted, answered, passed), (wanted, answer, b"hello"), (name, size))
                self.assertTrue(server.passes_all)
                self.assertEqual(server.protocol, name.partition(" ")[0].removesuffix("a").replace("CONNECT", "HTTP"))

    def test_incomplete(self) -> None:
        for name, (data, _, _) in EXAMPLES.items():
            for end in range(len(data)):
                self.assertIsNone(self.read(data[:end])[0].wanted, (name, end))

    def test_granted(self) -> None:
        granted = {name: self.read(data)[0].granted() for name, (data, _, _) in EXAMPLES.items()}
        self.assertEqual(granted["SOCKS5 name"], b"\x05\x00\x00\x01\0\0\0\0\0\0")
        self.assertEqual(granted["SOCKS4a"], b"\x00\x5a\0\0\0\0\0\0")
        self.assertEqual(granted["CONNECT"], b"HTTP/1.1 200 Connection established\r\n\r\n")

    def test_causes(self) -> None:
        """Each has the code of its protocol that comes closest."""
        replies = {cause: self.read(EXAMPLES["SOCKS5 name"][0])[0].refused(cause, "why")[1] for cause in Cause}
        self.assertEqual(
            replies,
            {
                Cause.NOT_ALLOWED: 2,
                Cause.NO_NAME: 4,
                Cause.NO_DNS: 4,
                Cause.REFUSED: 5,
                Cause.UNREACHABLE: 3,
                Cause.TIMED_OUT: 6,
                Cause.BUSY: 1,
                Cause.NO_POD: 1,
                Cause.FAILED: 1,
            },
        )
        for cause in Cause:
            self.assertEqual(self.read(EXAMPLES["SOCKS4"][0])[0].refused(cause, "why"), b"\x00\x5b\0\0\0\0\0\0")
            answer = self.read(EXAMPLES["CONNECT"][0])[0].refused(cause, "why\u2026")
            self.assertRegex(answer.decode(), rf"^HTTP/1.1 (403|50[234]) {cause}\r\n(.+\r\n)*\r\nrtunnel reach: why\u2026\n$")
            self.assertIn(b"\r\nProxy-Status: rtunnel; error=", answer)
            self.assertNotIn(b"access-control", answer.lower())

    def test_datagrams(self) -> None:
        """Whatever address the program says that it has; the reply says where to send them."""
        for kind, address in ((1, b"\0\0\0\0"), (1, b"\x0a\0\0\x07"), (3, b"\x01a"), (4, b"\0" * 16)):
            for port in (0, 4711):
                server, answer, _ = self.read(socks5(kind, address, port.to_bytes(2), command=3))
                self.assertEqual((server.wanted, answer), (WantedDatagrams(port), b"\x05\x00"))
        self.assertEqual(server.granted_datagrams("127.0.0.1", 53), b"\x05\0\0\x01\x7f\0\0\x01\0\x35")
        self.assertEqual(server.granted_datagrams("::1", 53), b"\x05\0\0\x04" + b"\0" * 15 + b"\x01\0\x35")

    def test_refused(self) -> None:
        self.refused(b"\x05\x01\x02", "wants to authenticate", b"\x05\xff")
        self.refused(b"\x05\x00", "wants to authenticate", b"\x05\xff")
        self.refused(socks5(1, b"\0\0\0\0", command=2), "asks for BIND", b"\x05\x07")
        self.refused(socks5(1, b"\0\0\0\0", command=4), "asks for an unknown command", b"\x05\x07")
        self.refused(socks5(2, b"\0\0\0\0"), "kind of address", b"\x05\x08")
        self.refused(socks5(3, b"\x00"), "the name of the destination is none", b"\x05\x04")
        self.refused(socks5(3, b"\x03a b"), "the name of the destination is none", b"\x05\x04")
        self.refused(socks5(3, b"\x02\xff\xfe"), "the name of the destination is none", b"\x05\x04")
        self.refused(socks5(3, b"\x01a", b"\0\0"), "the port 0", b"\x05\x01")
        self.refused(GREETING + b"\x04\x01\x00\x01", "does not speak SOCKS5")
        self.refused(b"\x04\x02" + PORT + b"\x0a\0\0\x07\0", "other than CONNECT", b"\x00\x5b")
        self.refused(b"\x04\x01" + PORT + b"\x0a\0\0\x07" + b"x" * 300, "too long", b"\x00\x5b")
        self.refused(b"\x04\x01" + PORT + b"\0\0\0\x01\0" + b"x" * 300, "too long", b"\x00\x5b")
        self.refused(b"\x16\x03\x01\x02\x00", "no valid HTTP", b"HTTP/1.1 400 ")
        self.refused(b"CONNECT postgres HTTP/1.1\r\n\r\n", "no port", b"HTTP/1.1 400 ")
        self.refused(b"CONNECT user@postgres:1 HTTP/1.1\r\n\r\n", "malformed Host", b"HTTP/1.1 400 ")
        self.refused(b"GET https://web/ HTTP/1.1\r\nHost: web\r\n\r\n", "by CONNECT", b"HTTP/1.1 400 ")
        self.refused(b"GET / HTTP/1.1\r\nX: " + b"x" * 70000, "too l", b"HTTP/1.1 431 ")

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """It is read the same however it is cut, and raises nothing else."""

        def result(size: int) -> object:
            try:
                server, answer, passed = self.read(data, size)
            except NotProxied:
                return None
            return server.wanted, answer, passed

        self.assertEqual(result(1), result(1000))


class PlainTests(ProxyServerCase):
    """Plain HTTP: one request, as its destination is to get it."""

    def test_get(self) -> None:
        data = b"GET http://web:8080/a?b=c HTTP/1.1\r\nHost: web:8080\r\nProxy-Connection: Keep-Alive\r\nAccept: */*\r\n\r\n"
        for size in (1, 1000):
            server, answer, passed = self.read(data, size)
            self.assertEqual((server.wanted, answer, server.granted()), (Wanted("web", 8080), b"", b""))
            self.assertEqual(passed, b"GET /a?b=c HTTP/1.1\r\nHost: web:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n")

    def test_one_request(self) -> None:
        """Another one, perhaps for another host, goes nowhere."""
        for size in (1, 1000):
            server, _, passed = self.read(GET % b"Connection: keep-alive\r\n" + GET % b"", size)
            self.assertEqual(passed, b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
            self.assertFalse(server.passes_all)

    def test_bodies(self) -> None:
        for fields, body in (
            (b"Content-Length: 5\r\n", b"hello"),
            (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            for size in (1, 1000):
                head = b"POST http://web HTTP/1.1\r\nHost: web\r\n" + fields + b"\r\n"
                _, _, passed = self.read(head + body + b"GET http://b/ HTTP/1.1\r\n", size)
                self.assertTrue(passed.startswith(b"POST / HTTP/1.1\r\nHost: web\r\n"))
                self.assertEqual(passed.partition(b"\r\n\r\n")[2], body)
                self.assertIn(b"\r\nConnection: close\r\n", passed)

    def test_upgrade(self) -> None:
        """From then on the connection is of another protocol."""
        fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        _, _, passed = self.read(GET % fields + b"frames")
        self.assertTrue(passed.endswith(b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\nframes"), passed)

    def test_a_broken_body(self) -> None:
        """Nothing of it is passed on any more."""
        head = b"POST http://web HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n"
        server, _, _ = self.read(head + b"5\r\nhello\r\n")
        self.assertEqual((server.pass_on(b"x\r\n"), server.pass_on(b"hello")), (b"", b""))


class ResponseTests(SynchronousTestCase):
    """The response to a plain request says that the connection is closed, whether or not its server does."""

    def passed(self, data: bytes, size: int) -> bytes:
        response = ClosingResponse()
        return b"".join(response.receive(data[at : at + size]) for at in range(0, len(data), size))

    def test_heads(self) -> None:
        closing = b"HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\nhello"
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        switched = b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
        for received, expected in (
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", closing),
            (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nA: b\r\n\r\nhello", closing),
            (closing, closing),
            (hints + hints + b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", hints + hints + closing),
            (b"HTTP/1.0 204\r\n\r\n", b"HTTP/1.0 204\r\nConnection: close\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\n\r\nConnection: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nConnection: b\r\n\r\n"),
            (switched, switched),
            (b"hello\r\n\r\n", b"hello\r\n\r\n"),
            (b"HTTP/1.1 200 OK\nA: b\n\n", b"HTTP/1.1 200 OK\nA: b\n\n"),
            (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000),
        ):
            for size in (1, 7, 1 << 20):
                self.assertEqual(self.passed(received, size), expected, (received[:50], size))

    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_anything(self, data: bytes, size: int) -> None:
        """However it is cut, it is the same."""
        for begin in (b"", b"HTTP/1.1 200 OK\r\n"):
            self.assertEqual(self.passed(begin + data + b"\r\n\r\nx", size), self.passed(begin + data + b"\r\n\r\nx", 1000))


class PageTests(ProxyServerCase):
    """What a web page can have a browser send to a port of loopback."""

    def test_origin_form(self) -> None:
        """A page sends this to whatever it takes for a web server, also under a name of its own (DNS rebinding)."""
        for host in (b"127.0.0.1:1080", b"localhost:1080", b"evil.example:1080", b"web"):
            for line in (b"GET /", b"POST /", b"OPTIONS *"):
                answer = self.refused(line + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", "this is the proxy", b"HTTP/1.1 400 ")
                self.assertNotIn(b"access-control", answer.lower())

    def test_a_body_is_not_read(self) -> None:
        """A form with SOCKS in its body is HTTP all the same."""
        head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nContent-Length: 99\r\n\r\n"
        self.refused(head + socks5(3, b"\x01a"), "this is the proxy")

    def test_websocket(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nUpgrade: websocket\r\nOrigin: http://evil\r\n\r\n"
        self.refused(head, "this is the proxy")

    def test_other_origins(self) -> None:
        """Of a browser that was told to use the proxy."""
        for origin in (b"http://evil", b"null", b"https://web", b"http://web:81"):
            self.refused(GET % (b"Origin: " + origin + b"\r\n"), "a web page of another host", b"HTTP/1.1 403 ")
        self.refused(GET % b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", "another host", b"HTTP/1.1 403 ")

    def test_its_own(self) -> None:
        link = b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
        for fields in (b"Origin: http://web\r\n", b"Origin: http://WEB:80\r\n", link):
            self.assertEqual(self.read(GET % fields)[0].wanted, Wanted("web", 80))

    def test_two_hosts(self) -> None:
        self.refused(b"GET http://web/ HTTP/1.1\r\nHost: evil\r\n\r\n", "different hosts", b"HTTP/1.1 400 ")
