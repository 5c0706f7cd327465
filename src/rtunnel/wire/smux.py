"""The smux session engine: frames in, events out, no I/O.

smux (xtaci/smux, versions 1 and 2) carries many streams over one ordered byte stream. A frame is eight bytes, little endian,
``VERSION(1) COMMAND(1) LENGTH(2) STREAM(4)``, then ``LENGTH`` bytes. Version 2 gives each stream a window of its own: the
receiver sends UPD with the bytes it has consumed and the size of its window.

A :class:`Session` never calls its owner. :meth:`Session.receive` parses bytes and returns events; the sending methods queue
frames, which :meth:`Session.take_output` returns. All flow control arithmetic is here.

rtunnel adds signals, each a UPD of version 2:

- with a window of zero on a stream it means "stop sending" (like STOP_SENDING in QUIC, RFC 9000 19.5). smux has no reset, and a
  FIN alone cannot distinguish a half-close from a visitor that is gone in the middle of a download. For a peer that does not know
  the signal the window is full, so it sends nothing more, as intended.
- with a window of 2^31 + 1 on a stream, which no window is, it means "nothing of what I have not answered was delivered" (like
  REFUSED_STREAM in HTTP/2, RFC 9113 8.7): it may be sent again elsewhere. To a gost it is a negative window, before the end.
- with a window of 2^31 + 2 on a stream it means "what I sent is not all of it": the end that follows is no proper one.
- with a window of zero on stream 0 it means "I am draining" (like GOAWAY in HTTP/2, RFC 9113 6.8): open no more streams, or, from
  the end that opens them, join elsewhere. Stream 0 does not exist, and a peer that does not know the signal ignores updates of
  unknown streams.
- with a window of one on stream 0 it asks for a sign of life, with a window of two it is one.
- with a window of three on stream 0 it says that the sender takes a control stream (:mod:`rtunnel.wire.control`), and by which
  number it knows it.
- with a window of 2^31 and more on stream 0, both numbers are the sender's name for itself (:meth:`Session.announce`).
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

__all__ = [
    "BROKEN",
    "CONTROL",
    "DATA",
    "DRAINING",
    "FINISHED",
    "FLOOD",
    "FLOOD_SIZE",
    "INITIAL_WINDOW",
    "INSTANCE",
    "INSTANCE_BITS",
    "MAX_FRAME",
    "OPENED",
    "REFUSED",
    "SIGN_OF_LIFE",
    "STOPPED",
    "WRITABLE",
    "Event",
    "Session",
    "SmuxError",
]

SYN: Final = 0
FIN: Final = 1
PSH: Final = 2
NOP: Final = 3
UPD: Final = 4

HEADER: Final = 8
MAX_FRAME: Final = 65535
INITIAL_WINDOW: Final = 262144
"""The assumed window of the peer until its first UPD (xtaci/smux ``initialPeerWindow``)."""
FIRST_UPDATE: Final = 65536
"""Bytes consumed before the first UPD is sent: a smaller exchange needs none."""
RUN_FRAME: Final = 4096
"""Minimum payload size, in bytes, from which a frame is processed together with those that follow it."""
MAX_RUN: Final = 64
"""Frames that are processed together at most: what collects them costs more than tiny ones themselves."""
FLOOD_SIZE: Final = 20_000
"""Frames that changed nothing, after each so many of which there is a :data:`FLOOD`, by default."""
TINY: Final = 1024
"""Bytes of a piece that waits for credit, below which the next ones are added to it rather than kept by themselves."""
UNLIMITED: Final = 1 << 62
MODULUS: Final = 1 << 32

OPENED: Final = 1
DATA: Final = 2
FINISHED: Final = 3
STOPPED: Final = 4
WRITABLE: Final = 5
DRAINING: Final = 6
REFUSED: Final = 7
SIGN_OF_LIFE: Final = 8
BROKEN: Final = 9
INSTANCE: Final = 10
FLOOD: Final = 11
CONTROL: Final = 12

INSTANCE_BITS: Final = 63
"""Size of the number that a peer announces itself with."""
_INSTANCE: Final = 1 << 31
"""The windows from here on announce one."""

# windows of a UPD that are signals
_STOP: Final = 0
_REFUSE: Final = (1 << 31) + 1
_BREAK: Final = (1 << 31) + 2
_ASK: Final = 1
_ANSWER: Final = 2
_CONTROL: Final = 3

Event = tuple[int, int, bytes]
"""``(kind, stream id, payload)``; the payload is empty except for :data:`DATA`.

- :data:`OPENED`: the peer opened the stream.
- :data:`DATA`: bytes of the stream, in order; say what of them was consumed with :meth:`Session.consumed`, at the latest when the
  stream is in :attr:`Session.due`.
- :data:`FINISHED`: the peer has half-closed the stream.
- :data:`STOPPED`: the peer has stopped reading; pending data was dropped.
- :data:`WRITABLE`: all data that waited for credit was framed.
- :data:`DRAINING`: the peer is about to leave, and accepts no more streams (stream ID 0).
- :data:`REFUSED`: the peer has delivered nothing of what it did not answer; the end of the stream follows.
- :data:`BROKEN`: the end that the peer's direction comes to is no proper one.
- :data:`INSTANCE`: who the peer is, see :meth:`Session.announce`; the payload is opaque.
- :data:`CONTROL`: the peer takes a control stream, see :meth:`Session.offer_control`; the payload is the number, as text.
- :data:`SIGN_OF_LIFE`: the answer to :meth:`Session.ask` (stream ID 0).
- :data:`FLOOD`: as many more frames as allowed came that changed nothing, such as NOPs or frames of streams that are gone; its
  owner knows in what time (stream ID 0).
"""

_header = Struct("<BBHI")
_fast_header = Struct("<HHI")
"""The same, with version and command as one number."""
_update = Struct("<BBHIII")
_window = Struct("<II")


class SmuxError(Exception):
    """The peer violated the protocol: the session has ended and its connection must be closed."""


class _Stream:
    """The state of one stream; owned by the session from SYN until both sides have ended."""

    __slots__ = (
        "acknowledged",
        "consumed",
        "direct_end",
        "due_at",
        "fin_queued",
        "fin_received",
        "fin_sent",
        "pending",
        "pending_size",
        "received",
        "stopped",
        "update_after",
        "window_end",
        "written",
    )

    def __init__(self, credit: int, update_after: int) -> None:
        self.written = 0
        self.window_end = credit
        """How much may be written in all."""
        self.direct_end = credit
        """The same for what need not wait for anything: 0 while something is pending, and after the end."""
        self.pending: deque[bytes | bytearray | memoryview] | None = None
        self.pending_size = 0
        self.received = 0
        self.consumed = 0
        self.acknowledged = 0
        self.update_after = update_after
        """Consumed bytes from the last UPD to the next one."""
        self.due_at = update_after
        """Received bytes from which on the next UPD may be due; 0 when there is none any more."""
        self.fin_queued = False
        self.fin_sent = False
        self.fin_received = False
        self.stopped = False

    @property
    def credit(self) -> int:
        """How much may be written now."""
        return self.window_end - self.written

    def update_direct_end(self) -> None:
        """Whether anything is pending, or the end, has changed, or the window."""
        self.direct_end = self.window_end if self.pending is None and not self.fin_queued else 0


class Session:
    """One end of a smux session.

    The class is longer than others because sending and receiving share the credit of each stream, and the hot paths are inlined.

    :param opens: whether this end opens streams (the smux client: odd IDs from 3, like gost) or accepts them.
    :param version: 1 or 2; both ends must agree, a frame of the other version is an error.
    :param window: receive window of each stream, in bytes (version 2; gost ``mux.maxStreamBuffer``).
    :param frame_size: maximum payload of sent frames, in bytes; any size up to 65535 is received.
    :param receive_buffer: maximum unconsumed bytes of a session of version 1 before :attr:`congested` is true.
    :param max_streams: maximum number of open streams of the peer; further ones are aborted.
    :param max_futile: frames that changed nothing, after each so many of which there is a :data:`FLOOD`.
    :ivar due: streams of which so much was received that their peer needs to know what was consumed; its owner takes them out.
    """

    __slots__ = (
        "_at_once",
        "_buffered",
        "_cut_size",
        "_cut_stream",
        "_frame_size",
        "_futile",
        "_held",
        "_limit",
        "_max_futile",
        "_max_streams",
        "_next_id",
        "_opens",
        "_out",
        "_partial",
        "_push",
        "_receive_buffer",
        "_streams",
        "_version",
        "_window",
        "due",
        "held",
        "queued",
    )

    def __init__(
        self,
        *,
        opens: bool,
        version: int = 2,
        window: int = 1 << 20,
        frame_size: int = 32768,
        receive_buffer: int = 4 << 20,
        max_streams: int = 65536,
        max_futile: int = FLOOD_SIZE,
    ) -> None:
        if version not in (1, 2):
            raise ValueError(f"smux version {version}: must be 1 or 2")
        if not 0 < frame_size <= MAX_FRAME:
            raise ValueError(f"smux frame size {frame_size}: must be 1 to {MAX_FRAME}")
        if not 0 < window < 1 << 31:
            raise ValueError(f"smux window {window}: must be 1 to {(1 << 31) - 1}")
        self._opens = opens
        self._version = version
        self._window = window
        self._push = PSH << 8 | version
        self._limit = max(window, INITIAL_WINDOW) if version == 2 else UNLIMITED
        self._frame_size = frame_size
        self._at_once = frame_size
        """The largest piece that is framed as it is written; 0 while payload is held."""
        self._held: dict[int, int] = {}
        """The streams of which payload is held, in the order in which that began, with the size of what waits."""
        self.held = 0
        """Bytes of payload that are held, see :meth:`hold`."""
        self._receive_buffer = receive_buffer
        self._max_streams = max_streams
        self._max_futile = max_futile
        self._next_id = 1 if opens else 0
        self._streams: dict[int, _Stream] = {}
        self._out: list[bytes | bytearray | memoryview] = []
        self._partial = b""
        self._cut_stream = 0
        self._cut_size = 0
        self._futile = 0
        self._buffered = 0
        self.due: set[int] = set()
        self.queued = 0
        """Bytes of payload framed since the last :meth:`take_output`."""

    @property
    def version(self) -> int:
        """The smux version of the session."""
        return self._version

    @property
    def max_futile(self) -> int:
        """Frames that changed nothing, after each so many of which there is a :data:`FLOOD`."""
        return self._max_futile

    @property
    def streams(self) -> int:
        """Number of open streams: neither ended on both sides nor aborted."""
        return len(self._streams)

    @property
    def has_output(self) -> bool:
        """Whether there is output to send."""
        return bool(self._out)

    @property
    def buffered(self) -> int:
        """Bytes of streams that wait for the peer's credit. Counted each time: not for hot paths."""
        return sum([stream.pending_size for stream in self._streams.values()])

    def unconsumed(self) -> dict[int, tuple[int, int]]:
        """For each stream with bytes that the application has not consumed: how many it has consumed, and how many it has not."""
        return {
            number: (stream.consumed, stream.received - stream.consumed)
            for number, stream in self._streams.items()
            if stream.received > stream.consumed
        }

    @property
    def congested(self) -> bool:
        """Whether a session of version 1 has so much unconsumed data that reading from its connection should pause."""
        return self._buffered > self._receive_buffer

    # -- sending

    def open(self) -> int:
        """Open a stream and return its ID.

        :raises SmuxError: when the stream IDs are exhausted.
        """
        if self._next_id >= MODULUS - 2:
            raise SmuxError("the stream ids of the session are exhausted")
        self._next_id += 2
        stream_id = self._next_id
        self._streams[stream_id] = self._new_stream()
        self._out.append(_header.pack(self._version, SYN, 0, stream_id))
        return stream_id

    def waiting(self, stream_id: int) -> int:
        """Pending bytes of a stream that wait for credit."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.pending_size

    def has_sent(self, stream_id: int) -> bool:
        """Whether any payload of an open stream was framed."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.written > 0

    def send(self, stream_id: int, data: bytes) -> int:
        """Queue bytes of a stream; what exceeds the peer's window waits for credit.

        :returns: the number of pending bytes of the stream; 0 if all were framed.
        """
        stream = self._streams.get(stream_id)
        size = len(data)
        if stream is not None and size <= self._at_once and (written := stream.written + size) <= stream.direct_end and size:
            stream.written = written
            self.queued += size
            self._out += (_fast_header.pack(self._push, size, stream_id), data)
            return 0
        if stream is None or stream.fin_queued:
            return 0
        if not size:
            return stream.pending_size
        if stream.pending is None:
            stream.pending = deque()
            stream.update_direct_end()
        _add_piece(stream.pending, data)
        stream.pending_size += size
        self._frame_pending(stream_id, stream)
        return stream.pending_size

    def hold(self) -> None:
        """Frame no payload for now, since the connection takes none.

        It waits in its stream then, as if for credit: where it is not copied, and goes with a stream that is aborted. All other
        frames are queued as ever. See :meth:`release`.
        """
        self._at_once = 0

    def release(self, most: int) -> list[int]:
        """Frame payload again, first what was held, stream after stream, until more than some bytes are queued.

        To be called again after :meth:`take_output` while something is :attr:`held`.

        :returns: the streams of which nothing waits any more.
        """
        self._at_once = self._frame_size
        done = []
        while self._held and self.queued <= most:
            stream_id = next(iter(self._held))
            stream = self._streams[stream_id]
            self._frame_pending(stream_id, stream)
            if stream.pending is None:
                done.append(stream_id)
        return done

    def finish(self, stream_id: int) -> None:
        """Half-close a stream with FIN, after its pending data."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.fin_queued:
            return
        stream.fin_queued = True
        stream.update_direct_end()
        if stream.pending is None:
            self._send_fin(stream_id, stream)

    def stop(self, stream_id: int) -> None:
        """Tell the peer to stop sending on a stream (a window of zero); our own direction stays open.

        Version 1 has no such signal: there the received data is dropped, so that it does not block the other streams.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.fin_received or stream.stopped:
            return
        stream.stopped = True
        if self._version == 1:
            self._buffered -= stream.received - stream.consumed
            stream.consumed = stream.received
            return
        self._out.append(_update.pack(self._version, UPD, 8, stream_id, stream.consumed % MODULUS, 0))

    def refuse(self, stream_id: int) -> None:
        """Abort a stream, and tell the peer that nothing of what was not answered was delivered. Version 1 has no such signal."""
        stream = self._streams.get(stream_id)
        if stream is not None and self._version == 2 and not stream.stopped:
            self._out.append(_update.pack(self._version, UPD, 8, stream_id, stream.consumed % MODULUS, _REFUSE))
        self.abort(stream_id)

    def mark_broken(self, stream_id: int) -> None:
        """Tell the peer that the end of our direction, which follows, is no proper one. Version 1 has no such signal."""
        stream = self._streams.get(stream_id)
        if stream is not None and self._version == 2 and not stream.stopped and not stream.fin_sent:
            self._out.append(_update.pack(self._version, UPD, 8, stream_id, stream.consumed % MODULUS, _BREAK))

    def abort(self, stream_id: int) -> None:
        """Abort a stream: drop pending data, send stop and FIN, and forget it; later frames of it are ignored."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self.stop(stream_id)
        if not stream.fin_sent:
            self._out.append(_header.pack(self._version, FIN, 0, stream_id))
        self._forget(stream_id, stream)

    def unconsumed_by(self, stream_id: int) -> int:
        """Bytes of a stream of which the application has not said yet that it has consumed them."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.received - stream.consumed

    def consumed(self, stream_id: int, size: int) -> None:
        """Return credit: the application has consumed ``size`` bytes of a stream.

        UPD is sent lazily: first after 64 KiB (or half of a smaller window), then whenever half of the window was consumed.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.stopped:
            # a window after the one of zero would let the peer send again
            return
        stream.consumed += size
        if self._version == 1:
            self._buffered -= size
        elif stream.consumed - stream.acknowledged >= stream.update_after and not stream.fin_received:
            stream.acknowledged = stream.consumed
            stream.update_after = max(1, self._window // 2)
            stream.due_at = stream.acknowledged + stream.update_after
            self._out.append(_update.pack(self._version, UPD, 8, stream_id, stream.consumed % MODULUS, self._window))

    def ping(self) -> None:
        """Queue a NOP as a keepalive."""
        self._out.append(_header.pack(self._version, NOP, 0, 0))

    def ask(self) -> bool:
        """Ask the peer for a sign of life.

        :returns: whether it can be asked; not in version 1. A peer that does not know the question does not answer.
        """
        if self._version == 2:
            self._out.append(_update.pack(self._version, UPD, 8, 0, 0, _ASK))
        return self._version == 2

    def announce(self, instance: int) -> None:
        """Tell the peer who this is, so that it knows us again on another connection. Does nothing in version 1.

        :param instance: a random number of :data:`INSTANCE_BITS`, which nobody else knows.
        """
        if self._version == 2:
            self._out.append(_update.pack(self._version, UPD, 8, 0, instance >> 31, _INSTANCE | instance & _INSTANCE - 1))

    def offer_control(self, token: int) -> None:
        """Tell the peer that this end takes a control stream (:mod:`rtunnel.wire.control`). Does nothing in version 1.

        :param token: 32 random bits; the stream with them is that of the peer, and not of a visitor who knows its destination.
        """
        if self._version == 2:
            self._out.append(_update.pack(self._version, UPD, 8, 0, token, _CONTROL))

    def leave(self) -> None:
        """Tell the peer that this end is about to leave; open streams go on. Does nothing in version 1."""
        if self._version == 2:
            self._out.append(_update.pack(self._version, UPD, 8, 0, 0, 0))

    def take_output(self) -> bytes:
        """Return the queued output and clear the queue."""
        out = self._out
        if not out:
            return b""
        self._out = []
        self.queued = 0
        return b"".join(out)

    def discard(self) -> None:
        """The connection is lost: free all that waits, since the session itself may be known for longer."""
        self._streams.clear()
        self._held.clear()
        self.held = 0
        self._out = []
        self._partial = b""
        self._buffered = self.queued = 0
        self.due.clear()

    # -- receiving

    def receive(self, data: bytes) -> list[Event]:
        """Parse bytes from the peer, split anywhere.

        Payload is passed on as it is received: a frame that is split gives several :data:`DATA` events, consecutive large frames of
        a stream give one.

        :raises SmuxError: when the peer violates the protocol; the session has ended then.
        """
        events: list[Event] = []
        if self._partial:
            data = self._partial + data
            self._partial = b""
        size = len(data)
        position = 0
        if self._cut_size:
            rest, self._cut_size = self._cut_size, 0
            position = self._receive_run(data, 0, rest, self._cut_stream, events)
        streams = self._streams
        unpack = _fast_header.unpack_from
        usual = self._push
        last = size - HEADER
        while position <= last:
            word, length, stream_id = unpack(data, position)
            start = position + HEADER
            end = start + length
            if word == usual and end <= size and length < RUN_FRAME:
                # _receive_data() of the common case, inlined: this is the hottest loop of the engine
                stream = streams.get(stream_id)
                if stream is not None and (received := stream.received + length) < stream.due_at and length:
                    stream.received = received
                    events.append((DATA, stream_id, data[start:end]))
                elif length:
                    self._receive_data(stream_id, data[start:end], events)
                else:
                    self._count_futile(events)
                position = end
                continue
            version, command = word & 255, word >> 8
            if version != self._version:
                raise SmuxError(f"frame of smux version {version} in a session of version {self._version}")
            if command == PSH:
                if length >= RUN_FRAME:
                    position = self._receive_run(data, start, length, stream_id, events)
                    continue
                # it is cut
                position = end
                self._cut_stream = stream_id
                self._cut_size = end - size
                self._receive_data(stream_id, data[start:], events)
            elif command == UPD and version == 2:
                if length != 8:
                    raise SmuxError(f"UPD of {length} bytes, must be 8")
                if end > size:
                    break
                consumed, window = _window.unpack_from(data, start)
                position = end
                self._receive_update(stream_id, consumed, window, events)
            else:
                self._receive_signal(command, length, stream_id, events)
                position = start
        if position < size:
            self._partial = data[position:]
        return events

    def _receive_run(self, data: bytes, position: int, rest: int, stream_id: int, events: list[Event]) -> int:
        """Collect the payload of a large frame and of the frames of the same stream that follow it.

        Bulk data is received in runs of such frames; the receiver then needs one write for all of them.

        :param position: start of the payload.
        :param rest: remaining size of the payload.
        :returns: the position after the last of the frames.
        """
        size = len(data)
        end = position + rest
        if end < size:
            view = memoryview(data)
            pieces = [view[position:end]]
            while size - end >= HEADER and len(pieces) < MAX_RUN:
                version, command, length, follower = _header.unpack_from(data, end)
                if follower != stream_id or command != PSH or version != self._version:
                    break
                position = end + HEADER
                end = position + length
                pieces.append(view[position:end])
            payload = b"".join(pieces)
        else:
            payload = data[position:end]
        if end > size:
            self._cut_stream = stream_id
            self._cut_size = end - size
            end = size
        self._receive_data(stream_id, payload, events)
        return end

    def _receive_data(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.fin_received or not payload:
            return
        stream.received += len(payload)
        if stream.received - stream.acknowledged > self._limit:
            raise SmuxError(f"stream {stream_id} was sent more than its window")
        if self._version == 1:
            if stream.stopped:
                stream.consumed = stream.received
                return
            self._buffered += len(payload)
        if stream.received >= stream.due_at:
            self.due.add(stream_id)
        events.append((DATA, stream_id, payload))

    def _receive_update(self, stream_id: int, consumed: int, window: int, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id == 0:
                self._receive_link_signal(consumed, window, events)
            self._count_futile(events)
            return
        in_flight = (stream.written - consumed) % MODULUS
        if in_flight >= 1 << 31 or in_flight > stream.written:
            raise SmuxError(f"stream {stream_id}: more consumed than was sent")
        if window == _STOP:
            self._receive_stop(stream_id, stream, events)
            self._count_futile(events)
            return
        if window in (_REFUSE, _BREAK):
            events.append((REFUSED if window == _REFUSE else BROKEN, stream_id, b""))
            self._count_futile(events)
            return
        window_end = stream.written + window - in_flight
        if stream.window_end == window_end:
            self._count_futile(events)
            return
        stream.window_end = window_end
        stream.update_direct_end()
        if stream.pending is not None and stream.credit > 0:
            self._frame_pending(stream_id, stream)
            if not stream.pending_size:
                events.append((WRITABLE, stream_id, b""))

    def _receive_link_signal(self, consumed: int, window: int, events: list[Event]) -> None:
        if window == _STOP:
            events.append((DRAINING, 0, b""))
        elif window == _ASK:
            answer = _update.pack(self._version, UPD, 8, 0, 0, _ANSWER)
            if self._out[-1:] != [answer]:
                # a flood of questions gets one answer for each time that output is taken
                self._out.append(answer)
        elif window == _ANSWER:
            events.append((SIGN_OF_LIFE, 0, b""))
        elif window == _CONTROL:
            events.append((CONTROL, 0, b"%08x" % consumed))
        elif window >= _INSTANCE:
            events.append((INSTANCE, 0, _window.pack(consumed, window)))

    def _receive_stop(self, stream_id: int, stream: _Stream, events: list[Event]) -> None:
        self._let_go(stream_id)
        stream.pending = None
        stream.pending_size = 0
        stream.window_end = stream.written
        stream.direct_end = 0
        events.append((STOPPED, stream_id, b""))
        if not stream.fin_sent:
            stream.fin_queued = True
            self._send_fin(stream_id, stream)

    def _receive_signal(self, command: int, length: int, stream_id: int, events: list[Event]) -> None:
        """Process a frame without payload: SYN, FIN or NOP."""
        if command not in (SYN, FIN, NOP):
            raise SmuxError(f"unknown command {command}")
        if length:
            raise SmuxError(f"command {command} with {length} bytes of payload")
        if command == SYN:
            self._receive_syn(stream_id, events)
        elif command == FIN:
            stream = self._streams.get(stream_id)
            if stream is not None and not stream.fin_received:
                stream.fin_received = True
                stream.due_at = 0
                events.append((FINISHED, stream_id, b""))
                if stream.fin_sent:
                    self._forget(stream_id, stream)
            else:
                self._count_futile(events)
        else:
            self._count_futile(events)

    def _count_futile(self, events: list[Event]) -> None:
        """Count a frame that changes nothing, or comes once in the life of a stream: only a flood of them is worth an event."""
        self._futile += 1
        if self._futile == self._max_futile:
            self._futile = 0
            events.append((FLOOD, 0, b""))

    def _receive_syn(self, stream_id: int, events: list[Event]) -> None:
        if stream_id in self._streams:
            raise SmuxError(f"stream {stream_id} was opened twice")
        if stream_id & 1 == self._opens or not stream_id:
            raise SmuxError(f"the peer opened stream {stream_id}, whose id belongs to this end")
        if len(self._streams) >= self._max_streams:
            if self._version == 2:
                # nothing is read from this stream: without this the peer would wait for credit forever
                self._out.append(_update.pack(self._version, UPD, 8, stream_id, 0, 0))
            self._out.append(_header.pack(self._version, FIN, 0, stream_id))
            self._count_futile(events)
            return
        self._streams[stream_id] = self._new_stream()
        events.append((OPENED, stream_id, b""))

    # -- stream state

    def _new_stream(self) -> _Stream:
        if self._version == 1:
            return _Stream(UNLIMITED, 0)
        return _Stream(INITIAL_WINDOW, max(1, min(FIRST_UPDATE, self._window // 2)))

    def _frame_pending(self, stream_id: int, stream: _Stream) -> None:
        """Frame pending data as far as the credit allows; then send FIN if it is queued."""
        pending = stream.pending
        if pending is None:
            return
        if not self._at_once:
            if stream.credit > 0:
                self.held += stream.pending_size - self._held.get(stream_id, 0)
                self._held[stream_id] = stream.pending_size
            return
        if self._held:
            self._let_go(stream_id)
        while pending and stream.credit > 0:
            data = pending.popleft()
            size = min(len(data), stream.credit, self._frame_size)
            if size < len(data):
                view = memoryview(data)
                pending.appendleft(view[size:])
                data = view[:size]
            stream.written += size
            stream.pending_size -= size
            self.queued += size
            self._out.append(_header.pack(self._version, PSH, size, stream_id))
            self._out.append(data)
        if not pending:
            stream.pending = None
            stream.update_direct_end()
            if stream.fin_queued:
                self._send_fin(stream_id, stream)

    def _let_go(self, stream_id: int) -> None:
        """Nothing of a stream is held any more."""
        self.held -= self._held.pop(stream_id, 0)

    def _send_fin(self, stream_id: int, stream: _Stream) -> None:
        stream.fin_sent = True
        self._out.append(_header.pack(self._version, FIN, 0, stream_id))
        if stream.fin_received:
            self._forget(stream_id, stream)

    def _forget(self, stream_id: int, stream: _Stream) -> None:
        del self._streams[stream_id]
        if self._held:
            self._let_go(stream_id)
        if self._version == 1:
            self._buffered -= stream.received - stream.consumed


def _add_piece(pieces: deque[bytes | bytearray | memoryview], data: bytes) -> None:
    """Add data to what waits. Tiny pieces are joined, since each by itself costs much more than its bytes."""
    last = pieces[-1] if pieces else None
    if len(data) >= TINY:
        pieces.append(data)
    elif type(last) is bytearray and len(last) < TINY:
        last += data
    else:
        pieces.append(bytearray(data))
