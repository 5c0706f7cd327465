"""Target filters: which of a client's targets serves a request or connection.

A filter matches on a host, a path prefix and a protocol, all of them optional, like the node filters of gost (go-gost/x
``hop/hop.go``: ``checkHost``, ``checkPath``, ``checkProtocol``). If several filters match, the most specific one wins: an exact
host before a wildcard, a longer wildcard before a shorter one, then the longer path, then a protocol before none. gost instead
takes turns among all that match, those without a filter included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

from rtunnel.routing.ingress import EVERY_HOST, host_pattern

__all__ = ["ANY", "PROTOCOLS", "TargetFilter", "plain_path", "protocol_of", "ranked"]

PROTOCOLS: Final = ("http", "tls", "ssh")
"""The protocols that :func:`protocol_of` detects."""

MAX_LINE: Final = 16384
"""Maximum length of the first line of HTTP, in bytes."""

_REQUEST_LINE: Final = re.compile(rb"[A-Z][A-Z-]{0,31} [!-~]++ HTTP/1\.[01]\r?")
_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,31}(?: |\Z)")


def _host(text: str) -> str:
    pattern = host_pattern(text) if text else ""
    return "" if pattern == EVERY_HOST else pattern


@frozen
class TargetFilter:
    """Which requests and connections a target serves.

    :param host: a host name, ``*.example.org`` for the name itself and its subdomains, or ``""`` for every host; normalized
        as in :class:`~rtunnel.routing.ingress.IngressRule`.
    :param path: prefix of the request path, without %-escapes; ``""`` for every path, and for connections without one.
    :param protocol: one of :data:`PROTOCOLS`, ``""`` for any.
    :raises ValueError: with a message that completes *FILTER "TEXT": ...*.
    """

    host: str = field(default="", converter=_host)
    path: str = field(default="")
    protocol: str = field(default="")

    @path.validator
    def _check_path(self, _attribute: object, path: str) -> None:
        if path and (not path.startswith("/") or not path.isprintable() or "?" in path):
            raise ValueError('has a path that does not begin with "/" or contains "?"; write e.g. path=/api')

    @protocol.validator
    def _check_protocol(self, _attribute: object, protocol: str) -> None:
        if protocol and protocol not in PROTOCOLS:
            raise ValueError(f"has an unknown protocol; write one of {', '.join(PROTOCOLS)}")

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """How specific it is; a more specific filter has a larger rank."""
        wildcard = self.host.startswith("*.")
        return (bool(self.host) + (bool(self.host) and not wildcard), len(self.host), len(self.path), bool(self.protocol))

    def fits_host(self, host: str) -> bool:
        """Whether the host matches.

        :param host: normalized by :func:`~rtunnel.routing.ingress.normalise_host`.
        """
        if self.host.startswith("*."):
            return host == self.host[2:] or host.endswith(self.host[1:])
        return not self.host or host == self.host

    def fits(self, host: str, protocol: str, path: bytes = b"") -> bool:
        """Whether a request or connection matches.

        :param protocol: the result of :func:`protocol_of`.
        :param path: of a request, the result of :func:`plain_path`; empty for anything but HTTP.
        """
        return self.protocol in ("", protocol) and path.startswith(self.path.encode()) and self.fits_host(host)


ANY: Final = TargetFilter()
"""The filter that matches everything."""


def ranked(filters: Iterable[TargetFilter]) -> list[TargetFilter]:
    """Each filter once, the most specific ones first."""
    return sorted(dict.fromkeys(filters), key=lambda one: one.rank, reverse=True)


def plain_path(target: bytes) -> bytes:
    """The path of a request target, without the query and with %-escapes decoded."""
    path = target.partition(b"?")[0]
    return unquote_to_bytes(path) if b"%" in path else path


def protocol_of(data: bytes) -> str | None:
    """Detect the protocol from the first bytes of a connection.

    HTTP/1 is detected by its whole first line, since other protocols begin with a word in capitals as well (``EHLO``); HTTP/2
    without TLS is not detected.

    :returns: one of :data:`PROTOCOLS`, ``""`` for any other, None while more bytes are needed.
    """
    if data[:2] == b"\x16\x03":
        return "tls"
    if data[:4] == b"SSH-":
        return "ssh"
    line, end, _ = data.partition(b"\n")
    if end:
        return "http" if _REQUEST_LINE.fullmatch(line) else ""
    if data in (b"", b"\x16") or (_METHOD.match(line) and len(line) <= MAX_LINE):
        return None
    return ""
