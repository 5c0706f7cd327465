"""Targets that send too much, too early, too little or twice: the answer of one visitor never reaches another."""

from __future__ import annotations

from rtunnel.outcomes import Outcome
from rtunnel.server.upstream import MAX_UNFIT
from tests.server.harness import HttpCase, Visitor, all_worlds
from tests.support.heads import GET, OK, POST

FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
"""What was for somebody else."""
BODY = b"<html>too much</html>"
"""What is no answer at all."""
HEAD = b"HEAD / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
UNMODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 21\r\n\r\n"


class SurplusTests(HttpCase):
    """Bytes beyond an answer, wherever it can be known that they belong to nobody."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def send_in_one_turn(self, *pieces: bytes) -> None:
        """Have the target send several pieces on the last stream, which come at once."""
        for piece in pieces:
            self.pod.session.send(self.pod.stream.id, piece)
        self.pod.flush()

    def is_answered_apart(self, visitor: Visitor) -> None:
        """The last request came on a stream of its own; it gets its own answer, and so does the next one."""
        for _ in range(2):
            self.assertEqual(self.pod.stream.take().count(b"GET"), 1)
            self.pod.stream.answer(OK)
            self.assertEqual(visitor.take(), OK)
            streams = len(self.pod.streams)
            visitor.send(GET)
            self.assertEqual(len(self.pod.streams), streams + 1, "a stream was reused")

    def test_behind_the_answer(self) -> None:
        """In one piece with it, or in the next one of the turn."""
        for pieces in ((OK + FORGED,), (OK, FORGED), (OK, BODY)):
            with self.subTest(pieces=pieces):
                self.world = self.make_world()
                self.pod = self.world.attach()
                visitor = self.world.visit(GET)
                self.send_in_one_turn(*pieces)
                self.assertEqual(visitor.take(), OK)
                self.assertTrue(self.pod.stream.finished)
                self.is_answered_apart(visitor.send(GET))

    def test_before_a_request_sent_ahead(self) -> None:
        """The next request of the visitor is written in the middle of what the link received, and asked again on a new stream."""
        visitor = self.world.visit(GET + GET)
        self.send_in_one_turn(OK, FORGED)
        self.assertEqual(visitor.take(), OK)
        self.is_answered_apart(visitor)
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_before_the_request_of_somebody_else(self) -> None:
        """It was written in the same turn, but had not left yet."""
        for request, expected in ((GET, {Outcome.ANSWERED: 2}), (POST, {Outcome.ANSWERED: 1, Outcome.TARGET_FAILED: 1})):
            with self.subTest(request=request):
                self.world = self.make_world()
                self.pod = self.world.attach()
                self.world.visit(GET)
                self.pod.stream.answer(OK)
                visitor = self.world.visit()
                visitor.transport.write(request)
                for pipe in self.world.pipes[1:]:
                    pipe.pump()
                self.send_in_one_turn(FORGED)
                if request is GET:
                    self.pod.stream.answer(OK)
                    self.assertEqual(visitor.received, OK)
                else:
                    # it may have been carried out
                    self.assertEqual(visitor.status, 502)
                self.assertEqual(self.world.outcomes(), expected)
                self.assertEqual(self.pod.pool.idle, 0)

    def test_what_is_no_answer(self) -> None:
        """It came too late to be known for what it is, but no answer begins like this."""
        for request, status in ((GET, 200), (POST, 502)):
            with self.subTest(request=request):
                self.world = self.make_world()
                self.pod = self.world.attach()
                self.world.visit(GET)
                self.pod.stream.answer(OK)
                visitor = self.world.visit(request)
                self.pod.stream.answer(BODY + b"\r\n\r\n")
                if request is GET:
                    self.pod.stream.answer(OK)
                self.assertEqual(visitor.status, status)

    def test_malformed_answer(self) -> None:
        """A fault of one answer is asked about once more, and concerns no other one."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        visitor.send(GET)
        for _ in range(2):
            self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        self.assertEqual(visitor.statuses, [200, 502])
        for _ in range(2):
            visitor.send(GET)
            self.pod.stream.answer(OK)
        self.assertEqual(len(self.pod.streams), 3)

    def test_malformed_for_itself(self) -> None:
        """A target that answers like this on a new stream too is not asked a third time."""
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        visitor = self.world.visit(GET)
        for _ in range(2):
            self.pod.stream.answer(BODY + b"\r\n\r\n")
        self.assertEqual(visitor.status, 502)
        self.assertEqual(len(self.pod.streams), 2)

    def test_bodies_where_none_may_be(self) -> None:
        """An answer to HEAD, and a 304, with the body that they announce."""
        for request, answer in ((HEAD, OK[:-3]), (GET, UNMODIFIED)):
            with self.subTest(answer=answer):
                self.world = self.make_world()
                self.world.learn(HEAD, GET)
                self.world.unusual(answers=answer is UNMODIFIED)
                self.pod = self.world.attach()
                visitor = self.world.visit(request)
                self.pod.stream.answer(answer + BODY)
                self.assertEqual(visitor.take(), answer)
                self.assertTrue(self.pod.stream.finished)
                self.is_answered_apart(visitor.send(GET))

    def test_a_moment_later(self) -> None:
        """On the idle stream: neither it nor another one to this host is reused; other hosts keep theirs."""
        first, second = self.world.visit(GET), self.world.visit(GET)
        for stream in self.pod.streams:
            stream.answer(OK)
        other = self.pod.pool.free.setdefault("other.local", [])
        self.pod.streams[0].answer(FORGED)
        self.assertEqual([stream.finished for stream in self.pod.streams], [True, True])
        self.assertEqual((first.take(), second.take()), (OK, OK))
        self.assertIs(self.pod.pool.free["other.local"], other)
        self.is_answered_apart(first.send(GET))

    def test_long_after(self) -> None:
        """A last word before a target closes an idle connection, as some say 408, closes this one and no more."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.pod.pool.sweep(1.0)
        self.pod.stream.answer(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        self.assertTrue(self.pod.stream.finished)
        for _ in range(3):
            visitor.send(GET)
            self.pod.stream.answer(OK)
        self.assertEqual(len(self.pod.streams), 2)

    def test_too_little(self) -> None:
        """The visitor sees that it is not whole; the next one gets its own."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK[:-1])
        self.pod.stream.close()
        self.assertTrue(visitor.aborted)
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_bound(self) -> None:
        """A client of which many hosts do that, under a rule for all of them, has no idle streams at all."""
        pool = self.pod.pool
        for number in range(10 * MAX_UNFIT):
            pool.stop_reuse(f"{number}.local")
        self.assertLessEqual(len(pool.unfit), MAX_UNFIT + 1)
        self.is_answered_apart(self.world.visit(GET))


globals().update(all_worlds(SurplusTests))
