"""``rtunnel renew``: keeps one's own lease for longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtunnel.asking.arguments import AskingParser
from rtunnel.asking.command import add_caller, change
from rtunnel.cli.arguments import argument
from rtunnel.options.kinds import DURATION
from rtunnel.wire.control import RenewLease

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel renew --config client.yaml --lease 2h
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask for it, and print what was done; returns the exit status."""
    return await change(make_parser(), argv, lambda given: RenewLease(given.name, given.lease_name, given.lease), reactor)


def make_parser() -> AskingParser:
    """Its arguments."""
    parser = AskingParser(
        "renew",
        description="Keeps your leases for longer: from now on as long as at their beginning, or as --lease says.",
        examples=_EXAMPLES,
    )
    parser.add_argument("lease_name", nargs="?", default="", metavar="LEASE", help="its ID or name; by default all of yours")
    parser.add_argument("--lease", type=argument(DURATION), default=0.0, metavar="TIME", help="how long from now, e.g. 2h")
    add_caller(parser)
    return parser
