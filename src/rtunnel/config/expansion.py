"""``${NAME}`` in some values of a file that a team shares: the variable of the environment of whoever reads it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Collection, Mapping
from typing import Final

import attrs

from rtunnel.config.document import Items, Keys, Node, Text
from rtunnel.settings import SettingsError, SettingsErrors

__all__ = ["expanded", "user_of"]

_VARIABLE: Final = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$\{)")
"""``$${`` is a literal ``${``."""


def expanded(path: str, top: Keys, keys: Collection[str], environ: Mapping[str, str]) -> Keys:
    """A tree in which variables are replaced by their values.

    :param path: of the file, for errors.
    :param keys: at the top, those in whose values variables are replaced; elsewhere they are text like any other.
    :param environ: the variables. ``USER`` is known also where it is not set.
    :raises SettingsError: a variable is not set; the errors of all of them at once.
    """
    expansion = _Expansion(path, environ)
    entries = tuple((key, expansion.node(key.text, node) if key.text in keys else node) for key, node in top.entries)
    if expansion.errors:
        raise SettingsErrors(expansion.errors)
    return attrs.evolve(top, entries=entries)


class _Expansion:
    """Replaces variables; collects those that are not set."""

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self.errors: list[SettingsError] = []
        self._path = path
        self._environ = environ

    def node(self, key: str, node: Node) -> Node:
        if isinstance(node, Text):
            return attrs.evolve(node, text=self._text(key, node))
        if isinstance(node, Items):
            return attrs.evolve(node, items=tuple(self.node(key, one) for one in node.items))
        return node

    def _text(self, key: str, node: Text) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1]:
                return "${"
            name = found[2]
            if name is None:
                self._wrong(node, key, "has a ${ without a name and a }; write e.g. ${USER}, or $${ for that text itself")
                return ""
            text = user_of(self._environ) if name == "USER" else self._environ.get(name, "")
            if not text:
                self._wrong(node, key, f"${{{name}}} is not set; set that variable")
            return text

        return _VARIABLE.sub(value, node.text)

    def _wrong(self, node: Text, key: str, hint: str) -> None:
        self.errors.append(SettingsError(f"{self._path}:{node.line}: {key}", None, hint))


def user_of(environ: Mapping[str, str]) -> str:
    """The name of who runs this process; ``""`` if there is none."""
    if environ.get("USER"):
        return environ["USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # a user without an entry in /etc/passwd; Windows without the usual variables
        return ""
