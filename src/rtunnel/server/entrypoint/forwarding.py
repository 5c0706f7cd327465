"""The forwarding fields of a request: X-Forwarded-For, -Proto, -Host, X-Request-Id, Via and, if enabled, Forwarded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2s
from ipaddress import IPv4Network, IPv6Network
from itertools import count
from os import urandom

from rtunnel.addresses import parse_address
from rtunnel.wire.http1 import RequestHead, write_request

__all__ = ["Forwarding", "TrustedProxies", "came_back", "new_request_id", "via_entry", "within"]

MAX_REMEMBERED = 256
"""Maximum length of a chain of addresses whose origin is cached, in bytes."""

_secret = urandom(16)
_request_ids = map((urandom(8).hex().encode() + b"%016x").__mod__, count(int.from_bytes(urandom(4), "big")))
_sound_id = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch
_is_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_PAIR = re.compile(
    rb"""[ \t]*+(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)=(?:"((?:[^"\\]|\\.)*+)"|([^;,"]*+)))?[ \t]*+(?:[;,]|\Z)""", re.DOTALL
)
"""A pair of Forwarded (RFC 7239 section 4), which may be empty, and its delimiter. Unquoted values need not be tokens."""


def new_request_id() -> bytes:
    """A unique request ID; it identifies a request and is not a secret."""
    return next(_request_ids)


@lru_cache(maxsize=1024)
def via_entry(host: str) -> bytes:
    """Our entry in Via (RFC 9110 7.6.3): received with HTTP/1.1, by a pseudonym that reveals no internals.

    It differs from process to process and from host to host, so a request that carries it already came back to this server for the
    same host. A service that calls another one through the same server is no loop.
    """
    return b"1.1 rtunnel-%b" % blake2s(host.encode(), digest_size=5, key=_secret).hexdigest().encode()


@lru_cache(maxsize=1024)
def _via_line(host: str) -> bytes:
    """The end of a line, and Via with nothing but our entry."""
    return b"\r\nVia: %b\r\n" % via_entry(host)


def came_back(head: RequestHead) -> bool:
    """Whether a request with Via was forwarded by this server before, for the same host."""
    return via_entry(head.host) in head.named[b"via"]


class Forwarding:
    """Writes the forwarding fields for the requests of one visitor connection.

    These fields are trusted only if the visitor is a trusted proxy; else the reader has dropped them
    (:mod:`rtunnel.wire.http1_policy`). The fields of a trusted proxy are passed on, and its address is appended to the chains,
    unless these are kept as they came.

    :param peer: the visitor's address.
    :param trusted: whether it is a trusted proxy.
    :param write_forwarded: whether ``Forwarded`` is written.
    :param keep_chain: whether the chains of a trusted proxy that has written one are passed on as they came.
    """

    __slots__ = ("_authority", "_before_id", "_forwarded", "_keep_chain", "_via_line", "peer", "trusted")

    def __init__(self, peer: str, *, trusted: bool, write_forwarded: bool, keep_chain: bool = False) -> None:
        self.peer = peer.encode("ascii", "replace")
        self.trusted = trusted
        self._keep_chain = keep_chain
        self._forwarded = _node(peer) if write_forwarded else b""
        # cached, since a visitor requests the same host again and again
        self._authority = self._before_id = self._via_line = b""

    def write(self, head: RequestHead) -> tuple[bytes, bytes]:
        """Write the head of a request for its target.

        :returns: the request ID and the head.
        """
        if self.trusted:
            return self._continued(head)
        request_id = next(_request_ids)
        authority = head.authority
        if authority != self._authority:
            self._set_authority(head)
        via = _via(head) if head.named else self._via_line
        if head.plain:
            return request_id, b"%b%b%b%b\r\n" % (head.lines, self._before_id, request_id, via)
        return request_id, write_request(head, b"%b%b%b" % (self._before_id, request_id, via))

    def _set_authority(self, head: RequestHead) -> None:
        authority = self._authority = head.authority
        self._via_line = _via_line(head.host)
        self._before_id = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %b\r\n%bX-Request-Id: " % (
            self.peer,
            authority,
            self._element(b"", authority, b"http"),
        )

    def _continued(self, head: RequestHead) -> tuple[bytes, bytes]:
        """Extend the fields of a trusted proxy, and add the missing ones."""
        named = head.named
        get = named.get
        request_id = get(b"x-request-id", b"")
        if not _sound_id(request_id):
            request_id = new_request_id()
        before = get(b"x-forwarded-for") or _chain(named)
        missing = b""
        if b"x-forwarded-proto" not in named:
            missing = b"X-Forwarded-Proto: http\r\n"
        if b"x-forwarded-host" not in named:
            missing += b"X-Forwarded-Host: %b\r\n" % head.authority
        if self._forwarded:
            proto = get(b"x-forwarded-proto") or b"http"
            forwarded = get(b"forwarded", b"")
            if _addresses(forwarded) is None:
                forwarded = b""
            if self._keep_chain and forwarded:
                missing += b"Forwarded: %b\r\n" % forwarded
            else:
                missing += self._element(forwarded, get(b"x-forwarded-host") or head.authority, proto)
        chain = before if self._keep_chain and before else b"%b, %b" % (before, self.peer) if before else self.peer
        return request_id, write_request(
            head, b"X-Forwarded-For: %b\r\nX-Request-Id: %b%b%b" % (chain, request_id, _via(head), missing)
        )

    def _element(self, before: bytes, authority: bytes, proto: bytes) -> bytes:
        """The Forwarded field (RFC 7239 section 4) with one more element; empty if it is disabled."""
        if not self._forwarded:
            return b""
        element = b"for=%b;host=%b;proto=%b" % (self._forwarded, _quoted(authority), _quoted(proto))
        return b"Forwarded: %b\r\n" % (before + b", " + element if before else element)


def _via(head: RequestHead) -> bytes:
    """The end of a line, and Via with our entry."""
    via = head.named.get(b"via")
    return _via_line(head.host) if via is None else b"\r\nVia: %b, %b\r\n" % (via, via_entry(head.host))


def _chain(named: Mapping[bytes, bytes]) -> bytes:
    """The addresses of Forwarded, for a proxy that writes only this field."""
    return b", ".join(_addresses(named.get(b"forwarded", b"")) or ())


def _node(address: str) -> bytes:
    """An address in the syntax of Forwarded (RFC 7239 section 6)."""
    return b'"[%b]"' % address.encode() if ":" in address else (address or "unknown").encode("ascii", "replace")


def _quoted(text: bytes) -> bytes:
    """A value in the syntax of Forwarded: a token or a quoted string."""
    return text if _is_token(text) else b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", text)


def _addresses(forwarded: bytes) -> list[bytes] | None:
    """The addresses in a value of Forwarded, without ports and brackets.

    Quoted strings are opaque: a host that a visitor chose may contain anything.

    :returns: None if it is malformed; then none of it can be trusted.
    """
    addresses = []
    position = 0
    while position < len(forwarded):
        pair = _PAIR.match(forwarded, position)
        if pair is None:
            return None
        position = pair.end()
        name, quoted, plain = pair.groups()
        if name is not None and name.lower() == b"for":
            node = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
            addresses.append(_without_port(node.strip(b" \t")))
    return addresses


def _without_port(node: bytes) -> bytes:
    return node[1:].partition(b"]")[0] if node.startswith(b"[") else node.partition(b":")[0]


class TrustedProxies:
    """The networks of the proxies whose forwarding fields are trusted.

    Results are cached, up to a limit: the same few proxies send the same visitor addresses again and again.

    :param networks: of the trusted proxies.
    """

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = networks
        self._origin = lru_cache(maxsize=4096)(self._find_origin)

    def __contains__(self, address: str) -> bool:
        return within(address, self._networks)

    def origin(self, peer: str, named: Mapping[bytes, bytes]) -> str:
        """The origin of a request: the last address before the trusted proxies, or the peer itself.

        :param peer: the address of a trusted proxy.
        :param named: its forwarding fields.
        """
        chain = named.get(b"x-forwarded-for") or _chain(named)
        return (self._origin if len(chain) <= MAX_REMEMBERED else self._find_origin)(peer, chain)

    def _find_origin(self, peer: str, chain: bytes) -> str:
        address = peer
        for hop in reversed(chain.decode("ascii", "replace").split(",")):
            named = parse_address(hop.strip())
            if named is None:
                break
            address = str(named)
            if address not in self:
                break
        return address


def within(peer: str, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is in one of the networks."""
    address = parse_address(peer)
    return address is not None and any(address in network for network in trusted)
