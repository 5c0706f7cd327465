"""``rtunnel pod-env``: writes its own environment down, for the client in the same pod."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.podenv.private_file import write_private
from rtunnel.podenv.rules import Patterns, is_private, patterns_of
from rtunnel.podenv.variables import UNKNOWN, Variable, write_document

__all__ = ["main", "make_parser"]

_EPILOG = """\
It is the command of an init container that has the env and envFrom of the application, so that Kubernetes works out the values;
the file is in a volume of memory that the client in the pod reads (--env-source).

examples:
  rtunnel pod-env --output /rtunnel/env.json --from 'secret/db=DB_PASSWORD,DB_USER' --from 'value=*'
  rtunnel client ... --env-source /rtunnel/env.json --env-allow-secret DB_USER

Variables whose source is not named count as those of a Secret. Those that belong to the container itself (PATH, HOME ...) and to
Kubernetes are left out.
"""
_SOURCE = re.compile(r"value|(?:configmap|secret)/[A-Za-z0-9.-]{1,253}", re.ASCII)

Sources = list[tuple[str, Patterns]]


def main(argv: Sequence[str]) -> int:
    """Write the file; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        write_private(arguments.output, write_document(collect(os.environ, arguments.sources)))
    except OSError as error:
        raise CommandError(f"{arguments.output}: cannot be written: {error.strerror or error}") from None
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("pod-env", description="Writes the environment of this container to a file.", epilog=_EPILOG)
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write, readable by its user only")
    parser.add_argument(
        "--from",
        dest="sources",
        type=_source,
        action="append",
        default=[],
        metavar="SOURCE=NAME[,...]",
        help="where variables come from: value, configmap/NAME or secret/NAME; * is any text; repeatable, the first one counts",
    )
    return parser


def collect(environ: Mapping[str, str], sources: Sources) -> list[Variable]:
    """The variables of an environment with their sources."""
    variables = [Variable(name, value, _source_of(name, sources)) for name, value in environ.items()]
    named = {pattern.pieces[0] for _, patterns in sources for pattern in patterns if len(pattern.pieces) == 1}
    return [variable for variable in variables if variable.name in named or not is_private(variable)]


def _source_of(name: str, sources: Sources) -> str:
    return next((source for source, patterns in sources if any(pattern.matches(name) for pattern in patterns)), UNKNOWN)


def _source(text: str) -> tuple[str, Patterns]:
    """A source with its names; for argparse."""
    source, equals, names = text.partition("=")
    patterns = patterns_of(names)
    if not equals or not patterns or not _SOURCE.fullmatch(source):
        raise argparse.ArgumentTypeError(f'"{text}" is no source with names; write value=*, configmap/NAME=A,B or secret/NAME=DB_*')
    return source, patterns
