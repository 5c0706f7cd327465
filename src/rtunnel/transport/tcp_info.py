"""What the kernel knows of a TCP connection."""

from __future__ import annotations

import socket
import sys
from struct import Struct

__all__ = ["tcp_round_trip"]

_RTT = Struct("=68xI")
"""``tcpi_rtt`` of ``struct tcp_info``, in microseconds (``linux/tcp.h``, whose layout is part of the kernel's stable interface)."""


def tcp_round_trip(connection: socket.socket) -> float | None:
    """The kernel's smoothed estimate of the round-trip time of a TCP connection.

    It is the time to the other end of the TCP connection, which may be a proxy or load balancer in front of the peer.

    :returns: seconds; None where the kernel does not tell (only Linux does), or the connection is gone.
    """
    if sys.platform != "linux":
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.size)
    except OSError:
        return None
    microseconds: int = _RTT.unpack(info)[0] if len(info) == _RTT.size else 0
    return microseconds / 1e6 if microseconds else None
