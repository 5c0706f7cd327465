"""``rtunnel release``: gives one's own lease back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtunnel.asking.arguments import AskingParser
from rtunnel.asking.command import add_caller, change
from rtunnel.wire.control import ReleaseLease

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel release --config client.yaml
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask for it, and print what was done; returns the exit status."""
    return await change(make_parser(), argv, lambda given: ReleaseLease(given.name, given.lease_name), reactor)


def make_parser() -> AskingParser:
    """Its arguments."""
    parser = AskingParser(
        "release",
        description="Gives your leases back: your clients finish their requests, leave, and do not come back by themselves.",
        examples=_EXAMPLES,
    )
    parser.add_argument("lease_name", nargs="?", default="", metavar="LEASE", help="its ID or name; by default all of yours")
    add_caller(parser)
    return parser
