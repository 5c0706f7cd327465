"""Request heads: strict parsing, preparation for the target, and writing.

llhttp (httptools) validates a head according to RFC 9112. It is used without callbacks: a call into Python for each field would
cost more than everything else. The fields that the proxy needs are then extracted from the head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NoReturn

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from rtunnel.wire.http1_authority import absolute_form, host_of
from rtunnel.wire.http1_faults import request_fault
from rtunnel.wire.http1_fields import (
    CHUNKED,
    Pieces,
    Special,
    framing,
    members,
    obey_connection,
    pick_special,
    stays_open,
)
from rtunnel.wire.http1_head import HeadError
from rtunnel.wire.http1_policy import UNTRUSTED, FieldPolicy, request_pattern

__all__ = ["RequestHead", "parse_request", "write_request"]

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
NOTHING: Final[Mapping[bytes, bytes]] = MappingProxyType({})

_BEGINNING: Final = re.compile(rb"(?!CONNECT )([A-Z-]++) ([!\"$-~]++) HTTP/1\.([01])(?:\r\n[Hh]ost:[ \t]*+([^\r]*+))?(\r(?s:.*))")
"""The request line, Host if it is the first field (as it nearly always is, see RFC 9110 section 7.2), and the rest."""

_ENDS: Final = {
    (False, False): b"\r\n",
    (False, True): b"Connection: TE\r\n\r\n",
    (True, False): b"Connection: upgrade\r\n\r\n",
    (True, True): b"Connection: TE, upgrade\r\n\r\n",
}
"""The end of a head, by whether it requests an upgrade and accepts trailers."""


class RequestHead:
    """A request head.

    Class attributes are the defaults for what few requests have.

    :ivar method: as sent.
    :ivar target: in origin-form, or ``*``; of an absolute-form the part after the authority.
    :ivar authority: the requested host with its port: the value of Host, or the authority of an absolute-form.
    :ivar host: the same for routing: lower case, without port, trailing dot and the brackets of IPv6.
    :ivar lines: the request line and the end-to-end fields, ready to be written as HTTP/1.1, each line with its CRLF, in
        order and usually verbatim; Host first. The fields that the policy takes or drops are removed, and so are the hop-by-hop
        fields, except for ``Connection: keep-alive``, which is also valid for the connection to the target.
    :ivar named: the values of fields that the policy takes or notes, by lower-case name.
    :ivar minor: minor version of the visitor's HTTP/1: 0 or 1.
    :ivar body: bytes of the body, or :data:`CHUNKED`.
    :ivar keep_alive: whether the visitor keeps the connection open.
    :ivar upgrade: the protocols that the visitor offers to switch to; empty if none.
    :ivar expects_continue: whether the visitor waits for a 100 before it sends the body.
    :ivar te_trailers: whether the visitor accepts trailers.
    :ivar takes_chunks: whether the response may be chunked, which HTTP/1.0 does not support.
    :ivar persistent: whether the connection stays open without a field that says so, as in HTTP/1.1.
    :ivar plain: whether only the fields that this proxy adds are written after the lines.
    :ivar idempotent: whether the method is idempotent (RFC 9110 section 9.2.2).
    """

    method: bytes
    named: Mapping[bytes, bytes] = NOTHING
    minor: int = 1
    body: int = 0
    keep_alive: bool = True
    upgrade: bytes = b""
    expects_continue: bool = False
    te_trailers: bool = False
    idempotent: bool = True
    takes_chunks: bool = True
    persistent: bool = True
    plain: bool = True

    def __init__(self, target: bytes, authority: bytes, host: str, lines: bytes) -> None:
        self.target = target
        self.authority = authority
        self.host = host
        self.lines = lines

    def __repr__(self) -> str:
        # neither target nor fields: they may contain secrets
        return f"<RequestHead {self.method!r} for {self.host!r}, body {self.body}>"

    def with_lines(self, lines: bytes) -> RequestHead:
        """The same head with other lines."""
        head = RequestHead(self.target, self.authority, self.host, lines)
        head.method = self.method
        head.named = self.named
        head.minor = self.minor
        head.body = self.body
        head.keep_alive = self.keep_alive
        head.upgrade = self.upgrade
        head.expects_continue = self.expects_continue
        head.te_trailers = self.te_trailers
        head.idempotent = self.idempotent
        head.takes_chunks = self.takes_chunks
        head.persistent = self.persistent
        head.plain = self.plain
        return head

    @property
    def fields(self) -> bytes:
        """The lines without the request line."""
        return self.lines.partition(b"\r\n")[2]

    def field(self, name: bytes) -> bytes | None:
        """Look up an end-to-end field; repeated fields are combined (RFC 9110 section 5.2).

        Fast for those that the policy names; any other is searched for.

        :param name: in lower case.
        :returns: None if there is none.
        """
        value = self.named.get(name)
        if value is not None:
            return value
        values = _line_of(name).findall(self.lines)
        return b", ".join(value.rstrip(b" \t") for value in values) if values else None


@lru_cache(maxsize=256)
def _line_of(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"^%b:[ \t]*+([^\r]*+)" % re.escape(name), re.IGNORECASE | re.MULTILINE)


def parse_request(head: bytes, policy: FieldPolicy = UNTRUSTED) -> RequestHead:
    """Parse the whole head of a request, from the first byte of its request line to its empty line.

    Rejected with 400: what llhttp rejects (obs-fold, bare CR or LF, control characters, white space before a colon, two lengths,
    a length and a transfer coding), more than one space in the request line, a target with a fragment or with characters
    other than visible ASCII (a client has to encode them, RFC 3986 section 2.1), a transfer coding in HTTP/1.0 or without
    chunked at its end, a missing, repeated or malformed Host. With 501: CONNECT, methods that llhttp does not know, transfer
    codings other than chunked. With 505: versions other than HTTP/1.0 and 1.1.

    :param policy: which fields are taken, dropped and noted.
    :raises HeadError: with one of these.
    """
    try:
        HttpRequestParser(None).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        _refuse(head, error, policy)
    return _read(head, policy)


def _read(head: bytes, policy: FieldPolicy) -> RequestHead:
    """Parse usual heads, without special fields except Host and perhaps ``Connection: keep-alive``; delegate the others."""
    beginning = _BEGINNING.match(head)
    if beginning is None:
        raise request_fault(head) or HeadError(501, "a method that is not for an entrypoint")
    method, target, version, host_field, lines = beginning.groups()
    pieces = request_pattern(policy).split(lines)
    if len(pieces) == 4:
        others = pieces[0]
    elif len(pieces) == 7 and pieces[1] == b"Connection" and pieces[2] == b"keep-alive":
        others = pieces[0] + pieces[3]
    else:
        return _read_unusual(method, target, version, host_field, pieces, policy)
    if version != b"1" or host_field is None or target[:1] != b"/" or pieces[-1] or pieces[-3] is not None:
        return _read_unusual(method, target, version, host_field, pieces, policy)
    authority, host = host_of(host_field)
    lines = b"".join((method, b" ", target, b" HTTP/1.1\r\nHost: ", authority, others, b"\r\n"))
    request = RequestHead(target, authority, host, lines)
    request.method = method
    request.idempotent = method in IDEMPOTENT
    return request


def _read_unusual(
    method: bytes, target: bytes, version: bytes, host_field: bytes | None, pieces: Pieces, policy: FieldPolicy
) -> RequestHead:
    minor = int(version)
    others, special = pick_special(pieces, policy.noted)
    authority, host = _host(host_field, special)
    if target[:1] != b"/":
        absolute, target = absolute_form(method, target)
        if absolute:
            authority, host = host_of(absolute)
    others, options = obey_connection(others, special)
    body = framing(special, minor, 0)
    parts = [method, b" ", target, b" HTTP/1.1\r\nHost: ", authority, others]
    if b"content-length" in special:
        parts += (b"\r\nContent-Length: ", special[b"content-length"])
    expects_continue = False
    if minor and b"expect" in special:
        parts += (b"\r\nExpect: ", special[b"expect"])
        expects_continue = body != 0 and b"100-continue" in members(special[b"expect"])
    parts.append(b"\r\n")
    request = RequestHead(target, authority, host, b"".join(parts))
    request.method = method
    request.idempotent = method in IDEMPOTENT
    request.named = _named(special, policy, options)
    request.minor = minor
    request.takes_chunks = minor > 0
    request.body = body
    request.keep_alive = stays_open(minor, options)
    request.persistent = minor > 0 and request.keep_alive
    request.upgrade = _without_http2(special.get(b"upgrade", b"")) if minor and b"upgrade" in options else b""
    request.expects_continue = expects_continue
    request.te_trailers = b"te" in special and b"trailers" in members(special[b"te"])
    request.plain = body != CHUNKED and not request.upgrade and not request.te_trailers
    return request


def _without_http2(upgrade: bytes) -> bytes:
    """The offered protocols but for HTTP/2 (``h2c``): it cannot be routed, and an offer may be ignored (RFC 9110 section 7.8)."""
    if b"h2" not in upgrade.lower():
        return upgrade
    return b", ".join(protocol for protocol in members(upgrade) if protocol.partition(b"/")[0] not in (b"h2c", b"h2"))


def _host(first: bytes | None, special: Special) -> tuple[bytes, str]:
    if first is None:
        first = special.pop(b"host", None)
        if first is None:
            raise HeadError(400, "no Host")
    elif b"host" in special:
        raise HeadError(400, "Host twice")
    return host_of(first)


def _named(special: Special, policy: FieldPolicy, options: frozenset[bytes]) -> Mapping[bytes, bytes]:
    # fields that Connection names are not for us (RFC 9110 section 7.6.1)
    names = policy.taken | (policy.noted - options)
    if names.isdisjoint(special):
        return NOTHING
    return {name: value.rstrip(b" \t") for name, value in special.items() if name in names}


def _refuse(head: bytes, error: HttpParserError, policy: FieldPolicy) -> NoReturn:
    """Raise our description of the fault if we find it, else the one of llhttp, which is constant."""
    fault = request_fault(head)
    if fault is None and isinstance(error, HttpParserInvalidMethodError):
        fault = HeadError(501, "an unknown method")
    if fault is None:
        _read(head, policy)
    raise fault or HeadError(400, f"llhttp: {error}") from None


def write_request(head: RequestHead, added: bytes) -> bytes:
    """Write the head for the target; always as HTTP/1.1.

    :param added: complete lines of the fields that this proxy sets: ``X-Forwarded-*``, ``X-Request-Id``, ``Via``.
    """
    if head.plain:
        return b"%b%b\r\n" % (head.lines, added)
    pieces = [head.lines, added]
    if head.body == CHUNKED:
        pieces.append(b"Transfer-Encoding: chunked\r\n")
    if head.te_trailers:
        pieces.append(b"TE: trailers\r\n")
    if head.upgrade:
        pieces += (b"Upgrade: ", head.upgrade, b"\r\n")
    pieces.append(_ENDS[bool(head.upgrade), head.te_trailers])
    return b"".join(pieces)
