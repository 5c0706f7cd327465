"""``python -m tests.kills``: kill the server or the client, over and over, at a random point of a reload or a drain.

After each kill it is started again, and that start must be clean: it starts, its ports are free, no file of the process before is
in its way or left over, every line of the access log is whole, the other part comes back, and requests are answered. The exit
status is 1 when that is not so, with the number that repeats what happened.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.kills.site import DOING, Part, Site

LATEST = {"reload": 0.3, "drain": 0.6}
"""Seconds after the signal in which the kill falls: some fall after the end."""


def kill(site: Site, part: Part, doing: str, after: float) -> None:
    """Kill a part in the middle of something, start it again and look.

    :param after: seconds from the signal to the kill.
    """
    site.configure()
    part.send(DOING[doing])
    time.sleep(after)
    part.kill()
    part.start()
    site.check()


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="the number that an earlier run has printed")
    given = parser.parse_args(argv)
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    chance, done = random.Random(seed), Counter[str]()
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)).running() as site:
        for number in range(given.times):
            part, doing = chance.choice((site.server, site.client)), chance.choice(list(DOING))
            after = chance.uniform(0, LATEST[doing])
            try:
                kill(site, part, doing, after)
            except AssertionError as error:
                print(f"kill {number + 1}, of the {part.command} {after:.3f} s after the begin of a {doing}: {error}")
                return 1
            done[f"{part.command}, {doing}"] += 1
    for what, count in sorted(done.items()):
        print(f"{what}: killed {count} times, every next start was clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
