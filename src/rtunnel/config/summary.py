"""What a process would do, in one line."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from rtunnel.ids import short_id
from rtunnel.settings import (
    WEBSOCKETS,
    Address,
    ClientSettings,
    ConnectorSettings,
    ListenerSettings,
    ServerSettings,
    VisitorSettings,
)

__all__ = ["summary"]

SHOWN = 4
"""How many of a kind are named; the rest is counted."""


def summary(settings: ServerSettings | ClientSettings) -> str:
    """Say where a server listens, or what a client joins and visits."""
    return _server(settings) if isinstance(settings, ServerSettings) else _client(settings)


def _server(settings: ServerSettings) -> str:
    listeners = settings.listeners
    entrypoints = [_place(address) for listener in listeners for address in listener.entrypoints]
    rules = [rule for listener in listeners for rule in listener.rules]
    tunnels = len({rule.tunnel for rule in rules})
    said = [
        f"a server; clients attach at {_some(_listener(listener) for listener in listeners if listener.listen is not None)}",
        f"visitors arrive at {_some(entrypoints)}" if entrypoints else "no entrypoint for visitors",
        f"{_count(len(rules), 'rule')} for {_count(tunnels, 'tunnel')}",
    ]
    return ", ".join(said)


def _listener(settings: ListenerSettings) -> str:
    path = settings.path if settings.transport in WEBSOCKETS else ""
    return f"{settings.transport}://{_place(settings.listen or Address('', 0))}{path}"


def _client(settings: ClientSettings) -> str:
    said = [f"joins {_some(map(_connector, settings.connectors))}"] if settings.connectors else []
    said += [f"visits {_some(map(_visitor, settings.visitors))}"] if settings.visitors else []
    return f"a {'client' if settings.connectors else 'visitor'}; {' and '.join(said)}"


def _connector(settings: ConnectorSettings) -> str:
    path = settings.path if settings.transport in WEBSOCKETS else ""
    where = f"{settings.transport}://{settings.server}{path}"
    return f"tunnel {short_id(settings.tunnel)} at {where} with weight {settings.weight} for {settings.target}"


def _visitor(settings: VisitorSettings) -> str:
    to = settings.to if settings.to.port else settings.to.host
    return f"{to} of tunnel {short_id(settings.tunnel)} at {settings.transport}://{settings.server} from {_place(settings.listen)}"


def _place(address: Address) -> str:
    return str(attrs.evolve(address, host=address.host or "*"))


def _some(texts: Iterable[str]) -> str:
    texts = list(texts)
    if len(texts) > SHOWN:
        texts[SHOWN - 1 :] = [f"{len(texts) - SHOWN + 1} more"]
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
