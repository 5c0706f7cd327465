"""Layers of settings as the text of a configuration file, from which the same layers can be read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rtunnel.config.layout import FileLayout, Group, Leaf
from rtunnel.options.layers import Layer
from rtunnel.settings.access_log import STDOUT

__all__ = ["holds_secret", "relative_files", "write"]

Tree = Mapping[str, Any]

# texts that never need quotes, with a colon or "=" in the middle; all others are written as JSON, which is YAML as well
_PLAIN = re.compile(r"[A-Za-z0-9:/.$_][A-Za-z0-9:/.$_@=,+~?%-]*(?<!:)")
_NULLS = ("null", "~")


def write(layout: FileLayout, base: Layer, items: Sequence[Layer]) -> str:
    """The text of a file.

    :param base: for the whole process.
    :param items: for each item of the list. Settings that all of several items have in common are written once, beside the list.
    """
    common = _common(items) if len(items) > 1 else {}
    if not all(layer.keys() - common.keys() for layer in items):
        # an item must not be empty
        common = {}
    top = _tree(layout.process, base) | _tree(layout.items, common)
    rest = [{field: value for field, value in layer.items() if field not in common} for layer in items]
    if any(rest):
        top[layout.list_key] = [_tree(layout.items, layer) for layer in rest]
    return "\n".join(_lines(top)) + "\n"


def holds_secret(layout: FileLayout, layer: Layer) -> bool:
    """Whether the text of a layer may contain a secret."""
    secret = {leaf.option.field for _, leaf in layout.top.leaves() if leaf.kind.secret}
    return any(field in secret and value.text is None for field, value in layer.items())


def relative_files(layout: FileLayout, items: Sequence[Layer]) -> Iterator[str]:
    """The names of files that mean another file in a configuration file, because there they are relative to its directory."""
    fields = {leaf.option.field for _, leaf in layout.top.leaves() if leaf.is_file}
    for layer in items:
        for field, value in layer.items():
            if field in fields and value.text not in (None, STDOUT) and not os.path.isabs(value.text or ""):
                yield value.text or ""


def _common(items: Sequence[Layer]) -> Layer:
    """The settings that all items have in common; an address and its transport stay together."""
    first, *others = items
    same = {
        field: value
        for field, value in first.items()
        if all(field in other and (other[field].value, other[field].text) == (value.value, value.text) for other in others)
    }
    for address in ("listen", "server"):
        if address in first and not {address, "transport"} <= same.keys():
            same.pop(address, None)
            same.pop("transport", None)
    return same


def _tree(group: Group, layer: Layer) -> dict[str, Any]:
    """The keys of a group for the settings in a layer, in the order of the table."""
    found: dict[str, Any] = {}
    done: set[str] = set()
    # where a file and a value are for the same setting, the file is written
    leaves = sorted(group.leaves(), key=lambda named: not named[1].is_file)
    for path, leaf in leaves:
        field = leaf.option.field
        if field in done or field not in layer:
            continue
        value = _value(leaf, layer)
        if value is not None:
            done.add(field)
            found[path] = value
    ordered: dict[str, Any] = {}
    for path, _ in group.leaves():
        if path in found:
            inside = ordered
            *groups, name = path.split(".")
            for one in groups:
                inside = inside.setdefault(one, {})
            inside[name] = found[path]
    return ordered


def _value(leaf: Leaf, layer: Layer) -> Any:
    """What to write for a leaf; ``None`` if another leaf has it."""
    option_value = layer[leaf.option.field]
    if leaf.is_file:
        return option_value.text
    if leaf.option.many:
        values = option_value.value
        if not leaf.option.one_key and leaf.plural != (len(values) > 1 or "=" in leaf.kind.metavar):
            return None
        texts = [leaf.kind.show(value) for value in values]
        pairs = dict(text.split("=", 1) for text in texts) if leaf.pairs else {}
        if pairs and len(pairs) == len(texts):
            return pairs
        return texts if leaf.plural else texts[0]
    text = leaf.kind.show(option_value.value)
    if leaf.kind.metavar.startswith("[ws://") and "transport" in layer:
        text = f"{layer['transport'].value}://{text}"
    return text or None


def _lines(tree: Tree, indent: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield from _entry(indent, f"{_scalar(key)}:", value, indent)


def _entry(start: str, key: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{start}{key}"
        yield from _lines(value, f"{indent}  ")
    elif isinstance(value, list):
        yield f"{start}{key}"
        for one in value:
            if isinstance(one, Mapping):
                for number, line in enumerate(_lines(one)):
                    yield f"{indent}  {'- ' if number == 0 else '  '}{line}"
            else:
                yield f"{indent}  - {_scalar(one)}"
    else:
        yield f"{start}{key} {_scalar(value)}"


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text not in _NULLS else json.dumps(text, ensure_ascii=False)
