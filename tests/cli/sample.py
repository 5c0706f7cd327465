"""A command that works on the reactor: does what its argument says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rtunnel.cli.exit_status import CommandError


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Run the command."""
    (word,) = argv
    if word == "fail":
        raise CommandError("no such thing; try another\n  the detail", 7)
    if word == "break":
        raise ZeroDivisionError
    if word == "leave":
        sys.exit(3)
    if word == "wait":
        print("begun", flush=True)
        try:
            await Deferred()
        finally:
            await deferLater(reactor, 0.01)
            print("cleaned up", flush=True)
    if word == "timers":
        print(*(round(call.getTime() - reactor.seconds()) for call in reactor.getDelayedCalls()))
        return 0
    await deferLater(reactor, 0)
    Logger(namespace="rtunnel.sample").info("what is logged")
    print("done")
    return int(word)
