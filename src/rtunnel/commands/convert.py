"""``rtunnel convert``: options and URLs, or a file of gost, as a configuration file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.commands import client, server, visitor
from rtunnel.config.gost import is_gost, read_gost
from rtunnel.config.layout import FileLayout
from rtunnel.config.reading import read_text
from rtunnel.config.writing import holds_secret, relative_files, write
from rtunnel.options.layers import Layer, overlay
from rtunnel.roles import CLIENT_ROLE, ROLES, Role
from rtunnel.roles.merging import Merged
from rtunnel.settings import SettingsError

__all__ = ["main", "make_parser"]

_EPILOG = """\
The file is printed, and on stderr what has no equivalent in it. The exit status is 0, or 1 when nothing can be converted.

examples:
  rtunnel convert server -L "tunnel+ws://:8421?entrypoint=:80&tunnel=nginx.local:UUID&path=/proxy" > server.yaml
  rtunnel convert client -L rtcp://:0/:80 -F "tunnel+ws://192.168.1.1:80?tunnel.id=UUID&path=/proxy" > client.yaml
  rtunnel convert gost.yml > server.yaml
  rtunnel convert --as client gost.yml > client.yaml
"""

_OPTIONS = {options.role.name: options for options in (server.Options, client.Options, visitor.Options)}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    try:
        role, merged = _options(*argv) if argv and argv[0] in _OPTIONS else _file(argv)
        text = _convert(role, merged)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return ExitStatus.FAILED
    print(f"# rtunnel {role.name} -c FILE; docs/configuration.md explains it")
    print(text, end="")
    return ExitStatus.OK


# -- what is converted


def _options(name: str, *argv: str) -> tuple[Role[Any], Merged]:
    """The options of a command line; the environment has no part in it."""
    options = _OPTIONS[name](resolve=False)
    options.parseOptions(argv)
    return options.role, options.role.merge(options.raw, {})


def _file(argv: Sequence[str]) -> tuple[Role[Any], Merged]:
    """The part of a gost file that is for one role."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    return _gost_part(arguments.file, arguments.role)


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser(
        "convert",
        usage="rtunnel convert server|client|visitor OPTIONS\n       rtunnel convert [--as server|client|visitor] FILE",
        description="Turns the options and URLs of a command, or a gost file, into a configuration file.",
        epilog=_EPILOG,
    )
    parser.add_argument("--as", dest="role", choices=_OPTIONS, help="the part of a gost file to convert, where it has several")
    parser.add_argument("file", metavar="FILE", help="a configuration file of gost v3, in YAML or JSON")
    return parser


def _gost_part(file: str, wanted: str | None) -> tuple[Role[Any], Merged]:
    if not is_gost(file):
        raise SettingsError(file, None, 'not a gost file: it has no "services:"')
    found = read_gost(file)
    parts: dict[str, tuple[Layer, ...]] = {"server": found.listeners, "client": found.connectors, "visitor": found.visitors}
    present = [name for name, layers in parts.items() if layers]
    if wanted is None and len(present) > 1:
        raise SettingsError(file, None, f"has services for {' and '.join(present)}; choose with --as {' or --as '.join(present)}")
    name = wanted or (present[0] if present else "")
    if name not in present:
        _warn(found.warnings)
        raise SettingsError(file, None, f"has no service of a tunnel{f' {name}' if name else ''}")
    field = "target" if name == "client" else "listen"
    places = tuple(f"{layer[field if field in layer else 'entrypoints'].key}: " for layer in parts[name])
    role = next(role for role in ROLES if role.name == name)
    return role, Merged(role.layout, None, {}, parts[name], found.warnings, places)


# -- how


def _convert(role: Role[Any], merged: Merged) -> str:
    """The text of the file, once what it says is known to be valid; prints the warnings."""
    role.validate(merged, {})
    if role is CLIENT_ROLE and any("listen" in layer for layer in merged.items):
        raise SettingsError("-L", None, "opens the port of a visitor, which has a file of its own: rtunnel convert visitor ...")
    _warn(merged.warnings)
    _warn(
        f'"{name}" is relative to the directory of the configuration file now; put the file there, or write an absolute path'
        for name in dict.fromkeys(relative_files(role.layout, (merged.base, *merged.items)))
    )
    if any(holds_secret(role.layout, layer) for layer in merged.items):
        _warn(["the file contains a password; make it private (chmod 600)"])
    text = write(role.layout, merged.base, merged.items)
    try:
        lost = _lost(role.layout, merged, text)
    except SettingsError as error:
        raise SettingsError("cannot be written as a file", None, str(error)) from None
    _warn(f"{name} cannot be written as it was given; check it in the file" for name in lost)
    return text


def _lost(layout: FileLayout, merged: Merged, text: str) -> list[str]:
    """The names of settings that the text does not have as they were given."""
    reading = read_text("the new file", text, layout)
    found = [overlay(reading.base, item.layer) for item in reading.items] or [reading.base]
    kinds = {leaf.option.field: leaf.kind for _, leaf in layout.items.leaves()}
    lost: list[str] = []
    for before, after in zip(merged.items, found, strict=True):
        for field, option_value in before.items():
            value = option_value.value
            # a value that is shown as nothing is the default
            missing = field not in after and field in kinds and kinds[field].show(value)
            if missing or (field in after and after[field].value != value):
                lost.append(field)
    return list(dict.fromkeys(lost))


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
