"""How targets are written: ``HOST:PORT``, ``udp://HOST:PORT`` or ``unix:PATH``, perhaps with ``?FILTER``, several with commas."""

from __future__ import annotations

from urllib.parse import unquote

from rtunnel.options.kinds import TARGET, UNSET, Kind, udp
from rtunnel.routing.filters import ANY, TargetFilter
from rtunnel.settings import Address, SettingsError, Target, TargetList, UnixSocket

__all__ = ["HEADER", "HEADER_NAME", "ROUND", "TARGETS", "udp_targets", "unix_targets"]

_FILTERS = ("host", "path", "protocol")


def _targets(text: str) -> TargetList:
    try:
        return TargetList(tuple(target for part in text.split(",") for target in _target(part.strip())))
    except SettingsError as error:
        raise ValueError(error.hint) from None


def _target(text: str) -> list[Target]:
    """One target, or as many as its range of ports has."""
    place, question, query = text.partition("?")
    chosen = _filter(query) if question else ANY
    if place.startswith("unix:"):
        return [Target(_unix(place.removeprefix("unix:")), chosen)]
    return [Target(address, chosen) for address in _addresses(place)]


_ADDRESS = udp(TARGET.parse)


def _addresses(place: str) -> list[Address]:
    """The addresses of ``HOST:PORT`` or of ``HOST:FIRST-LAST``, which gost takes as well (go-gost/x ``internal/net/addr.go``)."""
    host, _, ports = place.rpartition(":")
    first, dash, last = ports.partition("-")
    if not dash:
        return [_ADDRESS(place)]
    low, high = (_ADDRESS(f"{host}:{port}") for port in (first, last))
    if not low.port <= high.port < low.port + 256:
        raise ValueError("has a range of ports that is empty or larger than 256; write HOST:FIRST-LAST")
    return [type(low)(low.host, port) for port in range(low.port, high.port + 1)]


def _unix(path: str) -> UnixSocket:
    try:
        return UnixSocket(unquote(path))
    except SettingsError as error:
        raise ValueError(error.hint) from None


def _filter(query: str) -> TargetFilter:
    asked: dict[str, str] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if name not in _FILTERS or not equals or not value or name in asked:
            raise ValueError("has a filter that is none; write TARGET?host=NAME&path=/PREFIX&protocol=http, each once at most")
        asked[name] = unquote(value)
    return TargetFilter(**asked)


def unix_targets(path: str) -> str:
    """The text of a list of unix sockets, from the path of a ``runix`` URL.

    :param path: absolute paths, separated by commas.
    """
    return ",".join(f"unix:/{part.strip().lstrip('/')}" for part in path.split(","))


def udp_targets(places: str) -> str:
    """The text of a list of targets of UDP, from the path of a ``rudp`` URL.

    :param places: ``HOST:PORT``, separated by commas.
    """
    return ",".join(f"udp://{place.strip()}" for place in places.split(","))


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError("is no header field; write NAME=VALUE")
    return name.strip(), value.strip()


def _round(text: str) -> object:
    if text.lower() not in ("round", "rr"):
        raise ValueError("is not supported; targets take turns (round)")
    return UNSET


TARGETS = Kind("TARGET[,TARGET...]", _targets, lists=True)
HEADER = Kind("NAME=VALUE", _header, "=".join, lists=True)
HEADER_NAME = Kind("NAME", str)
ROUND = Kind("", _round)
"""gost's ``strategy``: the only one that we have changes nothing."""
