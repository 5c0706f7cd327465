"""The process as a whole, without a process: what signals and failures do is seen with real ones in tests/process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from io import StringIO
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.memory import RETURN_EVERY
from rtunnel.ops.process import ProcessService
from rtunnel.ops.start import StartError


class Reactor(Clock):
    """Runs at once what it is asked to run soon; its time stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = 0

    def callWhenRunning(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)

    callFromThread = callWhenRunning

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class Child(Service):
    """Writes down when it starts and stops; its stop ends when the test says so."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.label = name
        self.diary = diary
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        super().startService()
        self.diary.append(f"start {self.label}")

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.diary.append(f"stop {self.label}")
        return self.stopped


class Unfit(Service):
    def startService(self) -> None:
        raise StartError("the entrypoint cannot listen on :80: Permission denied")


class ProcessTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.patch(signal, "getsignal", lambda number: signal.SIG_DFL)
        self.patch(sys, "excepthook", sys.excepthook)
        self.kills: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda pid, number: self.kills.append((pid, number)))
        self.reactor = Reactor()
        self.process = ProcessService(self.reactor, 10.0)

    def raised(self, number: signal.Signals) -> None:
        self.handlers[number](number, None)


class OrderTests(ProcessTestCase):
    def test_children_start_in_order_and_stop_one_by_one(self) -> None:
        diary: list[str] = []
        first, second = Child("first", diary), Child("second", diary)
        for child in (first, second):
            child.setServiceParent(self.process)
        self.process.startService()
        self.assertEqual(diary, ["start first", "start second"])
        ended = self.process.stopService()
        self.assertEqual(diary[2:], ["stop second"])
        second.stopped.callback(None)
        self.assertEqual(diary[3:], ["stop first"])
        self.assertNoResult(ended)
        first.stopped.callback(None)
        self.successResultOf(ended)
        self.assertFalse(self.process.running)

    def test_an_error_in_one_does_not_spare_the_others(self) -> None:
        diary: list[str] = []
        first, second = Child("first", diary), Child("second", diary)
        for child in (first, second):
            child.setServiceParent(self.process)
        self.process.startService()
        ended = self.process.stopService()
        second.stopped.errback(ValueError("oh"))
        first.stopped.callback(None)
        self.successResultOf(ended)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_warnings_are_logged_at_the_start(self) -> None:
        process = ProcessService(self.reactor, 10.0, ("one {brace}", "two"))
        with capturedLogs() as events:
            process.startService()
        warned = [event["text"] for event in events if event["log_level"] == LogLevel.warn]
        self.assertEqual(warned, ["one {brace}", "two"])


class MemoryTests(ProcessTestCase):
    def test_freed_memory_is_returned_again_and_again(self) -> None:
        self.process.startService()
        for _ in range(2):
            (call,) = self.reactor.getDelayedCalls()
            self.assertEqual(call.getTime(), self.reactor.seconds() + RETURN_EVERY)
            self.reactor.advance(RETURN_EVERY)
        self.successResultOf(self.process.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class FailureTests(ProcessTestCase):
    def test_one_line_and_no_traceback(self) -> None:
        Unfit().setServiceParent(self.process)
        error = self.assertRaises(StartError, self.process.startService)
        self.patch(sys, "__stderr__", StringIO())
        sys.excepthook(StartError, error, error.__traceback__)
        self.assertEqual(
            sys.__stderr__.getvalue(),  # type: ignore[union-attr]
            "rtunnel: the entrypoint cannot listen on :80: Permission denied\n",
        )

    def test_other_errors_keep_their_traceback(self) -> None:
        Unfit().setServiceParent(self.process)
        self.assertRaises(StartError, self.process.startService)
        seen: list[Any] = []
        self.patch(sys, "__excepthook__", lambda *arguments: seen.append(arguments))
        bug = ValueError("a bug")
        sys.excepthook(ValueError, bug, None)
        self.assertEqual(seen, [(ValueError, bug, None)])


class Listening(Service):
    """Listens in ``privilegedStartService``, and does something as soon as it does."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def privilegedStartService(self) -> None:
        self._then()


class EarlySignalTests(ProcessTestCase):
    """Whoever sees a port open may send a signal, and we have not started yet."""

    def started(self, number: signal.Signals) -> None:
        Listening(lambda: self.raised(number)).setServiceParent(self.process)
        self.process.privilegedStartService()
        self.process.startService()

    def test_hang_up(self) -> None:
        calls: list[None] = []
        self.process.on_hang_up = lambda: calls.append(None)
        self.started(signal.SIGHUP)
        self.assertEqual((len(calls), self.reactor.stops), (1, 0))

    def test_terminate(self) -> None:
        self.started(signal.SIGTERM)
        self.assertEqual((self.reactor.stops, self.kills), (1, []))

    def test_interrupt(self) -> None:
        self.started(signal.SIGINT)
        self.assertEqual((self.reactor.stops, self.kills), (1, []))


class SignalTests(ProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.process.startService()

    def test_terminate(self) -> None:
        self.raised(signal.SIGTERM)
        self.assertEqual(self.reactor.stops, 1)

    def test_stopping_twice(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.raised(number)
        self.assertEqual((self.reactor.stops, self.kills), (1, []))

    def test_second_interrupt_ends_the_process(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.raised(number)
        self.assertEqual(self.kills, [(os.getpid(), signal.SIGINT)])
        self.assertEqual(self.handlers[signal.SIGINT], signal.SIG_DFL)

    def test_interrupt_while_stopping_by_itself(self) -> None:
        self.successResultOf(self.process.stopService())
        self.raised(signal.SIGINT)
        self.assertEqual(len(self.kills), 1)

    def test_reactor_that_does_not_run(self) -> None:
        self.reactor.stops = 1
        self.raised(signal.SIGTERM)
        self.assertEqual(self.kills, [])

    def test_hang_up(self) -> None:
        calls: list[None] = []
        self.raised(signal.SIGHUP)
        self.process.on_hang_up = lambda: calls.append(None)
        self.raised(signal.SIGHUP)
        self.assertEqual((len(calls), self.reactor.stops), (1, 0))

    def test_hang_up_while_stopping(self) -> None:
        self.process.on_hang_up = lambda: self.fail("reloaded")
        self.raised(signal.SIGTERM)
        with capturedLogs() as events:
            self.raised(signal.SIGHUP)
        self.assertIn("SIGHUP ignored", events[-1]["log_format"])

    def test_hang_up_that_nohup_ignores_stays_ignored(self) -> None:
        self.handlers.clear()
        self.patch(signal, "getsignal", lambda number: signal.SIG_IGN)
        ProcessService(self.reactor, 10.0).startService()
        self.assertNotIn(signal.SIGHUP, self.handlers)
