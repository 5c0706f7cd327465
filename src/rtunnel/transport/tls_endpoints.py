"""TLS over another endpoint, a server's and a client's: as Twisted's ``wrapServerTLS`` and ``wrapClientTLS``, but patient.

Theirs hand a protocol its connection before the handshake, and so before the peer is known. These do when it is done,
give it a time limit, and say why it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.tls import TlsFactory
from rtunnel.transport.tls_errors import TlsError, in_words

__all__ = ["TlsClientEndpoint", "TlsServerEndpoint"]


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """The protocol of a TLS connection until its handshake is done."""

    transport: Any
    factory: _Handshakes

    def __init__(self, address: Any) -> None:
        self._address = address
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._timer = self.factory.reactor.callLater(self.factory.timeout, self._expired)

    def _expired(self) -> None:
        # silence as well is worth a word then
        self.transport.begun = True
        self.transport.failVerification(Failure(TlsError("the TLS handshake took too long")))
        self.transport.abortConnection()

    def handshakeCompleted(self) -> None:
        """Put the protocol on that is spoken over TLS."""
        self._timer.cancel()
        self._timer = None
        upper = self.factory.upper.buildProtocol(self._address)
        if upper is None:
            self.transport.loseConnection()
        else:
            self.transport.protocol = upper
            upper.makeConnection(self.transport)
        self.factory.opened(upper)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer is None:
            return
        if self._timer.active():
            self._timer.cancel()
        self.factory.failed(self.transport, in_words(reason, is_client=self.factory.is_client))


class _Handshakes(Factory):
    """The factory under the TLS of an endpoint.

    :param upper: builds what is spoken over TLS.
    :param opened: called with each protocol that was put on a connection, None when there is none.
    :param failed: called with the connection and the reason, when the handshake failed.
    """

    noisy = False

    def __init__(
        self,
        endpoint: TlsServerEndpoint | TlsClientEndpoint,
        upper: IProtocolFactory,
        opened: Callable[[Any], None],
        failed: Callable[[Any, Failure], None],
    ) -> None:
        self.reactor = endpoint.reactor
        self.timeout = endpoint.handshake_timeout
        self.is_client = isinstance(endpoint, TlsClientEndpoint)
        self.upper = upper
        self.opened = opened
        self.failed = failed

    def buildProtocol(self, addr: Any) -> Any:
        handshake = _Handshake(addr)
        handshake.factory = self
        return handshake


@implementer(IStreamServerEndpoint)
class TlsServerEndpoint:
    """Accepts TLS over another endpoint; a protocol sees its connection when the handshake is done.

    :param under: where the connections come from.
    :param creator: makes the OpenSSL connections, e.g. :class:`~rtunnel.transport.tls_creators.ServerConnectionCreator`.
    :param reactor: for the time limit.
    :param handshake_timeout: seconds that a handshake may take.
    :param refused: called with the peer's address and the reason, when a handshake failed.
    """

    def __init__(
        self,
        under: IStreamServerEndpoint,
        creator: IOpenSSLServerConnectionCreator,
        *,
        reactor: IReactorTime,
        handshake_timeout: float = 15.0,
        refused: Callable[[Any, str], None] = lambda peer, reason: None,
    ) -> None:
        self._under = under
        self._creator = creator
        self.reactor = reactor
        self.handshake_timeout = handshake_timeout
        self._refused = refused

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen."""

        def failed(tls: Any, reason: Failure) -> None:
            # a connection without a handshake (a port probe) is not worth logging
            if tls.begun:
                self._refused(tls.getPeer(), reason.getErrorMessage())

        handshakes = _Handshakes(self, protocolFactory, lambda protocol: None, failed)
        return cast("Deferred[Any]", self._under.listen(TlsFactory(self._creator, False, handshakes, self.reactor)))


@implementer(IStreamClientEndpoint)
class TlsClientEndpoint:
    """Opens TLS over another endpoint; ``connect`` fires when the handshake is done and the server's certificate is good.

    :param under: how to reach the server.
    :param creator: makes the OpenSSL connection, e.g. :class:`~rtunnel.transport.tls_creators.ClientConnectionCreator`, which
        verifies the server's certificate.
    :param reactor: for the time limit.
    :param handshake_timeout: seconds that the handshake may take.
    """

    def __init__(
        self,
        under: IStreamClientEndpoint,
        creator: IOpenSSLClientConnectionCreator,
        *,
        reactor: IReactorTime,
        handshake_timeout: float = 15.0,
    ) -> None:
        self._under = under
        self._creator = creator
        self.reactor = reactor
        self.handshake_timeout = handshake_timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect and shake hands.

        The Deferred fails with what the endpoint beneath failed with, or with :class:`~rtunnel.transport.tls_errors.TlsError`.
        """
        below: list[Any] = []

        def cancel(_: Deferred[IProtocol]) -> None:
            connecting.cancel()
            if below:
                below[0].abortConnection()

        def opened(protocol: Any) -> None:
            if protocol is None:
                failed(None, Failure(ConnectionClosed("no protocol")))
            elif not result.called:
                result.callback(protocol)

        def failed(tls: Any, reason: Failure) -> None:
            if not result.called:
                result.errback(reason)

        result: Deferred[IProtocol] = Deferred(cancel)
        handshakes = _Handshakes(self, protocolFactory, opened, failed)
        connecting = self._under.connect(TlsFactory(self._creator, True, handshakes, self.reactor))
        connecting.addCallbacks(below.append, lambda reason: failed(None, reason))
        return result
