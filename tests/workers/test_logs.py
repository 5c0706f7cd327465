"""The log of the workers is that of the server."""

from __future__ import annotations

import io
import sys

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.ops.log_limit import KIND
from rtunnel.workers.logs import MAX_LINE, WorkerLines, to_supervisor


@implementer(ILogObserver)
class Kept:
    """The events of the supervisor's log that are ours."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("rtunnel"):
            self.events.append(event)


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kept = Kept()
        self.stream = io.StringIO()
        self.patch(sys, "stderr", self.stream)
        self.log = Logger("rtunnel.server.service", observer=to_supervisor(2))
        self.lines = WorkerLines(2)

    def logged(self, data: bytes | None = None) -> list[str]:
        """What the supervisor logs of what was written."""
        globalLogPublisher.addObserver(self.kept)
        try:
            self.lines.received(self.stream.getvalue().encode() if data is None else data)
        finally:
            globalLogPublisher.removeObserver(self.kept)
        return [formatEvent(event) for event in self.kept.events]

    def test_an_event(self) -> None:
        self.log.warn("{count:.1f} of {name}", count=1.25, name="ü\n")
        self.assertEqual(self.logged(), ["worker 2: 1.2 of ü\n"])
        [event] = self.kept.events
        self.assertIs(event["log_level"], LogLevel.warn)
        self.assertEqual((event["log_namespace"], event[KIND]), ("rtunnel.server.service", "{count:.1f} of {name}"))

    def test_a_traceback(self) -> None:
        try:
            raise ValueError("oh")
        except ValueError:
            self.log.failure("it failed")
        self.assertEqual(self.logged(), ["worker 2: it failed"])
        failure = self.kept.events[0]["log_failure"]
        self.assertEqual(failure.type.__name__, "ValueError")
        self.assertIn("test_a_traceback", failure.getTraceback())
        self.assertIn("ValueError: oh", failure.getTraceback())
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_what_is_not_shown(self) -> None:
        self.log.debug("a detail")
        Logger("twisted", observer=to_supervisor(2)).info("a factory starts")
        self.assertEqual(self.logged(), [])

    def test_other_lines(self) -> None:
        """Of Python itself, or of a library; in pieces, too long, or without an end."""
        self.assertEqual(self.logged(b"Trace"), [])
        self.assertEqual(self.logged(b"back\n\n\x1e{broken\n"), ["worker 2: Traceback", "worker 2: \\x1e{broken"])
        self.kept.events.clear()
        self.assertEqual(len(self.logged(b"x" * (MAX_LINE + 1))), 1)
        self.kept.events.clear()
        self.lines.received(b"the end")
        globalLogPublisher.addObserver(self.kept)
        self.lines.ended()
        globalLogPublisher.removeObserver(self.kept)
        self.assertEqual([formatEvent(event) for event in self.kept.events], ["worker 2: the end"])
