"""What the connection under a tunnel can do beyond :class:`~twisted.internet.interfaces.ITransport`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import ISystemHandle, ITCPTransport, ITransport, IUNIXTransport
from twisted.python.components import registerAdapter
from zope.interface import Interface, implementer

from rtunnel.transport.accepting import Place

__all__ = ["ITunnelTransport", "PlainTransport"]


class ITunnelTransport(Interface):
    """What a link or a visit asks of its connection beyond :class:`~twisted.internet.interfaces.ITransport`.

    ``ITunnelTransport(transport)`` adapts any transport: a WebSocket provides it itself, TLS gives that of the connection beneath,
    and every other transport gets a :class:`PlainTransport`.
    """

    def ping(on_pong: Callable[[], None]) -> bool:
        """Send a ping, where the connection has one.

        :param on_pong: called for each pong that is received from now on.
        :returns: whether a pong can be expected: not where there is no ping, and not while reading is paused.
        """

    def enter_half_close_mode(end_write: Callable[[], None] | None = None) -> None:
        """Carry the bytes of one visitor from here on, so that the two directions end separately.

        Closing then waits without limit for a peer that is slow to read what was written. A plain connection does all that anyway.

        :param end_write: called when our direction ends and the peer cannot be told; by default the connection closes.
        """

    def set_no_delay() -> None:
        """Have small writes leave at once, without waiting for the acknowledgement of earlier ones (``TCP_NODELAY``)."""

    def unsent() -> int:
        """Bytes that were written and that the system has not taken yet; 0 where the connection beneath does not tell."""

    def tcp_socket() -> socket.socket | None:
        """The TCP socket at the very bottom; None where there is none."""

    def place() -> Place | None:
        """What the connection takes up of the limits of the port that accepted it; None where there are none."""

    def request_fields() -> Mapping[bytes, bytes]:
        """What is of interest in the request that opened the connection, by lower-case name, unverified: anybody may send it.

        The forwarding fields, and the client's key (:data:`rtunnel.transport.websocket.CLIENT_KEY`). Empty where no request did.
        """


@implementer(ITunnelTransport)
class PlainTransport:
    """A transport of bytes and nothing else: a socket, a stream of a link, an association, a connection in memory."""

    __slots__ = ("_transport",)

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport

    def ping(self, on_pong: Callable[[], None]) -> bool:
        """There is none."""
        return False

    def enter_half_close_mode(self, end_write: Callable[[], None] | None = None) -> None:
        """Its directions end separately anyway."""

    def set_no_delay(self) -> None:
        # a unix socket of Twisted is both, and some versions raise there
        if ITCPTransport.providedBy(self._transport) and not IUNIXTransport.providedBy(self._transport):
            self._transport.setTcpNoDelay(True)

    def place(self) -> Place | None:
        return getattr(self._transport, "place", None)

    def request_fields(self) -> Mapping[bytes, bytes]:
        """None."""
        return {}

    def unsent(self) -> int:
        unsent: Callable[[], int] | None = getattr(self._transport, "unsent", None)
        return 0 if unsent is None else unsent()

    def tcp_socket(self) -> socket.socket | None:
        handle = self._transport.getHandle() if ISystemHandle.providedBy(self._transport) else None
        if isinstance(handle, socket.socket) and handle.family in (socket.AF_INET, socket.AF_INET6):
            return handle
        return None


registerAdapter(PlainTransport, ITransport, ITunnelTransport)
