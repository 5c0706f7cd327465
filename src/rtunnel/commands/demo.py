"""``rtunnel demo``: plays the whole scenario of :mod:`rtunnel.demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.demo.processes import Interrupts, ProcessError, Processes
from rtunnel.demo.scenario import Scenario
from rtunnel.demo.screen import LiveScreen, PlainScreen
from rtunnel.demo.shares import Results

__all__ = ["main", "make_parser"]

REQUESTS = 300
MIN_REQUESTS, MAX_REQUESTS = 20, 100_000

_DESCRIPTION = """\
Plays the whole scenario on loopback: a pod service, a server and a sidecar client are started; then a laptop joins
with weight 1 (half of the requests), then with 255 (all of them), then it is killed (all go back to the pod).
Real processes, real requests, no cluster.
"""

_EPILOG = """\
examples:
  rtunnel demo                           watch it live; takes about ten seconds
  rtunnel demo --plain --requests 100    plain lines, for a log or a CI job

Needs no cluster, no root and only free ports of 127.0.0.1. The exit status is 0 when every share is as expected
and no request failed, else 1.
"""


def main(argv: Sequence[str]) -> int:
    """Play the scenario once; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    if sys.platform == "win32":
        raise CommandError("the demo needs Linux or macOS; Windows has clients and visitors")
    console = Console()
    live = console.is_terminal and not console.is_dumb_terminal and not arguments.plain
    screen = LiveScreen(console) if live else PlainScreen(console)
    try:
        complaints = _play(screen, arguments.requests).complaints
    except KeyboardInterrupt as interrupt:
        raise CommandError(f"stopped by {interrupt}; everything that it started has ended") from None
    except (ProcessError, OSError) as error:
        raise CommandError(str(error)) from None
    if complaints:
        raise CommandError("\n".join(complaints))
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("demo", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live table (default without a terminal)")
    parser.add_argument(
        "--requests",
        type=_requests,
        default=REQUESTS,
        metavar="N",
        help=f"requests in each phase, {MIN_REQUESTS} to {MAX_REQUESTS} (default: {REQUESTS})",
    )
    return parser


def _requests(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and MIN_REQUESTS <= int(text) <= MAX_REQUESTS:
        return int(text)
    raise argparse.ArgumentTypeError(f'"{text}" must be a whole number from {MIN_REQUESTS} to {MAX_REQUESTS}')


def _play(screen: LiveScreen | PlainScreen, requests: int) -> Results:
    """Play the scenario; everything that was started has ended when this returns or raises."""
    with (
        Interrupts() as interrupts,
        TemporaryDirectory(prefix="rtunnel-demo-") as folder,
        Processes(Path(folder), interrupts) as processes,
        screen,
    ):
        results = Scenario(processes, screen, requests).run()
        screen.summary(results)
    return results
