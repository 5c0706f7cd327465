"""The WebSocket as a byte stream: a transport like any other.

Message boundaries carry no meaning (gost sends a message per smux frame, and reads any), so a Protocol sits on a
:class:`WebSocketConnection` and neither knows frames.

autobahn (:mod:`rtunnel.transport.websocket_autobahn`) does the opening handshake, control frames and the closing. Binary frames
bypass it (:data:`FAST`): the engine :mod:`rtunnel.wire.websocket` takes less than a microsecond for a message where autobahn takes
ten. Without FAST autobahn receives and sends those as well.

A WebSocket has no half-close, and the bytes of a visitor need one. Two ends of ours have it: each says so in the upgrade
(:data:`HALF_CLOSE`), and then an empty message is the end of its sender's direction. A gost ignores both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from os import urandom
from typing import Any

from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.private_details import AUTOBAHN, available
from rtunnel.transport.accepting import Place
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import Flooded
from rtunnel.transport.websocket_mask import mask
from rtunnel.wire.websocket import CONTROL, EMPTY, MAX_MESSAGE, PAYLOAD, FrameCodec

__all__ = ["CLIENT_KEY", "EMPTY_MESSAGE", "FAST", "HALF_CLOSE", "WebSocketConnection"]

FAST = available(AUTOBAHN, "binary frames pass through autobahn")
"""Whether binary frames are ours."""

HALF_CLOSE = "Half-Close"
EMPTY_MESSAGE = "empty-message"
"""The header of the upgrade, and its value, that say that an empty message is taken for the end of a direction."""
CLIENT_KEY = "Client-Key"
"""The header of the upgrade with a secret that a client made up, and repeats each time, so that the server knows it again."""

MAX_HEAD = 16384
"""Bytes of an upgrade request or answer; the connection of a longer one is cut."""
END_OF_HEAD = b"\r\n\r\n"
MAX_CONTROLS = 100
"""Control frames and empty messages that a peer may send in a second, by default."""
CLOSE_TIMEOUT = 5.0
"""Seconds that a peer may take to answer our close frame."""
TLS_RECORDS = (0x15, 0x16)
"""First bytes of a peer that speaks TLS: an alert, a handshake (RFC 8446 5.1)."""


_log = Logger()


@implementer(ITransport, IConsumer, IPushProducer, ITunnelTransport)
class WebSocketConnection(Protocol):
    """One WebSocket: the protocol of the connection beneath, and the transport of ``protocol`` once the upgrade is done.

    It ends with ``connectionLost`` of ``protocol``: ConnectionDone after a proper close handshake, else the reason. The class is
    longer than others because it is a protocol and a transport at once.

    :param speaker: autobahn's protocol, which speaks what is not a binary frame; on the same connection.
    :param client: whether this end is the client.
    :param seconds: how long the upgrade may take.
    :param max_controls: control frames and empty messages that the peer may send in a second.
    """

    transport: Any

    def __init__(
        self, speaker: Any, reactor: IReactorTime, *, client: bool, seconds: float, max_controls: int = MAX_CONTROLS
    ) -> None:
        self.protocol: Any = None
        """Receives the bytes; may be replaced at any time once the upgrade is done."""
        self.disconnecting = False
        self.paused = False
        self.half_close_mode = False
        self.peer_half_closes = False
        """Whether both ends said in the upgrade that they take an empty message for the end of a direction."""
        self.fields: Mapping[bytes, bytes] = {}
        """See :meth:`request_fields`."""
        self.head = b""
        """The peer's part of the upgrade, once it is complete."""
        self.rest = b""
        """What came with it; where there is no upgrade, the beginning of a body."""
        self.fault = ""
        """What is wrong with what the peer sent."""
        self._speaker = speaker
        speaker.connection = self
        self._reactor = reactor
        self._seconds = seconds
        self._frames = FrameCodec(client=client, mask=mask, random=urandom)
        self._fast = FAST
        self._framed = False
        """Whether bytes are those of frames, and frames ours."""
        self._max_controls = max_controls
        self._controls = 0
        self._controls_since = 0.0
        self._flood = False
        """Whether the connection was cut because of them."""
        self._open = False
        self._receiving_head = True
        self._head = b""
        self._head_timer: Any = None
        self._close_timer: Any = None
        self._on_pong: Callable[[], None] | None = None
        self._end_write: Callable[[], None] | None = None
        self._read_ended = False
        self._clean = False

    # -- what the two ends do differently

    def upgraded(self) -> None:
        """The upgrade is done: connect a protocol, if it is still wanted."""
        raise NotImplementedError

    def upgrade_failed(self, reason: Failure) -> None:
        """There was no upgrade; called when the connection is lost."""
        raise NotImplementedError

    def received_tls(self) -> None:
        """The peer speaks TLS, which this connection does not: close it."""
        raise NotImplementedError

    # -- the connection beneath

    def connectionMade(self) -> None:
        self._head_timer = self._reactor.callLater(self._seconds, self._expired)
        self.set_no_delay()
        self._speaker.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of frames: payload is delivered, control frames go to autobahn. Before the upgrade: those of its head."""
        if not self._framed:
            self._receive_unframed(data)
            return
        for kind, found in self._frames.receive(data):
            if kind == PAYLOAD:
                if not self.disconnecting:
                    self.protocol.dataReceived(found)
            elif kind == CONTROL:
                if self._flooded():
                    return
                self._speaker.dataReceived(found)
            elif kind == EMPTY:
                if self._flooded():
                    return
                self._peer_ended()
            else:
                self.fault = found[2:].decode()
                self._limit_closing()
                self._speaker.sendCloseFrame(code=int.from_bytes(found[:2]), reasonUtf8=found[2:])

    def _flooded(self) -> bool:
        """Whether this control frame, or empty message, is one too many: each is answered, or makes others work.

        Then the connection is cut.
        """
        now = self._reactor.seconds()
        if now - self._controls_since >= 1.0:
            self._controls_since, self._controls = now, 0
        self._controls += 1
        if self._controls > self._max_controls:
            self.fault = f"more than {self._max_controls} control frames or empty messages in a second"
            self._flood = True
            self.transport.abortConnection()
        return self._flood

    def _receive_unframed(self, data: bytes) -> None:
        if self._open:
            # without FAST
            self._speaker.dataReceived(data)
        elif not self._head and data[0] in TLS_RECORDS:
            self._receiving_head = False
            self.received_tls()
        elif self._receiving_head:
            self._receive_head(data)

    def _receive_head(self, data: bytes) -> None:
        """Collect the peer's part of the upgrade; autobahn gets all of it, and nothing after it."""
        searched = max(len(self._head) - len(END_OF_HEAD) + 1, 0)
        self._head += data
        end = self._head.find(END_OF_HEAD, searched)
        if end >= 0:
            self._receiving_head = False
            self.head, rest = self._head[: end + len(END_OF_HEAD)], self._head[end + len(END_OF_HEAD) :]
            self._head = b""
            self._upgrade(rest)
        elif len(self._head) > MAX_HEAD:
            self._receiving_head = False
            # the connection is part of a cycle: what it keeps would stay until the next garbage collection
            self._head = b""
            self.transport.abortConnection()

    def _upgrade(self, rest: bytes) -> None:
        """The peer's part of the upgrade is complete: pass it to autobahn.

        :param rest: what was received after it.
        """
        self.rest = rest
        try:
            self._speaker.dataReceived(self.head)
        except UnicodeDecodeError:
            # a header may have any bytes (RFC 9110 5.5), but not for autobahn
            self.fault = "the head is not UTF-8"
            self.transport.abortConnection()
        if rest and self._open:
            self.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timers()
        # calls on_close()
        self._speaker.connectionLost(reason)
        if not self._open:
            self.upgrade_failed(reason)
        elif self.protocol is not None:
            self._end(reason)

    def _end(self, reason: Failure) -> None:
        """The connection is lost: tell the protocol."""
        self.disconnecting = True
        done = reason.check(ConnectionDone) is not None
        # a fault is one also where the peer has answered our close frame properly
        if self.fault:
            reason = Failure(Flooded(self.fault) if self._flood else ConnectionClosed(self.fault))
        # a gost closes without a close frame: what it sent was all it had
        elif self._clean or (done and self.half_close_mode and not self.peer_half_closes):
            self._end_read()
            reason = connectionDone
        elif done:
            reason = Failure(ConnectionClosed("the peer closed the connection without closing the WebSocket"))
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(reason)

    def _expired(self) -> None:
        self._head_timer = None
        self.transport.abortConnection()

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._close_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._head_timer = self._close_timer = None

    def _peer_ended(self) -> None:
        """The peer sent an empty message."""
        if self.peer_half_closes and not self.disconnecting:
            self._end_read()

    def _end_read(self) -> None:
        """The peer ended its direction: tell the protocol, once."""
        if self.half_close_mode and not self._read_ended and IHalfCloseableProtocol.providedBy(self.protocol):
            self._read_ended = True
            self.protocol.readConnectionLost()

    # -- called by autobahn

    def on_open(self) -> None:
        """The upgrade is done."""
        self._stop_timers()
        self._open = True
        self._framed = self._fast
        self._head = self.head = self.rest = b""
        try:
            self.upgraded()
        except Exception:
            # autobahn would keep it to itself, and the connection open
            _log.failure("error at the beginning of the connection with {peer}, which is cut", peer=str(self.getPeer()))
            self.protocol = None
            self.abortConnection()

    def on_message(self, payload: bytes) -> None:
        """A message was received, where frames are not ours."""
        if not payload:
            self._peer_ended()
        elif not self.disconnecting:
            self.protocol.dataReceived(payload)

    def on_pong(self) -> None:
        """The peer answered a ping."""
        if self._on_pong is not None:
            self._on_pong()

    def on_closing(self) -> None:
        """A close frame is about to be sent, ours or the answer to the peer's: nothing may be written after it.

        The closing has :data:`CLOSE_TIMEOUT`, but no limit where a visitor's last bytes are still to be read.
        """
        self.disconnecting = True
        if not self.half_close_mode:
            self._limit_closing()

    def _limit_closing(self) -> None:
        if self._close_timer is None:
            self._close_timer = self._reactor.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)

    def on_close(self, clean: bool) -> None:
        """The connection is lost.

        :param clean: whether both ends had sent a close frame.
        """
        self._clean = clean

    # -- ITransport, IConsumer: bytes out

    def write(self, data: bytes) -> None:
        """Send bytes as one binary message (more than :data:`~rtunnel.wire.websocket.MAX_MESSAGE`: as several)."""
        if data and not self.disconnecting:
            if self._fast:
                self.transport.write(self._frames.encode(data))
            else:
                self._send_plain(data)

    def _send_plain(self, data: bytes) -> None:
        """Have autobahn send it."""
        for start in range(0, len(data) or 1, MAX_MESSAGE):
            self._speaker.send(data[start : start + MAX_MESSAGE])

    def _send_empty(self) -> None:
        """End our direction."""
        if self._fast:
            self.transport.write(self._frames.encode(b""))
        else:
            self._send_plain(b"")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces as one message."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """End our direction, in half-close mode and where the peer knows it; else the same as :meth:`loseConnection`."""
        if self.disconnecting:
            return
        if self.half_close_mode and self.peer_half_closes:
            self._send_empty()
        elif self._end_write is not None:
            self._end_write()
        else:
            self.loseConnection()

    def loseConnection(self) -> None:
        """Send what was written, then close with a close frame, then the connection; a peer that does not answer is cut off."""
        if self.disconnecting:
            return
        self.on_closing()
        # a transport whose producer is paused would wait for it before it closes
        self.transport.unregisterProducer()
        # payload is dropped from now on, and the peer's close frame comes after it
        self.resumeProducing()
        self._speaker.sendClose(1000)

    def abortConnection(self) -> None:
        """Cut the connection."""
        self.disconnecting = True
        self.transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause a producer when the connection is slow."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.transport.unregisterProducer()

    def getPeer(self) -> Any:
        """The address of the other end of the connection."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """The address of this end of the connection."""
        return self.transport.getHost()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Read nothing for now. A connection that closes reads on: there is no more payload, only what says that it is closed."""
        if not self.disconnecting:
            self.paused = True
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.paused = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self.loseConnection()

    # -- ITunnelTransport

    def ping(self, on_pong: Callable[[], None]) -> bool:
        if self.disconnecting:
            return False
        self._on_pong = on_pong
        self._speaker.sendPing()
        return not self.paused

    def enter_half_close_mode(self, end_write: Callable[[], None] | None = None) -> None:
        self.half_close_mode = True
        self._end_write = end_write

    def set_no_delay(self) -> None:
        ITunnelTransport(self.transport).set_no_delay()

    def unsent(self) -> int:
        return ITunnelTransport(self.transport).unsent()

    def tcp_socket(self) -> socket.socket | None:
        return ITunnelTransport(self.transport).tcp_socket()

    def place(self) -> Place | None:
        return ITunnelTransport(self.transport).place()

    def request_fields(self) -> Mapping[bytes, bytes]:
        return self.fields
