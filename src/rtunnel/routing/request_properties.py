"""The properties of a request that intercept filters ask for, each found when it is first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import unquote_to_bytes

from rtunnel.routing.filters import plain_path
from rtunnel.routing.intercept_terms import Kind

__all__ = ["HttpQuery", "RequestProperties", "asking_for", "having_any"]

NONE: Sequence[bytes] = ()

_PROBES = (b"kube-probe/", b"ELB-HealthChecker/", b"GoogleHC/")


class HttpQuery(Protocol):
    """What can be asked of a request."""

    @property
    def host(self) -> str:
        """The requested host, normalized by :func:`~rtunnel.routing.ingress.normalise_host`; ``""`` if there is none."""

    def method(self) -> bytes:
        """The method."""

    def path(self) -> bytes:
        """The path with its query, as received."""

    def lines(self) -> bytes:
        """The request line and the end-to-end fields, each with its CRLF."""

    def taken(self) -> Mapping[bytes, bytes]:
        """The values of fields that are not among the lines because the proxy writes them itself, by name in lower case."""


class RequestProperties:
    """The properties of one request; lives while a connector is selected for it.

    :param query: the request.
    """

    __slots__ = ("_found", "_lines", "_lower", "_query")

    def __init__(self, query: HttpQuery) -> None:
        self._query = query
        self._lines = query.lines()
        self._lower = self._lines.lower()
        self._found: dict[Kind, dict[bytes, list[bytes]]] = {}

    def fields(self, asked: re.Pattern[bytes]) -> set[bytes]:
        """Which of some fields the request has; also those that the proxy takes, whether they are asked for or not.

        :param asked: made by :func:`asking_for`.
        """
        found = set(asked.findall(self._lower))
        found.update(self._query.taken())
        return found

    def values(self, kind: Kind, name: bytes) -> Sequence[bytes]:
        """All values of a property (:class:`~rtunnel.routing.intercept_terms.Properties`)."""
        if kind is Kind.HEADER:
            return self._header(name)
        if kind is Kind.PATH:
            return (plain_path(self._query.path()),)
        if kind is Kind.METHOD:
            return (self._query.method(),)
        if kind is Kind.HOST:
            return (self._query.host.encode(),)
        members = self._found.get(kind)
        if members is None:
            members = self._found[kind] = self._members(kind)
        return members.get(name, NONE)

    @property
    def is_probe(self) -> bool:
        """Whether a health check of a load balancer or of Kubernetes asks."""
        return any(agent.startswith(_PROBES) for agent in self._header(b"user-agent"))

    def _header(self, name: bytes) -> Sequence[bytes]:
        """The values of a field, one for each line."""
        lines, lower, start = self._lines, self._lower, b"\n" + name + b":"
        at = lower.find(start)
        if at < 0:
            taken = self._query.taken().get(name)
            return NONE if taken is None else (taken,)
        values = []
        while at >= 0:
            end = lower.find(b"\r\n", at)
            values.append(lines[at + len(start) : end].strip(b" \t"))
            at = lower.find(start, end)
        return values

    def _members(self, kind: Kind) -> dict[bytes, list[bytes]]:
        if kind is Kind.COOKIE:
            return _cookies(self._header(b"cookie"))
        if kind is Kind.QUERY:
            return _parameters(self._query.path().partition(b"?")[2])
        return _baggage(self._header(b"baggage"))


def asking_for(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """A pattern for :meth:`RequestProperties.fields`: one search finds any of many fields.

    :param names: in lower case.
    """
    return re.compile(b"\n(%b):" % b"|".join(map(re.escape, sorted(names))))


def having_any(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """A pattern that is found in the lines of a request that have any of some fields.

    :param names: in lower case.
    """
    return re.compile(b"\n(?:%b):" % b"|".join(map(re.escape, sorted(names))), re.IGNORECASE)


def _cookies(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Of several cookies with one name the first, which is the one with the longest path (RFC 6265 section 5.4)."""
    cookies: dict[bytes, list[bytes]] = {}
    for line in lines:
        for pair in line.split(b";"):
            name, equals, value = pair.strip(b" \t").partition(b"=")
            if equals:
                cookies.setdefault(name, [value])
    return cookies


def _parameters(query: bytes) -> dict[bytes, list[bytes]]:
    parameters: dict[bytes, list[bytes]] = {}
    for pair in query.split(b"&"):
        name, _, value = (unquote_to_bytes(part.replace(b"+", b" ")) for part in pair.partition(b"="))
        parameters.setdefault(name, []).append(value)
    return parameters


def _baggage(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """The members of all Baggage fields, without their properties (W3C Baggage section 3.2)."""
    members: dict[bytes, list[bytes]] = {}
    for line in lines:
        for member in line.split(b","):
            name, equals, value = member.partition(b";")[0].partition(b"=")
            if equals:
                members.setdefault(name.strip(b" \t"), []).append(unquote_to_bytes(value.strip(b" \t")))
    return members
