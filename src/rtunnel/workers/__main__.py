"""``python -m rtunnel.workers NUMBER DIRECTORY OPTIONS...``: one worker, as the supervisor starts it; not for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rtunnel.__main__ import install_reactor
from rtunnel.options.environment import REACTOR
from rtunnel.workers.places import Places

__all__ = ["main"]


def main(argv: Sequence[str]) -> None:
    """Run it until it is stopped."""
    if "LISTEN_FDS" in os.environ:
        # the supervisor cannot know it; Twisted reads it once, later
        os.environ["LISTEN_PID"] = str(os.getpid())
    install_reactor(os.environ.get(REACTOR) or None)
    from twisted.internet import reactor

    from rtunnel.workers.worker import run

    run(int(argv[0]), Places(Path(argv[1])), argv[2:], reactor)


if __name__ == "__main__":
    main(sys.argv[1:])
