"""TCP sockets that write at once.

Twisted's ``transport.write`` puts bytes into a buffer and asks the reactor for a write event, which costs two epoll_ctl calls and
a turn of latency for each small message. Here ``write`` tries the socket first and leaves to Twisted only what the kernel did
not accept; order, backpressure and errors stay as they are.

The listening port is Twisted's own with another transport class; :mod:`rtunnel.transport.connecting` opens connections. The
details relied on are :data:`rtunnel.private_details.SOCKETS`; without them (:data:`AT_ONCE`), or on a reactor that is not made of
sockets, everything is stock Twisted.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorFDSet,
    IReactorSocket,
    IReactorTCP,
    IStreamServerEndpoint,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import connectionDone as DONE
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.addresses import plain_address
from rtunnel.private_details import SOCKETS, available
from rtunnel.transport.passed_sockets import PassedSocket
from rtunnel.transport.reasons import Stalled

__all__ = [
    "AT_ONCE",
    "SocketServerEndpoint",
    "WriteAtOnce",
    "end_when_stalled",
    "has_input",
    "host_and_port",
    "lacks_ipv6",
    "limit_stalls",
    "listen_on",
    "listen_shared",
    "listen_tcp",
    "pending_error",
    "reserve",
]

AT_ONCE = available(SOCKETS, "sockets write when the reactor says so")
"""Whether sockets write at once."""

KEEPALIVE = 60
"""Seconds of silence after which the system asks for a sign of life, and between two questions; its own default is two hours."""
READ_SIZE = 65536
"""Bytes of one read."""
BULK_READ_SIZE = 1 << 19
"""The same after a read that was as large as possible, unless the consumer is slow: the cost of bulk is that of its system calls.

A process that reads so much at once calls :func:`rtunnel.ops.memory.keep_large_blocks` at its start.
"""


class WriteAtOnce:
    """Mixed in before Twisted's transport class.

    Whether anything stands between a write and the socket (a closing, TLS, a pull producer) is determined after a change, not at
    each write: the calls that may change it reset :attr:`_send`.
    """

    _send: Callable[[bytes], int] | None = None
    """The socket's own ``send``, once it is known that nothing stands between."""
    _read_size = READ_SIZE
    """Bytes that the next read asks for."""

    def doRead(self) -> Any:
        """Read once, as Twisted does, with fewer calls."""
        connection: Any = self
        try:
            data = connection.socket.recv(self._read_size)
        except BlockingIOError:
            return None
        except OSError as error:
            # the kernel reports an error once: another read would look like a clean end
            return Stalled() if error.errno == errno.ETIMEDOUT else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        if len(data) >= READ_SIZE or self._read_size != READ_SIZE:
            self._read_size = BULK_READ_SIZE if len(data) >= READ_SIZE else READ_SIZE
        connection.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        """Send now what the kernel accepts; the rest waits in Twisted's buffer."""
        connection: Any = self
        send = self._send or self._direct_send()
        if send is None or connection.dataBuffer or connection._tempDataLen:
            super().write(data)  # type: ignore[misc]
            return
        try:
            sent = send(data)
        except OSError:
            # Twisted gets the same error, if it is one, and reports it
            sent = 0
        if sent < len(data):
            super().write(data[sent:] if sent else data)  # type: ignore[misc]

    def unsent(self) -> int:
        """Bytes that were written and that the system has not taken yet."""
        connection: Any = self
        unsent: int = len(connection.dataBuffer) - connection.offset + connection._tempDataLen
        return unsent

    def _direct_send(self) -> Callable[[bytes], int] | None:
        connection: Any = self
        if (
            connection.connected
            and not connection.disconnecting
            and not connection._writeDisconnecting
            and not connection._writeDisconnected
            and not connection.TLS
            # a pull producer is asked for more when Twisted's buffer has been written
            and (connection.producer is None or connection.streamingProducer)
        ):
            self._send = connection.socket.send
        return self._send

    def pauseProducing(self) -> None:
        """Read nothing for now; a slow consumer gets small pieces again, since each has to be buffered somewhere."""
        self._read_size = READ_SIZE
        super().pauseProducing()  # type: ignore[misc]

    # -- what may change that

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._send = None
        super().registerProducer(producer, streaming)  # type: ignore[misc]

    def loseConnection(self, *arguments: Any) -> None:
        """Close, in the next turn if nothing waits: the poll need not say that it can be written."""
        connection: Any = self
        at_once, self._send = self._all_sent(), None
        if at_once:
            connection.stopReading()
            connection.disconnecting = 1
            connection.reactor.callLater(0, self._closed)
        else:
            super().loseConnection(*arguments)  # type: ignore[misc]

    def _closed(self) -> None:
        connection: Any = self
        if not connection._aborting:
            connection.connectionLost(DONE)

    def loseWriteConnection(self) -> None:
        """End our direction, now if nothing waits."""
        connection: Any = self
        at_once, self._send = self._all_sent(), None
        if at_once:
            connection._writeDisconnecting = connection._writeDisconnected = True
            connection._closeWriteConnection()
        else:
            super().loseWriteConnection()  # type: ignore[misc]

    def _all_sent(self) -> bool:
        """Whether the system has all that was written, and nothing stands between."""
        connection: Any = self
        return (
            (self._send or self._direct_send()) is not None
            and connection.producer is None
            and not connection.dataBuffer
            and not connection._tempDataLen
        )

    def _closeSocket(self, orderly: bool) -> None:
        connection: Any = self
        if orderly and connection._writeDisconnected:
            # our direction has ended already
            connection.socket.close()
        else:
            super()._closeSocket(orderly)  # type: ignore[misc]

    def abortConnection(self) -> None:
        self._send = None
        super().abortConnection()  # type: ignore[misc]

    def startTLS(self, *arguments: Any) -> None:
        self._send = None
        super().startTLS(*arguments)  # type: ignore[misc]

    def connectionLost(self, reason: Failure) -> None:
        self._send = None
        if reason.type is ConnectionLost and pending_error(self) == errno.ETIMEDOUT:
            # the poll told of an error before anything was read
            reason = Failure(Stalled())
        # what was not sent would stay for as long as anybody knows this object
        connection: Any = self
        connection.dataBuffer, connection.offset = b"", 0
        connection._tempDataBuffer, connection._tempDataLen = [], 0
        super().connectionLost(reason)  # type: ignore[misc]


class AtOnceServer(WriteAtOnce, Server):
    """An accepted connection."""


def pending_error(transport: Any) -> int:
    """The pending error of a socket; 0 for none, or if the socket is already closed."""
    connection = getattr(transport, "socket", None)
    return 0 if connection is None else int(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def host_and_port(address: object) -> tuple[str, int]:
    """The host in its :func:`~rtunnel.addresses.plain_address`, and the port of a peer; empty and 0 where it has none."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return plain_address(address.host), address.port
    return "", 0


def listen_tcp(reactor: IReactorTCP, host: str, port: int, factory: Any, backlog: int = 1024) -> IListeningPort:
    """Listen, synchronously.

    :param host: address to bind; empty for every address of both families where the system has IPv6.
    :raises CannotListenError: when the port is in use, not permitted, or the address is not local.
    """
    try:
        listening: Any = reactor.listenTCP(port, factory, backlog, host or "::")
    except (CannotListenError, OSError) as error:
        if host or not lacks_ipv6(error):
            raise
        listening = reactor.listenTCP(port, factory, backlog, "")
    return _at_once(reactor, listening)


def listen_on(reactor: IReactorSocket, passed: PassedSocket, factory: Any) -> IListeningPort:
    """Listen on a socket that was passed to the process; when the port is closed, the socket itself stays open."""
    passed.used = True
    return _at_once(reactor, reactor.adoptStreamPort(passed.socket.fileno(), passed.socket.family, factory))


def listen_shared(reactor: IReactorSocket, host: str, port: int, factory: Any, backlog: int = 1024) -> IListeningPort:
    """Listen at a port at which other processes of the same user listen as well (``SO_REUSEPORT`` of Linux, socket(7)).

    The system gives each connection to one of them, by its addresses.

    :param host: address to bind; empty for every address of both families where the system has IPv6.
    :param port: not 0: all have to know it.
    :raises CannotListenError: when somebody else uses the port, it is not permitted, or the address is not local.
    """
    try:
        shared = _shared_socket(host, port)
        shared.listen(backlog)
    except OSError as error:
        raise CannotListenError(host, port, error) from None
    with shared:
        # the reactor has a descriptor of its own
        return _at_once(reactor, reactor.adoptStreamPort(shared.fileno(), shared.family, factory))


def reserve(host: str, port: int) -> socket.socket:
    """Keep a port for processes of this user that will share it, as long as the socket is open, whether or not they are there.

    :raises OSError: somebody listens there already, or it cannot be bound.
    """
    _shared_socket(host, port, shared=False).close()
    return _shared_socket(host, port)


def _shared_socket(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A socket that is bound to a port which others may share, and does not listen yet."""
    try:
        return _bound(socket.AF_INET6 if not host or isIPv6Address(host) else socket.AF_INET, host or "::", port, shared)
    except OSError as error:
        if host or not lacks_ipv6(error):
            raise
        return _bound(socket.AF_INET, "", port, shared)


def _bound(family: socket.AddressFamily, host: str, port: int, shared: bool) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        found.bind((host, port))
    except BaseException:
        found.close()
        raise
    return found


def _at_once(reactor: IReactorTCP | IReactorSocket, listening: Any) -> IListeningPort:
    """Have the connections of a port write at once."""
    if AT_ONCE and IReactorFDSet.providedBy(reactor):
        listening.transport = AtOnceServer
    return cast(IListeningPort, listening)


def limit_stalls(port: Any, seconds: float) -> None:
    """Have the system end the connections of a port that make no progress, and those whose other end is gone without a word.

    The peer acknowledges nothing, or reads nothing and so leaves no room, for that long (tcp(7), ``TCP_USER_TIMEOUT``); and it
    does not answer the system's keepalives. Set at the port, since accepted connections inherit it: this costs nothing for each of
    them. Where the system does not know it, there is no limit.

    :param port: the listening port; from now on, for new connections.
    :param seconds: 0 for no limit.
    """
    end_when_stalled(getattr(port, "socket", None), seconds)


def end_when_stalled(connection: socket.socket | None, seconds: float) -> None:
    """The same as :func:`limit_stalls`, for one connection; its end is :class:`~rtunnel.transport.reasons.Stalled`."""
    if connection is None:
        return
    with suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


def has_input(connection: socket.socket | None) -> bool:
    """Whether a connection has sent something that was not read yet; its end is nothing."""
    if connection is None:
        return False
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except OSError:
        # nothing there, or nothing to be had any more
        return False


def lacks_ipv6(error: CannotListenError | OSError) -> bool:
    """Whether listening on every address of both families failed because the system has no IPv6."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return getattr(cause, "errno", None) in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or not socket.has_ipv6


@implementer(IStreamServerEndpoint)
class SocketServerEndpoint:
    """Listens on a TCP port.

    :param host: address to bind; empty for every address.
    """

    def __init__(self, reactor: IReactorTCP, host: str, port: int) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port

    def listen(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IListeningPort]:
        """Listen; the Deferred has fired already, with the port or with a CannotListenError."""
        return defer.execute(listen_tcp, self._reactor, self._host, self._port, protocolFactory)
