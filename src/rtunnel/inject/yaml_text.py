"""YAML text that is changed in place: entries are added and removed, and every other byte stays as it is.

A YAML library that reads a document and writes it again reformats it: comments move, quotes change, and what was a one-line change
becomes one of a whole file. Here PyYAML's composer says where each node stands in the text, and changes are made there. What is
added always comes last in its map or list, on lines of its own, so that taking it out again gives the former text, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import attrs
import yaml

__all__ = ["MAX_SIZE", "Edits", "block", "compose", "find", "items", "plain", "strings", "typed"]

MAX_SIZE: Final = 2**25
"""Characters of a text."""

Node = yaml.Node


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MAX_DEPTH: Final = 100
"""Maps and lists in each other."""
_MAX_REPEATED: Final = 100_000
"""Nodes that aliases may repeat: a few of them could stand for billions."""
_TYPES: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))


class _Loader(yaml.SafeLoader):
    """Says of an alias where it stands itself, and not where that stands which it repeats; refuses what would cost too much."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0
        self._repeated = 0
        self._sizes: dict[str, int] = {}
        """Nodes in what an anchor stands for, with all that aliases repeat in it."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            return self._compose_alias(event, parent, index)
        if self._depth == _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {_MAX_DEPTH} levels", event.start_mark)
        self._sizes.pop(event.anchor, None)
        before = self._nodes
        self._nodes += 1
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[event.anchor] = self._nodes - before
        return node

    def _compose_alias(self, event: Any, parent: Node | None, index: Any) -> Node:
        repeated = super().compose_node(parent, index)
        if event.anchor not in self._sizes:
            raise yaml.composer.ComposerError(None, None, f"*{event.anchor} is in what it repeats", event.start_mark)
        self._nodes += self._sizes[event.anchor]
        self._repeated += self._sizes[event.anchor]
        if self._repeated > _MAX_REPEATED:
            raise yaml.composer.ComposerError(None, None, f"aliases repeat more than {_MAX_REPEATED} nodes", event.start_mark)
        marks = event.start_mark, event.end_mark
        if isinstance(repeated, yaml.CollectionNode):
            # in one piece, as what is in braces
            return type(repeated)(repeated.tag, repeated.value, *marks, flow_style=True)
        assert isinstance(repeated, yaml.ScalarNode)
        return yaml.ScalarNode(repeated.tag, repeated.value, *marks)


class _Dumper(yaml.SafeDumper):
    """Writes block style. Quotes also what only other parsers take for a number or a truth value: ``1e3``, ``08``, ``y``."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if text.endswith("\n") else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:0o[0-7_]+|(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?)$"),
    list("-+.0123456789"),
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))


def block(value: Any) -> list[str]:
    """The lines of a value in block style, as keys and items are usually indented."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=10**6, allow_unicode=True)
    return text.splitlines()


def compose(text: str) -> list[Node]:
    """The documents of a text; empty ones are left out.

    :raises yaml.YAMLError: it is not YAML, or too large.
    """
    if len(text) > MAX_SIZE:
        raise yaml.YAMLError(f"larger than {MAX_SIZE // 2**20} MiB")
    return [node for node in yaml.compose_all(text, Loader=_Loader) if isinstance(node, yaml.MappingNode)]


# -- reading


def find(node: Node | None, *path: str) -> Node | None:
    """What stands under the keys of a path; ``None`` if a part of it is missing."""
    for name in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == name), None)
    return node


def items(node: Node | None) -> list[Node]:
    """The items of a list; none if it is no list."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def plain(node: Node | None) -> Any:
    """A node as maps, lists and texts: every scalar as it was written. ``None`` for a missing one."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    return None if node is None or node.tag == "tag:yaml.org,2002:null" else _paired(node.value)


def _paired(text: str) -> str:
    """A text in which the two halves of a character are one: JSON may escape them one by one, and PyYAML leaves them so."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE.search(text) else text


def typed(node: Node | None) -> Any:
    """A node as the API server understands it: numbers and truth values are such, everything else is as in :func:`plain`."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): typed(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [typed(item) for item in node.value]
    if node is None or node.tag not in _TYPES:
        return plain(node)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError):
        # what a tag calls a number, and is none
        return plain(node)


def strings(node: Node | None) -> dict[str, str]:
    """A map of texts; empty if it is none."""
    found = plain(node)
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


# -- changing


@attrs.define
class Edits:
    """Changes of one text, made all at once by :meth:`apply`; they must not overlap.

    :param text: that the nodes were composed from.
    """

    text: str
    _edits: list[tuple[int, int, int, str]] = attrs.field(factory=list, init=False)
    """Start, end, order among those at one place, and what is there instead."""

    def apply(self) -> str:
        """The changed text."""
        parts: list[str] = []
        position = 0
        for start, end, _, replacement in sorted(self._edits, key=lambda edit: edit[:3]):
            parts += (self.text[position:start], replacement)
            position = end
        return "".join((*parts, self.text[position:]))

    def replace(self, node: Node, value: Any) -> None:
        """Write another value in place of a scalar or a map."""
        if _in_flow(node):
            self.restore(node, json.dumps(value, ensure_ascii=False))
        else:
            self.restore(node, "\n".join(block(value)))

    def source(self, node: Node) -> str:
        """The text of a node; in block style, its further lines indented as if it stood at the beginning of a line."""
        text = self.text[node.start_mark.index : _end(self.text, node)]
        if _in_flow(node):
            return text
        column = node.start_mark.column
        first, *more = text.splitlines()
        return "\n".join([first, *(line[column:] if line[:column].isspace() else line for line in more)])

    def restore(self, node: Node, text: str) -> None:
        """Write a text of :meth:`source` in place of a node."""
        if not text.startswith(("{", "[")):
            text = ("\n" + " " * node.start_mark.column).join(text.splitlines())
        self._edits.append((node.start_mark.index, _end(self.text, node), 0, text))

    def append_item(self, sequence: Node, item: Any) -> None:
        """Add an item behind the last one of a list.

        :raises yaml.YAMLError: it is an alias.
        """
        self._demand_own(sequence)
        if _in_flow(sequence) or not sequence.value:
            self._append_in_flow(sequence, json.dumps(item, ensure_ascii=False))
        else:
            dash = self._dash_index(sequence.value[0])
            self._append_lines(sequence, block([item]), dash - self.text.rfind("\n", 0, dash) - 1)

    def append_key(self, mapping: Node, key: str, value: Any) -> None:
        """Add a key behind the last one of a map.

        :raises yaml.YAMLError: it is an alias.
        """
        self._demand_own(mapping)
        if _in_flow(mapping) or not mapping.value:
            self._append_in_flow(mapping, json.dumps({key: value}, ensure_ascii=False)[1:-1])
        else:
            self._append_lines(mapping, block({key: value}), mapping.start_mark.column)

    def fill(self, parent: Node, key: str, value: Any) -> None:
        """Give a key a value: one that is missing, or whose value is null, ``{}`` or ``[]``.

        :raises yaml.YAMLError: its map is an alias.
        """
        self._demand_own(parent)
        present = find(parent, key)
        if present is None:
            self.append_key(parent, key, value)
            return
        text = " " + json.dumps(value, ensure_ascii=False)
        if not _in_flow(parent):
            column = parent.start_mark.column + 2
            text = "".join(f"\n{' ' * column}{line}" for line in block(value))
        start = self.text.rfind(":", 0, present.start_mark.index + 1) + 1
        self._edits.append((start, present.end_mark.index, 0, text))

    def _demand_own(self, node: Node) -> None:
        """What an alias repeats has its text elsewhere, for others as well."""
        start = node.start_mark.index
        if self.text.startswith("*", start):
            alias = self.text[start : node.end_mark.index]
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {alias} would have to be changed here alone; write it out")

    def _append_lines(self, node: Node, lines: list[str], column: int) -> None:
        end = self._line_end(_end(self.text, node))
        # a list may end where the map does that it is in: what is deeper inside comes first, and items before keys
        order = -2 * column - isinstance(node, yaml.SequenceNode)
        self._edits.append((end, end, order, "".join(f"\n{' ' * column}{line}" for line in lines)))

    def _append_in_flow(self, node: Node, text: str) -> None:
        """Add to a map in braces or a list in brackets."""
        end = _end(self.text, node) - 1
        if node.value:
            last = node.value[-1]
            end = (last[1] if isinstance(last, tuple) else last).end_mark.index
        self._edits.append((end, end, 0, f", {text}" if node.value else text))

    def remove_items(self, sequence: Node, removed: Sequence[Node]) -> None:
        """Take items out of a list that has others."""
        for item in removed:
            if _in_flow(sequence):
                self._remove_from_flow([(one, one) for one in sequence.value], item, removed)
            else:
                self._remove_lines(self._dash_index(item), item)

    def remove_keys(self, mapping: Node, names: Collection[str]) -> None:
        """Take keys out of a map that has others."""
        removed = [key for key, _ in mapping.value if key.value in names]
        for key, value in mapping.value:
            if key in removed and _in_flow(mapping):
                self._remove_from_flow(mapping.value, key, removed)
            elif key in removed:
                self._remove_lines(key.start_mark.index, value)

    def _remove_from_flow(self, entries: list[tuple[Node, Node]], first: Node, removed: Sequence[Node]) -> None:
        """Remove the entry that begins with a node, one of several that are removed."""
        index = next(index for index, entry in enumerate(entries) if entry[0] is first)
        start, end = first.start_mark.index, _end(self.text, entries[index][1])
        if any(before not in removed for before, _ in entries[:index]):
            start = _end(self.text, entries[index - 1][1])
        elif len(entries) > index + 1:
            end = entries[index + 1][0].start_mark.index
        self._edits.append((start, end, 0, ""))

    def remove_document(self, document: Node) -> None:
        """Take a document out, with the line ``---`` before it."""
        start = self.text.rfind("\n", 0, document.start_mark.index) + 1
        marker = self.text.rfind("---", 0, start)
        begin = marker if marker >= 0 and not self.text[marker + 3 : start].strip() else start
        self._edits.append((begin, min(self._line_end(_end(self.text, document)) + 1, len(self.text)), 0, ""))

    def _remove_lines(self, start: int, last: Node) -> None:
        """Remove whole lines, with the line break before them."""
        begin = self.text.rfind("\n", 0, start)
        end = self._line_end(_end(self.text, last))
        if self.text[begin + 1 : start].strip():
            # the first key of an item, behind its dash: what follows takes its place
            following = re.compile(r"\s*").match(self.text, end)
            self._edits.append((start, following.end() if following else end, 0, ""))
        else:
            self._edits.append((max(begin, 0), end if begin >= 0 else min(end + 1, len(self.text)), 0, ""))

    def _line_end(self, index: int) -> int:
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end

    def _dash_index(self, item: Node) -> int:
        return self.text.rfind("-", 0, item.start_mark.index)


def _in_flow(node: Node) -> bool:
    return not isinstance(node, yaml.CollectionNode) or bool(node.flow_style)


def _leaves(node: Node) -> Iterator[Node]:
    """The last nodes of a node, the outermost first."""
    while True:
        yield node
        if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
            return
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last


def _end(text: str, node: Node) -> int:
    """Where the text of a node ends: a map or list in block style ends with its last entry, not with what follows it."""
    *_, last = _leaves(node)
    end: int = last.end_mark.index
    if isinstance(last, yaml.ScalarNode) and last.style in ("|", ">"):
        # its end is where the next token begins; comments behind it do not belong to it
        end = last.start_mark.index + len(text[last.start_mark.index : end].rstrip())
    return end
