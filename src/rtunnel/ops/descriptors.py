"""File descriptors: each connection is one."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource

__all__ = ["raise_limit"]


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
