"""How a start fails."""

from __future__ import annotations

__all__ = ["StartError"]


class StartError(Exception):
    """The service cannot start as it was asked to: a port in use, a permission refused.

    Raised out of ``startService``. Its text is one line for the user, which names the setting, the value and the cause; the
    process prints it without a traceback and ends with status 1 (:mod:`rtunnel.tap`).
    """
