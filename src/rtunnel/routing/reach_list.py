"""What may be reached from a pod, as developers are told it: a document, and the names under which the cluster knows a Service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from attrs import frozen

from rtunnel.routing.reach import MAX_RULES, ReachRule, ReachRules, is_loopback, normal_host, special_name

__all__ = ["ReachList", "ReachListError", "read_reach_list", "write_reach_list"]

VERSION: Final = 1
_KEY: Final = "reach_version"
MAX_SEARCH: Final = 32
"""Search domains at most; more are left out."""

_DOMAIN: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
_OF_NAMESPACE: Final = re.compile(r"([a-z0-9-]+)\.svc\.(.+)", re.ASCII)
_SERVICE: Final = "svc"


class ReachListError(Exception):
    """A document is none, or of another version; the text says why."""


@frozen
class ReachList:
    """What may be reached.

    :ivar rules: of the client in the pod.
    :ivar search: the domains in which the pod looks for names, in their order.
    """

    rules: tuple[ReachRule, ...]
    search: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """The namespace of the pod; ``""`` where it is not known."""
        return self._place[0]

    @property
    def cluster_domain(self) -> str:
        """The domain of the cluster, e.g. ``cluster.local``; ``""`` where it is not known."""
        return self._place[1]

    @property
    def _place(self) -> tuple[str, str]:
        """A pod has ``NAMESPACE.svc.DOMAIN`` among its search domains, unless its DNS policy is an unusual one."""
        for domain in self.search:
            found = _OF_NAMESPACE.fullmatch(domain)
            if found is not None:
                return found[1], found[2]
        return "", ""

    def concerns(self, host: str, port: int) -> bool:
        """Whether a connection is the pod's: a rule is for it, or its name can only be one of the cluster.

        Loopback is the pod's only where a rule names it literally, as only then it may be reached there.
        """
        host = normal_host(host)
        found = [rule for rule in self.rules if rule.names(host, port, udp=False)]
        if is_loopback(host):
            return any(rule.is_literal for rule in found)
        return bool(found) or self._is_of_cluster(host)

    def _is_of_cluster(self, host: str) -> bool:
        """Whether it can only be a name of the cluster: without a dot, of the pod's namespace, or with ``.svc``, or its domain."""
        namespace, domain = self._place
        if ":" in host or host[-1:].isdigit():
            return False
        ends = (f".{_SERVICE}", *((f".{namespace}", f".{domain}") if namespace else ()))
        return "." not in host or host.endswith(ends)

    def names(self, host: str) -> tuple[str, ...]:
        """The names that mean the same in the pod as the host of a rule, itself first: with and without namespace and domain.

        Only the first one is what the rule is for: connections to the others have to be asked for under it.

        :param host: of a rule without ``*``.
        """
        stem = self._stem(host)
        if stem is None:
            return (host,)
        return tuple(dict.fromkeys((host, *self._forms(stem))))

    def _stem(self, host: str) -> str | None:
        """A Service with its namespace, e.g. ``postgres.shop``; None if the host is none in this cluster."""
        namespace, domain = self._place
        if not namespace or ":" in host or host[-1:].isdigit() or special_name(host) is not None:
            return None
        name, dot, rest = host.removesuffix(f".{domain}").rpartition(".")
        if rest == _SERVICE:
            return name if "." in name else None
        if host.endswith(f".{domain}"):
            return None
        # one label is a Service of the pod's namespace, two are one with its namespace: others are names of elsewhere
        return f"{host}.{namespace}" if not dot else host if "." not in name else None

    def _forms(self, stem: str) -> Iterator[str]:
        """All names of a Service."""
        namespace, domain = self._place
        name, _, of_namespace = stem.rpartition(".")
        if of_namespace == namespace:
            yield name
        yield from (stem, f"{stem}.{_SERVICE}", f"{stem}.{_SERVICE}.{domain}")


def write_reach_list(listed: ReachList) -> bytes:
    """A list as a document."""
    document = {_KEY: VERSION, "rules": [str(rule) for rule in listed.rules], "search": list(listed.search[:MAX_SEARCH])}
    return json.dumps(document, indent=1).encode() + b"\n"


def read_reach_list(data: bytes) -> ReachList:
    """The list of a document.

    :raises ReachListError: it is none.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ReachListError("it is not JSON") from None
    if not isinstance(document, dict) or document.get(_KEY) != VERSION:
        raise ReachListError(f"it is no list of what may be reached (version {VERSION})")
    rules, search = _texts(document.get("rules")), _texts(document.get("search", []))
    if len(rules) > MAX_RULES:
        raise ReachListError(f"it has more than {MAX_RULES} rules")
    domains = tuple(domain for domain in search[:MAX_SEARCH] if _DOMAIN.fullmatch(domain))
    try:
        return ReachList(ReachRules.parse(",".join(rules)).rules, domains)
    except ValueError:
        raise ReachListError("one of its rules is none") from None


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ReachListError("rules or search domains are no texts")
    return value
