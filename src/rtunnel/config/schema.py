"""The JSON Schema (draft 2020-12) of a configuration file, made from the table of options.

It is for editors, which complete and explain keys with it. It knows names and kinds of values; bounds and conflicts are left to
``rtunnel check``, whose errors say more.
"""

from __future__ import annotations

from typing import Any

import attrs

from rtunnel.config.layout import FileLayout, Group, Leaf
from rtunnel.options.kinds import Kind
from rtunnel.options.table import default

__all__ = ["schema"]


def schema(layout: FileLayout) -> dict[str, Any]:
    """The schema of a role's file, ready for :func:`json.dumps`."""
    top = _group(layout.top)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"rtunnel {layout.role}",
        "description": f"The configuration file of rtunnel {layout.role}: rtunnel {layout.role} -c FILE",
        **top,
    }
    if not layout.list_key:
        return document
    listed = {
        "description": f"each with settings of its own; keys beside this list are the defaults of every {layout.item}",
        "type": "array",
        "minItems": 1,
        "items": {"$ref": f"#/$defs/{layout.item}"},
    }
    return {
        **document,
        "properties": {**top["properties"], layout.list_key: listed},
        "$defs": {layout.item: _group(layout.items)},
    }


def _group(group: Group) -> dict[str, Any]:
    properties = {name: _group(key) if isinstance(key, Group) else _leaf(key) for name, key in group.keys.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _leaf(leaf: Leaf) -> dict[str, Any]:
    described: dict[str, Any] = {"description": leaf.option.help.removesuffix("; repeatable")}
    one = _value(leaf)
    if not leaf.plural:
        value = default(attrs.evolve(leaf.option, kind=leaf.kind))
        if value is not None:
            described["default"] = _as_json(one["type"], value)
        return {**described, **one}
    several: dict[str, Any] = {"type": "array", "items": one}
    if leaf.single:
        maps = [{"type": "object", "additionalProperties": one}] if leaf.pairs else []
        return {**described, "anyOf": [one, several, *maps]}
    if leaf.kind.keys:
        return {**described, "type": "array", "items": {"anyOf": [one, _row(leaf.kind)]}}
    if leaf.pairs:
        pairs = {"type": "object", "additionalProperties": one}
        return {**described, "anyOf": [pairs, {"type": "array", "items": {"anyOf": [one, pairs]}}]}
    return {**described, **several}


def _row(kind: Kind) -> dict[str, Any]:
    values = {"type": ["string", "number", "array"], "items": {"type": "string"}}
    first, *_ = kind.keys
    properties = {key: {"description": said, **values} for key, said in kind.keys.items()}
    return {"type": "object", "additionalProperties": False, "required": [first], "properties": properties}


def _value(leaf: Leaf) -> dict[str, Any]:
    if not leaf.kind.metavar:
        return {"type": "boolean"}
    if leaf.kind.unit:
        return {"type": ["number", "string"]}
    return {"type": "integer" if leaf.kind.metavar == "N" else "string"}


def _as_json(kind: str | list[str], text: str) -> int | bool | str:
    if kind == "boolean":
        return text == "true"
    return int(text) if kind == "integer" else text
