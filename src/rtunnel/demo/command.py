"""The command line of the demo, and how it ends."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from rtunnel.arguments import Parser
from rtunnel.demo.processes import Interrupts, ProcessError, Processes
from rtunnel.demo.scenario import Scenario
from rtunnel.demo.screen import LiveScreen, PlainScreen
from rtunnel.demo.shares import Results

__all__ = ["run"]

REQUESTS = 300
FEWEST, MOST = 20, 100_000

EPILOG = """\
examples:
  rtunnel demo                           watch it live; takes about ten seconds
  rtunnel demo --plain --requests 100    plain lines, for a log or a CI job

Needs no cluster, no root, and no port but free ones of 127.0.0.1. The exit status is 0 when every share is as expected
and no request failed, else 1.
"""


def _requests(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and FEWEST <= int(text) <= MOST:
        return int(text)
    raise argparse.ArgumentTypeError(f'"{text}" must be a whole number from {FEWEST} to {MOST}')


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rtunnel demo",
        description="The whole scenario on loopback in one go: a pod service, a server and a sidecar client;\n"
        "then a laptop joins with weight 1 (half of the requests), then with 255 (all of them),\n"
        "then it is killed (all back to the pod). Real processes, real requests, no cluster.",
        epilog=EPILOG,
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, no live table (default without a terminal)")
    parser.add_argument(
        "--requests",
        type=_requests,
        default=REQUESTS,
        metavar="N",
        help=f"requests in each phase, {FEWEST} to {MOST} (default: {REQUESTS})",
    )
    return parser


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


def run(argv: list[str]) -> int:
    """Run the scenario once and say what came of it.

    :param argv: the arguments after ``demo``.
    :return: the exit status.
    :raises SystemExit: for ``--help`` (0) and for arguments that are wrong (1).
    """
    arguments = _parser().parse_args(argv)
    console = Console()
    live = console.is_terminal and not console.is_dumb_terminal and not arguments.plain
    screen = LiveScreen(console) if live else PlainScreen(console)
    try:
        complaints = _play(screen, arguments.requests).complaints
    except KeyboardInterrupt as interrupt:
        complaints = [f"stopped by {interrupt}; all that it had started has ended"]
    except (ProcessError, OSError) as error:
        complaints = [str(error)]
    for line in complaints:
        print(f"rtunnel demo: {line}", file=sys.stderr)
    return 1 if complaints else 0
