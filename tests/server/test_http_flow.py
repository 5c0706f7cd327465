"""HTTP at an entrypoint: time limits, visitors and targets that are behind, requests sent ahead, and the end."""

from __future__ import annotations

from rtunnel.outcomes import Limit, Outcome
from rtunnel.routing.ingress import IngressRule
from rtunnel.server.entrypoint.http1 import MAX_AT_ONCE, READ_AHEAD
from rtunnel.settings import HttpSettings
from tests.server.harness import ANSWER, KEPT, FarConnector, HttpCase, Visitor, all_worlds
from tests.support.heads import GET, OK
from tests.support.ids import TUNNEL
from tests.support.pipe import HIGH_WATER, READ_SIZE

UNKNOWN = b"GET / HTTP/1.1\r\nHost: other.local\r\n\r\n"


class TimeTests(HttpCase):
    """Time limits."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def test_head_in_pieces(self) -> None:
        """The limit counts from the first byte of the head, however often another one comes."""
        visitor = self.world.visit(b"G")
        for byte in b"ET / HTTP/1":
            visitor.send(bytes([byte]))
            self.world.pass_time(0.5)
        self.assertEqual(visitor.received, b"")
        self.world.pass_time(5)
        self.assertEqual(visitor.status, 408)
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

    def test_next_head_in_pieces(self) -> None:
        """On an idle connection too, the limit of a head counts from its first byte."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.world.pass_time(70)
        for byte in b"GET / HTTP/1":
            visitor.send(bytes([byte]))
            self.world.pass_time(0.5)
        self.assertEqual(visitor.take(), OK)
        self.world.pass_time(5)
        self.assertEqual(visitor.status, 408)

    def test_head_that_was_begun_ahead(self) -> None:
        """A head whose beginning came before the answer of the request ahead of it."""
        visitor = self.world.visit(GET + GET[:8])
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.take(), OK)
        self.world.pass_time(16)
        self.assertEqual(visitor.status, 408)

    def test_no_answer(self) -> None:
        visitor = self.world.visit(GET)
        self.world.pass_time(13)
        self.assertEqual(visitor.received, b"")
        self.world.pass_time(3)
        self.assertEqual(visitor.status, 504)
        self.assertTrue(self.pod.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.RESPONSE_TIMEOUT: 1})

    def test_limit_ends_with_the_first_bytes(self) -> None:
        """Long polls and server-sent events have no total limit."""
        visitor = self.world.visit(GET)
        self.pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\np")
        self.world.pass_time(600)
        self.pod.stream.answer(b"od")
        self.assertEqual(visitor.received, OK)

    def test_upgrade_has_the_same_limit(self) -> None:
        """Until the target has switched: else a field in a request would hold a stream forever."""
        self.world.unusual(requests=1)
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        self.world.pass_time(16)
        self.assertEqual(visitor.status, 504)

    def test_many_at_once(self) -> None:
        """Requests that are answered at once take turns with those of the other visitors."""
        request = b"GET / HTTP/1.1\r\nHost: other.local\r\n\r\n"
        self.world.learn(request)
        visitor = self.world.visit()
        visitor.transport.write(request * 500)
        while not visitor.received:
            for pipe in self.world.pipes:
                pipe.pump()
        self.assertEqual(visitor.statuses, [404] * (MAX_AT_ONCE + 1))
        self.assertEqual(self.world.stats.limits[Limit.PIPELINED], 1)
        self.world.turn()
        self.assertEqual(visitor.statuses, [404] * 500)
        visitor.send(request)
        self.assertEqual(len(visitor.statuses), 501)

    def test_no_limit(self) -> None:
        """The default."""
        self.world.change(HttpSettings())
        visitor = self.world.visit(GET)
        self.world.pass_time(600)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_body_stalls(self) -> None:
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 10\r\n\r\n123")
        self.world.pass_time(76)
        self.assertEqual(visitor.status, 408)
        self.assertTrue(visitor.closed)
        self.assertEqual(self.world.outcomes(), {Outcome.REQUEST_TIMEOUT: 1})

    def test_slow_body(self) -> None:
        """As long as bytes of it come, a body may take its time, and the limit of the answer counts from its end."""
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 4\r\n\r\n1")
        for byte in (b"2", b"3", b"4"):
            self.world.pass_time(70)
            visitor.send(byte)
        self.world.pass_time(13)
        self.assertEqual(visitor.received, b"")
        self.world.pass_time(3)
        self.assertEqual(visitor.status, 504)


class BackpressureTests(HttpCase):
    """Visitors that do not read, and targets that do not."""

    def test_slow_visitor(self) -> None:
        """A visitor that does not read stops its own target after a window, and nobody else."""
        pod = self.world.attach()
        visitor = self.world.visit(GET)
        visitor.stop_reading()
        pod.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5000000)
        self.assertLessEqual(visitor.near.waiting, HIGH_WATER + READ_SIZE)
        other = self.world.visit(GET)
        pod.stream.answer(OK)
        self.assertEqual(other.received, OK)
        self.world.pass_time(100)
        visitor.read_on()
        self.assertTrue(visitor.received.endswith(b"\r\n\r\n" + b"x" * 5000000))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 2})

    def test_visitor_behind_with_earlier_answers(self) -> None:
        """What it has not read holds up its next stream too, and nothing else."""
        pod = self.world.attach()
        visitor = self.world.visit()
        visitor.stop_reading()
        answer = ANSWER % 60000 + b"x" * 60000
        for number in range(2):
            visitor.send(KEPT % number)
            pod.stream.answer(answer)
        self.assertGreater(visitor.near.waiting, HIGH_WATER)
        visitor.send(KEPT % 2)
        waiting = visitor.near.waiting
        pod.stream.answer(answer)
        self.assertEqual(visitor.near.waiting, waiting)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 2})
        visitor.read_on()
        self.assertEqual(visitor.received.count(b"x" * 60000), 3)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 3})

    def test_last_answer_of_a_slow_visitor(self) -> None:
        """A visitor that wants its connection closed gets all of its answers first, if it takes some time or not."""
        last = b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: close\r\n\r\n"
        self.world.learn(last)
        pod = self.world.attach()
        visitor = self.world.visit(KEPT % 1)
        visitor.stop_reading()
        pod.stream.answer(ANSWER % 60000 + b"x" * 60000)
        visitor.send(last)
        pod.stream.answer(ANSWER % 3 + b"pod")
        self.world.pass_time(30)
        visitor.read_on()
        self.assertTrue(visitor.received.endswith(b"\r\n\r\npod"))
        self.assertTrue(visitor.closed)
        self.assertFalse(visitor.aborted)

    def test_drain_waits_for_a_slow_visitor(self) -> None:
        """The exchange is over, but what its visitor has no room for would be lost with the connection."""
        pod = self.world.attach()
        visitor = self.world.visit(KEPT % 1)
        visitor.stop_reading()
        pod.stream.answer(ANSWER % 60000 + b"x" * 60000)
        self.world.entrypoint.drain()
        self.world.turn()
        self.assertTrue(self.world.entrypoint.busy)
        visitor.read_on()
        self.assertFalse(self.world.entrypoint.busy)
        self.assertTrue(visitor.received.endswith(b"x" * 60000))
        self.assertTrue(visitor.closed)
        self.assertFalse(visitor.aborted)

    def test_cut_while_the_last_answer_leaves(self) -> None:
        """All was written when the drain ends, and the connection is about to be closed: a reset could overtake the last bytes."""
        pod = self.world.attach()
        visitor = self.world.visit(KEPT % 1)
        self.world.entrypoint.drain()
        close = visitor.near.loseConnection

        def close_and_cut() -> None:
            close()
            # the system has taken all of it
            visitor.near._buffer.clear()
            self.world.entrypoint.cut()

        self.patch(visitor.near, "loseConnection", close_and_cut)
        pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertTrue(visitor.closed)
        self.assertFalse(visitor.aborted)

    def test_visitor_that_never_reads_its_last_answer(self) -> None:
        """It is not waited for without end."""
        last = b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: close\r\n\r\n"
        self.world.learn(last)
        pod = self.world.attach()
        visitor = self.world.visit()
        visitor.stop_reading()
        visitor.send(last)
        pod.stream.answer(OK)
        self.world.pass_time(80)
        self.assertTrue(visitor.aborted)
        self.assertEqual(self.world.stats.visitors_open, 0)

    def test_slow_target(self) -> None:
        """A target that does not read stops its own visitor."""
        pod = self.world.attach(consume=False)
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 5000000\r\n\r\n")
        sent = 0
        while not visitor.held_up:
            visitor.send(b"x" * 65536)
            sent += 65536
            self.assertLess(sent, 500000)
        pod.session.consumed(pod.stream.id, 262144)
        pod.flush()
        self.assertFalse(visitor.held_up)

    def test_target_that_wants_no_more_of_a_body(self) -> None:
        """The visitor goes on to be read, for its answer may still come, and what it sends is dropped."""
        pod = self.world.attach(consume=False)
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 1000000)
        self.assertTrue(visitor.held_up)
        pod.session.stop(pod.stream.id)
        pod.flush()
        self.assertFalse(visitor.held_up)
        visitor.send(b"x" * 4000000)
        pod.stream.answer(OK)
        self.assertEqual((visitor.received, visitor.closed), (OK, False))
        self.assertLessEqual(len(pod.stream.raw), 1000000)

    def test_target_that_does_not_read_in_time(self) -> None:
        """That is no fault of the visitor's."""
        self.world.attach(consume=False)
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 500000)
        self.world.pass_time(80)
        self.assertEqual(visitor.status, 504)
        self.assertEqual(self.world.outcomes(), {Outcome.RESPONSE_TIMEOUT: 1})

    def congest(self, connector: FarConnector) -> None:
        """Have a link's client stop reading, with more to read than the link's connection holds."""
        connector.transport.pauseProducing()
        self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 262144)
        self.assertTrue(connector.link.congested)

    def test_retry_of_a_body_that_was_held_up(self) -> None:
        """The next connector takes it at its own speed."""
        laptop, pod = self.world.attach(255), self.world.attach(1)
        visitor = self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 6\r\n\r\nabc")
        stream = laptop.stream
        self.congest(laptop)
        visitor.send(b"de")
        self.assertTrue(visitor.held_up)
        stream.close()
        visitor.send(b"f")
        self.assertTrue(pod.stream.take().endswith(b"\r\n\r\nabcdef"))
        pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)


class PipeliningTests(HttpCase):
    """Requests that are sent before the ones ahead of them are answered."""

    def test_flood(self) -> None:
        """Later requests are read ahead to a bound."""
        self.world.attach()
        visitor = self.world.visit(GET)
        visitor.send(GET * 3000)
        self.assertTrue(visitor.held_up)
        self.assertGreaterEqual(visitor.transport.waiting, len(GET) * 3000 - READ_AHEAD - READ_SIZE)

    def test_many(self) -> None:
        """Each is answered in its turn; they are not taken one inside the other."""
        pod = self.world.attach()
        visitor = self.world.visit(b"".join(KEPT % number for number in range(1000)))
        for number in range(1000):
            self.assertTrue(pod.stream.take().startswith(b"GET /%d " % number))
            pod.stream.answer(ANSWER % 3 + b"pod")
        self.assertEqual(visitor.statuses, [200] * 1000)
        self.assertEqual((self.world.outcomes(), len(pod.streams)), ({Outcome.ANSWERED: 1000}, 1))

    def test_many_that_are_refused(self) -> None:
        visitor = self.world.visit(UNKNOWN * 1000)
        self.assertEqual(visitor.statuses, [404] * 1000)
        self.assertEqual(self.world.outcomes(), {Outcome.UNKNOWN_HOST: 1000})

    def test_many_of_both(self) -> None:
        pod = self.world.attach()
        visitor = self.world.visit((GET + UNKNOWN * 3) * 250)
        for _ in range(250):
            pod.stream.answer(OK)
        self.assertEqual(visitor.statuses, [200, 404, 404, 404] * 250)

    def flood(self, count: int = 5000) -> Visitor:
        """A visitor asks for what we refuse ourselves, and does not read."""
        visitor = self.world.visit()
        visitor.stop_reading()
        return visitor.send(UNKNOWN * count)

    def test_visitor_that_does_not_read_our_own_answers(self) -> None:
        """It is answered only as far as it reads, and what it asks ahead is read to a bound."""
        visitor = self.flood()
        self.assertLess(visitor.near.waiting, HIGH_WATER + 1000)
        answered = self.world.outcomes()[Outcome.UNKNOWN_HOST]
        self.assertLess(answered, 1000)
        taken = len(UNKNOWN) * 5000 - visitor.transport.waiting
        self.assertLessEqual(taken, len(UNKNOWN) * answered + READ_AHEAD + READ_SIZE)
        self.assertTrue(visitor.held_up)
        for _ in range(3):
            visitor.send(UNKNOWN)
        self.assertEqual(self.world.outcomes(), {Outcome.UNKNOWN_HOST: answered})
        visitor.read_on()
        self.assertEqual(visitor.statuses, [404] * 5003)
        self.assertFalse(visitor.held_up)

    def test_visitor_that_does_not_read_for_a_while(self) -> None:
        """Its requests came in time; that they wait for their turn is no reason to say the contrary."""
        visitor = self.flood(1000)
        answered = self.world.outcomes()
        for _ in range(3):
            self.world.pass_time(20)
            visitor.send(UNKNOWN)
        self.assertEqual(self.world.outcomes(), answered)
        visitor.read_on()
        self.assertEqual(visitor.statuses, [404] * 1003)

    def test_visitor_that_never_reads(self) -> None:
        """It is as good as gone after a while, and then has as long again to read what was written."""
        visitor = self.flood(1000)
        answered = self.world.outcomes()
        self.world.pass_time(140)
        self.assertFalse(visitor.aborted)
        self.world.pass_time(20)
        self.assertTrue(visitor.aborted)
        self.assertEqual(self.world.outcomes(), answered)
        self.assertEqual(self.world.stats.visitors_open, 0)


class EndTests(HttpCase):
    """The server stops."""

    def test_drain(self) -> None:
        """Idle visitors are closed, requests in progress are finished, their connections end with them."""
        pod = self.world.attach()
        kept = self.world.visit(GET)
        pod.stream.answer(OK)
        busy = self.world.visit(GET)
        self.world.entrypoint.drain()
        self.world.turn()
        self.assertEqual((kept.closed, busy.closed), (True, False))
        self.assertTrue(self.world.entrypoint.busy)
        pod.stream.answer(OK)
        self.assertIn(b"\r\nConnection: close\r\n", busy.received)
        self.assertTrue(busy.closed)
        self.assertFalse(self.world.entrypoint.busy)

    def test_drain_before_a_request(self) -> None:
        """A visitor that has just connected is answered: its request may be on its way."""
        pod = self.world.attach()
        visitor, slow = self.world.visit(), self.world.visit()
        self.world.entrypoint.drain()
        visitor.send(GET)
        slow.send(GET[:20])
        pod.stream.answer(OK)
        self.assertEqual((visitor.status, visitor.closed), (200, True))
        self.assertIn(b"\r\nConnection: close\r\n", visitor.received)
        self.assertFalse(self.world.entrypoint.busy)
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertEqual((slow.status, slow.half_closed), (503, True))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1, Outcome.STOPPED: 1})

    def test_drain_within_a_head(self) -> None:
        """The visitor is told that the server stops, and may send its request elsewhere."""
        visitor = self.world.visit(GET[:20])
        self.world.entrypoint.drain()
        visitor.send(GET[20:])
        self.assertEqual((visitor.status, visitor.half_closed), (503, True))
        self.assertIn(b"\r\nConnection: close\r\n", visitor.received)
        self.assertEqual(self.world.outcomes(), {Outcome.STOPPED: 1})

    def test_drain_with_requests_ahead(self) -> None:
        """They are not served any more."""
        pod = self.world.attach()
        visitor = self.world.visit(GET + GET)
        self.world.entrypoint.drain()
        pod.stream.answer(OK)
        self.assertEqual((visitor.statuses, visitor.closed), ([200], True))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1})

    def cut(self) -> None:
        """The server stops, and the drain is over."""
        self.world.entrypoint.drain()
        self.world.turn()
        self.world.entrypoint.cut()
        self.world.turn()

    def test_cut(self) -> None:
        """A visitor that got nothing of its response is told that the server stops."""
        pod = self.world.attach()
        visitor = self.world.visit(GET)
        self.cut()
        self.assertEqual((visitor.status, visitor.closed, visitor.aborted), (503, True, False))
        self.assertIn(b"\r\nConnection: close\r\n", visitor.received)
        self.assertIn(b"The tunnel server is stopping", visitor.received)
        self.assertTrue(pod.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.STOPPED: 1})

    def test_cut_within_a_request(self) -> None:
        """The same while its body comes; what still comes of it does not reset the connection."""
        pod = self.world.attach()
        visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 9\r\n\r\nhalf")
        self.cut()
        visitor.send(b"more")
        self.assertEqual((visitor.status, visitor.half_closed), (503, True))
        self.assertTrue(pod.stream.finished)
        self.assertEqual(self.world.outcomes(), {Outcome.STOPPED: 1})

    def test_cut_within_a_response(self) -> None:
        """It is too late for that: the visitor sees that it is incomplete."""
        pod = self.world.attach()
        visitor = self.world.visit(GET)
        pod.stream.answer(OK[:-1])
        self.cut()
        self.assertTrue(visitor.aborted)
        self.assertEqual(visitor.received, OK[:-1])
        self.assertEqual(self.world.outcomes(), {Outcome.STOPPED: 1})

    def test_cut_of_an_upgraded_connection(self) -> None:
        self.world.unusual(requests=1, answers=1)
        pod = self.world.attach()
        visitor = self.world.visit(b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        pod.stream.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        self.world.entrypoint.drain()
        self.world.turn()
        self.assertFalse(visitor.closed)
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertTrue(visitor.aborted)
        self.assertTrue(pod.stream.finished)
        self.assertFalse(self.world.entrypoint.busy)


class SettingsTests(HttpCase):
    """Other settings hold from the next request on, also on connections that exist."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()
        self.visitor = self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.visitor.take()

    def test_limits(self) -> None:
        self.world.change(HttpSettings(header_count=4))
        self.visitor.send(GET[:-2] + b"A: b\r\n" * 5 + b"\r\n")
        self.assertEqual(self.visitor.status, 431)

    def test_times(self) -> None:
        self.world.change(HttpSettings(response_timeout=3, idle_timeout=20))
        self.visitor.send(GET)
        self.world.pass_time(4)
        self.assertEqual(self.visitor.status, 504)
        self.world.pass_time(21)
        self.assertTrue(self.visitor.closed)

    def test_rules(self) -> None:
        self.world.rules(IngressRule("other.local", TUNNEL))
        self.visitor.send(GET + UNKNOWN)
        self.pod.stream.answer(OK)
        self.assertEqual(self.visitor.statuses, [404, 200])


globals().update(all_worlds(TimeTests, BackpressureTests, PipeliningTests, EndTests, SettingsTests))
