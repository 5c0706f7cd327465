"""What local programs ask a proxy for: SOCKS5, SOCKS4 and SOCKS4a, HTTP CONNECT and plain HTTP, told apart by the first byte.

A :class:`ProxyServer` is the engine of one connection. Its owner gives it what the program sends (:meth:`ProxyServer.receive`),
and sends what it returns, until :attr:`ProxyServer.wanted` says where the program wants to go. Then the owner connects, and tells
the program the result (:meth:`ProxyServer.granted`, :meth:`ProxyServer.refused`); what the program has sent by then for the other
end is :attr:`ProxyServer.early`, and what it sends from then on passes :meth:`ProxyServer.pass_on`. A program of SOCKS5 may want to
send datagrams instead (:class:`WantedDatagrams`): these come to a socket of their own, and its connection says how long. Whatever
else a program sends raises :class:`NotProxied`, with an answer that the program understands.

Web pages can make a browser send HTTP to a port of loopback, so plain requests must be such as a browser sends to a proxy only:
with an absolute URL, whose host is also that of ``Host``, and no ``Origin`` of another host. (A page cannot send SOCKS or CONNECT.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

from attrs import frozen

from rtunnel.wire.http1_head import HeadError
from rtunnel.wire.pod import Cause
from rtunnel.wire.proxy_datagrams import DOMAIN, IPV4, IPV6, read_name
from rtunnel.wire.proxy_server_http import HttpRefused, ProxiedRequest, http_refusal, take_http

__all__ = ["NotProxied", "ProxyServer", "Wanted", "WantedDatagrams"]

SOCKS4: Final = 4
SOCKS5: Final = 5
CONNECT, ASSOCIATE = 1, 3
NO_AUTH, NO_METHOD = 0, 255
MAX_NAME: Final = 255
"""Bytes of the names in SOCKS4."""

GRANTED, FAILED, DENIED, NO_NETWORK, NO_HOST, REFUSED, EXPIRED, NO_COMMAND, NO_ADDRESS = range(9)
"""Replies of SOCKS5 (RFC 1928 section 6)."""
_REPLIES: Final[Mapping[Cause, int]] = {
    Cause.NOT_ALLOWED: DENIED,
    Cause.NO_NAME: NO_HOST,
    Cause.NO_DNS: NO_HOST,
    Cause.REFUSED: REFUSED,
    Cause.UNREACHABLE: NO_NETWORK,
    Cause.TIMED_OUT: EXPIRED,
}
SOCKS4_GRANTED, SOCKS4_FAILED = 90, 91


@frozen
class Wanted:
    """Where a program wants to go.

    :ivar host: a name, which is not resolved here, or an address.
    :ivar port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class WantedDatagrams:
    """A program wants to send datagrams, with the destination in front of each (:mod:`rtunnel.wire.proxy_datagrams`).

    :ivar port: from which it sends; 0 if it does not know yet.
    """

    port: int


class NotProxied(Exception):
    """A program asks for something that there is not; the text says what.

    :ivar answer: what to send to it before the connection is closed.
    """

    def __init__(self, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.answer = answer


class _Speaker(Protocol):
    """One of the protocols."""

    def take(self, data: bytes) -> tuple[Wanted | WantedDatagrams | bytes, int] | None:
        """The next message at the beginning of what was received, and its size: where to go, or what to answer.

        :returns: None while it is incomplete.
        :raises NotProxied: it is none.
        """

    def granted(self) -> bytes:
        """The answer when the connection is there."""

    def refused(self, cause: Cause, why: str) -> bytes:
        """The answer when it cannot be made."""


class ProxyServer:
    """The engine of one connection.

    :ivar wanted: where the program wants to go, once it has said so.
    :ivar early: what is to be sent there first.
    :ivar protocol: what the program speaks, for logs; ``""`` before its first byte.
    """

    def __init__(self) -> None:
        self.wanted: Wanted | WantedDatagrams | None = None
        self.early = b""
        self.protocol = ""
        self._speaker: _Speaker | None = None
        self._buffer = b""
        self._pass: Callable[[bytes], bytes] | None = None

    def receive(self, data: bytes) -> bytes:
        """Read what the program sends; not to be called once it is known what it wants.

        :returns: what to send to it.
        :raises NotProxied: it is to be closed, after an answer.
        """
        self._buffer += data
        if not self._buffer:
            return b""
        if self._speaker is None:
            self.protocol, self._speaker = _speaker_of(self._buffer[0])
        answer = b""
        while self.wanted is None and self._buffer:
            taken = self._speaker.take(self._buffer)
            if taken is None:
                break
            found, size = taken
            self._buffer = self._buffer[size:]
            if isinstance(found, bytes):
                answer += found
            else:
                self._want(found)
        return answer

    def _want(self, wanted: Wanted | WantedDatagrams) -> None:
        self.wanted = wanted
        self.early, self._buffer = self._buffer, b""
        if isinstance(self._speaker, _PlainOrConnect) and self._speaker.request is not None:
            request = self._speaker.request
            self._pass = request.pass_on
            self.early = request.head + request.pass_on(self.early)

    def granted(self) -> bytes:
        """The connection is there; returns what to send to the program before anything else."""
        return self._speaker.granted() if self._speaker is not None else b""

    def granted_datagrams(self, host: str, port: int) -> bytes:
        """The socket for datagrams is there; returns what to send to the program.

        :param host: the address of the socket.
        :param port: of the socket.
        """
        return _socks5_reply(GRANTED, ip_address(host).packed, port)

    def refused(self, cause: Cause, why: str) -> bytes:
        """The connection cannot be made; returns what to send to the program before it is closed."""
        return self._speaker.refused(cause, why) if self._speaker is not None else b""

    @property
    def passes_all(self) -> bool:
        """Whether everything that follows is for the other end."""
        return self._pass is None

    def pass_on(self, data: bytes) -> bytes:
        """What the other end gets of what the program sends from then on: of plain HTTP, the one request and no more."""
        return data if self._pass is None else self._pass(data)


def _speaker_of(first: int) -> tuple[str, _Speaker]:
    if first == SOCKS5:
        return "SOCKS5", _Socks5()
    return ("SOCKS4", _Socks4()) if first == SOCKS4 else ("HTTP", _PlainOrConnect())


def _name(raw: bytes, refusal: bytes) -> str:
    """A name as a program sends it.

    :raises NotProxied: it is none.
    """
    name = read_name(raw)
    if name is None:
        raise NotProxied("the name of the destination is none", refusal)
    return name


# -- SOCKS5


class _Socks5:
    """SOCKS version 5 (RFC 1928) without authentication."""

    def __init__(self) -> None:
        self._greeted = False

    def take(self, data: bytes) -> tuple[Wanted | WantedDatagrams | bytes, int] | None:
        if data[0] != SOCKS5:
            raise NotProxied("it does not speak SOCKS5 after its greeting")
        return self._take_request(data) if self._greeted else self._take_greeting(data)

    def _take_greeting(self, data: bytes) -> tuple[bytes, int] | None:
        size = 2 + data[1] if len(data) > 1 else 2
        if len(data) < size:
            return None
        if NO_AUTH not in data[2:size]:
            text = "it wants to authenticate (SOCKS5), and there is nothing to authenticate with; configure no user and password"
            raise NotProxied(text, bytes((SOCKS5, NO_METHOD)))
        self._greeted = True
        return bytes((SOCKS5, NO_AUTH)), size

    def _take_request(self, data: bytes) -> tuple[Wanted | WantedDatagrams, int] | None:
        if len(data) < 5:
            return None
        _, command, _, kind, first = data[:5]
        size = {IPV4: 10, IPV6: 22, DOMAIN: 7 + first}.get(kind)
        if size is None:
            raise NotProxied("it asks for an unknown kind of address (SOCKS5)", _socks5_reply(NO_ADDRESS))
        if len(data) < size:
            return None
        raw, port = data[4 : size - 2], int.from_bytes(data[size - 2 : size])
        if command == ASSOCIATE:
            # its address does not matter: it is that of the connection
            return WantedDatagrams(port), size
        if command != CONNECT:
            what = "BIND" if command == 2 else "an unknown command"
            raise NotProxied(f"it asks for {what} (SOCKS5); CONNECT and UDP ASSOCIATE are there", _socks5_reply(NO_COMMAND))
        if kind == DOMAIN:
            host = _name(raw[1:], _socks5_reply(NO_HOST))
        else:
            host = ".".join(map(str, raw)) if kind == IPV4 else str(IPv6Address(raw))
        if not port:
            raise NotProxied("it asks for the port 0", _socks5_reply(FAILED))
        return Wanted(host, port), size

    def granted(self) -> bytes:
        return _socks5_reply(GRANTED)

    def refused(self, cause: Cause, why: str) -> bytes:
        return _socks5_reply(_REPLIES.get(cause, FAILED))


def _socks5_reply(code: int, address: bytes = bytes(4), port: int = 0) -> bytes:
    """A reply.

    :param address: of the socket for datagrams; that which a connection is made from is the pod's business.
    """
    return bytes((SOCKS5, code, 0, IPV4 if len(address) == 4 else IPV6)) + address + port.to_bytes(2)


# -- SOCKS4


class _Socks4:
    """SOCKS version 4, with names (4a)."""

    def take(self, data: bytes) -> tuple[Wanted, int] | None:
        if len(data) < 9:
            return None
        end = data.find(b"\0", 8, 8 + MAX_NAME + 1)
        if end < 0:
            self._check_size(data, 8)
            return None
        address, size = data[4:8], end + 1
        named = address[:3] == b"\0\0\0" and address[3] != 0
        host = str(IPv4Address(address))
        if named:
            stop = data.find(b"\0", size, size + MAX_NAME + 1)
            if stop < 0:
                self._check_size(data, size)
                return None
            host, size = _name(data[size:stop], _socks4_reply(SOCKS4_FAILED)), stop + 1
        port = int.from_bytes(data[2:4])
        if data[1] != CONNECT or not port:
            raise NotProxied("it asks for something other than CONNECT to a port (SOCKS4)", _socks4_reply(SOCKS4_FAILED))
        return Wanted(host, port), size

    def _check_size(self, data: bytes, start: int) -> None:
        """Check a text that begins somewhere and is not complete.

        :raises NotProxied: it is too long.
        """
        if len(data) - start > MAX_NAME:
            raise NotProxied("a name is too long (SOCKS4)", _socks4_reply(SOCKS4_FAILED))

    def granted(self) -> bytes:
        return _socks4_reply(SOCKS4_GRANTED)

    def refused(self, cause: Cause, why: str) -> bytes:
        return _socks4_reply(SOCKS4_FAILED)


def _socks4_reply(code: int) -> bytes:
    return bytes((0, code, 0, 0, 0, 0, 0, 0))


# -- HTTP


class _PlainOrConnect:
    """HTTP/1: CONNECT, or a plain request with an absolute URL.

    :ivar request: a plain one.
    """

    def __init__(self) -> None:
        self.request: ProxiedRequest | None = None

    def take(self, data: bytes) -> tuple[Wanted, int] | None:
        try:
            taken = take_http(data)
        except HttpRefused as refused:
            raise NotProxied(str(refused), http_refusal(refused.status, str(refused))) from None
        except HeadError as error:
            raise NotProxied(f"it sends no valid HTTP: {error.reason}", http_refusal(error.status, error.reason)) from None
        if taken is None:
            return None
        host, port, self.request, size = taken
        return Wanted(host, port), size

    def granted(self) -> bytes:
        return b"HTTP/1.1 200 Connection established\r\n\r\n" if self.request is None else b""

    def refused(self, cause: Cause, why: str) -> bytes:
        return http_refusal(_HTTP[cause], why, cause)


_HTTP: Final[Mapping[Cause, int]] = {
    Cause.NOT_ALLOWED: 403,
    Cause.NO_NAME: 502,
    Cause.NO_DNS: 502,
    Cause.REFUSED: 502,
    Cause.UNREACHABLE: 502,
    Cause.TIMED_OUT: 504,
    Cause.BUSY: 503,
    Cause.NO_POD: 503,
    Cause.FAILED: 502,
}
