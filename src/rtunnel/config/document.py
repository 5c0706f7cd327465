"""YAML text as a tree of texts, lists and maps with line numbers.

PyYAML's parser reads the text, but its conversions of values (``off`` to a boolean, ``12:30`` to a number in base 60) are not used,
because each option parses its own values. Anchors and aliases are refused: a few of them can expand to a terabyte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs
import yaml

from rtunnel.masking import mask
from rtunnel.settings import SettingsError

__all__ = ["MAX_DEPTH", "MAX_SIZE", "Items", "Keys", "Node", "Text", "load", "read"]

MAX_SIZE: Final = 2**20
"""Bytes of a file."""
MAX_DEPTH: Final = 16
"""Nested lists and maps."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTES = 'put values in quotes that begin with "*", "[", "{", "&", "!", "%" or "@", or contain ": " or " #"'
_INDENTATION = "indent keys of one map, and items of one list, alike"
_NEVER_CLOSED = (
    ("end of stream", "a quote that is never closed; close it"),
    ("<stream end>", "a bracket that is never closed; close it"),
)
"""Faults that are found at the end of the file, and were made where the quote or bracket is."""
_FAULTS = (
    ("'\\t'", "a tab, where only spaces are allowed; indent with spaces"),
    (
        "mapping values are not allowed",
        (
            f'a "KEY: VALUE" where none can be; {_INDENTATION}, write a space after the colon of the key before it, '
            'and put a value that contains ": " in quotes'
        ),
    ),
    ("expected <block end>", f"an indentation that is that of no line before it, or a line that is no list item; {_INDENTATION}"),
    ("could not find expected ':'", 'a line without "KEY: VALUE"; write a space after the colon'),
    (
        "expected alphabetic or numeric character",
        'a "*" or "&" at the beginning, which means something else in YAML; put it in quotes',
    ),
    (
        "expected the node content",
        'no value where one is needed; put a value that begins with "[" or "{", such as an IPv6 address, in quotes',
    ),
    ("cannot start any token", "a character that no value can begin with; put the value in quotes"),
    *_NEVER_CLOSED,
)
"""The parser's words, and what they mean to people."""


@attrs.frozen
class Text:
    """A value.

    :ivar plain: whether it was written without quotes.
    """

    line: int
    text: str
    plain: bool

    @property
    def empty(self) -> bool:
        """Whether there is no value (YAML's null)."""
        return self.plain and self.text in ("", "~", "null")


@attrs.frozen
class Items:
    """A list."""

    line: int
    items: tuple[Node, ...]


@attrs.frozen
class Keys:
    """A map; its keys are unique."""

    line: int
    entries: tuple[tuple[Text, Node], ...]


Node = Text | Items | Keys


def read(path: str) -> Node | None:
    """Read a file; see :func:`load`.

    :raises SettingsError: it cannot be read, or is not YAML of the supported kind.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise SettingsError(path, None, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        # a null byte, which no name of a file has
        raise SettingsError(path, None, f"cannot be read: {error}") from None
    if len(data) > MAX_SIZE:
        raise SettingsError(path, None, f"larger than {MAX_SIZE // 2**20} MiB; is it the right file?")
    try:
        return load(path, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}:{line}", None, "not UTF-8; save it in that encoding") from None


def load(name: str, text: str) -> Node | None:
    """The tree of a document.

    :param name: of the file, for errors.
    :returns: ``None`` if it is empty.
    :raises SettingsError: it is not YAML, or has anchors, tags, duplicate keys, several documents or too many levels.
    """
    try:
        return _Builder(name, yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = _place(error)
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        raise SettingsError(where, None, f"not YAML: {_describe(error, text)}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise SettingsError(
            f"{name}:{line}", None, f"contains a character that YAML does not allow, number {error.character}"
        ) from None
    except (ValueError, OverflowError):
        # of PyYAML's own conversions, which do not say where
        raise SettingsError(name, None, f"not YAML: a number in an escape or in a directive is too large; {_QUOTES}") from None


def _place(error: yaml.MarkedYAMLError) -> yaml.Mark | None:
    """Where a mistake is."""
    if error.context_mark is not None and any(words in str(error.problem) for words, _ in _NEVER_CLOSED):
        return error.context_mark
    return error.problem_mark or error.context_mark


def _describe(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = str(error.problem or error.context)
    mark = error.problem_mark
    if "expected <block end>" in problem and mark is not None and text.splitlines()[mark.line][: mark.column].strip(" -"):
        return "something after a value that is whole; put all of the value in one pair of quotes"
    return next((meaning for words, meaning in _FAULTS if words in problem), f"{problem}; {_QUOTES}")


class _Builder:
    """Makes the tree from the parser's events; limits its depth, so that no document exhausts the stack."""

    def __init__(self, name: str, events: Iterator[yaml.Event]) -> None:
        self._name = name
        self._events = events
        self._depth = 0

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, 'begins a second document; a file is one document, without "---" in the middle')
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event)
        return None if isinstance(root, Text) and root.empty else root

    def _node(self, event: yaml.Event) -> Node:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._error(event, f"YAML anchors and aliases are not supported; write the value itself, or {_QUOTES}")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise self._error(event, f'YAML tags, here "{tag}", are not supported; leave it out, or {_QUOTES}')
        line = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            if _SURROGATE.search(event.value):
                raise self._error(event, "contains half of a pair of escapes (\\uD800 to \\uDFFF); write the character itself")
            return Text(line, event.value, event.style is None)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(event, f"more than {MAX_DEPTH} nested lists and maps")
        node = Items(line, self._items()) if isinstance(event, yaml.SequenceStartEvent) else Keys(line, self._entries())
        self._depth -= 1
        return node

    def _items(self) -> tuple[Node, ...]:
        items: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event))
        return tuple(items)

    def _entries(self) -> tuple[tuple[Text, Node], ...]:
        entries: dict[str, tuple[Text, Node]] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._node(event)
            if not isinstance(key, Text):
                raise self._error(event, f"a key must be a single value, not a list or map; {_QUOTES}")
            if key.text in entries:
                first = entries[key.text][0].line
                raise SettingsError(
                    f"{self._name}:{key.line}: {mask(key.text)}", None, f"duplicate key, first in line {first}; keep one of them"
                )
            entries[key.text] = (key, self._node(next(self._events)))
        return tuple(entries.values())

    def _error(self, event: yaml.Event, hint: str) -> SettingsError:
        return SettingsError(f"{self._name}:{_line(event)}", None, hint)


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark is not None else 0
