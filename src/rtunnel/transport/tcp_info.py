"""What the kernel knows of a TCP connection."""

from __future__ import annotations

import socket
import sys
from struct import Struct

__all__ = ["tcp_acknowledged", "tcp_is_closed", "tcp_round_trip"]

_RTT = Struct("=68xI")
"""``tcpi_rtt`` of ``struct tcp_info``, in microseconds (``linux/tcp.h``, whose layout is part of the kernel's stable interface)."""

_STATE = Struct("=B")
"""``tcpi_state``, a number of ``enum`` in ``net/tcp_states.h``."""
_TCP_CLOSE = 7

_ACKED = Struct("=120xQ")
"""``tcpi_bytes_acked`` of the same."""


def tcp_round_trip(connection: socket.socket) -> float | None:
    """The kernel's smoothed estimate of the round-trip time of a TCP connection.

    It is the time to the other end of the TCP connection, which may be a proxy or load balancer in front of the peer.

    :returns: seconds; None where the kernel does not tell (only Linux does), or the connection is gone.
    """
    microseconds = _read(connection, _RTT)
    return microseconds / 1e6 if microseconds else None


def tcp_acknowledged(connection: socket.socket) -> int | None:
    """How many bytes the other end of a TCP connection has taken, into its kernel at least.

    :returns: None where the kernel does not tell, or the connection is gone.
    """
    return _read(connection, _ACKED)


def tcp_is_closed(connection: socket.socket) -> bool:
    """Whether the other end has reset a TCP connection, or the system has given it up.

    A reactor does not notice that of a connection that it neither reads nor writes.

    :returns: False where the kernel does not tell.
    """
    return _read(connection, _STATE) == _TCP_CLOSE


def _read(connection: socket.socket, field: Struct) -> int | None:
    """Read the last of the fields of ``struct tcp_info`` that a layout has."""
    if sys.platform != "linux":
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, field.size)
    except OSError:
        return None
    # an old kernel has fewer fields
    return int(field.unpack(info)[0]) if len(info) == field.size else None
