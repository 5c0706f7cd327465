"""Through a proxy: an endpoint over the endpoint of the proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.reasons import reason_of
from rtunnel.wire.proxy import ProxyError, ProxyHandshake

__all__ = ["ProxiedClientEndpoint", "ProxyRefused"]


class ProxyRefused(ConnectionClosed):
    """The proxy did not connect us; the text is one line that names it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@implementer(IStreamClientEndpoint)
class ProxiedClientEndpoint:
    """Connects through a proxy; ``connect`` fires when the proxy forwards bytes.

    The transport is handed over then: no byte passes through the code here any longer.

    :param under: how to reach the proxy.
    :param handshake: makes the engine of each connect.
    :param name: the proxy, for errors, without a password.
    :param reactor: for the time limit.
    :param timeout: seconds that the proxy may take to connect.
    """

    def __init__(
        self,
        under: IStreamClientEndpoint,
        handshake: Callable[[], ProxyHandshake],
        *,
        name: str,
        reactor: IReactorTime,
        timeout: float = 15.0,
    ) -> None:
        self._under = under
        self.handshake = handshake
        self.name = name
        self.reactor = reactor
        self.timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the proxy, and through it.

        The Deferred fails with :class:`ProxyRefused`, whatever went wrong with the proxy.
        """
        below: list[_AtProxy] = []

        def cancel(_: Deferred[IProtocol]) -> None:
            factory.waiting = None
            connecting.cancel()
            if below:
                below[0].transport.abortConnection()

        def failed(failure: Failure) -> None:
            waiting, factory.waiting = factory.waiting, None
            if waiting is not None:
                waiting.errback(failure if failure.check(CancelledError, ProxyRefused) else self._unreachable(failure))

        opened: Deferred[IProtocol] = Deferred(cancel)
        factory = _Factory(self, protocolFactory, opened)
        connecting = self._under.connect(factory)
        connecting.addCallbacks(below.append, failed)
        return opened

    def _unreachable(self, failure: Failure) -> Failure:
        return Failure(ProxyRefused(f"the {self.name} cannot be reached: {reason_of(failure)}"))


class _Factory(Factory):
    noisy = False

    def __init__(self, endpoint: ProxiedClientEndpoint, upper: IProtocolFactory, waiting: Deferred[IProtocol]) -> None:
        self.endpoint = endpoint
        self.upper = upper
        self.waiting: Deferred[IProtocol] | None = waiting

    def buildProtocol(self, addr: Any) -> _AtProxy:
        return _AtProxy(self, addr)


class _AtProxy(Protocol):
    """The protocol of a connection until the proxy forwards bytes."""

    transport: Any

    def __init__(self, factory: _Factory, address: Any) -> None:
        self._factory = factory
        self._address = address
        self._engine = factory.endpoint.handshake()
        self._timer: Any = None
        self._reason = ""

    def connectionMade(self) -> None:
        endpoint = self._factory.endpoint
        self._timer = endpoint.reactor.callLater(endpoint.timeout, self._expired)
        self.transport.setTcpNoDelay(True)
        self.transport.write(self._engine.begin())

    def dataReceived(self, data: bytes) -> None:
        if self._reason:
            return
        try:
            answer = self._engine.receive(data)
        except ProxyError as error:
            self._give_up(str(error))
            return
        if answer:
            self.transport.write(answer)
        if self._engine.done:
            self._hand_over()

    def _hand_over(self) -> None:
        """Hand the connection over."""
        self._stop_timer()
        factory, transport = self._factory, self.transport
        waiting, factory.waiting = factory.waiting, None
        if waiting is None:
            transport.abortConnection()
            return
        upper = factory.upper.buildProtocol(self._address)
        if upper is None:
            transport.abortConnection()
            waiting.errback(Failure(ConnectionClosed("no protocol")))
            return
        transport.protocol = upper
        upper.makeConnection(transport)
        waiting.callback(upper)
        if self._engine.rest and transport.protocol is not None:
            transport.protocol.dataReceived(self._engine.rest)

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self._stop_timer()
        self.transport.abortConnection()

    def _expired(self) -> None:
        self._timer = None
        self._give_up(f"did not answer within {self._factory.endpoint.timeout:g} s")

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        factory = self._factory
        waiting, factory.waiting = factory.waiting, None
        if waiting is not None:
            fault = self._reason or "closed the connection before it answered"
            waiting.errback(Failure(ProxyRefused(f"the {factory.endpoint.name} {fault}")))
