"""A log that cannot be flooded."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rtunnel.ops.log_limit import BURST, FAILURE_BURST, MAX_KINDS, PERIOD, LimitedObserver, LogSummaries

START = 1_800_000_000.0


@implementer(ILogObserver)
class Written:
    """What reaches the log."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = START
        self.written = Written()
        self.limited = LimitedObserver(self.written)

    def log(self, format_: str, *, level: LogLevel = LogLevel.info, failure: Failure | None = None, **values: Any) -> None:
        event: dict[str, Any] = {
            "log_time": self.now,
            "log_namespace": "rtunnel.test",
            "log_level": level,
            "log_format": format_,
            **values,
        }
        self.limited(event if failure is None else {**event, "log_failure": failure})

    def refuse(self, times: int) -> None:
        for number in range(times):
            self.log("refused {who}: wrong password", who=f"192.0.2.{number}")

    def test_interface(self) -> None:
        verifyObject(ILogObserver, self.limited)

    def test_few(self) -> None:
        """Nothing is changed, and nothing is added."""
        self.refuse(BURST)
        self.now += PERIOD
        self.limited.sweep(self.now)
        self.limited.flush(self.now)
        self.assertEqual(self.written.lines, [f"refused 192.0.2.{number}: wrong password" for number in range(BURST)])

    def test_flood(self) -> None:
        """The first ones, then one line with the last of the others and how many there were."""
        self.refuse(10_000)
        self.assertEqual(len(self.written.lines), BURST)
        self.now += PERIOD
        self.limited.sweep(self.now)
        self.assertEqual(self.written.lines[BURST:], ["refused 192.0.2.9999: wrong password ... and 9,899 more like it in 60 s"])
        last = self.written.events[-1]
        self.assertEqual((last["log_time"], last["log_level"], last["log_namespace"]), (self.now, LogLevel.info, "rtunnel.test"))
        self.limited.sweep(self.now + PERIOD)
        self.assertEqual(len(self.written.lines), BURST + 1)

    def test_one_too_many(self) -> None:
        """Written late, but as it is."""
        self.refuse(BURST + 1)
        self.now += 3 * PERIOD
        self.limited.sweep(self.now)
        self.assertEqual(self.written.lines[-1], f"refused 192.0.2.{BURST}: wrong password")

    def test_next_period(self) -> None:
        """Begins with its first ones; the sum of the one before comes first, also if nothing swept."""
        self.refuse(BURST + 5)
        self.now += PERIOD
        self.refuse(BURST + 5)
        lines = self.written.lines
        self.assertEqual(len(lines), 2 * BURST + 1)
        self.assertIn("... and 4 more like it in 60 s", lines[BURST])
        self.assertEqual(lines[BURST + 1], "refused 192.0.2.0: wrong password")

    def test_kinds(self) -> None:
        """Each call counts by itself, and each level and namespace; what is in between is written at once."""
        self.refuse(BURST + 50)
        self.log("connector {id} joined", id="1")
        self.log("refused {who}: wrong password", level=LogLevel.warn, who="a")
        self.assertEqual(self.written.lines[BURST:], ["connector 1 joined", "refused a: wrong password"])

    def test_details(self) -> None:
        """Who asks for details gets all of them."""
        for number in range(3 * BURST):
            self.log("detail {number}", level=LogLevel.debug, number=number)
        self.assertEqual(len(self.written.events), 3 * BURST)

    def test_tracebacks(self) -> None:
        """Cost more, so there are fewer; by the type of the exception."""
        for number in range(50):
            self.log("error in {stream}", failure=Failure(ValueError("oh")), stream=number)
        self.log("error in {stream}", failure=Failure(KeyError("no")), stream=50)
        self.assertEqual(len(self.written.events), FAILURE_BURST + 1)
        self.assertTrue(all("log_failure" in event for event in self.written.events))
        self.limited.flush(self.now + 5)
        last = self.written.events[-1]
        self.assertEqual((formatEvent(last), "log_failure" in last), ("error in 49 ... and 39 more like it in 5 s", False))

    def test_clock_set_back(self) -> None:
        self.refuse(BURST + 10)
        self.now -= 1e6
        self.refuse(1)
        self.assertEqual(self.written.lines[-1], "refused 192.0.2.0: wrong password")
        self.limited.flush(self.now)
        self.assertEqual(len(self.written.lines), BURST + 2)

    def test_bounded(self) -> None:
        """However many kinds there are, and none is lost."""
        self.refuse(BURST + 10)
        for number in range(3 * MAX_KINDS):
            self.log(f"kind {number}")
            self.assertLessEqual(len(self.limited._kinds), MAX_KINDS)
        self.assertEqual(len([line for line in self.written.lines if line.startswith("kind")]), 3 * MAX_KINDS)
        self.assertIn("refused 192.0.2.109: wrong password ... and 9 more like it in 1 s", self.written.lines)

    def test_real_logger(self) -> None:
        logger = Logger("rtunnel.test", observer=self.limited)
        for number in range(BURST + 10):
            logger.warn("a {number}", number=number)
        self.assertEqual(len(self.written.lines), BURST)


class SummariesTests(SynchronousTestCase):
    """The service that has the sums written."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.written = Written()
        self.limited = LimitedObserver(self.written)
        self.service = LogSummaries(self.clock, clock=lambda: START + self.clock.seconds())
        self.service.startService()

    def flood(self) -> None:
        for _ in range(BURST + 10):
            self.limited({"log_time": START + self.clock.seconds(), "log_format": "again", "log_level": LogLevel.info})

    def test_in_time(self) -> None:
        self.flood()
        self.clock.pump([1.0] * 59)
        self.assertEqual(len(self.written.lines), BURST)
        self.clock.advance(1)
        self.assertEqual(self.written.lines[-1], "again ... and 9 more like it in 60 s")
        self.service.stopService()

    def test_at_the_stop(self) -> None:
        self.flood()
        self.clock.advance(7)
        self.service.stopService()
        self.assertEqual(self.written.lines[-1], "again ... and 9 more like it in 7 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])
