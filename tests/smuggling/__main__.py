"""``python -m tests.smuggling``: the heads of the corpus and mutations of them, through real processes to nginx, Node.js and Go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from unittest import SkipTest

from tests.smuggling.cases import EXAMPLES, mutations
from tests.smuggling.run import compare
from tests.smuggling.servers import SERVERS


def main(arguments: Sequence[str]) -> int:
    """Run the comparison with each server that is installed; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.smuggling", description=__doc__.partition(": ")[2])
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"default: {', '.join(SERVERS)}")
    parser.add_argument("--mutations", type=int, default=300, help="besides the corpus (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="of the mutations (default: %(default)s)")
    options = parser.parse_args(arguments)
    cases = [*EXAMPLES.values(), *mutations(options.mutations, options.seed)]
    status = 0
    for name in options.servers or SERVERS:
        try:
            server = SERVERS[name]()
        except (SkipTest, AssertionError) as error:
            print(f"{name}: not compared: {error}")
            continue
        with server:
            result = compare(server, cases)
        print(
            f"{name}: {len(cases)} connections, {result.requests} requests, {len(result.disagreements)} disagreements", flush=True
        )
        for one in result.disagreements:
            print(f"  {one.data!r}\n    sent: {one.sent}\n    seen: {one.seen}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
