"""What a process with some settings does, in one line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import attrs

from rtunnel.ids import short_id
from rtunnel.settings import (
    WEBSOCKETS,
    Address,
    ClientSettings,
    ConnectorSettings,
    DevSettings,
    ListenerSettings,
    ServerSettings,
    VisitorSettings,
)

__all__ = ["summary"]

MAX_LISTED = 4
"""How many of a kind are listed; the rest is counted."""


def summary(settings: ServerSettings | ClientSettings | DevSettings) -> str:
    """Where a server listens, what a client joins and visits, or what it runs besides."""
    if isinstance(settings, DevSettings):
        runs = f"runs {shlex.join(settings.run)}" if settings.run else "runs no command"
        return f"works on {settings.pod_host}, {_client(settings.client)}; {runs}"
    return _server(settings) if isinstance(settings, ServerSettings) else _client(settings)


def _server(settings: ServerSettings) -> str:
    listeners = settings.listeners
    entrypoints = [_address(address) for listener in listeners for address in listener.entrypoints]
    rules = [rule for listener in listeners for rule in listener.rules]
    tunnels = len({rule.tunnel for rule in rules})
    parts = [
        f"a server; clients connect to {_some(_listener(listener) for listener in listeners if listener.listen is not None)}",
        f"visitors to {_some(entrypoints)}" if entrypoints else "no entrypoint for visitors",
        f"{_count(len(rules), 'rule')} for {_count(tunnels, 'tunnel')}",
        *([f"{settings.workers} workers"] if settings.workers > 1 else ()),
    ]
    return ", ".join(parts)


def _listener(settings: ListenerSettings) -> str:
    path = settings.path if settings.transport in WEBSOCKETS else ""
    return f"{settings.transport}://{_address(settings.listen or Address('', 0))}{path}"


def _client(settings: ClientSettings) -> str:
    parts = [f"joins {_some(map(_connector, settings.connectors))}"] if settings.connectors else []
    parts += [f"visits {_some(map(_visitor, settings.visitors))}"] if settings.visitors else []
    return f"a {'client' if settings.connectors else 'visitor'}; {' and '.join(parts)}"


def _connector(settings: ConnectorSettings) -> str:
    path = settings.path if settings.transport in WEBSOCKETS else ""
    where = f"{settings.transport}://{settings.server}{path}"
    return f"tunnel {short_id(settings.tunnel)} at {where} with weight {settings.weight} for {settings.target}"


def _visitor(settings: VisitorSettings) -> str:
    to = settings.to if settings.to.port else settings.to.host
    where = f"{settings.transport}://{settings.server}"
    return f"{to} of tunnel {short_id(settings.tunnel)} at {where} from {_address(settings.listen)}"


def _address(address: Address) -> str:
    return str(attrs.evolve(address, host=address.host or "*"))


def _some(texts: Iterable[str]) -> str:
    texts = list(texts)
    if len(texts) > MAX_LISTED:
        texts[MAX_LISTED - 1 :] = [f"{len(texts) - MAX_LISTED + 1} more"]
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
