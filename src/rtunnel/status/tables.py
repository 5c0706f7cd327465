"""The status as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rtunnel.ops.logs import one_line

__all__ = ["bytes_text", "duration_text", "tables"]

_STATES = {
    "ready": "green",
    "up": "green",
    "connecting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "waiting": "red",
    "suspect": "red",
    "joined": "green",
    "joining": "yellow",
    "leaving": "yellow",
    "draining": "yellow",
    "ended": "red",
    "reachable": "green",
    "refused": "red",
}
_LEVELS = {"warn": "yellow", "error": "red", "critical": "bold red"}
_SILENT: dict[str, tuple[Any, ...]] = {"user": (None,), "network": (None, "tcp")}
"""Columns that are left out when they say nothing else: a terminal has 80 columns."""
_NUMBERS = frozenset(
    ("visitors", "connections", "links", "connectors", "streams", "weight", "requests", "restarts", "in", "out", "round trip")
)

Row = Sequence[Any]


def tables(document: dict[str, Any]) -> Iterator[RenderableType]:
    """A headline, and a table for each part of a status.

    :param document: as :func:`rtunnel.status.document.get_status` returns it.
    """
    yield _headline(document["process"])
    role = document["process"]["role"]
    server = role == "server"
    if server:
        yield _table("listeners", ("address", "transport", "links"), map(_listener, document["listeners"]))
    if document["entrypoints"]:
        yield _table("entrypoints", ("address", "protocols", "visitors"), map(_entrypoint, document["entrypoints"]))
    if document["rules"]:
        yield _table("ingress rules", ("host", "tunnel", ""), map(_rule, document["rules"]))
    # a process of an older version has no ports, and its connectors no network
    if ports := document.get("ports"):
        yield _table("local ports", ("address", "leads to", "tunnel", "server", "connections"), map(_port, ports))
    if role != "visitor":
        yield _table("tunnels", ("tunnel", "connectors", "streams"), map(_tunnel, document["tunnels"]))
        connectors = document["connectors"]
        columns = (
            "connector",
            "tunnel",
            "network",
            "state",
            "weight",
            "peer",
            "user",
            *(() if server else ("target",)),
            "requests",
        )
        yield _table("connectors", columns, (_connector(connector, server) for connector in connectors))
        if links := [connector for connector in connectors if connector["since"]]:
            yield _table("links", ("connector", "since", "streams", "in", "out", "round trip"), map(_link, links))
        if not server:
            yield from _client_tables(document["connectors"])
        # a process of an older version knows no intercepts
        intercepts = [connector for connector in document["connectors"] if connector.get("intercept")]
        if intercepts:
            yield _table("intercepts", ("connector", "who", "requests with"), map(_intercept, intercepts))
        # nor leases
        leases = [connector for connector in document["connectors"] if connector.get("reason") or connector.get("until")]
        if leases:
            yield _table("leases", ("connector", "who", "reason", "until"), map(_lease, leases))
    if registry := document.get("registry"):
        yield _table("shared registry", ("address", "state", "servers", "connectors", "records", "why"), map(_registry, registry))
    if peers := document.get("peers"):
        yield _table("other servers", ("server", "name", "address", "state", "connectors", "streams"), map(_peer, peers))
    if workers := document.get("workers"):
        columns = ("worker", "process", "state", "since", "restarts", "links", "visitors")
        yield _table("workers", columns, map(_worker, workers))
    if document["errors"]:
        yield _table("recent warnings and errors", ("when", "level", "what"), map(_error, document["errors"]))


def _client_tables(connectors: list[dict[str, Any]]) -> Iterator[RenderableType]:
    """What a client knows of its targets, of its share and of the others of its tunnels; an older one knows nothing of it."""
    if targets := [target for connector in connectors for target in connector.get("targets", ())]:
        yield _table("targets", ("target", "state", "since", "why"), map(_target, targets))
    if shares := [connector for connector in connectors if connector.get("share")]:
        yield _table("shares", ("connector", "hosts", "share"), map(_share, shares))
    if others := [(connector, other) for connector in connectors for other in connector.get("others", ())]:
        yield _table("others on the tunnel", ("tunnel", "who", "what"), (_other(*pair) for pair in others))


def _headline(process: dict[str, Any]) -> Text:
    state = process["state"]
    text = Text(f"rtunnel {one_line(process['version'])} {one_line(process['role'])}: ", "bold")
    text.append(one_line(state), _STATES.get(state, "red"))
    return text.append(f", up {duration_text(process['uptime'])}, pid {process['pid']}", "default")


def _table(title: str, columns: Sequence[str], rows: Iterable[Row]) -> RenderableType:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    rows = list(rows)
    shown = [at for at, column in enumerate(columns) if any(row[at] not in _SILENT.get(column, ()) for row in rows)]
    for column in (columns[at] for at in shown):
        table.add_column(column, justify="right" if column in _NUMBERS else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[at]) for at in shown))
    return table if table.rows else Text.assemble((title, "bold"), ": none")


def _cell(value: Any) -> Text:
    text = "-" if value is None else one_line(str(value))
    return Text(text, _STATES.get(text) or _LEVELS.get(text, ""))


def _listener(listener: dict[str, Any]) -> Row:
    return listener["address"], listener["transport"], listener["links"]


def _entrypoint(entrypoint: dict[str, Any]) -> Row:
    return entrypoint["address"], ", ".join(entrypoint["protocols"]), entrypoint["visitors"]


def _rule(rule: dict[str, Any]) -> Row:
    return rule["host"], rule["tunnel"], "private" if rule["private"] else ""


def _port(port: dict[str, Any]) -> Row:
    return port["address"], port["to"], port["tunnel"], port["server"], port["connections"]


def _tunnel(tunnel: dict[str, Any]) -> Row:
    return tunnel["tunnel"], tunnel["connectors"], tunnel["streams"]


def _registry(registry: dict[str, Any]) -> Row:
    """The shared registry; servers and connectors are those of others, records this server's own."""
    counts = registry["servers"], registry["connectors"], registry["published"]
    return registry["address"], registry["state"], *counts, registry["reason"] or ""


def _peer(peer: dict[str, Any]) -> Row:
    return peer["server"], peer["name"], peer["address"], peer["state"], peer["connectors"], peer["streams"]


def _worker(worker: dict[str, Any]) -> Row:
    since = _local(worker["since"]) if worker["since"] else None
    return worker["number"], worker["pid"], worker["state"], since, worker["restarts"], worker["links"], worker["visitors"]


def _connector(connector: dict[str, Any], server: bool) -> Row:
    return (
        connector["id"],
        connector["tunnel"],
        connector.get("network"),
        connector["state"],
        connector["weight"],
        connector["peer"],
        connector["user"],
        *(() if server else (connector["target"],)),
        connector["requests"],
    )


def _link(connector: dict[str, Any]) -> Row:
    return (
        connector["id"],
        _local(connector["since"]),
        connector["streams"],
        bytes_text(connector["received_bytes"]),
        bytes_text(connector["sent_bytes"]),
        _round_trip(connector["round_trip"]),
    )


def _target(target: dict[str, Any]) -> Row:
    return target["address"], target["state"], _local(target["since"]) if target["since"] else None, target["reason"]


def _share(connector: dict[str, Any]) -> Row:
    return connector["id"], ", ".join(connector["hosts"]) or None, connector["share"]["text"]


def _other(connector: dict[str, Any], other: dict[str, Any]) -> Row:
    return connector["tunnel"], other["name"], other["what"]


def _intercept(connector: dict[str, Any]) -> Row:
    return connector["id"], connector["name"], " or ".join(connector["intercept"])


def _lease(connector: dict[str, Any]) -> Row:
    until = connector.get("until")
    return connector["id"], connector["name"], connector.get("reason"), _local(until) if until else None


def _round_trip(round_trip: dict[str, Any] | None) -> str | None:
    if round_trip is None:
        return None
    return f"{round_trip['seconds'] * 1000:.1f} ms" + (" (tcp)" if round_trip["by"] == "tcp" else "")


def _error(error: dict[str, Any]) -> Row:
    times = f" ({error['times']} times)" if error["times"] > 1 else ""
    return _local(error["time"]), error["level"], error["text"] + times


def _local(moment: str) -> str:
    """A time of the document in the local time zone."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: ``2d 3h``, ``1m 5s``, ``12s``."""
    whole = int(seconds)
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part}{below}"
    return f"{whole}s"


def bytes_text(size: float) -> str:
    """A number of bytes in a short form: ``512 B``, ``1.5 KiB``, ``23.0 GiB``."""
    if size < 1024:
        return f"{size:g} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
