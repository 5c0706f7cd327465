"""``rtunnel list``: who has joined the tunnels of a server."""

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
  rtunnel list --server wss://shop.example.org/proxy --tunnel UUID
  rtunnel list --config client.yaml --json
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask, and print the answer; returns the exit status."""
    arguments, settings = make_parser().parse(argv, os.environ)
    listed, done = await ask(settings, QueryLeases(), reactor)
    print_answer(listed, done, json=arguments.json)
    return ExitStatus.OK


def make_parser() -> AskingParser:
    """Its arguments."""
    return AskingParser(
        "list",
        description="Shows the leases that you may see: who has joined, for what, until when.",
        examples=_EXAMPLES,
    )
