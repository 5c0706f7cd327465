"""Another program in this terminal, whose exit status becomes ours."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from shutil import which
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from rtunnel.cli.exit_status import CommandError, ExitStatus, killed_by

__all__ = ["run_child"]


async def run_child(argv: Sequence[str], environ: Mapping[str, str], reactor: Any) -> int:
    """Run a program until it ends, with our terminal, our standard input and our output.

    Ctrl-C, which the terminal sends to both of us, is left to the program. SIGTERM and SIGHUP, which others send to us alone, are
    passed on to it.

    :param argv: the program, looked up in ``PATH``, and its arguments.
    :param environ: its environment.
    :returns: its exit status; 128 and the number of the signal that killed it.
    :raises CommandError: there is no such program, or this is Windows.
    """
    if sys.platform == "win32":
        raise CommandError("a command can be run on Linux and macOS only; on Windows start it in another window")
    program = which(argv[0], path=environ.get("PATH"))
    if program is None:
        raise CommandError(f"{argv[0]}: command not found", ExitStatus.NOT_FOUND)
    child = _Child()
    with child.receiving_signals():
        reactor.spawnProcess(child, program, argv, env=dict(environ), childFDs={0: 0, 1: 1, 2: 2})
        return await child.ended


class _Child(ProcessProtocol):
    """Waits for the end of a process, which receives our signals meanwhile.

    :ivar ended: fires with the exit status.
    """

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        self._early: list[int] = []

    @contextmanager
    def receiving_signals(self) -> Iterator[None]:
        """Pass signals on; to be entered before the process is started, so that none is missed."""
        handlers = {
            signal.SIGTERM: self._pass_on,
            signal.SIGHUP: self._pass_on,
            signal.SIGINT: _leave_to_terminal,
            signal.SIGQUIT: _leave_to_terminal,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self.transport is None:
            self._early.append(number)
            return
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    def connectionMade(self) -> None:
        """The process runs: pass on what came before."""
        for number in self._early:
            self._pass_on(number, None)

    def processEnded(self, reason: Failure) -> None:
        """Tell the exit status."""
        ending: Any = reason.value
        self.ended.callback(ending.exitCode if ending.signal is None else killed_by(ending.signal))


def _leave_to_terminal(_number: int, _frame: FrameType | None) -> None:
    """The terminal sends it to the program as well."""
