"""The command line of ``rtunnel dev``, with the file of a project."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from rtunnel.cli.arguments import Parser, add_options, divided
from rtunnel.cli.exit_status import CommandError
from rtunnel.config.layout import CONFIG
from rtunnel.options.dev import DEV, DEV_OWN
from rtunnel.options.layers import RawOption
from rtunnel.options.table import find
from rtunnel.roles import DEV_ROLE, Resolved
from rtunnel.roles.dev import COMMAND, HOST
from rtunnel.settings import DevSettings, SettingsError

__all__ = ["FILE", "make_parser", "parse"]

FILE: Final = "rtunnel.dev.yaml"
"""Read from the working directory, unless another file is named."""

_DESCRIPTION = """\
Has requests of a host come to this machine, and runs a command with what the host's pod has: its environment, its files,
and its services under their names. Joins the tunnel and leaves it with the command. Without a command it shows what goes
on until Ctrl-C.
"""

_EPILOG = """\
Which requests: those of a session of your own, unless --intercept, --session or --weight say something else. Everything
can be in a file, rtunnel.dev.yaml (docs/dev.md); what is typed overrides it.

Ctrl-C ends the command, twice kills it. The exit status is that of the command: 128 and the number of the signal that
ended it; 127 if there is no such command, 1 if the server is not to be reached, 75 when a lease has ended and there is no
command.

examples:
  rtunnel dev shop --target :3000 -- npm run dev           with a profile (rtunnel login)
  rtunnel dev shop.example.org --server wss://shop.example.org/proxy --tunnel UUID --target :3000 -- ./app
  rtunnel dev                                              all of it from rtunnel.dev.yaml
"""
_DAILY: Final = ("config", "profile", "target", "intercept", "session", "weight", "reason", "lease", "no-wait", "output")
_NO_FLAGS: Final = ("host", "run")


def make_parser() -> Parser:
    """Its arguments."""
    usage = "rtunnel dev [HOST] [options] [-- COMMAND [ARGUMENT ...]]"
    parser = Parser("dev", description=_DESCRIPTION, epilog=_EPILOG, usage=usage)
    parser.add_argument("host", nargs="?", metavar=HOST, help=find(DEV, "host").help)
    parser.set_defaults(raw=[])
    shown = [option for option in DEV if not option.secret and option.name not in _NO_FLAGS]
    daily = [find(DEV, name) for name in _DAILY]
    own = [option for option in shown if option in DEV_OWN and option not in daily]
    rest = [option for option in shown if option not in daily and option not in own]
    for title, options in (("every day", daily), ("what the command gets", own), ("the server, and the requests", rest)):
        add_options(parser.add_argument_group(title), options)
    return parser


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Resolved[DevSettings]:
    """The settings for a command line, with the file and the environment.

    :raises CommandError: something is missing or invalid, one line each.
    :raises SystemExit: ``--help`` was given, or wrong arguments.
    """
    own, command = divided(argv)
    arguments = make_parser().parse_intermixed_args(own)
    options: list[RawOption] = list(arguments.raw)
    if arguments.host:
        options.append((find(DEV, "host"), HOST, arguments.host))
    options += [(find(DEV, "run"), COMMAND, word) for word in command]
    if not any(option.name == CONFIG for option, _, _ in options) and os.path.exists(FILE):
        options.append((find(DEV, CONFIG), FILE, FILE))
    try:
        return DEV_ROLE.load(options, environ)
    except SettingsError as error:
        raise CommandError(str(error)) from None
