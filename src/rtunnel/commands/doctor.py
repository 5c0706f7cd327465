"""``rtunnel doctor``: what this machine allows, and how far it comes with a server."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.threads import deferToThreadPool

from rtunnel.asking.arguments import ServerParser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.doctor.findings import Finding, State, failed, worst
from rtunnel.settings import ServerConnectionSettings
from rtunnel.settings.checks import plain

__all__ = ["main", "make_parser"]

VERSION = 1
"""Of the document of ``--json``."""
_EXAMPLES = """\
  rtunnel doctor                          this machine alone
  rtunnel doctor shop                     with the server of the profile shop, and the rights of its user
  rtunnel doctor --config client.yaml --json
"""
_STATUS = """\
The exit status is 0 when everything works, 2 when something works with limits, which the lines name, and 1 when something does
not work, or an argument is wrong."""
_EXIT = {State.OK: ExitStatus.OK, State.LIMITED: ExitStatus.NOT_READY, State.FAILED: ExitStatus.FAILED}
_NAMING_A_SERVER = ("RTUNNEL_SERVER", "RTUNNEL_PROFILE", "RTUNNEL_CONFIG", "RTUNNEL_F")


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Look at everything and print what was found; returns the exit status."""
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.doctor.machine import look_at_machine, namespaces

    parser = make_parser()
    given = parser.parse_intermixed_args(argv)
    findings = [*look_at_machine(os.environ), await namespaces(reactor)]
    if given.host or given.raw or any(os.environ.get(variable) for variable in _NAMING_A_SERVER):
        try:
            arguments, settings = parser.parse(argv, os.environ)
        except CommandError as error:
            findings.append(failed("settings", str(error)))
        else:
            findings += await _look_at_server(settings, arguments.host or "", reactor)
    _print(findings, given)
    return _EXIT[worst(findings)]


def make_parser() -> ServerParser:
    """Its arguments."""
    parser = ServerParser(
        "doctor",
        description="Says what this machine allows, and how far it comes with a server: name, connection, TLS, user, rights.",
        examples=_EXAMPLES,
        status=_STATUS,
    )
    parser.add_argument("host", nargs="?", metavar="HOST", help="the host whose server is looked at, or a profile")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON; docs/profiles.md describes it")
    return parser


async def _look_at_server(settings: ServerConnectionSettings, host: str, reactor: Any) -> list[Finding]:
    from rtunnel.doctor.server import look_at_server, look_at_way

    way: list[Finding] = await deferToThreadPool(reactor, reactor.getThreadPool(), lambda: list(look_at_way(settings)))
    return [*way, *await look_at_server(settings, host, reactor)]


def _print(findings: Sequence[Finding], arguments: argparse.Namespace) -> None:
    if arguments.json:
        found: list[Mapping[str, str]] = [
            {"name": one.name, "state": one.state, "text": one.text, "hint": one.hint} for one in findings
        ]
        print(json.dumps({"doctor_version": VERSION, "state": worst(findings), "findings": found}, indent=2))
        return
    for one in findings:
        state = one.state if one.state is State.OK else one.state.upper()
        print(f"{one.name:<22}{state:<9}{plain(one.text, None)}")
        if one.hint:
            print(f"{'':<31}{plain(one.hint, None)}")
