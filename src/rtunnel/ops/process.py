"""The process as a whole: how it starts, how it reacts to signals, and the exit status it ends with.

Twisted differs in three points from what is promised here: a signal that stops the reactor becomes the exit status
(``twisted.application.app._exitWithSignal``), SIGHUP kills, and an exception from ``startService`` prints a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, ClassVar

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from rtunnel.ops.descriptors import raise_limit
from rtunnel.ops.memory import expect_bulk
from rtunnel.ops.signals import StopSignals
from rtunnel.ops.start import StartError

__all__ = ["ProcessService"]


class ProcessService(MultiService):
    """The parent of all services of one process; what :func:`rtunnel.tap.makeService` returns.

    - A :class:`~rtunnel.ops.start.StartError` of a child ends the process with status 1 and one line on stderr.
    - SIGTERM and Ctrl-C stop the children, which drain; status 0. A second Ctrl-C ends the process at once.
    - SIGHUP calls :attr:`on_hang_up`, where there is this signal (not on Windows).
    - A signal that arrives while the children start is handled as soon as the reactor runs.

    Children start in the order in which they were added and stop in the opposite one.

    :param reactor: the reactor that runs the process.
    :param drain: how many seconds the children may take to stop, for the log line.
    :param warnings: about the options of the user, logged at the start.
    :ivar on_hang_up: what SIGHUP does; called by the reactor, never by a signal handler.
    :ivar observer: what writes the log of twistd's application; ``None`` for what twistd's own options say.
    """

    exit_status: ClassVar[int] = 0
    """What the process ends with, of which there is one."""

    def __init__(self, reactor: Any, drain: float, warnings: Sequence[str] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self.drain = drain
        self.on_hang_up: Callable[[], None] = _nothing
        self.observer: Any = None
        self._warnings = warnings
        self._stop_signals = StopSignals(reactor, self._stop_reactor)
        self._returning_memory: LoopingCall | None = None
        self._log = Logger()

    def setServiceParent(self, parent: Any) -> None:
        if self.observer is not None and isinstance(parent, Componentized):
            # twistd begins to log only now, with what its application has
            parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        self._install_signal_handlers()
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call]
        except StartError as error:
            self._fail(error)
            raise

    def startService(self) -> None:
        """Start the children.

        :raises StartError: one of them cannot start.
        """
        # twist does not call privilegedStartService
        self._install_signal_handlers()
        for warning in self._warnings:
            self._log.warn("{text}", text=warning)
        raise_limit()
        self._returning_memory = expect_bulk(self._reactor)
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except StartError as error:
            self._fail(error)
            raise
        # when it starts, the reactor replaces the handler of SIGTERM
        self._reactor.callWhenRunning(self._stop_signals.install)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Stop the children one after another, the last added first, each when the one before has stopped."""
        self._stop_signals.stopping = True
        Service.stopService(self)
        if self._returning_memory is not None and self._returning_memory.running:
            self._returning_memory.stop()
        for child in reversed(list(self)):
            try:
                yield maybeDeferred(child.stopService)
            except Exception:
                self._log.failure("error while stopping")

    def end(self, status: int) -> None:
        """There is nothing left to do: stop as after a signal, but with another status.

        twistd has no place for it, so it is kept until the ``rtunnel`` command asks for it.
        """
        ProcessService.exit_status = status
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _install_signal_handlers(self) -> None:
        # before a port is open and before a service manager is told that we are ready: a signal may be the answer to either
        self._stop_signals.install()
        # what nohup ignores stays ignored
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._hang_up)

    def _fail(self, error: StartError) -> None:
        # twistd and twist let the exception out to the interpreter, having removed the pidfile and told the waiting parent of a
        # daemon; all that is wrong with that is the traceback
        sys.excepthook = _one_line
        if _is_null(2):
            self._log.critical("{error}", error=str(error))

    def _stop_reactor(self, number: signal.Signals) -> None:
        self._log.info("{name}: stopping, running requests get up to {drain:g} s", name=number.name, drain=self.drain)
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._hung_up)

    def _hung_up(self) -> None:
        if self._stop_signals.stopping:
            self._log.info("SIGHUP ignored: shutting down")
        else:
            self.on_hang_up()


def _nothing() -> None:
    """SIGHUP before :attr:`ProcessService.on_hang_up` is set."""


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, StartError) and sys.__stderr__ is not None:
        sys.__stderr__.write(f"rtunnel: {error}\n")
        sys.__stderr__.flush()
    else:
        sys.__excepthook__(kind, error, trace)


def _is_null(descriptor: int) -> bool:
    """Whether a descriptor is /dev/null, as those of a daemon are."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(os.devnull))
    except OSError:
        return True
