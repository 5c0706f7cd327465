"""The last warnings and errors of the log."""

from __future__ import annotations

from twisted.logger import ILogObserver, Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rtunnel.ops.recent import MAX_ERRORS, MAX_LINE, RecentErrors
from tests.support.ids import TUNNEL


class RecentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.recent = RecentErrors()
        self.recent.privilegedStartService()
        self.recent.startService()
        self.addCleanup(self.recent.stopService)
        self.log = Logger("rtunnel.test")

    def texts(self) -> list[str]:
        return [error.text for error in self.recent]

    def test_interface(self) -> None:
        verifyObject(ILogObserver, self.recent)

    def test_warnings_and_worse(self) -> None:
        self.log.debug("debug")
        self.log.info("info")
        self.log.warn("warned of {what}", what="this")
        self.log.error("erred")
        self.log.critical("critical")
        found = [(error.level, error.text) for error in self.recent]
        self.assertEqual(found, [("critical", "critical"), ("error", "erred"), ("warn", "warned of this")])

    def test_bounded(self) -> None:
        for number in range(MAX_ERRORS + 7):
            self.log.warn("{number}", number=number)
        self.assertEqual(self.texts(), [str(number) for number in reversed(range(7, MAX_ERRORS + 7))])

    def test_the_same_in_a_row_is_one(self) -> None:
        for text in ("a", "a", "b", "a"):
            self.log.warn(text)
        self.assertEqual([(error.text, error.times) for error in self.recent], [("a", 1), ("b", 1), ("a", 2)])

    def test_one_line_of_bounded_length(self) -> None:
        self.log.warn("{text}", text="a\n\x1b[31mb" + "c" * 1000)
        (text,) = self.texts()
        self.assertTrue(text.startswith(r"a\n\x1b[31mbccc"), text)
        self.assertEqual(len(text), MAX_LINE)

    def test_ids_are_cut_down(self) -> None:
        self.log.warn("tunnel {tunnel} is gone", tunnel=str(TUNNEL))
        self.assertEqual(self.texts(), ["tunnel 10bc451e is gone"])

    def test_an_exception_shows_its_kind_only(self) -> None:
        try:
            raise ValueError("password hunter2")
        except ValueError:
            self.log.failure("error in a stream")
        self.flushLoggedErrors(ValueError)
        self.assertEqual(self.texts(), ["error in a stream (ValueError)"])

    def test_nothing_after_the_end(self) -> None:
        self.recent.stopService()
        self.log.warn("late")
        self.recent.startService()
        self.assertEqual(self.texts(), [])
