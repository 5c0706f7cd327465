"""How peers are known: the secret that all have, certificates of one CA, or both; read from files, and again when they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint, IStreamServerEndpoint

from rtunnel.ops.file_watch import ReloadedValue
from rtunnel.ops.start import StartError
from rtunnel.settings import PeerSettings
from rtunnel.transport.certificates import CertificateFileError, client_context, server_context
from rtunnel.transport.connecting import SocketClientEndpoint
from rtunnel.transport.sockets import host_and_port
from rtunnel.transport.tls_creators import PeerConnectionCreator, ServerConnectionCreator
from rtunnel.transport.tls_endpoints import TlsClientEndpoint, TlsServerEndpoint

__all__ = ["HANDSHAKE_TIMEOUT", "LEAST_SECRET", "PeerTrust"]

CONNECT_TIMEOUT = 5.0
"""Seconds for the connection to a peer."""
HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the handshake of a peer link, and for that of TLS before it."""
LEAST_SECRET = 16
"""Bytes of the shortest secret: whoever reads a handshake can try out short ones."""


@attrs.frozen
class _Means:
    """What was read.

    :ivar secret: empty where certificates prove who a peer is.
    :ivar server: for those that connect, None without TLS.
    :ivar client: for those that this server connects to.
    """

    secret: bytes
    server: SSL.Context | None
    client: SSL.Context | None


class PeerTrust:
    """The means of one server to prove itself to peers, and to tell them from others.

    :param settings: the files.
    :raises StartError: one of them cannot be used.
    """

    def __init__(self, settings: PeerSettings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        files = (settings.secret_file, settings.cert_file, settings.key_file, settings.ca_file)
        self._means = ReloadedValue(
            self._read,
            [file for file in files if file is not None],
            unusable=CertificateFileError,
            what="the secret or certificate of the peers",
            reactor=reactor,
        )
        try:
            self._means.load()
        except CertificateFileError as error:
            raise StartError(str(error)) from error

    @property
    def secret(self) -> bytes:
        """The secret that is in force now."""
        return self._means.current().secret

    def _read(self) -> _Means:
        settings = self._settings
        secret = b"" if settings.secret_file is None else _read_secret(settings.secret_file)
        if settings.cert_file is None:
            return _Means(secret, None, None)
        cert_file, key_file, ca_file = settings.cert_file, settings.key_file, settings.ca_file
        return _Means(
            secret,
            server_context(cert_file, key_file, ca_file),
            client_context(ca_file=ca_file, cert_file=cert_file, key_file=key_file),
        )

    def accepting(self, endpoint: IStreamServerEndpoint, refused: Callable[[str, str], None]) -> IStreamServerEndpoint:
        """Where peers connect, with TLS if there is a certificate.

        :param endpoint: the port.
        :param refused: called with who it was and the reason, when the TLS of a connection failed.
        """

        def failed(peer: IAddress, reason: str) -> None:
            host, port = host_and_port(peer)
            refused(f"{host}:{port}", reason)

        if self._settings.cert_file is None:
            return endpoint
        creator = ServerConnectionCreator(self._server_context)
        return TlsServerEndpoint(endpoint, creator, reactor=self._reactor, handshake_timeout=HANDSHAKE_TIMEOUT, refused=failed)

    def connecting(self, address: str) -> IStreamClientEndpoint:
        """How a peer is reached, with TLS if there is a certificate.

        :param address: ``HOST:PORT``, or the path of a unix socket, which needs no TLS.
        """
        if address.startswith("/"):
            # late: there are none on Windows
            from rtunnel.transport.unix_sockets import UnixClientEndpoint

            return UnixClientEndpoint(self._reactor, address, CONNECT_TIMEOUT)
        host, _, port = address.rpartition(":")
        endpoint = SocketClientEndpoint(self._reactor, host.strip("[]"), int(port), CONNECT_TIMEOUT)
        if self._settings.cert_file is None:
            return endpoint
        creator = PeerConnectionCreator(self._client_context)
        return TlsClientEndpoint(endpoint, creator, reactor=self._reactor, handshake_timeout=HANDSHAKE_TIMEOUT)

    def _server_context(self) -> SSL.Context:
        context = self._means.current().server
        assert context is not None
        return context

    def _client_context(self) -> SSL.Context:
        context = self._means.current().client
        assert context is not None
        return context


def _read_secret(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            secret = opened.read().strip()
    except OSError as error:
        raise CertificateFileError(f'the file "{file}" cannot be read: {error.strerror or error}') from None
    if len(secret) < LEAST_SECRET:
        raise CertificateFileError(
            f'the secret in "{file}" has {len(secret)} bytes, and needs at least {LEAST_SECRET}; make one with openssl rand -hex 32'
        )
    return secret
