"""Which part of the requests of its tunnel a client gets, and beside whom, as its server tells it."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from rtunnel.routing.intercept_terms import listed
from rtunnel.routing.tunnels import EXCLUSIVE_WEIGHT
from rtunnel.settings import ConnectorSettings
from rtunnel.wire.control import Member, Share

__all__ = ["TunnelView"]

MOST_NAMED = 3
"""Others whose names are given in a line."""


class TunnelView:
    """What the client of a connector knows of its tunnel; owned by its lease.

    :param settings: of the connector.
    :ivar share: what it gets, None as long as that is not known: a gost server never tells.
    :ivar others: who is there besides, as far as they are mentioned.
    """

    def __init__(self, settings: ConnectorSettings) -> None:
        self._settings = settings
        self._mentioned: list[Member] = []
        self.share: Share | None = None
        self.others: tuple[Member, ...] = ()

    def hear(self, message: Member | Share) -> bool:
        """Take a message of the server.

        :returns: whether all of what it has to say has come.
        """
        if isinstance(message, Member):
            self._mentioned.append(message)
            return False
        self.share, self.others, self._mentioned = message, tuple(self._mentioned), []
        return True

    def forget(self) -> None:
        """The link is lost: what is known is old."""
        self.share, self.others, self._mentioned = None, (), []

    @property
    def hosts(self) -> str:
        """The hosts whose requests come here; ``""`` as long as that is not known."""
        return self.share.hosts if self.share is not None else ""

    @property
    def splits(self) -> bool:
        """Whether the parts of one page may come from here and from others."""
        share = self.share
        return share is not None and 0 < share.part < share.whole and not share.sticky

    def describe(self) -> str:
        """What comes here, for people: ``you get 1 of 2 requests (50 %)``."""
        settings, share = self._settings, self.share
        if settings.filters:
            return f"you get the requests with {listed(settings.filters)}"
        things = "associations" if settings.target.udp else "visitors" if share is not None and share.sticky else "requests"
        if share is None or not share.whole:
            exclusive = settings.weight == EXCLUSIVE_WEIGHT
            return (
                f"you get all {things} (weight 255)" if exclusive else f"you get a share of the {things} (weight {settings.weight})"
            )
        rest = ", but for those that others intercept" if any(not other.weight for other in self.others) else ""
        if not share.part:
            return f"you get no {things}: {self._who_has_all()}"
        if share.part == share.whole:
            weight = f" (weight {EXCLUSIVE_WEIGHT})" if settings.weight == EXCLUSIVE_WEIGHT else ""
            return f"you get all {things}{weight}{rest}"
        common = gcd(share.part, share.whole)
        part, whole = share.part // common, share.whole // common
        return f"you get {part} of {whole} {things} ({100 * share.part / share.whole:.3g} %){rest}"

    def _who_has_all(self) -> str:
        exclusive = [other for other in self.others if other.weight == EXCLUSIVE_WEIGHT]
        if not exclusive:
            return "the server avoids this client, which does not answer"
        return f"they go to {_named(exclusive)} (weight {EXCLUSIVE_WEIGHT})"

    def instead(self) -> str:
        """Who would have had what comes here, if this client were not there; ``""`` if that is not known."""
        if self.share is None:
            return ""
        sharing = [other for other in self.others if other.weight]
        exclusive = [other for other in sharing if other.weight == EXCLUSIVE_WEIGHT]
        if self.share.others > len(self.others):
            return f"one of {self.share.others} others"
        return _named(exclusive or sharing, " or ") or "nobody"


def _named(others: Sequence[Member], joint: str = ", ") -> str:
    names = [other.name for other in others[:MOST_NAMED]]
    more = [f"{len(others) - MOST_NAMED} more"] if len(others) > MOST_NAMED else []
    return joint.join([*names, *more])
