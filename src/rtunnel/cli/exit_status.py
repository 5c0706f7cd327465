"""How a command ends."""

from __future__ import annotations

import signal
from enum import IntEnum

__all__ = ["CommandError", "ExitStatus", "killed_by"]


class ExitStatus(IntEnum):
    """The exit statuses that mean something; a command with a child process ends with that of the child."""

    OK = 0
    FAILED = 1
    """Also for wrong arguments."""
    NOT_READY = 2
    """A process answered, and is not ready."""
    LEASE_ENDED = 75
    """A client's leases have ended; what it asks for is not to be had now (EX_TEMPFAIL of sysexits.h)."""
    NOT_FOUND = 127
    """A program to run does not exist; as a shell reports it."""
    INTERRUPTED = 128 + signal.SIGINT
    NOT_READ = 128 + 13
    """Whoever read the output has gone; as SIGPIPE does, which Windows does not have."""


def killed_by(number: int) -> int:
    """The exit status of a process that a signal ended, as a shell reports it."""
    return 128 + number


class CommandError(Exception):
    """A command cannot do what it was asked to do.

    :param text: for the user: what happened, why, and what to do. It is printed on stderr, each line after the name of the command;
        a line that begins with a space continues the one before it.
    :param status: the exit status.
    """

    def __init__(self, text: str, status: int = ExitStatus.FAILED) -> None:
        super().__init__(text)
        self.status = int(status)
