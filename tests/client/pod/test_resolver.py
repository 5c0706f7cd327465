"""Names as the pod resolves them: causes, sharing, bounds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.pod.resolver import MAX_LOOKUPS, NameFailed, Resolver
from rtunnel.wire.pod import Cause

FOUND = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::7", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0)),
]


class ThreadlessReactor(Clock):
    """A reactor whose threads run when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Callable[[bool, Any], None], Callable[[], Any]]] = []

    def getThreadPool(self) -> ThreadlessReactor:
        return self

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], call: Callable[..., Any], *args: Any, **more: Any
    ) -> None:
        self.waiting.append((done, lambda: call(*args, **more)))

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)

    def run(self) -> None:
        """Let the threads do what waits."""
        from twisted.python.failure import Failure

        waiting, self.waiting = self.waiting, []
        for done, call in waiting:
            try:
                result = call()
            except Exception:
                done(False, Failure())
            else:
                done(True, result)


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ThreadlessReactor()
        self.asked: list[str] = []
        self.answer: Any = FOUND
        self.resolver = Resolver(self.reactor, self.lookup)

    def lookup(self, host: str, port: None, type: int) -> list[Any]:  # noqa: A002
        self.asked.append(host)
        if isinstance(self.answer, Exception):
            raise self.answer
        found: list[Any] = self.answer
        return found

    def resolve(self, host: str = "postgres") -> Deferred[Any]:
        answer = self.resolver.resolve(host)
        self.reactor.run()
        return answer

    def fails(self, error: Exception, cause: Cause, words: str) -> None:
        self.answer = error
        failed = self.failureResultOf(self.resolve(f"name{len(self.asked)}"), NameFailed).value
        self.assertIs(failed.cause, cause)
        self.assertIn(words, str(failed))

    def test_addresses(self) -> None:
        """Each once, in the order of preference."""
        self.assertEqual(self.successResultOf(self.resolve()), (ip_address("fd00::7"), ip_address("10.0.0.7")))

    def test_addresses_are_not_looked_up(self) -> None:
        self.assertEqual(self.successResultOf(self.resolve("10.0.0.9")), (ip_address("10.0.0.9"),))
        self.assertEqual(self.asked, [])

    def test_causes(self) -> None:
        self.fails(socket.gaierror(socket.EAI_NONAME, "no"), Cause.NO_NAME, 'the DNS of the pod knows no "name')
        self.fails(socket.gaierror(socket.EAI_NODATA, "no"), Cause.NO_NAME, "check its spelling and namespace")
        self.fails(socket.gaierror(socket.EAI_AGAIN, "later"), Cause.NO_DNS, "gave no answer")
        self.fails(UnicodeError("label too long"), Cause.NO_NAME, "knows no")

    def test_once_for_many(self) -> None:
        """Those that ask while it is looked up."""
        answers = [self.resolver.resolve("postgres") for _ in range(3)]
        self.reactor.run()
        for answer in answers:
            self.assertEqual(len(self.successResultOf(answer)), 2)
        self.assertEqual(len(self.asked), 1)
        self.resolve()
        self.assertEqual(len(self.asked), 2)

    def test_failures(self) -> None:
        """Each that asked hears of it."""
        self.answer = socket.gaierror(socket.EAI_NONAME, "no")
        answers = [self.resolver.resolve("postgres") for _ in range(2)]
        self.reactor.run()
        for answer in (*answers, self.resolve()):
            self.failureResultOf(answer, NameFailed)
        self.assertEqual(len(self.asked), 2)

    def test_bounds(self) -> None:
        waiting = [self.resolver.resolve(f"a{number}") for number in range(MAX_LOOKUPS)]
        busy = self.failureResultOf(self.resolver.resolve("b"), NameFailed).value
        self.assertIs(busy.cause, Cause.BUSY)
        self.reactor.run()
        for answer in waiting:
            self.successResultOf(answer)
        self.successResultOf(self.resolve("b"))
