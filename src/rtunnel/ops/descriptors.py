"""File descriptors: each connection is one."""

from __future__ import annotations

import sys
from typing import Final

from attrs import frozen

if sys.platform != "win32":
    import resource

__all__ = ["RESERVE", "Shares", "current_limit", "raise_limit"]

RESERVE: Final = 64
"""Descriptors that are for no visitor, client or stream: files, logs, ports, the admin endpoint, and connections being closed."""
MOST_VISITORS: Final = 65_536
MOST_CLIENTS: Final = 16_384
"""What one process takes of each by default, however many descriptors there are: memory is limited, too."""
UNKNOWN: Final = 1_048_576
"""The limit where the system tells none."""


@frozen
class Shares:
    """How a server's descriptors are shared out.

    Those of the tunnel listeners are kept for them: however many visitors there are, clients can join.

    :ivar visitors: for the connections to entrypoints.
    :ivar clients: for the connections to tunnel listeners.
    """

    visitors: int
    clients: int

    @classmethod
    def of(cls, limit: int | None, visitors: int | None = None, clients: int | None = None) -> Shares:
        """Share out.

        A quarter of what is left after the :data:`RESERVE` is for clients, the rest for visitors.

        :param limit: the limit of descriptors.
        :param visitors: how many the user wants, where there are so many.
        :param clients: the same.
        """
        left = max((limit or UNKNOWN) - RESERVE, 4)
        share = min(clients or min(left // 4, MOST_CLIENTS), left - 1)
        return cls(min(visitors or MOST_VISITORS, left - share), share)


def current_limit() -> int | None:
    """The soft limit of descriptors; None where the system has none, or tells none."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> int | None:
    """Raise the soft limit of descriptors to the hard one, as servers do: the soft one is 1024 nearly everywhere, for select().

    :returns: the limit; None where the system has none.
    """
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in (soft, resource.RLIM_INFINITY):
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft
    return hard
