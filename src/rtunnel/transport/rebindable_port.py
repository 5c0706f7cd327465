"""A port that stays bound while its factory is replaced."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket, IReactorTCP, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.passed_sockets import PassedSocket
from rtunnel.transport.sockets import listen_on, listen_shared, listen_tcp

__all__ = ["RebindablePort"]


class _CurrentFactory(Factory):
    """The port's own factory: passes each connection to the current one."""

    noisy = False

    def __init__(self) -> None:
        self.within: IProtocolFactory | None = None

    def logPrefix(self) -> str:
        """What Twisted's own log calls it."""
        return "port"

    def buildProtocol(self, addr: Any) -> Any:
        return None if self.within is None else self.within.buildProtocol(addr)


@implementer(IStreamServerEndpoint)
class RebindablePort:
    """A bound port as an endpoint: listening again replaces the factory, for new connections.

    A reload replaces everything above the port in this way, even whether it speaks WebSocket, and the port stays open meanwhile.

    :param reactor: the reactor.
    :param host: address to bind; empty for every address.
    :param port: 0 for any free one.
    :param passed: the socket at this address that was passed to the process, if any: then nothing is bound.
    :param shared: whether other processes listen there as well (:func:`~rtunnel.transport.sockets.listen_shared`).
    :raises CannotListenError: when the port is in use, not permitted, or the address is not local.
    """

    def __init__(
        self, reactor: IReactorTCP, host: str, port: int, passed: PassedSocket | None = None, *, shared: bool = False
    ) -> None:
        self._current = _CurrentFactory()
        self.port: Any
        """The listening port."""
        if passed is not None:
            self.port = listen_on(cast(IReactorSocket, reactor), passed, self._current)
        elif shared:
            self.port = listen_shared(cast(IReactorSocket, reactor), host, port, self._current)
        else:
            self.port = listen_tcp(reactor, host, port, self._current)
        self.accepting = AcceptingPort(self.port, reactor)
        """How it accepts."""

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Use a factory from now on; the Deferred has fired already."""
        self._current.within = protocolFactory
        return succeed(self.port)

    def close(self) -> Deferred[None]:
        """Close the port; fires when it is free, unless its socket was passed to the process. Accepted connections stay open."""
        return maybeDeferred(self.port.stopListening).addCallback(lambda _: None)
