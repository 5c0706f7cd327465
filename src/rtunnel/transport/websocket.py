"""The WebSocket as a byte stream: the only module that knows autobahn.

Message boundaries carry no meaning (gost sends a message per smux frame and reads whatever comes), so a WebSocket is a transport
like any other: a Protocol sits on a :class:`WebSocketTransport` and neither knows frames.

autobahn does the handshake, control frames and the closing. Binary frames take a path of our own (:data:`FAST`), which costs less
than a microsecond a message where the general one costs ten: it hands payload on as it comes, also of half a frame. Without
FAST autobahn's ``onMessage`` and ``sendMessage`` do the same work.

A WebSocket has no half-close, and the bytes of a visitor need one. Two ends of ours have it: each says so in the upgrade
(:data:`HALF_CLOSE`), and then an empty message is the end of its sender's direction. A gost passes over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import urandom
from struct import Struct
from typing import Any, cast

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest, ConnectionResponse
from autobahn.websocket.xormasker import create_xor_masker
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["FAST", "UpgradeRefused", "WebSocketClientEndpoint", "WebSocketServerEndpoint", "WebSocketTransport"]

FAST = True
"""Whether binary frames take the path of our own; for tests and for an autobahn whose details have changed."""

MAX_HEAD = 65536
"""Bytes of an upgrade request or answer; more is cut off."""
MAX_MESSAGE = 1 << 20
"""Bytes of payload in one message that we send; also what autobahn collects when FAST is off, times sixteen."""
CLOSE_TIMEOUT = 5.0
"""Seconds that a peer may take to answer our close frame."""

HALF_CLOSE = "Half-Close"
EMPTY_MESSAGE = "empty-message"
"""The header of the upgrade, and its value, that say that an empty message is taken for the end of a direction."""

BINARY = 0x82
CONTINUED = 0x00
_length16 = Struct(">BBH")
_length64 = Struct(">BBQ")
_keys = Struct("4s")
_read16 = Struct(">H")
_read64 = Struct(">Q")

PLAIN_ONLY = b"HTTP/1.1 400 this port does not speak TLS\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a client that speaks TLS to a port without."""

Mask = Callable[[bytes, bytes], bytes]


def _autobahn_mask(data: bytes, key: bytes) -> bytes:
    return cast(bytes, create_xor_masker(key, len(data)).process(data))


def _best_mask() -> Mask:
    """The C function of ``websockets`` where it is installed (three times the speed of autobahn's), else autobahn's."""
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        return _autobahn_mask
    return cast(Mask, apply_mask)


mask = _best_mask()


class UpgradeRefused(ConnectionClosed):
    """The other end did not become a WebSocket.

    :ivar status: the HTTP status it answered, or None when it answered something else or closed the connection.
    :ivar reason: the same in words.
    """

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@implementer(ITransport, IConsumer, IPushProducer)
class WebSocketTransport:
    """One end of an open WebSocket as the transport of ``upper``; owned by the autobahn protocol beneath.

    It ends with ``connectionLost`` of ``upper``: ConnectionDone after a proper close handshake, else the reason.
    """

    __slots__ = ("_end_write", "_keys", "_masked", "_read_ended", "_socket", "below", "disconnecting", "paused", "raw", "upper")

    def __init__(self, below: Any, *, masked: bool) -> None:
        self.below = below
        self.upper: Any = None
        self.disconnecting = False
        self.paused = False
        self.raw = False
        self._end_write: Callable[[], None] | None = None
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

    def carry_raw(self, end_write: Callable[[], None] | None = None) -> None:
        """From here on the bytes are those of one visitor, so that the ends of the two directions count.

        Closing waits without limit for a peer that is slow to read what was written.

        :param end_write: what to do when our direction ends and the peer does not know half-close; by default the WebSocket closes.
        """
        self.raw = True
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

    def ping(self) -> None:
        """Ask for a sign of life; the pong calls ``heard`` of the upper protocol, if it has one."""
        if not self.disconnecting:
            self.below.sendPing()

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
        """End our direction, where the bytes are raw and the peer knows half-close; else the same as :meth:`loseConnection`."""
        if self.disconnecting:
            return
        if self.raw and self.half_closes:
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
        if self.raw and not self._read_ended and IHalfCloseableProtocol.providedBy(self.upper):
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


class _ByteStream:
    """What our server and client protocols share: bytes up, frames down. Mixed in before autobahn's class.

    The details of autobahn that it relies on (``state``, ``data``, ``current_frame``, ``inside_message``, ``_dataReceived``,
    ``_protocol_violation``, ``sendCloseFrame``) are named in a test.
    """

    half_closes = False
    """Whether both ends said in the upgrade that they take an empty message for the end of a direction."""
    _masked = False
    _stream: WebSocketTransport | None = None
    _fin = False
    _head_timer: Any = None
    _close_timer: Any = None
    # the frame whose payload is being received
    _rest = 0
    _key = b""
    _offset = 0
    # the beginning of a frame head, or of a control frame
    _partial = b""
    _fragmented = False
    _ours = False
    """Whether the connection is open and autobahn holds no part of a frame or message."""

    def begin_handshake(self, seconds: float) -> None:
        """Cut the connection when the upgrade takes longer."""
        self._head_timer = self.factory.reactor.callLater(seconds, self._handshake_expired)  # type: ignore[attr-defined]

    def _handshake_expired(self) -> None:
        self._head_timer = None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    def begin_close(self) -> None:
        """Start the closing handshake."""
        self.transport.unregisterProducer()  # type: ignore[attr-defined]
        self.sendClose(1000)  # type: ignore[attr-defined]

    def sendCloseFrame(self, *arguments: Any, **keywords: Any) -> None:
        """The closing handshake begins, whoever wanted it: nothing passes any more, and it has :data:`CLOSE_TIMEOUT`.

        It has no limit where a visitor's last bytes are still on their way.
        """
        self._ours = False
        raw = False
        if self._stream is not None:
            self._stream.disconnecting = True
            raw = self._stream.raw
        if self._close_timer is None and not raw:
            self._close_timer = self.factory.reactor.callLater(  # type: ignore[attr-defined]
                CLOSE_TIMEOUT, self._close_expired
            )
        super().sendCloseFrame(*arguments, **keywords)  # type: ignore[misc]

    def _close_expired(self) -> None:
        self._close_timer = None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    def _cancel_timers(self) -> None:
        for timer in (self._head_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._close_timer = None

    # -- called by autobahn

    def onOpen(self) -> None:
        """The upgrade is done: put the upper protocol on."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self.transport.setTcpNoDelay(True)  # type: ignore[attr-defined]
        stream = self._stream = WebSocketTransport(self, masked=self._masked)
        stream.upper = self.build_upper()
        if stream.upper is None:
            stream.loseConnection()
        else:
            stream.upper.makeConnection(stream)
            self.opened(stream.upper)

    def build_upper(self) -> Any:
        """Build the protocol that sits on the stream."""
        raise NotImplementedError

    def opened(self, upper: Any) -> None:
        """The upper protocol is connected."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message, received by autobahn: the plain path."""
        if not isBinary:
            self.sendClose(3003, "binary messages only")  # type: ignore[attr-defined]
        elif payload:
            self._deliver(payload)
        else:
            self._deliver_end()

    def onPong(self, payload: bytes) -> None:
        """A sign of life."""
        heard = getattr(self._stream.upper, "heard", None) if self._stream is not None else None
        if heard is not None:
            heard()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone."""
        self._cancel_timers()
        stream = self._stream
        if stream is None or stream.upper is None:
            return
        stream.disconnecting = True
        # a gost closes without a close frame: what it sent was all it had
        clean = wasClean or (self._fin and stream.raw and not self.half_closes)
        if clean:
            stream.read_ended()
        upper, stream.upper = stream.upper, None
        upper.connectionLost(Failure(ConnectionDone()) if clean else Failure(ConnectionClosed(reason)))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection beneath is gone; :meth:`onClose` follows."""
        self._fin = reason.check(ConnectionDone) is not None
        super().connectionLost(reason)  # type: ignore[misc]

    # -- bytes of the connection

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of the connection: ours when it is open and binary, autobahn's otherwise."""
        if self._rest or self._partial or self._fragmented:
            self._receive(data)
            return
        if self._ours:
            if not self._receive_message(data):
                self._receive(data)
            return
        if self._stream is None and data[0] in (0x15, 0x16) and not self.data:  # type: ignore[attr-defined]
            self.met_tls()
            return
        self._give_autobahn(data)
        if self._stream is None and len(self.data) > MAX_HEAD:  # type: ignore[attr-defined]
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def _give_autobahn(self, data: bytes) -> None:
        self._dataReceived(data)  # type: ignore[attr-defined]
        self._ours = FAST and self._idle()

    def met_tls(self) -> None:
        """The peer speaks TLS (the first byte is that of an alert or a handshake, RFC 8446 5.1), and this connection does not."""
        raise NotImplementedError

    def _idle(self) -> bool:
        """Whether autobahn is open and holds no part of a frame or message."""
        return (
            self.state == self.STATE_OPEN  # type: ignore[attr-defined]
            and not self.data  # type: ignore[attr-defined]
            and self.current_frame is None  # type: ignore[attr-defined]
            and not self.inside_message  # type: ignore[attr-defined]
        )

    def _deliver(self, payload: bytes) -> None:
        stream = self._stream
        if stream is not None and not stream.disconnecting:
            stream.upper.dataReceived(payload)

    def _receive_message(self, data: bytes) -> bool:
        """Take one whole message of one frame, as nearly all are; False when it is something else, for :meth:`_receive`."""
        size = len(data)
        if size < 4 or data[0] != BINARY:
            return False
        second = data[1]
        length = second & 0x7F
        start = 2
        if length == 126:
            length = _read16.unpack_from(data, 2)[0]
            start = 4
        if (length < 126 and start == 4) or (second < 0x80) != self._masked:
            return False
        if self._masked:
            if start + length != size or not length:
                return False
            payload = data[start:]
        else:
            begin = start + 4
            if begin + length != size or not length:
                return False
            payload = mask(data[begin:], data[start:begin])
        stream = self._stream
        if stream is not None and not stream.disconnecting:
            stream.upper.dataReceived(payload)
        return True

    def _deliver_end(self) -> None:
        """An empty message came."""
        stream = self._stream
        if stream is not None and self.half_closes and not stream.disconnecting:
            stream.read_ended()

    def _receive(self, data: bytes) -> None:
        """Take frames apart; payload goes up as it comes, control frames and all that is wrong go to autobahn, whole."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        position = 0
        size = len(data)
        if self._rest:
            position = min(self._rest, size)
            self._rest -= position
            self._deliver_payload(data[:position])
        while position < size:
            first = data[position]
            if first & 0x70 or (first & 0x0F) not in (0, 2) or (first & 0x0F == 2) == self._fragmented:
                position = self._receive_control(data, position)
                if position < 0:
                    return
                continue
            start = position + 2
            if size < start:
                break
            second = data[position + 1]
            length = second & 0x7F
            if length == 126:
                start += 2
                if size < start:
                    break
                length = _read16.unpack_from(data, start - 2)[0]
                if length < 126:
                    self._leave_to_autobahn(data[position:])
                    return
            elif length == 127:
                start += 8
                if size < start:
                    break
                length = _read64.unpack_from(data, start - 8)[0]
                if not 65536 <= length < 1 << 63:
                    self._leave_to_autobahn(data[position:])
                    return
            if (second >= 0x80) == self._masked:
                # masked by a server or not masked by a client: RFC 6455 5.1
                self._leave_to_autobahn(data[position:])
                return
            if second >= 0x80:
                start += 4
                if size < start:
                    break
                self._key = data[start - 4 : start]
                self._offset = 0
            self._fragmented = first < 0x80
            position = start + length
            if position > size:
                self._rest = position - size
            if length:
                self._deliver_payload(data[start:position])
            elif first == BINARY:
                self._deliver_end()
        else:
            return
        self._partial = data[position:]

    def _deliver_payload(self, payload: bytes) -> None:
        if not self._masked:
            offset = self._offset
            self._offset = (offset + len(payload)) & 3
            key = self._key
            payload = mask(payload, key[offset:] + key[:offset] if offset else key)
        if payload:
            self._deliver(payload)

    def _receive_control(self, data: bytes, position: int) -> int:
        """Give autobahn a control frame, when it is whole; return the position after it, or -1 when no more is to be done."""
        first = data[position]
        if first & 0xF0 != 0x80 or first & 0x0F not in (8, 9, 10):
            self._leave_to_autobahn(data[position:])
            return -1
        if len(data) - position < 2:
            self._partial = data[position:]
            return -1
        second = data[position + 1]
        end = position + 2 + (second & 0x7F) + (4 if second >= 0x80 else 0)
        if second & 0x7F > 125:
            self._leave_to_autobahn(data[position:])
            return -1
        if end > len(data):
            self._partial = data[position:]
            return -1
        self._give_autobahn(data[position:end])
        if self.state != self.STATE_OPEN:  # type: ignore[attr-defined]
            self._give_autobahn(data[end:])
            return -1
        return end

    def _leave_to_autobahn(self, data: bytes) -> None:
        """Something that is not ours to judge: autobahn knows which error it is."""
        if self._fragmented:
            # nothing that gets here may stand inside a message, and autobahn does not know that we are inside one
            self._fragmented = False
            self._protocol_violation("a fragmented message was not continued")  # type: ignore[attr-defined]
        self._give_autobahn(data)


class _ServerProtocol(_ByteStream, WebSocketServerProtocol):  # type: ignore[misc]
    """One WebSocket accepted by a :class:`WebSocketServerEndpoint`."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.begin_handshake(self.factory.handshake_timeout)

    def onConnect(self, request: ConnectionRequest) -> tuple[None, dict[str, str]] | None:
        """Accept the upgrade at our path only; any origin, since no browser has credentials here."""
        if request.path != self.factory.stream_path:
            raise ConnectionDeny(404, "no tunnel listens at this path")
        if _knows_half_close(request.headers):
            self.half_closes = True
            return None, {HALF_CLOSE: EMPTY_MESSAGE}
        return None

    def build_upper(self) -> Any:
        return self.factory.upper.buildProtocol(self.transport.getPeer())

    def met_tls(self) -> None:
        self.transport.write(PLAIN_ONLY)
        self.transport.loseConnection()


class _ClientProtocol(_ByteStream, WebSocketClientProtocol):  # type: ignore[misc]
    """The one WebSocket of a :class:`WebSocketClientEndpoint`'s connect."""

    _masked = True

    def onConnect(self, response: ConnectionResponse) -> None:
        """The upgrade was accepted; see what else the server knows."""
        self.half_closes = _knows_half_close(response.headers)

    def connectionMade(self) -> None:
        super().connectionMade()
        self.begin_handshake(self.factory.handshake_timeout)

    def build_upper(self) -> Any:
        return self.factory.upper.buildProtocol(self.transport.getPeer())

    def met_tls(self) -> None:
        self.http_status_line = "TLS"
        self.wasNotCleanReason = "the server speaks TLS here; use wss:// (tunnel+wss://)"
        self.transport.abortConnection()

    def processHandshake(self) -> None:
        """Read the answer; autobahn's own log trips over one that is not UTF-8."""
        try:
            super().processHandshake()
        except UnicodeDecodeError:
            self.http_status_line = self.data.partition(b"\r\n")[0].decode("latin-1")
            self.failHandshake("the answer is not UTF-8")

    def opened(self, upper: Any) -> None:
        waiting, self.factory.waiting = self.factory.waiting, None
        if waiting is not None:
            waiting.callback(upper)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        waiting, self.factory.waiting = self.factory.waiting, None
        if waiting is not None:
            waiting.errback(Failure(self._refusal(reason)))

    def _refusal(self, reason: Failure) -> UpgradeRefused:
        """Say why the upgrade failed, from what the other end answered."""
        words = (getattr(self, "http_status_line", None) or "").split(None, 2)
        if len(words) >= 2 and words[0].startswith("HTTP/") and words[1].isdigit() and words[1] != "101":
            return UpgradeRefused(int(words[1]), f"the upgrade was answered with {' '.join(words[1:])[:80]}")
        if words:
            return UpgradeRefused(None, f"the upgrade failed: {self.wasNotCleanReason}")
        if reason.type not in (ConnectionDone, ConnectionLost):
            # what is beneath knows better (TLS)
            return UpgradeRefused(None, reason.getErrorMessage())
        return UpgradeRefused(None, "the connection closed before the upgrade was answered")


def _knows_half_close(headers: Mapping[str, str]) -> bool:
    """Whether the other end said so; autobahn has the names of headers in lower case."""
    return headers.get(HALF_CLOSE.lower()) == EMPTY_MESSAGE


def _set_options(factory: Any) -> None:
    """All of autobahn's limits and timers, in one place: its timers follow a global reactor, so none of them is used."""
    common = {
        "autoPingInterval": 0,
        "openHandshakeTimeout": 0,
        "closeHandshakeTimeout": 0,
        "maxFramePayloadSize": MAX_MESSAGE * 16,
        "maxMessagePayloadSize": MAX_MESSAGE * 16,
        "failByDrop": False,
        "echoCloseCodeReason": False,
        "utf8validateIncoming": False,
        "tcpNoDelay": True,
    }
    if factory.isServer:
        factory.setProtocolOptions(webStatus=False, versions=[13], allowedOrigins=["*"], serveFlashSocketPolicy=False, **common)
    else:
        factory.setProtocolOptions(serverConnectionDropTimeout=0, **common)


@implementer(IStreamServerEndpoint)
class WebSocketServerEndpoint:
    """Listens for WebSockets at one path over another endpoint.

    :param under: where the connections come from.
    :param reactor: for the timers.
    :param path: the path of the upgrade; any other is answered with 404.
    :param handshake_timeout: seconds that the upgrade may take.
    """

    def __init__(self, under: IStreamServerEndpoint, *, reactor: Any, path: str = "/ws", handshake_timeout: float = 15.0) -> None:
        self._under = under
        self._reactor = reactor
        self._path = path
        self._handshake_timeout = handshake_timeout

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen; each accepted WebSocket gets a protocol of the factory."""
        factory = WebSocketServerFactory(reactor=self._reactor)
        factory.noisy = False
        factory.protocol = _ServerProtocol
        factory.server = "rtunnel"
        factory.upper = protocolFactory
        factory.stream_path = self._path
        factory.handshake_timeout = self._handshake_timeout
        _set_options(factory)
        return cast("Deferred[Any]", self._under.listen(factory))


@implementer(IStreamClientEndpoint)
class WebSocketClientEndpoint:
    """Opens a WebSocket over another endpoint; ``connect`` fires when the peer has accepted the upgrade, not before.

    :param under: how to reach the server.
    :param reactor: for the timers.
    :param host: Host of the upgrade request (the Ingress finds its rule by it).
    :param port: port in the Host.
    :param path: path of the upgrade request.
    :param handshake_timeout: seconds that the upgrade may take.
    """

    def __init__(
        self,
        under: IStreamClientEndpoint,
        *,
        reactor: Any,
        host: str,
        port: int,
        path: str = "/ws",
        handshake_timeout: float = 15.0,
    ) -> None:
        self._under = under
        self._reactor = reactor
        self._host = f"[{host}]" if ":" in host else host
        self._url = f"ws://{self._host}:{port}{path}"
        self._handshake_timeout = handshake_timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect and upgrade.

        The Deferred fails with what the endpoint beneath failed with, or with :class:`UpgradeRefused`.
        """
        factory = WebSocketClientFactory(self._url, reactor=self._reactor, useragent="rtunnel", headers={HALF_CLOSE: EMPTY_MESSAGE})
        factory.noisy = False
        factory.protocol = _ClientProtocol
        # autobahn leaves out the brackets of an IPv6 address
        factory.host = self._host
        factory.upper = protocolFactory
        factory.handshake_timeout = self._handshake_timeout
        _set_options(factory)
        below: list[Any] = []

        def cancel(_: Deferred[IProtocol]) -> None:
            factory.waiting = None
            connecting.cancel()
            if below:
                below[0].transport.abortConnection()

        opened: Deferred[IProtocol] = Deferred(cancel)
        factory.waiting = opened

        def failed(failure: Failure) -> None:
            waiting, factory.waiting = factory.waiting, None
            if waiting is not None:
                waiting.errback(failure)

        connecting = self._under.connect(factory)
        connecting.addCallbacks(below.append, failed)
        return opened
