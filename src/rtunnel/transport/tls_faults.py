"""What goes wrong with TLS, in words that say what to do."""

from __future__ import annotations

import ssl

__all__ = ["fault_of_client", "fault_of_server", "plain_answer"]

_OUR_CLIENT = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a certificate; give --cert-file and --key-file",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not know the CA of our certificate (--cert-file)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refuses our certificate (--cert-file)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate (--cert-file) has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our certificate (--cert-file) was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server refuses our certificate (--cert-file)",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "our certificate (--cert-file) is not one for clients",
    "TLSV1_ALERT_DECRYPT_ERROR": "the server refuses our certificate (--cert-file)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the handshake; it may ask for a certificate (--cert-file)",
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for this name; give the right one with --tls-server-name",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server speaks no version of TLS that is safe (1.2 and 1.3 are)",
    "UNSUPPORTED_PROTOCOL": "the server speaks no version of TLS that is safe (1.2 and 1.3 are)",
}

_OUR_SERVER = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the CA of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client refuses our certificate",
    "UNSUPPORTED_PROTOCOL": "the client speaks no version of TLS that is safe (1.2 and 1.3 are)",
    "NO_SHARED_CIPHER": "the client knows none of our ciphers",
}

_CA = "give its CA with --ca-file (caFile), or correct the server's certificate"
# of the library's certificate checks (openssl-verification-options(1)): what the chain of a server lacks
_VERIFY = {
    9: "is not valid yet; look at the clocks",
    10: "has expired; it has to be renewed",
    18: f"is signed by itself; {_CA}",
    19: f"is of a CA that is not trusted here; {_CA}",
    20: f"is of a CA that is not trusted here, or its chain is incomplete; {_CA}",
    21: f"cannot be traced to a CA that is trusted here; {_CA}",
    26: "is not one for servers",
}
_VERIFY_CLIENT = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    19: "is not of the CA that we ask for",
    20: "is not of the CA that we ask for",
    21: "is not of the CA that we ask for",
    26: "is not one for clients",
}


def fault_of_client(error: ssl.SSLError) -> str:
    """What a client says of an error of its library."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate {_verification(error, _VERIFY)}"
    return _OUR_CLIENT.get(error.reason or "") or _other(error)


def fault_of_server(error: ssl.SSLError) -> str:
    """What a server says of an error of its library."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate {_verification(error, _VERIFY_CLIENT)}"
    return _OUR_SERVER.get(error.reason or "") or _other(error)


def plain_answer(first: bytes) -> str | None:
    """What a client says of a server whose first bytes are no TLS; None when they are (RFC 8446 5.1: the type of a record)."""
    if not first or 20 <= first[0] <= 24:
        return None
    what = "plain HTTP" if first.startswith(b"HTTP/"[: len(first)]) else "something else"
    return f"the server does not speak TLS here but {what}; is it ws:// or tcp:// (tunnel+ws://, tunnel://), or another port?"


def _verification(error: ssl.SSLCertVerificationError, words: dict[int, str]) -> str:
    return words.get(error.verify_code) or f"is refused: {error.verify_message}"


def _other(error: ssl.SSLError) -> str:
    return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
