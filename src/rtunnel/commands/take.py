"""``rtunnel take``: gets the lease of somebody who does not need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtunnel.asking.arguments import AskingParser
from rtunnel.asking.command import add_caller, change
from rtunnel.wire.control import TakeLease

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel take shop.example.org --ask --config client.yaml
  rtunnel take shop.example.org --take-over --from alice --config client.yaml
"""


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Ask for it, and print what was done; returns the exit status."""
    return await change(
        make_parser(), argv, lambda given: TakeLease(given.name, given.host, given.whose, given.take_over, given.because), reactor
    )


def make_parser() -> AskingParser:
    """Its arguments."""
    parser = AskingParser(
        "take",
        description="Ends the lease of somebody else on a host who does not use it, so that you can join.",
        examples=_EXAMPLES,
    )
    parser.add_argument("host", metavar="HOST", help="one of the hosts of the server's rules")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--ask", action="store_true", help="ask them; they give way, unless a request comes within a minute")
    how.add_argument("--take-over", action="store_true", help="take it at once, because their link is lost")
    parser.add_argument("--from", dest="whose", default="", metavar="LEASE", help="its ID or name, if several have one there")
    parser.add_argument("--because", default="", metavar="TEXT", help="why, for them")
    add_caller(parser)
    return parser
