"""The server endpoint of a tunnel listener: TCP, optionally with TLS and WebSocket on top, according to the settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.logger import Logger

from rtunnel.ops.file_watch import ReloadedValue
from rtunnel.ops.start import StartError
from rtunnel.settings import SECURE, WEBSOCKETS, Address, ListenerSettings
from rtunnel.transport.certificates import CertificateFileError, self_signed_context, server_context
from rtunnel.transport.sockets import SocketServerEndpoint, host_and_port
from rtunnel.transport.tls_creators import ServerConnectionCreator
from rtunnel.transport.tls_endpoints import TlsServerEndpoint
from rtunnel.transport.websocket_endpoints import WebSocketServerEndpoint

__all__ = ["listen_endpoint"]

_log = Logger()


def listen_endpoint(settings: ListenerSettings, reactor: Any, under: IStreamServerEndpoint | None = None) -> IStreamServerEndpoint:
    """The endpoint of a tunnel listener.

    :param under: the endpoint to wrap; None for a socket at ``settings.listen``.
    :raises StartError: a certificate, key or CA cannot be used.
    """
    listen = settings.listen or Address("", 0)
    endpoint = under or SocketServerEndpoint(reactor, listen.host, listen.port)
    if settings.transport in SECURE:
        endpoint = TlsServerEndpoint(
            endpoint,
            ServerConnectionCreator(_contexts(settings, reactor)),
            reactor=reactor,
            handshake_timeout=settings.handshake_timeout,
            refused=_refused,
        )
    if settings.transport in WEBSOCKETS:
        endpoint = WebSocketServerEndpoint(
            endpoint,
            reactor=reactor,
            path=settings.path,
            handshake_timeout=settings.handshake_timeout,
            max_controls=settings.mux.control_frames,
            refused=_refused,
        )
    return endpoint


def _contexts(settings: ListenerSettings, reactor: Any) -> Callable[[], SSL.Context]:
    tls = settings.tls
    try:
        if tls.cert_file is None:
            context, fingerprint = self_signed_context(tls.ca_file)
            _log.warn(
                "the certificate of {address} is self-signed and changes with each start: clients cannot verify it "
                "(SHA-256 {fingerprint}); give --cert-file and --key-file (certFile, keyFile)",
                address=str(settings.listen),
                fingerprint=fingerprint,
            )
            return lambda: context
        contexts = ReloadedValue(
            partial(server_context, tls.cert_file, tls.key_file, tls.ca_file),
            [file for file in (tls.cert_file, tls.key_file, tls.ca_file) if file is not None],
            unusable=CertificateFileError,
            what=f"the certificate, key or CA of {settings.listen}",
            reactor=reactor,
        )
        contexts.load()
    except CertificateFileError as error:
        raise StartError(str(error)) from error
    return contexts.current


def _refused(peer: IAddress, reason: str) -> None:
    host, port = host_and_port(peer)
    _log.info(
        "refused {peer}: {reason}",
        peer=f"{host}:{port}" if host else "?",
        reason=reason,
    )
