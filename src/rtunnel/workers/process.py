"""The place of one worker: its process, and the next one when that has ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import random
from time import time
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

import rtunnel
from rtunnel.ops.status import WorkerStatus
from rtunnel.transport.passed_sockets import PassedSocket
from rtunnel.tunnel.backoff import Backoff
from rtunnel.workers.logs import WorkerLines
from rtunnel.workers.notices import Notices
from rtunnel.workers.places import Places

__all__ = ["Surroundings", "Worker"]

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 15.0
"""Seconds until a process that has ended is started again, at first and at most."""
SILENCE: Final = 30.0
"""Seconds without a word of a process that is up, after which it is killed: it hangs."""
MAX_STEP: Final = 2.0
"""Seconds that are counted at once at most: when this process was stopped, so were the others."""
_OWN: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "RUNTIME_DIRECTORY")
"""Variables by which a service manager speaks to its process."""
FIRST_PASSED: Final = 3
"""The first descriptor that is passed on (sd_listen_fds(3))."""


@attrs.frozen
class Surroundings:
    """What all workers have in common.

    :ivar arguments: the options of the server.
    :ivar places: where they find each other.
    :ivar sockets: those of the service manager.
    :ivar environ: of the supervisor.
    """

    arguments: Sequence[str]
    places: Places
    sockets: Sequence[PassedSocket]
    environ: Mapping[str, str]

    def variables(self, number: int) -> dict[str, str]:
        """The environment of a worker."""
        variables = {name: value for name, value in self.environ.items() if name not in _OWN}
        # ours may come from elsewhere than an installation
        paths = [str(Path(rtunnel.__file__).parent.parent), *filter(None, sys.path)]
        variables |= {
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "RUNTIME_DIRECTORY": str(self.places.directory),
            "NOTIFY_SOCKET": self.places.notify(number),
            "WATCHDOG_USEC": str(round(SILENCE * 1e6)),
        }
        if self.sockets:
            variables |= {
                "LISTEN_FDS": str(len(self.sockets)),
                "LISTEN_FDNAMES": ":".join(one.name for one in self.sockets),
            }
        return variables

    def descriptors(self) -> dict[int, int | str]:
        """The descriptors of a worker: its stdin ends with us, its stdout is ours, its stderr comes to us."""
        passed = {FIRST_PASSED + index: one.socket.fileno() for index, one in enumerate(self.sockets)}
        return {0: "w", 1: 1, 2: "r", **passed}


class Worker:
    """The place; owned by the supervisor.

    :param number: from 1 on.
    :param on_ready: called when its process is ready.
    :param on_ended: called when its process has ended by itself; returns whether another one shall be started.
    """

    _log = Logger()

    def __init__(
        self,
        number: int,
        surroundings: Surroundings,
        *,
        on_ready: Callable[[], None],
        on_ended: Callable[[Worker], bool],
        reactor: Any,
    ) -> None:
        self.number = number
        self.restarts = 0
        self.state = "waiting"
        """See :class:`~rtunnel.ops.status.WorkerStatus`."""
        self.was_ready = False
        self._surroundings = surroundings
        self._on_ready = on_ready
        self._on_ended = on_ended
        self._reactor = reactor
        self._backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, random)
        self._process: Any = None
        self._since: float | None = None
        self._silence = 0.0
        self._timer: Any = None
        self._ended: list[Deferred[None]] = []
        self._stopping = False
        self._notices = Notices(
            surroundings.places.notify(number),
            on_ready=self._ready,
            on_stopping=self._leaves,
            on_sign=self._heard,
            reactor=reactor,
        )

    # -- begin and end

    def start(self) -> None:
        """Start its first process."""
        self._notices.listen()
        self._spawn()

    def _spawn(self) -> None:
        self._timer = None
        self.state = "starting"
        self._silence = 0.0
        self._since = time()
        common = self._surroundings
        self._process = self._reactor.spawnProcess(
            _Running(self),
            sys.executable,
            [sys.executable, "-m", "rtunnel.workers", str(self.number), str(common.places.directory), *common.arguments],
            env=common.variables(self.number),
            childFDs=common.descriptors(),
        )

    def stop(self) -> Deferred[None]:
        """Stop it, which drains; fires when it has ended."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.send(signal.SIGTERM)
        return self._over()

    def _over(self) -> Deferred[None]:
        if self._process is None:
            return self._notices.close()
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended.addCallback(lambda _: self._notices.close())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its process, if there is one."""
        if self._process is not None:
            with suppress(ProcessExitedAlready):
                self._process.signalProcess(int(number))

    # -- how it is

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return None if self._process is None else self._process.pid

    @property
    def status(self) -> WorkerStatus:
        """For the status; links and visitors are not known here."""
        return WorkerStatus(
            number=self.number,
            pid=self.pid,
            state=self.state,
            since=self._since,
            restarts=self.restarts,
            links=0,
            visitors=0,
        )

    def _heard(self) -> None:
        self._silence = 0.0

    def _ready(self) -> None:
        if self.state == "starting":
            self.state = "ready"
            self.was_ready = True
            self._backoff.reset()
            self._on_ready()

    def _leaves(self) -> None:
        self.state = "stopping"

    def sweep(self, elapsed: float) -> None:
        """Count the time: a process that says nothing any more is killed."""
        if self._process is None or self.state == "stopping":
            return
        self._silence += min(elapsed, MAX_STEP)
        if self._silence > SILENCE:
            self._silence = 0.0
            self._log.error("worker {worker} hangs, and is killed", worker=self.number)
            self.send(signal.SIGKILL)

    def ended(self, failure: Failure) -> None:
        """Its process has ended."""
        pid, self._process, self.state = self.pid, None, "waiting"
        if pid is not None:
            with suppress(OSError):
                # a process that was killed leaves it
                os.unlink(self._surroundings.places.peer(self.number, pid))
        waiting, self._ended = self._ended, []
        for deferred in waiting:
            deferred.callback(None)
        if self._stopping or not self._on_ended(self):
            return
        wait = self._backoff.wait()
        self.restarts += 1
        self._log.error(
            "worker {worker} has ended ({reason}); another one starts in {seconds:.1f} s",
            worker=self.number,
            reason=_reason(failure),
            seconds=wait,
        )
        self._timer = self._reactor.callLater(wait, self._spawn)


def _reason(failure: Failure) -> str:
    if failure.check(ProcessDone):
        return "it was stopped"
    error: Any = failure.value
    number: int | None = getattr(error, "signal", None)
    if number is not None:
        return signal.Signals(number).name
    return f"status {getattr(error, 'exitCode', '?')}"


class _Running(ProcessProtocol):
    """One process."""

    def __init__(self, owner: Worker) -> None:
        self._owner = owner
        self._lines = WorkerLines(owner.number)

    def errReceived(self, data: bytes) -> None:
        self._lines.received(data)

    def processEnded(self, reason: Failure) -> None:
        self._lines.ended()
        self._owner.ended(reason)
