"""The supervisor of a command, isolated as far as it is wanted and allowed."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from rtunnel.cli.exit_status import CommandError
from rtunnel.isolation.tiers import Tier, Wish, why_refused
from rtunnel.running.supervising import Supervising, SupervisorError

__all__ = ["Isolated", "isolate", "tiers_to_try"]

_log = Logger()
_INSTEAD = (
    "names of the cluster do not resolve for the command; it gets ports of loopback and a proxy, and variables that lead there"
)


@frozen
class Isolated:
    """A supervisor, and how far it is isolated."""

    supervising: Supervising
    tier: Tier


def tiers_to_try(wish: Wish, first: Tier, platform: str = sys.platform) -> list[Tier]:
    """The tiers to try in turn.

    :param wish: of the user.
    :param first: what is needed.
    :raises CommandError: what is asked for is not to be had on this platform.
    """
    if platform == "linux":
        return [first, Tier.NONE] if wish is Wish.AUTO else [first]
    if wish in (Wish.AUTO, Wish.NONE):
        return [Tier.NONE]
    raise CommandError(f"--isolate {wish}: namespaces are there on Linux only; use --isolate none, or leave it out")


async def isolate(tiers: Collection[Tier], reactor: Any) -> Isolated:
    """Start a supervisor that is isolated by the first of some tiers that is allowed.

    :raises CommandError: none is.
    """
    refused = ""
    for tier in tiers:
        supervising = Supervising(reactor)
        supervising.start()
        if tier is Tier.NONE:
            if refused:
                _log.warn("not isolated: {refused}; {instead}", refused=refused, instead=_INSTEAD)
            return Isolated(supervising, tier)
        try:
            await supervising.isolate(network=tier is Tier.NET)
            return Isolated(supervising, tier)
        except SupervisorError as error:
            refused = f"{error} ({why_refused(error.errno)})"
            await supervising.close()
        except BaseException:
            supervising.close()
            raise
    raise CommandError(f"cannot be isolated: {refused}; --isolate auto does without where it has to")
