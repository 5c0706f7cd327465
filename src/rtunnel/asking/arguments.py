"""The arguments of commands that ask a server: the options of a client that say how the server is reached."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rtunnel.cli.arguments import Parser, add_options, argument
from rtunnel.cli.exit_status import CommandError
from rtunnel.options.local_ports import FORWARD
from rtunnel.options.table import CLIENT, find
from rtunnel.profiles.choosing import choose
from rtunnel.roles.client import server_connection
from rtunnel.settings import ServerConnectionSettings, SettingsError

__all__ = ["AskingParser", "ServerParser", "add_forwards"]

_NAMES = (
    "profile",
    "config",
    "server",
    "path",
    "host-header",
    "tls-server-name",
    "ca-file",
    "no-verify",
    "cert-file",
    "key-file",
    "proxy",
    "proxy-file",
    "tunnel",
    "auth-file",
    "connect-timeout",
    "handshake-timeout",
    "F",
)

_EPILOG = """\
How the server is reached is said as to "rtunnel client": by options, by its variables (RTUNNEL_SERVER, RTUNNEL_TUNNEL,
RTUNNEL_AUTH for user:password), by its configuration file, or by a profile (rtunnel login). The name of a profile in place of
HOST is its host, and the way to its server.
"""
_STATUS = "The exit status is 0 when it was done, else 1."


class ServerParser(Parser):
    """Parses the arguments of a command that connects to a server as a client does.

    :param examples: lines for the end of the help.
    :param own: options that mean something else to the command, and are not added.
    :param status: what its exit status means.
    """

    def __init__(
        self, command: str, *, description: str, examples: str, own: Collection[str] = (), status: str = _STATUS, **more: Any
    ) -> None:
        super().__init__(command, description=description, epilog=f"examples:\n{examples}\n{_EPILOG}{status}\n", **more)
        group = self.add_argument_group("the server")
        add_options(group, (find(CLIENT, name) for name in _NAMES if name not in own))

    def parse(self, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[argparse.Namespace, ServerConnectionSettings]:
        """The command's own arguments, and how the server is reached.

        Where the command has an argument ``host``, the name of a profile there is its host, and says how the server is reached.

        :raises CommandError: something is missing or invalid.
        :raises SystemExit: ``--help`` was given, or wrong arguments.
        """
        # words and options in any order, also where some words may be left out
        arguments = self.parse_intermixed_args(argv)
        try:
            host, options = choose(getattr(arguments, "host", None) or "", arguments.raw or (), environ)
            if "host" in arguments:
                arguments.host = host
            return arguments, server_connection(options, environ)
        except SettingsError as error:
            raise CommandError(str(error)) from None


class AskingParser(ServerParser):
    """Parses the arguments of a command that asks a server."""

    def __init__(self, command: str, *, description: str, examples: str) -> None:
        super().__init__(command, description=description, examples=examples)
        self.add_argument("--json", action="store_true", help="print what the server says, one object of JSON a line")


def add_forwards(parser: Parser) -> None:
    """Have a parser take the local ports that lead to destinations of the pod, as ``forward``."""
    parser.add_argument(
        "--forward",
        type=argument(FORWARD),
        action="append",
        default=[],
        metavar=FORWARD.metavar,
        help="local port that leads to one destination, e.g. 5432:postgres:5432; repeatable",
    )
