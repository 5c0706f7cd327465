"""Environments as shells and tools read them; what a format cannot hold exactly is refused by name, and never bent.

Sources: the manuals of the shells; the parsers of python-dotenv, and of Node.js' dotenv, which reads what is written here the same
way where it can; docker/cli ``opts/file.go``; systemd ``src/basic/env-file.c``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import yaml

__all__ = ["FORMATS", "UnfitError", "write"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DOTTED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
DOCKER_LINE: Final = 65535
"""Bytes of a line that docker reads at most."""


class UnfitError(Exception):
    """A format cannot hold some variables; the text names them and says what to do."""


def _quoted_for_sh(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _sh(name: str, value: str) -> str:
    return f"export {name}={_quoted_for_sh(value)}"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    # these are quotes to PowerShell, too
    escaped = re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value)
    return f"${{env:{name}}} = '{escaped}'"


def _cmd(name: str, value: str) -> str:
    escaped = value.replace("%", "%%")
    return f'set "{name}={escaped}"'


def _dotenv(name: str, value: str) -> str:
    """In single quotes where nothing in it has to be escaped, as all parsers read them; else as python-dotenv reads escapes."""
    if not re.search(r"'|\\\\|\r", value):
        return f"{name}='{value}'"
    if not re.search(r'["\\\n\r]', value):
        return f'{name}="{value}"'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'{name}="{escaped}"'


def _docker(name: str, value: str) -> str:
    return f"{name}={value}"


def _systemd(name: str, value: str) -> str:
    escaped = re.sub(r'(["\\`$])', r"\\\1", value)
    return f'{name}="{escaped}"'


def _no_line_ends(value: str) -> bool:
    return not re.search(r"[\r\n]", value)


def _fits_cmd(value: str) -> bool:
    # a quote in it would end the text for everything behind it
    return _no_line_ends(value) and '"' not in value


def _fits_dotenv(value: str) -> bool:
    # python-dotenv up to 1.2.1 takes a backslash before the closing quote for one that escapes it, even if it is escaped itself
    return not value.endswith("\\")


def _fits_docker(value: str) -> bool:
    return _no_line_ends(value) and len(value.encode("utf-8", "surrogateescape")) < DOCKER_LINE - 1000


def _fits_systemd(value: str) -> bool:
    return not any(ord(character) < 32 and character not in "\n\t" for character in value)


_Line = Callable[[str, str], str]
_Fits = Callable[[str], bool]


class _Lines:
    """A format with a line, or more, for each variable.

    :param name: what names it can hold.
    :param fits: whether it can hold a value.
    :ivar lacks: what it cannot hold, for people.
    """

    def __init__(self, line: _Line, name: re.Pattern[str], fits: _Fits = lambda value: True, lacks: str = "such names") -> None:
        self.lacks = lacks
        self._line = line
        self._name = name
        self._fits = fits

    def unfit(self, variables: Mapping[str, str]) -> list[str]:
        return [name for name, value in variables.items() if not (self._name.fullmatch(name) and self._fits(value))]

    def write(self, variables: Mapping[str, str]) -> Iterator[str]:
        return (self._line(name, value) for name, value in variables.items())


class _Json:
    """One object."""

    lacks = ""

    def unfit(self, variables: Mapping[str, str]) -> list[str]:
        return []

    def write(self, variables: Mapping[str, str]) -> Iterator[str]:
        yield json.dumps(dict(variables), indent=2)


class _Compose:
    """A part of a service in a file of compose, which replaces ``$``."""

    lacks = "what is not UTF-8, or such names"

    def unfit(self, variables: Mapping[str, str]) -> list[str]:
        return [name for name, value in variables.items() if not (_DOTTED.fullmatch(name) and _is_text(value))]

    def write(self, variables: Mapping[str, str]) -> Iterator[str]:
        values = {name: value.replace("$", "$$") for name, value in variables.items()}
        document: str = yaml.dump({"environment": values}, default_style='"', width=2**31, sort_keys=False)
        yield document.rstrip("\n")


def _is_text(value: str) -> bool:
    """Whether a value is UTF-8 without what YAML cannot hold."""
    return not re.search("[\ud800-\udfff]", value)


_FORMATS: Final[Mapping[str, _Lines | _Json | _Compose]] = {
    "sh": _Lines(_sh, _IDENTIFIER),
    "fish": _Lines(_fish, _IDENTIFIER),
    "powershell": _Lines(_powershell, _DOTTED),
    "cmd": _Lines(_cmd, _DOTTED, _fits_cmd, "line ends, quotes, or such names"),
    "dotenv": _Lines(_dotenv, _DOTTED, _fits_dotenv, "backslash at the end, or such names"),
    "docker": _Lines(_docker, _DOTTED, _fits_docker, "line ends, values of 64 KiB, or such names"),
    "compose": _Compose(),
    "json": _Json(),
    "systemd": _Lines(_systemd, _IDENTIFIER, _fits_systemd, "control characters, or such names"),
}
FORMATS: Final = tuple(_FORMATS)


def write(format_name: str, variables: Mapping[str, str]) -> bytes:
    """An environment in a format.

    :param format_name: one of :data:`FORMATS`.
    :raises UnfitError: it cannot hold a name or value.
    """
    chosen = _FORMATS[format_name]
    unfit = chosen.unfit(variables)
    if unfit:
        names = ", ".join(name if name.isprintable() else ascii(name) for name in unfit)
        what = f"the format {format_name} cannot hold {names} (no {chosen.lacks})"
        raise UnfitError(f"{what}; leave them out with --exclude, or choose another format")
    lines = [*chosen.write(variables), ""] if variables or format_name in ("json", "compose") else []
    return "\n".join(lines).encode("utf-8", "surrogateescape")
