"""How a line of the access log looks."""

from __future__ import annotations

import json
import re
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ids import short_id
from rtunnel.ops.access import AccessLog
from tests.support.access import writes
from tests.support.ids import TUNNEL

CONNECTOR = UUID("216d6bcf-59dc-4c70-999e-91a30813ac78")
COMMON = re.compile(r'(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}|-) (\d+) (.*)\n')
"""The Common Log Format as tools read it, and the rest."""


class LineTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []

    def log(self, line: str) -> AccessLog:
        return AccessLog(writes(self.lines, line), wall=lambda: 1_000_000_000.25, clock=self.clock.seconds)


class TextTests(LineTestCase):
    def test_request(self) -> None:
        access = self.log("text").begin("http", "192.0.2.1")
        access.method, access.target, access.protocol, access.host = "GET", "/a", "HTTP/1.1", "pod.local"
        access.tunnel, access.connector, access.status = short_id(TUNNEL), short_id(CONNECTOR), 200
        access.sent, access.received, access.retries, access.request_id = 5, 6, 1, "abc"
        self.clock.advance(0.5)
        access.answered()
        self.clock.advance(0.25)
        access.answered()
        access.end("answered")
        (line,) = self.lines
        parts = COMMON.fullmatch(line)
        assert parts is not None, line
        self.assertRegex(parts[4], r"0[89]/Sep/2001:\d\d:46:40 [+-]\d{4}")
        self.assertEqual(
            (parts[1], parts[2], parts[3], parts[5], parts[6], parts[7]), ("192.0.2.1", "-", "-", "GET /a HTTP/1.1", "200", "5")
        )
        self.assertEqual(
            parts[8],
            "host=pod.local outcome=answered tunnel=10bc451e connector=216d6bcf"
            " first=0.500000 total=0.750000 received=6 retries=1 id=abc",
        )

    def test_connection(self) -> None:
        """What is no request: a TLS connection that is passed through, a private one."""
        access = self.log("text").begin("tls", "2001:db8::1")
        access.host, access.user = "tls.local", "jo hn"
        access.end("no_connector")
        (line,) = self.lines
        parts = COMMON.fullmatch(line)
        assert parts is not None, line
        self.assertEqual((parts[1], parts[3], parts[5], parts[6], parts[7]), ("2001:db8::1", r"jo\x20hn", "TLS", "-", "0"))
        self.assertIn("host=tls.local outcome=no_connector tunnel=- connector=- first=- ", line)

    @given(st.text(), st.text(), st.text())
    def test_nothing_leaves_its_place(self, method: str, target: str, host: str) -> None:
        lines: list[str] = []
        access = AccessLog(writes(lines, "text"), query=True).begin("http", "192.0.2.1")
        access.method, access.target, access.host, access.protocol = method, target, host, "HTTP/1.1"
        access.end("answered")
        (line,) = lines
        parts = COMMON.fullmatch(line)
        assert parts is not None, line
        self.assertTrue(line[:-1].isascii() and line[:-1].isprintable())
        self.assertEqual(len(parts[8].split(" ")), 9, line)


class JsonTests(LineTestCase):
    @given(st.text(), st.text())
    def test_one_line_of_json(self, target: str, host: str) -> None:
        lines: list[str] = []
        access = AccessLog(writes(lines, "json"), query=True).begin("http", "192.0.2.1")
        access.target, access.host = target, host
        access.end("answered")
        (line,) = lines
        self.assertTrue(line.isascii() and line[:-1].isprintable() and line.endswith("\n"))
        found = json.loads(line)
        self.assertEqual((found["target"], found["host"]), (target or None, host or None))

    def test_both_tell_the_same(self) -> None:
        """Each key of the one has its place in the other."""
        access = self.log("json").begin("http", "192.0.2.1")
        access.end("answered")
        self.assertEqual(len(json.loads(self.lines[0])), 20)
