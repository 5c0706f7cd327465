"""Heads of requests: parsed strictly, made ready for the target, written anew.

llhttp (httptools) judges a head and refuses what RFC 9112 does not allow. It is asked for its verdict only: to call back into
Python for each field would cost more than all the rest. What the proxy needs is then picked out of the head.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

import attrs
from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from rtunnel.wire.http1_authority import absolute_form, host_of
from rtunnel.wire.http1_faults import request_fault
from rtunnel.wire.http1_fields import (
    CHUNKED,
    FORWARDING,
    HOP_BY_HOP,
    Pieces,
    Special,
    framing,
    members,
    obey_connection,
    pick_special,
    special_pattern,
    stays_open,
)
from rtunnel.wire.http1_head import HeadError

__all__ = ["RequestHead", "accepted", "parse_request", "write_request"]

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

_BEGINNING: Final = re.compile(rb"(?!CONNECT )([A-Z-]++) ([^ #\r]++) HTTP/1\.([01])(?:\r\n[Hh]ost:[ \t]*+([^\r]*+))?(\r(?s:.*))")
"""The request line, Host when it comes first (it does nearly always, as RFC 9110 section 7.2 would have it), and the rest."""
_SPECIAL: Final = special_pattern(HOP_BY_HOP | FORWARDING | {b"host", b"content-length", b"expect"})
_ACCEPT: Final = re.compile(rb"^accept:[ \t]*+([^\r]*+)", re.IGNORECASE | re.MULTILINE)

_ENDS: Final = {
    (False, False): b"\r\n",
    (False, True): b"Connection: TE\r\n\r\n",
    (True, False): b"Connection: upgrade\r\n\r\n",
    (True, True): b"Connection: TE, upgrade\r\n\r\n",
}
"""How a head ends, by whether it asks for an upgrade and for trailers."""


@attrs.define
class RequestHead:
    """A request between its visitor and its target.

    :param method: as sent.
    :param target: in origin-form, or ``*``: of an absolute-form what follows the authority.
    :param minor: minor version of the visitor's HTTP/1: 0 or 1.
    :param authority: what the visitor named, port and all: the value of Host, or the authority of an absolute-form.
    :param host: the same for routing: lower case, without port, final dot and the brackets of IPv6.
    :param fields: the end-to-end fields ready to be written, each line with its CRLF, as they came and in their order;
        Host before, Content-Length and Expect behind all others. The hop-by-hop fields and those of ``forwarded`` are out.
    :param forwarded: what the visitor sent of ``X-Forwarded-For``, ``-Proto``, ``-Host``, ``X-Request-Id`` and ``Via``, by the
        name in lower case; None when nothing, as is usual.
    :param body: bytes of the body, or :data:`CHUNKED`.
    :param keep_alive: the visitor would go on after this exchange.
    :param upgrade: the protocols that the visitor would like to change to; empty when none.
    :param expects_continue: the visitor waits for a 100 before it sends the body.
    :param te_trailers: the visitor takes trailers.
    """

    method: bytes
    target: bytes = attrs.field(repr=False)
    minor: int
    authority: bytes
    host: str
    fields: bytes = attrs.field(repr=False)
    forwarded: dict[bytes, bytes] | None = None
    body: int = 0
    keep_alive: bool = True
    upgrade: bytes = b""
    expects_continue: bool = False
    te_trailers: bool = False

    @property
    def idempotent(self) -> bool:
        """Sent twice it means the same as sent once (RFC 9110 section 9.2.2)."""
        return self.method in _IDEMPOTENT

    @property
    def accept(self) -> bytes:
        """The media types that the visitor takes; empty when it did not say. Looked up when asked for."""
        return accepted(self.fields)


def accepted(fields: bytes) -> bytes:
    """The media types that a request takes, out of its lines; empty when it does not say."""
    return b", ".join(_ACCEPT.findall(fields))


def parse_request(head: bytes) -> RequestHead:
    """Parse the whole head of a request, from the first byte of its request line to its empty line.

    Refused with 400: what llhttp refuses (obs-fold, bare CR or LF, control characters, white space before a colon, two lengths,
    a length and a transfer coding), more than one space in the request line, a target with a fragment or with other characters
    than the visible ones of ASCII (a client has to encode them, RFC 3986 section 2.1), a transfer coding in HTTP/1.0 or with
    chunked not at its end, no Host, two, or a malformed one. With 501: CONNECT, methods that llhttp does not know, transfer
    codings other than chunked. With 505: versions other than HTTP/1.0 and 1.1.

    :raises HeadError: with one of these.
    """
    try:
        HttpRequestParser(None).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        _refuse(head, error)
    return _read(head)


def _read(head: bytes) -> RequestHead:
    """Read most heads, which have no special field but Host and perhaps ``Connection: keep-alive``; leave the others."""
    beginning = _BEGINNING.match(head)
    if beginning is None:
        raise request_fault(head) or HeadError(501, "a method that is not for an entrypoint")
    method, target, version, host_field, lines = beginning.groups()
    pieces = _SPECIAL.split(lines)
    if len(pieces) == 4:
        others = pieces[0]
    elif len(pieces) == 7 and pieces[1] == b"Connection" and pieces[2] == b"keep-alive":
        others = pieces[0] + pieces[3]
    else:
        return _read_unusual(method, target, version, host_field, pieces)
    if version != b"1" or host_field is None or target[:1] != b"/" or pieces[-1] or pieces[-3] is not None:
        return _read_unusual(method, target, version, host_field, pieces)
    authority, host = host_of(host_field)
    return RequestHead(method, target, 1, authority, host, b"".join((b"Host: ", authority, others, b"\r\n")))


def _read_unusual(method: bytes, target: bytes, version: bytes, host_field: bytes | None, pieces: Pieces) -> RequestHead:
    minor = int(version)
    others, special = pick_special(pieces)
    authority, host = _host(host_field, special)
    if target[:1] != b"/":
        absolute, target = absolute_form(method, target)
        if absolute:
            authority, host = host_of(absolute)
    others, options = obey_connection(others, special)
    body = framing(special, minor, 0)
    parts = [b"Host: ", authority, others]
    if b"content-length" in special:
        parts += (b"\r\nContent-Length: ", special[b"content-length"])
    expects_continue = False
    if minor and b"expect" in special:
        parts += (b"\r\nExpect: ", special[b"expect"])
        expects_continue = body != 0 and b"100-continue" in members(special[b"expect"])
    parts.append(b"\r\n")
    return RequestHead(
        method,
        target,
        minor,
        authority,
        host,
        b"".join(parts),
        _forwarded(special),
        body,
        stays_open(minor, options),
        special.get(b"upgrade", b"") if minor and b"upgrade" in options else b"",
        expects_continue,
        b"te" in special and b"trailers" in members(special[b"te"]),
    )


def _host(first: bytes | None, special: Special) -> tuple[bytes, str]:
    if first is None:
        first = special.pop(b"host", None)
        if first is None:
            raise HeadError(400, "no Host")
    elif b"host" in special:
        raise HeadError(400, "Host twice")
    return host_of(first)


def _forwarded(special: Special) -> dict[bytes, bytes] | None:
    if FORWARDING.isdisjoint(special):
        return None
    return {name: value.rstrip(b" \t") for name, value in special.items() if name in FORWARDING}


def _refuse(head: bytes, error: HttpParserError) -> NoReturn:
    """Say it in our words when we find the fault as well, else in those of llhttp, which are constants."""
    fault = request_fault(head)
    if fault is None and isinstance(error, HttpParserInvalidMethodError):
        fault = HeadError(501, "an unknown method")
    if fault is None:
        _read(head)
    raise fault or HeadError(400, f"llhttp: {error}") from None


def write_request(head: RequestHead, forwarding: bytes) -> bytes:
    """Write the head for the target; always as HTTP/1.1.

    :param forwarding: ready lines of the fields that this proxy sets: ``X-Forwarded-*``, ``X-Request-Id``, ``Via``.
    """
    if head.body != CHUNKED and not head.upgrade and not head.te_trailers:
        return b"".join((head.method, b" ", head.target, b" HTTP/1.1\r\n", head.fields, forwarding, b"\r\n"))
    pieces = [head.method, b" ", head.target, b" HTTP/1.1\r\n", head.fields, forwarding]
    if head.body == CHUNKED:
        pieces.append(b"Transfer-Encoding: chunked\r\n")
    if head.te_trailers:
        pieces.append(b"TE: trailers\r\n")
    if head.upgrade:
        pieces += (b"Upgrade: ", head.upgrade, b"\r\n")
    pieces.append(_ENDS[bool(head.upgrade), head.te_trailers])
    return b"".join(pieces)
