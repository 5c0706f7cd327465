"""``python -m tests.replicas rollouts|chaos``: several servers with a real Redis, under load.

``rollouts`` restarts two servers one after the other: nothing may fail. ``chaos`` kills, stops, freezes and cuts off servers,
clients and Redis, one every five seconds: each request that fails must be one that the last of these explains, and afterwards
everything is as it was at the start. The exit status is 1 when that is not so.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.replicas import chaos, rollouts


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.replicas", description=__doc__)
    parser.add_argument("what", choices=("rollouts", "chaos"))
    parser.add_argument("--rounds", type=int, default=20, help="rollouts: of both servers")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=600.0, help="chaos: how long")
    parser.add_argument("--seed", type=int, default=None, help="chaos: the number that an earlier run has printed")
    given = parser.parse_args(argv)

    def say(line: str) -> None:
        print(line, flush=True)

    if given.what == "rollouts":
        rolled = rollouts.roll(given.rounds, rate=given.rate, say=say)
        say(str(rolled))
        for line in (*rolled.failed, *rolled.faults):
            say(line)
        return int(bool(rolled.failed or rolled.faults))
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    say(f"seed {seed}")
    suffered = chaos.suffer(given.seconds, seed, rate=given.rate, say=say)
    say(suffered.table())
    for line in suffered.wrong:
        say(line)
    return int(bool(suffered.wrong))


if __name__ == "__main__":
    sys.exit(main())
