"""How a start fails."""

from __future__ import annotations

import errno

from twisted.internet.error import CannotListenError

__all__ = ["StartError", "cannot_listen"]


_ADVICE = {
    errno.EADDRINUSE: "stop what listens there, or choose another address",
    errno.EADDRNOTAVAIL: "choose an address of this machine",
    errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE",
}


class StartError(Exception):
    """The service cannot start with these settings: a port in use, a missing permission, a file that cannot be read.

    Raised from ``startService``. Its text is one line for the user, with the setting, the value and the cause; the process
    prints it without a traceback and ends with status 1 (:mod:`rtunnel.ops.process`).
    """


def cannot_listen(what: str, address: str, error: CannotListenError | OSError) -> StartError:
    """The error of a port that cannot be opened.

    :param what: what would listen there: "the entrypoint".
    :param address: where, for people.
    :param error: why not.
    """
    cause = error.socketError if isinstance(error, CannotListenError) else error
    advice = _ADVICE.get(getattr(cause, "errno", None) or 0)
    reason = getattr(cause, "strerror", None) or cause
    return StartError(f"{what} cannot listen on {address}: {reason}" + (f"; {advice}" if advice else ""))
