"""How a start fails."""

from __future__ import annotations

import errno

import attrs
from twisted.internet.error import CannotListenError

from rtunnel.settings import Address, UdpAddress
from rtunnel.transport.port_holder import port_holder

__all__ = ["ADMIN_ENDPOINT", "ENTRYPOINT", "TUNNEL_LISTENER", "VISITOR", "PortRole", "StartError", "cannot_listen"]


@attrs.frozen
class PortRole:
    """What listens at a port.

    :ivar name: for people.
    :ivar option: with which the port is chosen.
    """

    name: str
    option: str


TUNNEL_LISTENER = PortRole("tunnel listener", "--listen")
ENTRYPOINT = PortRole("entrypoint", "--entrypoint")
PEER_LISTENER = PortRole("port for peers", "--peer-listen")
ADMIN_ENDPOINT = PortRole("admin endpoint", "--admin")
VISITOR = PortRole("visitor", "--listen")

_ADVICE = {
    errno.EADDRINUSE: "stop what listens there, or choose another port with {option}",
    errno.EADDRNOTAVAIL: "choose an address of this machine with {option}, or none for all of them",
    errno.EACCES: "a port below 1024 needs root or CAP_NET_BIND_SERVICE; choose one from 1024 with {option}, or allow it",
}


class StartError(Exception):
    """The service cannot start with these settings: a port in use, a missing permission, a file that cannot be read.

    Raised from ``startService``. Its text is one line for the user, with the setting, the value and the cause; the process
    prints it without a traceback and ends with status 1 (:mod:`rtunnel.ops.process`).
    """


def cannot_listen(role: PortRole, address: Address, error: CannotListenError | OSError) -> StartError:
    """The error of a port that cannot be opened.

    :param role: what would listen there.
    :param address: where.
    :param error: why not.
    """
    cause = error.socketError if isinstance(error, CannotListenError) else error
    number = getattr(cause, "errno", None) or 0
    reason = getattr(cause, "strerror", None) or cause
    if number == errno.EADDRINUSE:
        holder = port_holder(address.host, address.port, udp=isinstance(address, UdpAddress))
        reason = f"{reason} ({holder})" if holder else reason
    shown = attrs.evolve(address, host=address.host or "*")
    advice = _ADVICE.get(number, "").format(option=role.option)
    return StartError(f"the {role.name} cannot listen on {shown}: {reason}" + (f"; {advice}" if advice else ""))
