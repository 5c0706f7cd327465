"""What goes wrong with TLS, as sentences that say what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionClosed
from twisted.python.failure import Failure

__all__ = ["CUT_OFF", "TlsError", "describe_certificate", "describe_error", "describe_reply", "in_words", "readable"]

CUT_OFF = "the connection was cut off without a TLS close_notify; what was received may be incomplete"


class TlsError(ConnectionClosed):
    """TLS failed, or was cut off; the text is one line that says what to do."""


_UNTRUSTED = "trust its issuer with --ca-file (caFile), or replace the certificate"
_SERVER_CERTIFICATE = {
    9: "is not yet valid; check the clock of this machine",
    10: "has expired; renew it, or check the clock of this machine",
    18: f"is self-signed; {_UNTRUSTED}",
    19: f"was issued by an untrusted CA; {_UNTRUSTED}",
    20: f"was issued by an untrusted CA, or the server does not send the intermediate certificates; {_UNTRUSTED}",
    21: f"was issued by an untrusted CA, or the server does not send the intermediate certificates; {_UNTRUSTED}",
    26: "is not a server certificate (its extended key usage lacks serverAuth); issue one for servers",
    66: "has a key that is too small; issue one with a stronger key",
    67: "was issued by a CA whose key is too small; issue one from a stronger CA",
    68: "has a signature that is too weak; issue one that is signed with SHA-256",
}
"""A server's certificate, by the code of OpenSSL's verification (``X509_V_ERR_*``, openssl-verification-options(1))."""
_CLIENT_CERTIFICATE = {
    9: "is not yet valid",
    10: "has expired",
    18: "is self-signed",
    19: "was issued by an untrusted CA",
    20: "was issued by an untrusted CA",
    21: "was issued by an untrusted CA",
    26: "is not a client certificate (its extended key usage lacks clientAuth)",
    66: "has a key that is too small",
    67: "was issued by a CA whose key is too small",
    68: "has a signature that is too weak",
}

_AT_CLIENT = {
    "alert certificate required": "the server requires a client certificate; give --cert-file and --key-file",
    "alert unknown ca": "the server does not trust the issuer of our certificate (--cert-file)",
    "alert bad certificate": "the server rejected our certificate (--cert-file)",
    "alert certificate expired": "our certificate (--cert-file) has expired",
    "alert certificate revoked": "our certificate (--cert-file) was revoked",
    "alert certificate unknown": "the server rejected our certificate (--cert-file)",
    "alert unsupported certificate": "our certificate (--cert-file) is not a client certificate",
    "alert decrypt error": "the server rejected our certificate (--cert-file)",
    "alert handshake failure": "the server rejected the handshake; it may require a client certificate (--cert-file)",
    "alert unrecognized name": "the server has no certificate for this name; set the right one with --tls-server-name (serverName)",
    "alert protocol version": "the server supports no secure version of TLS (1.2 or 1.3)",
    "unsupported protocol": "the server supports no secure version of TLS (1.2 or 1.3)",
}
_AT_SERVER = {
    "peer did not return a certificate": "the client sent no certificate, and one is required",
    "alert unknown ca": "the client does not trust the issuer of our certificate",
    "alert bad certificate": "the client rejected our certificate",
    "alert certificate expired": "the client says that our certificate has expired",
    "alert certificate unknown": "the client rejected our certificate",
    # what OpenSSL sends for a name that is not in the certificate: it leaves names to service-identity
    "alert internal error": "the client ended the handshake; perhaps our certificate is for another name: see the client's log",
    "unsupported protocol": "the client supports no secure version of TLS (1.2 or 1.3)",
    "no shared cipher": "the client supports none of our ciphers",
}
_PREFIX = re.compile(r"^(?:\S+ alert|tlsv13?) ")
"""What OpenSSL puts before the name of an alert; it depends on the version of either."""


def describe_certificate(code: int, *, of_server: bool) -> str:
    """Say what is wrong with the certificate of the other end.

    :param code: of OpenSSL's verification.
    :param of_server: whether the other end is the server.
    """
    known: Mapping[int, str] = _SERVER_CERTIFICATE if of_server else _CLIENT_CERTIFICATE
    whose = "the server's certificate" if of_server else "the client's certificate"
    return f"{whose} {known.get(code) or f'failed verification (OpenSSL code {code})'}"


def describe_error(error: SSL.Error, *, is_client: bool) -> str:
    """Say what an error of OpenSSL means at one end of a connection."""
    if isinstance(error, SSL.SysCallError):
        return CUT_OFF
    reasons = readable(error)
    known: Mapping[str, str] = _AT_CLIENT if is_client else _AT_SERVER
    return next((known[reason] for reason in reasons if reason in known), f"TLS failed: {reasons[0]}")


def describe_reply(first: bytes) -> str | None:
    """Say what a server speaks whose first bytes are not TLS; None when they are (RFC 8446 5.1: the type of a record)."""
    if 20 <= first[0] <= 24:
        return None
    what = "plain HTTP" if first.startswith(b"HTTP/"[: len(first)]) else "another protocol"
    return f"the server speaks {what} on this port, not TLS; use ws:// or tcp:// (tunnel+ws://, tunnel://), or another port"


def readable(error: SSL.Error) -> list[str]:
    """The reasons of an error as OpenSSL spells them, an alert always as ``alert NAME``; never none."""
    queue: Any = error.args[0] if error.args else ()
    return [_PREFIX.sub("alert ", entry[2]) for entry in queue if entry[2]] or ["unknown error"]


def in_words(failure: Failure, *, is_client: bool) -> Failure:
    """Put the end of a connection into words where it is an error of OpenSSL; anything else stays as it is."""
    if not isinstance(failure.value, SSL.Error):
        return failure
    return Failure(TlsError(describe_error(failure.value, is_client=is_client)))
