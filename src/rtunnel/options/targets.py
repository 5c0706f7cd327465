"""Targets as users write them: ``HOST:PORT``, ``udp://HOST:PORT`` or ``unix:PATH``, each with ``?FILTER`` or without, in a list."""

from __future__ import annotations

from urllib.parse import unquote

from rtunnel.options.kinds import TARGET, UNSET, Kind, udp
from rtunnel.routing.filters import ANY, TargetFilter
from rtunnel.settings import Address, SettingsError, Target, TargetList, UnixSocket
from rtunnel.settings.targets import MAX_TARGETS

__all__ = ["HEADER", "HEADER_NAME", "ROUND", "TARGETS", "udp_targets", "unix_targets"]

_FILTERS = ("host", "path", "protocol")


def _targets(text: str) -> TargetList:
    try:
        return TargetList(tuple(target for part in text.split(",") for target in _target(part.strip())))
    except SettingsError as error:
        raise ValueError(error.hint) from None


def _target(text: str) -> list[Target]:
    """One target, or one for each port of a range."""
    addresses, question, query = text.partition("?")
    parsed = _filter(query) if question else ANY
    if addresses.startswith("unix:"):
        return [Target(_unix(addresses.removeprefix("unix:")), parsed)]
    return [Target(address, parsed) for address in _addresses(addresses)]


_ADDRESS = udp(TARGET.parse)


def _addresses(text: str) -> list[Address]:
    """The addresses of ``HOST:PORT`` or of ``HOST:FIRST-LAST``, which gost accepts as well (go-gost/x ``internal/net/addr.go``)."""
    host, _, ports = text.rpartition(":")
    first, dash, last = ports.partition("-")
    if not dash or "/" in ports:
        return [_ADDRESS(text)]
    low, high = (_ADDRESS(f"{host}:{port}") for port in (first, last))
    if not low.port <= high.port < low.port + MAX_TARGETS:
        raise ValueError(f"port range is empty or larger than {MAX_TARGETS}; write HOST:FIRST-LAST")
    return [type(low)(low.host, port) for port in range(low.port, high.port + 1)]


def _unix(path: str) -> UnixSocket:
    try:
        return UnixSocket(unquote(path))
    except SettingsError as error:
        raise ValueError(error.hint) from None


def _filter(query: str) -> TargetFilter:
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if name not in _FILTERS or not equals or not value or name in values:
            raise ValueError("invalid filter; write TARGET?host=NAME&path=/PREFIX&protocol=http, each at most once")
        values[name] = unquote(value)
    return TargetFilter(**values)


def unix_targets(path: str) -> str:
    """A list of unix sockets, from the path of a ``runix`` URL.

    :param path: absolute paths, separated by commas.
    """
    return ",".join(f"unix:/{part.strip().lstrip('/')}" for part in path.split(","))


def udp_targets(addresses: str) -> str:
    """A list of UDP targets, from the path of a ``rudp`` URL.

    :param addresses: ``HOST:PORT``, separated by commas.
    """
    return ",".join(f"udp://{address.strip()}" for address in addresses.split(","))


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError("not a header field; write NAME=VALUE")
    return name.strip(), value.strip()


def _round(text: str) -> object:
    if text.lower() not in ("round", "rr"):
        raise ValueError("not supported; targets take turns (round)")
    return UNSET


TARGETS = Kind("TARGET[,TARGET...]", _targets, lists=True)
HEADER = Kind("NAME=VALUE", _header, "=".join, lists=True)
HEADER_NAME = Kind("NAME", str)
ROUND = Kind("", _round)
"""gost's ``strategy``, of which only round is supported."""
