"""What a target is told about the visitor: X-Forwarded-For, -Proto, -Host, X-Request-Id and Via."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import count
from os import urandom

__all__ = ["VIA", "Forwarding", "client_address", "new_request_id", "passed_id", "within"]

VIA = b"1.1 rtunnel"
"""Our entry in Via (RFC 9110 7.6.3): received with HTTP/1.1, by a name that tells no internals."""

_process = urandom(8).hex().encode()
_serial = count(int.from_bytes(urandom(4), "big"))
_ID = len(_process) + 16
_ENDING = len(b"\r\nVia: 1.1 rtunnel\r\n\r\n")
_sound_id = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch


def new_request_id() -> bytes:
    """A request id that no other process and no other request has; it is a name, not a secret."""
    return b"%b%016x" % (_process, next(_serial))


def passed_id(request: bytes) -> bytes:
    """The id of a request that :meth:`Forwarding.passing` has written."""
    return request[-_ENDING - _ID : -_ENDING]


class Forwarding:
    """Writes the forwarding fields for the requests of one visitor connection.

    What the visitor itself says in these fields counts only when it is a trusted proxy; otherwise it is dropped.

    :param peer: the visitor's address.
    :param trusted: networks of trusted proxies.
    """

    __slots__ = ("_authority", "_before_host", "_before_id", "peer", "trusted")

    def __init__(self, peer: str, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self.peer = peer.encode("ascii", "replace")
        self.trusted = bool(trusted) and within(peer, trusted)
        self._before_host = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " % self.peer
        # a visitor asks for the same host again and again
        self._authority = self._before_id = b""

    def fields(self, authority: bytes, said: dict[bytes, bytes] | None) -> tuple[bytes, bytes]:
        """Write the fields, as header lines.

        :param authority: the Host of the request.
        :param said: what the visitor said in these fields.
        :returns: the request's id and the lines.
        """
        if said is None:
            request_id = new_request_id()
            return request_id, b"%b%b\r\nX-Request-Id: %b\r\nVia: 1.1 rtunnel\r\n" % (self._before_host, authority, request_id)
        request_id = self._request_id(said)
        return request_id, self._continued(authority, said, request_id)

    def passing(self, head: bytes, authority: bytes) -> bytes:
        """Write the fields behind a head that passes as it came; its request's id is found again with :func:`passed_id`.

        :param head: with its empty line.
        """
        if authority != self._authority:
            self._authority = authority
            self._before_id = b"%b%b\r\nX-Request-Id: %b" % (self._before_host, authority, _process)
        return b"%b%b%016x\r\nVia: 1.1 rtunnel\r\n\r\n" % (head[:-2], self._before_id, next(_serial))

    def _continued(self, authority: bytes, said: dict[bytes, bytes], request_id: bytes) -> bytes:
        # Via is a chain that anybody may lengthen and nobody may shorten
        via = said.get(b"via")
        via = via + b", " + VIA if via else VIA
        if not self.trusted:
            return b"%b%b\r\nX-Request-Id: %b\r\nVia: %b\r\n" % (self._before_host, authority, request_id, via)
        before = said.get(b"x-forwarded-for")
        return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Request-Id: %b\r\nVia: %b\r\n" % (
            before + b", " + self.peer if before else self.peer,
            said.get(b"x-forwarded-proto", b"http"),
            said.get(b"x-forwarded-host", authority),
            request_id,
            via,
        )

    def _request_id(self, said: dict[bytes, bytes]) -> bytes:
        """The id of a request: a trusted proxy's own, if it is a sound one, else a new one."""
        if self.trusted:
            given = said.get(b"x-request-id", b"")
            if _sound_id(given):
                return given
        return new_request_id()


def client_address(forwarding: Forwarding, said: dict[bytes, bytes] | None, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Who asked, as far as it is known: the last one before the trusted proxies, or the visitor itself.

    :param said: what the visitor said in the forwarding fields.
    :param trusted: networks of trusted proxies.
    """
    address = forwarding.peer.decode()
    if not forwarding.trusted or not said:
        return address
    for hop in reversed(said.get(b"x-forwarded-for", b"").decode("ascii", "replace").split(",")):
        try:
            address = str(ip_address(hop.strip()))
        except ValueError:
            break
        if not within(address, trusted):
            break
    return address


def within(peer: str, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is in one of some networks."""
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in trusted)
