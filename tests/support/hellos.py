"""ClientHellos: of a real TLS client, and put together by hand."""

from __future__ import annotations

import ssl
from itertools import pairwise

__all__ = ["client", "extension", "hello", "record", "records", "server_name", "vector"]


def client(name: str | None, **versions: ssl.TLSVersion) -> tuple[ssl.SSLObject, ssl.MemoryBIO, bytes]:
    """A real TLS client that has said its hello: the client, what it reads, the bytes of the hello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for setting, version in versions.items():
        setattr(context, setting, version)
    to_client, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(to_client, from_client, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return tls, to_client, from_client.read()
    raise AssertionError("a handshake without a server")


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, value: bytes = b"") -> bytes:
    return kind.to_bytes(2, "big") + vector(2, value)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes((kind,)) + vector(2, name)))


def hello(
    *extensions: bytes,
    version: int = 0x0303,
    session: bytes = b"",
    suites: bytes = b"\x13\x01",
    compression: bytes = b"\0",
    tail: bytes = b"",
) -> bytes:
    """The message, without records around it."""
    body = version.to_bytes(2, "big") + bytes(32) + vector(1, session) + vector(2, suites) + vector(1, compression)
    if extensions:
        body += vector(2, b"".join(extensions))
    return b"\x01" + vector(3, body + tail)


def record(data: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes((kind,)) + version.to_bytes(2, "big") + vector(2, data)


def records(message: bytes, *cuts: int) -> bytes:
    """The message in several records, cut where it says."""
    bounds = [0, *sorted(cuts), len(message)]
    return b"".join(record(message[start:end]) for start, end in pairwise(bounds) if start < end)
