"""``rtunnel run``: a command on this machine with the environment, the files and the services of a host's pod."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from rtunnel.asking.arguments import ServerParser, add_forwards
from rtunnel.asking.variables import add_choice, choice_of
from rtunnel.cli.arguments import argument, divided
from rtunnel.cli.exit_status import CommandError
from rtunnel.isolation.tiers import Wish
from rtunnel.options.local_ports import LOOPBACK

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel run shop.example.org --config client.yaml -- npm start
  rtunnel run shop.example.org --config client.yaml -- psql -h postgres
  rtunnel run shop.example.org --config client.yaml --env-file .env --set LOG_LEVEL=debug -- ./app
  rtunnel run shop.example.org --config client.yaml --isolate none -- env
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Run the command; returns its exit status."""
    own, command = divided(argv)
    parser = make_parser()
    arguments, settings = parser.parse(own, os.environ)
    if not command:
        parser.error("no command; write it after --, as in: rtunnel run HOST -- npm start")
    if sys.platform == "win32":
        raise CommandError("a command can be run on Linux and macOS only; on Windows use rtunnel env and rtunnel reach")
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.running.session import RunPlan, RunSession

    plan = RunPlan(
        choice=choice_of(arguments),
        files=arguments.files,
        cover=tuple(arguments.cover),
        isolate=Wish(arguments.isolate),
        proxy=arguments.proxy,
        forwards=tuple(arguments.forward),
        publish=tuple(arguments.publish),
        restart_on_change=arguments.restart_on_change,
    )
    session = RunSession(settings, arguments.host, plan, reactor)
    try:
        await session.start()
        return await session.run(command)
    finally:
        await session.stop()


def make_parser() -> ServerParser:
    """Its arguments, but for the command."""
    parser = ServerParser(
        "run",
        description="Runs a command on this machine with what the pod of a host has, as far as the client there gives it out: its "
        "environment,\nits files at their paths, and its services under their names.",
        examples=_EXAMPLES,
        own=("proxy",),
        status="The exit status is that of the command: 128 and the number of the signal that ended it; 127 if there is no such\n"
        "command, 1 if the pod is not to be reached.",
        usage="rtunnel run HOST [options] -- COMMAND [ARGUMENT ...]",
    )
    add = parser.add_argument
    add("host", metavar="HOST", help="whose pod: one of the hosts of the server's rules")
    add_choice(parser)
    add(
        "--files",
        default="auto",
        metavar="auto|DIR|off",
        help="where the copy of the pod's files is: in a private folder, removed at the end; in a folder that stays; or nowhere",
    )
    add(
        "--cover",
        action="append",
        default=[],
        metavar="PATH",
        help="have the pod's files at this path for the command, although it is there on this machine; repeatable",
    )
    add("--restart-on-change", action="store_true", help="start the command again when files of the pod have changed")
    add(
        "--isolate",
        choices=[wish.value for wish in Wish],
        default="auto",
        help="names: a view of its own of names and files; net: a network of its own, too, for services at ports below 1024; none: "
        "ports of loopback, and variables that lead there (default: as far as needed and allowed)",
    )
    add_forwards(parser)
    add(
        "--proxy",
        type=argument(LOOPBACK),
        metavar=LOOPBACK.metavar,
        help="local port of the proxy, for SOCKS5, SOCKS4a and HTTP, with the variables that lead programs there; a proxy on the "
        "way to the server is given with --proxy-file or RTUNNEL_PROXY",
    )
    add(
        "--publish",
        type=_port,
        action="append",
        default=[],
        metavar="PORT",
        help="port of the command that is open from the start where it has a network of its own; others open when it listens",
    )
    return parser


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f'"{text}" is no port from 1 to 65535')
