"""HTTP at an entrypoint: connectors and targets that fail, and the choice of the next one."""

from __future__ import annotations

import gc

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.http1 import HttpVisitor
from rtunnel.wire.http1 import RequestHead
from tests.server.harness import HttpCase, all_worlds
from tests.support.heads import GET, OK, POST


class FailureTests(HttpCase):
    """The point of no return; the laptop's connector gets every request as long as it is attached."""

    def setUp(self) -> None:
        super().setUp()
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

    def test_stream_given_up(self) -> None:
        """The same when the client says that it cannot reach the target."""
        visitor = self.world.visit(GET)
        self.laptop.stream.refuse()
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
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
        self.assertEqual(visitor.status, 502)
        self.assertEqual(self.pod.streams, [])

    def test_largest_body_that_is_kept(self) -> None:
        body = b"x" * self.world.settings.retry_buffer_bytes
        visitor = self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.laptop.stream.close()
        self.assertTrue(self.pod.stream.take().endswith(b"\r\n\r\n" + body))
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_post_is_not_sent_again(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 3\r\n\r\nabc")
        self.laptop.stream.close()
        self.assertEqual(visitor.status, 502)
        self.assertEqual(self.pod.streams, [])
        self.assertEqual(self.world.outcomes(), {Outcome.TARGET_FAILED: 1})
        self.assertEqual(self.world.stats.retries_total, 0)

    def test_post_that_was_not_delivered(self) -> None:
        """The client says so: then it goes to another connector, with what came of its body."""
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 6\r\n\r\nabc")
        self.laptop.stream.refuse()
        visitor.send(b"def")
        self.assertTrue(self.pod.stream.take().endswith(b"\r\n\r\nabcdef"))
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_post_too_large_to_keep(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000)
        self.laptop.stream.refuse()
        self.assertEqual(visitor.status, 502)
        self.assertEqual(self.pod.streams, [])

    def test_post_that_was_answered_in_part(self) -> None:
        """The first byte is the point of no return, whatever the client says after it."""
        visitor = self.world.visit(POST)
        self.laptop.stream.answer(b"HTTP/1.1 2")
        self.laptop.stream.refuse()
        self.assertEqual(visitor.status, 502)
        self.assertEqual(self.pod.streams, [])

    def test_body_without_a_length_that_breaks_off(self) -> None:
        """The visitor sees a break, and no shorter body."""
        self.world.unusual(answers=2)
        for broken in (False, True):
            visitor = self.world.visit(GET)
            self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
            if broken:
                self.laptop.session.mark_broken(self.laptop.stream.id)
            self.laptop.stream.close()
            self.assertTrue(visitor.received.endswith(b"\r\n\r\nhalf"))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1, Outcome.ABORTED: 1})

    def test_post_to_a_closing_link(self) -> None:
        """Nothing of it was sent, so even a POST goes to another connector."""
        self.laptop.be_closing()
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 3\r\n\r\nabc")
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.world.stats.retries_total, 0)

    def test_free_stream_of_a_closing_link(self) -> None:
        """It carries nothing any more."""
        for request in (GET, POST):
            with self.subTest(request=request):
                world = self.make_world()
                laptop, pod = world.attach(255), world.attach(1)
                world.visit(GET)
                laptop.stream.answer(OK)
                laptop.be_closing()
                visitor = world.visit(request)
                pod.stream.answer(OK)
                self.assertEqual(visitor.received, OK)

    def test_failure_after_the_first_byte(self) -> None:
        """From the first byte of the answer on nobody else is asked."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 20")
        self.laptop.stream.close()
        self.assertEqual(visitor.status, 502)
        self.assertEqual(self.pod.streams, [])

    def test_failure_after_an_interim_answer(self) -> None:
        """The target has read the request: that it is working on it may be the reason why it died."""
        self.world.unusual(answers=1)
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 102 Processing\r\n\r\n")
        self.laptop.lose()
        self.assertEqual(visitor.statuses, [102, 502])
        self.assertEqual(self.pod.streams, [])

    def test_failure_within_the_body(self) -> None:
        """The visitor sees that the answer is not whole."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\np")
        self.laptop.lose()
        self.assertTrue(visitor.aborted)
        self.assertEqual(self.world.outcomes(), {Outcome.ABORTED: 1})

    def test_failure_within_the_chunks(self) -> None:
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npod\r\n")
        self.laptop.stream.answer(b"zz\r\n")
        self.assertTrue(visitor.aborted)
        self.assertTrue(self.laptop.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.ABORTED: 1})

    def test_all_fail(self) -> None:
        visitor = self.world.visit(GET)
        self.laptop.stream.close()
        self.pod.stream.close()
        self.assertEqual(visitor.status, 502)
        self.assertFalse(visitor.closed)
        self.assertEqual(self.world.outcomes(), {Outcome.TARGET_FAILED: 1})

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

    def test_free_streams_that_died(self) -> None:
        """All of them did when a target was started anew: one is tried, and then a fresh one."""
        for _ in range(3):
            self.world.visit(GET)
        for stream in self.laptop.streams:
            stream.answer(OK)
        visitor = self.world.visit(GET)
        (asked,) = [stream for stream in self.laptop.streams if stream.take().count(b"GET") == 2]
        asked.close()
        self.assertEqual(len(self.laptop.streams), 4)
        self.laptop.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_post_to_a_free_stream_that_died(self) -> None:
        """Nobody knows whether its target has read it: it is not sent again, and the next one gets a fresh stream."""
        self.world.visit(GET)
        self.laptop.stream.answer(OK)
        visitor = self.world.visit(POST)
        self.laptop.stream.close()
        self.assertEqual(visitor.status, 502)
        visitor = self.world.visit(POST)
        self.assertEqual(len(self.laptop.streams), 2)
        self.laptop.stream.answer(OK)
        self.assertEqual((visitor.received, self.pod.streams), (OK, []))

    def test_malformed_answer(self) -> None:
        for answer in (
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            visitor = self.world.visit(GET)
            with self.subTest(answer=answer):
                self.laptop.stream.answer(answer)
                self.assertEqual(visitor.status, 502)
                self.assertTrue(self.laptop.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.TARGET_FAILED: 3})
        self.assertEqual(self.pod.streams, [])

    def test_visitor_leaves(self) -> None:
        """Its stream is freed at once, and the other end told to stop."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")
        visitor.leave()
        self.assertTrue(self.laptop.stream.finished)
        self.assertTrue(self.laptop.stream.stopped)
        self.assertEqual(self.world.outcomes(), {Outcome.VISITOR_GONE: 1})

    def test_visitor_stalls(self) -> None:
        """It took nothing until the system ended its connection: that is told from one that left."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")
        visitor.stall()
        self.assertTrue(self.laptop.stream.finished and self.laptop.stream.stopped)
        self.assertEqual(self.world.outcomes(), {Outcome.STALLED: 1})

    def test_connector_leaves(self) -> None:
        """A client that is about to stop gets no more requests, and finishes those in progress."""
        visitor = self.world.visit(GET)
        self.laptop.session.leave()
        self.laptop.flush()
        self.world.visit(GET)
        self.assertEqual(len(self.pod.streams), 1)
        self.laptop.stream.answer(OK)
        self.assertEqual(visitor.received, OK)


def alive(kind: type) -> int:
    """How many objects of a class this process has not freed yet."""
    return sum(isinstance(one, kind) for one in gc.get_objects())


class MemoryTests(HttpCase):
    """The garbage collector runs rarely: what is over is freed without it."""

    def test_visitor_that_left_in_its_body(self) -> None:
        self.world.attach()
        gc.disable()
        self.addCleanup(gc.enable)
        visitor = self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 60000\r\n\r\n" + b"x" * 6000)
        before = alive(HttpVisitor)
        visitor.vanish()
        self.assertEqual(alive(HttpVisitor), before - 1)

    def test_idle_visitors_keep_no_request(self) -> None:
        """Only the stream that they have shared keeps its last one."""
        pod = self.world.attach()
        gc.collect()
        before = alive(RequestHead)
        visitors = []
        for _ in range(5):
            visitors.append(self.world.visit(GET))
            pod.stream.answer(OK)
        self.assertEqual([visitor.received for visitor in visitors], [OK] * 5)
        self.assertEqual(alive(RequestHead), before + 1)


class ConnectorTests(HttpCase):
    """The choice, as a visitor sees it."""

    def test_kept_alive_connection_sees_both(self) -> None:
        ends = [self.world.attach(1), self.world.attach(1)]
        visitor = self.world.visit()
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


globals().update(all_worlds(FailureTests, ConnectorTests))
