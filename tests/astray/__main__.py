"""``python -m tests.astray``: who answered 10,000 requests while laptops joined, left and were killed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from unittest import SkipTest

from tests.astray.clients import CLIENTS, Client
from tests.astray.heads import FILTERS, SHARING
from tests.astray.run import Astray, Run
from tests.astray.site import Site

PODS = 4
"""Replicas of the pod."""


def main(arguments: Sequence[str]) -> int:
    """Run it with each client that is installed; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.astray", description=__doc__.partition(": ")[2])
    parser.add_argument("--requests", type=int, default=10_000, help="at least, on each way (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of their order (default: %(default)s)")
    options = parser.parse_args(arguments)
    clients: dict[str, Client] = {}
    for name, find in CLIENTS.items():
        try:
            clients[name] = find()
        except (SkipTest, AssertionError) as error:
            print(f"{name} is left out: {error}")
    wrong = 0
    for way in ("directly", "behind nginx"):
        with Site(PODS) as site:
            start = time.monotonic()
            found = Run(site.join, site.left, options.seed).go(
                site.entrypoint if way == "directly" else site.ingress, clients, options.requests
            )
            show(way, found, clients, time.monotonic() - start)
            wrong += len(found.wrong)
    return 1 if wrong else 0


def show(way: str, found: Astray, clients: dict[str, Client], seconds: float) -> None:
    """Print what a run came to."""
    print(
        f"{way}: {found.total} requests in {seconds:.0f} s, {len(found.wrong)} astray, {len(found.lost)} lost with a client that "
        f"was killed; {found.certain} could be answered by nobody else"
    )
    for client in clients:
        answered = ", ".join(f"{found.counts[client, name]} {name}" for name in (*SHARING, *FILTERS))
        print(f"  {client}: {answered}")
    for result in found.wrong:
        print(f"  astray: {result}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
