"""``rtunnel status``: what a running process says about itself, as tables or as JSON, once or again and again."""

from __future__ import annotations

import json
import os
from argparse import ArgumentTypeError
from collections.abc import Sequence
from time import sleep
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rtunnel.cli import admin
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.commands import probe
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings.checks import plain
from rtunnel.status.document import get_status
from rtunnel.status.lines import changed_lines
from rtunnel.status.tables import tables

__all__ = ["main", "make_parser"]

WIDTH = 200
"""Columns where no terminal says how many it has."""
CHECK = "--check"
"""What asks a host instead of a process."""
INTERVAL = 1.0
"""Seconds between two questions of ``--watch``."""

_EPILOG = """\
examples:
  rtunnel status                               the only rtunnel that runs here; of several it lists which there are
  rtunnel status client                        the client, beside a server
  rtunnel status 4711                          the one with this process ID
  rtunnel status --watch                       again each second, until Ctrl-C
  rtunnel status --admin 127.0.0.1:8481        at the --admin address of a process: of another user, or elsewhere
  rtunnel status shop.example.org --check      a host, hop by hop, as rtunnel probe https://shop.example.org/ does
  rtunnel status --json | jq '.connectors[] | {peer, weight, round_trip}'

The exit status is 0 when the process is ready, 2 when it is not (a client that has not joined its tunnels, a process
that is stopping), and 1 when there is no answer or an argument is wrong. Ctrl-C ends --watch with 0.
"""


def main(argv: Sequence[str]) -> int:
    """Ask and print the answer; returns the exit status."""
    if CHECK in argv:
        return _check([word for word in argv if word != CHECK])
    arguments = make_parser().parse_args(argv)
    place = admin.choose(arguments.admin, os.environ, arguments.process)
    if arguments.watch:
        return _watch(place)
    document = get_status(place)
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        console = _console()
        console.print(_page(document))
    return ExitStatus.OK if document["process"]["state"] == "ready" else ExitStatus.NOT_READY


def make_parser() -> Parser:
    """Its arguments."""
    description = "Shows what a running server or client is doing: addresses, connections, the latest errors."
    parser = Parser("status", description=description, epilog=_EPILOG)
    which = "server, client, visitor or a process ID, if several run here"
    parser.add_argument("process", nargs="?", type=_process, metavar="PROCESS", help=which)
    admin.add_argument(parser, os.environ)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print the document as JSON; docs/status.md describes it")
    shown.add_argument("--watch", action="store_true", help="show it again and again; where no terminal is, a line for each change")
    parser.add_argument(CHECK, action="store_true", help="of a host: rtunnel status HOST --check is rtunnel probe https://HOST/")
    return parser


def _check(argv: Sequence[str]) -> int:
    """Send a request to a host, hop by hop."""
    host, *more = argv or [""]
    url = host if "://" in host or not host or host in ProfileStore(os.environ) else f"https://{host}/"
    return probe.main([url, *more])


def _process(text: str) -> str:
    if text not in ("server", "client", "visitor") and not text.isdecimal():
        raise ArgumentTypeError(f'"{plain(text)}" is none; write server, client, visitor or a process ID')
    return text


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _page(document: dict[str, Any]) -> Group:
    """All tables, with an empty line between them."""
    parts = [part for table in tables(document) for part in (Text(), table)]
    return Group(*parts[1:])


def _watch(place: admin.Place) -> int:
    console = _console()
    try:
        if console.is_terminal:
            _show_live(place, console)
        else:
            _print_changes(place)
    except KeyboardInterrupt:
        pass
    return ExitStatus.OK


def _show_live(place: admin.Place, console: Console) -> None:
    """Tables that are drawn anew; the last ones stay."""
    with Live(_page(get_status(place)), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            sleep(INTERVAL)
            live.update(_page(get_status(place)), refresh=True)


def _print_changes(place: admin.Place) -> None:
    """A line for each change."""
    before: dict[str, Any] | None = None
    while True:
        document = get_status(place)
        for line in changed_lines(before, document):
            print(line, flush=True)
        before = document
        sleep(INTERVAL)
