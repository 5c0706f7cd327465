"""Filters of targets: which of a client's targets a request or a connection is for.

A filter names a host, the beginning of a path and a protocol, each or none of them; these are the node filters of gost
(go-gost/x ``hop/hop.go``: ``checkHost``, ``checkPath``, ``checkProtocol``). Of several filters that fit, the one that says most is
taken: an exact host before a wildcard, a longer wildcard before a shorter one, then the longer path, then a protocol before none.
gost takes all that fit in turn, those without a filter among them.
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
"""What :func:`protocol_of` can tell."""

LONGEST_LINE: Final = 16384
"""Bytes of a first line, after which it is none of HTTP."""

_REQUEST_LINE: Final = re.compile(rb"[A-Z][A-Z-]{0,31} [!-~]++ HTTP/1\.[01]\r?")
_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,31}(?: |\Z)")


def _host(text: str) -> str:
    pattern = host_pattern(text) if text else ""
    return "" if pattern == EVERY_HOST else pattern


@frozen
class TargetFilter:
    """What a target is for.

    :param host: a host name, ``*.example.org`` for the name itself and all below it, or ``""`` for every host; written in its
        one form, as in :class:`~rtunnel.routing.ingress.IngressRule`.
    :param path: what the path of a request begins with, without %-escapes; ``""`` for every path, also where there is none.
    :param protocol: one of :data:`PROTOCOLS`, ``""`` for each.
    :raises ValueError: with the words that finish the sentence *FILTER "TEXT": ...*.
    """

    host: str = field(default="", converter=_host)
    path: str = field(default="")
    protocol: str = field(default="")

    @path.validator
    def _check_path(self, _attribute: object, path: str) -> None:
        if path and (not path.startswith("/") or not path.isprintable() or "?" in path):
            raise ValueError('has a path that does not begin with "/" or holds "?"; write e.g. path=/api')

    @protocol.validator
    def _check_protocol(self, _attribute: object, protocol: str) -> None:
        if protocol and protocol not in PROTOCOLS:
            raise ValueError(f"has an unknown protocol; {', '.join(PROTOCOLS)} can be told apart")

    @property
    def of_http(self) -> bool:
        """Whether only requests of HTTP can fit, each by itself."""
        return bool(self.path) or self.protocol == "http"

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """How much it says; more is larger."""
        wildcard = self.host.startswith("*.")
        return (bool(self.host) + (bool(self.host) and not wildcard), len(self.host), len(self.path), bool(self.protocol))

    def fits_host(self, host: str) -> bool:
        """Whether a host is among those.

        :param host: as :func:`~rtunnel.routing.ingress.normalise_host` gives it.
        """
        if self.host.startswith("*."):
            return host == self.host[2:] or host.endswith(self.host[1:])
        return not self.host or host == self.host

    def fits(self, host: str, protocol: str, path: bytes = b"") -> bool:
        """Whether the target is for this.

        :param protocol: what :func:`protocol_of` said.
        :param path: of a request, as :func:`plain_path` gives it; empty for anything but HTTP.
        """
        return self.protocol in ("", protocol) and path.startswith(self.path.encode()) and self.fits_host(host)


ANY: Final = TargetFilter()
"""The filter of a target that is for everything."""


def ranked(filters: Iterable[TargetFilter]) -> list[TargetFilter]:
    """Each filter once, those that say most first."""
    return sorted(dict.fromkeys(filters), key=lambda one: one.rank, reverse=True)


def plain_path(target: bytes) -> bytes:
    """The path of a request's target, without its query and its %-escapes."""
    path = target.partition(b"?")[0]
    return unquote_to_bytes(path) if b"%" in path else path


def protocol_of(data: bytes) -> str | None:
    """Tell a protocol by the first bytes of a connection.

    HTTP/1 is told by its whole first line, since other protocols begin with a word in capitals as well (``EHLO``); HTTP/2 without
    TLS counts as any other.

    :returns: one of :data:`PROTOCOLS`, ``""`` for any other, None while it takes more bytes to tell.
    """
    if data[:2] == b"\x16\x03":
        return "tls"
    if data[:4] == b"SSH-":
        return "ssh"
    line, end, _ = data.partition(b"\n")
    if end:
        return "http" if _REQUEST_LINE.fullmatch(line) else ""
    if data in (b"", b"\x16") or (_METHOD.match(line) and len(line) <= LONGEST_LINE):
        return None
    return ""
