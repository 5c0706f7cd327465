"""The words with a proxy: each engine as a conversation, in pieces of any size, against everything that a proxy can answer."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.proxy import LIMITS, MAX_INTERIM, HttpConnect, ProxyError, ProxyHandshake, Socks5

LOGIN = ("ada", "swordfish")
REST = b"\x16\x03\x01 the first bytes of the other end"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
REPLY = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


class _Tests(SynchronousTestCase):
    def refused(self, engine: ProxyHandshake, *answers: bytes) -> str:
        """Why the proxy does not pass us on."""
        engine.begin()
        error = self.assertRaises(ProxyError, lambda: [engine.receive(answer) for answer in answers])
        self.assertFalse(engine.done)
        self.assertNotIn("\n", str(error))
        self.assertNotIn("swordfish", str(error))
        return str(error)


class HttpTests(_Tests):
    def make(self, login: tuple[str, str] | None = None) -> HttpConnect:
        return HttpConnect("server.local", 8443, login)

    def test_request(self) -> None:
        self.assertEqual(
            self.make().begin(),
            b"CONNECT server.local:8443 HTTP/1.1\r\nHost: server.local:8443\r\nUser-Agent: rtunnel\r\n\r\n",
        )
        self.assertIn(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n", HttpConnect("2001:db8::1", 443).begin())

    def test_login(self) -> None:
        expected = b"Proxy-Authorization: Basic " + b64encode(b"ada:swordfish") + b"\r\n"
        self.assertIn(expected, self.make(LOGIN).begin())

    def test_established(self) -> None:
        for head in (
            ESTABLISHED,
            b"HTTP/1.0 200 OK\r\nProxy-Agent: a\r\n\r\n",
            b"HTTP/1.1 204 \r\n\r\n",
            # what a head says of a body counts for nothing
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            for size in (1, 7, 10000):
                engine = self.make()
                answers = [engine.receive(piece) for piece in pieces(head, size)]
                self.assertTrue(engine.done, head)
                self.assertEqual(set(answers), {b""})

    def test_rest(self) -> None:
        engine = self.make()
        engine.receive(ESTABLISHED + REST)
        self.assertEqual(engine.rest, REST)

    def test_interim(self) -> None:
        engine = self.make()
        engine.receive(b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM + ESTABLISHED)
        self.assertTrue(engine.done)
        self.refused(self.make(), b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1))

    def test_statuses(self) -> None:
        for status, words in [
            (403, "does not allow connections to server.local:8443 (it answered 403 Because)"),
            (502, "cannot reach server.local:8443 (it answered 502 Because)"),
            (503, "cannot reach"),
            (504, "cannot reach"),
            (302, "does not connect to server.local:8443 (it answered 302 Because)"),
            (400, "does not connect to"),
        ]:
            answer = f"HTTP/1.1 {status} Because\r\nContent-Length: 2\r\n\r\nno".encode()
            self.assertIn(words, self.refused(self.make(), answer))

    def test_credentials(self) -> None:
        basic = b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="a"\r\nContent-Length: 0\r\n\r\n'
        self.assertIn("asks for a user and password", self.refused(self.make(), basic))
        self.assertIn("refuses the user and password", self.refused(self.make(LOGIN), basic))
        both = basic.replace(b"\r\nContent", b"\r\nProxy-Authenticate: Negotiate\r\nContent")
        self.assertIn("asks for a user and password", self.refused(self.make(), both))
        other = b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n"
        self.assertIn("asks for ntlm, negotiate, and only basic is supported", self.refused(self.make(LOGIN), other))

    def test_malformed(self) -> None:
        for answer in (
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\n\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"\x05\x00",
        ):
            with self.subTest(answer=answer):
                self.assertIn("does not answer as an HTTP proxy does", self.refused(self.make(), answer))

    def test_too_long(self) -> None:
        """A head that never ends is given up as soon as it is too long."""
        for answer in (
            b"HTTP/1.1 200 " + b"a" * LIMITS.line_bytes,
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (LIMITS.header_count + 2),
            b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"b" * 4000 + b"\r\n") * 5,
        ):
            self.assertIn("does not answer as an HTTP proxy does", self.refused(self.make(), answer))


class SocksTests(_Tests):
    def make(self, login: tuple[str, str] | None = None, host: str = "server.local") -> Socks5:
        return Socks5(host, 8443, login)

    def test_name(self) -> None:
        """The proxy resolves names: those of its side may be unknown here."""
        engine = self.make()
        self.assertEqual(engine.begin(), b"\x05\x01\x00")
        self.assertEqual(engine.receive(b"\x05\x00"), b"\x05\x01\x00\x03\x0cserver.local\x20\xfb")
        self.assertEqual(engine.receive(REPLY + REST), b"")
        self.assertEqual((engine.done, engine.rest), (True, REST))

    def test_addresses(self) -> None:
        for host, sent in (("192.0.2.1", b"\x01\xc0\x00\x02\x01"), ("::1", b"\x04" + bytes(15) + b"\x01")):
            engine = self.make(host=host)
            engine.begin()
            self.assertEqual(engine.receive(b"\x05\x00"), b"\x05\x01\x00" + sent + b"\x20\xfb")

    def test_login(self) -> None:
        engine = self.make(LOGIN)
        self.assertEqual(engine.begin(), b"\x05\x02\x00\x02")
        self.assertEqual(engine.receive(b"\x05\x02"), b"\x01\x03ada\x09swordfish")
        self.assertTrue(engine.receive(b"\x01\x00").startswith(b"\x05\x01\x00\x03"))
        engine.receive(REPLY)
        self.assertTrue(engine.done)

    def test_login_that_nobody_asks_for(self) -> None:
        """A password is sent to a proxy that asks for it, and to no other."""
        engine = self.make(LOGIN)
        engine.begin()
        self.assertNotIn(b"swordfish", engine.receive(b"\x05\x00"))

    def test_replies_of_each_form(self) -> None:
        for bound in (b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x00", b"\x03\x05proxy"):
            for size in (1, 3, 100):
                engine = self.make()
                engine.begin()
                for piece in pieces(b"\x05\x00" + b"\x05\x00\x00" + bound + b"\x00\x00", size):
                    self.assertFalse(engine.done)
                    engine.receive(piece)
                self.assertEqual((engine.done, engine.rest), (True, b""), bound)

    def test_refusals(self) -> None:
        for code, words in [
            (1, "failed to connect to server.local:8443"),
            (2, "does not allow connections to server.local:8443"),
            (3, "cannot reach the network of"),
            (4, "host unreachable"),
            (5, "connection refused"),
            (6, "too many hops"),
            (7, "command not supported"),
            (8, "kind of address not supported"),
            (99, "SOCKS5 reply 99"),
        ]:
            # some proxies send no more than the code
            self.assertIn(words, self.refused(self.make(), b"\x05\x00", bytes((5, code))))

    def test_credentials(self) -> None:
        self.assertIn("asks for a user and password", self.refused(self.make(), b"\x05\x02"))
        self.assertIn("asks for a user and password", self.refused(self.make(), b"\x05\xff"))
        self.assertIn("refuses the user and password", self.refused(self.make(LOGIN), b"\x05\x02", b"\x01\x01"))
        self.assertIn("accepts none of the supported authentication methods", self.refused(self.make(LOGIN), b"\x05\xff"))
        self.assertIn("accepts none of the supported authentication methods", self.refused(self.make(LOGIN), b"\x05\x01"))

    def test_malformed(self) -> None:
        for answers in (
            [b"HTTP/1.1 400 Bad Request\r\n"],
            [b"\x04\x00"],
            [b"\x05\x00", b"\x04\x00"],
            [b"\x05\x00", b"\x05\x00\x00\x02\x00"],
        ):
            self.assertIn("does not answer as a SOCKS5 proxy does", self.refused(self.make(), *answers))

    def test_long_names(self) -> None:
        self.assertIn("1 to 255 bytes", self.refused(self.make(host="a" * 256), b"\x05\x00"))


class AnyAnswerTests(SynchronousTestCase):
    """Whatever a proxy sends: a way on, more to wait for, or the one error."""

    @given(
        st.sampled_from((lambda: HttpConnect("a", 1), lambda: Socks5("a", 1), lambda: Socks5("a", 1, LOGIN))),
        st.lists(st.one_of(st.binary(max_size=40), st.sampled_from((ESTABLISHED, REPLY, b"\x05\x00", b"\x05\x02", b"\x01\x00")))),
    )
    def test_any(self, make: Callable[[], ProxyHandshake], answers: list[bytes]) -> None:
        engine = make()
        engine.begin()
        for answer in answers:
            if engine.done:
                break
            try:
                engine.receive(answer)
            except ProxyError:
                break
