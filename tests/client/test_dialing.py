"""Connecting to one of several targets, which the test plays."""

from __future__ import annotations

from time import time
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.dialing import Dialer
from rtunnel.settings import Address, ForwardSettings, UnixSocket


class Endpoint:
    """An endpoint that is up or down, or answers later."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = True
        self.tried = 0
        self.later: Deferred[Any] | None = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.tried += 1
        if self.later is not None:
            return self.later
        deferred: Deferred[Any] = Deferred()
        if self.up:
            factory.buildProtocol(None)
            deferred.callback(self.name)
        else:
            deferred.errback(Failure(ConnectError(string="refused")))
        return deferred


class DialerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.make("a", "b", "c")

    def observe(self, event: dict[str, Any]) -> None:
        if "cannot be reached" in (event["log_format"] or ""):
            self.lines.append(event["log_format"].format(**event))

    def make(self, *names: str) -> None:
        self.endpoints = {name: Endpoint(name) for name in names}
        self.dialer = Dialer(
            [Address(name, 80) for name in names],
            settings=ForwardSettings(fail_timeout=10),
            endpoint_for=lambda address: self.endpoints[getattr(address, "host", "")],  # type: ignore[arg-type,return-value]
            reactor=self.clock,
        )

    def dial(self) -> str:
        return str(self.successResultOf(self.dialer.connect(object(), lambda: True)))

    def down(self, *names: str) -> None:
        for name, endpoint in self.endpoints.items():
            endpoint.up = name not in names

    def test_turns(self) -> None:
        self.assertEqual([self.dial() for _ in range(4)], ["a", "b", "c", "a"])

    def test_next_at_once(self) -> None:
        """One that cannot be reached costs the stream nothing but the attempt, is left out, and comes back."""
        self.down("a")
        self.assertEqual([self.dial() for _ in range(4)], ["b", "c", "b", "c"])
        self.assertEqual(self.endpoints["a"].tried, 1)
        self.down()
        self.clock.advance(10)
        self.assertIn("a", [self.dial() for _ in range(3)])

    def test_each_once(self) -> None:
        """When all are down, each is tried once for a stream, and for the next one again."""
        self.down("a", "b", "c")
        for attempt in (1, 2):
            self.failureResultOf(self.dialer.connect(object(), lambda: True), ConnectError)
            self.assertEqual([endpoint.tried for endpoint in self.endpoints.values()], [attempt] * 3)

    def test_logged_once(self) -> None:
        """The log says when a target is left out, not with each stream."""
        self.down("a", "b", "c")
        for _ in range(5):
            self.failureResultOf(self.dialer.connect(object(), lambda: True), ConnectError)
        self.assertEqual(len(self.lines), 3)
        self.assertIn("target a:80 cannot be reached", self.lines[0])
        self.assertIn("the others are preferred for 10 s", self.lines[0])

    def test_alone(self) -> None:
        """A single target is tried every time, and every failure is logged."""
        self.make("a")
        self.down("a")
        for _ in range(2):
            self.failureResultOf(self.dialer.connect(object(), lambda: True), ConnectError)
        self.assertEqual(self.endpoints["a"].tried, 2)
        self.assertEqual(len(self.lines), 2)

    def test_what_is_known_of_targets(self) -> None:
        """For the status: whether one was tried, since when it cannot be reached, and why."""
        for names in (("a",), ("a", "b")):
            self.make(*names)
            target = self.dialer.targets[0]
            self.assertEqual((target.tried, target.failing_since), (False, None))
            self.down("a")
            tried = self.endpoints["a"].tried
            while self.endpoints["a"].tried < tried + 1:
                self.dialer.connect(object(), lambda: False).addErrback(lambda _: None)
            since = target.failing_since
            assert since is not None
            self.assertApproximates(since, time(), 60)
            self.assertIn("refused", target.reason)
            self.down()
            self.clock.advance(100)
            for _ in names:
                self.dialer.connect(object(), lambda: False)
            self.assertEqual((target.tried, target.failing_since), (True, None))

    def test_not_wanted_any_more(self) -> None:
        """A stream that ended meanwhile has no further target dialed."""
        wanted = [True]
        later = self.endpoints["a"].later = Deferred()
        connecting = self.dialer.connect(object(), lambda: wanted[0])
        wanted.clear()
        wanted.append(False)
        later.errback(Failure(ConnectError()))
        self.failureResultOf(connecting, ConnectError)
        self.assertEqual(self.endpoints["b"].tried, 0)

    def test_given_up(self) -> None:
        """A connect that was cancelled says nothing against the target."""
        self.endpoints["a"].later = Deferred()
        connecting = self.dialer.connect(object(), lambda: True)
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertEqual((self.lines, self.endpoints["b"].tried), ([], 0))


class SocketTests(SynchronousTestCase):
    def test_unix(self) -> None:
        """A unix socket is written as a user can type it."""
        self.assertEqual(str(UnixSocket("/run/my app,1.sock")), "unix:/run/my%20app%2C1.sock")
