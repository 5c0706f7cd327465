"""``rtunnel status``: what a running process says about itself, as tables or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from rtunnel.cli import admin
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.status.document import get_status
from rtunnel.status.tables import tables

__all__ = ["main"]

WIDTH = 200
"""Columns where no terminal says how many it has."""

_EPILOG = f"""\
examples:
  rtunnel server --admin {admin.DEFAULT_ADDRESS} ...      start a server (or a client, the same) that can be asked
  rtunnel status                               ask it
  rtunnel status --admin 127.0.0.1:8481        ask another one on this machine
  rtunnel status --json | jq '.connectors[] | {{peer, weight, round_trip}}'

The exit status is 0 when the process is ready, 2 when it is not (a client that has not joined its tunnels, a process that
is stopping), and 1 when there is no answer or an argument is wrong.
"""


def main(argv: Sequence[str]) -> int:
    """Ask once and print the answer; returns the exit status."""
    description = "Shows what a running server or client is doing: addresses, connections, the latest errors."
    parser = Parser("status", description=description, epilog=_EPILOG)
    admin.add_argument(parser, os.environ)
    parser.add_argument("--json", action="store_true", help="print the document as JSON; docs/status.md describes it")
    arguments = parser.parse_args(argv)
    document = get_status(arguments.admin)
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        _print_tables(document)
    return ExitStatus.OK if document["process"]["state"] == "ready" else ExitStatus.NOT_READY


def _print_tables(document: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for number, table in enumerate(tables(document)):
        if number:
            console.print()
        console.print(table)
