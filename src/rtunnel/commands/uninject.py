"""``rtunnel uninject``: manifests as they were before ``rtunnel inject``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.commands.inject import read_manifests, show
from rtunnel.inject.injection import InjectError, uninject

__all__ = ["main", "make_parser"]

_EPILOG = """\
The sidecar and all that came with it are taken out, and Ingresses and HTTPRoutes lead to their own Services again.
All other lines stay as they are. What was done is told on stderr; the exit status is 0, or 1 when nothing here was
injected.

example:
  kubectl get deploy,ing -n shop -o yaml | rtunnel uninject - | kubectl apply -f -
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        return show(uninject(read_manifests(arguments.file)), apply=arguments.apply)
    except InjectError as error:
        print(f"rtunnel uninject: {error}", file=sys.stderr)
        return ExitStatus.FAILED


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("uninject", description='Undoes what "rtunnel inject" has done.', epilog=_EPILOG)
    parser.add_argument("file", metavar="FILE", help='manifests, YAML or JSON; "-" for stdin')
    parser.add_argument("--apply", action="store_true", help='give the result to "kubectl apply" instead of writing it')
    return parser
