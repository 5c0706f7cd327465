"""UDP as a stream transport: datagrams are written and received with their lengths in front.

So an association, the datagrams between two addresses, can take the place of a connection, on either side of a splice.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone, MessageLengthError
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPushProducer,
    IReactorTime,
    IReactorUDP,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.outcomes import DatagramLoss
from rtunnel.reactor_types import INetworkReactor
from rtunnel.transport.sockets import lacks_ipv6
from rtunnel.wire.datagram import DatagramReader, frame_datagram

__all__ = ["MAX_BYTES", "MAX_DATAGRAMS", "Association", "UdpClientEndpoint", "listen_udp"]

MAX_DATAGRAMS = 1024
"""Datagrams of one association that may wait for the other side; beyond that the oldest is dropped (gost's ``readQueueSize``)."""
MAX_BYTES = 262144
"""The same in bytes; no datagram is larger by itself."""
READ_SIZE = 65535
"""Bytes of one read: more than any datagram has."""
KERNEL_BUFFER = 4194304
"""Bytes of the socket buffers that the kernel is asked for; it may grant less."""
LINGER = 10.0
"""Seconds that the other side may take to end as well, once an association has ended."""


@implementer(ITransport, IConsumer, IPushProducer)
class Association:
    """The datagrams between a socket and one address, as a transport.

    Reading ends when nothing passed in either direction for ``idle`` seconds, or when the other side ended: nothing more can be
    expected then. While it is paused, datagrams are queued, and the oldest are dropped when the queue is full. What is written is
    sent at once or never.

    :param send: sends one datagram; raises :class:`OSError` when the system does not accept it.
    :param peer: the address of the other end; *host* that of the socket.
    :param idle: seconds of silence.
    :param on_drop: called for each dropped datagram with the reason.
    :param on_end: called once when it has ended, before ``connectionLost`` of the protocol.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        peer: Any,
        host: Any,
        idle: float,
        reactor: IReactorTime,
        on_drop: Callable[[DatagramLoss], None],
        on_end: Callable[[], object],
    ) -> None:
        self.protocol: Any = None
        """Who gets what is received; may be exchanged at any time."""
        self.active: float = reactor.seconds()
        """When a datagram went either way last."""
        self.paused = False
        self.disconnecting = False
        self._send = send
        self._peer = peer
        self._host = host
        self._idle = idle
        self._reactor = reactor
        self._on_drop = on_drop
        self._on_end = on_end
        self._reader = DatagramReader()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._read_ended = False
        self._lost = False
        self._timer = reactor.callLater(idle, self._check_idle)

    @property
    def over(self) -> bool:
        """Whether received datagrams are dropped from now on."""
        return self._read_ended or self.disconnecting

    # -- from the socket

    def received(self, datagram: bytes) -> None:
        """A datagram came from the peer."""
        self.active = self._reactor.seconds()
        if self.over:
            # the protocol has been told that there are no more
            self._on_drop(DatagramLoss.EXPIRED)
        elif self.paused or self._waiting:
            self._keep(frame_datagram(datagram))
        else:
            self.protocol.dataReceived(frame_datagram(datagram))

    def refused(self) -> None:
        """The kernel learnt (ICMP) that no socket is bound at the peer's address."""
        self._on_drop(DatagramLoss.REFUSED)

    def _keep(self, framed: bytes) -> None:
        self._waiting.append(framed)
        self._waiting_bytes += len(framed)
        while len(self._waiting) > MAX_DATAGRAMS or self._waiting_bytes > MAX_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft())
            self._on_drop(DatagramLoss.QUEUE_FULL)

    # -- ITransport, IConsumer: towards the peer

    def write(self, data: bytes) -> None:
        """Send the datagrams that are complete with these bytes."""
        if self._lost or self.disconnecting:
            return
        self.active = self._reactor.seconds()
        for datagram in self._reader.receive(data):
            try:
                self._send(datagram)
            except (OSError, MessageLengthError):
                self._on_drop(DatagramLoss.REFUSED)

    def writeSequence(self, data: Any) -> None:
        """Write several pieces as one."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """The other side has ended, so no answer is expected any longer."""
        self._end_read()

    def loseConnection(self) -> None:
        """End it."""
        self._close(ConnectionDone)

    def abortConnection(self) -> None:
        """End it as unfinished."""
        self._close(ConnectionAborted)

    def _close(self, reason: type[Exception]) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            # not from inside a call of the protocol
            self._reactor.callLater(0, self._lose, reason)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Producers are never paused: datagrams that the kernel does not accept are dropped."""

    def unregisterProducer(self) -> None:
        """Nothing was registered."""

    def getPeer(self) -> Any:
        """The address of the other end."""
        return self._peer

    def getHost(self) -> Any:
        """The address of the socket."""
        return self._host

    # -- IPushProducer: towards the protocol

    def pauseProducing(self) -> None:
        """Queue what is received."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Deliver what was queued, and what is received from now on."""
        self.paused = False
        while self._waiting and not self.paused and not self._read_ended:
            framed = self._waiting.popleft()
            self._waiting_bytes -= len(framed)
            self.protocol.dataReceived(framed)

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self.loseConnection()

    # -- its end

    def _check_idle(self) -> None:
        """End it if it was idle for too long."""
        left = self.active + self._idle - self._reactor.seconds()
        if left > 0 or self._waiting:
            self._timer = self._reactor.callLater(left if left > 0 else self._idle, self._check_idle)
        else:
            self._end_read()

    def _end_read(self) -> None:
        if self._read_ended or self._lost:
            return
        self._read_ended = True
        self._drop_waiting()
        if self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(LINGER, self.loseConnection)
        self.protocol.readConnectionLost()

    def _drop_waiting(self) -> None:
        for _ in self._waiting:
            self._on_drop(DatagramLoss.EXPIRED)
        self._waiting.clear()

    def _lose(self, reason: type[Exception]) -> None:
        if self._lost:
            return
        self._lost = self._read_ended = True
        self._drop_waiting()
        if self._timer.active():
            self._timer.cancel()
        self._on_end()
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(Failure(reason()))


class _Connected(DatagramProtocol):
    """The protocol of a socket with a single peer."""

    noisy = False
    association: Association
    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.association.received(datagram)

    def connectionRefused(self) -> None:
        self.association.refused()


@implementer(IStreamClientEndpoint)
class UdpClientEndpoint:
    """Makes an :class:`Association` with a host and port, on a socket of its own; a name is resolved for each, preferably to IPv4.

    UDP has no handshake, so this succeeds whether or not there is a peer.

    :param idle: see :class:`Association`, as for *on_drop*.
    """

    def __init__(
        self, reactor: INetworkReactor, host: str, port: int, *, idle: float, on_drop: Callable[[DatagramLoss], None]
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._idle = idle
        self._on_drop = on_drop

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Make the association; fails when the name has no address or the system has no socket."""
        return self._resolve().addCallback(self._open, protocolFactory)

    def _resolve(self) -> Deferred[str]:
        if isIPAddress(self._host) or isIPv6Address(self._host):
            return succeed(self._host)
        resolving = deferToThreadPool(
            self._reactor,
            self._reactor.getThreadPool(),
            socket.getaddrinfo,
            self._host,
            self._port,
            type=socket.SOCK_DGRAM,
        )
        return resolving.addCallback(_preferred)

    def _open(self, host: str, factory: Any) -> Any:
        connected = _Connected()
        port: Any = self._reactor.listenUDP(0, connected, "::" if isIPv6Address(host) else "", READ_SIZE)
        try:
            port.connect(host, self._port)
        except OSError:
            port.stopListening()
            raise
        _widen(port)
        association = connected.association = Association(
            port.write,
            peer=type(port.getHost())("UDP", host, self._port),
            host=port.getHost(),
            idle=self._idle,
            reactor=self._reactor,
            on_drop=self._on_drop,
            on_end=port.stopListening,
        )
        protocol = association.protocol = factory.buildProtocol(association.getPeer())
        protocol.makeConnection(association)
        return protocol


def _preferred(found: list[Any]) -> str:
    """Choose an address of a name: of IPv4 where there is one, since UDP does not tell which of them is reachable."""
    return str(min(found, key=lambda one: one[0] is not socket.AF_INET)[4][0])


def listen_udp(reactor: IReactorUDP, host: str, port: int, protocol: DatagramProtocol) -> IListeningPort:
    """Listen for datagrams.

    :param host: address to bind; empty for every address of both families where the system has IPv6.
    :raises CannotListenError: when the port is in use, not permitted, or the address is not local.
    """
    try:
        listening = reactor.listenUDP(port, protocol, host or "::", READ_SIZE)
    except (CannotListenError, OSError) as error:
        if host or not lacks_ipv6(error):
            raise
        listening = reactor.listenUDP(port, protocol, "", READ_SIZE)
    _widen(listening)
    return listening


def _widen(port: Any) -> None:
    """Enlarge the socket buffers, for bursts that are faster than we read."""
    handle = port.getHandle()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, option, KERNEL_BUFFER)
