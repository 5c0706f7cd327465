"""``rtunnel check``: checks a configuration file, and says in one line what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.config.layout import CONFIG
from rtunnel.config.reading import which
from rtunnel.config.summary import summary
from rtunnel.ops.start import StartError
from rtunnel.options.table import find
from rtunnel.roles import DEV_ROLE, ROLES, Role
from rtunnel.roles.exposure import exposures
from rtunnel.settings import ClientSettings, DevSettings, ServerSettings, SettingsError

__all__ = ["main", "make_parser"]

_EPILOG = """\
The file is read as "rtunnel server -c FILE" or "rtunnel client -c FILE" would read it here and now, with the RTUNNEL_
variables of the environment and the files that it names. Nothing listens and nothing is connected.

Each error is one line: the line of the file, the key, what is wrong, and what to write instead.
The exit status is 0 when the file is valid, else 1.

examples:
  rtunnel check server.yaml
  rtunnel check --as client laptop.yaml && systemctl reload rtunnel-client@laptop
"""
_ROLES: dict[str, Role[Any]] = {role.name: role for role in (*ROLES, DEV_ROLE)}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        role = _ROLES[arguments.role or which(arguments.file).role]
        resolved = role.load([(find(role.rows, CONFIG), "FILE", arguments.file)], os.environ)
        settings = resolved.settings
        process = settings.client if isinstance(settings, DevSettings) else settings
        _check_files(process)
    except (SettingsError, StartError) as error:
        # without our name before them, so that editors find file and line
        print(error, file=sys.stderr)
        return ExitStatus.FAILED
    for warning in (*resolved.warnings, *exposures(process)):
        print(f"{arguments.file}: warning: {warning}", file=sys.stderr)
    print(f"{arguments.file}: valid: {summary(settings)}")
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("check", description="Checks a configuration file and summarizes it.", epilog=_EPILOG)
    parser.add_argument("--as", dest="role", choices=_ROLES, help="the command that the file is for (default: told by its keys)")
    parser.add_argument("file", metavar="FILE", help="the configuration file")
    return parser


def _check_files(settings: ServerSettings | ClientSettings) -> None:
    """Read the files that are else read at the start: certificates, rules, users, permissions.

    :raises StartError: one of them cannot be read, or is invalid.
    """
    # late: what servers and clients are made of
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

    for connection in (*settings.connectors, *settings.visitors):
        ServerDialer(connection, clock).check()
