"""How such a command runs: parse, ask, print."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

from rtunnel.asking.arguments import AskingParser
from rtunnel.asking.question import ask, lines
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.client.intercepting import default_name
from rtunnel.wire.control import Message

__all__ = ["add_caller", "change"]


async def change(parser: AskingParser, argv: Sequence[str], make: Callable[[argparse.Namespace], Message], reactor: Any) -> int:
    """Have a server change leases; returns the exit status.

    :param make: the message for some arguments.
    """
    arguments, settings = parser.parse(argv, os.environ)
    listed, done = await ask(settings, make(arguments), reactor)
    print(*lines(listed, done) if arguments.json else (done.text,), sep="\n")
    return ExitStatus.OK


def add_caller(parser: AskingParser) -> None:
    """Add ``--name``, for servers without users."""
    parser.add_argument(
        "--name",
        default=os.environ.get("RTUNNEL_NAME") or default_name(),
        metavar="NAME",
        help="who you are, where the server has no users: the --name of your client (default: as there)",
    )
