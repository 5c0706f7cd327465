"""The reactor with an end-of-turn hook, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PREAMBLE = """
import sys
from twisted.logger import globalLogPublisher
from rtunnel.reactor import TurnReactor, install
failures = []
globalLogPublisher.addObserver(lambda event: failures.append(event["log_failure"].value) if "log_failure" in event else None)
reactor = install()
from twisted.internet import reactor as installed
assert installed is reactor and isinstance(reactor, TurnReactor)
said = []
def finish():
    reactor.stop()
def fail():
    said.append("never ended")
    reactor.stop()
reactor.callLater(20, fail)
"""
ENDING = """
reactor.run()
print(*said)
print(*map(repr, failures))
"""

READERS = """
import os
class Reader:
    def __init__(self, name, raises=False):
        self.name, self.raises = name, raises
        self.read, self.written = os.pipe()
        os.write(self.written, b"x")
        reactor.addReader(self)
    def fileno(self):
        return self.read
    def logPrefix(self):
        return self.name
    def doRead(self):
        os.read(self.read, 1)
        said.append(self.name)
        reactor.end_of_turn(lambda: said.append("end-" + self.name))
        if self.raises:
            raise ValueError(self.name)
    def connectionLost(self, reason):
        reactor.removeReader(self)
"""


class TurnTests(SynchronousTestCase):
    def run_script(self, script: str) -> tuple[list[str], str]:
        """Run a script with the reactor installed: what it said, and the failures that were logged."""
        finished = subprocess.run(
            [sys.executable, "-c", PREAMBLE + script + ENDING], capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        said, _, failures = finished.stdout.partition("\n")
        return said.split(), failures.strip()

    def test_after_all_events(self) -> None:
        """What is to happen at the end of a turn happens once, after all events that one poll brought."""
        said, failures = self.run_script(
            READERS
            + """
for name in "abc":
    Reader(name)
reactor.callLater(0.1, finish)
"""
        )
        self.assertEqual(sorted(said[:3]), ["a", "b", "c"])
        self.assertEqual(said[3:], ["end-" + name for name in said[:3]])
        self.assertEqual(failures, "")

    def test_before_the_next_poll(self) -> None:
        """Resolved for in a timed call, it happens before the reactor waits, and after all timed calls that were due."""
        said, failures = self.run_script(
            """
def first():
    said.append("first")
    reactor.end_of_turn(lambda: said.append("end"))
    reactor.callLater(0.05, late)
def late():
    said.append("late")
    finish()
reactor.callLater(0, first)
reactor.callLater(0, said.append, "second")
"""
        )
        self.assertEqual(said, ["first", "second", "end", "late"])
        self.assertEqual(failures, "")

    def test_stopped_by_a_timed_call(self) -> None:
        """A timed call that was made and cancelled in the same turn does not keep a reactor waiting that is stopped."""
        said, _ = self.run_script(
            """
for call in reactor.getDelayedCalls():
    call.cancel()
def last():
    reactor.callLater(60, fail).cancel()
    said.append("last")
    reactor.stop()
reactor.callLater(0, last)
"""
        )
        self.assertEqual(said, ["last"])

    def test_before_the_start(self) -> None:
        """What was asked for before the reactor runs is not forgotten."""
        said, _ = self.run_script(
            """
reactor.end_of_turn(lambda: said.append("end"))
reactor.callLater(0.05, finish)
"""
        )
        self.assertEqual(said, ["end"])

    def test_exception(self) -> None:
        """An exception in one call is logged and does not stop the others."""
        said, failures = self.run_script(
            """
def wrong():
    raise ValueError("wrong")
def first():
    reactor.end_of_turn(lambda: said.append("before"))
    reactor.end_of_turn(wrong)
    reactor.end_of_turn(lambda: said.append("after"))
reactor.callLater(0, first)
reactor.callLater(0.05, finish)
"""
        )
        self.assertEqual(said, ["before", "after"])
        self.assertEqual(failures, "ValueError('wrong')")

    def test_exception_of_an_event(self) -> None:
        """A descriptor whose reading fails is dropped, as in any reactor; the others and the end of the turn go on."""
        said, failures = self.run_script(
            READERS
            + """
Reader("wrong", raises=True)
Reader("right")
reactor.callLater(0.1, finish)
"""
        )
        self.assertEqual(sorted(said), ["end-right", "end-wrong", "right", "wrong"])
        self.assertIn("ValueError('wrong')", failures)

    def test_within_the_end(self) -> None:
        """A call asked for by a call at the end of the turn runs in the same end."""
        said, _ = self.run_script(
            """
def outer():
    said.append("outer")
    reactor.end_of_turn(lambda: said.append("inner"))
    reactor.callLater(0, said.append, "next-turn")
def first():
    reactor.end_of_turn(outer)
reactor.callLater(0, first)
reactor.callLater(0.05, finish)
"""
        )
        self.assertEqual(said, ["outer", "inner", "next-turn"])

    def test_timer_of_the_end(self) -> None:
        """A timer set at the end of a turn is due in its time, though the reactor had nothing else to wait for."""
        said, _ = self.run_script(
            """
def end():
    reactor.callLater(0.01, due)
def due():
    said.append("due")
    finish()
reactor.callLater(0, lambda: reactor.end_of_turn(end))
"""
        )
        self.assertEqual(said, ["due"])

    def test_stop_of_the_end(self) -> None:
        """The reactor can be stopped at the end of a turn."""
        said, _ = self.run_script(
            """
reactor.callLater(0, lambda: reactor.end_of_turn(finish))
reactor.addSystemEventTrigger("during", "shutdown", said.append, "stopped")
"""
        )
        self.assertEqual(said, ["stopped"])

    def test_other_threads(self) -> None:
        """Calls from threads wake it, and a child process's end is noticed: the rest is Twisted's."""
        said, failures = self.run_script(
            """
from twisted.internet.protocol import ProcessProtocol
class Child(ProcessProtocol):
    def processEnded(self, reason):
        said.append("child")
        reactor.callInThread(reactor.callFromThread, finish)
reactor.callWhenRunning(reactor.spawnProcess, Child(), sys.executable, [sys.executable, "-c", ""])
"""
        )
        self.assertEqual((said, failures), (["child"], ""))
