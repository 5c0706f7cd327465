"""The status as lines, one for each change: what ``rtunnel status --watch`` prints where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rtunnel.ops.logs import one_line

__all__ = ["changed_lines"]


def changed_lines(before: dict[str, Any] | None, now: dict[str, Any]) -> Iterator[str]:
    """What is other than before, and of the beginning everything.

    :param before: the document before, None at the beginning.
    :param now: the document as :func:`rtunnel.status.document.get_status` returns it.
    """
    known = set() if before is None else set(_facts(before))
    time = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
    for fact in _facts(now):
        if fact not in known:
            yield f"{time} {one_line(fact)}"
    for gone in [] if before is None else _gone(before, now):
        yield f"{time} {one_line(gone)}"


def _facts(document: dict[str, Any]) -> Iterator[str]:
    process = document["process"]
    yield f"{process['role']} {process['pid']}: {process['state']}"
    for tunnel in document["tunnels"]:
        yield f"tunnel {tunnel['tunnel']}: connectors {tunnel['connectors']}"
    for connector in document["connectors"]:
        yield f"{_name(connector)}: {', '.join(_parts(connector))}"
    for port in document.get("ports") or ():
        yield f"port {port['address']} -> {port['to']}: connections {port['connections']}"


def _name(connector: dict[str, Any]) -> str:
    who = connector["target"] or connector["name"] or connector["peer"]
    return f"connector {connector['id'] or '-'} ({who})"


def _parts(connector: dict[str, Any]) -> Iterator[str]:
    yield connector["state"]
    yield f"weight {connector['weight']}"
    if connector.get("share"):
        yield connector["share"]["text"]
    if connector["requests"] is not None:
        yield f"requests {connector['requests']}"
    for target in connector.get("targets") or ():
        yield f"target {target['address']} {target['state']}"
    if connector.get("others"):
        yield "others: " + ", ".join(f"{other['name']} ({other['what']})" for other in connector["others"])


def _gone(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    there = {connector["id"] for connector in now["connectors"]}
    for connector in before["connectors"]:
        if connector["id"] not in there and connector["target"] is None:
            yield f"{_name(connector)}: gone"
