"""The admin endpoint on a unix socket, which each process has by default: ``rtunnel status`` needs no option, and no restart.

Only the same user, and root, may connect: the directory and the socket are the user's alone, and where the system tells who the
peer is (Linux) it is asked.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from rtunnel.ops.admin_answers import AdminAnswers, AdminFactory
from rtunnel.ops.admin_places import AdminSocketError, make_place

__all__ = ["AdminSocket"]

MOST: Final = 16
"""Connections at a time; more are closed at once."""
_CREDENTIALS: Final = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user and group."""


class AdminSocket(Service):
    """Answers at a unix socket, from its start to its stop. Without a place for one, the process does without, and logs why.

    :param role: ``server``, ``client`` or ``visitor``: a part of its name.
    :param answers: what it says.
    :param environ: tells where sockets are.
    :param reactor: the reactor.
    :param alone: whether it is the only place where the process can be asked.
    :ivar path: of the socket, None without one.
    """

    _log = Logger()

    def __init__(self, role: str, answers: AdminAnswers, environ: Mapping[str, str], reactor: Any, *, alone: bool = True) -> None:
        self._role = role
        self._level = LogLevel.info if alone else LogLevel.debug
        self._answers = answers
        self._environ = environ
        self._reactor = reactor
        self._listening: Any = None
        self.path: str | None = None

    def startService(self) -> None:
        """Open the socket."""
        super().startService()  # type: ignore[no-untyped-call]
        # now, since twistd may have forked, and changed the user
        try:
            place = make_place(self._role, self._environ)
            self._listening = self._reactor.listenUNIX(place.path, _Factory(self._answers, self._reactor), MOST, 0o600)
        except (AdminSocketError, CannotListenError, OSError) as error:
            self._log.emit(
                self._level,
                '"rtunnel status" cannot ask this process: there is no place for its socket ({reason}); --admin opens a port, '
                "--no-admin-socket does without",
                reason=str(error),
            )
            return
        self.path = place.path
        self._log.debug("admin socket {path}", path=place.path)

    def stopService(self) -> Deferred[None]:
        """Close and remove it; fires when that is done."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.path = None
        listening, self._listening = self._listening, None
        return maybeDeferred(listening.stopListening) if listening is not None else succeed(None)


def _user_of(connection: socket.socket) -> int | None:
    """Who is at the other end; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    user: int = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))[1]
    return user


class _Channel(HTTPChannel):
    """A connection of our own user, or of root."""

    _log = Logger()
    counts: Any

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        transport: Any = self.transport
        self.counts.add(self)
        user = _user_of(transport.getHandle())
        if user not in (None, 0, os.geteuid()):
            self._log.warn("user {user} may not ask this process, and is refused at its socket", user=user)
            transport.abortConnection()
        elif len(self.counts) > MOST:
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.counts.discard(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class _Factory(AdminFactory):
    protocol = _Channel

    def __init__(self, answers: AdminAnswers, reactor: Any) -> None:
        super().__init__(answers, reactor)
        self._open: set[_Channel] = set()

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        channel.counts = self._open
        return channel
