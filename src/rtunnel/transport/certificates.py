"""Certificates and keys: from files to what OpenSSL wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion

from rtunnel.transport.tls_errors import readable

__all__ = ["CertificateFileError", "client_context", "names_of", "self_signed_context", "server_context"]

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only; TLS 1.3 has nothing else."""
_ALPN = b"http/1.1"
"""The only protocol that can be meant where one is chosen: a WebSocket begins as HTTP/1.1."""
_OP_NO_RENEGOTIATION = 1 << 30
"""``SSL_OP_NO_RENEGOTIATION`` of OpenSSL, which pyOpenSSL does not name."""


class CertificateFileError(Exception):
    """A file is not what it must be; the text is one line that names it."""


def server_context(cert_file: str, key_file: str | None = None, ca_file: str | None = None) -> SSL.Context:
    """What a server needs to know.

    :param cert_file: its certificate and chain, in PEM.
    :param key_file: the key, in PEM; None where it stands in ``cert_file``.
    :param ca_file: when given, each client must show a certificate of this CA.
    :raises CertificateFileError: one of them cannot be used.
    """
    context = _context()
    _load_certificate(context, cert_file, key_file)
    if ca_file is not None:
        _require_certificate(context, ca_file)
    return context


def client_context(
    *, verify: bool = True, ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None
) -> SSL.Context:
    """What a client needs to know. That the certificate is for the right name is not checked by it but by the connection.

    :param verify: whether the server's certificate must be of a CA that is trusted.
    :param ca_file: the CA to trust, in PEM; None for those of the system.
    :param cert_file: the certificate to show to a server that asks, in PEM.
    :param key_file: its key, in PEM; None where it stands in ``cert_file``.
    :raises CertificateFileError: one of them cannot be used.
    """
    context = _context()
    if verify:
        _require_certificate(context, ca_file)
    if cert_file is not None:
        _load_certificate(context, cert_file, key_file)
    return context


def self_signed_context(ca_file: str | None = None, name: str = "rtunnel") -> tuple[SSL.Context, str]:
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
    context = _context()
    context.use_certificate(certificate)
    context.use_privatekey(key)
    if ca_file is not None:
        _require_certificate(context, ca_file)
    return context, certificate.fingerprint(hashes.SHA256()).hex(":")


def names_of(certificate: x509.Certificate) -> str:
    """The names of a certificate as text, for logs and errors; only the first ones."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no host"
    names = extension.get_values_for_type(x509.DNSName)
    names += [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "no host"


def _context() -> SSL.Context:
    """Twisted's defaults (no compression; sessions are not resumed, so that each link is verified anew), and stricter ones."""
    options = CertificateOptions(
        raiseMinimumTo=TLSVersion.TLSv1_2, acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(_CIPHERS)
    )
    context: SSL.Context = options.getContext()
    context.set_options(_OP_NO_RENEGOTIATION)
    context.set_alpn_protos([_ALPN])
    context.set_alpn_select_callback(lambda connection, offered: _ALPN if _ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    return context


def _load_certificate(context: SSL.Context, cert_file: str, key_file: str | None) -> None:
    certificate = _read(cert_file)
    key_name = key_file or cert_file
    if b"-----BEGIN CERTIFICATE-----" not in certificate and b"-----BEGIN TRUSTED CERTIFICATE-----" not in certificate:
        raise CertificateFileError(f'the file "{cert_file}" holds no certificate in PEM')
    key = certificate if key_file is None else _read(key_file)
    if b"PRIVATE KEY-----" not in key:
        where = f'the file "{key_name}" holds no private key in PEM'
        raise CertificateFileError(where if key_file else f"{where}, and no key file is given")
    if b"ENCRYPTED" in key:
        # OpenSSL would ask the terminal for the password
        raise CertificateFileError(f'the key in "{key_name}" is encrypted, and there is no way to ask for its password; decrypt it')
    try:
        context.use_certificate_chain_file(cert_file)
        context.use_privatekey_file(key_name)
    except SSL.Error as error:
        reasons = readable(error)
        if "key values mismatch" in reasons:
            raise CertificateFileError(f'the key in "{key_name}" does not belong to the certificate in "{cert_file}"') from None
        raise CertificateFileError(f'the certificate in "{cert_file}" or its key cannot be used ({reasons[0]})') from None


def _require_certificate(context: SSL.Context, ca_file: str | None) -> None:
    """Have the other end's certificate verified.

    :param ca_file: the CA that must have issued it; None for any that the system trusts.
    """
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if ca_file is None:
        context.set_default_verify_paths()
        return
    _read(ca_file)
    try:
        context.load_verify_locations(ca_file)
    except SSL.Error as error:
        raise CertificateFileError(f'the file "{ca_file}" holds no CA that can be used ({readable(error)[0]})') from None


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise CertificateFileError(f'the file "{file}" cannot be read: {error.strerror or error}') from None
