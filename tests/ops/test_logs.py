"""The log as a person reads it."""

from __future__ import annotations

import os
import sys
import time
from io import StringIO
from typing import Any

from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rtunnel.ops.logs import HumanObserver, human, show_from


def set_zone(name: str | None) -> None:
    """Set the time zone of this process; None for that of the machine."""
    if name is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = name
    time.tzset()


class HumanTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = StringIO()
        self.observer = HumanObserver(self.out)

    def log(self, namespace: str = "rtunnel.client") -> Logger:
        return Logger(namespace, observer=self.observer)

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    def test_observer(self) -> None:
        verifyObject(ILogObserver, self.observer)

    def test_line(self) -> None:
        self.log().info("joined {tunnel}", tunnel="10bc")
        (line,) = self.lines()
        self.assertRegex(line, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} joined 10bc$")

    def test_local_time(self) -> None:
        """As the clock on the wall says it, with the zone; here that of an hour before midnight in New York."""
        before = os.environ.get("TZ")
        self.addCleanup(set_zone, before)
        set_zone("EST5")
        self.observer({"log_time": 1769832000.0, "log_namespace": "rtunnel", "log_format": "x", "log_level": LogLevel.info})
        self.assertEqual(self.lines(), ["2026-01-30 23:00:00-0500 x"])

    def test_level(self) -> None:
        self.log().warn("lost")
        self.assertTrue(self.lines()[0].endswith(" warn: lost"))

    def test_what_is_left_out(self) -> None:
        self.log().debug("detail")
        self.log("twisted.internet.protocol").info("Starting factory")
        self.log("rtunnelish").info("other")
        self.observer({"log_time": 0.0, "log_format": "old"})
        self.assertEqual(self.lines(), [])

    def test_more(self) -> None:
        """Ours alone: what Twisted says of itself helps nobody here."""
        self.addCleanup(show_from, "info")
        show_from("debug")
        self.log().debug("detail")
        self.log("twisted.internet").debug("its own")
        (line,) = self.lines()
        self.assertTrue(line.endswith(" debug: detail"), line)

    def test_less(self) -> None:
        self.addCleanup(show_from, "info")
        show_from("warn")
        self.log().info("joined")
        self.log().warn("lost")
        (line,) = self.lines()
        self.assertTrue(line.endswith(" warn: lost"), line)

    def test_warnings_of_others_are_shown(self) -> None:
        self.log("twisted.internet").error("oh")
        self.assertTrue(self.lines()[0].endswith(" error: oh"))

    def test_one_line_whatever_it_holds(self) -> None:
        self.log().info("{text}", text="a\nb\x1b[31m\u2028c")
        (line,) = self.out.getvalue().split("\n")[:-1]
        self.assertTrue(line.endswith(r"a\nb\x1b[31m\u2028c"))

    def test_traceback(self) -> None:
        try:
            raise ValueError("oh")
        except ValueError:
            self.log().failure("it failed")
        self.assertIn(" critical: it failed", self.lines()[0])
        self.assertIn("ValueError: oh", self.lines()[-1])

    def test_event_that_cannot_be_formatted(self) -> None:
        event: dict[str, Any] = {"log_level": LogLevel.warn, "log_time": 0.0, "log_format": "{missing}"}
        self.observer(event)
        self.assertEqual(len(self.lines()), 1)

    def test_factory_for_twistd(self) -> None:
        self.patch(sys, "stdout", self.out)
        Logger("rtunnel", observer=human()).info("hello")
        self.assertEqual(len(self.lines()), 1)
