"""The HTTP side of an entrypoint: conversations of visitors, connectors and their targets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import LinkEnd, Outcome
from rtunnel.settings import HttpSettings
from tests.server.harness import FarConnector, Visitor, World

GET = b"GET / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\npod"


def status(visitor: Visitor) -> int:
    """The status of the first answer that a visitor got."""
    return int(visitor.received.split(b" ", 2)[1])


class ForwardingTests(SynchronousTestCase):
    """What reaches the target, and what comes back."""

    def setUp(self) -> None:
        self.world = World()
        self.pod = self.world.attach()

    def test_request_and_answer(self) -> None:
        visitor = self.world.visit(b"GET /a?b=c HTTP/1.1\r\nHost: Pod.Local:8080\r\nAccept: */*\r\n\r\n")
        request = self.pod.stream.take()
        self.assertTrue(request.startswith(b"GET /a?b=c HTTP/1.1\r\nHost: Pod.Local:8080\r\nAccept: */*\r\n"), request)
        self.assertIn(b"\r\nX-Forwarded-For: 192.168.1.1\r\n", request)
        self.assertIn(b"\r\nX-Forwarded-Proto: http\r\n", request)
        self.assertIn(b"\r\nX-Forwarded-Host: Pod.Local:8080\r\n", request)
        self.assertIn(b"\r\nX-Request-Id: ", request)
        self.assertIn(b"\r\nVia: 1.1 rtunnel\r\n", request)
        source, destination = self.pod.stream.preface.addresses
        self.assertEqual((source.host, destination.host, destination.port), ("192.168.1.1", "pod.local", 8080))
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertFalse(visitor.closed)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_visitor_cannot_forge(self) -> None:
        """Forwarding fields of a visitor are dropped; Via is lengthened."""
        self.world.visit(
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nX-Forwarded-For: 8.8.8.8\r\nX-Request-Id: mine\r\nVia: 1.0 old\r\n\r\n"
        )
        request = self.pod.stream.take()
        self.assertNotIn(b"8.8.8.8", request)
        self.assertNotIn(b"mine", request)
        self.assertIn(b"\r\nVia: 1.0 old, 1.1 rtunnel\r\n", request)

    def test_hop_by_hop_fields_stay(self) -> None:
        self.world.visit(
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\r\n"
        )
        request = self.pod.stream.take().lower()
        for name in (b"connection:", b"x-secret", b"keep-alive"):
            self.assertNotIn(name, request)

    def test_stream_is_pooled(self) -> None:
        """The next request of anybody for the host takes the free stream, without a preface."""
        self.world.visit(GET)
        self.pod.stream.take()
        self.pod.stream.answer(OK)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 1)
        self.assertTrue(self.pod.stream.take().startswith(b"GET / HTTP/1.1\r\n"))

    def test_pool_turned_off(self) -> None:
        world = World(HttpSettings(pool=False))
        pod = world.attach()
        world.visit(GET)
        pod.stream.answer(OK)
        self.assertTrue(pod.stream.finished)
        world.visit(GET)
        self.assertEqual(len(pod.streams), 2)

    def test_free_stream_expires(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        pool = self.pod.connector.link
        pool.sweep(100.0)
        pool.sweep(129.0)
        self.world.turn()
        self.assertFalse(self.pod.stream.finished)
        pool.sweep(130.0)
        self.world.turn()
        self.assertTrue(self.pod.stream.finished)

    def test_request_that_may_not_be_repeated_gets_a_stream_that_was_just_in_use(self) -> None:
        for request in (GET, POST):
            self.world.visit(request)
            self.pod.stream.answer(OK)
        visitor = self.world.visit(POST)
        self.pod.stream.answer(OK)
        self.assertEqual((len(self.pod.streams), visitor.received), (1, OK))

    def test_request_that_may_not_be_repeated_gets_no_stream_that_was_free_for_a_while(self) -> None:
        """It may be dead already, which shows only after sending; a POST must not run into that."""
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.pod.connector.link.sweep(100.0)
        self.world.visit(POST)
        self.pod.stream.answer(OK)
        self.assertEqual(len(self.pod.streams), 2)
        self.pod.connector.link.sweep(100.5)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2, "a GET takes what is free")

    def test_body_with_length(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 10\r\n\r\n12345")
        visitor.send(b"67890" + GET)
        self.assertTrue(self.pod.stream.take().endswith(b"\r\n\r\n1234567890"))
        self.pod.stream.answer(OK)
        self.assertTrue(self.pod.stream.take().startswith(b"GET / "))

    def test_chunked_body_and_trailers(self) -> None:
        chunks = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n")
        for position in range(len(chunks)):
            visitor.send(chunks[position : position + 1])
        request = self.pod.stream.take()
        self.assertTrue(request.endswith(b"\r\n\r\n" + chunks), request)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npod\r\n0\r\nX-Sum: 2\r\n\r\n")
        self.assertTrue(visitor.received.endswith(b"\r\n\r\n3\r\npod\r\n0\r\nX-Sum: 2\r\n\r\n"), visitor.received)
        self.assertFalse(visitor.closed)

    def test_answer_byte_by_byte(self) -> None:
        """Each byte of a body is passed on at once."""
        visitor = self.world.visit(GET)
        for position in range(len(OK) - 3):
            self.pod.stream.answer(OK[position : position + 1])
        self.assertTrue(visitor.received.endswith(b"\r\n\r\n"))
        for position in range(3):
            visitor.take()
            self.pod.stream.answer(b"pod"[position : position + 1])
            self.assertEqual(visitor.take(), b"pod"[position : position + 1])

    def test_pipelining(self) -> None:
        """Requests sent at once are answered in their order, each routed by itself."""
        visitor = self.world.visit(GET + b"GET /nowhere HTTP/1.1\r\nHost: other.local\r\n\r\n" + GET)
        self.pod.stream.answer(OK)
        self.pod.stream.answer(OK)
        answers = visitor.received
        self.assertEqual([part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]], [b"200", b"404", b"200"])

    def test_head(self) -> None:
        visitor = self.world.visit(b"HEAD / HTTP/1.1\r\nHost: pod.local\r\n\r\n")
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        self.assertTrue(visitor.take().endswith(b"\r\n\r\n"))
        visitor.send(GET)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_answers_without_body(self) -> None:
        for code in (b"204 No Content", b"304 Not Modified"):
            visitor = self.world.visit(GET)
            self.pod.stream.answer(b"HTTP/1.1 " + code + b"\r\nETag: x\r\n\r\n")
            self.assertEqual(visitor.received, b"HTTP/1.1 " + code + b"\r\nETag: x\r\n\r\n")
            self.assertEqual(len(self.pod.streams), 1)

    def test_interim_answers(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        self.assertIn(b"\r\nExpect: 100-continue\r\n", self.pod.stream.take())
        self.pod.stream.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(visitor.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        visitor.send(b"abc")
        self.pod.stream.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
        self.assertEqual(visitor.received, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)

    def test_until_close(self) -> None:
        """An answer without length ends with its stream, and ends the visitor's connection."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\n\r\nsome")
        self.pod.stream.answer(b" more")
        self.assertFalse(visitor.closed)
        self.pod.stream.close()
        self.assertEqual(visitor.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome more")
        self.assertTrue(visitor.closed)

    def test_http_1_0(self) -> None:
        """A visitor of HTTP/1.0 gets no chunks, and its connection ends, unless it asks for keep-alive and the length is known."""
        visitor = self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\n\r\n")
        self.assertTrue(self.pod.stream.take().startswith(b"GET / HTTP/1.1\r\n"))
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npod\r\n0\r\n\r\n")
        self.assertEqual(visitor.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npod")
        self.assertTrue(visitor.closed)
        visitor = self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\nConnection: keep-alive\r\n\r\n")
        self.pod.stream.answer(OK)
        self.assertIn(b"\r\nConnection: keep-alive\r\n", visitor.received)
        self.assertFalse(visitor.closed)

    def test_target_speaks_unasked(self) -> None:
        """A free stream on which bytes come is not used again: they might pass for somebody's answer."""
        self.world.visit(GET)
        self.pod.stream.answer(OK + OK)
        visitor = self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_target_closes_after_the_answer(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\npod")
        self.assertTrue(self.pod.stream.finished)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2)

    def test_upgrade(self) -> None:
        """After 101 the bytes flow freely, both ways, until both sides have closed."""
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        request = self.pod.stream.take()
        self.assertIn(b"\r\nUpgrade: echo\r\n", request)
        self.assertNotIn(b"early", request)
        self.pod.stream.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
        self.assertTrue(visitor.take().endswith(b"\r\n\r\nhello"))
        self.assertEqual(self.pod.stream.take(), b"early")
        visitor.send(b"\x00\xff")
        self.assertEqual(self.pod.stream.take(), b"\x00\xff")
        self.pod.stream.answer(b"\xff\x00")
        self.assertEqual(visitor.take(), b"\xff\x00")
        self.assertEqual(self.world.outcomes(), {Outcome.UPGRADED: 1})
        visitor.leave()
        self.assertTrue(self.pod.stream.finished)

    def test_upgrade_refused(self) -> None:
        """A target that does not want to upgrade just answers."""
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_early_answer(self) -> None:
        """A target that answers before it has the body: the answer is passed on, then the connection ends."""
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 1000\r\n\r\nabc")
        self.pod.stream.answer(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(status(visitor), 413)
        self.assertTrue(visitor.transport.half_closed)
        visitor.send(b"x" * 500)
        self.assertTrue(self.pod.stream.finished)
        self.world.pass_time(3)
        self.assertTrue(visitor.transport.aborted)


class TrustTests(SynchronousTestCase):
    """A trusted proxy's word is continued."""

    def test_trusted_proxy(self) -> None:
        from ipaddress import ip_network

        world = World(HttpSettings(trusted_proxies=(ip_network("192.168.0.0/16"),)))
        pod = world.attach()
        world.visit(
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: shop.example\r\nX-Request-Id: abc-1\r\n\r\n"
        )
        request = pod.stream.take()
        for line in (
            b"X-Forwarded-For: 8.8.8.8, 192.168.1.1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: shop.example",
            b"X-Request-Id: abc-1",
        ):
            self.assertIn(b"\r\n" + line + b"\r\n", request)


class RefusalTests(SynchronousTestCase):
    """Answers of our own."""

    def setUp(self) -> None:
        self.world = World()

    def check(self, data: bytes, expected: int, outcome: Outcome, closed: bool = True) -> Visitor:
        visitor = self.world.visit(data)
        self.assertEqual(status(visitor), expected, data)
        self.assertEqual(visitor.closed, closed, data)
        self.assertEqual(self.world.outcomes(), {outcome: 1})
        return visitor

    def test_unknown_host(self) -> None:
        self.check(b"GET / HTTP/1.1\r\nHost: other.local\r\n\r\n", 404, Outcome.UNKNOWN_HOST, closed=False)

    def test_private_host(self) -> None:
        """A private tunnel looks the same as none."""
        self.check(b"GET / HTTP/1.1\r\nHost: secret.local\r\n\r\n", 404, Outcome.UNKNOWN_HOST, closed=False)

    def test_no_connector(self) -> None:
        visitor = self.check(b"GET / HTTP/1.1\r\nHost: nobody.local\r\n\r\n", 503, Outcome.NO_CONNECTOR, closed=False)
        self.assertIn(b"\r\nRetry-After: ", visitor.received)

    def test_html_for_browsers(self) -> None:
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: other.local\r\nAccept: text/html\r\n\r\n")
        self.assertIn(b"\r\nContent-Type: text/html; charset=utf-8\r\n", visitor.received)
        self.assertIn(b"\r\nX-Request-Id: ", visitor.received)

    def test_head_gets_no_body(self) -> None:
        visitor = self.world.visit(b"HEAD / HTTP/1.1\r\nHost: other.local\r\n\r\n")
        self.assertTrue(visitor.received.endswith(b"\r\n\r\n"))

    def test_malformed(self) -> None:
        for head in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nA: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nA: b\x00\r\n\r\n",
            b"GET / HTTP/1.1\nHost: pod.local\n\n",
            b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
        ):
            self.world = World()
            self.world.attach()
            self.check(head, 400, Outcome.BAD_REQUEST)

    def test_bad_chunk(self) -> None:
        pod = self.world.attach()
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n")
        visitor.send(b"zz\r\n")
        self.assertEqual(status(visitor), 400)
        self.assertTrue(visitor.closed)
        self.assertTrue(pod.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})

    def test_head_too_large(self) -> None:
        self.check(b"GET / HTTP/1.1\r\nHost: pod.local\r\n" + b"A: %b\r\n" % (b"b" * 15000) * 6, 431, Outcome.BAD_REQUEST)

    def test_too_many_fields(self) -> None:
        self.check(b"GET / HTTP/1.1\r\nHost: pod.local\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, Outcome.BAD_REQUEST)

    def test_nothing_is_read_after_a_refusal(self) -> None:
        """What follows a request that was not understood might be part of it."""
        self.world.attach()
        visitor = self.check(b"GET / HTTP/1.1\r\n\r\n" + GET, 400, Outcome.BAD_REQUEST)
        visitor.send(GET)
        self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})


class TimeTests(SynchronousTestCase):
    """Time limits."""

    def setUp(self) -> None:
        self.world = World()
        self.pod = self.world.attach()

    def test_head_in_pieces(self) -> None:
        """The limit counts from the first byte of the head, however often another one comes."""
        visitor = self.world.visit(b"G")
        for byte in b"ET / HTTP/1":
            visitor.send(bytes([byte]))
            self.world.pass_time(1)
        self.world.pass_time(5)
        self.assertEqual(status(visitor), 408)
        self.assertTrue(visitor.closed)

    def test_silent_visitor(self) -> None:
        visitor = self.world.visit()
        self.world.pass_time(16)
        self.assertEqual((visitor.received, visitor.closed), (b"", True))

    def test_idle_connection(self) -> None:
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.world.pass_time(70)
        self.assertFalse(visitor.closed)
        self.world.pass_time(8)
        self.assertTrue(visitor.closed)
        self.assertEqual(visitor.received, OK)

    def test_no_answer(self) -> None:
        visitor = self.world.visit(GET)
        self.world.pass_time(13)
        self.assertEqual(visitor.received, b"")
        self.world.pass_time(3)
        self.assertEqual(status(visitor), 504)
        self.assertTrue(self.pod.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.RESPONSE_TIMEOUT: 1})

    def test_limit_ends_with_the_first_bytes(self) -> None:
        """Long polls and server-sent events have no total limit."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\np")
        self.world.pass_time(600)
        self.pod.stream.answer(b"od")
        self.assertEqual(visitor.received, OK)

    def test_upgrade_has_no_limit(self) -> None:
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        self.world.pass_time(60)
        self.assertEqual(visitor.received, b"")

    def test_body_stalls(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 10\r\n\r\n123")
        self.world.pass_time(76)
        self.assertEqual(status(visitor), 408)
        self.assertEqual(self.world.outcomes(), {Outcome.REQUEST_TIMEOUT: 1})


class FailureTests(SynchronousTestCase):
    """Connectors and targets that fail, and the point of no return."""

    def setUp(self) -> None:
        self.world = World()
        self.laptop = self.world.attach(255)
        self.pod = self.world.attach(1)

    def test_target_refuses(self) -> None:
        """A stream closed without a byte: the request goes to another connector, the visitor notices nothing."""
        visitor = self.world.visit(GET)
        self.laptop.stream.close()
        self.assertTrue(self.pod.stream.take().startswith(b"GET / "))
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_link_lost(self) -> None:
        visitor = self.world.visit(GET)
        self.laptop.lose()
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_body_is_sent_again(self) -> None:
        """Also while some of it is still to come."""
        visitor = self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 6\r\n\r\nabc")
        self.laptop.stream.close()
        visitor.send(b"def")
        self.assertTrue(self.pod.stream.take().endswith(b"\r\n\r\nabcdef"))
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_body_too_large_to_keep(self) -> None:
        visitor = self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000)
        self.laptop.stream.close()
        self.assertEqual(status(visitor), 502)
        self.assertEqual(self.pod.streams, [])

    def test_post_is_not_sent_again(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 3\r\n\r\nabc")
        self.laptop.stream.close()
        self.assertEqual(status(visitor), 502)
        self.assertEqual(self.pod.streams, [])
        self.assertEqual(self.world.outcomes(), {Outcome.TARGET_FAILED: 1})

    def test_post_to_a_closing_link(self) -> None:
        """Nothing of it was sent, so even a POST goes to another connector."""
        self.laptop.link.close(LinkEnd.CLOSED)
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 3\r\n\r\nabc")
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_failure_after_the_first_byte(self) -> None:
        """From the first byte of the answer on nobody else is asked."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 20")
        self.laptop.stream.close()
        self.assertEqual(status(visitor), 502)
        self.assertEqual(self.pod.streams, [])

    def test_failure_within_the_body(self) -> None:
        """The visitor sees that the answer is not whole."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\np")
        self.laptop.lose()
        self.assertTrue(visitor.transport.aborted)
        self.assertEqual(self.world.outcomes(), {Outcome.ABORTED: 1})

    def test_all_fail(self) -> None:
        visitor = self.world.visit(GET)
        self.laptop.stream.close()
        self.pod.stream.close()
        self.assertEqual(status(visitor), 502)
        self.assertFalse(visitor.closed)

    def test_free_stream_that_died(self) -> None:
        """A free stream may have been closed by its target a moment ago: the same connector is asked again, on a fresh one."""
        self.world.visit(GET)
        self.laptop.stream.answer(OK)
        first = self.laptop.stream
        visitor = self.world.visit(GET)
        first.close()
        self.assertEqual(len(self.laptop.streams), 2)
        self.laptop.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.pod.streams, [])

    def test_post_to_a_free_stream_that_died(self) -> None:
        """Nobody knows whether its target has read it: it is not sent again, and the next one gets a fresh stream."""
        self.world.visit(GET)
        self.laptop.stream.answer(OK)
        visitor = self.world.visit(POST)
        self.laptop.stream.close()
        self.assertEqual(status(visitor), 502)
        visitor = self.world.visit(POST)
        self.assertEqual(len(self.laptop.streams), 2)
        self.laptop.stream.answer(OK)
        self.assertEqual((visitor.received, self.pod.streams), (OK, []))

    def test_malformed_answer(self) -> None:
        for answer in (b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"):
            visitor = self.world.visit(GET)
            with self.subTest(answer=answer):
                self.laptop.stream.answer(answer)
                self.assertEqual(status(visitor), 502)
                self.assertTrue(self.laptop.stream.finished)

    def test_unasked_upgrade(self) -> None:
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.assertEqual(status(visitor), 502)

    def test_visitor_leaves(self) -> None:
        """Its stream is freed at once, and the other end told to stop."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")
        visitor.leave()
        self.assertTrue(self.laptop.stream.finished)
        self.assertTrue(self.laptop.stream.stopped)
        self.assertEqual(self.world.outcomes(), {Outcome.VISITOR_GONE: 1})

    def test_connector_leaves(self) -> None:
        """A client that is about to stop gets no more requests, and finishes those under way."""
        visitor = self.world.visit(GET)
        self.laptop.session.leave()
        self.world.turn()
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 1)
        self.laptop.stream.answer(OK)
        self.assertEqual(visitor.received, OK)


class FlowTests(SynchronousTestCase):
    """Backpressure, and the end."""

    def setUp(self) -> None:
        self.world = World()

    def test_slow_visitor(self) -> None:
        """A visitor that does not read stops its own target after a window, and nobody else."""
        pod = self.world.attach()
        visitor = self.world.visit(GET)
        self.pause(visitor)
        pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5000000)
        self.assertLess(len(visitor.received), 70000)
        other = self.world.visit(GET)
        pod.stream.answer(OK)
        self.assertEqual(other.received, OK)
        visitor.transport.producer.resumeProducing()
        self.world.turn()
        self.assertGreater(len(visitor.received), 5000000)

    @staticmethod
    def pause(visitor: Visitor) -> None:
        visitor.transport.producer.pauseProducing()

    def test_slow_target(self) -> None:
        """A target that does not read stops its own visitor."""
        pod = self.world.attach(consume=False)
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 5000000\r\n\r\n")
        sent = 0
        while not visitor.transport.paused_reading:
            visitor.send(b"x" * 65536)
            sent += 65536
            self.assertLess(sent, 1000000)
        pod.session.consumed(pod.stream.id, 262144)
        self.world.turn()
        self.assertFalse(visitor.transport.paused_reading)

    def test_pipelined_flood(self) -> None:
        """Later requests are read ahead to a bound."""
        self.world.attach()
        visitor = self.world.visit(GET)
        visitor.send(GET * 3000)
        self.assertTrue(visitor.transport.paused_reading)

    def test_drain(self) -> None:
        """Idle visitors are closed, requests under way are finished, their connections end with them."""
        pod = self.world.attach()
        busy, idle = self.world.visit(GET), self.world.visit()
        self.world.entrypoint.drain()
        self.assertTrue(idle.closed)
        self.assertTrue(self.world.entrypoint.busy)
        pod.stream.answer(OK)
        self.assertIn(b"\r\nConnection: close\r\n", busy.received)
        self.assertTrue(busy.closed)
        self.assertFalse(self.world.entrypoint.busy)

    def test_cut(self) -> None:
        self.world.attach()
        visitor = self.world.visit(GET)
        self.world.entrypoint.cut()
        self.assertTrue(visitor.transport.aborted)


class ConnectorTests(SynchronousTestCase):
    """The choice, as a visitor sees it."""

    def test_kept_alive_connection_sees_both(self) -> None:
        world = World()
        ends: list[FarConnector] = [world.attach(1), world.attach(1)]
        visitor = world.visit()
        served = [0, 0]
        for _ in range(200):
            visitor.send(GET)
            for number, end in enumerate(ends):
                for stream in end.streams:
                    if stream.take():
                        served[number] += 1
                        stream.answer(OK)
        self.assertEqual(sum(served), 200)
        self.assertTrue(all(60 < count < 140 for count in served), served)
