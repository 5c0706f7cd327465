"""Certificates and keys: from files to what the TLS library wants, and again when the files change.

The library is Python's ``ssl``, over memory: for the short messages of a tunnel it takes a third of the time of pyOpenSSL, for
long ones the same, and its OpenSSL is the system's, which the system keeps patched.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.logger import Logger

__all__ = [
    "CHECK_INTERVAL",
    "CertificateFileError",
    "ReloadingContext",
    "client_context",
    "names_of",
    "self_signed_context",
    "server_context",
]

CHECK_INTERVAL = 2.0
"""Seconds between two looks whether files have changed; nobody looks while no connection comes."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only; TLS 1.3 has nothing else."""


class CertificateFileError(Exception):
    """A file is not what it must be; the text is one line that names it."""


def server_context(cert_file: str, key_file: str | None = None, ca_file: str | None = None) -> ssl.SSLContext:
    """What a server needs to know.

    :param cert_file: its certificate and chain, in PEM.
    :param key_file: the key, in PEM; None where it stands in ``cert_file``.
    :param ca_file: when given, each client must show a certificate of this CA.
    :raises CertificateFileError: one of them cannot be used.
    """
    context = _bare_server_context()
    _load_certificate(context, cert_file, key_file)
    if ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_ca(context, ca_file)
    return context


def client_context(
    *, verify: bool = True, ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """What a client needs to know. That the certificate is for the right name is not checked by it but by the connection.

    :param verify: whether the server's certificate must be of a CA that is trusted.
    :param ca_file: the CA to trust, in PEM; None for those of the system.
    :param cert_file: the certificate to show to a server that asks, in PEM.
    :param key_file: its key, in PEM; None where it stands in ``cert_file``.
    :raises CertificateFileError: one of them cannot be used.
    """
    context = _restricted(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is not None:
        _load_ca(context, ca_file)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if cert_file is not None:
        _load_certificate(context, cert_file, key_file)
    return context


def self_signed_context(ca_file: str | None = None, name: str = "rtunnel") -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate made now, for a year, and its SHA-256 fingerprint.

    :param ca_file: as for :func:`server_context`.
    :raises CertificateFileError: the CA cannot be used.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # the library reads keys from files only; this one is readable by its owner alone, and gone at once
    with tempfile.NamedTemporaryFile(prefix="rtunnel-") as file:
        file.write(pem)
        file.flush()
        return server_context(file.name, ca_file=ca_file), certificate.fingerprint(hashes.SHA256()).hex(":")


def names_of(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, in words: its first names, for logs and errors."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "nobody"
    names = extension.get_values_for_type(x509.DNSName)
    names += [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "nobody"


class ReloadingContext:
    """A context made from files, and made again when one of them has changed.

    Whoever begins a connection asks for :meth:`current`; connections that exist keep what they began with. New files that cannot be
    used are logged, once, and the context before them stays.

    :param make: makes the context; raises :class:`CertificateFileError`.
    :param files: what it is made of.
    :param what: what it is, for the log.
    :param seconds: the clock, e.g. ``reactor.seconds``.
    """

    def __init__(
        self, make: Callable[[], ssl.SSLContext], files: Sequence[str | None], *, what: str, seconds: Callable[[], float]
    ) -> None:
        self._make = make
        self._files = [file for file in files if file is not None]
        self._what = what
        self._seconds = seconds
        self._signature: object = None
        self._context: ssl.SSLContext | None = None
        self._looked = 0.0
        self._log = Logger()

    def load(self) -> ssl.SSLContext:
        """Make the context now, whatever was before.

        :raises CertificateFileError: a file cannot be used.
        """
        self._looked = self._seconds()
        # before it is read: what changes in between is seen next time
        self._signature = self._look()
        self._context = self._make()
        return self._context

    def current(self) -> ssl.SSLContext:
        """The context for a connection that begins now.

        :raises CertificateFileError: there was never a usable one.
        """
        if self._context is None:
            return self.load()
        now = self._seconds()
        if self._files and not 0 <= now - self._looked < CHECK_INTERVAL:
            self._looked = now
            signature = self._look()
            if signature != self._signature:
                self._signature = signature
                self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = self._make()
        except CertificateFileError as error:
            self._log.error("{what} has changed and cannot be used, the old one stays: {error}", what=self._what, error=str(error))
        else:
            self._log.info("{what} has changed and was read again", what=self._what)

    def _look(self) -> object:
        return [_signature(file) for file in self._files]


def _signature(file: str) -> object:
    try:
        found = os.stat(file)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _restricted(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # the only protocol that can be meant where one is chosen: a WebSocket begins as HTTP/1.1
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bare_server_context() -> ssl.SSLContext:
    context = _restricted(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    # links are few and live long: nothing is gained by resuming a session, and one that is not resumed is verified anew
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    certificate = _read(cert_file)
    if b"-----BEGIN CERTIFICATE-----" not in certificate and b"-----BEGIN TRUSTED CERTIFICATE-----" not in certificate:
        raise CertificateFileError(f'the file "{cert_file}" holds no certificate in PEM')
    if b"PRIVATE KEY-----" not in (certificate if key_file is None else _read(key_file)):
        where = f'the file "{key_file or cert_file}" holds no private key in PEM'
        raise CertificateFileError(where if key_file else f"{where}, and no key file is given")
    key_name = key_file or cert_file

    def no_password() -> NoReturn:
        raise CertificateFileError(f'the key in "{key_name}" is encrypted, and nobody can be asked for its password; decrypt it')

    try:
        context.load_cert_chain(cert_file, key_file, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateFileError(f'the key in "{key_name}" does not belong to the certificate in "{cert_file}"') from None
        raise CertificateFileError(f'the certificate in "{cert_file}" or its key cannot be used ({_reason(error)})') from None
    except OSError as error:
        raise CertificateFileError(f'the certificate in "{cert_file}" cannot be read: {error.strerror}') from None


def _load_ca(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(cadata=_read(ca_file).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        why = _reason(error) if isinstance(error, ssl.SSLError) else "no certificate in PEM"
        raise CertificateFileError(f'the file "{ca_file}" holds no CA that can be used ({why})') from None


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise CertificateFileError(f'the file "{file}" cannot be read: {error.strerror or error}') from None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
