"""``rtunnel logout``: removes a profile."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings import SettingsError

__all__ = ["main", "make_parser"]

_EPILOG = """\
The user stays known to the server: "rtunnel invite HOST --user NAME --withdraw" there takes the invitation back.

example:
  rtunnel logout shop
"""


def main(argv: Sequence[str]) -> int:
    """Remove it; returns the exit status."""
    name: str = make_parser().parse_args(argv).name
    store = ProfileStore(os.environ)
    if name not in store:
        known = ", ".join(store.names()) or "none"
        raise CommandError(f"there is no profile of that name; the profiles are: {known}")
    try:
        store.remove(name)
    except SettingsError as error:
        raise CommandError(str(error)) from None
    print(f"removed the profile {name}")
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("logout", description="Removes a profile from this machine.", epilog=_EPILOG)
    parser.add_argument("name", metavar="PROFILE", help="the name of the profile")
    return parser
