"""The command line of ``rtunnel status``, and how it ends."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping

from rich.console import Console

from rtunnel.arguments import Parser
from rtunnel.options.kinds import TARGET
from rtunnel.settings import Address
from rtunnel.status.ask import AskError, ask
from rtunnel.status.table import tables

__all__ = ["DEFAULT", "run"]

DEFAULT = "127.0.0.1:8480"
VARIABLE = "RTUNNEL_ADMIN"
NOT_READY = 2
"""The exit status when the process answers but does not do what it is there for."""
WIDE = 200
"""Columns where no terminal says how many it has."""

EPILOG = f"""\
examples:
  rtunnel server --admin {DEFAULT} ...      start a server (or a client, the same) that can be asked
  rtunnel status                               ask it
  rtunnel status --admin 127.0.0.1:8481        ask another one on this machine
  rtunnel status --json | jq '.connectors[] | {{peer, weight, round_trip}}'

The exit status is 0 when the process is ready, 2 when it answers but is not (a client that has not joined, a server that
stops), and 1 when nobody answers or an argument is wrong.
"""


def _address(text: str) -> Address:
    try:
        address: Address = TARGET.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}" {error}') from None
    return address


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="rtunnel status",
        description="Show what a running server or client does: where it listens, who is attached, what went wrong lately.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--admin",
        type=_address,
        default=environ.get(VARIABLE) or DEFAULT,
        metavar="[HOST]:PORT",
        help=f"the address that the process was given with --admin (default: ${VARIABLE}, else {DEFAULT})",
    )
    parser.add_argument("--json", action="store_true", help="the document as JSON, for scripts; docs/status.md describes it")
    return parser


def run(argv: list[str]) -> int:
    """Ask once, and print the answer.

    :param argv: the arguments after ``status``.
    :return: the exit status.
    :raises SystemExit: for ``--help`` (0) and for arguments that are wrong (1).
    """
    arguments = _parser(os.environ).parse_args(argv)
    try:
        document = ask(arguments.admin)
    except AskError as error:
        print(f"rtunnel status: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        _show(document)
    return 0 if document["process"]["state"] == "ready" else NOT_READY


def _show(document: dict[str, object]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    for number, part in enumerate(tables(document)):
        if number:
            console.print()
        console.print(part)
