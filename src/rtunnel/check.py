"""``rtunnel check``: says what is wrong with a configuration file, or what it would do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from twisted.internet.task import Clock

from rtunnel.arguments import Parser
from rtunnel.cli import Asked, ask_client, ask_server, ask_visitor
from rtunnel.config.reading import which
from rtunnel.config.shape import CONFIG, SHAPES, Shape
from rtunnel.config.summary import summary
from rtunnel.ops.start import StartError
from rtunnel.options.table import find
from rtunnel.settings import ClientSettings, ServerSettings, SettingsError

__all__ = ["main"]

_EPILOG = """\
The file is read as "rtunnel server -c FILE" or "rtunnel client -c FILE" would read it here and now, with the RTUNNEL_
variables of the environment and the files that it names; nothing listens and nothing is connected.

The exit status is 0 when it is good, else 1. Each line says what is wrong in which line of the file, and the mend.

examples:
  rtunnel check server.yaml
  rtunnel check --as client laptop.yaml && systemctl reload rtunnel-client@laptop
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(prog="rtunnel check", description="Reads a configuration file and says what it does.", epilog=_EPILOG)
    commands = [shape.command for shape in SHAPES]
    parser.add_argument("--as", dest="command", choices=commands, help="whose file it is (default: told by its keys)")
    parser.add_argument("file", metavar="FILE", help="the configuration file")
    arguments = parser.parse_args(argv)
    try:
        shape = SHAPES[commands.index(arguments.command)] if arguments.command else which(arguments.file)
        asked = _ask(shape, arguments.file)
        _read_files(asked.settings)
    except (SettingsError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    for warning in asked.warnings:
        print(f"{arguments.file}: warning: {warning}", file=sys.stderr)
    print(f"{arguments.file}: good: {summary(asked.settings)}")
    return 0


def _ask(shape: Shape, file: str) -> Asked[ServerSettings] | Asked[ClientSettings]:
    typed = [(find(shape.rows, CONFIG), "FILE", file)]
    if shape.command == "server":
        return ask_server(typed, os.environ)
    return (ask_visitor if shape.command == "visitor" else ask_client)(typed, os.environ)


def _read_files(settings: ServerSettings | ClientSettings) -> None:
    """Read what is read at the start only: certificates, rules, users, owners.

    :raises StartError: something is wrong in one of them.
    """
    # late, and only here: what a server and a client are made of
    clock = Clock()
    if isinstance(settings, ServerSettings):
        from rtunnel.server.place import listening_place
        from rtunnel.server.plan import placed
        from rtunnel.server.routes import Routes
        from rtunnel.server.site import rights_of

        for listener in placed(settings):
            rights_of(listener)
            Routes(listener.settings.rules, listener.settings.routes_file, reactor=clock)
            listening_place(listener.settings, clock)
        return
    from rtunnel.client.way import Way

    for attachment in (*settings.connectors, *settings.visitors):
        Way(attachment, clock).check()
