"""TLS over another endpoint: a server's and a client's."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

from cryptography.x509 import load_der_x509_certificate
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.certificates import names_of
from rtunnel.transport.tls import TlsConnection
from rtunnel.transport.tls_faults import fault_of_client, fault_of_server, plain_answer

__all__ = ["TlsClientEndpoint", "TlsServerEndpoint"]

PLAIN_HTTP = b"HTTP/1.1 400 this port speaks TLS, use wss or https\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a client that speaks HTTP to a port with TLS."""
UNEXPECTED = b"\x15\x03\x03\x00\x02\x02\x0a"
"""The answer to one that speaks anything else: the fatal alert unexpected_message (RFC 8446 6)."""

# -- server


class _ServerConnection(TlsConnection):
    """A connection accepted by a :class:`TlsServerEndpoint`."""

    def __init__(self, factory: _ServerFactory, address: Any) -> None:
        endpoint = factory.endpoint
        super().__init__(endpoint.reactor, endpoint.handshake_timeout)
        self._factory = factory
        self._address = address

    def wrap(self) -> ssl.SSLObject:
        return self._factory.endpoint.context().wrap_bio(self._incoming, self._outgoing, server_side=True)

    def begin(self, first: bytes) -> str | None:
        if first[0] == 22:
            return None
        if first[:1].isalpha():
            self.transport.write(PLAIN_HTTP)
            return "it speaks plain HTTP, and this port TLS; use wss:// there (tunnel+wss://)"
        self.transport.write(UNEXPECTED)
        return "it does not speak TLS, and this port does; use tls:// there (tunnel+tls://)"

    def verify(self, tls: ssl.SSLObject) -> str | None:
        return None

    def words(self, error: ssl.SSLError) -> str:
        return fault_of_server(error)

    def opened(self) -> None:
        self.protocol = self._factory.upper.buildProtocol(self._address)
        if self.protocol is None:
            self.loseConnection()
        else:
            self.protocol.makeConnection(self)

    def failed(self, reason: Failure) -> None:
        # whoever only knocks (a probe that the port is open) is not worth a word
        if self._begun:
            self._factory.endpoint.refused(self.transport.getPeer(), reason.getErrorMessage())


class _ServerFactory(Factory):
    noisy = False

    def __init__(self, endpoint: TlsServerEndpoint, upper: IProtocolFactory) -> None:
        self.endpoint = endpoint
        self.upper = upper

    def buildProtocol(self, addr: Any) -> _ServerConnection:
        return _ServerConnection(self, addr)


@implementer(IStreamServerEndpoint)
class TlsServerEndpoint:
    """Accepts TLS over another endpoint; a protocol sees its connection when the handshake is done.

    :param under: where the connections come from.
    :param context: gives the context of each connection, e.g. :meth:`~rtunnel.transport.certificates.ReloadingContext.current`.
    :param reactor: for the time limit.
    :param handshake_timeout: seconds that a handshake may take.
    :param refused: called with the peer's address and the reason, when a handshake failed.
    """

    def __init__(
        self,
        under: IStreamServerEndpoint,
        context: Callable[[], ssl.SSLContext],
        *,
        reactor: Any,
        handshake_timeout: float = 15.0,
        refused: Callable[[Any, str], None] = lambda peer, reason: None,
    ) -> None:
        self._under = under
        self.context = context
        self.reactor = reactor
        self.handshake_timeout = handshake_timeout
        self.refused = refused

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen."""
        return cast("Deferred[Any]", self._under.listen(_ServerFactory(self, protocolFactory)))


# -- client


class _ClientConnection(TlsConnection):
    """The one connection of a :class:`TlsClientEndpoint`'s connect."""

    def __init__(self, factory: _ClientFactory, address: Any) -> None:
        endpoint = factory.endpoint
        super().__init__(endpoint.reactor, endpoint.handshake_timeout)
        self._factory = factory
        self._address = address

    def wrap(self) -> ssl.SSLObject:
        endpoint = self._factory.endpoint
        return endpoint.context().wrap_bio(self._incoming, self._outgoing, server_hostname=endpoint.name)

    def begin(self, first: bytes) -> str | None:
        return plain_answer(first)

    def verify(self, tls: ssl.SSLObject) -> str | None:
        if tls.context.verify_mode == ssl.CERT_NONE:
            return None
        return _wrong_name(tls.getpeercert(binary_form=True) or b"", self._factory.endpoint.name)

    def words(self, error: ssl.SSLError) -> str:
        return fault_of_client(error)

    def opened(self) -> None:
        waiting, self._factory.waiting = self._factory.waiting, None
        if waiting is None:
            self.abortConnection()
            return
        self.protocol = self._factory.upper.buildProtocol(self._address)
        if self.protocol is None:
            self.loseConnection()
            waiting.errback(Failure(ConnectionClosed("no protocol")))
            return
        self.protocol.makeConnection(self)
        waiting.callback(self.protocol)

    def failed(self, reason: Failure) -> None:
        waiting, self._factory.waiting = self._factory.waiting, None
        if waiting is not None:
            waiting.errback(reason)


class _ClientFactory(Factory):
    noisy = False

    def __init__(self, endpoint: TlsClientEndpoint, upper: IProtocolFactory, waiting: Deferred[IProtocol]) -> None:
        self.endpoint = endpoint
        self.upper = upper
        self.waiting: Deferred[IProtocol] | None = waiting

    def buildProtocol(self, addr: Any) -> _ClientConnection:
        return _ClientConnection(self, addr)


@implementer(IStreamClientEndpoint)
class TlsClientEndpoint:
    """Opens TLS over another endpoint; ``connect`` fires when the handshake is done and the server's certificate is good.

    :param under: how to reach the server.
    :param context: gives the context of each connection; with ``CERT_NONE`` the name is not verified either.
    :param name: the name or IP address that the certificate must be for (verified by service-identity, RFC 6125); names are sent to
        the server as well (SNI).
    :param reactor: for the time limit.
    :param handshake_timeout: seconds that the handshake may take.
    """

    def __init__(
        self,
        under: IStreamClientEndpoint,
        context: Callable[[], ssl.SSLContext],
        *,
        name: str,
        reactor: Any,
        handshake_timeout: float = 15.0,
    ) -> None:
        self._under = under
        self.context = context
        self.name = name.rstrip(".")
        self.reactor = reactor
        self.handshake_timeout = handshake_timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect and shake hands.

        The Deferred fails with what the endpoint beneath failed with, or with :class:`TlsFault`.
        """
        below: list[Any] = []

        def cancel(_: Deferred[IProtocol]) -> None:
            factory.waiting = None
            connecting.cancel()
            if below:
                below[0].abortConnection()

        def failed(failure: Failure) -> None:
            waiting, factory.waiting = factory.waiting, None
            if waiting is not None:
                waiting.errback(failure)

        opened: Deferred[IProtocol] = Deferred(cancel)
        factory = _ClientFactory(self, protocolFactory, opened)
        connecting = self._under.connect(factory)
        connecting.addCallbacks(below.append, failed)
        return opened


def _wrong_name(der: bytes, name: str) -> str | None:
    """Verify that a certificate is for a name or IP address; the words for one that is not."""
    if not der:
        return "the server showed no certificate"
    try:
        certificate = load_der_x509_certificate(der)
    except ValueError as error:
        return f"the server's certificate is malformed ({error})"
    verify = verify_certificate_ip_address if _is_address(name) else verify_certificate_hostname
    try:
        verify(certificate, name)
    except (VerificationError, CertificateError, ValueError):
        return (
            f"the server's certificate is for {names_of(certificate)}, not for {name}; "
            "give the name that it should be for with --tls-server-name (serverName)"
        )
    return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
