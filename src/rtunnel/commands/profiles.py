"""``rtunnel profiles``: lists the profiles of this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.profiles.profile import Profile, load_profile
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings import SettingsError
from rtunnel.settings.checks import plain

__all__ = ["main", "make_parser"]

_EPILOG = """\
The exit status is 0, or 1 when one of them cannot be used.

examples:
  rtunnel profiles
  rtunnel profiles --json | jq -r '.[].name'
"""
WIDTH = 160
"""Columns of the list where no terminal says how many it has."""


def main(argv: Sequence[str]) -> int:
    """List them; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    store = ProfileStore(os.environ)
    rows = []
    errors: list[SettingsError] = []
    for name in store.names():
        try:
            rows.append(_row(load_profile(store, name, "profile")))
        except SettingsError as error:
            errors.append(error)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
    for wrong in errors:
        print(f"rtunnel profiles: {wrong}", file=sys.stderr)
    return ExitStatus.FAILED if errors else ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("profiles", description="Lists the profiles of this machine, without passwords.", epilog=_EPILOG)
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    return parser


def _row(profile: Profile) -> dict[str, str]:
    credentials = profile.layer.get("credentials")
    user = credentials.value.user if credentials is not None else ""
    return {"name": profile.name, "host": profile.host, "server": profile.layer["server"].text or "", "user": user}


def _print_table(rows: list[dict[str, str]]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("name", "host", "server", "user"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(text)) for text in row.values()))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table if rows else "there are no profiles; rtunnel login makes one of an invitation")
