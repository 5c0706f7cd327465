"""``rtunnel env``: the environment of a host's pod, as a list, or as shells and tools read it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtunnel.asking.arguments import ServerParser
from rtunnel.asking.variables import add_choice, choice_of
from rtunnel.cli.arguments import argument
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.ops.start import StartError
from rtunnel.options.local_ports import FORWARD
from rtunnel.podenv.formats import FORMATS, UnfitError, write
from rtunnel.podenv.merging import Merged, merge
from rtunnel.podenv.private_file import write_private
from rtunnel.podenv.rewriting import LocalAddress, rewrite
from rtunnel.podenv.rules import Patterns, patterns_of
from rtunnel.podenv.variables import Variable
from rtunnel.settings import LocalForward
from rtunnel.wire.control import clean

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel env shop.example.org --config client.yaml                          names and sources; no values
  rtunnel env shop.example.org --config client.yaml --format sh -o pod.sh    for ". ./pod.sh", readable by its user only
  eval "$(rtunnel env shop.example.org --config client.yaml --format sh --show)"
  rtunnel env shop.example.org --config client.yaml --env-file .env --set LOG_LEVEL=debug --explain
"""
WIDTH = 160
"""Columns of the list where no terminal says how many it has."""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask, and print or write; returns the exit status."""
    arguments, settings = make_parser().parse(argv, os.environ)
    choice = choice_of(arguments)
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.client.pod.asking import PodAskFailed, ask_environment, over_link
    from rtunnel.client.pod.link import PodLinkClient

    wants_values = arguments.format is not None or arguments.explain
    try:
        link = PodLinkClient(settings, arguments.host, reactor=reactor)
        variables = await over_link(link, reactor, partial(ask_environment, values=wants_values))
    except (PodAskFailed, StartError) as error:
        raise CommandError(str(error)) from None
    merged = rewrite(merge(variables, choice, os.environ), map(_local_address, arguments.rewrite))
    if arguments.explain:
        print("\n".join(_explained(merged, arguments.explain)))
    elif arguments.format is None:
        _print_list(variables)
    else:
        _write(merged, arguments)
    return ExitStatus.OK


# -- arguments


def make_parser() -> ServerParser:
    """Its arguments."""
    parser = ServerParser(
        "env",
        description="Lists the environment of a host's pod, as far as the client there gives it out (--env-source), or writes it.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("host", metavar="HOST", help="whose pod: one of the hosts of the server's rules")
    add("--format", choices=FORMATS, help="write it so, with values; without, names and sources are listed")
    add("--output", "-o", metavar="FILE", help="write it to a file that only its user can read")
    add("--show", action="store_true", help="write values of Secrets, or of unknown sources, to stdout, too")
    add_choice(parser)
    add(
        "--rewrite",
        type=argument(FORWARD),
        action="append",
        default=[],
        metavar=FORWARD.metavar,
        help="replace an address in the values of the pod by the local one, as rtunnel reach --forward is told it; repeatable",
    )
    add(
        "--explain",
        nargs="?",
        const="*",
        metavar="NAME",
        help="say where a variable would come from, or all of them (NAME may have *); prints no values",
    )
    return parser


def _local_address(forward: LocalForward) -> LocalAddress:
    return LocalAddress((forward.host.lower(),), forward.port, forward.listen.host, forward.listen.port)


# -- output


def _print_list(variables: Iterable[Variable]) -> None:
    """Print names and sources; everything comes from the pod, so nothing is markup, and all is made printable."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("name", "from", "value"):
        table.add_column(column, overflow="fold")
    for variable in variables:
        value = "••••••" if not variable.withheld else "kept back (--env-allow-secret at the client in the pod)"
        table.add_row(*(Text(clean(text)) for text in (variable.name, variable.source, value)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table if table.rows else "the client in the pod gives nothing out; see its --env-allow")


def _explained(merged: Iterable[Merged], pattern: str) -> list[str]:
    """A line for each variable: where it comes from, and what it hides."""
    wanted: Patterns = patterns_of(pattern)
    lines = []
    for one in merged:
        if any(glob.matches(one.name) for glob in wanted):
            first, *others = one.sources
            hidden = f", before {', '.join(others)}" if others else ""
            replaced = f"; replaced: {', '.join(one.replaced)}" if one.replaced else ""
            lines.append(clean(f"{one.name}: {first}{hidden}{replaced}", 1000))
    return lines or [f"{clean(pattern)}: neither the pod gives it, nor --env-file or --set"]


def _write(merged: Iterable[Merged], arguments: argparse.Namespace) -> None:
    """Write the variables that have a value.

    :raises CommandError: they do not fit, must not be shown, or the file cannot be written.
    """
    merged = [one for one in merged if one.value is not None]
    values: Mapping[str, str] = {one.name: one.value for one in merged if one.value is not None}
    try:
        text = write(arguments.format, values)
    except UnfitError as error:
        raise CommandError(str(error)) from None
    if arguments.output is not None:
        try:
            write_private(arguments.output, text)
        except OSError as error:
            raise CommandError(f"{arguments.output}: cannot be written: {error.strerror or error}") from None
        return
    secret = [clean(one.name) for one in merged if one.secret]
    if secret and not arguments.show:
        hint = "write them to a file with -o FILE, or to stdout, which may be kept somewhere, with --show"
        raise CommandError(f"these are values of Secrets, or may be: {', '.join(secret)}; {hint}")
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
