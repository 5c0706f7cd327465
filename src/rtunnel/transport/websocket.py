"""The WebSocket as a byte stream: a transport like any other.

Message boundaries carry no meaning (gost sends a message per smux frame and reads whatever comes), so a Protocol sits on a
:class:`WebSocketTransport` and neither knows frames.

autobahn does the handshake, control frames and the closing (:mod:`rtunnel.transport.websocket_endpoints`). Binary frames take a
path of our own (:data:`FAST`), which costs less than a microsecond a message where the general one costs ten: out here, in by
:mod:`rtunnel.transport.websocket_frames`. Without FAST autobahn's ``onMessage`` and ``sendMessage`` do the same work.

A WebSocket has no half-close, and the bytes of a visitor need one. Two ends of ours have it: each says so in the upgrade
(:data:`HALF_CLOSE`), and then an empty message is the end of its sender's direction. A gost passes over both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from os import urandom
from struct import Struct
from typing import Any

from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from zope.interface import implementer

from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.websocket_mask import mask

__all__ = ["BINARY", "EMPTY_MESSAGE", "FAST", "HALF_CLOSE", "MAX_MESSAGE", "WebSocketTransport"]

FAST = True
"""Whether binary frames take the path of our own; for tests and for an autobahn whose details have changed."""

MAX_MESSAGE = 1 << 20
"""Bytes of payload in one message that we send; also what autobahn collects when FAST is off, times sixteen."""

HALF_CLOSE = "Half-Close"
EMPTY_MESSAGE = "empty-message"
"""The header of the upgrade, and its value, that say that an empty message is taken for the end of a direction."""

BINARY = 0x82
"""The first byte of a binary message of one frame."""

_length16 = Struct(">BBH")
_length64 = Struct(">BBQ")
_keys = Struct("4s")


@implementer(ITransport, IConsumer, IPushProducer, ITunnelTransport)
class WebSocketTransport:
    """One end of an open WebSocket as the transport of ``upper``; owned by the autobahn protocol beneath.

    It ends with ``connectionLost`` of ``upper``: ConnectionDone after a proper close handshake, else the reason.
    """

    __slots__ = (
        "_end_write",
        "_keys",
        "_masked",
        "_on_pong",
        "_read_ended",
        "_socket",
        "below",
        "disconnecting",
        "half_close_mode",
        "paused",
        "upper",
    )

    def __init__(self, below: Any, *, masked: bool) -> None:
        self.below = below
        self.upper: Any = None
        self.disconnecting = False
        self.paused = False
        self.half_close_mode = False
        self._end_write: Callable[[], None] | None = None
        self._on_pong: Callable[[], None] | None = None
        self._socket = below.transport
        self._masked = masked
        self._read_ended = False
        self._keys: Iterator[tuple[bytes]] = iter(())

    @property
    def protocol(self) -> Any:
        """The same as ``upper``, by the name that every transport has for it."""
        return self.upper

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self.upper = protocol

    @property
    def half_closes(self) -> bool:
        """Whether both ends take an empty message for the end of a direction."""
        return bool(self.below.half_closes)

    def enter_half_close_mode(self, end_write: Callable[[], None] | None = None) -> None:
        self.half_close_mode = True
        self._end_write = end_write

    def write(self, data: bytes) -> None:
        """Send bytes as one binary message (more than :data:`MAX_MESSAGE`: as several)."""
        if self.disconnecting or not data:
            return
        size = len(data)
        if size > MAX_MESSAGE:
            self.write(data[:MAX_MESSAGE])
            self.write(data[MAX_MESSAGE:])
            return
        if not FAST:
            self.below.sendMessage(data, isBinary=True)
            return
        if self._masked:
            key = self._next_key()
            self._socket.write(b"".join((self._head(size), key, mask(data, key))))
        else:
            self._socket.write(self._head(size) + data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces as one message."""
        self.write(b"".join(data))

    def _head(self, size: int) -> bytes:
        """The head of a message, without its key (RFC 6455 5.2)."""
        flag = 0x80 if self._masked else 0
        if size < 126:
            return bytes((BINARY, flag | size))
        if size < 65536:
            return _length16.pack(BINARY, flag | 126, size)
        return _length64.pack(BINARY, flag | 127, size)

    def _next_key(self) -> bytes:
        """A fresh masking key from the system's random source (RFC 6455 5.3), fetched for a thousand frames at a time."""
        for (key,) in self._keys:
            return key
        self._keys = _keys.iter_unpack(urandom(4096))
        return self._next_key()

    def ping(self, on_pong: Callable[[], None]) -> bool:
        if self.disconnecting:
            return False
        self._on_pong = on_pong
        self.below.sendPing()
        return not self.paused

    def pong_received(self) -> None:
        """The peer answered a ping."""
        if self._on_pong is not None:
            self._on_pong()

    def set_no_delay(self) -> None:
        """Done already, when the WebSocket opened."""

    def tcp_socket(self) -> socket.socket | None:
        return ITunnelTransport(self._socket).tcp_socket()

    def loseConnection(self) -> None:
        """Send what was written, then close with a close frame, then the connection; a peer that does not answer is cut off."""
        if self.disconnecting:
            return
        self.disconnecting = True
        self.below.begin_close()

    def abortConnection(self) -> None:
        """Cut the connection."""
        self.disconnecting = True
        self._socket.abortConnection()

    def loseWriteConnection(self) -> None:
        """End our direction, in half-close mode and where the peer knows it; else the same as :meth:`loseConnection`."""
        if self.disconnecting:
            return
        if self.half_close_mode and self.half_closes:
            self._send_end()
        elif self._end_write is not None:
            self._end_write()
        else:
            self.loseConnection()

    def _send_end(self) -> None:
        if not FAST:
            self.below.sendMessage(b"", isBinary=True)
        elif self._masked:
            self._socket.write(bytes((BINARY, 0x80)) + self._next_key())
        else:
            self._socket.write(bytes((BINARY, 0)))

    def read_ended(self) -> None:
        """The peer ended its direction; told to the upper protocol once."""
        if self.half_close_mode and not self._read_ended and IHalfCloseableProtocol.providedBy(self.upper):
            self._read_ended = True
            self.upper.readConnectionLost()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer paused when the connection is behind."""
        self._socket.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._socket.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self.paused = True
        self._socket.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.paused = False
        self._socket.resumeProducing()

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """The address of the other end of the connection."""
        return self._socket.getPeer()

    def getHost(self) -> Any:
        """The address of this end of the connection."""
        return self._socket.getHost()
