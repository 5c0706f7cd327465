"""Field policies: which fields of requests a reader extracts, drops or notes.

A field that the proxy writes itself is *taken*: its line is removed, and its value is in :attr:`RequestHead.named`. A field that
the sender must not set is *dropped*. A field whose value is needed (by a routing rule or the proxy) is *noted*: its line is passed
on, and its value is in :attr:`RequestHead.named` as well. All other end-to-end fields are passed on without being parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

import attrs

from rtunnel.wire.http1_fields import HOP_BY_HOP, special_pattern

__all__ = ["PASS_ALL", "TRUSTED", "UNTRUSTED", "FieldPolicy", "is_forwarding", "request_pattern"]

# WSGI and CGI applications cannot distinguish X_Forwarded_For from X-Forwarded-For, hence the underscores.
_FORWARDING: Final = {
    b"c": rb"f[-_]connecting[-_]ip|lient[-_]ip",
    b"f": rb"orwarded|ront[-_]end[-_]https|astly[-_]client[-_]ip",
    b"t": rb"rue[-_]client[-_]ip",
    b"x": rb"[-_](?:forwarded(?:[-_][^:\r]*+)?|original[-_](?:forwarded[-_][^:\r]*+|host|url)|(?:cluster[-_])?client[-_]ip"
    rb"|real[-_]ip|remote[-_](?:ip|addr)|(?:url[-_])?scheme|rewrite[-_]url|request_id)|_request-id",
}
"""Forwarding fields, in which proxies describe the visitor, by first letter. There is no registry of them: these are the ones that
nginx, ingress-nginx, Envoy, Traefik, HAProxy, IIS and large CDNs write and that frameworks read."""

_COLLIDING: Final = {b"x": rb"(?:_forwarded[-_]|-forwarded_)(?:for|proto|host)|_request[-_]id|-request_id"}
"""Spellings with underscores of the fields that this proxy writes or passes on, by first letter."""


def _matcher(patterns: Mapping[bytes, bytes]) -> Callable[[bytes], object]:
    return re.compile(b"|".join(b"%b(?:%b)" % pair for pair in patterns.items())).fullmatch


_is_forwarding: Final = _matcher(_FORWARDING)
_is_colliding: Final = _matcher(_COLLIDING)

_OWN: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Fields that this proxy handles itself, regardless of policy."""


def is_forwarding(lower: bytes) -> bool:
    """Whether a field, named in lower case, is a forwarding field, which only a proxy should set."""
    return _is_forwarding(lower) is not None


@attrs.frozen
class FieldPolicy:
    """The handling of the end-to-end fields of a request; names in lower case.

    :param taken: fields that are removed and whose values are extracted.
    :param noted: fields that are passed on and whose values are extracted.
    :param drops_forwarding: whether forwarding fields (:func:`is_forwarding`) are dropped unless they are taken or noted.
    :param drops_colliding: whether spellings with underscores are dropped of those that this proxy writes.
    """

    taken: frozenset[bytes] = frozenset()
    noted: frozenset[bytes] = frozenset()
    drops_forwarding: bool = False
    drops_colliding: bool = False

    @property
    def patterns(self) -> Mapping[bytes, bytes]:
        """The fields that are dropped unless they are taken or noted: by first letter, patterns for the rest of the name."""
        return _FORWARDING if self.drops_forwarding else _COLLIDING if self.drops_colliding else {}

    def noting(self, names: Iterable[bytes]) -> FieldPolicy:
        """The same policy with further fields noted, except those that the proxy handles itself."""
        return attrs.evolve(self, noted=self.noted | (frozenset(names) - self.taken - _OWN))

    def taking(self, names: Iterable[bytes]) -> FieldPolicy:
        """The same policy with further fields taken."""
        names = frozenset(names)
        return attrs.evolve(self, taken=self.taken | names, noted=self.noted - names)

    def drops(self, lower: bytes) -> bool:
        """Whether a field that is neither taken nor noted is dropped."""
        drops = _is_forwarding if self.drops_forwarding else _is_colliding
        return bool(self.patterns) and drops(lower) is not None


UNTRUSTED: Final = FieldPolicy(taken=frozenset({b"via", b"x-request-id"}), drops_forwarding=True)
"""For visitors: their forwarding fields are not trusted. ``Via`` is a chain that any sender may extend."""
TRUSTED: Final = FieldPolicy(
    taken=frozenset({b"x-forwarded-for", b"x-request-id", b"via"}),
    noted=frozenset({b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"}),
    drops_colliding=True,
)
"""For trusted proxies: forwarding fields are passed on, ``X-Forwarded-For`` and ``Via`` are extended. A proxy may pass on what a
visitor has written with underscores."""
PASS_ALL: Final = FieldPolicy()
"""For the client, which trusts its server: everything is passed on unchanged."""


@lru_cache(maxsize=64)
def request_pattern(policy: FieldPolicy) -> re.Pattern[bytes]:
    """The pattern that splits a validated request head at its special fields (:func:`special_pattern`)."""
    return special_pattern(_OWN | policy.taken | policy.noted, policy.patterns)
