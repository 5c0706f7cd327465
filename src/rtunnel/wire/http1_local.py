"""Requests as a browser on the target's machine would send them, and responses turned back for the visitor.

Development servers refuse hosts and origins that they do not know (protection against DNS rebinding and cross-site requests). To
them a request looks like one of ``http://localhost:3000``; what they answer to that origin is translated back. Origins of other
sites are never touched: whoever checks them goes on doing so.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from rtunnel.wire.http1_request import RequestHead
from rtunnel.wire.http1_response import ResponseHead

__all__ = ["LocalRewrite"]

_OWN_URL: Final = re.compile(
    rb"^(Origin|Referer):[ \t]*+(https?)://([^/?#\s]*+)(?=[/?#]|[ \t]*\r?$)([^\r\n]*+)", re.IGNORECASE | re.MULTILINE
)
"""A URL; what has blanks behind the host is none."""
_PUBLIC: Final = re.compile(
    rb"^(?:Forwarded|X-Forwarded-(?:Host|Port|Proto|Protocol|Scheme|Server|Ssl)|X-(?:Url-)?Scheme|Front-End-Https|"
    rb"X-Original-(?:Host|Proto)):[^\n]*\n",
    re.IGNORECASE | re.MULTILINE,
)
"""Fields with the host or the scheme that the visitor used. Those who read them at all prefer them to Host."""
_TURNED: Final = re.compile(
    rb"^(Location|Content-Location|Access-Control-Allow-Origin|Set-Cookie):[ \t]*+([^\r\n]*+)", re.IGNORECASE | re.MULTILINE
)
_URL: Final = re.compile(rb"(https?)://([^/?#\s\\]*+)(.*)", re.IGNORECASE)
_PORTS: Final = {b"http": b"80", b"https": b"443"}
_LOOPBACK: Final = (b"localhost", b"127.0.0.1", b"[::1]")
_SECURE_ONLY: Final = frozenset({b"secure", b"partitioned", b"samesite=none"})
"""Attributes of cookies that a browser takes with TLS only, or at localhost."""


class _Visitor(NamedTuple):
    """Where a visitor believes to be."""

    scheme: bytes
    authority: bytes

    @property
    def origin(self) -> bytes:
        return b"%b://%b" % self

    def is_at(self, scheme: bytes, authority: bytes) -> bool:
        """Whether a URL is of its origin; http and https are taken for the same, since a proxy may have hidden TLS from us."""
        return _with_port(scheme, authority) == _with_port(scheme, self.authority)


class LocalRewrite:
    """Translates the exchanges with one target.

    :param host: the target's host and port, as a browser would write them.
    """

    __slots__ = ("_hosts", "_names", "_origin")

    def __init__(self, host: str) -> None:
        own = host.encode()
        name, _, port = _with_port(b"http", own).rpartition(b":")
        self._origin = b"http://" + own
        self._names = frozenset((name.strip(b"[]"), *(loopback.strip(b"[]") for loopback in _LOOPBACK)))
        self._hosts = frozenset(b"%b:%b" % (each, port) for each in (name, *_LOOPBACK))

    def request(self, head: RequestHead) -> RequestHead:
        """The head for the target: Host, and where they are the visitor's own, Origin and Referer, are the target's.

        ``X-Original-Host`` and ``X-Original-Proto`` tell what they were, in place of ``X-Forwarded-Host`` and the like, which
        frameworks prefer to Host. ``X-Forwarded-For`` stays.
        """
        visitor = _visitor_of(head)

        def localised(match: re.Match[bytes]) -> bytes:
            name, scheme, authority, rest = match.groups()
            return b"%b: %b%b" % (name, self._origin, rest) if visitor.is_at(scheme, authority) else match[0]

        request_line, _, fields = head.lines.split(b"\r\n", 2)
        lines = b"%b\r\nHost: %b\r\n%bX-Original-Host: %b\r\nX-Original-Proto: %b\r\n" % (
            request_line,
            self._origin[len(b"http://") :],
            _OWN_URL.sub(localised, _PUBLIC.sub(b"", fields)),
            visitor.authority,
            visitor.scheme,
        )
        return head.with_lines(lines)

    def response(self, head: ResponseHead, request: RequestHead) -> ResponseHead:
        """The head for the visitor: Location, cookies and CORS are those of its origin.

        :param request: as the visitor sent it.
        """
        if _TURNED.search(head.lines) is None:
            return head
        visitor = _visitor_of(request)

        def turned(match: re.Match[bytes]) -> bytes:
            name, value = match.groups()
            kind = name.lower()
            if kind == b"set-cookie":
                value = self._cookie(value, visitor)
            elif kind == b"access-control-allow-origin":
                value = visitor.origin if self._rest_of(value) == b"" else value
            else:
                rest = self._rest_of(value)
                value = value if rest is None else _reference(rest)
            return b"%b: %b" % (name, value)

        return head.with_lines(_TURNED.sub(turned, head.lines))

    def _rest_of(self, url: bytes) -> bytes | None:
        """What follows the origin of a URL of the target; None if it is one of somebody else."""
        match = _URL.fullmatch(url.strip(b" \t"))
        if match is None:
            return None
        scheme, authority, rest = match.groups()
        return rest if _with_port(scheme, authority) in self._hosts else None

    def _cookie(self, value: bytes, visitor: _Visitor) -> bytes:
        """A cookie without a Domain that names the target, and at http without what needs TLS."""
        pair, *attributes = value.split(b";")
        kept = [pair]
        for attribute in attributes:
            plain = b"=".join(part.strip(b" \t") for part in attribute.lower().split(b"=", 1))
            name, _, domain = plain.partition(b"=")
            if name == b"domain" and domain.removeprefix(b".") in self._names:
                continue
            if visitor.scheme == b"http" and plain in _SECURE_ONLY:
                continue
            kept.append(attribute)
        return b";".join(kept)


def _visitor_of(head: RequestHead) -> _Visitor:
    """Where the visitor of a request believes to be: its browser says so, or the server in front."""
    authority = _first(head.field(b"x-forwarded-host")) or head.authority
    at = _Visitor(b"http", authority)
    for match in _OWN_URL.finditer(head.lines):
        scheme = match[2].lower()
        if at.is_at(scheme, match[3]):
            return _Visitor(scheme, authority)
    said = _first(head.field(b"x-forwarded-proto")).lower()
    return _Visitor(said, authority) if said in _PORTS else at


def _first(chain: bytes | None) -> bytes:
    """What the first of several proxies wrote."""
    return (chain or b"").partition(b",")[0].strip(b" \t")


def _with_port(scheme: bytes, authority: bytes) -> bytes:
    """An authority for comparison: in lower case, with its port."""
    authority = authority.lower()
    has_port = b":" in authority.rpartition(b"]")[2]
    return authority if has_port else b"%b:%b" % (authority, _PORTS[scheme.lower()])


def _reference(rest: bytes) -> bytes:
    """A relative reference (RFC 3986 section 4.2) to the path of a URL: it needs no scheme, which may be unknown here.

    Two slashes, or what browsers take for them, would begin another host.
    """
    if not rest.startswith(b"/"):
        return b"/" + rest
    return b"/." + rest if rest[1:2] in (b"/", b"\\", b"\t") else rest
