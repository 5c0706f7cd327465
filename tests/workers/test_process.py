"""The place of a worker: what it is given, and what becomes of processes that end or hang."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.workers.places import Places
from rtunnel.workers.process import LONGEST_WAIT, MAX_STEP, SILENCE, Surroundings, Worker


class Spawned:
    """A process that was started."""

    def __init__(self, pid: int, protocol: Any, argv: list[str], env: dict[str, str], descriptors: dict[int, Any]) -> None:
        self.pid = pid
        self.protocol = protocol
        self.argv = argv
        self.env = env
        self.descriptors = descriptors
        self.signals: list[int] = []

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)

    def end(self, **how: Any) -> None:
        self.protocol.processEnded(Failure(ProcessTerminated(**how) if how else ProcessDone(0)))


class Machine(Clock):
    """A reactor that starts no real processes."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[Spawned] = []

    def spawnProcess(self, protocol: Any, executable: str, argv: list[str], *, env: Any, childFDs: Any) -> Spawned:
        self.spawned.append(Spawned(100 + len(self.spawned), protocol, argv, env, childFDs))
        return self.spawned[-1]

    def listenUNIXDatagram(self, path: str, protocol: Any, mode: int) -> Any:
        self.notices = protocol
        return self

    def stopListening(self) -> None:
        self.notices = None


class WorkerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine()
        self.ready = 0
        self.again = True
        environ = {"PATH": "/bin", "NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_PID": "1", "RTUNNEL_ROUTE": "a=b"}
        common = Surroundings(["--listen", ":1"], Places(Path("/nowhere")), (), environ)
        self.worker = Worker(2, common, on_ready=self._ready, on_ended=lambda _: self.again, reactor=self.machine)
        self.worker.start()

    def _ready(self) -> None:
        self.ready += 1

    def says(self, *lines: bytes) -> None:
        self.machine.notices.datagramReceived(b"\n".join(lines), None)

    def test_surroundings(self) -> None:
        """The options, the variables, and no words of the service manager of the supervisor."""
        [process] = self.machine.spawned
        self.assertEqual(process.argv, [sys.executable, "-m", "rtunnel.workers", "2", "/nowhere", "--listen", ":1"])
        self.assertEqual(process.env["NOTIFY_SOCKET"], "/nowhere/notify-2.sock")
        self.assertEqual((process.env["PATH"], process.env["RTUNNEL_ROUTE"]), ("/bin", "a=b"))
        self.assertNotIn("WATCHDOG_PID", process.env)
        self.assertEqual(process.descriptors, {0: "w", 1: 1, 2: "r"})

    def test_states(self) -> None:
        self.assertEqual((self.worker.state, self.worker.was_ready), ("starting", False))
        self.says(b"READY=1", b"STATUS=fine")
        self.says(b"READY=1")
        self.assertEqual((self.worker.state, self.worker.was_ready, self.ready), ("ready", True, 1))
        self.says(b"STOPPING=1")
        self.assertEqual(self.worker.state, "stopping")

    def test_started_again(self) -> None:
        """After longer and longer waits, until one is ready."""
        waits = []
        for _ in range(10):
            self.machine.spawned[-1].end(exitCode=1)
            self.assertEqual((self.worker.pid, self.worker.state), (None, "waiting"))
            [call] = self.machine.getDelayedCalls()
            waits.append(call.getTime() - self.machine.seconds())
            self.machine.advance(waits[-1])
        self.assertEqual(len(self.machine.spawned), 11)
        self.assertLessEqual(max(waits), LONGEST_WAIT)
        self.assertGreaterEqual(waits[-1], LONGEST_WAIT / 2)
        self.says(b"READY=1")
        self.machine.spawned[-1].end(signal=signal.SIGKILL)
        [call] = self.machine.getDelayedCalls()
        self.assertLessEqual(call.getTime() - self.machine.seconds(), 0.5)
        self.assertEqual(self.worker.restarts, 11)

    def test_not_started_again(self) -> None:
        self.again = False
        self.machine.spawned[-1].end(exitCode=1)
        self.assertEqual(self.machine.getDelayedCalls(), [])

    def test_it_hangs(self) -> None:
        """Killed after some silence, which a long pause of everything is not."""
        [process] = self.machine.spawned
        self.worker.sweep(10 * SILENCE)
        for _ in range(int(SILENCE / MAX_STEP) - 1):
            self.worker.sweep(MAX_STEP)
        self.assertEqual(process.signals, [])
        self.says(b"WATCHDOG=1")
        for _ in range(int(SILENCE / MAX_STEP)):
            self.worker.sweep(MAX_STEP)
        self.assertEqual(process.signals, [])
        self.worker.sweep(MAX_STEP)
        self.assertEqual(process.signals, [signal.SIGKILL])

    def test_stop(self) -> None:
        [process] = self.machine.spawned
        stopped = self.worker.stop()
        self.assertEqual(process.signals, [signal.SIGTERM])
        self.assertNoResult(stopped)
        process.end()
        self.successResultOf(stopped)
        self.assertEqual((len(self.machine.spawned), self.machine.notices), (1, None))

    def test_stop_while_it_waits(self) -> None:
        self.machine.spawned[-1].end(exitCode=1)
        self.successResultOf(self.worker.stop())
        self.assertEqual(self.machine.getDelayedCalls(), [])
