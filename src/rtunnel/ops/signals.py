"""The signals that ask the process to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["StopSignals"]


class StopSignals:
    """SIGTERM and Ctrl-C: the first one stops the process cleanly, a further Ctrl-C ends it at once.

    The handlers themselves do nothing but schedule a call in the reactor.

    :param stop: called in the reactor, at most once, with the signal.
    """

    def __init__(self, reactor: Any, stop: Callable[[signal.Signals], None]) -> None:
        self._reactor = reactor
        self._stop = stop
        self.stopping = False
        """Whether the process is stopping; to be set when something else stops it."""

    def install(self) -> None:
        """Install the handlers; once more when the reactor runs, which replaces that of SIGTERM when it starts."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            self._reactor.callFromThread(self._stop, signal.Signals(number))
        elif number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
