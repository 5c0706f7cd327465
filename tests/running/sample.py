"""``python -m tests.running.sample TIER ARGUMENT ...``: a command under a supervisor, with our signals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rtunnel.cli.command import ReactorCommand
from rtunnel.isolation.tiers import Tier
from rtunnel.running.isolating import isolate
from rtunnel.running.signals import CommandSignals
from rtunnel.running.supervising import SupervisorError

ENVIRON = {"PATH": "/usr/bin:/bin", "WORD": "of ours"}


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Run the command."""
    tier, *command = argv
    isolated = await isolate([Tier(tier)], reactor)
    supervising = isolated.supervising
    print("begun", flush=True)
    try:
        with CommandSignals(supervising.signal, reactor).received():
            return await supervising.run(command, ENVIRON)
    except SupervisorError as error:
        print(f"cannot be started: {error.step} {error.errno}", flush=True)
        return 99
    finally:
        await supervising.close()


if __name__ == "__main__":
    from twisted.internet import reactor

    sys.exit(ReactorCommand("sample", "runs a command", package="tests.running").run(sys.argv[1:], reactor))
