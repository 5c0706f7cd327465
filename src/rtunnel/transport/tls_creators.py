"""Connection creators, as Twisted calls what makes the OpenSSL connection of each TLS connection."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.certificates import names_of
from rtunnel.transport.tls_errors import TlsError, describe_certificate

__all__ = ["ClientConnectionCreator", "PeerConnectionCreator", "ServerConnectionCreator"]


class _Creator:
    """Makes connections of a context, and tells each connection's protocol what is wrong with the peer's certificate.

    :param context: gives the context of each connection, so that files can be read again in between.
    """

    def __init__(self, context: Callable[[], SSL.Context]) -> None:
        self._context = context

    def connection(self, protocol: Any) -> SSL.Connection:
        """Make the connection of a protocol."""
        context = self._context()
        connection = SSL.Connection(context, None)
        connection.set_app_data(protocol)
        if context.get_verify_mode() != SSL.VERIFY_NONE:
            connection.set_verify(context.get_verify_mode(), self._verify)
        return connection

    def _verify(self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, good: int) -> bool:
        """Called by OpenSSL for each certificate of the chain, the peer's own (depth 0) last; and once for the first fault."""
        fault = None if good else describe_certificate(code, of_server=isinstance(self, ClientConnectionCreator))
        if good and depth == 0:
            fault = self.check_peer(certificate.to_cryptography())
        if fault is not None:
            connection.get_app_data().failVerification(Failure(TlsError(fault)))
        return fault is None

    def check_peer(self, certificate: Certificate) -> str | None:
        """Look at the certificate of the peer, whose chain is good; say what is wrong with it."""
        return None


@implementer(IOpenSSLServerConnectionCreator)
class ServerConnectionCreator(_Creator):
    """Of connections that clients open."""

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Make the connection."""
        return self.connection(tlsProtocol)


@implementer(IOpenSSLClientConnectionCreator)
class ClientConnectionCreator(_Creator):
    """Of connections to one server.

    :param context: with ``VERIFY_NONE`` the name is not verified either.
    :param name: the name or IP address that the certificate must be for (verified by service-identity, RFC 6125); names are sent to
        the server as well (SNI).
    """

    def __init__(self, context: Callable[[], SSL.Context], name: str) -> None:
        super().__init__(context)
        name = name.rstrip(".")
        self._is_address = _is_address(name)
        self._name = name if self._is_address or name.isascii() else name.encode("idna").decode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Make the connection."""
        connection = self.connection(tlsProtocol)
        if not self._is_address:
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection

    def check_peer(self, certificate: Certificate) -> str | None:
        """Verify that the certificate is for the name."""
        verify = verify_certificate_ip_address if self._is_address else verify_certificate_hostname
        try:
            verify(certificate, self._name)
        except (VerificationError, CertificateError, ValueError):
            return (
                f"the server's certificate is for {names_of(certificate)}, not for {self._name}; "
                "set the name that it has to be for with --tls-server-name (serverName)"
            )
        return None


class PeerConnectionCreator(ClientConnectionCreator):
    """Of connections to one of many that are equal: a certificate of their CA proves that it is one, whatever its name."""

    def __init__(self, context: Callable[[], SSL.Context]) -> None:
        super().__init__(context, "0.0.0.0")

    def check_peer(self, certificate: Certificate) -> str | None:
        """Its chain is good, which is all that is asked for."""
        return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
