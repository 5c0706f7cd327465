"""Frames of a WebSocket in, bytes up: what our server and client protocols share, mixed in before autobahn's class.

Payload goes up as it comes, also that of half a frame; control frames, and all that is wrong, go to autobahn, whole.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from rtunnel.transport import websocket
from rtunnel.transport.websocket import BINARY, WebSocketTransport
from rtunnel.transport.websocket_mask import mask

__all__ = ["ByteStream"]

MAX_HEAD = 65536
"""Bytes of an upgrade request or answer; more is cut off."""
CLOSE_TIMEOUT = 5.0
"""Seconds that a peer may take to answer our close frame."""

_read16 = Struct(">H")
_read64 = Struct(">Q")


class ByteStream:
    """What our server and client protocols share. Mixed in before autobahn's class.

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
        unlimited = False
        if self._stream is not None:
            self._stream.disconnecting = True
            unlimited = self._stream.half_close_mode
        if self._close_timer is None and not unlimited:
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
        if self._stream is not None:
            self._stream.pong_received()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone."""
        self._cancel_timers()
        stream = self._stream
        if stream is None or stream.upper is None:
            return
        stream.disconnecting = True
        # a gost closes without a close frame: what it sent was all it had
        clean = wasClean or (self._fin and stream.half_close_mode and not self.half_closes)
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
        self._ours = websocket.FAST and self._idle()

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
