"""Requests changed on their way: what was asked for, and nothing else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import PASS_ALL, HeadLimits, RequestReader, RequestRewrite, parse_request
from rtunnel.wire.http1_templates import LEARN_AFTER
from tests.support.attributes import attributes

HEAD = (
    b"POST /a?b HTTP/1.1\r\nHost: app.local\r\nAccept: */*\r\nCookie: a=1\r\nX-Forwarded-For: 192.0.2.1\r\ncookie: b=2\r\n"
    b"Content-Length: 3\r\nX-Request-Id: 7\r\n\r\n"
)

NAMES = st.from_regex(r"[A-Za-z][A-Za-z-]{0,8}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]{0,9}", fullmatch=True)


class RewriteTests(SynchronousTestCase):
    def rewritten(self, rewrite: RequestRewrite, head: bytes = HEAD) -> list[bytes]:
        written = rewrite.write(parse_request(head, PASS_ALL))
        parse_request(written, PASS_ALL)
        self.assertTrue(written.endswith(b"\r\n\r\n"))
        return written.split(b"\r\n")[:-2]

    def test_nothing(self) -> None:
        """Without changes everything passes, also what an earlier proxy said of the visitor."""
        self.assertEqual(sorted(self.rewritten(RequestRewrite())), sorted(HEAD.split(b"\r\n")[:-2]))

    def test_host(self) -> None:
        lines = self.rewritten(RequestRewrite(host="inside.local:8080"))
        self.assertEqual(lines[1], b"Host: inside.local:8080")
        self.assertNotIn(b"Host: app.local", lines)

    def test_set(self) -> None:
        """A field that is set takes the place of all of its name."""
        lines = self.rewritten(RequestRewrite(set_fields=[("Cookie", "c=3"), ("X-New", "yes, it is")]))
        self.assertEqual([line for line in lines if line.lower().startswith(b"cookie")], [b"Cookie: c=3"])
        self.assertIn(b"X-New: yes, it is", lines)

    def test_remove(self) -> None:
        lines = self.rewritten(RequestRewrite(remove=["COOKIE", "x-forwarded-for"]))
        self.assertEqual([line for line in lines if b"ookie" in line or b"Forwarded" in line], [])
        self.assertIn(b"Accept: */*", lines)
        self.assertIn(b"Content-Length: 3", lines)

    def test_only_whole_names(self) -> None:
        """A name inside another one, or inside a value, is not meant."""
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Cookie: 1\r\nCookies: 2\r\nX: Cookie: 3\r\n\r\n"
        self.assertEqual(self.rewritten(RequestRewrite(remove=["Cookie"]), head), head.split(b"\r\n")[:-2])

    def test_names_are_no_patterns(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX.A: 1\r\nX-A: 2\r\nX+: 3\r\nXX: 4\r\n\r\n"
        lines = self.rewritten(RequestRewrite(set_fields=[("x+", "\\1")], remove=["x.a"]), head)
        self.assertEqual(lines[2:], [b"X-A: 2", b"XX: 4", b"x+: \\1"])

    def test_absolute_form(self) -> None:
        """The host of a target in absolute-form is replaced like any other."""
        head = b"GET http://app.local/a HTTP/1.1\r\nAccept: */*\r\nHost: other\r\n\r\n"
        self.assertEqual(self.rewritten(RequestRewrite(), head), [b"GET /a HTTP/1.1", b"Host: app.local", b"Accept: */*"])
        self.assertEqual(self.rewritten(RequestRewrite("b:1"), head), [b"GET /a HTTP/1.1", b"Host: b:1", b"Accept: */*"])

    def test_what_was_read_stays(self) -> None:
        """Rewriting does not modify the head."""
        head = parse_request(HEAD, PASS_ALL)
        before = attributes(head)
        changed = RequestRewrite("b", [("Accept", "x")], ["Cookie"]).write(head)
        self.assertEqual(attributes(head), before)
        self.assertNotEqual(changed, RequestRewrite().write(head))

    def test_known_heads(self) -> None:
        """A head from a template is rewritten like a parsed one."""
        reader = RequestReader(HeadLimits(), PASS_ALL)
        for _ in range(LEARN_AFTER):
            reader.read(HEAD)
        found = reader.read(HEAD)
        assert found is not None
        self.assertEqual(reader.parsed, LEARN_AFTER, "the last one is read by a template")
        rewrite = RequestRewrite("inside.local", [("Accept", "text/html")], ["Cookie", "x-request-id"])
        self.assertEqual(sorted(rewrite.write(found[0]).split(b"\r\n")[:-2]), sorted(self.rewritten(rewrite)))

    def test_framing_and_upgrade_stay(self) -> None:
        for head, line in [
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"Transfer-Encoding: chunked"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"Upgrade: websocket"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: te\r\nTE: trailers\r\n\r\n", b"TE: trailers"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", b"Expect: 100-continue"),
        ]:
            self.assertIn(line, self.rewritten(RequestRewrite("b", [("X", "y")], ["Z"]), head))

    @settings(deadline=None)
    @given(st.lists(st.tuples(NAMES, VALUES)))
    def test_any_fields(self, fields: list[tuple[str, str]]) -> None:
        """Of any head of plain fields, exactly the lines of the unwanted name are gone."""
        plain = [(f"X-{name}", value) for name, value in fields]
        head = "GET / HTTP/1.1\r\nHost: a\r\n" + "".join(f"{name}: {value}\r\n" for name, value in plain) + "\r\n"
        kept = [f"{name}: {value}".encode() for name, value in plain if name.lower() != "x-a"]
        self.assertEqual(self.rewritten(RequestRewrite(remove=["X-A"]), head.encode())[2:], kept)
