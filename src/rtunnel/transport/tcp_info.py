"""What the kernel knows of a TCP connection."""

from __future__ import annotations

import socket
import sys
from struct import Struct
from typing import Any

__all__ = ["tcp_round_trip"]

_RTT = Struct("=68xI")
"""``tcpi_rtt`` of ``struct tcp_info``, in microseconds (``linux/tcp.h``); its place never changes, since programs rely on it."""


def tcp_round_trip(transport: Any) -> float | None:
    """The kernel's smoothed estimate of a connection's round-trip time.

    It is the time to whatever ends the TCP connection: a proxy or load balancer on the way, if there is one.

    :param transport: a Twisted transport over TCP, or TLS over one.
    :returns: seconds; None where there is no such connection, or no Linux.
    """
    while transport is not None and not isinstance(getattr(transport, "socket", None), socket.socket):
        transport = getattr(transport, "transport", None)
    if transport is None or sys.platform != "linux":
        return None
    try:
        info = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.size)
    except OSError:
        return None
    microseconds: int = _RTT.unpack(info)[0] if len(info) == _RTT.size else 0
    return microseconds / 1e6 if microseconds else None
