"""Signals while a command runs: they are meant for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = ["CommandSignals"]

TWICE = 2.0
"""Seconds within which a second Ctrl-C kills."""


class CommandSignals:
    """What comes to this process goes to the command.

    Ctrl-C comes from the terminal, which gives it to all processes in the foreground: the command has it already. Twice within
    :data:`TWICE` seconds kills the command.

    :param send: sends a signal to the command; called in the reactor, with 0 when the command has got one from the terminal.
    :param reactor: the clock.
    """

    def __init__(self, send: Callable[[int], None], reactor: Any) -> None:
        self._send = send
        self._reactor = reactor
        self._interrupted = -TWICE

    @contextmanager
    def received(self) -> Iterator[None]:
        """Receive them meanwhile; to be entered before the command is started, so that none is missed."""
        numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
        # nohup has it ignored, for the command as well
        before = {number: signal.signal(number, self._handle) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._take, number)

    def _take(self, number: int) -> None:
        if number == signal.SIGINT:
            self._interrupt()
        elif number != signal.SIGQUIT or not _in_foreground():
            self._send(number)

    def _interrupt(self) -> None:
        now = self._reactor.seconds()
        before, self._interrupted = self._interrupted, now
        if now - before < TWICE:
            self._send(signal.SIGKILL)
        else:
            # where it came from another program, to us alone, the command does not have it yet; 0 sends nothing (kill(2))
            self._send(0 if _in_foreground() else signal.SIGINT)


def _in_foreground() -> bool:
    """Whether there is a terminal that gives its signals to our process group."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
