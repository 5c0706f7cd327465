"""``rtunnel convert``: URLs and options, or a file of gost, as a configuration file of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import attrs

from rtunnel.arguments import Parser
from rtunnel.cli import (
    Merged,
    RawOption,
    Resolved,
    merge_client,
    merge_server,
    merge_visitor,
    validate_client,
    validate_server,
    validate_visitor,
)
from rtunnel.config.gost import is_gost, read_gost
from rtunnel.config.layout import CLIENT_SHAPE, SERVER_SHAPE, VISITOR_SHAPE, FileLayout
from rtunnel.config.reading import read_text
from rtunnel.config.writing import holds_secret, relative_files, write
from rtunnel.options.layers import Layer, overlay
from rtunnel.settings import ClientSettings, ServerSettings, SettingsError
from rtunnel.tap import ClientOptions, ServerOptions, VisitorOptions

__all__ = ["main"]

_EPILOG = """\
The file is printed; what has no equal in it is said on stderr. The exit status is 0, or 1 when nothing can be made of it.

examples:
  rtunnel convert server -L "tunnel+ws://:8421?entrypoint=:80&tunnel=nginx.local:UUID&path=/proxy" > server.yaml
  rtunnel convert client -L rtcp://:0/:80 -F "tunnel+ws://192.168.1.1:80?tunnel.id=UUID&path=/proxy" > client.yaml
  rtunnel convert gost.yml > server.yaml
  rtunnel convert --as client gost.yml > client.yaml
"""


@attrs.frozen
class _Command:
    """How the words of a command become settings.

    :ivar options: parses them.
    :ivar compose: lays them together.
    :ivar settle: checks them.
    """

    layout: FileLayout
    options: type[ServerOptions] | type[ClientOptions] | type[VisitorOptions]
    compose: Callable[[Iterable[RawOption], Mapping[str, str]], Merged]
    settle: Callable[[Merged], Resolved[ServerSettings] | Resolved[ClientSettings]]


_COMMANDS = {
    "server": _Command(SERVER_SHAPE, ServerOptions, merge_server, validate_server),
    "client": _Command(CLIENT_SHAPE, ClientOptions, merge_client, partial(validate_client, environ={})),
    "visitor": _Command(VISITOR_SHAPE, VisitorOptions, merge_visitor, partial(validate_visitor, environ={})),
}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    if argv and argv[0] in _COMMANDS:
        command = _COMMANDS[argv[0]]
        return _print(command, lambda: command.compose(_typed(command, argv[1:]), {}))
    parser = Parser(
        prog="rtunnel convert",
        usage="rtunnel convert server|client|visitor OPTIONS\n       rtunnel convert [--as server|client|visitor] FILE",
        description="Makes a configuration file of the options and URLs of a command, or of a file of gost.",
        epilog=_EPILOG,
    )
    parser.add_argument("--as", dest="command", choices=_COMMANDS, help="the part of a gost file to convert, where it has both")
    parser.add_argument("file", metavar="FILE", help="a configuration file of gost v3, in YAML or JSON")
    arguments = parser.parse_args(argv)
    try:
        command, merged = _of_gost(arguments.file, arguments.command)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return _print(command, lambda: merged)


def _typed(command: _Command, words: Sequence[str]) -> list[RawOption]:
    """The options of a command line, and nothing of the environment."""
    options = command.options()
    options.postOptions = lambda: None  # type: ignore[method-assign]
    options.parseOptions(list(words))
    return options.typed


def _of_gost(file: str, wanted: str | None) -> tuple[_Command, Merged]:
    if not is_gost(file):
        raise SettingsError(file, None, "is no file of gost: it has no services:")
    found = read_gost(file)
    parts: dict[str, tuple[Layer, ...]] = {"server": found.listeners, "client": found.connectors, "visitor": found.visitors}
    there = [name for name, layers in parts.items() if layers]
    if wanted is None and len(there) > 1:
        raise SettingsError(file, None, f"has services for {' and '.join(there)}; choose with --as {' or --as '.join(there)}")
    name = wanted or (there[0] if there else "")
    if name not in there:
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        raise SettingsError(file, None, f"has no service of a tunnel{f' {name}' if name else ''}")
    command = _COMMANDS[name]
    place = "target" if name == "client" else "listen"
    places = tuple(f"{layer[place if place in layer else 'entrypoints'].key}: " for layer in parts[name])
    return command, Merged(command.layout, None, {}, parts[name], found.warnings, places)


def _print(command: _Command, compose: Callable[[], Merged]) -> int:
    try:
        merged = compose()
        command.settle(merged)
        if command.layout is CLIENT_SHAPE and any("listen" in layer for layer in merged.items):
            raise SettingsError("-L", None, "opens a port of a visitor, which has a file of its own: rtunnel convert visitor ...")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    for warning in merged.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for name in dict.fromkeys(relative_files(command.layout, (merged.base, *merged.items))):
        print(
            f'warning: "{name}" counts from the folder of the file now; put the file there, or write the whole path',
            file=sys.stderr,
        )
    if any(holds_secret(command.layout, layer) for layer in merged.items):
        print("warning: the file holds a password; keep it to yourself (chmod 600)", file=sys.stderr)
    text = write(command.layout, merged.base, merged.items)
    try:
        lost_settings = _lost(command.layout, merged, text)
    except SettingsError as error:
        print(f"what was said cannot be written into a file: {error}", file=sys.stderr)
        return 1
    for lost in lost_settings:
        print(f"warning: {lost} cannot be written as it is; look at it in the file", file=sys.stderr)
    print(f"# rtunnel {command.layout.command} -c FILE; docs/configuration.md explains it")
    print(text, end="")
    return 0


def _lost(layout: FileLayout, merged: Merged, text: str) -> list[str]:
    """What the text does not say as it was said: names of settings."""
    reading = read_text("the new file", text, layout)
    found = [overlay(reading.base, item.layer) for item in reading.items] or [reading.base]
    kinds = {leaf.option.field: leaf.kind for _, leaf in layout.items.leaves()}
    lost: list[str] = []
    for before, after in zip(merged.items, found, strict=True):
        for field, given in before.items():
            # what is shown as nothing is the default
            unsaid = field not in after and field in kinds and kinds[field].show(given.value)
            if unsaid or (field in after and after[field].value != given.value):
                lost.append(field)
    return list(dict.fromkeys(lost))
