"""Heads of requests: tables of good and bad ones, and what a target gets to see."""

from __future__ import annotations

from collections.abc import MutableMapping

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import (
    CHUNKED,
    PASS_ALL,
    TRUSTED,
    UNTRUSTED,
    FieldPolicy,
    HeadError,
    RequestHead,
    parse_request,
    write_request,
)
from tests.support.attributes import attributes

BEGIN = b"POST /x HTTP/1.1\r\nHost: example.org\r\n"


def request(*lines: bytes, begin: bytes = BEGIN) -> bytes:
    """A head with these lines behind its request line and Host."""
    return begin + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def targeting(target: bytes, method: bytes = b"GET", host: bytes = b"example.org") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host)


def hosted(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value


class Case(SynchronousTestCase):
    def refused(self, head: bytes, status: int = 400, policy: FieldPolicy = UNTRUSTED) -> None:
        """It is refused, in a line that can be logged whatever the head is."""
        try:
            parsed = parse_request(head, policy)
        except HeadError as error:
            self.assertEqual(error.status, status, (head, error.reason))
            self.assertTrue(error.reason.isascii() and error.reason.isprintable(), error.reason)
        else:
            self.fail(f"{head!r} gave {parsed!r}")

    def lines(self, *lines: bytes) -> bytes:
        """What remains of these lines behind Host."""
        fields = parse_request(request(*lines)).fields
        self.assertTrue(fields.startswith(b"Host: example.org\r\n"))
        return fields[len(b"Host: example.org\r\n") :]


class OrdinaryTests(Case):
    def test_the_least_request(self) -> None:
        head = parse_request(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        self.assertEqual((head.method, head.target, head.minor), (b"GET", b"/", 1))
        self.assertEqual((head.authority, head.host), (b"example.org", "example.org"))
        self.assertEqual(head.lines, b"GET / HTTP/1.1\r\nHost: example.org\r\n")
        self.assertEqual(head.fields, b"Host: example.org\r\n")
        self.assertEqual((head.body, head.keep_alive, head.idempotent), (0, True, True))
        self.assertEqual((head.takes_chunks, head.plain), (True, True))
        self.assertEqual((head.named, head.upgrade, head.expects_continue, head.te_trailers), ({}, b"", False, False))

    def test_one_head_says_nothing_of_another(self) -> None:
        """Defaults in the class are not changed by heads that differ."""
        unusual = parse_request(
            b"POST / HTTP/1.0\r\nHost: a\r\nVia: 1.0 b\r\nConnection: keep-alive\r\nTE: trailers\r\nContent-Length: 5\r\n\r\n"
        )
        self.assertEqual((unusual.minor, unusual.body, unusual.te_trailers, unusual.idempotent), (0, 5, True, False))
        self.assertEqual((unusual.takes_chunks, unusual.plain), (False, False))
        self.assertEqual(unusual.named, {b"via": b"1.0 b"})
        self.test_the_least_request()
        self.assertNotIsInstance(RequestHead.named, MutableMapping)

    def test_lines_are_ready_to_be_written(self) -> None:
        """The request line is always HTTP/1.1 in origin-form."""
        for line, expected in (
            (b"GET /a?b HTTP/1.0", b"GET /a?b HTTP/1.1"),
            (b"GET http://c/a HTTP/1.1", b"GET /a HTTP/1.1"),
            (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        ):
            head = parse_request(line + b"\r\nHost: c\r\nA: b\r\n\r\n")
            self.assertEqual(head.lines, expected + b"\r\nHost: c\r\nA: b\r\n")

    def test_fields_pass_in_order_and_as_they_came(self) -> None:
        lines = (b"user-AGENT: x", b"A: 1", b"Cookie: a=b; c=d", b"B:2", b"A:   3 \t ", b"C:", b"X-Y: \xc3\xa4")
        self.assertEqual(self.lines(*lines), b"".join(line + b"\r\n" for line in lines))

    def test_host_comes_first_wherever_it_was(self) -> None:
        head = parse_request(b"GET / HTTP/1.1\r\nA: b\r\nhOST:  Example.ORG:80 \r\nC: d\r\n\r\n")
        self.assertEqual(head.fields, b"Host: Example.ORG:80\r\nA: b\r\nC: d\r\n")
        self.assertEqual((head.authority, head.host), (b"Example.ORG:80", "example.org"))

    def test_methods(self) -> None:
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND", b"M-SEARCH"):
            self.assertEqual(parse_request(targeting(b"/", method)).method, method)

    def test_which_methods_are_idempotent(self) -> None:
        idempotent = {b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"}
        for method in idempotent | {b"POST", b"PATCH", b"LOCK", b"PROPFIND"}:
            self.assertEqual(parse_request(targeting(b"/", method)).idempotent, method in idempotent)

    def test_field(self) -> None:
        """Any end-to-end field can be looked up; repeated fields are combined."""
        for lines, name, value in (
            ((b"ACCEPT:text/html ", b"Accept-Encoding: gzip"), b"accept", b"text/html"),
            ((b"Accept: a/b", b"X: y", b"accept: c/d\t"), b"accept", b"a/b, c/d"),
            ((b"X-Accept: a/b", b"Accepts: c", b"X: Accept: d"), b"accept", None),
            ((b"Accept:",), b"accept", b""),
            ((b"a.b: 1", b"a-b: 2", b"a+: 3"), b"a.b", b"1"),
            ((b"a.b: 1", b"aa: 2", b"a+: 3"), b"a+", b"3"),
            ((b"Via: 1.1 a", b"VIA: 1.1 b"), b"via", b"1.1 a, 1.1 b"),
            ((b"Content-Length: 007",), b"content-length", b"7"),
            ((b"Connection: x-a", b"X-A: 1"), b"x-a", None),
            ((b"TE: gzip", b"Connection: close"), b"te", None),
            ((), b"host", b"example.org"),
        ):
            self.assertEqual(parse_request(request(*lines)).field(name), value, (lines, name))

    def test_its_text_holds_no_secrets(self) -> None:
        head = parse_request(b"GET /?token=geheim HTTP/1.1\r\nHost: a\r\nCookie: geheim\r\n\r\n")
        self.assertNotIn("geheim", repr(head))


class KeepAliveTests(Case):
    def keeps(self, minor: int, *lines: bytes) -> bool:
        return parse_request(request(*lines, begin=b"GET / HTTP/1.%d\r\nHost: a\r\n" % minor)).keep_alive

    def test_version_and_connection_decide(self) -> None:
        for minor, lines, expected in (
            (1, (), True),
            (1, (b"Connection: close",), False),
            (1, (b"Connection: keep-alive",), True),
            (1, (b"Connection: Keep-Alive",), True),
            (1, (b"CONNECTION: CLOSE",), False),
            (1, (b"Connection: keep-alive, close",), False),
            (1, (b"Connection: close", b"Connection: keep-alive"), False),
            (1, (b"Connection: ,, \t,foo ,close",), False),
            (1, (b"Connection:",), True),
            (1, (b"Proxy-Connection: close",), True),
            (0, (), False),
            (0, (b"Connection: keep-alive",), True),
            (0, (b"Connection: Keep-Alive, x",), True),
            (0, (b"Connection: keep-alive, close",), False),
            (0, (b"Proxy-Connection: keep-alive",), False),
        ):
            self.assertIs(self.keeps(minor, *lines), expected, (minor, lines))

    def test_connection_must_be_a_list_of_tokens(self) -> None:
        for value in (b"close;", b'"close"', b"a b", b"clo se", b"\x80"):
            self.refused(request(b"Connection: " + value))


class HopByHopTests(Case):
    def test_what_concerns_one_connection_stays_behind(self) -> None:
        for line in (
            b"Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic eDp5",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Authentication-Info: x",
            b"TE: gzip",
            b"Upgrade: websocket",
            b"HTTP2-Settings: AAMAAABk",
        ):
            for spelling in (line, line.lower(), line.swapcase()):
                self.assertEqual(self.lines(b"A: 1", spelling, b"B: 2"), b"A: 1\r\nB: 2\r\n")
                self.assertEqual(self.lines(spelling), b"")

    def test_so_does_what_connection_names(self) -> None:
        lines = (b"X-A: 1", b"x-b: 2", b"X-AB: 3", b"Connection: x-a, X-B", b"X-a: 4", b"Connection: Cookie", b"Cookie: c")
        self.assertEqual(self.lines(*lines), b"X-AB: 3\r\n")

    def test_but_not_what_this_proxy_writes_itself(self) -> None:
        named = b"Connection: Host, Content-Length, X-Forwarded-For, close, expect"
        head = parse_request(request(named, b"Content-Length: 5", b"X-Forwarded-For: a", b"Expect: 100-continue"), TRUSTED)
        self.assertEqual(head.fields, b"Host: example.org\r\nContent-Length: 5\r\nExpect: 100-continue\r\n")
        self.assertEqual((head.body, head.named), (5, {b"x-forwarded-for": b"a"}))

    def test_names_that_only_begin_alike_pass(self) -> None:
        lines = (
            b"TEs: 1",
            b"Connection-ID: 2",
            b"Hostess: 3",
            b"Keep-Alive2: 4",
            b"Vial: 5",
            b"X-Forward: 6",
            b"Upgrade-Insecure-Requests: 1",
        )
        self.assertEqual(self.lines(*lines), b"".join(line + b"\r\n" for line in lines))

    def test_trailer_passes_as_trailers_do(self) -> None:
        self.assertEqual(self.lines(b"Trailer: X-Sum", b"Transfer-Encoding: chunked"), b"Trailer: X-Sum\r\n")


class ForwardedTests(Case):
    """Forwarding fields with each policy; all of them are in tests/wire/test_http1_policy.py."""

    head = request(
        b"X-Forwarded-For: 1.2.3.4",
        b"A: b",
        b"x-forwarded-for:  5.6.7.8 ",
        b"X-FORWARDED-PROTO: https",
        b"X-Forwarded-Host: h",
        b"X-Request-ID: r",
        b"Via: 1.1 one",
        b"Via: 1.1 two",
    )

    def test_of_a_trusted_proxy(self) -> None:
        head = parse_request(self.head, TRUSTED)
        self.assertEqual(head.fields, b"Host: example.org\r\nA: b\r\nX-FORWARDED-PROTO: https\r\nX-Forwarded-Host: h\r\n")
        self.assertEqual(
            head.named,
            {
                b"x-forwarded-for": b"1.2.3.4, 5.6.7.8",
                b"x-forwarded-proto": b"https",
                b"x-forwarded-host": b"h",
                b"x-request-id": b"r",
                b"via": b"1.1 one, 1.1 two",
            },
        )

    def test_of_a_stranger(self) -> None:
        head = parse_request(self.head)
        self.assertEqual(head.fields, b"Host: example.org\r\nA: b\r\n")
        self.assertEqual(head.named, {b"x-request-id": b"r", b"via": b"1.1 one, 1.1 two"})

    def test_all_pass(self) -> None:
        head = parse_request(self.head, PASS_ALL)
        self.assertEqual(head.lines + b"\r\n", self.head)
        self.assertEqual(head.named, {})

    def test_none_when_there_are_none(self) -> None:
        for policy in (TRUSTED, PASS_ALL):
            self.assertEqual(parse_request(request(b"Connection: close", b"Content-Length: 1"), policy).named, {})


class FramingTests(Case):
    def test_bodies(self) -> None:
        for lines, body, fields in (
            ((), 0, b""),
            ((b"Content-Length: 0",), 0, b"Content-Length: 0\r\n"),
            ((b"Content-Length: 5",), 5, b"Content-Length: 5\r\n"),
            ((b"content-length:5 ",), 5, b"Content-Length: 5\r\n"),
            ((b"Content-Length: 0005",), 5, b"Content-Length: 5\r\n"),
            ((b"Content-Length: 00",), 0, b"Content-Length: 0\r\n"),
            ((b"Content-Length: 999999999999999999",), 10**18 - 1, b"Content-Length: 999999999999999999\r\n"),
            ((b"Transfer-Encoding: chunked",), CHUNKED, b""),
            ((b"transfer-encoding:\tChunked",), CHUNKED, b""),
        ):
            head = parse_request(request(*lines))
            self.assertEqual(head.body, body, lines)
            self.assertEqual(head.fields, b"Host: example.org\r\n" + fields)

    def test_a_body_with_get_and_with_an_upgrade(self) -> None:
        head = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n")
        self.assertEqual((head.body, head.upgrade), (3, b"x"))

    def test_lengths_that_are_none(self) -> None:
        for value in (
            b"",
            b" ",
            b"5, 5",
            b"5,5",
            b"5 5",
            b"+5",
            b"-5",
            b"0x5",
            b"5.0",
            b"5e1",
            b"1_0",
            b"\xb2",
            b"a",
            b"1" + b"0" * 18,
            b"9" * 30,
            b"5;",
        ):
            self.refused(request(b"Content-Length: " + value))

    def test_two_lengths(self) -> None:
        self.refused(request(b"Content-Length: 5", b"Content-Length: 5"))
        self.refused(request(b"Content-Length: 5", b"A: b", b"content-length: 6"))

    def test_a_length_and_a_coding(self) -> None:
        self.refused(request(b"Content-Length: 5", b"Transfer-Encoding: chunked"))
        self.refused(request(b"transfer-encoding: chunked", b"A: b", b"CONTENT-LENGTH: 0"))
        self.refused(request(b"Content-Length: 5", b"Transfer-Encoding: identity"))

    def test_codings_that_we_do_not_know(self) -> None:
        for value in (b"xchunked", b"identity", b"gzip", b"gzip, chunked", b"chunkedx", b"chunke", b"chunked1", b"cow"):
            self.refused(request(b"Transfer-Encoding: " + value), 501)

    def test_codings_that_are_malformed(self) -> None:
        for value in (
            b"",
            b",",
            b"chunked, chunked",
            b"chunked, gzip",
            b"chunked, identity",
            b'"chunked"',
            b"chunked;q=1",
            b"chun ked",
            b"chunked\x0b",
            b"\x0bchunked",
            b"chunked\x00",
            b"chunked\x0c",
            b"\xa0chunked",
            b"[chunked]",
            b"chunked\r",
            b"\nchunked",
        ):
            self.refused(request(b"Transfer-Encoding: " + value))

    def test_two_coding_fields(self) -> None:
        for first, second in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"chunked", b"x")):
            self.refused(request(b"Transfer-Encoding: " + first, b"Transfer-encoding: " + second))
        self.refused(request(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), 501)

    def test_a_coding_in_http_1_0(self) -> None:
        self.refused(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.refused(b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n")


class SmugglingTests(Case):
    """Ways to hide a second request, seen in the wild: https://portswigger.net/web-security/request-smuggling."""

    def test_hidden_codings(self) -> None:
        for line in (
            b" Transfer-Encoding: chunked",
            b"\tTransfer-Encoding: chunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\t: chunked",
            b"Transfer-Encoding\x0b: chunked",
            b"Transfer-Encoding\x00: chunked",
            b"Transfer-Encoding\r: chunked",
            b"Transfer-Encoding\n : chunked",
            b"Transfer-Encoding:\n chunked",
            b"Transfer-Encoding:\r\n chunked",
            b"Transfer-Encoding",
            b"Transfer Encoding: chunked",
            b"\xefTransfer-Encoding: chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b"X: y\r\n Transfer-Encoding: chunked",
            b"X: y\x00Transfer-Encoding: chunked",
            b": chunked",
            b":",
            b"(Transfer-Encoding): chunked",
        ):
            self.refused(request(b"Content-Length: 5", line))
            self.refused(request(line, b"Content-Length: 5"))
            self.refused(request(line))

    def test_look_alikes_are_ordinary_fields(self) -> None:
        head = parse_request(request(b"Content-Length: 5", b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked"))
        self.assertEqual(head.body, 5)

    def test_two_heads_in_one(self) -> None:
        self.refused(request() + request())
        for behind in (b"body", b"G", b"GET /", b"\r\n", b"\r"):
            self.refused(request() + behind)
            self.refused(request(b"Connection: keep-alive") + behind)
        self.refused(b"\r\n" + request())
        self.refused(request(b"", b"GET /admin HTTP/1.1", b"Host: b"))
        self.refused(request(b"Content-Length: 5")[:-2] + b"\n")

    def test_not_a_whole_head(self) -> None:
        whole = request(b"Connection: close", b"Content-Length: 5")
        for size in range(len(whole)):
            self.refused(whole[:size])

    def test_a_request_line_that_holds_another(self) -> None:
        for line in (
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET /\tHTTP/1.1",
            b"GET / HTTP/1.1\r",
            b"GET / HTTP/1.1\nX: y",
            b"GET / HTTP/1.1\rX: y",
            b"GET /a b HTTP/1.1",
            b"GET / HTTP/1.1 GET / HTTP/1.1",
            b"GET /\r\nX: HTTP/1.1",
            b"GET /\nX: HTTP/1.1",
            b"GET /\nHost:b HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
            b"GET /\r\nX HTTP/1.1",
            b"GET\r\n/ HTTP/1.1",
            b"GET /",
            b"GET",
            b"",
            b"/ HTTP/1.1",
            b"GET HTTP/1.1",
            b"GET  HTTP/1.1",
        ):
            self.refused(line + b"\r\nHost: a\r\n\r\n")


class GrammarTests(Case):
    token = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

    def test_each_byte_in_a_name(self) -> None:
        for byte in range(256):
            head = request(b"a%cb: c" % byte)
            if byte in self.token:
                self.assertIn(b"a%cb: c\r\n" % byte, parse_request(head).fields)
            elif byte != 58:
                self.refused(head)

    def test_each_byte_in_a_value(self) -> None:
        for byte in range(256):
            head = request(b"a: b%cc" % byte)
            if byte == 9 or (byte >= 32 and byte != 127):
                self.assertIn(b"a: b%cc\r\n" % byte, parse_request(head).fields)
            else:
                self.refused(head)

    def test_each_byte_in_a_special_value(self) -> None:
        for byte in range(256):
            head = request(b"x-forwarded-for: b%cc" % byte)
            if byte == 9 or (byte >= 32 and byte != 127):
                self.assertEqual(parse_request(head, TRUSTED).named, {b"x-forwarded-for": b"b%cc" % byte})
            else:
                self.refused(head, policy=TRUSTED)

    def test_each_byte_in_a_target(self) -> None:
        """The visible ones of ASCII but ``#``: more than RFC 3986 has, for browsers send some of the others as they are."""
        for byte in range(256):
            head = targeting(b"/a%cb" % byte)
            if 33 <= byte <= 126 and byte != 35:
                self.assertEqual(parse_request(head).target, b"/a%cb" % byte)
            else:
                self.refused(head)

    def test_each_byte_in_a_method(self) -> None:
        for byte in range(256):
            if byte not in self.token:
                self.refused(targeting(b"/", b"GE%cT" % byte))

    def test_methods_that_nobody_knows(self) -> None:
        for method in (b"FOO", b"get", b"Get", b"GETS", b"GE", b"G-T", b"GET1", b"!", b"X" * 100):
            self.refused(targeting(b"/", method), 501)

    def test_versions(self) -> None:
        for version, status in (
            (b"HTTP/1.2", 505),
            (b"HTTP/2.0", 505),
            (b"HTTP/0.9", 505),
            (b"HTTP/3.0", 505),
            (b"HTTP/2", 400),
            (b"HTTP/1.10", 400),
            (b"HTTP/11", 400),
            (b"HTTP/1,1", 400),
            (b"http/1.1", 400),
            (b"HTTP/1.1x", 400),
            (b"HTTPS/1.1", 400),
            (b"RTSP/1.0", 400),
            (b"ICE/1.0", 400),
            (b"HTTP", 400),
        ):
            self.refused(b"GET / " + version + b"\r\nHost: a\r\n\r\n", status)

    def test_the_preface_of_http_2(self) -> None:
        self.refused(b"PRI * HTTP/2.0\r\n\r\n", 505)

    def test_folded_lines(self) -> None:
        self.refused(request(b"A: b", b" c"))
        self.refused(request(b"A: b", b"\tc"))
        self.refused(request(b"A:", b" c"))
        self.refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
        self.refused(request(b" "))

    def test_reasons_tell_the_fault(self) -> None:
        for head, reason in (
            (request(b"A: b", b" c"), "a folded line (obs-fold)"),
            (request(b"A : b"), "white space before a colon"),
            (request(b"A"), "a line without a colon"),
            (request(b": b"), "a field without a name"),
            (request(b"A(: b"), "a character in a field's name that names cannot have"),
            (request(b"A: \x01"), "a control character in a field's value"),
            (request(b"A: b\nC: d"), "a bare CR or LF"),
            (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "a character in the target that a URI cannot have"),
            (b"GET / HTTP/1.1\r\n\r\n", "no Host"),
            (request(b"Host: b"), "Host twice"),
            (request(b"Content-Length: 5", b"Content-Length: 5"), "Content-Length twice"),
        ):
            self.assertEqual(self.assertRaises(HeadError, parse_request, head).reason, reason)


class HostTests(Case):
    def test_hosts(self) -> None:
        for value, host in (
            (b"example.org", "example.org"),
            (b"EXAMPLE.Org", "example.org"),
            (b"example.org.", "example.org"),
            (b"example.org:80", "example.org"),
            (b"example.org.:8080", "example.org"),
            (b"example.org:", "example.org"),
            (b"localhost", "localhost"),
            (b"a_b-c.d--e", "a_b-c.d--e"),
            (b"192.168.1.1:80", "192.168.1.1"),
            (b"[::1]", "::1"),
            (b"[2001:DB8::1]:8080", "2001:db8::1"),
            (b"[::ffff:1.2.3.4]", "::ffff:1.2.3.4"),
            (b"a:65535", "a"),
            (b"a" * 255, "a" * 255),
        ):
            head = parse_request(hosted(value))
            self.assertEqual((head.host, head.authority), (host, value))
            self.assertEqual(head.fields, b"Host: " + value + b"\r\n")

    def test_hosts_that_are_none(self) -> None:
        for value in (
            b"",
            b" ",
            b".",
            b"..",
            b".a",
            b"a..b",
            b"a..",
            b":80",
            b".:80",
            b"a:b",
            b"a:65536",
            b"a:080000",
            b"a:-1",
            b"a:80:80",
            b"a b",
            b"a, b",
            b"a,b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"a%20b",
            b"a%2eb",
            b"user@a",
            b"user:password@a",
            b"@a",
            b"http://a",
            b"a;b",
            b"a'b",
            b'"a"',
            b"<a>",
            b"a\xc3\xa4",
            b"[::1",
            b"::1",
            b"[::1]a",
            b"[::1].",
            b"[]",
            b"[:]",
            b"[1.2.3.4]",
            b"[::g]",
            b"[::1%25eth0]",
            b"[v1.a]",
            b"a" * 256,
        ):
            self.refused(hosted(value))

    def test_there_must_be_exactly_one(self) -> None:
        for version in (b"1.0", b"1.1"):
            begin = b"GET / HTTP/" + version + b"\r\n"
            self.refused(begin + b"\r\n")
            self.refused(begin + b"A: b\r\n\r\n")
            self.refused(begin + b"X-Host: b\r\n\r\n")
            self.refused(begin + b"Host: a\r\nHost: a\r\n\r\n")
            self.refused(begin + b"A: b\r\nhost: a\r\nHOST: b\r\n\r\n")
            self.refused(begin + b"Host: a\r\nA: b\r\nConnection: close\r\nhost: a\r\n\r\n")


class TargetTests(Case):
    def test_origin_form(self) -> None:
        for target in (b"/", b"/a/b?c=d&e", b"//a", b"/?", b"/%00", b"/..", b"/a?http://b/", b"/" + b"x" * 9000, b"/*"):
            self.assertEqual(parse_request(targeting(target)).target, target)

    def test_absolute_form_wins_over_host(self) -> None:
        for target, path, authority, host in (
            (b"http://Other.org/x?y", b"/x?y", b"Other.org", "other.org"),
            (b"HTTPS://other.org:8443/x", b"/x", b"other.org:8443", "other.org"),
            (b"http://other.org", b"/", b"other.org", "other.org"),
            (b"http://other.org?x=/", b"/?x=/", b"other.org", "other.org"),
            (b"http://[::1]:80//", b"//", b"[::1]:80", "::1"),
        ):
            head = parse_request(targeting(target))
            self.assertEqual((head.target, head.authority, head.host), (path, authority, host))
            self.assertEqual(head.fields, b"Host: " + authority + b"\r\n")

    def test_absolute_form_needs_a_good_host_all_the_same(self) -> None:
        self.refused(b"GET http://a/ HTTP/1.1\r\n\r\n")
        self.refused(targeting(b"http://a/", host=b"b@c"))
        self.refused(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")

    def test_asterisk_form(self) -> None:
        head = parse_request(targeting(b"*", b"OPTIONS"))
        self.assertEqual((head.target, head.host), (b"*", "example.org"))
        head = parse_request(targeting(b"http://other.org", b"OPTIONS"))
        self.assertEqual((head.target, head.host), (b"*", "other.org"))
        self.assertEqual(parse_request(targeting(b"http://other.org/", b"OPTIONS")).target, b"/")
        self.refused(targeting(b"*", b"GET"))
        self.refused(targeting(b"*x", b"OPTIONS"))

    def test_targets_that_are_none(self) -> None:
        for target in (
            b"",
            b"x",
            b"example.org",
            b"example.org:80",
            b"?x",
            b"http:",
            b"http:/x",
            b"http://",
            b"http:///x",
            b"http://?x",
            b"http://:80/",
            b"http://user@other.org/",
            b"http://user:pw@other.org/",
            b"http://a@b@c/",
            b"http://a b/",
            b"http://a%62/",
            b"http://a:99999/",
            b"http://a\\b/",
            b"ftp://other.org/",
            b"file:///etc/passwd",
            b"ws://other.org/",
            b"/a#b",
            b"http://other.org/#",
            b"#",
        ):
            self.refused(targeting(target))

    def test_connect(self) -> None:
        for target in (b"other.org:443", b"/", b"http://other.org/"):
            self.refused(targeting(target, b"CONNECT"), 501)


class UpgradeTests(Case):
    def upgrade(self, *lines: bytes, minor: int = 1) -> bytes:
        return parse_request(request(*lines, begin=b"GET / HTTP/1.%d\r\nHost: a\r\n" % minor)).upgrade

    def test_asked_for_with_connection_and_upgrade(self) -> None:
        self.assertEqual(self.upgrade(b"Connection: Upgrade", b"Upgrade: websocket"), b"websocket")
        self.assertEqual(self.upgrade(b"upgrade: a/1, b", b"connection: keep-alive, UPGRADE"), b"a/1, b")
        self.assertEqual(self.upgrade(b"Connection: upgrade", b"Upgrade: a ", b"Upgrade: b"), b"a, b")

    def test_not_with_one_of_them_nor_in_http_1_0(self) -> None:
        self.assertEqual(self.upgrade(b"Upgrade: websocket"), b"")
        self.assertEqual(self.upgrade(b"Connection: upgrade"), b"")
        self.assertEqual(self.upgrade(b"Connection: close", b"Upgrade: websocket"), b"")
        self.assertEqual(self.upgrade(b"Connection: Upgrade", b"Upgrade: websocket", minor=0), b"")

    def test_the_fields_of_websocket_pass(self) -> None:
        lines = (b"Connection: Upgrade", b"Sec-WebSocket-Key: x", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
        self.assertEqual(self.lines(*lines), b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n")


class ExpectTests(Case):
    def test_a_body_that_waits(self) -> None:
        for lines, expects in (
            ((b"Expect: 100-continue", b"Content-Length: 5"), True),
            ((b"expect:100-Continue ", b"Transfer-Encoding: chunked"), True),
            ((b"Expect: 100-continue",), False),
            ((b"Expect: 100-continue", b"Content-Length: 0"), False),
            ((b"Expect: something", b"Content-Length: 5"), False),
        ):
            head = parse_request(request(*lines))
            self.assertIs(head.expects_continue, expects, lines)
            self.assertIn(b"\r\nExpect: ", head.fields)

    def test_http_1_0_expects_nothing(self) -> None:
        head = parse_request(b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        self.assertIs(head.expects_continue, False)
        self.assertEqual(head.fields, b"Host: a\r\nContent-Length: 5\r\n")


class TrailerTests(Case):
    def test_who_takes_trailers(self) -> None:
        for line, takes in (
            (b"TE: trailers", True),
            (b"te: gzip;q=0.5,Trailers", True),
            (b"TE: deflate", False),
            (b"TE:", False),
            (b"TE: xtrailers", False),
            (b"A: b", False),
        ):
            self.assertIs(parse_request(request(line)).te_trailers, takes, line)


class WriteTests(Case):
    def test_with_other_lines(self) -> None:
        """Everything else stays, whatever a head may have."""
        head = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, upgrade, te\r\n"
        head += b"Upgrade: x\r\nTE: trailers\r\nExpect: 100-continue\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
        for raw in (head, b"GET / HTTP/1.0\r\nHost: b\r\n\r\n", b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n"):
            before = parse_request(raw, TRUSTED)
            after = before.with_lines(b"other\r\n")
            self.assertEqual(after.lines, b"other\r\n")
            changed = {"lines", "fields"}
            for name, value in attributes(before).items():
                if name not in changed:
                    self.assertEqual(getattr(after, name), value, name)

    forwarding = b"X-Forwarded-For: 1.2.3.4\r\nVia: 1.1 x\r\n"

    def written(self, *lines: bytes, begin: bytes = BEGIN) -> bytes:
        return write_request(parse_request(request(*lines, begin=begin)), self.forwarding)

    def test_an_ordinary_request(self) -> None:
        self.assertEqual(
            self.written(b"A: b", b"Connection: keep-alive", b"C: d", begin=b"GET /x?y HTTP/1.1\r\nhost:a\r\n"),
            b"GET /x?y HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n" + self.forwarding + b"\r\n",
        )

    def test_http_1_0_becomes_1_1(self) -> None:
        self.assertEqual(
            self.written(begin=b"GET / HTTP/1.0\r\nHost: a\r\n"), b"GET / HTTP/1.1\r\nHost: a\r\n" + self.forwarding + b"\r\n"
        )

    def test_a_body(self) -> None:
        begin = b"POST /x HTTP/1.1\r\nHost: example.org\r\n"
        self.assertEqual(self.written(b"Content-Length: 05"), begin + b"Content-Length: 5\r\n" + self.forwarding + b"\r\n")
        self.assertEqual(
            self.written(b"Transfer-Encoding: CHUNKED", b"Trailer: a"),
            begin + b"Trailer: a\r\n" + self.forwarding + b"Transfer-Encoding: chunked\r\n\r\n",
        )

    def test_an_upgrade(self) -> None:
        self.assertEqual(
            self.written(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"),
            BEGIN + self.forwarding + b"Upgrade: WebSocket\r\nConnection: upgrade\r\n\r\n",
        )

    def test_trailers(self) -> None:
        self.assertEqual(self.written(b"TE: gzip, trailers"), BEGIN + self.forwarding + b"TE: trailers\r\nConnection: TE\r\n\r\n")

    def test_everything_at_once(self) -> None:
        lines = (b"TE: trailers", b"Connection: upgrade, te", b"Upgrade: x", b"Transfer-Encoding: chunked", b"Expect: 100-continue")
        self.assertEqual(
            self.written(*lines),
            BEGIN
            + b"Expect: 100-continue\r\n"
            + self.forwarding
            + b"Transfer-Encoding: chunked\r\nTE: trailers\r\nUpgrade: x\r\nConnection: TE, upgrade\r\n\r\n",
        )

    def test_an_absolute_form_is_written_in_origin_form(self) -> None:
        self.assertEqual(
            self.written(begin=b"GET http://b/x HTTP/1.1\r\nHost: a\r\n"),
            b"GET /x HTTP/1.1\r\nHost: b\r\n" + self.forwarding + b"\r\n",
        )
