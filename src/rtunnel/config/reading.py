"""A configuration file as layers of settings: one for its top, one for each item of its list.

All errors in keys and values are reported at once, one line each, with the line of the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType

import attrs

from rtunnel.config import document
from rtunnel.config.document import Items, Keys, Node, Text
from rtunnel.config.expansion import expanded
from rtunnel.config.layout import DEV_LAYOUT, LAYOUTS, FileLayout, Group, Leaf
from rtunnel.masking import mask
from rtunnel.options.kinds import Kind
from rtunnel.options.layers import Layer, put
from rtunnel.settings import SettingsError, SettingsErrors
from rtunnel.settings.access_log import STDOUT

__all__ = ["FileReading", "Item", "read_file", "read_text", "read_with_own", "which"]


@attrs.frozen
class Item:
    """One item of the list.

    :ivar where: the file, the line and its number, for errors about keys that are missing.
    """

    where: str
    layer: Layer


@attrs.frozen
class FileReading:
    """The content of a file.

    :ivar path: of the file.
    :ivar base: the keys at the top.
    :ivar items: the list; empty if there is none.
    :ivar warnings: one line each.
    """

    path: str
    base: Layer = attrs.field(factory=dict)
    items: tuple[Item, ...] = ()
    warnings: tuple[str, ...] = ()


def read_file(path: str, layout: FileLayout, environ: Mapping[str, str] = MappingProxyType({})) -> FileReading:
    """Read the file of a role.

    :param environ: the variables that some of its values may name.
    :raises SettingsError: it cannot be read, or something in it is invalid.
    """
    top = _top(path, document.read(path))
    return _Reader(path, layout).read(expanded(path, top, layout.expanded, environ) if layout.expanded else top)


def read_text(name: str, text: str, layout: FileLayout) -> FileReading:
    """Read the text of a file that does not exist yet.

    :param name: of the file, for errors.
    :raises SettingsError: something in it is invalid.
    """
    return read_with_own(name, text, layout, ())[0]


def read_with_own(name: str, text: str, layout: FileLayout, own: Collection[str]) -> tuple[FileReading, dict[str, str]]:
    """Read the text of a file that has some keys of its own, besides those of a role.

    :param own: those keys, which stand at its top and have one value.
    :returns: what the other keys say, and the values of its own keys.
    :raises SettingsError: something in it is invalid.
    """
    top = _top(name, document.load(name, text))
    found = {key.text: value.text for key, value in top.entries if key.text in own and isinstance(value, Text) and value.text}
    rest = tuple((key, value) for key, value in top.entries if key.text not in found)
    return _Reader(name, layout).read(Keys(top.line, rest)), found


def which(path: str) -> FileLayout:
    """The role that a file is for, as its keys tell.

    :raises SettingsError: it cannot be read, or its keys do not tell.
    """
    names = {key.text for key, _ in _top(path, document.read(path)).entries}
    counts = [len(names & {*layout.top.keys, layout.list_key}) for layout in LAYOUTS]
    best = max(counts)
    if len(names & DEV_LAYOUT.top.keys.keys()) > best:
        return DEV_LAYOUT
    if counts.count(best) > 1:
        roles = ", ".join(layout.role for layout in (*LAYOUTS, DEV_LAYOUT))
        hint = f"its keys do not tell which command it is for; choose with --as: {roles}"
        raise SettingsError(path, None, hint)
    return LAYOUTS[counts.index(best)]


def _top(path: str, tree: Node | None) -> Keys:
    if tree is None:
        raise SettingsError(path, None, "empty; see docs/configuration.md for what it can contain")
    if not isinstance(tree, Keys):
        hint = 'must be a map, with lines like "listeners:" or "drain: 10s"'
        if isinstance(tree, Text) and ":" in tree.text:
            hint += "; the colon stands right after the key, with a space behind it"
        raise SettingsError(f"{path}:{tree.line}", None, hint)
    return tree


class _Reader:
    """Reads one file; collects the errors in it."""

    def __init__(self, path: str, layout: FileLayout) -> None:
        self._path = path
        self._folder = os.path.dirname(path)
        self._layout = layout
        self._errors: list[tuple[int, SettingsError]] = []
        self._secret = False

    def read(self, top: Keys) -> FileReading:
        layout = self._layout
        items: tuple[Item, ...] = ()
        base: Layer = {}
        rest = []
        for key, node in top.entries:
            if layout.list_key and key.text == layout.list_key:
                items = tuple(self._list(key, node))
            else:
                rest.append((key, node))
        self._map(Keys(top.line, tuple(rest)), layout.top, base, "")
        if self._errors:
            raise SettingsErrors([error for _, error in sorted(self._errors, key=lambda found: found[0])])
        return FileReading(self._path, base, items, tuple(self._warnings()))

    def _list(self, key: Text, node: Node) -> Iterator[Item]:
        layout = self._layout
        if not isinstance(node, Items) or not node.items:
            self._wrong(key.line, layout.list_key, f'must be a list: each {layout.item} begins with "- " on a line of its own')
            return
        for number, one in enumerate(node.items, 1):
            path = f"{layout.list_key}[{number}]"
            layer: Layer = {}
            if isinstance(one, Keys):
                self._map(one, layout.items, layer, f"{path}.")
            else:
                self._wrong(one.line, path, f"must be a map with the settings of one {layout.item}")
            yield Item(f"{self._path}:{one.line}: {path}", layer)

    def _map(self, node: Keys, group: Group, layer: Layer, path: str) -> None:
        for key, value in node.entries:
            known = group.keys.get(key.text)
            name = path + (mask(key.text) if known is None else key.text)
            if known is None:
                self._wrong(key.line, name, self._unknown(key.text, group, path))
            elif isinstance(value, Text) and value.empty:
                self._wrong(key.line, name, "has no value; give one, or remove the key")
            elif isinstance(known, Leaf):
                self._leaf(known, key, value, layer, name)
            elif isinstance(value, Keys):
                self._map(value, known, layer, f"{name}.")
            else:
                leave_out = ', without "- "' if isinstance(value, Items) else ""
                hint = f"must be a map; write e.g. {next(iter(known.keys))}: on an indented line below it{leave_out}"
                self._wrong(key.line, name, hint)

    def _leaf(self, leaf: Leaf, key: Text, node: Node, layer: Layer, name: str) -> None:
        piece: Layer = {}
        for line, text in self._texts(leaf, node, name):
            named = os.path.join(self._folder, text) if leaf.is_file and text != STDOUT else text
            try:
                put(piece, leaf.option, self._where(line, name), named, leaf.kind)
            except SettingsError as error:
                self._errors.append((line, error))
        for field, value in piece.items():
            if field in layer:
                other = layer[field].key.removeprefix(f"{self._path}:")
                self._wrong(key.line, name, f"conflicts with {other}; give only one of them")
            layer[field] = value
        self._secret = self._secret or leaf.kind.secret

    def _texts(self, leaf: Leaf, node: Node, name: str) -> Iterator[tuple[int, str]]:
        """The values of a key, each with its line."""
        if isinstance(node, Text):
            if not leaf.single:
                self._wrong(node.line, name, 'must be a list; write each value on an indented line of its own, after "- "')
            else:
                yield node.line, node.text
            return
        if not leaf.plural:
            plural = ", or use the plural of the key" if leaf.option.many else ""
            self._wrong(node.line, name, f"takes one value, not a list or map; write it after the colon{plural}")
            return
        for one in (node,) if isinstance(node, Keys) else node.items:
            if isinstance(one, Text):
                yield one.line, one.text
            elif leaf.kind.keys and isinstance(one, Keys):
                yield from self._row(leaf.kind, one, name)
            elif leaf.pairs and isinstance(one, Keys):
                yield from self._pairs(one, name)
            else:
                self._wrong(one.line, name, "must be a list of single values")

    def _pairs(self, node: Keys, name: str) -> Iterator[tuple[int, str]]:
        for key, value in node.entries:
            if isinstance(value, Text) and not value.empty:
                yield value.line, f"{key.text}={value.text}"
            else:
                self._wrong(key.line, f"{name}.{mask(key.text)}", "must have one value after the colon")

    def _row(self, kind: Kind, node: Keys, name: str) -> Iterator[tuple[int, str]]:
        """The text of a map with the keys of a kind."""
        known = {key.text: (key.line, value) for key, value in node.entries}
        first, *_ = kind.keys
        words: list[str] = []
        for key, (line, value) in known.items():
            texts = [one.text for one in (value.items if isinstance(value, Items) else (value,)) if isinstance(one, Text)]
            text = ",".join(texts)
            if key not in kind.keys:
                self._wrong(line, f"{name}.{mask(key)}", f"unknown key; the keys are {', '.join(kind.keys)}")
            elif not text or len(text.split()) > 1:
                self._wrong(line, f"{name}.{key}", "must have one value after the colon, or a list of values without blanks")
            elif key == first:
                words.insert(0, text)
            else:
                words.append(f"{key}={text}")
        if first not in known:
            self._wrong(node.line, name, f"has no {first}; add {first}: ...")
        elif len(words) == len(known):
            yield node.line, " ".join(words)

    # -- errors

    def _where(self, line: int, name: str) -> str:
        return f"{self._path}:{line}: {name}"

    def _wrong(self, line: int, name: str, hint: str) -> None:
        self._errors.append((line, SettingsError(self._where(line, name), None, hint)))

    def _unknown(self, name: str, group: Group, path: str) -> str:
        layout = self._layout
        if path and name in layout.process.keys:
            return "is for the whole process; move it to the top of the file"
        elsewhere = [found for found, _ in layout.top.leaves() if _folded(found.rpartition(".")[2]) == _folded(name)]
        if elsewhere and elsewhere[0].rpartition(".")[2] not in group.keys:
            return f"not a key of this map; write it as {elsewhere[0].replace('.', ': ')}: ..."
        for other in LAYOUTS:
            if other is not layout and name in {*other.top.keys, other.list_key}:
                return f"a key for the file of a {other.role}, not of a {layout.role}"
        names = [*group.keys, *(() if path or not layout.list_key else (layout.list_key,))]
        close = get_close_matches(_folded(name), map(_folded, names), 1)
        nearest = next((known for known in names if close and _folded(known) == close[0]), None)
        return "unknown key; " + (f"did you mean {nearest}?" if nearest else "see docs/configuration.md")

    def _warnings(self) -> Iterator[str]:
        try:
            mode = os.stat(self._path).st_mode
        except OSError:
            return
        if self._secret and mode & stat.S_IROTH:
            yield f"{self._path} holds a secret and is readable by every user of this machine; chmod 600, or 640 with a group"


def _folded(name: str) -> str:
    """A key in a form that is equal for all its spellings: ``head-timeout``, ``headTimeout``, ``head_timeout``."""
    return name.lower().replace("-", "").replace("_", "")
