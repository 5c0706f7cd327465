"""What each way of a request leaves in the access log."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.access import FORMATS, AccessLog
from rtunnel.outcomes import Outcome, TlsOutcome
from rtunnel.server.entrypoint.logged import log_requests
from rtunnel.settings import HttpSettings
from tests.server.harness import TUNNEL, World
from tests.support.hellos import hello, record, server_name

GET = b"GET / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\npod"


class LoggedWorld(World):
    """A world with an access log."""

    def __init__(self, settings: HttpSettings | None = None, *, query: bool = False) -> None:
        super().__init__(settings)
        self.lines: list[str] = []
        log = AccessLog(self.lines.append, FORMATS["json"], query=query, wall=lambda: 0.0, clock=self.clock.seconds)
        log_requests(self.entrypoint, log)


class LineTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.world = LoggedWorld()
        self.pod = self.world.attach()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.world.lines]

    def line(self) -> dict[str, Any]:
        """The only line; its outcome is the one that was counted."""
        (line,) = self.lines()
        self.assertEqual(self.world.outcomes(), {Outcome(line["outcome"]): 1})
        return line

    def test_a_request(self) -> None:
        self.world.visit(b"GET /a?token=secret HTTP/1.1\r\nHost: Pod.local:80\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\n\r\n")
        request = self.pod.stream.take()
        self.world.clock.advance(2)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: c=d\r\n\r\npod")
        self.assertEqual(self.world.lines, [])
        self.world.clock.advance(1)
        self.pod.stream.answer(b"POD")
        line = self.line()
        request_id = line.pop("request_id")
        self.assertIn(f"\r\nX-Request-Id: {request_id}\r\n".encode(), request)
        self.assertEqual(
            line,
            {
                "time": "1970-01-01T00:00:00.000Z",
                "kind": "http",
                "visitor": "192.168.1.1",
                "user": None,
                "method": "GET",
                "host": "pod.local",
                "target": "/a?...",
                "protocol": "HTTP/1.1",
                "status": 200,
                "outcome": "answered",
                "tunnel": str(TUNNEL)[:8],
                "connector": str(self.pod.connector.id)[:8],
                "first_byte": 2.0,
                "total": 3.0,
                "received_bytes": 0,
                "sent_bytes": 6,
                "retries": 0,
            },
        )
        for secret in ("secret", "eDp5", "a=b", "c=d", str(TUNNEL)):
            self.assertNotIn(secret, self.world.lines[0])

    def test_the_query_when_asked_for(self) -> None:
        self.world = LoggedWorld(query=True)
        self.world.attach()
        self.world.visit(b"GET /a?b=c HTTP/1.1\r\nHost: nobody.local\r\n\r\n")
        self.assertEqual(self.line()["target"], "/a?b=c")

    def test_every_request_of_a_connection(self) -> None:
        """Also those whose heads pass as they came, once their shape is known."""
        visitor = self.world.visit()
        for number in range(6):
            visitor.send(b"GET /%d HTTP/1.1\r\nHost: pod.local\r\nAccept: */*\r\n\r\n" % number)
            self.pod.stream.answer(OK)
        self.assertEqual([line["target"] for line in self.lines()], [f"/{number}" for number in range(6)])
        self.assertEqual({(line["status"], line["sent_bytes"], line["outcome"]) for line in self.lines()}, {(200, 3, "answered")})
        self.assertEqual(len({line["request_id"] for line in self.lines()}), 6)

    def test_pipelined(self) -> None:
        self.world.visit(GET + GET.replace(b"/ ", b"/2 "))
        self.pod.stream.answer(OK)
        self.pod.stream.answer(OK)
        self.assertEqual([line["target"] for line in self.lines()], ["/", "/2"])

    def test_body(self) -> None:
        visitor = self.world.visit(b"POST /up HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 10\r\n\r\n12345")
        visitor.send(b"67890")
        self.pod.stream.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.pod.stream.answer(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        self.pod.stream.answer(b"0\r\n\r\n")
        line = self.line()
        self.assertEqual((line["status"], line["received_bytes"], line["sent_bytes"]), (201, 10, 11))

    def test_no_body(self) -> None:
        for method, answer in ((b"HEAD", OK[:-3]), (b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\n")):
            self.world.visit(method + GET[3:])
            self.pod.stream.answer(answer)
        self.assertEqual([(line["method"], line["sent_bytes"]) for line in self.lines()], [("HEAD", 0), ("GET", 0)])

    def test_unknown_host(self) -> None:
        self.world.visit(b"GET / HTTP/1.1\r\nHost: who.local\r\n\r\n")
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["host"]), (404, "unknown_host", "who.local"))
        self.assertEqual((line["tunnel"], line["connector"]), (None, None))
        self.assertGreater(line["sent_bytes"], 20)

    def test_no_connector(self) -> None:
        self.pod.lose()
        self.world.visit(GET)
        line = self.line()
        self.assertEqual((line["status"], line["tunnel"], line["connector"]), (503, str(TUNNEL)[:8], None))

    def test_no_request(self) -> None:
        self.world.visit(b"GET / HTTP/1.1\r\nBad Field: \x1b\r\n\r\n")
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["method"]), (400, "bad_request", None))
        self.assertGreater(line["sent_bytes"], 20)

    def test_head_too_slow(self) -> None:
        self.world.visit(b"GET / HT")
        self.world.pass_time(20)
        self.assertEqual((self.line()["status"], self.line()["outcome"]), (408, "request_timeout"))

    def test_idle_visitor_leaves_none(self) -> None:
        self.world.visit().leave()
        self.assertEqual(self.world.lines, [])

    def test_visitor_gone(self) -> None:
        visitor = self.world.visit(GET)
        visitor.leave()
        line = self.line()
        self.assertEqual((line["status"], line["first_byte"], line["outcome"]), (None, None, "visitor_gone"))

    def test_broken_off(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(OK[:-1])
        self.pod.lose()
        line = self.line()
        self.assertEqual((line["status"], line["sent_bytes"], line["outcome"]), (200, 2, "aborted"))

    def test_retry(self) -> None:
        self.world.visit(GET)
        first = self.pod
        second = self.world.attach()
        first.lose()
        second.stream.answer(OK)
        line = self.line()
        self.assertEqual((line["retries"], line["connector"]), (1, str(second.connector.id)[:8]))

    def test_upgrade_is_one_line_at_its_end(self) -> None:
        visitor = self.world.visit(b"GET /ws HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        self.pod.stream.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
        visitor.send(b"12")
        self.pod.stream.answer(b"345")
        self.assertEqual(self.world.lines, [])
        self.world.clock.advance(60)
        visitor.leave()
        self.pod.stream.close()
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["total"]), (101, "upgraded", 60.0))
        self.assertEqual((line["received_bytes"], line["sent_bytes"]), (7, 8))

    def test_nothing_leaves_its_line(self) -> None:
        """Whatever stands in a request; what is no request leaves nothing of itself."""
        self.world.visit(b'GET /a"\\b HTTP/1.1\r\nHost: pod.local\r\n\r\n')
        self.pod.stream.answer(OK)
        self.world.visit(b"GET /\x1b[31m\x80 HTTP/1.1\r\nHost: pod.local\r\n\r\n")
        self.assertEqual([line["status"] for line in self.lines()], [200, 400])
        for line in self.world.lines:
            self.assertTrue(line.isascii() and line[:-1].isprintable() and line.endswith("\n"))


class TlsTests(SynchronousTestCase):
    """A TLS connection that is passed through leaves a line when it is over."""

    HELLO = record(hello(server_name(b"pod.local")))

    def setUp(self) -> None:
        self.world = LoggedWorld()
        self.pod = self.world.attach()

    def line(self) -> dict[str, Any]:
        (line,) = self.world.lines
        found: dict[str, Any] = json.loads(line)
        self.assertEqual(self.world.stats.tls[TlsOutcome(found["outcome"])], 1)
        self.assertEqual((found["kind"], found["method"], found["status"], found["visitor"]), ("tls", None, None, "192.168.1.1"))
        return found

    def test_passed_through(self) -> None:
        visitor = self.world.visit(self.HELLO)
        self.world.clock.advance(2)
        self.pod.stream.answer(b"hello")
        visitor.send(b"123")
        self.assertEqual(self.world.lines, [])
        self.world.clock.advance(3)
        self.pod.stream.close()
        visitor.transport.protocol.readConnectionLost()
        visitor.leave()
        line = self.line()
        self.assertEqual((line["host"], line["outcome"], line["connector"]), ("pod.local", "done", str(self.pod.connector.id)[:8]))
        self.assertEqual((line["first_byte"], line["total"]), (2.0, 5.0))
        self.assertEqual((line["received_bytes"], line["sent_bytes"]), (len(self.HELLO) + 3, 5))

    def test_retry(self) -> None:
        visitor = self.world.visit(self.HELLO)
        second = self.world.attach()
        self.pod.lose()
        second.stream.answer(b"hello")
        visitor.leave()
        line = self.line()
        self.assertEqual((line["retries"], line["connector"]), (1, str(second.connector.id)[:8]))

    def test_unknown_name(self) -> None:
        self.world.visit(record(hello(server_name(b"who.local"))))
        line = self.line()
        self.assertEqual(
            (line["host"], line["outcome"], line["tunnel"], line["first_byte"]), ("who.local", "unknown_name", None, None)
        )

    def test_stopped(self) -> None:
        """Cut off at the end of the server: the outcome is that, and its bytes are there."""
        visitor = self.world.visit(self.HELLO)
        self.pod.stream.answer(b"hello")
        self.world.entrypoint.cut()
        visitor.leave()
        self.world.turn()
        line = self.line()
        self.assertEqual((line["outcome"], line["sent_bytes"]), ("stopped", 5))


class AddressTests(SynchronousTestCase):
    """Who visited, when a proxy stands in between."""

    def visitor(self, said: bytes, *trusted: str) -> str:
        world = LoggedWorld(HttpSettings(trusted_proxies=tuple(map(ip_network, trusted))))
        world.visit(b"GET / HTTP/1.1\r\nHost: nobody.local\r\nX-Forwarded-For: " + said + b"\r\n\r\n")
        (line,) = world.lines
        address: str = json.loads(line)["visitor"]
        return address

    def test_nobody_is_trusted(self) -> None:
        self.assertEqual(self.visitor(b"8.8.8.8"), "192.168.1.1")

    def test_a_trusted_proxy(self) -> None:
        self.assertEqual(self.visitor(b"6.6.6.6, 8.8.8.8", "192.168.0.0/16"), "8.8.8.8")

    def test_a_chain_of_them(self) -> None:
        self.assertEqual(self.visitor(b"6.6.6.6, 8.8.8.8, 10.0.0.1", "192.168.0.0/16", "10.0.0.0/8"), "8.8.8.8")

    def test_all_are_trusted(self) -> None:
        self.assertEqual(self.visitor(b"10.0.0.2", "192.168.0.0/16", "10.0.0.0/8"), "10.0.0.2")

    def test_nonsense(self) -> None:
        self.assertEqual(self.visitor(b"8.8.8.8, x y, 10.0.0.1", "192.168.0.0/16", "10.0.0.0/8"), "10.0.0.1")
        self.assertEqual(self.visitor(b"unknown", "192.168.0.0/16"), "192.168.1.1")


class WithoutTests(SynchronousTestCase):
    def test_nothing_of_it_is_there(self) -> None:
        """Without an access log the plain classes serve."""
        world = World()
        self.assertEqual(type(world.visit().protocol).__name__, "HttpVisitor")
        self.assertEqual(world.entrypoint.exchange.__name__, "Exchange")
