"""An error of our own at any seam of an exchange costs that exchange alone, and is logged once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtunnel.outcomes import Outcome
from rtunnel.routing.selection import Selector
from rtunnel.server.entrypoint.forwarding import Forwarding
from rtunnel.server.entrypoint.http1 import HttpVisitor
from rtunnel.server.upstream import Upstream, UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1_exchange import AnswerSide, RequestSide
from tests.server.harness import HttpCase, Visitor, Watched, Watcher
from tests.support.compiled import interpreted
from tests.support.heads import GET, OK

PUT = b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 6\r\n"


class Fault(Exception):
    """What is raised at a seam."""


@interpreted
class ErrorTests(HttpCase):
    """A bystander's exchange on the same connector is in progress; the next call at a seam is that of the victim's."""

    learned = logged = True

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def break_once(self, owner: Any, name: str) -> None:
        """Have the next call of a method raise, and none after it; observers have done what they do by then."""
        original: Callable[..., Any] = getattr(owner, name)
        broken: list[bool] = []

        def call(*arguments: Any, **more: Any) -> Any:
            if not broken:
                broken.append(True)
                if owner in (Watcher, Watched):
                    original(*arguments, **more)
                raise Fault(name)
            return original(*arguments, **more)

        self.patch(owner, name, call)
        self.broken = broken

    def converse(self, fields: bytes = b"") -> Visitor:
        """A request with a body and its response, as far as they get; both come in pieces."""
        streams = len(self.pod.streams)
        self.victim.send(PUT + fields + b"\r\nabc")
        self.victim.send(b"def")
        if len(self.pod.streams) > streams:
            for piece in (OK[:-1], OK[-1:]):
                self.pod.stream.answer(piece)
        return self.victim

    def costs_one_exchange(self, outcome: Outcome = Outcome.ERROR) -> None:
        """The bystander gets its response, and so does the next visitor; each exchange has one outcome, the error one line.

        :param outcome: how the victim's exchange ends.
        """
        (failure,) = self.flushLoggedErrors(Fault)
        self.assertEqual(self.broken, [True], failure)
        others = [self.bystander, self.world.visit(GET)]
        self.pod.streams[0].answer(OK)
        self.pod.stream.answer(OK)
        self.assertEqual([other.take() for other in others], [OK, OK])
        counted = {Outcome.ANSWERED: 3} if outcome is Outcome.ANSWERED else {Outcome.ANSWERED: 2, outcome: 1}
        self.assertEqual(self.world.outcomes(), counted)
        for visitor in (*others, self.victim):
            visitor.leave()
        self.assertEqual((self.world.stats.visitors_open, self.world.entrypoint.busy), (0, False))
        self.assertEqual(self.pod.connector.failing, {})
        self.assertEqual(len(self.pod.link.streams), self.pod.pool.idle)

    def begin(self) -> None:
        """Another world, with the bystander's exchange in progress."""
        self.world = self.make_world()
        self.pod = self.world.attach()
        self.bystander = self.world.visit(GET)
        self.victim = self.world.visit()

    def test_before_the_response(self) -> None:
        """The visitor gets a 500, and its connection is closed."""
        for owner, name in (
            (RequestSide, "receive"),
            (Forwarding, "write"),
            (Watcher, "begin"),
            (Watched, "request_data"),
            (Selector, "rule"),
            (Selector, "select"),
            (UpstreamPool, "acquire"),
            (UpstreamPool, "open"),
            (TunnelStream, "registerProducer"),
            (TunnelStream, "write"),
        ):
            with self.subTest(seam=f"{owner.__name__}.{name}"):
                self.begin()
                self.break_once(owner, name)
                visitor = self.converse()
                self.assertEqual((visitor.status, visitor.half_closed or visitor.closed), (500, True))
                self.costs_one_exchange()

    def test_within_the_response(self) -> None:
        """It breaks off."""
        for owner, name in (
            (AnswerSide, "receive"),
            (Watched, "answer_begun"),
            (Watched, "answer_data"),
            (Upstream, "release"),
        ):
            with self.subTest(seam=f"{owner.__name__}.{name}"):
                self.begin()
                self.break_once(owner, name)
                self.assertTrue(self.converse().aborted)
                self.costs_one_exchange()

    def test_visitor_transport(self) -> None:
        """Whose calls are made from the middle of the response, and at its end."""
        for name, last, outcome in (
            ("write", b"", Outcome.ERROR),
            ("loseConnection", b"Connection: close\r\n", Outcome.ANSWERED),
        ):
            with self.subTest(name=name):
                self.begin()
                self.world.unusual(requests=bool(last))
                self.break_once(self.victim.near, name)
                self.assertTrue(self.converse(last).aborted)
                self.costs_one_exchange(outcome)

    def test_after_the_response(self) -> None:
        """The visitor notices nothing, and the other observers are told as well."""
        self.begin()
        self.break_once(Watched, "ended")
        self.assertEqual(self.converse().take(), OK)
        self.costs_one_exchange(Outcome.ANSWERED)

    def test_next_request(self) -> None:
        """One that was sent ahead: the response before it is complete."""
        self.begin()
        self.victim.send(GET + GET)
        self.break_once(RequestSide, "next")
        self.pod.stream.answer(OK)
        self.assertEqual(self.victim.statuses, [200, 500])
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 1)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1, Outcome.ERROR: 1})

    def test_retry(self) -> None:
        """When the stream ends without a byte."""
        self.begin()
        self.victim.send(GET)
        self.break_once(Selector, "select")
        self.pod.stream.close()
        self.assertEqual(self.victim.status, 500)
        self.costs_one_exchange()

    def test_limit_of_time(self) -> None:
        self.begin()
        self.world.change(HttpSettings(response_timeout=1))
        self.victim.send(GET)
        self.break_once(HttpVisitor, "refuse")
        self.world.pass_time(2)
        self.assertEqual(self.victim.status, 500)
        self.costs_one_exchange()

    def test_visitor_that_is_gone(self) -> None:
        """What it leaves behind is counted all the same."""
        self.begin()
        self.victim.send(GET)
        self.break_once(Upstream, "discard")
        self.assertRaises(Fault, self.victim.vanish)
        self.assertEqual(self.world.outcomes(), {Outcome.VISITOR_GONE: 1})

    def test_drain(self) -> None:
        """The others are closed all the same."""
        self.begin()
        idle = self.world.visit()
        for visitor in (self.victim, idle):
            visitor.send(GET)
            self.pod.stream.answer(OK)
        self.break_once(self.victim.near, "loseConnection")
        self.world.entrypoint.drain()
        self.world.turn()
        self.assertTrue(idle.closed or self.victim.closed)
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 1)
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertTrue(self.bystander.closed)

    def test_sweep(self) -> None:
        """Those that come after it are called, now and at the next sweep."""
        calls: list[float] = []

        def fail(now: float) -> None:
            if not calls:
                raise Fault

        self.world.deadlines.each_sweep(fail)
        self.world.deadlines.each_sweep(calls.append)
        self.world.pass_time(1)
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 1)
        self.assertEqual(len(calls), 3)
