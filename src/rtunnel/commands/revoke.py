"""``rtunnel revoke``: ends somebody else's lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtunnel.asking.arguments import AskingParser
from rtunnel.asking.command import change
from rtunnel.wire.control import RevokeLease

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel revoke alice --because "the demo is at 3" --config client.yaml
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask for it, and print what was done; returns the exit status."""
    return await change(make_parser(), argv, lambda given: RevokeLease(given.lease_name, given.because), reactor)


def make_parser() -> AskingParser:
    """Its arguments."""
    parser = AskingParser(
        "revoke",
        description="Ends the leases of somebody else: their clients say who and why, leave, and do not come back by themselves.",
        examples=_EXAMPLES,
    )
    parser.add_argument("lease_name", metavar="LEASE", help="its ID or name, or who holds it")
    parser.add_argument("--because", required=True, metavar="TEXT", help="why, for them")
    return parser
