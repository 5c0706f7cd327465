"""Addresses in an environment that this machine reaches elsewhere: ``postgres:5432`` of the pod is ``127.0.0.1:15432`` here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs
from attrs import frozen

from rtunnel.podenv.merging import Merged

__all__ = ["LocalAddress", "rewrite"]

_HOST: Final = r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]*+)|\[[0-9a-fA-F:.]++\]"
_ADDRESS: Final = re.compile(rf"(?<![a-zA-Z0-9_.%\]-])({_HOST}):([0-9]{{1,5}})(?![a-zA-Z0-9_@:%-])")
_PORT: Final = re.compile("[0-9]{1,5}")
_USER_INFO: Final = re.compile(r"://[^/?#\s]*@")
"""User and password of a URL, which may look like an address."""
_WITHOUT_PORT: Final = re.compile(rf"\b([a-z][a-z0-9+.-]{{0,30}}+)://((?:[^/?#\s@]*+@)?)({_HOST})(?![a-zA-Z0-9_.:%@-])")
_PORTS: Final[Mapping[str, int]] = {
    scheme: port
    for port, schemes in (
        *((80, "http ws"), (443, "https wss"), (21, "ftp"), (25, "smtp"), (389, "ldap"), (5432, "postgres postgresql")),
        *((3306, "mysql mariadb"), (27017, "mongodb"), (6379, "redis rediss"), (5672, "amqp"), (5671, "amqps"), (4222, "nats")),
        *((1883, "mqtt"), (11211, "memcached")),
    )
    for scheme in schemes.split()
}
"""The ports of URLs that name none."""
_PAIRS: Final = (("HOST", "PORT"), ("HOSTNAME", "PORT"), ("host", "port"))
"""Ends of the names of variables that have a host and its port."""


@frozen
class LocalAddress:
    """Where this machine reaches a destination of the pod.

    :ivar hosts: the names of the destination, in lower case; an address of IPv6 without brackets.
    :ivar port: of the destination.
    :ivar local_host: here.
    :ivar local_port: here.
    """

    hosts: tuple[str, ...]
    port: int
    local_host: str
    local_port: int

    def __str__(self) -> str:
        return _joined(self.local_host, self.local_port)


def rewrite(merged: Iterable[Merged], addresses: Iterable[LocalAddress]) -> list[Merged]:
    """Replace addresses in the values that come from the pod; what else is in them stays.

    ``HOST:PORT`` is replaced wherever it stands by itself, but not as user and password of a URL; a URL whose scheme implies the
    port is one without it; and of two variables ``X_HOST`` and ``X_PORT`` both are. A host without any port is replaced if its
    ports are the same here.

    :param merged: the variables; those of other sources are left alone.
    :param addresses: of which host and port are replaced.
    :returns: all variables, in their order, with what was replaced (:attr:`Merged.replaced`).
    """
    places = _Places(addresses)
    found = {one.name: one for one in merged}
    pairs = _pairs(found, places)
    return [pairs.get(one.name) or _rewritten(one, places) for one in found.values()]


class _Places:
    """Addresses, by what they are of."""

    def __init__(self, addresses: Iterable[LocalAddress]) -> None:
        self._addresses = tuple(addresses)
        self._found = {(host, one.port): one for one in self._addresses for host in one.hosts}

    def of(self, host: str, port: int) -> LocalAddress | None:
        """Where a destination is reached; None if it is not."""
        return self._found.get((_plain(host), port))

    def of_host(self, host: str) -> LocalAddress | None:
        """Where all ports of a host are reached, if at one local host and under the same numbers."""
        found = [one for one in self._addresses if _plain(host) in one.hosts]
        same = found and all((one.local_host, one.local_port) == (found[0].local_host, one.port) for one in found)
        return found[0] if same else None


def _plain(host: str) -> str:
    return host.strip("[]").lower()


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _pairs(found: Mapping[str, Merged], places: _Places) -> dict[str, Merged]:
    """The variables that have a host, or its port, as they become."""
    changed: dict[str, Merged] = {}
    for name, one in found.items():
        for end, end_of_port in _PAIRS:
            if not name.endswith(end) or not one.of_pod or one.value is None:
                continue
            port = found.get(name.removesuffix(end) + end_of_port)
            changed.update(_pair(one, one.value, port, places))
    return changed


def _pair(host: Merged, name: str, port: Merged | None, places: _Places) -> dict[str, Merged]:
    """A host and its port as they become; without the port, if there is none or it stays."""
    if port is None or port.value is None:
        place = places.of_host(name)
        return {} if place is None else {host.name: _replaced(host, place.local_host, f"{name} by {place.local_host}")}
    place = places.of(name, int(port.value)) if port.of_pod and _PORT.fullmatch(port.value) else None
    if place is None:
        return {}
    what = f"{_joined(name, place.port)} by {place}"
    return {
        host.name: _replaced(host, place.local_host, what),
        port.name: _replaced(port, str(place.local_port), what),
    }


def _rewritten(one: Merged, places: _Places) -> Merged:
    """A variable with addresses within its value."""
    if one.value is None or not one.of_pod:
        return one
    replaced: list[str] = []

    def local(host: str, port: int, otherwise: str) -> str:
        place = places.of(host, port)
        if place is None:
            return otherwise
        replaced.append(f"{_joined(_plain(host), port)} by {place}")
        return str(place)

    def url(found: re.Match[str]) -> str:
        scheme, user, host = found.groups()
        # e.g. of postgresql+psycopg://
        port = _PORTS.get(scheme.partition("+")[0], 0)
        return f"{scheme}://{user}{local(host, port, host)}"

    def address(found: re.Match[str]) -> str:
        if any(start <= found.start() < end for start, end in users):
            return found[0]
        return local(found[1], int(found[2]), found[0])

    value = _WITHOUT_PORT.sub(url, one.value)
    users = [found.span() for found in _USER_INFO.finditer(value)]
    value = _ADDRESS.sub(address, value)
    return attrs.evolve(one, value=value, replaced=tuple(dict.fromkeys(replaced))) if replaced else one


def _replaced(one: Merged, value: str, what: str) -> Merged:
    return attrs.evolve(one, value=value, replaced=(what,))
