"""HTTP at an entrypoint: what passes between visitors and targets, and how we answer ourselves."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Outcome
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.intercept_terms import Kind
from rtunnel.routing.request_properties import RequestProperties
from rtunnel.routing.selection import VisitorProtocol
from rtunnel.server import upstream
from rtunnel.settings import HttpSettings
from tests.server.harness import ANSWER, KEPT, FarConnector, HttpCase, Visitor, World, all_worlds
from tests.support.heads import GET, OK, POST
from tests.support.ids import TUNNEL

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
HEAD = b"HEAD" + GET[3:]
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


class ForwardingTests(HttpCase):
    """What reaches the target, and what comes back."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def test_request_and_answer(self) -> None:
        head = b"GET /a?b=c HTTP/1.1\r\nHost: Pod.Local:8080\r\nAccept: */*\r\n"
        self.world.learn(head + b"\r\n")
        visitor = self.world.visit(head + b"\r\n")
        request = self.pod.stream.take()
        self.assertTrue(request.startswith(head), request)
        said, _, end = request[len(head) :].partition(b"\r\nX-Request-Id: ")
        self.assertEqual(said, b"X-Forwarded-For: 192.168.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: Pod.Local:8080")
        self.assertRegex(end, rb"\A[0-9a-f]{32}\r\nVia: 1\.1 rtunnel-[0-9a-f]{10}\r\n\r\n\Z")
        source, destination = self.pod.stream.preface.addresses
        self.assertEqual((source.host, source.port), ("192.168.1.1", 54321))
        self.assertEqual((destination.host, destination.port), ("pod.local", 8080))
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertFalse(visitor.closed)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_port_when_none_is_named(self) -> None:
        self.world.visit(GET)
        self.pod.stream.take()
        self.assertEqual(self.pod.stream.preface.addresses[1].port, 80)

    def test_nothing_waits_to_be_sent_with_more(self) -> None:
        """A visitor that acknowledges late would get the end of its answer late (Nagle)."""
        self.assertTrue(self.world.visit(GET).near.getTcpNoDelay())

    def test_hop_by_hop_fields_stay(self) -> None:
        self.world.unusual(requests=1)
        self.world.visit(
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\r\n"
        )
        request = self.pod.stream.take().lower()
        for name in (b"connection:", b"x-secret", b"keep-alive"):
            self.assertNotIn(name, request)

    def test_body_with_length(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 10\r\n\r\n12345")
        visitor.send(b"67890" + GET)
        self.assertTrue(self.pod.stream.take().endswith(b"\r\n\r\n1234567890"))
        self.pod.stream.answer(OK)
        self.assertTrue(self.pod.stream.take().startswith(b"GET / "))

    def test_chunked_body_and_trailers(self) -> None:
        self.world.unusual(requests=1)
        chunks = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n")
        for position in range(len(chunks)):
            visitor.send(chunks[position : position + 1])
        request = self.pod.stream.take()
        self.assertTrue(request.endswith(b"\r\n\r\n" + chunks), request)
        self.assertEqual(request.count(b"\r\nTransfer-Encoding: chunked\r\n"), 1)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npod\r\n0\r\nX-Sum: 2\r\n\r\n")
        self.assertTrue(visitor.received.endswith(b"\r\n\r\n3\r\npod\r\n0\r\nX-Sum: 2\r\n\r\n"), visitor.received)
        self.assertFalse(visitor.closed)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_answer_byte_by_byte(self) -> None:
        """Each byte of a body is passed on at once."""
        visitor = self.world.visit(GET)
        for position in range(len(OK) - 3):
            self.assertEqual(visitor.received, b"")
            self.pod.stream.answer(OK[position : position + 1])
        self.pod.stream.answer(b"p")
        self.assertEqual(visitor.take(), OK[:-2])
        for byte in (b"o", b"d"):
            self.pod.stream.answer(byte)
            self.assertEqual(visitor.take(), byte)

    def test_pipelining(self) -> None:
        """Requests sent at once are answered in their order, each routed by itself."""
        visitor = self.world.visit(GET + b"GET /nowhere HTTP/1.1\r\nHost: other.local\r\n\r\n" + GET)
        self.pod.stream.answer(OK)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.statuses, [200, 404, 200])

    def test_head(self) -> None:
        self.world.learn(HEAD)
        visitor = self.world.visit(HEAD)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        self.assertEqual(visitor.take(), b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        visitor.send(GET)
        self.assertEqual(len(self.pod.streams), 1)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_answers_without_body(self) -> None:
        for code in (b"204 No Content", b"304 Not Modified"):
            answer = b"HTTP/1.1 " + code + b"\r\nETag: x\r\n\r\n"
            self.world.unusual(answers=1)
            visitor = self.world.visit(GET)
            self.pod.stream.answer(answer)
            self.assertEqual(visitor.received, answer)
            self.assertEqual(len(self.pod.streams), 1)

    def test_interim_answers(self) -> None:
        self.world.unusual(requests=1, answers=2)
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        self.assertIn(b"\r\nExpect: 100-continue\r\n", self.pod.stream.take())
        self.pod.stream.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(visitor.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        visitor.send(b"abc")
        self.pod.stream.answer(EARLY_HINTS + OK)
        self.assertEqual(visitor.received, EARLY_HINTS + OK)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_interim_answers_without_end(self) -> None:
        """A target that never comes to its answer is broken."""
        self.world.unusual(answers=101)
        visitor = self.world.visit(GET)
        for _ in range(100):
            self.pod.stream.answer(b"HTTP/1.1 102 Processing\r\n\r\n")
        self.assertEqual(visitor.take(), b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
        self.pod.stream.answer(b"HTTP/1.1 102 Processing\r\n\r\n")
        self.assertEqual(visitor.status, 502)
        self.assertTrue(self.pod.stream.finished)

    def test_until_close(self) -> None:
        """An answer without length ends with its stream, and ends the visitor's connection."""
        self.world.unusual(answers=1)
        visitor = self.world.visit(GET)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\n\r\nsome")
        self.pod.stream.answer(b" more")
        self.assertFalse(visitor.closed)
        self.pod.stream.close()
        self.assertEqual(visitor.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome more")
        self.assertTrue(visitor.closed)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_http_1_0(self) -> None:
        """A visitor of HTTP/1.0 gets no chunks, and its connection ends, unless it asks for keep-alive and the length is known."""
        self.world.unusual(requests=2)
        visitor = self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\n\r\n")
        self.assertTrue(self.pod.stream.take().startswith(b"GET / HTTP/1.1\r\n"))
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npod\r\n0\r\n\r\n")
        self.assertEqual(visitor.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npod")
        self.assertTrue(visitor.closed)
        visitor = self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\nConnection: keep-alive\r\n\r\n")
        self.pod.stream.answer(OK)
        self.assertIn(b"\r\nConnection: keep-alive\r\n", visitor.received)
        self.assertFalse(visitor.closed)

    def test_http_1_0_has_no_interim_answers(self) -> None:
        self.world.unusual(requests=1, answers=1)
        visitor = self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\n\r\n")
        self.pod.stream.answer(EARLY_HINTS + ANSWER % 3 + b"pod")
        self.assertEqual(visitor.received, b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 3\r\nConnection: close\r\n\r\npod")
        self.assertTrue(visitor.closed)

    def test_visitor_that_wants_the_connection_closed(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: close\r\n\r\n"
        self.world.learn(head)
        visitor = self.world.visit(head)
        self.assertNotIn(b"Connection: close", self.pod.stream.take())
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\npod")
        self.assertTrue(visitor.closed)
        self.assertFalse(self.pod.stream.finished, "the stream carries requests of others")

    def test_early_answer(self) -> None:
        """A target that answers before it has the body: the answer is passed on, then the connection ends."""
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 1000\r\n\r\nabc")
        self.pod.stream.answer(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        self.world.unusual(answers=1)
        self.assertEqual(visitor.status, 413)
        self.assertTrue(visitor.half_closed)
        visitor.send(b"x" * 500)
        self.assertTrue(self.pod.stream.finished)
        self.world.pass_time(3)
        self.assertTrue(visitor.aborted)

    def test_early_answer_in_pieces(self) -> None:
        """The body goes on while the answer has begun, and both come whole."""
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 6\r\n\r\nabc")
        self.pod.stream.answer(OK[:-1])
        visitor.send(b"def")
        self.assertTrue(self.pod.stream.take().endswith(b"\r\n\r\nabcdef"))
        self.pod.stream.answer(b"d")
        self.assertEqual((visitor.received, visitor.closed), (OK, False))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})


class PoolTests(HttpCase):
    """Which stream a request gets."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def test_stream_is_pooled(self) -> None:
        """The next request of anybody for the host takes the free stream, without a preface."""
        self.world.visit(GET)
        self.pod.stream.take()
        self.pod.stream.answer(OK)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 1)
        self.assertTrue(self.pod.stream.take().startswith(b"GET / HTTP/1.1\r\n"))

    def test_each_host_has_its_own(self) -> None:
        """A client may lead another host to another target."""
        self.world.rules(IngressRule("pod.local", TUNNEL), IngressRule("alias.local", TUNNEL))
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.world.visit(GET.replace(b"pod.local", b"alias.local"))
        self.assertEqual(len(self.pod.streams), 2)

    def test_pool_turned_off(self) -> None:
        world = self.make_world(HttpSettings(pool=False))
        pod = world.attach()
        world.visit(GET)
        pod.stream.answer(OK)
        self.assertTrue(pod.stream.finished)
        world.visit(GET)
        self.assertEqual(len(pod.streams), 2)

    def test_free_stream_expires(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        pool = self.pod.pool
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
        self.pod.pool.sweep(100.0)
        self.world.visit(POST)
        self.pod.stream.answer(OK)
        self.assertEqual(len(self.pod.streams), 2)
        self.pod.pool.sweep(100.5)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2, "a GET takes what is free")

    def test_target_speaks_unasked(self) -> None:
        """A stream on which too much came is not used again: it might pass for somebody's answer."""
        self.world.visit(GET)
        self.pod.stream.answer(OK + OK)
        visitor = self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_target_speaks_unasked_later(self) -> None:
        """Nor one on which something comes while it is free."""
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.pod.stream.answer(OK)
        self.assertTrue(self.pod.stream.finished)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2)

    def test_target_closes_a_free_stream(self) -> None:
        """It is forgotten, and given up on our side too."""
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.pod.stream.close()
        self.assertTrue(self.pod.stream.finished)
        self.assertEqual(self.pod.link.streams, {})
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2)

    def test_as_many_as_are_kept(self) -> None:
        """The one that has been idle for longest makes room."""
        self.patch(upstream, "MAX_IDLE", 2)
        pod = self.world.attach(255)
        for _ in range(3):
            self.world.visit(GET)
        for stream in pod.streams:
            stream.answer(OK)
        self.assertEqual([stream.finished for stream in pod.streams], [True, False, False])
        self.assertFalse(pod.pool.busy)

    def test_as_many_of_all_hosts(self) -> None:
        """A visitor who asks for another host each time, under a rule for all of them, holds no more connections than others."""
        self.patch(upstream, "MAX_IDLE", 5)
        self.world.rules(IngressRule("*.local", TUNNEL))
        pod = self.world.attach(255)
        self.world.deadlines.each_sweep(pod.pool.sweep)
        self.world.visit(GET)
        pod.stream.answer(OK)
        self.world.pass_time(1)
        for number in range(20):
            request = b"GET / HTTP/1.1\r\nHost: x%d.local\r\n\r\n" % number
            self.world.visit(request)
            pod.stream.answer(OK)
        self.assertEqual(pod.pool.idle, 5)
        self.assertEqual(len(pod.link.streams), 5)
        # those that are idle are seen by sweeps at different times: the first of them makes room
        for number in (101, 102):
            self.world.visit(b"GET / HTTP/1.1\r\nHost: x%d.local\r\n\r\n" % number)
            pod.stream.answer(OK)
            self.world.pass_time(1)
        kept = {stream.id: stream for stream in pod.streams if not stream.finished}
        (first,) = pod.pool.free["x17.local"]
        self.assertIn(first.stream.id, kept)
        self.world.visit(b"GET / HTTP/1.1\r\nHost: x103.local\r\n\r\n")
        pod.stream.answer(OK)
        self.assertTrue(pod.pool.free["x102.local"])
        self.assertTrue(first.stream.ended)
        self.world.pass_time(60)
        self.assertEqual((pod.pool.idle, pod.pool.free, pod.link.streams), (0, {}, {}))

    def test_target_closes_after_the_answer(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\npod")
        self.assertTrue(self.pod.stream.finished)
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 2)


class KeptAliveTests(HttpCase):
    """Request after request on one connection, with heads as most visitors and targets write them."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()
        self.visitor = self.world.visit()
        self.visitor.send(KEPT % 0)
        self.pod.stream.take()
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.visitor.take()

    def outcomes(self) -> dict[Outcome, int]:
        """How the further requests ended."""
        return dict(Counter(self.world.outcomes()) - Counter([Outcome.ANSWERED]))

    def passed(self, data: bytes) -> bytes:
        """Bytes as they pass: a head that is parsed loses what is said of the connection, which is as it would be anyway."""
        return data if self.learned else data.replace(b"Connection: keep-alive\r\n", b"")

    def ask(self, number: int = 7) -> Visitor:
        return self.visitor.send(KEPT % number)

    def test_request(self) -> None:
        """Every byte of it but the empty line, then what a proxy says."""
        self.ask()
        request = self.pod.stream.take()
        head = self.passed(KEPT % 7)[:-2]
        self.assertTrue(request.startswith(head), request)
        said, _, end = request[len(head) :].partition(b"\r\nX-Request-Id: ")
        self.assertEqual(said, b"X-Forwarded-For: 192.168.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: pod.local")
        self.assertRegex(end, rb"\A[0-9a-f]{32}\r\nVia: 1\.1 rtunnel-[0-9a-f]{10}\r\n\r\n\Z")

    def test_each_request_has_an_id(self) -> None:
        ids = set()
        for number in range(3):
            self.ask(number)
            ids.add(self.pod.stream.take().partition(b"\r\nX-Request-Id: ")[2][:32])
            self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(len(ids), 3)

    def test_answer(self) -> None:
        self.ask()
        self.pod.stream.answer(ANSWER % 5 + b"hello")
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 5 + b"hello"))
        self.assertEqual(self.outcomes(), {Outcome.ANSWERED: 1})
        self.assertEqual(len(self.pod.streams), 1, "the stream carries the next request as well")

    def test_answer_in_pieces(self) -> None:
        """The body follows the head; nothing but its length tells where it ends."""
        self.ask()
        self.pod.stream.answer(ANSWER % 6)
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 6))
        self.pod.stream.answer(b"abc")
        self.assertEqual(self.outcomes(), {})
        self.pod.stream.answer(b"def")
        self.assertEqual(self.visitor.take(), b"abcdef")
        self.assertEqual(self.outcomes(), {Outcome.ANSWERED: 1})
        self.ask(8)
        self.assertEqual(len(self.pod.streams), 1)

    def test_head_in_pieces(self) -> None:
        self.ask()
        whole = ANSWER % 3 + b"pod"
        self.pod.stream.answer(whole[:20])
        self.assertEqual(self.visitor.take(), b"")
        self.pod.stream.answer(whole[20:])
        self.assertEqual(self.visitor.take(), self.passed(whole))
        self.assertEqual(self.outcomes(), {Outcome.ANSWERED: 1})

    def test_request_in_pieces(self) -> None:
        head = KEPT % 7
        for position in range(len(head)):
            self.assertEqual(self.pod.stream.take(), b"")
            self.visitor.send(head[position : position + 1])
        self.assertTrue(self.pod.stream.take().startswith(self.passed(head)[:-2]))

    def test_more_than_promised(self) -> None:
        """What a target says after its answer is dropped, and it is not asked again on that stream."""
        self.ask()
        self.pod.stream.answer(ANSWER % 3 + b"podHTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 3 + b"pod"))
        self.ask(8)
        self.assertEqual(len(self.pod.streams), 2)

    def test_breaks_off(self) -> None:
        """A target that dies within its answer: the visitor sees that it is not whole."""
        self.ask()
        self.pod.stream.answer(ANSWER % 6 + b"abc")
        self.pod.stream.close()
        self.assertTrue(self.visitor.aborted)
        self.assertEqual(self.outcomes(), {Outcome.ABORTED: 1})

    def test_tried_again(self) -> None:
        """A target that dies before its answer: the request goes to it again, word for word."""
        self.ask()
        first = self.pod.stream.take()
        self.pod.stream.close()
        self.assertEqual(len(self.pod.streams), 2)
        self.assertEqual(self.pod.stream.take(), first)
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 3 + b"pod"))
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_pipelined(self) -> None:
        """Two requests in one piece are answered in turn."""
        self.visitor.send(KEPT % 1 + KEPT % 2)
        for number in (1, 2):
            self.assertTrue(self.pod.stream.take().startswith(b"GET /%d " % number))
            self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take(), self.passed((ANSWER % 3 + b"pod") * 2))
        self.assertEqual(self.outcomes(), {Outcome.ANSWERED: 2})

    def test_draining(self) -> None:
        """A server that stops says so, and so the answer cannot pass as it came."""
        self.ask()
        self.world.entrypoint.drain()
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        answer = self.visitor.take()
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertNotIn(b"keep-alive", answer)
        self.assertTrue(self.visitor.closed)

    def test_head_request(self) -> None:
        """The answer to HEAD has a length and no body."""
        head = (KEPT % 1).replace(b"GET", b"HEAD")
        self.world.learn(head)
        self.visitor.send(head)
        self.pod.stream.answer(ANSWER % 1000)
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 1000))
        self.assertEqual(self.outcomes(), {Outcome.ANSWERED: 1})

    def test_continue_first(self) -> None:
        """What comes before the answer does not pass for it."""
        self.world.unusual(answers=1)
        self.ask()
        self.pod.stream.answer(EARLY_HINTS + ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take(), self.passed(EARLY_HINTS + ANSWER % 3 + b"pod"))
        self.assertEqual(self.outcomes(), {Outcome.ANSWERED: 1})

    def test_visitor_leaves(self) -> None:
        self.ask()
        self.visitor.leave()
        self.assertTrue(self.pod.stream.stopped)
        self.assertEqual(self.outcomes(), {Outcome.VISITOR_GONE: 1})

    def test_unknown_host(self) -> None:
        """Another host in a head of the same kind is another route."""
        self.visitor.send((KEPT % 1).replace(b"pod.local", b"who.local"))
        self.assertEqual(self.visitor.status, 404)
        self.visitor.take()
        self.visitor.send((KEPT % 1).replace(b"pod.local", b"secret.local"))
        self.assertEqual(self.visitor.status, 404)
        self.assertEqual(self.outcomes(), {Outcome.UNKNOWN_HOST: 2})
        self.visitor.take()
        self.ask()
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 3 + b"pod"))

    def test_no_connector(self) -> None:
        self.pod.lose()
        self.ask()
        self.assertEqual(self.visitor.status, 503)
        self.assertEqual(self.outcomes(), {Outcome.NO_CONNECTOR: 1})

    def test_refused_in_html(self) -> None:
        """Who asked for HTML gets an error in HTML."""
        head = (KEPT % 1).replace(b"X-A: b", b"Accept: text/html")
        self.world.learn(head)
        self.pod.lose()
        self.visitor.send(head)
        self.assertIn(b"<!doctype html>", self.visitor.take())

    def test_slow_target(self) -> None:
        """The time limit of an answer holds for each request."""
        self.ask()
        self.world.pass_time(self.world.settings.response_timeout + 1)
        self.assertEqual(self.visitor.status, 504)
        self.assertEqual(self.outcomes(), {Outcome.RESPONSE_TIMEOUT: 1})

    def test_shared_by_weight(self) -> None:
        """Each of them is routed by itself."""
        laptop: FarConnector = self.world.attach(255)
        self.ask()
        self.assertEqual(len(laptop.streams), 1)
        laptop.stream.answer(ANSWER % 6 + b"laptop")
        self.assertEqual(self.visitor.take(), self.passed(ANSWER % 6 + b"laptop"))


class UpgradeTests(HttpCase):
    """Connections that speak something else from a point on."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()
        self.world.unusual(requests=1, answers=1)

    def test_upgrade(self) -> None:
        """After 101 the bytes flow freely, both ways, until both sides have closed."""
        visitor = self.world.visit(UPGRADE + b"early")
        request = self.pod.stream.take()
        self.assertIn(b"\r\nUpgrade: echo\r\n", request)
        self.assertNotIn(b"early", request)
        self.pod.stream.answer(SWITCH + b"hello")
        self.assertTrue(visitor.received.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"))
        self.assertTrue(visitor.take().endswith(b"\r\n\r\nhello"))
        self.assertEqual(self.pod.stream.take(), b"early")
        visitor.send(b"\x00\xff")
        self.assertEqual(self.pod.stream.take(), b"\x00\xff")
        self.pod.stream.answer(b"\xff\x00")
        self.assertEqual(visitor.take(), b"\xff\x00")
        self.assertEqual(self.world.outcomes(), {Outcome.UPGRADED: 1})
        self.assertTrue(self.world.entrypoint.busy)
        visitor.leave()
        self.assertTrue(self.pod.stream.finished)
        self.pod.stream.close()
        self.assertFalse(self.world.entrypoint.busy)
        self.assertEqual((self.world.stats.visitors_open, self.world.entrypoint.connections), (0, 0))

    def test_each_direction_ends_by_itself(self) -> None:
        visitor = self.world.visit(UPGRADE)
        self.pod.stream.answer(SWITCH)
        visitor.take()
        self.pod.stream.close()
        self.assertTrue(visitor.half_closed)
        self.pod.stream.take()
        visitor.send(b"still here")
        self.assertEqual(self.pod.stream.take(), b"still here")
        visitor.leave()
        self.assertTrue(self.pod.stream.finished)
        self.assertEqual(self.world.entrypoint.connections, 0)

    def test_bytes_are_counted_once(self) -> None:
        visitor = self.world.visit(UPGRADE + b"early")
        self.pod.stream.answer(SWITCH + b"hello")
        visitor.send(b"more")
        sent = len(visitor.received)
        visitor.vanish()
        self.assertEqual(self.world.stats.bytes_in, len(UPGRADE) + len(b"earlymore"))
        self.assertEqual(self.world.stats.bytes_out, sent)

    def test_refused_by_the_target(self) -> None:
        """A target that does not want to upgrade just answers."""
        self.world.unusual(answers=-1)
        visitor = self.world.visit(UPGRADE)
        self.assertIn(b"\r\nConnection: upgrade\r\n", self.pod.stream.take())
        self.pod.stream.answer(OK)
        self.assertEqual((visitor.received, visitor.closed), (OK, False))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_unasked(self) -> None:
        self.world.unusual(requests=-1)
        visitor = self.world.visit(GET)
        self.pod.stream.answer(SWITCH)
        self.assertEqual(visitor.status, 502)
        self.assertEqual(self.world.outcomes(), {Outcome.TARGET_FAILED: 1})


class RefusalTests(HttpCase):
    """Answers of our own."""

    def check(self, data: bytes, expected: int, outcome: Outcome, closed: bool = True) -> Visitor:
        visitor = self.world.visit(data)
        self.assertEqual(visitor.status, expected, data)
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
        head = b"GET / HTTP/1.1\r\nHost: other.local\r\nAccept: text/html\r\n\r\n"
        self.world.learn(head)
        visitor = self.world.visit(head)
        self.assertIn(b"\r\nContent-Type: text/html; charset=utf-8\r\n", visitor.received)
        self.assertIn(b"\r\nX-Request-Id: ", visitor.received)

    def test_head_gets_no_body(self) -> None:
        head = HEAD.replace(b"pod.local", b"other.local")
        self.world.learn(head)
        visitor = self.world.visit(head)
        self.assertTrue(visitor.received.endswith(b"\r\n\r\n"))

    def test_body_of_a_refused_request(self) -> None:
        """When it is here, the connection goes on after it; when it is not, there is no telling how long that takes."""
        head = b"POST / HTTP/1.1\r\nHost: other.local\r\nContent-Length: 3\r\n\r\n"
        visitor = self.world.visit(head + b"abc" + head + b"a")
        self.assertEqual(visitor.statuses, [404, 404])
        self.assertEqual(visitor.received.count(b"\r\nConnection: close\r\n"), 1)
        self.assertTrue(visitor.half_closed)
        visitor.send(b"bc" + GET)
        self.assertEqual(self.world.outcomes(), {Outcome.UNKNOWN_HOST: 2})

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
            self.world = self.make_world()
            self.world.attach()
            self.check(head, 400, Outcome.BAD_REQUEST)

    def test_bad_chunk(self) -> None:
        self.world.unusual(requests=1)
        pod = self.world.attach()
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n")
        visitor.send(b"zz\r\n")
        self.assertEqual(visitor.status, 400)
        self.assertTrue(visitor.closed)
        self.assertTrue(pod.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.BAD_REQUEST: 1})

    def test_bad_chunk_at_once(self) -> None:
        """The same in one piece with the head: there is one answer, and one outcome."""
        for host in (b"pod.local", b"other.local"):
            self.world = self.make_world()
            self.world.unusual(requests=1)
            self.world.attach()
            visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % host)
            self.assertEqual(visitor.statuses, [400 if host == b"pod.local" else 404])
            self.assertTrue(visitor.half_closed)
            self.assertEqual(sum(self.world.outcomes().values()), 1)

    def test_bad_chunk_after_the_answer_began(self) -> None:
        """The visitor sees that its answer is not whole."""
        self.world.unusual(requests=1)
        pod = self.world.attach()
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n")
        pod.stream.answer(OK[:-1])
        visitor.send(b"zz\r\n")
        self.assertTrue(visitor.aborted)
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
        self.assertEqual(len(visitor.statuses), 1)


class QueryTests(SynchronousTestCase):
    """What the routing can ask about a request."""

    def query(self, head: bytes) -> Any:
        world = World(self, logged=True)
        world.attach()
        world.visit(head)
        (watched,) = world.watcher.exchanges
        return watched.exchange

    def test_request(self) -> None:
        query = self.query(b"GET /a?b=c HTTP/1.1\r\nHost: Pod.local:80\r\nX-Team: red\r\nX-Team: blue\r\n\r\n")
        self.assertIs(query.protocol, VisitorProtocol.HTTP)
        self.assertEqual((query.host, query.visitor_address), ("pod.local", "192.168.1.1"))
        self.assertEqual((query.method(), query.path()), (b"GET", b"/a?b=c"))
        properties = RequestProperties(query)
        self.assertEqual(list(properties.values(Kind.HEADER, b"x-team")), [b"red", b"blue"])

    def test_fields_that_are_taken(self) -> None:
        """Fields that are not passed on as they came can be asked for, too."""
        properties = RequestProperties(self.query(GET[:-2] + b"X-Request-Id: seven\r\n\r\n"))
        self.assertEqual(list(properties.values(Kind.HEADER, b"x-request-id")), [b"seven"])
        self.assertEqual(list(properties.values(Kind.HEADER, b"via")), [])


globals().update(all_worlds(ForwardingTests, PoolTests, KeptAliveTests, UpgradeTests, RefusalTests))
