"""Whether the other end of a visitor's connection is still there.

A link has the keepalives of smux. The connection of a visitor carries nothing but the visitor's bytes and may be silent for hours,
so a WebSocket is pinged, which also keeps an Ingress from closing it as idle, and the system probes the TCP connection beneath.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.tunnel.link import Keepalive
from rtunnel.tunnel.splice import Side

__all__ = ["LivenessMonitor", "set_tcp_keepalive"]

PROBES = 3
"""TCP keepalive probes without an answer after which the system gives a connection up."""


class LivenessMonitor:
    """Watches one side of a splice; owned by the owner of the splice.

    :param side: the side whose transport leads to the other end of the tunnel; it is connected.
    :param keepalive: how often to check, and how long silence may last.
    """

    __slots__ = ("_connection", "_idle_for", "_keepalive", "_pong_received", "_received", "_side")

    def __init__(self, side: Side, keepalive: Keepalive) -> None:
        self._side = side
        self._connection = ITunnelTransport(side.transport)
        self._keepalive = keepalive
        self._pong_received = True
        self._received = 0
        self._idle_for = 0.0
        tcp = self._connection.tcp_socket()
        if tcp is not None and keepalive.interval:
            set_tcp_keepalive(tcp, keepalive)

    def _on_pong(self) -> None:
        self._pong_received = True

    def check(self) -> bool:
        """Ping the other end, to be called at each interval of the keepalive.

        :returns: False when the other end has been silent for too long and must be taken for dead.
        """
        side = self._side
        if side.lost:
            return True
        expected = self._connection.ping(self._on_pong)
        alive = not expected or self._pong_received or side.received != self._received
        self._idle_for = 0.0 if alive else self._idle_for + self._keepalive.interval
        self._pong_received, self._received = False, side.received
        return self._idle_for < self._keepalive.timeout


def set_tcp_keepalive(connection: socket.socket, keepalive: Keepalive) -> None:
    """Have the system give a TCP connection up whose other end is gone, where it can."""
    probe = max(1, round((keepalive.timeout - keepalive.interval) / PROBES))
    with suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepalive.interval)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
