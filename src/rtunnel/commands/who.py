"""``rtunnel who``: who serves a host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rtunnel.asking.arguments import AskingParser
from rtunnel.asking.question import ask
from rtunnel.asking.table import print_answer
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.wire.control import QueryLeases

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel who shop.example.org --server wss://shop.example.org/proxy --tunnel UUID
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask, and print the answer; returns the exit status."""
    arguments, settings = make_parser().parse(argv, os.environ)
    listed, done = await ask(settings, QueryLeases(arguments.host), reactor)
    print_answer(listed, done, json=arguments.json)
    return ExitStatus.OK


def make_parser() -> AskingParser:
    """Its arguments."""
    parser = AskingParser("who", description="Shows who serves a host: the leases of its tunnel.", examples=_EXAMPLES)
    parser.add_argument("host", metavar="HOST", help="one of the hosts of the server's rules")
    return parser
