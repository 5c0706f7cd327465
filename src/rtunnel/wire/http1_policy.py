"""Which fields of a request a proxy takes out, drops or asks for: what a reader of requests is told once, for all heads.

A field that a proxy writes itself is *taken*: its line does not pass, its value is in :attr:`RequestHead.named`. A field that its
sender has no right to is *dropped*. A field that somebody asks for (a rule of routing, the proxy) is *noted*: its line passes, and
its value is in :attr:`RequestHead.named` as well. All other end-to-end fields pass unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import attrs

from rtunnel.wire.http1_fields import HOP_BY_HOP, special_pattern

__all__ = ["PASS_ALL", "TRUSTED", "UNTRUSTED", "FieldPolicy", "is_forwarding", "request_pattern"]

# An application behind WSGI or CGI reads X_Forwarded_For where X-Forwarded-For is meant, hence the underscores.
_FORWARDING: Final = {
    b"c": rb"f[-_]connecting[-_]ip|lient[-_]ip",
    b"f": rb"orwarded|ront[-_]end[-_]https|astly[-_]client[-_]ip",
    b"t": rb"rue[-_]client[-_]ip",
    b"x": rb"[-_](?:forwarded(?:[-_][^:\r]*+)?|original[-_](?:forwarded[-_][^:\r]*+|host|url)|(?:cluster[-_])?client[-_]ip"
    rb"|real[-_]ip|remote[-_](?:ip|addr)|(?:url[-_])?scheme|rewrite[-_]url)",
}
"""Fields in which proxies tell of the visitor, by their first letter. There is no registry of them: these are what nginx,
ingress-nginx, Envoy, Traefik, HAProxy, IIS and large CDNs write and what frameworks read."""

_is_forwarding: Final = re.compile(b"|".join(b"%b(?:%b)" % pair for pair in _FORWARDING.items())).fullmatch

_OWN: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Fields that this proxy sees to itself, whatever the policy."""


def is_forwarding(lower: bytes) -> bool:
    """Tell whether a field, named in lower case, says something of the visitor that only a proxy can know."""
    return _is_forwarding(lower) is not None


@attrs.frozen
class FieldPolicy:
    """What happens to the end-to-end fields of a request; names in lower case.

    :param taken: out of the lines, and their values given.
    :param noted: values given; the lines pass.
    :param drops_forwarding: whether fields that :func:`is_forwarding` finds are dropped, unless they are taken or noted.
    """

    taken: frozenset[bytes] = frozenset()
    noted: frozenset[bytes] = frozenset()
    drops_forwarding: bool = False

    def noting(self, names: Iterable[bytes]) -> FieldPolicy:
        """The same policy, with further fields noted, but for those that the proxy sees to itself."""
        return attrs.evolve(self, noted=self.noted | (frozenset(names) - self.taken - _OWN))

    def taking(self, names: Iterable[bytes]) -> FieldPolicy:
        """The same policy, with further fields taken."""
        names = frozenset(names)
        return attrs.evolve(self, taken=self.taken | names, noted=self.noted - names)

    def drops(self, lower: bytes) -> bool:
        """Tell whether a field that is neither taken nor noted is dropped."""
        return self.drops_forwarding and _is_forwarding(lower) is not None


UNTRUSTED: Final = FieldPolicy(taken=frozenset({b"via", b"x-request-id"}), drops_forwarding=True)
"""For visitors: nothing that they say of themselves counts. ``Via`` is a chain that everybody may extend."""
TRUSTED: Final = FieldPolicy(
    taken=frozenset({b"x-forwarded-for", b"x-request-id", b"via"}),
    noted=frozenset({b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"}),
)
"""For trusted proxies: what they say passes, ``X-Forwarded-For`` and ``Via`` are extended."""
PASS_ALL: Final = FieldPolicy()
"""For the client, which knows its server: everything passes as it came."""


@lru_cache(maxsize=64)
def request_pattern(policy: FieldPolicy) -> re.Pattern[bytes]:
    """The pattern that splits a judged head of a request at its special fields (:func:`special_pattern`)."""
    return special_pattern(_OWN | policy.taken | policy.noted, _FORWARDING if policy.drops_forwarding else {})
