"""Whether the other end of a visitor's connection is still there.

A link has the signs of life of smux. The connection of a visitor carries nothing but the visitor's bytes, and may be silent for
hours; so a WebSocket is pinged, which also keeps an Ingress from cutting it as idle, and any other connection has the system look
after it (TCP keepalive).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from rtunnel.tunnel.link import Keepalive
from rtunnel.tunnel.splice import Side

__all__ = ["LivenessMonitor"]

PROBES = 3
"""TCP keepalive probes without an answer after which the system gives a connection up."""


class LivenessMonitor:
    """Watches one side of a splice; owned by whoever owns the splice.

    :param side: the side whose transport leads to the other end of the tunnel; it is connected.
    :param keepalive: how often to look, and how long silence may last.
    """

    __slots__ = ("_heard", "_idle_for", "_keepalive", "_received", "_side")

    def __init__(self, side: Side, keepalive: Keepalive) -> None:
        self._side = side
        self._keepalive = keepalive
        self._heard = True
        self._received = 0
        self._idle_for = 0.0
        if hasattr(side.transport, "ping"):
            side.pong_received = self._pong
        elif keepalive.interval:
            watch_socket(side.transport, keepalive)

    def _pong(self) -> None:
        self._heard = True

    def look(self) -> bool:
        """Ask for a sign of life, to be called at each interval of the keepalive.

        :returns: whether there was one in time; False when the other end must be taken for gone.
        """
        side = self._side
        if side.pong_received is None or side.lost:
            return True
        # nothing is heard while reading is paused, and that is not the peer's fault
        alive = self._heard or side.received != self._received or side.transport.paused
        self._idle_for = 0.0 if alive else self._idle_for + self._keepalive.interval
        self._heard, self._received = False, side.received
        if self._idle_for >= self._keepalive.timeout:
            return False
        side.transport.ping()
        return True


def watch_socket(transport: Any, keepalive: Keepalive) -> None:
    """Have the system give a TCP connection up whose other end is gone; does nothing for what is no socket."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, socket.socket):
        return
    probe = max(1, round((keepalive.timeout - keepalive.interval) / PROBES))
    with suppress(OSError, AttributeError):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepalive.interval)))
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
