"""Policies as users write them: ``HOST KEY=VALUE ...``, or a map in a configuration file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from rtunnel.options.kinds import DURATION, SERVED_BY, Kind
from rtunnel.routing.policies import Demand, OnAbsent, PolicyRow, Shares

__all__ = ["POLICY"]


def _one_of(values: type[Shares] | type[OnAbsent]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return values(text)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(values)}") from None

    return parse


def _demands(text: str) -> tuple[Demand, ...]:
    return tuple(Demand.parse(part.strip()) for part in text.split(",") if part.strip())


def _listed(demands: tuple[Demand, ...]) -> str:
    return ",".join(map(str, demands))


_KEYS: Final[Mapping[str, tuple[str, Kind, str]]] = {
    "global": ("shares", Kind("", _one_of(Shares)), "who may take a share of all requests: allow, owners or forbid"),
    "require": ("require", Kind("", _demands, _listed), "terms of which each filter must have one: session, header:X-User ..."),
    "max-lease": ("max_lease", DURATION, "how long a client may stay before it has to renew; 0 for no end"),
    "idle": ("idle", DURATION, "let a client go for which no request has come for this long; 0 for no such limit"),
    "served-by": ("served_by", SERVED_BY, "whether responses say who served them: never, on-request or always"),
    "on-absent": ("on_absent", Kind("", _one_of(OnAbsent)), "requests of a client whose link is lost: pod or 503"),
}
"""Each key: its field, how its value is parsed, what it says."""


def _parse(text: str) -> PolicyRow:
    host, *pairs = text.split() or [""]
    if not host or "=" in host:
        raise ValueError("begins with no host; write e.g. shop.example.org global=owners max-lease=12h")
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if key not in _KEYS or not sign:
            raise ValueError(f'"{pair}" is not KEY=VALUE with one of the keys {", ".join(_KEYS)}')
        field, kind, _ = _KEYS[key]
        if field in values:
            raise ValueError(f"{key} is given twice")
        try:
            values[field] = kind.parse(value)
        except ValueError as error:
            raise ValueError(f"{key} {error}") from None
    if not values:
        raise ValueError(f"says nothing of {host}; add KEY=VALUE with one of the keys {', '.join(_KEYS)}")
    try:
        return PolicyRow(pattern=host, **values)
    except ValueError as error:
        raise ValueError(f"the host {host} {error}") from None


def _show(row: PolicyRow) -> str:
    values = attrs.asdict(row, recurse=False)
    said = {key: kind.show(values[field]) for key, (field, kind, _) in _KEYS.items() if values[field] is not None}
    host = f"[{row.pattern}]" if ":" in row.pattern else row.pattern
    return " ".join((host, *(f"{key}={text}" for key, text in said.items())))


POLICY = Kind(
    "HOST KEY=VALUE...",
    _parse,
    _show,
    lines=True,
    keys={"host": "as in a route: shop.example.org, *.example.org or *"} | {key: said for key, (_, _, said) in _KEYS.items()},
)
