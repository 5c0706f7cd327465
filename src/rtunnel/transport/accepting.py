"""Accepting connections within limits.

Twisted accepts whatever has arrived, and when no descriptor is left it closes what has. Here a listening port asks its
:class:`Gate` how many it may accept; if that is none it stops reading, and the system's backlog holds the others until there is
room.

The details of Twisted that this relies on are among :data:`rtunnel.private_details.SOCKETS`; without them
(:data:`~rtunnel.transport.sockets.AT_ONCE`), or on a reactor that is not made of sockets, Twisted accepts as it does.
"""

from __future__ import annotations

import errno
import socket
from functools import cache
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.addresses import plain_address
from rtunnel.transport.sockets import AT_ONCE

__all__ = ["ACCEPTS", "AcceptingPort", "Gate", "Place"]

ACCEPTS: Final = 10
"""Connections accepted in one turn: about as many as a turn can also serve, so that others do not wait while many arrive."""
EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors of the process or the system, not of a connection: it would fail again at once."""


class Place(Protocol):
    """What an accepted connection takes up; given back when it has ended and its descriptor is free."""

    def taken_by(self, transport: Any) -> None:
        """The connection has a transport, which has its protocol."""

    def leave(self) -> None:
        """The connection has ended."""

    def recount(self, host: str) -> bool:
        """Count it for another address than that of its peer: the one that a proxy announces.

        :returns: whether that address may have another one; if not, nothing has changed.
        """


class Gate(Protocol):
    """Decides how many connections a port may accept, and from whom; several ports may share one budget."""

    @property
    def room(self) -> int:
        """How many may be accepted now; if none, the port is not asked again before :meth:`AcceptingPort.resume`."""

    def enter(self, host: str) -> Place | None:
        """Count a connection; None to refuse it.

        :param host: the address of its peer.
        """

    def exhausted(self, error: OSError) -> None:
        """The system has no descriptor or memory for another connection; the port has paused."""

    def add(self, port: AcceptingPort) -> None:
        """A port asks it from now on; it may be paused and resumed."""

    def remove(self, port: AcceptingPort) -> None:
        """The port asks another one."""


class AcceptingPort:
    """A listening port that accepts within the limits of its gate; owned by the owner of the port.

    :param port: Twisted's port, which listens already.
    """

    _log = Logger()

    def __init__(self, port: Any, reactor: Any) -> None:
        self._gate: Gate | None = None
        self._port = port
        if AT_ONCE and IReactorFDSet.providedBy(reactor):
            port.doRead = self._accept

    def use(self, gate: Gate) -> None:
        """Ask a gate from now on; without one there are no limits."""
        if self._gate is not None:
            self._gate.remove(self)
        self._gate = gate
        gate.add(self)

    def pause(self) -> None:
        """Accept nothing for now."""
        if self._listening:
            self._port.stopReading()

    def resume(self) -> None:
        """Accept again, unless the port is closed."""
        if self._listening:
            self._port.startReading()

    @property
    def _listening(self) -> bool:
        return bool(getattr(self._port, "connected", False)) and not self._port.disconnecting

    def _accept(self) -> None:
        gate = self._gate
        for _ in range(ACCEPTS if gate is None else min(gate.room, ACCEPTS)):
            try:
                connection, address = self._port.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    # of that connection alone: it was aborted meanwhile, or a firewall forbids it
                    continue
                self.pause()
                if gate is not None:
                    gate.exhausted(error)
                return
            self._serve(connection, address, gate)

    def _serve(self, connection: socket.socket, address: Any, gate: Gate | None) -> None:
        place = None if gate is None else gate.enter(plain_address(address[0]))
        if gate is not None and place is None:
            connection.close()
            return
        transport = self._transport(connection, address)
        if transport is None:
            connection.close()
            if place is not None:
                place.leave()
            return
        transport.place = place
        if place is not None:
            place.taken_by(transport)
        try:
            transport.protocol.makeConnection(transport)
        except Exception:
            self._log.failure("error at the beginning of a connection")
            transport.abortConnection()

    def _transport(self, connection: socket.socket, address: Any) -> Any:
        """The transport of a connection, with its protocol; None if the factory builds none."""
        port = self._port
        try:
            if len(address) == 4 and address[3]:
                # a link-local address is nothing without its zone
                name, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
                address = (name, *address[1:])
            protocol = port.factory.buildProtocol(port._buildAddr(address))
            if protocol is None:
                return None
            number, port.sessionno = port.sessionno, port.sessionno + 1
            return _placed(port.transport)(connection, protocol, address, port, number, port.reactor)
        except Exception:
            self._log.failure("error while accepting a connection")
            return None


class _Placed:
    """Mixed in before the class of accepted connections: gives the place back at the end."""

    place: Place | None = None

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and tell the protocol, as Twisted does; then the place is free."""
        place, self.place = self.place, None
        try:
            super().connectionLost(reason)  # type: ignore[misc]
        finally:
            if place is not None:
                place.leave()


@cache
def _placed(kind: type) -> Any:
    return type(f"Placed{kind.__name__}", (_Placed, kind), {})
