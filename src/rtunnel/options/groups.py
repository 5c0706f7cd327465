"""The groups in which the options of a command are listed, by ``--help`` and docs/options.md: those of every day first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rtunnel.options.table import Option

__all__ = ["DAILY", "PROCESS", "URLS", "groups"]

DAILY: Final = "Options of every day"
POD: Final = "The pod for developers"
OTHER: Final = "More of the server and its clients"

_DAILY: Final = {
    "server": ("listen", "path", "entrypoint", "route", "config"),
    "client": ("server", "tunnel", "target", "weight", "intercept"),
    "visitor": ("server", "tunnel", "listen", "to", "config"),
}
"""By command, in the order in which they are typed."""

_BY_NAME: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "server": {
        "Rules and clients": (
            *("routes-file", "users", "permissions", "auth-file", "auth", "entrypoint-id", "direct", "policy", "handshake-timeout"),
            "proxy-protocol",
        ),
    },
    "client": {
        "Requests and lease": ("session", "keep-caching", "name", "role", "reason", "lease", "bind"),
        POD: ("reach", "files"),
        "The way to the server": (
            *(
                "profile",
                "path",
                "host-header",
                "join",
                "proxy",
                "proxy-file",
                "auth-file",
                "auth",
                "connect-timeout",
                "backoff-min",
            ),
            *("backoff-max", "handshake-timeout"),
        ),
    },
}
_BY_NAME["visitor"] = {"The way to the server": _BY_NAME["client"]["The way to the server"]}

_BY_SETTING: Final = {
    "tls": "TLS of the tunnel",
    "env": POD,
    "forward": "Forwarding to the target",
    "udp": "UDP",
    "http": "HTTP at the entrypoints",
    "health": "Clients that cannot serve",
    "leases": "Leases of clients",
    "peer": "Other servers",
    "registry": "Other servers",
    "mux": "Links",
    "limits": "Limits",
    "access_log": "Access log",
}
"""By the group of a setting, in their order."""
PROCESS: Final = "The process"
URLS: Final = "URLs of gost"


def groups(command: str, rows: Iterable[Option]) -> dict[str, list[Option]]:
    """The options of a command by the headings of their groups, in the order in which they are listed.

    :param command: ``server``, ``client`` or ``visitor``.
    """
    rows = list(rows)
    by_name = {name: heading for heading, names in _BY_NAME[command].items() for name in names}
    order = (DAILY, *_BY_NAME[command], OTHER, *_BY_SETTING.values(), PROCESS, URLS)
    found: dict[str, list[Option]] = {heading: [] for heading in order}
    daily = {option.name: option for option in rows}
    found[DAILY] = [daily[name] for name in _DAILY[command]]
    for option in rows:
        if option not in found[DAILY]:
            found[_heading(option, by_name)].append(option)
    return {heading: options for heading, options in found.items() if options}


def _heading(option: Option, by_name: dict[str, str]) -> str:
    if not option.field:
        return URLS
    if option.group:
        return _BY_SETTING.get(option.group, OTHER)
    return by_name.get(option.name) or (PROCESS if option.process else OTHER)
