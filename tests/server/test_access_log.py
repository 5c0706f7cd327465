"""What each way of a request leaves in the access log, and what other observers see of it at the same time."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Outcome, TlsOutcome
from rtunnel.settings import HttpSettings
from tests.server.harness import ANSWER, KEPT, HttpCase, World, all_worlds
from tests.support.heads import GET, OK
from tests.support.hellos import hello, record, server_name
from tests.support.ids import TUNNEL

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


class LogCase(HttpCase):
    logged = True

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.world.lines]

    def line(self) -> dict[str, Any]:
        """The only line; its outcome is the one that was counted."""
        (line,) = self.lines()
        self.assertEqual(self.world.outcomes(), {Outcome(line["outcome"]): 1})
        return line


class LineTests(LogCase):
    """The line of an exchange."""

    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def test_a_request(self) -> None:
        head = b"GET /a?token=secret HTTP/1.1\r\nHost: Pod.local:80\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\n\r\n"
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: c=d\r\n\r\n"
        self.world.learn(head, answer)
        self.world.visit(head)
        request = self.pod.stream.take()
        self.world.clock.advance(2)
        self.pod.stream.answer(answer + b"pod")
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
                "holder": None,
                "intercept": None,
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
        self.world = self.make_world(query=True)
        self.world.visit(b"GET /a?b=c HTTP/1.1\r\nHost: nobody.local\r\n\r\n")
        self.assertEqual(self.line()["target"], "/a?b=c")

    def test_every_request_of_a_connection(self) -> None:
        """Whether its head was parsed, or read with a template as those before it were."""
        visitor = self.world.visit()
        for number in range(6):
            visitor.send(KEPT % number)
            self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.world.parsed_requests, 0 if self.learned else 6)
        self.assertEqual([line["target"] for line in self.lines()], [f"/{number}" for number in range(6)])
        self.assertEqual({(line["status"], line["sent_bytes"], line["outcome"]) for line in self.lines()}, {(200, 3, "answered")})
        self.assertEqual(len({line["request_id"] for line in self.lines()}), 6)

    def test_pipelined(self) -> None:
        self.world.visit(GET + GET.replace(b"/ ", b"/2 "))
        self.pod.stream.answer(OK)
        self.assertEqual([line["target"] for line in self.lines()], ["/"])
        self.world.clock.advance(1)
        self.pod.stream.answer(OK)
        self.assertEqual([(line["target"], line["total"]) for line in self.lines()], [("/", 0.0), ("/2", 1.0)])

    def test_body(self) -> None:
        self.world.unusual(answers=2)
        visitor = self.world.visit(b"POST /up HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 10\r\n\r\n12345")
        visitor.send(b"67890")
        self.pod.stream.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.pod.stream.answer(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        self.pod.stream.answer(b"0\r\n\r\n")
        line = self.line()
        self.assertEqual((line["status"], line["received_bytes"], line["sent_bytes"]), (201, 10, 11))

    def test_chunks_of_a_request(self) -> None:
        """The bytes of the body as they came, chunks and all."""
        self.world.unusual(requests=1)
        self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        self.pod.stream.answer(OK)
        self.assertEqual(self.line()["received_bytes"], 13)

    def test_visitor_of_http_1_0(self) -> None:
        """What it gets, which is without chunks."""
        self.world.unusual(requests=1)
        self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\n\r\n")
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npod\r\n0\r\n\r\n")
        line = self.line()
        self.assertEqual((line["protocol"], line["sent_bytes"]), ("HTTP/1.0", 3))

    def test_interim_answers(self) -> None:
        """They are not the answer: neither its status nor its first byte."""
        self.world.unusual(answers=2)
        self.world.visit(GET)
        for status in (b"102 Processing", b"103 Early Hints"):
            self.world.clock.advance(1)
            self.pod.stream.answer(b"HTTP/1.1 %b\r\n\r\n" % status)
        self.world.clock.advance(1)
        self.pod.stream.answer(OK)
        line = self.line()
        self.assertEqual((line["status"], line["first_byte"], line["sent_bytes"]), (200, 3.0, 3))

    def test_no_body(self) -> None:
        self.world.learn(b"HEAD" + GET[3:])
        self.world.unusual(answers=1)
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

    def test_head_of_an_unknown_host(self) -> None:
        """The answer is a head alone."""
        head = b"HEAD / HTTP/1.1\r\nHost: who.local\r\n\r\n"
        self.world.learn(head)
        self.world.visit(head)
        self.assertEqual((self.line()["status"], self.line()["sent_bytes"]), (404, 0))

    def test_no_connector(self) -> None:
        self.pod.lose()
        self.world.visit(GET)
        line = self.line()
        self.assertEqual((line["status"], line["tunnel"], line["connector"]), (503, str(TUNNEL)[:8], None))

    def test_target_failed(self) -> None:
        self.world.visit(GET)
        self.pod.stream.refuse()
        line = self.line()
        self.assertEqual((line["status"], line["outcome"]), (502, "target_failed"))
        self.assertEqual(line["connector"], str(self.pod.connector.id)[:8])

    def test_target_too_slow(self) -> None:
        self.world.visit(GET)
        self.world.pass_time(16)
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["first_byte"]), (504, "response_timeout", line["total"]))

    def test_no_request(self) -> None:
        self.world.visit(b"GET / HTTP/1.1\r\nBad Field: \x1b\r\n\r\n")
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["method"]), (400, "bad_request", None))
        self.assertEqual((line["visitor"], line["host"], line["request_id"]), ("192.168.1.1", None, None))
        self.assertGreater(line["sent_bytes"], 20)

    def test_no_request_after_one(self) -> None:
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        visitor.send(b"nonsense\r\n\r\n")
        self.assertEqual([(line["status"], line["target"]) for line in self.lines()], [(200, "/"), (400, None)])

    def test_bad_body(self) -> None:
        self.world.unusual(requests=1)
        self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n").send(b"3\r\nabc\r\nzz\r\n")
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["method"]), (400, "bad_request", "POST"))

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

    def test_retry_on_the_same_connector(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.world.visit(GET)
        self.pod.stream.close()
        self.pod.stream.answer(OK)
        self.assertEqual([line["retries"] for line in self.lines()], [0, 1])

    def test_upgrade_is_one_line_at_its_end(self) -> None:
        self.world.unusual(requests=1, answers=1)
        visitor = self.world.visit(UPGRADE + b"early")
        self.pod.stream.answer(SWITCH + b"hello")
        visitor.send(b"12")
        self.pod.stream.answer(b"345")
        self.assertEqual(self.world.lines, [])
        self.world.clock.advance(60)
        visitor.leave()
        self.pod.stream.close()
        line = self.line()
        self.assertEqual((line["status"], line["outcome"], line["total"], line["first_byte"]), (101, "upgraded", 60.0, 0.0))
        self.assertEqual((line["received_bytes"], line["sent_bytes"]), (7, 8))

    def test_nothing_leaves_its_line(self) -> None:
        """Whatever is in a request; what is no request leaves nothing of itself."""
        self.world.visit(b'GET /a"\\b HTTP/1.1\r\nHost: pod.local\r\n\r\n')
        self.pod.stream.answer(OK)
        self.world.visit(b"GET /\x1b[31m\x80 HTTP/1.1\r\nHost: pod.local\r\n\r\n")
        self.assertEqual([line["status"] for line in self.lines()], [200, 400])
        for line in self.world.lines:
            self.assertTrue(line.isascii() and line[:-1].isprintable() and line.endswith("\n"))


class ObserverTests(LogCase):
    """What observers see of an exchange beside what the line says; the access log is not the only one."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def test_in_order(self) -> None:
        """The bytes of both bodies, and nothing after the end."""
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 6\r\n\r\nabc")
        visitor.send(b"def")
        self.pod.stream.answer(OK[:-2])
        self.pod.stream.answer(b"o")
        self.pod.stream.answer(b"d")
        (watched,) = self.world.watcher.exchanges
        self.assertEqual(watched.calls, "qqbaae")
        self.assertEqual((watched.request, watched.answer, watched.status), (b"abcdef", b"pod", 200))
        self.assertEqual(watched.outcome, Outcome.ANSWERED)

    def test_whole_answer(self) -> None:
        self.world.visit(KEPT % 1)
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        (watched,) = self.world.watcher.exchanges
        self.assertEqual((watched.calls, watched.answer), ("be", b"pod"))

    def test_what_is_known_of_an_exchange(self) -> None:
        """The request, its id, and where it is served."""
        self.world.visit(b"GET /a?b=c HTTP/1.1\r\nHost: pod.local\r\n\r\n")
        (watched,) = self.world.watcher.exchanges
        exchange = watched.exchange
        self.assertEqual((exchange.head.target, exchange.head.host), (b"/a?b=c", "pod.local"))
        self.assertIn(b"\r\nX-Request-Id: %b\r\n" % exchange.request_id, self.pod.stream.take())
        self.assertIs(exchange.connector, self.pod.connector)

    def test_our_own_answer(self) -> None:
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: who.local\r\n\r\n")
        (watched,) = self.world.watcher.exchanges
        self.assertEqual((watched.calls, watched.status), ("be", 404))
        self.assertEqual(watched.answer, visitor.received.partition(b"\r\n\r\n")[2])
        self.assertIsNone(watched.exchange.tunnel)

    def test_upgrade(self) -> None:
        self.world.unusual(requests=1, answers=1)
        visitor = self.world.visit(UPGRADE + b"early")
        self.pod.stream.answer(SWITCH + b"hello")
        (watched,) = self.world.watcher.exchanges
        self.assertEqual((watched.calls, watched.status), ("b", 101))
        visitor.leave()
        self.pod.stream.close()
        self.assertEqual((watched.calls, watched.upgraded), ("bu", (5, 5)))

    def test_rejected(self) -> None:
        visitor = self.world.visit(b"nonsense\r\n\r\n")
        body = visitor.received.partition(b"\r\n\r\n")[2]
        self.assertEqual(self.world.watcher.rejections, [("192.168.1.1", 400, len(body), Outcome.BAD_REQUEST)])
        self.assertEqual(self.world.watcher.exchanges, [])


class AddressTests(LogCase):
    """Who visited, when a proxy stands in between."""

    def visitor(self, said: bytes, *trusted: str, name: bytes = b"X-Forwarded-For") -> str:
        self.world = self.make_world(HttpSettings(trusted_proxies=tuple(map(ip_network, trusted))))
        head = b"GET / HTTP/1.1\r\nHost: nobody.local\r\n" + name + b": " + said + b"\r\n\r\n"
        self.world.learn(head)
        self.world.visit(head)
        (watched,) = self.world.watcher.exchanges
        self.assertEqual(watched.visitor, self.line()["visitor"])
        return watched.visitor

    def test_nobody_is_trusted(self) -> None:
        self.assertEqual(self.visitor(b"8.8.8.8"), "192.168.1.1")
        self.assertEqual(self.visitor(b"for=8.8.8.8", name=b"Forwarded"), "192.168.1.1")

    def test_somebody_else_is_trusted(self) -> None:
        self.assertEqual(self.visitor(b"8.8.8.8", "10.0.0.0/8"), "192.168.1.1")

    def test_a_trusted_proxy(self) -> None:
        self.assertEqual(self.visitor(b"6.6.6.6, 8.8.8.8", "192.168.0.0/16"), "8.8.8.8")

    def test_a_trusted_proxy_that_says_nothing(self) -> None:
        self.world = self.make_world(HttpSettings(trusted_proxies=(ip_network("192.168.0.0/16"),)))
        self.world.visit(GET)
        self.assertEqual(self.line()["visitor"], "192.168.1.1")

    def test_a_chain_of_them(self) -> None:
        self.assertEqual(self.visitor(b"6.6.6.6, 8.8.8.8, 10.0.0.1", "192.168.0.0/16", "10.0.0.0/8"), "8.8.8.8")

    def test_all_are_trusted(self) -> None:
        self.assertEqual(self.visitor(b"10.0.0.2", "192.168.0.0/16", "10.0.0.0/8"), "10.0.0.2")

    def test_nonsense(self) -> None:
        self.assertEqual(self.visitor(b"8.8.8.8, x y, 10.0.0.1", "192.168.0.0/16", "10.0.0.0/8"), "10.0.0.1")
        self.assertEqual(self.visitor(b"unknown", "192.168.0.0/16"), "192.168.1.1")

    def test_ipv6(self) -> None:
        self.assertEqual(self.visitor(b"2001:DB8::1", "192.168.0.0/16"), "2001:db8::1")

    def test_forwarded(self) -> None:
        """A proxy that speaks of its visitors in Forwarded alone (RFC 7239)."""
        for said, visitor in (
            (b"for=8.8.8.8", "8.8.8.8"),
            (b"for=6.6.6.6, for=8.8.8.8;host=a.example;proto=https", "8.8.8.8"),
            (b'proto=https;For="8.8.8.8:4711"', "8.8.8.8"),
            (b'for="[2001:db8::1]:4711"', "2001:db8::1"),
            (b'for="[2001:db8::1]"', "2001:db8::1"),
            (b'for=8.8.8.8;by=10.0.0.1, for=10.0.0.9;by="[fd00::1]"', "8.8.8.8"),
            (b"for=_hidden", "192.168.1.1"),
            (b"for=unknown, for=10.0.0.9", "10.0.0.9"),
            (b"proto=https", "192.168.1.1"),
            (b'for=8.8.8.8;host="x,for=6.6.6.6"', "8.8.8.8"),
            (b'for=8.8.8.8;host="x', "192.168.1.1"),
        ):
            with self.subTest(said=said):
                self.assertEqual(self.visitor(said, "192.168.0.0/16", "10.0.0.0/8", name=b"Forwarded"), visitor)


class TlsTests(SynchronousTestCase):
    """A TLS connection that is passed through leaves a line when it is over."""

    HELLO = record(hello(server_name(b"pod.local")))

    def setUp(self) -> None:
        self.world = World(self, logged=True)
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
        visitor.vanish()
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
        self.world.visit(self.HELLO)
        self.pod.stream.answer(b"hello")
        self.world.entrypoint.cut()
        self.world.turn()
        line = self.line()
        self.assertEqual((line["outcome"], line["sent_bytes"]), ("stopped", 5))


class WithoutTests(SynchronousTestCase):
    def test_nothing_of_it_is_there(self) -> None:
        """Without an access log nothing is written, and nobody watches."""
        world = World(self)
        pod = world.attach()
        world.visit(GET)
        pod.stream.answer(OK)
        world.visit(b"nonsense\r\n\r\n")
        self.assertEqual((world.lines, world.entrypoint.observers), ([], ()))
        self.assertEqual(world.outcomes(), {Outcome.ANSWERED: 1, Outcome.BAD_REQUEST: 1})


globals().update(all_worlds(LineTests, ObserverTests, AddressTests, logged=(True,)))
