"""An in-memory connection with everything that our protocols rely on: pause and resume, high-water mark, half-close, loss.

:func:`connect` gives two protocols a transport each. What is written waits in the writer's transport; :meth:`Pipe.pump` carries it
over and makes every other call that a reactor would make, so that no protocol is ever called from inside a call of its own. The
same calls give the same course, always.

The transports behave like Twisted's on TCP (``twisted.internet.abstract``, ``twisted.internet.tcp``), with two exceptions. There is
no kernel in between: bytes that the reader does not take stay with the writer, and count for its high-water mark. And an exception
out of a protocol comes out of :meth:`Pipe.pump`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ISystemHandle, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["HIGH_WATER", "READ_SIZE", "Pipe", "PipeTransport", "connect"]

HIGH_WATER = 65536
"""Bytes waiting for the reader, beyond which a streaming producer is paused (Twisted's ``bufferSize``)."""
READ_SIZE = 65536
"""Bytes in one call of ``dataReceived``, at most."""
ENDLESS = 5_000_000
"""Turns in one call of :meth:`Pipe.pump` after which two protocols must be chasing each other."""

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.1", 40001)
SERVER_ADDRESS = IPv4Address("TCP", "198.51.100.1", 80)


@implementer(ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class PipeTransport:
    """One end of a :class:`Pipe`, which owns it.

    :param protocol: who gets the bytes; may be exchanged at any time, and is None once the connection is lost.
    :param host: the address of this end.
    :param peer: the address of the other end.
    :param high_water: see :data:`HIGH_WATER`.
    :ivar reading: whether bytes are taken now; false while paused and once this end is closing.
    :ivar lost: why the connection was lost, None as long as it is not.
    """

    other: PipeTransport
    handle: Any = None
    """The socket that the connection pretends to be made of, for a test that looks at its options."""
    place: Any = None
    """What it takes up, as an accepted connection does."""

    def __init__(self, pipe: Pipe, protocol: Any, host: Any, peer: Any, high_water: int) -> None:
        self.protocol = protocol
        self.connected = True
        self.disconnecting = False
        self.disconnected = False
        self.reading = True
        self.lost: Failure | None = None
        self.producer: Any = None
        self.producer_paused = False
        self._streaming = False
        self._pipe = pipe
        self._host, self._peer = host, peer
        self._high_water = high_water
        self._no_delay = self._keep_alive = False
        self._buffer = bytearray()
        # something to do here, as if the socket had been found writable
        self._writing = False
        self._write_ending = self._write_ended = False
        # what the other end sent beside bytes
        self._fin_came = self._fin_seen = self._reset_came = False
        self._aborting = False
        self._cut: Exception | None = None

    @property
    def waiting(self) -> int:
        """Bytes written here that the other end has not taken."""
        return len(self._buffer)

    def unsent(self) -> int:
        """The same; there is no kernel that takes them."""
        return self.waiting

    # -- ITransport, ITCPTransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"only bytes can be written, not {type(data).__name__}")
        if not self.connected or self._write_ended or self._aborting or not data:
            return
        self._buffer += data
        self._writing = True
        if self.producer is not None and self._streaming and len(self._buffer) > self._high_water:
            self.producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.reading = False
            self._writing = True

    def loseWriteConnection(self) -> None:
        self._write_ending = True
        self._writing = True

    def abortConnection(self) -> None:
        if not self.disconnected:
            self._aborting = True
            self.reading = False
            self._buffer.clear()

    def getHost(self) -> Any:
        return self._host

    def getPeer(self) -> Any:
        return self._peer

    def getHandle(self) -> Any:
        return self.handle

    def getTcpNoDelay(self) -> bool:
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._keep_alive = bool(enabled)

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError(f"{producer!r} cannot be registered, because {self.producer!r} is")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.producer_paused = False
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        self._writing = self._writing or (self.connected and self.disconnecting)

    # -- IPushProducer

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = self.connected and not self.disconnecting and not self._aborting

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- called by the pipe

    def turn(self, size: int) -> int | None:
        """Do the next thing that is due at this end.

        :param size: the most bytes to move.
        :returns: how many bytes were moved, or None when nothing was due.
        """
        if self.disconnected:
            return None
        reachable = not self._pipe.silent
        if self._aborting:
            self.other._reset_came = True
            self._lose(ConnectionAborted())
        elif self._cut is not None:
            self._lose(self._cut)
        elif self._reset_came and reachable and (self.reading or self._writing):
            # a reactor does not watch a socket that neither wants to read nor to write
            self._lose(ConnectionLost("the peer reset the connection"))
        elif self._fin_came and not self._fin_seen and self.reading and reachable:
            self._see_fin()
        elif not self._writing or (self._buffer and not (reachable and (self.other.reading or self.other.disconnected))):
            return None
        else:
            return self._send(size)
        return 0

    def cut(self, reason: Exception | None = None) -> None:
        """Have the connection lost at the next turn, with all that has not been taken.

        :param reason: why; by default because the link is broken.
        """
        self._cut = reason or ConnectionLost("the link is broken")
        self._buffer.clear()

    def _send(self, size: int) -> int:
        if self._buffer and self.other.disconnected:
            # the system of the other end answers bytes for a closed socket with a reset
            self._lose(ConnectionLost("the peer has closed the connection"))
            return 0
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        if piece:
            self.other.protocol.dataReceived(piece)
        if not self._buffer and not self._aborting:
            self._writing = False
            self._drained()
        return len(piece)

    def _drained(self) -> None:
        """All that was written is gone: the producer goes on, or this direction ends."""
        closed = self.disconnecting and self._write_ended
        if self.producer is not None and (self.producer_paused or not self._streaming) and not closed:
            # before the end of the connection, as in Twisted: it may have more to say
            self.producer_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self.other._fin_came = True
            self._lose(ConnectionDone())
        elif self._write_ending and not self._write_ended:
            self._write_ended = self.other._fin_came = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()

    def _see_fin(self) -> None:
        self._fin_seen = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.other._fin_came = True
            self._lose(ConnectionDone())

    def _lose(self, reason: Exception) -> None:
        """End the connection here, and tell the protocol."""
        self.lost = Failure(reason)
        self.connected, self.disconnected, self.reading = False, True, False
        self._buffer.clear()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(self.lost)
        if self.place is not None:
            self.place.leave()


class Pipe:
    """A connection between two protocols; see :func:`connect`.

    :ivar client: the transport of the client's protocol.
    :ivar server: the transport of the server's protocol.
    :ivar silent: set it to pull the cable: nothing comes through any more, and nobody is told. Once it is false again, what
        waited goes on.
    """

    def __init__(
        self, client_protocol: Any, server_protocol: Any, client_address: Any, server_address: Any, high_water: int
    ) -> None:
        self.client = PipeTransport(self, client_protocol, client_address, server_address, high_water)
        self.server = PipeTransport(self, server_protocol, server_address, client_address, high_water)
        self.client.other, self.server.other = self.server, self.client
        self.silent = False
        self._pumping = False

    def pump(self, max_bytes: int | None = None, chunk: int | None = None) -> int:
        """Carry bytes and make calls, both ways in turns, until nothing is left to do.

        :param max_bytes: stop after so many bytes.
        :param chunk: the most bytes in one call of ``dataReceived``: 1 for byte by byte.
        :returns: how many bytes were moved.
        """
        if self._pumping:
            raise RuntimeError("the pipe is pumped from inside a call that it makes")
        self._pumping = True
        try:
            return self._pump(max_bytes, chunk or READ_SIZE)
        finally:
            self._pumping = False

    def _pump(self, max_bytes: int | None, chunk: int) -> int:
        moved = idle = turns = 0
        end, following = self.client, self.server
        while idle < 2 and (max_bytes is None or moved < max_bytes):
            size = chunk if max_bytes is None else min(chunk, max_bytes - moved)
            done = end.turn(size)
            idle = idle + 1 if done is None else 0
            moved += done or 0
            turns += 1
            if turns > ENDLESS:
                raise RuntimeError("the two protocols never come to rest")
            end, following = following, end
        return moved

    def break_link(self) -> None:
        """Lose the connection without a FIN: what was not taken is gone, and both protocols are told that it was lost.

        They are told now, or when the call of theirs that this was called from is over.
        """
        for end in (self.client, self.server):
            end.cut()
        if not self._pumping:
            self.pump()


def connect(
    client_protocol: Any,
    server_protocol: Any,
    *,
    client_address: Any = CLIENT_ADDRESS,
    server_address: Any = SERVER_ADDRESS,
    high_water: int = HIGH_WATER,
    place: Any = None,
) -> Pipe:
    """Connect two protocols: ``makeConnection`` is called here, the client's first, and nothing moves before :meth:`Pipe.pump`.

    :param client_address: ``getHost()`` of the client, ``getPeer()`` of the server.
    :param server_address: the other way round.
    :param high_water: see :data:`HIGH_WATER`.
    :param place: that of the server's end, if its port has a gate.
    """
    pipe = Pipe(client_protocol, server_protocol, client_address, server_address, high_water)
    pipe.server.place = place
    if place is not None:
        place.taken_by(pipe.server)
    client_protocol.makeConnection(pipe.client)
    server_protocol.makeConnection(pipe.server)
    return pipe
