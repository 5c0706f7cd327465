"""What clients offer of their pods, and which of them serves the machine of a developer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from attrs import field, frozen

__all__ = ["PodOffer", "choose_pod"]

MIN_TOKEN = 16
"""Characters of a token, at least: it must not be guessed."""


@frozen
class PodOffer:
    """What a client offers of its pod.

    :ivar services: their names.
    :ivar token: what it knows the server's streams to them by.
    """

    services: frozenset[str] = frozenset()
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, offers: str, token: str) -> PodOffer:
        """Read what a client says: nothing, where its token is none.

        :param offers: names, separated by commas.
        """
        if not len(token) >= MIN_TOKEN or not token.isascii() or not token.isalnum():
            return cls()
        return cls(frozenset(filter(None, offers.split(","))), token)


class Offering(Protocol):
    """A connector, as far as it matters here."""

    @property
    def offer(self) -> PodOffer: ...

    @property
    def avoided(self) -> bool: ...


C = TypeVar("C", bound=Offering)


def choose_pod(connectors: Iterable[C], service: str, current: C | None) -> C | None:
    """The connector for a service of the pod: the one that is in use, so that values and names stay those of one pod.

    :param connectors: of the tunnel, in the order in which they have joined.
    :param current: the one in use, if there is one.
    :returns: the current one, else the first that gives signs of life, else the first; None if none offers it.
    """
    offering = [connector for connector in connectors if service in connector.offer.services]
    living = [connector for connector in offering if not connector.avoided]
    for connectors in (living, offering):
        if connectors:
            return current if current in connectors else connectors[0]
    return None
