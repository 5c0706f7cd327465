"""How a start fails."""

from __future__ import annotations

__all__ = ["StartError"]


class StartError(Exception):
    """The service cannot start with these settings: a port in use, a missing permission, a file that cannot be read.

    Raised from ``startService``. Its text is one line for the user, with the setting, the value and the cause; the process
    prints it without a traceback and ends with status 1 (:mod:`rtunnel.ops.process`).
    """
