"""Unix sockets that write at once, as those of TCP do (:mod:`rtunnel.transport.sockets`): links within one machine."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorFDSet,
    IReactorUNIX,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.unix import Client, Connector, Server
from zope.interface import directlyProvides, implementer, providedBy

from rtunnel.private_details import UNIX_SOCKETS, available
from rtunnel.transport.sockets import AT_ONCE, WriteAtOnce

__all__ = ["UnixClientEndpoint", "listen_unix"]

_AT_ONCE = AT_ONCE and available(UNIX_SOCKETS, "unix sockets write when the reactor says so")


class _Server(WriteAtOnce, Server):
    """An accepted connection."""


class _Client(WriteAtOnce, Client):
    """A connection that we opened."""


class _Connector(Connector):
    """Makes connections that write at once."""

    def _makeTransport(self) -> Any:
        return _Client(self.address, self, self.reactor, self.checkPID)  # type: ignore[no-untyped-call]


class _Reactor:
    """A reactor whose ``connectUNIX`` makes connections that write at once; the rest is the reactor beneath."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: Any = 0) -> Any:
        connector = _Connector(address, factory, timeout, self._reactor, checkPID)  # type: ignore[no-untyped-call]
        connector.connect()
        return connector


def _at_once(reactor: Any) -> bool:
    return _AT_ONCE and bool(IReactorFDSet.providedBy(reactor))


def listen_unix(reactor: IReactorUNIX, path: str, factory: Factory[Any]) -> IListeningPort:
    """Listen, for processes of the same user alone.

    :raises CannotListenError: there is no such directory, or its path is too long.
    """
    listening: Any = reactor.listenUNIX(path, factory, 128, 0o600)
    if _at_once(reactor):
        listening.transport = _Server
    return cast(IListeningPort, listening)


@implementer(IStreamClientEndpoint)
class UnixClientEndpoint:
    """Connects to a unix socket.

    :param timeout: seconds to connect.
    """

    def __init__(self, reactor: IReactorUNIX, path: str, timeout: float = 10.0) -> None:
        connecting: Any = _Reactor(reactor) if _at_once(reactor) else reactor
        self._endpoint = UNIXClientEndpoint(connecting, path, timeout)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect."""
        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected.addCallback(_unwrapped)


def _unwrapped(protocol: Any) -> Any:
    """Detach Twisted's wrapper, which is only needed while connecting, so that received bytes do not pass through it."""
    if isinstance(protocol.transport, _Client):
        protocol.transport.protocol = protocol
    return protocol
