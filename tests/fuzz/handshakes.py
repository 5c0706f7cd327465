"""Fuzz targets for what comes first on a connection: ClientHello, PROXY header, answers of a forward proxy, HTTP/2, peers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from rtunnel.wire.clienthello import MAX_HELLO, ClientHelloError, ClientHelloReader
from rtunnel.wire.http2_refusal import CLIENT_PREFACE, MAX_BEFORE, Http2Refusal
from rtunnel.wire.peers import MAGIC, NONCE, Challenge, take_challenge, take_proof, take_verdict
from rtunnel.wire.proxy import HttpConnect, ProxyError, ProxyHandshake, Socks5
from rtunnel.wire.proxyproto import MAX_HEADER, ProxyProtocolError, take_proxy_header
from rtunnel.wire.relay import RelayError
from tests.fuzz.target import Target, cuts

__all__ = ["TARGETS"]


# -- ClientHello

_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_asked: list[str | None] = []
_server.sni_callback = lambda tls, name, context: _asked.append(name)


def client_hello(data: bytes) -> None:
    """A name or a ClientHelloError; the same however the bytes are cut; never another name than OpenSSL's."""
    found = read_hello([data])
    for pieces in cuts(data):
        assert (read_hello(pieces) or "more")[:1] == (found or "more")[:1]
    if found is None:
        assert len(data) < MAX_HELLO
    elif found[0] == "hello":
        name = openssl_name(data)
        assert name is None or name.lower().removesuffix(".") == (found[1] or ""), f"{found[1]} here, {name} in OpenSSL"


def read_hello(pieces: Iterable[bytes]) -> tuple[str, str | None] | None:
    reader = ClientHelloReader()
    try:
        for piece in pieces:
            hello = reader.feed(piece)
            if hello is not None:
                assert hello.server_name is None or re.fullmatch(r"[a-z0-9_.-]{1,255}", hello.server_name)
                return "hello", hello.server_name
    except ClientHelloError as error:
        return "error", error.reason
    return None


def openssl_name(data: bytes) -> str | None:
    """The server name that OpenSSL finds, as long as it gets so far."""
    _asked.clear()
    to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _server.wrap_bio(to_server, from_server, server_side=True)
    to_server.write(data)
    with suppress(ssl.SSLError):
        tls.do_handshake()
    return _asked[0] if _asked else None


# -- PROXY protocol


def proxy_protocol(data: bytes) -> None:
    """A header or a ProxyProtocolError; decided once, whatever follows; written and read again, it is the same."""
    found = take(data)
    for end in range(0, min(len(data), MAX_HEADER), 1 if len(data) < 300 else 37):
        early = take(data[:end])
        if early is not None:
            assert type(early) is type(found), "what follows a header changes what it is"
            assert isinstance(early, str) or early == found
    if found is None:
        assert len(data) < MAX_HEADER
    elif not isinstance(found, str):
        header, end = found
        assert end <= len(data)
        written = header.encode(2)
        again = take_proxy_header(written)
        if not any(kind == 3 for kind, _ in header.additions):
            # what is written again is not what was received, so a checksum of that does not fit
            assert again is not None
            assert again[0] == header
        if not (header.datagram or header.additions or header.local or isinstance(header.source, bytes)):
            assert take_proxy_header(header.encode(1)) == (header, len(header.encode(1)))


def take(data: bytes) -> Any:
    try:
        return take_proxy_header(data)
    except ProxyProtocolError as error:
        return str(error)


# -- answers of a forward proxy

LOGIN = ("user", "a secret")


def connect_answer(data: bytes) -> None:
    """The first byte of the other end or a ProxyError, and the same however the bytes are cut."""
    for host, login in (("pod.local", None), ("2001:db8::1", LOGIN)):
        check_handshake(lambda host=host, login=login: HttpConnect(host, 443, login), data)  # type: ignore[misc]


def socks_answer(data: bytes) -> None:
    """The same for SOCKS."""
    for host, login in (("pod.local", None), ("2001:db8::1", LOGIN), ("192.0.2.1", LOGIN)):
        check_handshake(lambda host=host, login=login: Socks5(host, 443, login), data)  # type: ignore[misc]


def check_handshake(make: Callable[[], ProxyHandshake], data: bytes) -> None:
    found = shake(make(), [data])
    for pieces in cuts(data):
        assert shake(make(), pieces)[:2] == found[:2]


def shake(handshake: ProxyHandshake, pieces: Iterable[bytes]) -> tuple[bool | None, bytes, str]:
    """Whether it is done, None after an error; what follows it or what was sent; and the error."""
    handshake.begin()
    sent = rest = b""
    try:
        for piece in pieces:
            if handshake.done:
                rest += piece
            else:
                sent += handshake.receive(piece)
    except ProxyError as error:
        text = str(error)
        assert text.isprintable() and LOGIN[1] not in text and len(text) < 300, text
        return None, b"", text
    assert len(sent) < 600
    return handshake.done, sent + handshake.rest + rest, ""


_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_ANSWERS = [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 407 ", b"HTTP/1.0 ", b"Proxy-Authenticate: ", b"\r\n\r\n", b"100 ", b"503 "]

# -- HTTP/2, which is refused


def http2(data: bytes) -> None:
    """The same answer however the bytes are cut, bounded in size and in what has to be sent for it."""
    data = CLIENT_PREFACE + data
    refusal = Http2Refusal(505, b"no HTTP/2")
    whole = refusal.receive(data)
    assert len(whole) < 200
    assert refusal.done or len(data) < MAX_BEFORE + 20000
    if refusal.done:
        assert refusal.receive(data) == b""
    for pieces in cuts(data):
        other = Http2Refusal(505, b"no HTTP/2")
        assert b"".join(map(other.receive, pieces)) == whole


# -- peers


def peers(data: bytes) -> None:
    """Messages of the handshake, decided by their beginning, which are the same when they are written again; no proof is right."""
    for take, size in ((take_challenge, 64), (take_proof, 112), (take_verdict, 33)):
        found = taken(take, data)
        assert found is not None or len(data) < size
        for end in range(min(len(data), size)):
            early = taken(take, data[:end])
            assert early is None or early == found == "refused"
        if isinstance(found, tuple):
            message, used = found
            again = taken(take, message.encode())
            assert again is not None and (again[0], used) == (message, size)
    proof = taken(take_proof, data)
    if isinstance(proof, tuple):
        assert not proof[0].is_right(b"secret", Challenge(UUID(int=1), bytes(NONCE)))


def taken(take: Callable[[bytes], Any], data: bytes) -> Any:
    """A message with its size, None, or ``refused``."""
    try:
        return take(data)
    except RelayError as error:
        assert error.reason.isascii()
        return "refused"


TARGETS = (
    Target(
        "http2", http2, ("rtunnel.wire.http2_refusal",), [b"\0\0\0\x01\x05\0\0\0\x01", b"\0\0\0\x04\0\0\0\0\0", b"\xff\xff\xff"]
    ),
    Target("peers", peers, ("rtunnel.wire.peers",), [MAGIC, bytes(16), bytes(32), b"\x01"]),
    Target(
        "client-hello",
        client_hello,
        ("rtunnel.wire.clienthello",),
        [b"\x16\x03\x01", b"\x03\x03", b"\x00\x00", b"\x00\x01", b"\x13\x01"],
    ),
    Target(
        "proxy-protocol",
        proxy_protocol,
        ("rtunnel.wire.proxyproto",),
        [_V2, _V2 + b"\x21\x11\x00\x0c", _V2 + b"\x20\x00\x00\x00", b"PROXY TCP4 ", b"TCP6", b"UNKNOWN"],
    ),
    Target("connect-answer", connect_answer, ("rtunnel.wire.proxy",), _ANSWERS),
    Target(
        "socks-answer", socks_answer, ("rtunnel.wire.proxy",), [b"\x05\x00", b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x01"], 512
    ),
)
