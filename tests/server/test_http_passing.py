"""Requests and answers that pass as they came: the same conversations as with heads that are written anew."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.exchange import Exchange
from rtunnel.wire.http1_shapes import LEARN_AFTER
from tests.server.harness import FarConnector, Visitor, World

GET = b"GET /%d HTTP/1.1\r\nHost: pod.local\r\nConnection: keep-alive\r\nX-A: b\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"


class PassingTests(SynchronousTestCase):
    """An entrypoint and a connector that have seen these heads often."""

    def setUp(self) -> None:
        self.world = World()
        self.pod = self.world.attach()
        self.parsed: list[bytes] = []
        self.visitor = self.world.visit()
        for number in range(LEARN_AFTER + 1):
            self.visitor.send(GET % number)
            self.pod.stream.take()
            self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.visitor.take()
        self.world.stats.requests[Outcome.ANSWERED] = 0
        # from here on, whoever has a head taken apart is noticed
        start, test = Exchange.start, self

        def noticed(exchange: Exchange, *arguments: object) -> None:
            test.parsed.append(exchange.host.encode())
            start(exchange, *arguments)  # type: ignore[arg-type]

        self.patch(Exchange, "start", noticed)

    def ask(self, number: int = 7) -> Visitor:
        return self.visitor.send(GET % number)

    def test_request(self) -> None:
        """Every byte of it but the empty line, then what a proxy says."""
        self.ask()
        request = self.pod.stream.take()
        self.assertTrue(request.startswith((GET % 7)[:-2]), request)
        said, _, end = request[len(GET % 7) - 2 :].partition(b"\r\nX-Request-Id: ")
        self.assertEqual(said, b"X-Forwarded-For: 192.168.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: pod.local")
        self.assertRegex(end, rb"\A[0-9a-f]{32}\r\nVia: 1.1 rtunnel\r\n\r\n\Z")
        self.assertEqual(self.parsed, [])

    def test_answer(self) -> None:
        self.ask()
        self.pod.stream.answer(ANSWER % 5 + b"hello")
        self.assertEqual(self.visitor.take(), ANSWER % 5 + b"hello")
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})
        self.assertEqual(len(self.pod.streams), 1, "the stream carries the next request as well")

    def test_answer_in_pieces(self) -> None:
        """The body follows the head; nothing but its length tells where it ends."""
        self.ask()
        self.pod.stream.answer(ANSWER % 6)
        self.assertEqual(self.visitor.take(), ANSWER % 6)
        self.pod.stream.answer(b"abc")
        self.assertEqual(self.world.outcomes(), {})
        self.pod.stream.answer(b"def")
        self.assertEqual(self.visitor.take(), b"abcdef")
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})
        self.ask(8)
        self.assertEqual(len(self.pod.streams), 1)

    def test_head_in_pieces(self) -> None:
        self.ask()
        whole = ANSWER % 3 + b"pod"
        self.pod.stream.answer(whole[:20])
        self.assertEqual(self.visitor.take(), b"")
        self.pod.stream.answer(whole[20:])
        self.assertTrue(self.visitor.take().endswith(b"\r\n\r\npod"))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_more_than_promised(self) -> None:
        """What a target says behind its answer is dropped, and it is not asked again on that stream."""
        self.ask()
        self.pod.stream.answer(ANSWER % 3 + b"podHTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(self.visitor.take(), ANSWER % 3 + b"pod")
        self.ask(8)
        self.assertEqual(len(self.pod.streams), 2)

    def test_breaks_off(self) -> None:
        """A target that dies within its answer: the visitor sees that it is not whole."""
        self.ask()
        self.pod.stream.answer(ANSWER % 6 + b"abc")
        self.pod.stream.close()
        self.assertTrue(self.visitor.transport.aborted)
        self.assertEqual(self.world.outcomes(), {Outcome.ABORTED: 1})

    def test_tried_again(self) -> None:
        """A target that dies before its answer: the request goes to another one, word for word."""
        self.ask()
        first = self.pod.stream.take()
        self.pod.stream.close()
        self.assertEqual(len(self.pod.streams), 2)
        self.assertEqual(self.pod.stream.take(), first)
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take(), ANSWER % 3 + b"pod")
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_pipelined(self) -> None:
        """Two requests in one piece are answered in turn."""
        self.visitor.send(GET % 1 + GET % 2)
        for _ in range(2):
            self.pod.stream.take()
            self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take().count(b"\r\n\r\npod"), 2)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 2})

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
        self.visitor.send((GET % 1).replace(b"GET", b"HEAD"))
        self.assertEqual(self.parsed, [b"pod.local"])
        self.pod.stream.answer(ANSWER % 1000)
        self.assertTrue(self.visitor.take().startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_visitor_of_http_1_0(self) -> None:
        """It is told in its own words that the connection ends."""
        visitor = self.world.visit(b"GET / HTTP/1.0\r\nHost: pod.local\r\n\r\n")
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertIn(b"\r\nConnection: close\r\n", visitor.received)
        self.assertTrue(visitor.closed)

    def test_continue_first(self) -> None:
        """What comes before the answer does not pass for it."""
        self.ask()
        self.pod.stream.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ANSWER % 3 + b"pod")
        received = self.visitor.take()
        self.assertTrue(received.startswith(b"HTTP/1.1 103 Early Hints\r\n"), received)
        self.assertTrue(received.endswith(b"\r\n\r\npod"), received)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_visitor_leaves(self) -> None:
        self.ask()
        self.visitor.leave()
        self.assertTrue(self.pod.stream.stopped)
        self.assertEqual(self.world.outcomes(), {Outcome.VISITOR_GONE: 1})

    def test_unknown_host(self) -> None:
        """Another host in the same shape is another route."""
        self.visitor.send((GET % 1).replace(b"pod.local", b"who.local"))
        self.assertTrue(self.visitor.take().startswith(b"HTTP/1.1 404 "))
        self.visitor.send((GET % 1).replace(b"pod.local", b"secret.local"))
        self.assertTrue(self.visitor.take().startswith(b"HTTP/1.1 404 "))
        self.assertEqual(self.world.outcomes(), {Outcome.UNKNOWN_HOST: 2})

    def test_nobody_attached(self) -> None:
        self.pod.lose()
        self.ask()
        self.assertTrue(self.visitor.take().startswith(b"HTTP/1.1 503 "))
        self.assertEqual(self.world.outcomes(), {Outcome.NO_CONNECTOR: 1})

    def test_refused_in_html(self) -> None:
        """Who asked for HTML gets an error in HTML, though nobody took the request apart."""
        head = GET.replace(b"X-A: b", b"Accept: text/html")
        for number in range(LEARN_AFTER + 1):
            self.visitor.send(head % number)
            self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.visitor.take()
        self.parsed.clear()
        self.pod.lose()
        self.visitor.send(head % 1)
        self.assertIn(b"<!doctype html>", self.visitor.take())
        self.assertEqual(self.parsed, [])

    def test_slow_target(self) -> None:
        """The time limit of an answer holds for it too."""
        self.ask()
        self.world.pass_time(self.world.settings.response_timeout + 1)
        self.assertTrue(self.visitor.take().startswith(b"HTTP/1.1 504 "))
        self.assertEqual(self.world.outcomes(), {Outcome.RESPONSE_TIMEOUT: 1})

    def test_visitor_behind(self) -> None:
        """A visitor that does not read holds up its own stream, and nothing else."""
        self.visitor.protocol.pauseProducing()
        self.ask()
        self.pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(self.visitor.take(), b"")
        self.visitor.protocol.resumeProducing()
        self.assertEqual(self.visitor.take(), ANSWER % 3 + b"pod")
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def test_shared_by_weight(self) -> None:
        """Each of them is routed by itself."""
        laptop: FarConnector = self.world.attach(255)
        self.ask()
        self.assertEqual(len(laptop.streams), 1)
        laptop.stream.answer(ANSWER % 6 + b"laptop")
        self.assertTrue(self.visitor.take().endswith(b"laptop"))
