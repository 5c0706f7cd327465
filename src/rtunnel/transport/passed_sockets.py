"""Listening sockets that the service manager has opened and passed to the process (socket activation, sd_listen_fds(3)).

The manager keeps them while the process restarts: connections that arrive meanwhile wait in the kernel and are refused to nobody.

An option that names the address of such a socket uses it, so none has to say where a socket comes from. Like the notifications
(:mod:`rtunnel.ops.systemd`) this needs no library of systemd's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping

from twisted.internet.endpoints import serverFromString

__all__ = ["PassedSocket", "PassedSockets"]

_ANY = ("", "0.0.0.0", "::")


class PassedSocket:
    """One of them; it stays open until the process ends, whoever listens on it.

    :param connection: the listening socket.
    :param name: as the manager calls it (``FileDescriptorName=``, by default the name of the unit).
    """

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.socket = connection
        self.name = name
        self.host, self.port = connection.getsockname()[:2]
        self.used = False
        """Whether anybody has listened on it."""

    def __str__(self) -> str:
        return f"{self.name} at [{self.host}]:{self.port}" if ":" in self.host else f"{self.name} at {self.host}:{self.port}"

    def is_at(self, host: str, port: int) -> bool:
        """Whether it is what listening at an address would give.

        :param host: empty for every address.
        """
        return self.port == port and (self.host in _ANY if host == "" else _plain(self.host) == _plain(host))


class PassedSockets:
    """All that were passed; owned by the process."""

    def __init__(self, sockets: Iterable[PassedSocket] = ()) -> None:
        self._sockets = tuple(sockets)

    @classmethod
    def take(cls, reactor: object, environ: Mapping[str, str] = os.environ) -> PassedSockets:
        """Take what was passed to this process; descriptors that are no listening TCP sockets are left alone.

        Twisted has read ``LISTEN_FDS`` and ``LISTEN_PID`` before us, and removed them, so it is asked; the names are still there.
        """
        names = environ.get("LISTEN_FDNAMES", "")
        found = []
        for index, name in enumerate(names.split(":") if names else ()):
            try:
                endpoint = serverFromString(reactor, f"systemd:domain=INET:index={index}")
            except IndexError:
                # they are meant for another process
                break
            connection = _listening(endpoint.fileno)
            if connection is not None:
                found.append(PassedSocket(connection, name))
        return cls(found)

    def find(self, host: str, port: int) -> PassedSocket | None:
        """The one at an address, see :meth:`PassedSocket.is_at`."""
        return next((one for one in self._sockets if one.is_at(host, port)), None)

    @property
    def all(self) -> tuple[PassedSocket, ...]:
        """Each of them."""
        return self._sockets

    @property
    def unused(self) -> list[PassedSocket]:
        """Those on which nobody has listened yet: connections to them wait without end."""
        return [one for one in self._sockets if not one.used]


def _listening(descriptor: int) -> socket.socket | None:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return None
    if (
        connection.family in (socket.AF_INET, socket.AF_INET6)
        and connection.type == socket.SOCK_STREAM
        and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        # children must not hold on to it, and a reactor must not wait for it
        connection.set_inheritable(False)
        connection.setblocking(False)
        return connection
    connection.detach()
    return None


def _plain(host: str) -> bytes | str:
    """An address in a form in which all its spellings are equal."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, host)
        except OSError:
            continue
    return host.lower()
