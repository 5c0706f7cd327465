"""TCP connections that we open, and that write at once.

Twisted's own resolve names, wait for a connector in a turn of their own, connect twice and ask the poll for reading meanwhile. Here
an address is connected to, and the poll says once how that ended. The details relied on are among
:data:`rtunnel.private_details.SOCKETS`; without them (:data:`~rtunnel.transport.sockets.AT_ONCE`), or on a reactor that is not made
of sockets, everything is stock Twisted.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv6Address
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectBindError, ConnectingCancelledError, NoProtocol, UserError, getConnectError
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorFDSet, IStreamClientEndpoint
from twisted.internet.tcp import Client, Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.reactor_types import INetworkReactor
from rtunnel.transport import sockets
from rtunnel.transport.names import NameEndpoint
from rtunnel.transport.sockets import WriteAtOnce, pending_error

__all__ = ["AtOnceClient", "SocketClientEndpoint"]


class AtOnceClient(WriteAtOnce, Client):
    """A connection that we open.

    :param address: host and port.
    :param attempt: what is told the result, where Twisted has its connector.
    """

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], attempt: Attempt, reactor: Any) -> None:
        self.connector = attempt
        self.addr = self.realAddress = address
        self.addressFamily = family
        if family == socket.AF_INET6:
            self._addressType: Any = IPv6Address
        Connection.__init__(self, socket.socket(family, socket.SOCK_STREAM), cast(IProtocol, None), reactor)

    def begin(self) -> None:
        """Connect."""
        code = self.socket.connect_ex(self.realAddress)
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self.doWrite = self.doConnect  # type: ignore[method-assign]
            self.startWriting()  # type: ignore[no-untyped-call]
        else:
            self.reactor.callLater(0, self._failed, code)  # type: ignore[attr-defined]

    def doConnect(self) -> None:
        """The poll says that the connect has ended."""
        code = pending_error(self)
        if code:
            self._failed(code)
            return
        attempt = self.connector
        try:
            protocol = attempt.build(self.getPeer())  # type: ignore[no-untyped-call]
        except Exception as reason:
            self.failIfNotConnected(reason)
            return
        del self.doWrite
        self.protocol = protocol
        self.connected = 1
        self.startReading()  # type: ignore[no-untyped-call]
        self.stopWriting()  # type: ignore[no-untyped-call]
        protocol.makeConnection(self)
        attempt.connected(protocol)

    def _failed(self, code: int) -> None:
        self.failIfNotConnected(getConnectError((code, os.strerror(code))))

    def failIfNotConnected(self, err: Any) -> None:
        """It cannot be had, whatever the reason."""
        # a method of its own that it refers to would keep it until the collector of cycles runs
        self.__dict__.pop("doWrite", None)
        super().failIfNotConnected(err)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        if not self.connected and (code := pending_error(self)):
            # the poll told of an error (the connect was refused, say) and of nothing else: the system knows which
            self._failed(code)
        else:
            super().connectionLost(reason)


class Attempt:
    """One connect to an address.

    :param factory: builds the protocol.
    """

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self._answer: defer.Deferred[Any] = defer.Deferred(self._cancelled)
        self._transport: Any = None
        self._timer: Any = None

    def begin(self, transport: AtOnceClient, timeout: float, reactor: Any) -> defer.Deferred[Any]:
        """Connect a transport.

        :param timeout: seconds that it may take.
        :returns: fires with the protocol, or fails.
        """
        self._transport = transport
        self._timer = reactor.callLater(timeout, self._expired)
        transport.begin()
        return self._answer

    def _expired(self) -> None:
        self._transport.failIfNotConnected(ConnectTimedOut())

    def _cancelled(self, answer: defer.Deferred[Any]) -> None:
        answer.errback(Failure(ConnectingCancelledError(self._transport.getPeer())))
        self._transport.failIfNotConnected(UserError())

    def _end(self, result: Any) -> None:
        answer = self._answer
        if self._timer.active():
            self._timer.cancel()
        # what has ended is free at once, without the collector of cycles
        self._transport = None
        self._answer = _OVER
        if not answer.called:
            answer.callback(result)

    # -- called by the transport

    def build(self, address: IAddress) -> Any:
        """Build the protocol.

        :raises NoProtocol: there is none.
        """
        protocol = self._factory.buildProtocol(address)
        if protocol is None:
            raise NoProtocol
        return protocol

    def connected(self, protocol: Any) -> None:
        """The connection is there."""
        self._end(protocol)

    def connectionFailed(self, reason: Failure) -> None:
        """It cannot be had."""
        self._end(reason)

    def connectionLost(self, reason: Failure) -> None:
        """It has ended."""
        self._end(reason)


_OVER: defer.Deferred[Any] = defer.succeed(None)
"""The answer of attempts that have answered."""


@implementer(IStreamClientEndpoint)
class AddressEndpoint:
    """Connects to an IP address and TCP port, with connections that write at once."""

    def __init__(self, reactor: INetworkReactor, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._family = socket.AF_INET6 if isIPv6Address(host) else socket.AF_INET
        self._address = host, port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        """Connect."""
        attempt = Attempt(protocolFactory)
        try:
            transport = AtOnceClient(self._family, self._address, attempt, self._reactor)
        except OSError as reason:
            return defer.fail(ConnectBindError(reason.errno, reason.strerror))
        return attempt.begin(transport, self._timeout, self._reactor)


@implementer(IStreamClientEndpoint)
class SocketClientEndpoint:
    """Connects to a host and TCP port; a name is resolved for each connect, and both families are tried.

    :param timeout: seconds to connect to one address.
    """

    def __init__(self, reactor: INetworkReactor, host: str, port: int, timeout: float = 10.0) -> None:
        self._reactor = reactor
        self._port = port
        self._timeout = timeout
        is_address = isIPAddress(host) or isIPv6Address(host)
        self._endpoint = self._of_address(host) if is_address else NameEndpoint(reactor, host, port, self._of_address)

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        """Connect."""
        return self._endpoint.connect(protocolFactory)

    def _of_address(self, address: str) -> IStreamClientEndpoint:
        if sockets.AT_ONCE and IReactorFDSet.providedBy(self._reactor):
            return AddressEndpoint(self._reactor, address, self._port, self._timeout)
        of_family = TCP6ClientEndpoint if isIPv6Address(address) else TCP4ClientEndpoint
        return of_family(self._reactor, address, self._port, timeout=self._timeout)
