"""Ingress rules: host patterns and the tunnels that they lead to.

A pattern is a host name (exact), ``*.example.org`` or ``.example.org`` (the name itself and its subdomains, at any depth), or ``*``
(every host that no other rule matches). An exact rule takes precedence over a wildcard, a longer wildcard over a shorter one. Case,
a trailing dot and the notation of an IPv6 address do not matter.

gost matches the same patterns in the same order (go-gost/x ``ingress/ingress.go``); ``*`` is an extension of rtunnel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from uuid import UUID

from attrs import field, frozen

from rtunnel.ids import is_id

__all__ = ["EVERY_HOST", "IngressRule", "IngressTable", "host_pattern", "normalise_host"]

MAX_HOST: Final = 253
"""Maximum length of a host name (RFC 1035 section 2.3.4, as text without the trailing dot)."""

EVERY_HOST: Final = "*"

# underscores are not allowed in host names, but many names in use have them
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# the plain form only: UUID() also accepts braces, "urn:" and hyphens anywhere
_NO_UUID = UUID(int=0)


def normalise_host(text: str) -> str:
    """Normalize a requested host for :meth:`IngressTable.lookup`.

    :param text: a host name or IP address, with or without a port; not validated.
    :returns: the host in lower case, without port, trailing dot and the brackets of IPv6; an IPv6 address in its short form.
    """
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") > 1:
        host = text
    else:
        host = text.partition(":")[0]
    host = host.lower().removesuffix(".")
    return _short_ipv6(host) or host


def _short_ipv6(host: str) -> str | None:
    """The short form of an IPv6 address (RFC 5952), None for anything else."""
    if ":" not in host:
        return None
    try:
        return str(IPv6Address(host))
    except AddressValueError:
        return None


def host_pattern(text: str) -> str:
    """Validate and normalize a host pattern.

    :raises ValueError: with a message that completes *PATTERN ...*.
    """
    if not text.isascii():
        raise ValueError("is not in ASCII; write an international host name in its xn-- form")
    host = text.lower().removesuffix(".")
    if host == EVERY_HOST:
        return host
    address = _short_ipv6(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    if address is not None:
        return address
    if ":" in host:
        raise ValueError("has a port; a rule applies to a host on every port, leave the port out")
    name = host.removeprefix("*.") if host.startswith("*.") else host.removeprefix(".")
    if not name:
        raise ValueError("has no host; write HOST=UUID, e.g. nginx.local=10bc451e-59dc-4c70-999e-91a30813ac78")
    if "*" in name:
        raise ValueError("has a wildcard inside its host; it can only stand in front, as in *.example.org")
    if len(name) > MAX_HOST or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError("has no valid host name; write e.g. nginx.local, *.example.org or 192.168.1.1")
    return name if name == host else f"*.{name}"


@frozen
class IngressRule:
    """One host pattern and the tunnel that it leads to.

    :param pattern: see the module; normalized to lower case, without trailing dot and brackets, and to ``*.example.org`` for
        ``.example.org``, so that equal patterns are equal strings.
    :param tunnel: where requests for these hosts go.
    :param private: whether only visitors that know the tunnel's ID are admitted, not those of a public entrypoint.
    :raises ValueError: when the pattern is invalid.
    """

    pattern: str = field(converter=host_pattern)
    tunnel: UUID
    private: bool = False

    @classmethod
    def parse(cls, text: str) -> IngressRule:
        """Parse a rule: ``host=uuid`` or gost's ``host:uuid``, with a ``$`` before the UUID for a private tunnel.

        :raises ValueError: with a message that completes *NAME "TEXT": ...*.
        """
        if "://" in text:
            raise ValueError("begins with a scheme; a rule is of a host, whatever it is asked for with: write HOST=UUID")
        host, sign, tunnel = text.rpartition("=" if "=" in text else ":")
        host, tunnel = host.strip(), tunnel.strip()
        if not sign or not host:
            raise ValueError("is not a rule; write HOST=UUID, e.g. nginx.local=10bc451e-59dc-4c70-999e-91a30813ac78")
        private = tunnel.startswith("$")
        return cls(host, _tunnel(tunnel.removeprefix("$")), private)

    def __str__(self) -> str:
        """The rule in the syntax of :meth:`parse`."""
        host = f"[{self.pattern}]" if ":" in self.pattern else self.pattern
        return f"{host}={'$' if self.private else ''}{self.tunnel}"


def _tunnel(text: str) -> UUID:
    if not text:
        # the usual cause: "host:$uuid" in double quotes, in which a shell expands $uuid
        raise ValueError("has no tunnel; write HOST=UUID, and a $ before the UUID in single quotes")
    if not is_id(text):
        raise ValueError("has no valid UUID; write it like 10bc451e-59dc-4c70-999e-91a30813ac78")
    tunnel = UUID(text)
    if tunnel == _NO_UUID:
        raise ValueError("has the UUID of zeros, which no client can bind; make one with uuidgen")
    return tunnel


class IngressTable:
    """The ingress rules of an entrypoint, indexed for lookup; immutable (a reload makes a new one).

    :param rules: in any order; a rule may be repeated.
    :ivar public: the public rules without a wildcard, by their host: most requests find theirs here (:meth:`lookup` finds any).
    :raises ValueError: when two different rules have the same pattern.
    """

    __slots__ = ("_below", "_every", "_exact", "_patterns", "public", "rules")

    def __init__(self, rules: Iterable[IngressRule]) -> None:
        by_pattern: dict[str, IngressRule] = {}
        for rule in rules:
            if by_pattern.setdefault(rule.pattern, rule) != rule:
                raise ValueError(f'the host "{rule.pattern}" has two rules; name each host once')
        self.rules = tuple(by_pattern.values())
        self._patterns: dict[UUID, tuple[str, ...]] = {}
        for rule in self.rules:
            self._patterns[rule.tunnel] = (*self._patterns.get(rule.tunnel, ()), rule.pattern)
        self._every = by_pattern.pop(EVERY_HOST, None)
        self._below = {pattern[2:]: rule for pattern, rule in by_pattern.items() if pattern.startswith("*.")}
        self._exact = {pattern: rule for pattern, rule in by_pattern.items() if not pattern.startswith("*.")}
        self.public = {pattern: rule for pattern, rule in self._exact.items() if not rule.private}

    def patterns(self, tunnel: UUID) -> tuple[str, ...]:
        """The patterns of all rules that lead to a tunnel, including private ones."""
        return self._patterns.get(tunnel, ())

    def only_private(self, tunnel: UUID) -> bool:
        """Whether there are rules that lead to a tunnel, all of them private."""
        rules = [rule for rule in self.rules if rule.tunnel == tunnel]
        return bool(rules) and all(rule.private for rule in rules)

    def lookup(self, host: str) -> IngressRule | None:
        """Find the rule for a host: one dict lookup for an exact rule, and one per label for a wildcard.

        :param host: in lower case, without port and trailing dot (:func:`normalise_host`).
        """
        rule = self._exact.get(host)
        if rule is not None:
            return rule
        below = self._below
        if below and len(host) <= MAX_HOST:
            name = host
            while name:
                rule = below.get(name)
                if rule is not None:
                    return rule
                name = name.partition(".")[2]
        return self._every
