"""Heads of responses: tables of good and bad ones, and what a visitor gets to see."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import CHUNKED, UNTIL_CLOSE, HeadError, ResponseHead, parse_response, write_response
from tests.support.attributes import attributes

OK = b"HTTP/1.1 200 OK"


def response(*lines: bytes, begin: bytes = OK) -> bytes:
    """A head with these lines behind its status line."""
    return begin + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def parsed(*lines: bytes, begin: bytes = OK, method: bytes = b"GET") -> ResponseHead:
    return parse_response(response(*lines, begin=begin), method)


class Case(SynchronousTestCase):
    def refused(self, head: bytes, method: bytes = b"GET") -> str:
        """It is refused with 502, in a line that can be logged whatever the head is."""
        error = self.assertRaises(HeadError, parse_response, head, method)
        self.assertEqual(error.status, 502, head)
        self.assertTrue(error.reason.isascii() and error.reason.isprintable(), error.reason)
        return str(error.reason)


class OrdinaryTests(Case):
    def test_an_answer_of_nginx(self) -> None:
        head = parsed(
            b"Server: nginx",
            b"Content-Type: text/html",
            b"Content-Length: 612",
            b"Connection: keep-alive",
            b'ETag: "x"',
        )
        fields = b'Server: nginx\r\nContent-Type: text/html\r\nETag: "x"\r\nContent-Length: 612\r\n'
        self.assertEqual((head.status, head.reason, head.fields), (200, b"OK", fields))
        self.assertEqual((head.body, head.keep_alive, head.upgrade), (612, True, b""))
        self.assertEqual(head.lines, b"HTTP/1.1 200 OK\r\n" + fields)

    def test_fields_pass_in_order_and_as_they_came(self) -> None:
        lines = (
            b"set-COOKIE: a",
            b"Set-Cookie:b",
            b"A:   1 \t ",
            b"Set-Cookie: c",
            b"B:",
            b"Via: 1.1 x",
            b"X: \xc3\xa4",
            b"Host: y",
        )
        self.assertEqual(parsed(*lines).fields, b"".join(line + b"\r\n" for line in lines))

    def test_no_field_at_all(self) -> None:
        head = parsed()
        self.assertEqual((head.status, head.reason, head.lines, head.fields), (200, b"OK", b"HTTP/1.1 200 OK\r\n", b""))
        self.assertEqual((head.body, head.keep_alive, head.upgrade), (UNTIL_CLOSE, False, b""))

    def test_the_status_line(self) -> None:
        """Passed on with its reason, as HTTP/1.1."""
        for line, expected in (
            (b"HTTP/1.1 200 OK", (200, b"OK")),
            (b"HTTP/1.0 404 Not Found", (404, b"Not Found")),
            (b"HTTP/1.1 200 ", (200, b"")),
            (b"HTTP/1.1 200", (200, b"")),
            (b"HTTP/1.1 299 Sch\xf6n \t gut", (299, b"Sch\xf6n \t gut")),
            (b"HTTP/1.1 599 x", (599, b"x")),
            (b"HTTP/1.1 999 Request denied", (999, b"Request denied")),
        ):
            head = parsed(begin=line)
            self.assertEqual((head.status, head.reason), expected)
            self.assertEqual(head.lines, b"HTTP/1.1 %d %b\r\n" % expected)

    def test_its_text_holds_no_secrets(self) -> None:
        self.assertNotIn("geheim", repr(parsed(b"Set-Cookie: geheim")))


class BadTests(Case):
    def test_status_lines(self) -> None:
        for line in (
            b"HTTP/1.1 99 x",
            b"HTTP/1.1 099 x",
            b"HTTP/1.1 000 x",
            b"HTTP/1.1 1000 x",
            b"HTTP/1.1 20 x",
            b"HTTP/1.1 2 00",
            b"HTTP/1.1 +20 x",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 200\tOK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\x00K",
            b"HTTP/1.1 200 O\x01K",
            b"HTTP/1.1 200 O\x7fK",
            b"HTTP/1.1 200 OK\r",
            b"HTTP/1.1 200 OK\nA: b",
            b"HTTP/1.1 200 OK\rA: b",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/0.9 200 OK",
            b"HTTP/11 200 OK",
            b"http/1.1 200 OK",
            b"RTSP/1.0 200 OK",
            b"ICY 200 OK",
            b"HTTP/1.1",
            b"HTTP/1.1 ",
            b"",
            b"\r\nHTTP/1.1 200 OK",
        ):
            self.refused(response(b"Content-Length: 0", begin=line))

    def test_field_lines(self) -> None:
        for line in (
            b"A: b\r\n c",
            b" A: b",
            b"\tA: b",
            b"A : b",
            b": b",
            b"A",
            b"A(: b",
            b"\xc3\xa4: b",
            b"A: b\x00c",
            b"A: b\x01c",
            b"A: b\x7fc",
            b"A: b\nC: d",
            b"A: b\rC: d",
            b"A: b\r",
            b"",
        ):
            self.refused(response(line))
            self.refused(response(b"Content-Length: 5", line, b"Connection: keep-alive"))
            self.refused(response(line, b"Content-Length: 5"))

    def test_framing(self) -> None:
        for lines in (
            (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: chunked", b"A: b", b"content-length: 5"),
            (b"Content-Length: 5", b"Content-Length: 6"),
            (b"Content-Length: 5", b"content-length: 5"),
            (b"Content-Length: 5, 5",),
            (b"Content-Length: +5",),
            (b"Content-Length: 5 5",),
            (b"Content-Length: ",),
            (b"Content-Length: 1000000000000000000",),
            (b"Transfer-Encoding: gzip",),
            (b"Transfer-Encoding: gzip, chunked",),
            (b"Transfer-Encoding: chunked, chunked",),
            (b"Transfer-Encoding: chunked, gzip",),
            (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: identity",),
            (b"Transfer-Encoding:",),
            (b"Transfer-Encoding : chunked",),
            (b"Connection: a b", b"Content-Length: 5"),
        ):
            for method in (b"GET", b"HEAD"):
                self.refused(response(*lines), method)
                self.refused(response(*lines, begin=b"HTTP/1.1 304 Not Modified"), method)
        self.refused(response(b"Transfer-Encoding: chunked", begin=b"HTTP/1.0 200 OK"))

    def test_not_a_whole_head_or_more_than_one(self) -> None:
        whole = response(b"Connection: keep-alive", b"Content-Length: 0")
        for size in range(len(whole)):
            self.refused(whole[:size])
        self.refused(whole + whole)
        self.refused(whole + b"body")
        self.refused(response(b"Content-Length: 4") + b"body")
        self.refused(b"\r\n" + whole)

    def test_reasons_tell_the_fault(self) -> None:
        for head, reason in (
            (response(b"A: b\r\n c"), "a folded line (obs-fold)"),
            (response(b"Content-Length: 1", b"Content-Length: 1"), "Content-Length twice"),
            (response(begin=b"HTTP/1.1 20 x"), "malformed status line"),
            (response(begin=b"HTTP/2.0 200 OK"), "malformed status line, or neither HTTP/1.0 nor HTTP/1.1"),
        ):
            self.assertEqual(self.refused(head), reason)


class FramingTests(Case):
    length = b"Content-Length: 5"
    chunked = b"Transfer-Encoding: chunked"

    def test_bodies(self) -> None:
        for lines, body in (
            ((), UNTIL_CLOSE),
            ((self.length,), 5),
            ((b"content-length:  005 ",), 5),
            ((b"Content-Length: 0",), 0),
            ((self.chunked,), CHUNKED),
            ((b"transfer-encoding: CHUNKED",), CHUNKED),
        ):
            self.assertEqual(parsed(*lines).body, body, lines)

    def test_answers_without_body(self) -> None:
        for method, status in ((b"HEAD", 200), (b"HEAD", 404), (b"GET", 304), (b"GET", 204), (b"GET", 100), (b"GET", 103)):
            for lines in ((), (self.length,), (self.chunked,)):
                head = parsed(*lines, begin=b"HTTP/1.1 %d x" % status, method=method)
                self.assertEqual((head.body, head.keep_alive), (0, True), (method, status, lines))

    def test_a_length_that_means_something_passes(self) -> None:
        for method, status, passes in (
            (b"GET", 200, True),
            (b"HEAD", 200, True),
            (b"GET", 304, True),
            (b"GET", 204, False),
            (b"HEAD", 204, False),
            (b"GET", 103, False),
        ):
            head = parsed(b"A: b", self.length, begin=b"HTTP/1.1 %d x" % status, method=method)
            self.assertEqual(head.fields, b"A: b\r\n" + (self.length + b"\r\n" if passes else b""))

    def test_a_length_is_brought_to_its_normal_form(self) -> None:
        self.assertEqual(parsed(b"content-length:0017 ").fields, b"Content-Length: 17\r\n")
        self.assertEqual(parsed(b"Content-Length: 000").fields, b"Content-Length: 0\r\n")


class KeepAliveTests(Case):
    def test_version_connection_and_framing_decide(self) -> None:
        length = b"Content-Length: 5"
        for minor, lines, keeps in (
            (1, (length,), True),
            (1, (length, b"Connection: close"), False),
            (1, (length, b"connection: Keep-Alive"), True),
            (1, (length, b"Connection: foo, Close"), False),
            (1, (b"Transfer-Encoding: chunked",), True),
            (1, (b"Connection: keep-alive",), False),
            (0, (length,), False),
            (0, (length, b"Connection: keep-alive"), True),
            (0, (length, b"Connection: Keep-Alive", b"Keep-Alive: timeout=5"), True),
            (0, (b"Connection: keep-alive",), False),
        ):
            self.assertIs(parsed(*lines, begin=b"HTTP/1.%d 200 OK" % minor).keep_alive, keeps, (minor, lines))


class HopByHopTests(Case):
    def test_what_concerns_one_connection_stays_behind(self) -> None:
        for line in (
            b"Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Authentication-Info: x",
            b"TE: trailers",
            b"Upgrade: h2c",
            b"Transfer-Encoding: chunked",
        ):
            for spelling in (line, line.upper().replace(b"CHUNKED", b"chunked"), line.lower()):
                self.assertEqual(parsed(b"A: 1", spelling, b"B: 2").fields, b"A: 1\r\nB: 2\r\n")
                self.assertEqual(parsed(spelling).fields, b"")

    def test_so_does_what_connection_names(self) -> None:
        lines = (b"X-A: 1", b"Connection: x-a, Content-Length, close", b"X-AB: 2", b"x-A: 3", b"Content-Length: 5")
        self.assertEqual(parsed(*lines).fields, b"X-AB: 2\r\nContent-Length: 5\r\n")

    def test_via_and_trailer_pass(self) -> None:
        lines = (b"Via: 1.1 x", b"Trailer: Sum", b"X-Forwarded-For: y")
        self.assertEqual(parsed(*lines).fields, b"".join(line + b"\r\n" for line in lines))


class UpgradeTests(Case):
    begin = b"HTTP/1.1 101 Switching Protocols"

    def test_a_101_names_what_it_changes_to(self) -> None:
        head = parsed(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: x", begin=self.begin)
        self.assertEqual((head.upgrade, head.body, head.keep_alive), (b"websocket", 0, False))
        self.assertEqual(head.fields, b"Sec-WebSocket-Accept: x\r\n")

    def test_one_that_does_not_is_refused(self) -> None:
        for lines in (
            (),
            (b"Upgrade: websocket",),
            (b"Connection: upgrade",),
            (b"Connection: close", b"Upgrade: x"),
            (b"Upgrade:", b"Connection: upgrade"),
        ):
            self.refused(response(*lines, begin=self.begin))

    def test_only_a_101_upgrades(self) -> None:
        head = parsed(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 0", begin=b"HTTP/1.1 426 Upgrade Required")
        self.assertEqual((head.upgrade, head.keep_alive), (b"", True))
        for lines in ((b"Upgrade: h2,h2c",), (b"Upgrade: h2,h2c", b"Connection: Upgrade, Keep-Alive")):
            head = parsed(*lines, b"Content-Length: 5")
            self.assertEqual((head.upgrade, head.keep_alive, head.body), (b"", True, 5))


class WriteTests(Case):
    def test_with_other_lines(self) -> None:
        """Everything else stays, whatever a head may have."""
        for raw in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.0 404 No\r\nX: y\r\n\r\n",
        ):
            before = parse_response(raw, b"GET")
            # as only templates set it
            before.says_keep_alive = True
            after = before.with_lines(b"other\r\n")
            self.assertEqual(after.lines, b"other\r\n")
            changed = {"lines", "fields", "reason"}
            for name, value in attributes(before).items():
                if name not in changed:
                    self.assertEqual(getattr(after, name), value, name)

    def test_how_the_connection_goes_on(self) -> None:
        head = parsed(b"A: b", b"Content-Length: 5", b"Connection: close")
        begin = b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n"
        for minor, keep_alive, line in (
            (1, True, b""),
            (1, False, b"Connection: close\r\n"),
            (0, True, b"Connection: keep-alive\r\n"),
            (0, False, b"Connection: close\r\n"),
        ):
            written = write_response(head, minor=minor, keep_alive=keep_alive, chunked=False)
            self.assertEqual(written, begin + line + b"\r\n")

    def test_chunks(self) -> None:
        head = parsed(b"A: b", b"Transfer-Encoding: chunked")
        begin = b"HTTP/1.1 200 OK\r\nA: b\r\n"
        for minor, keep_alive, chunked, lines in (
            (1, True, True, b"Transfer-Encoding: chunked\r\n"),
            (1, False, True, b"Transfer-Encoding: chunked\r\nConnection: close\r\n"),
            (0, False, False, b"Connection: close\r\n"),
        ):
            written = write_response(head, minor=minor, keep_alive=keep_alive, chunked=chunked)
            self.assertEqual(written, begin + lines + b"\r\n")

    def test_no_field_at_all(self) -> None:
        head = parsed(b"Transfer-Encoding: chunked")
        self.assertEqual(
            write_response(head, minor=1, keep_alive=True, chunked=True), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def test_a_line_that_says_keep_alive(self) -> None:
        """It is passed on while it is correct, never repeated, and similar lines are kept."""
        lines = b"HTTP/1.1 200 OK\r\nX-Connection: keep-alive\r\n%bA: Connection: keep-alive\r\nContent-Length: 0\r\n"
        for spelling in (b"Connection: keep-alive\r\n", b"connection:keep-alive\r\n", b"CONNECTION: \tKeep-Alive\r\n"):
            head = ResponseHead(lines % spelling, 0)
            head.status, head.keep_alive, head.says_keep_alive = 200, True, True
            for minor, keep_alive, chunked, expected in (
                (1, True, False, lines % spelling),
                (1, True, True, lines % spelling + b"Transfer-Encoding: chunked\r\n"),
                (1, False, False, lines % b"" + b"Connection: close\r\n"),
                (1, False, True, lines % b"" + b"Transfer-Encoding: chunked\r\nConnection: close\r\n"),
                (0, True, False, lines % b"" + b"Connection: keep-alive\r\n"),
                (0, False, False, lines % b"" + b"Connection: close\r\n"),
            ):
                written = write_response(head, minor=minor, keep_alive=keep_alive, chunked=chunked)
                self.assertEqual(written, expected + b"\r\n", (spelling, minor, keep_alive, chunked))

    def test_http_1_0_becomes_1_1(self) -> None:
        head = parsed(b"A: b", begin=b"HTTP/1.0 404")
        self.assertEqual(
            write_response(head, minor=1, keep_alive=False, chunked=False),
            b"HTTP/1.1 404 \r\nA: b\r\nConnection: close\r\n\r\n",
        )

    def test_an_interim_answer_says_nothing_of_the_connection(self) -> None:
        head = parsed(b"Link: </a>", begin=b"HTTP/1.1 103 Early Hints")
        self.assertEqual(
            write_response(head, minor=1, keep_alive=False, chunked=False),
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        )

    def test_an_upgrade(self) -> None:
        head = parsed(b"Upgrade: websocket", b"A: b", b"Connection: upgrade", begin=b"HTTP/1.1 101 Go")
        self.assertEqual(
            write_response(head, minor=1, keep_alive=False, chunked=False),
            b"HTTP/1.1 101 Go\r\nA: b\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        )
