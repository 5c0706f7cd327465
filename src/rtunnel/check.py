"""``rtunnel check``: says what is wrong with a configuration file, or what it would do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from twisted.internet.task import Clock

from rtunnel.arguments import Parser
from rtunnel.cli import Resolved, load_client, load_server, load_visitor
from rtunnel.config.layout import CONFIG, LAYOUTS, FileLayout
from rtunnel.config.reading import which
from rtunnel.config.summary import summary
from rtunnel.ops.start import StartError
from rtunnel.options.table import find
from rtunnel.settings import ClientSettings, ServerSettings, SettingsError

__all__ = ["main"]

_EPILOG = """\
The file is read as "rtunnel server -c FILE" or "rtunnel client -c FILE" would read it here and now, with the RTUNNEL_
variables of the environment and the files that it names; nothing listens and nothing is connected.

The exit status is 0 when it is good, else 1. Each line says what is wrong in which line of the file, and the hint.

examples:
  rtunnel check server.yaml
  rtunnel check --as client laptop.yaml && systemctl reload rtunnel-client@laptop
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(prog="rtunnel check", description="Reads a configuration file and says what it does.", epilog=_EPILOG)
    commands = [layout.command for layout in LAYOUTS]
    parser.add_argument("--as", dest="command", choices=commands, help="whose file it is (default: told by its keys)")
    parser.add_argument("file", metavar="FILE", help="the configuration file")
    arguments = parser.parse_args(argv)
    try:
        layout = LAYOUTS[commands.index(arguments.command)] if arguments.command else which(arguments.file)
        asked = _ask(layout, arguments.file)
        _read_files(asked.settings)
    except (SettingsError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    for warning in asked.warnings:
        print(f"{arguments.file}: warning: {warning}", file=sys.stderr)
    print(f"{arguments.file}: good: {summary(asked.settings)}")
    return 0


def _ask(layout: FileLayout, file: str) -> Resolved[ServerSettings] | Resolved[ClientSettings]:
    typed = [(find(layout.rows, CONFIG), "FILE", file)]
    if layout.command == "server":
        return load_server(typed, os.environ)
    return (load_visitor if layout.command == "visitor" else load_client)(typed, os.environ)


def _read_files(settings: ServerSettings | ClientSettings) -> None:
    """Read what is read at the start only: certificates, rules, users, permissions.

    :raises StartError: something is wrong in one of them.
    """
    # late, and only here: what a server and a client are made of
    clock = Clock()
    if isinstance(settings, ServerSettings):
        from rtunnel.server.listen_endpoint import listen_endpoint
        from rtunnel.server.listener_group import rights_of
        from rtunnel.server.plan import planned_listeners
        from rtunnel.server.routes import Routes

        for listener in planned_listeners(settings):
            rights_of(listener)
            Routes(listener.settings.rules, listener.settings.routes_file, reactor=clock)
            listen_endpoint(listener.settings, clock)
        return
    from rtunnel.client.server_dialer import ServerDialer

    for attachment in (*settings.connectors, *settings.visitors):
        ServerDialer(attachment, clock).check()
