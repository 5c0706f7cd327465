"""The one timer behind all time limits of a server."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.server.deadlines import NEVER, SWEEP, Deadlines


class Thing:
    """Something with a deadline."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.ends = 0

    def expired(self) -> None:
        self.ends += 1
        self.deadline = NEVER


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)

    def thing(self, seconds: float) -> Thing:
        thing = Thing(self.deadlines.now + seconds)
        self.deadlines.add(thing)
        return thing

    def pass_by(self, seconds: float) -> None:
        self.clock.pump([SWEEP] * int(seconds / SWEEP))

    def test_expires(self) -> None:
        thing = self.thing(3.0)
        self.pass_by(2.5)
        self.assertEqual(thing.ends, 0)
        self.pass_by(0.5)
        self.assertEqual(thing.ends, 1)

    def test_held_up(self) -> None:
        """A process that was stopped for an hour has not read what came meanwhile: everybody has the time that was left."""
        thing, never = self.thing(3.0), self.thing(NEVER)
        self.pass_by(1.0)
        self.clock.advance(3600)
        self.assertEqual((thing.ends, never.deadline), (0, NEVER))
        self.pass_by(1.0)
        self.assertEqual(thing.ends, 0)
        self.pass_by(0.5)
        self.assertEqual(thing.ends, 1)

    def test_limits(self) -> None:
        """What begins now ends at the end of its limit, as if its seconds were added."""
        limit, none = self.deadlines.limit(3.0), self.deadlines.limit(NEVER)
        for seconds in (0.0, 1.0, SWEEP, 3600.0):
            self.clock.advance(seconds)
            self.assertEqual((limit.end, none.end), (self.deadlines.now + 3.0, NEVER))
        self.assertEqual(limit.seconds, 3.0)

    def test_limits_are_known_as_long_as_somebody_has_them(self) -> None:
        limit = self.deadlines.limit(3.0)
        self.deadlines.limit(4.0)
        self.assertEqual(list(self.deadlines._limits), [limit])

    def test_busy(self) -> None:
        """A turn that takes a second or two puts nothing off."""
        thing = self.thing(3.0)
        self.clock.advance(3.0)
        self.assertEqual(thing.ends, 1)
