"""What ``rtunnel explain`` asks the server: the document at ``/explain``, described in docs/intercepts.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl

import attrs

from rtunnel.routing.explanation import AskedRequest, explain
from rtunnel.server.entrypoint.entrypoint import Entrypoint

__all__ = ["EXPLAIN_VERSION", "explanations"]

EXPLAIN_VERSION = 1
"""The version of the document: increased when a key is removed or changes its meaning, not when one is added."""


def explanations(query: bytes, groups: Iterable[Sequence[Entrypoint]]) -> bytes:
    """The document.

    :param query: of the URL: ``host``, ``method``, ``path``, and ``header`` for each field as ``Name: value``.
    :param groups: the entrypoints of each listener; they have the same rules.
    :raises ValueError: the query has something else, or no host.
    """
    request = _request(query)
    found = [
        {"entrypoints": [one.address for one in entrypoints], **attrs.asdict(explain(entrypoints[0].selector, request))}
        for entrypoints in groups
        if entrypoints
    ]
    document = {"explain_version": EXPLAIN_VERSION, "host": request.host, "explanations": found}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _request(query: bytes) -> AskedRequest:
    fields, given = [], {"method": "GET", "path": "/", "host": ""}
    for name, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True):
        if not value.isprintable():
            raise ValueError(f'"{name}" has control characters')
        if name == "header":
            field, colon, content = value.partition(":")
            if not colon:
                raise ValueError('"header" is written as "Name: value"')
            fields.append((field.strip(), content.strip()))
        elif name in given:
            given[name] = value
        else:
            raise ValueError(f"unknown parameter {name!r}")
    if not given["host"]:
        raise ValueError('"host" is missing')
    return AskedRequest(given["host"], given["method"], given["path"], tuple(fields))
