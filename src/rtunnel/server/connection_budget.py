"""Places for connections: a port accepts as long as there are some, and from each address so many.

When all are taken, connections on which nothing goes on give way to new ones, as in nginx (``ngx_drain_connections``): first those
that have not said anything whole yet, those of the addresses with most of them before others; then those that are idle between two
requests. So whoever holds connections without using them keeps nobody out. Only when all are in use do new ones wait.
"""

from __future__ import annotations

import os
import sys
from heapq import nsmallest
from operator import itemgetter
from typing import Final, Protocol
from weakref import WeakSet

from twisted.logger import Logger

from rtunnel.addresses import counted_as
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit
from rtunnel.transport.accepting import ACCEPTS, AcceptingPort

__all__ = ["AddressCounts", "Bound", "ConnectionBudget", "Rank", "RankedPlace"]

PORTION: Final = 16
"""The part of all places that is made free at a time: looking for them costs a look at each."""
MOST_AT_ONCE: Final = 256
"""Places that are made free at a time at most."""
MAX_TOLD = 64
"""Addresses that the log names at a time."""
QUIET = 5.0
"""Seconds without a pause after which it is over, for the log: at a limit a port pauses and goes on many times a second."""


Rank = tuple[int, float]
"""How soon a connection gives way to others: the lowest rank first."""


class RankedPlace(Protocol):
    """The place of a connection that may give way."""

    @property
    def rank(self) -> Rank | None:
        """Its rank; None while something goes on, so that it keeps its place."""

    def give_way(self) -> bool:
        """Close the connection, unless it has just sent something.

        :returns: whether it is closed.
        """


class Bound:
    """How many there may be of something.

    :param limit: its name in the metrics.
    :param text: what is used up, for the log, with the option.
    :ivar most: no bound until the service has started.
    """

    def __init__(self, limit: Limit, text: str) -> None:
        self.limit = limit
        self.text = text
        self.most = sys.maxsize
        self.used = 0

    @property
    def left(self) -> int:
        """How many more there may be."""
        return self.most - self.used


class ConnectionBudget:
    """What the connections of some ports may use together; owned by the limits of the server.

    When nothing is left the ports pause, and idle connections give way. The log has a line when that begins, and one when it is
    over.

    :param bounds: those that all have to have room.
    :ivar places: those of the connections, in the order in which they came.
    """

    _log = Logger()

    def __init__(self, bounds: tuple[Bound, ...], stats: ServerStats) -> None:
        self.places: dict[RankedPlace, None] = {}
        self._bounds = bounds
        self._stats = stats
        self._ports: WeakSet[AcceptingPort] = WeakSet()
        self._paused = False
        self._exhausted = False
        self._told: Bound | str = ""
        """What was used up at the last pause, for the line that tells its end."""
        self._last_pause: float | None = 0.0
        """When it was; None since the last sweep."""
        self._none_idle = False
        """Whether fewer gave way than were asked to, since the last sweep: then it is not worth another look."""

    @property
    def room(self) -> int:
        """How many connections may be accepted now."""
        return 0 if self._exhausted else min(bound.left for bound in self._bounds)

    def add(self, port: AcceptingPort) -> None:
        """Let a port use it; one that is gone is forgotten."""
        self._ports.add(port)
        if self._paused:
            port.pause()

    def remove(self, port: AcceptingPort) -> None:
        """The port uses another one."""
        self._ports.discard(port)
        if self._paused:
            port.resume()

    def use(self, bound: Bound, count: int) -> None:
        """Count what is used of a bound.

        :param count: 1, or -1 when it is given back.
        """
        bound.used += count
        if count < 0:
            # a descriptor is free
            self._exhausted = False
        if self._paused or bound.used >= bound.most:
            self.update()

    def update(self) -> None:
        """Pause or go on, after what is used or allowed has changed."""
        if (self.room <= 0) is not self._paused:
            self._paused = not self._paused
            for port in self._ports:
                if self._paused:
                    port.pause()
                else:
                    port.resume()
            if self._paused and not self._exhausted:
                bound = min(self._bounds, key=lambda bound: bound.left)
                self._tell(
                    bound.limit,
                    f"{bound.text.format(most=bound.most)}: idle ones are closed for new ones, which else wait until there is room",
                )
                self._make_room()

    def _make_room(self) -> None:
        """Have some of the connections on which nothing goes on give way."""
        if self._none_idle:
            return
        wanted = min(max(min(bound.most for bound in self._bounds) // PORTION, 1), MOST_AT_ONCE)
        ranked = [(rank, place) for place in self.places if (rank := place.rank) is not None]
        # some have sent something meanwhile that was not read yet
        for _, place in nsmallest(2 * wanted + ACCEPTS, ranked, key=itemgetter(0)):
            wanted -= place.give_way()
            if not wanted:
                return
        self._none_idle = True

    def exhaust(self, error: OSError) -> None:
        """The system has no descriptor or memory for another connection: try again when one has ended, or at the next sweep."""
        self._exhausted = self._paused = True
        for port in self._ports:
            port.pause()
        self._tell(Limit.DESCRIPTORS, f"no connection can be accepted: {os.strerror(error.errno or 0)}; others wait until one can")
        self._make_room()

    def _tell(self, limit: Limit, text: str) -> None:
        self._last_pause = None
        if not self._told:
            self._told = text.partition(":")[0]
            self._stats.reach(limit)
            self._log.warn("{text}", text=text)

    def sweep(self, now: float) -> None:
        """Make room for those that still wait, try again after an error of the system, and say when a time of pauses is over."""
        self._none_idle = False
        if self._paused:
            self._make_room()
        if self._exhausted:
            self._exhausted = False
            self.update()
        if self._paused or self._last_pause is None:
            self._last_pause = now
        elif self._told and now - self._last_pause >= QUIET:
            self._log.info("connections are accepted at once again, after: {text}", text=self._told)
            self._told = ""


class AddressCounts:
    """How many there are of each address, and how many there may be; see :func:`~rtunnel.addresses.counted_as`.

    :param limit: its name in the metrics.
    :param text: what an address has too many of, for the log, with the option.
    """

    _log = Logger()

    def __init__(self, limit: Limit, text: str, stats: ServerStats) -> None:
        self.most = sys.maxsize
        self._limit = limit
        self._text = text
        self._stats = stats
        self._counts: dict[str, int] = {}
        self._told: set[str] = set()

    def __getitem__(self, key: str) -> int:
        return self._counts.get(key, 0)

    def __len__(self) -> int:
        return len(self._counts)

    def enter(self, host: str) -> str | None:
        """Count one more.

        :returns: the address as it is counted, for :meth:`leave`; None when it has as many as it may have.
        """
        key = counted_as(host)
        count = self._counts.get(key, 0)
        if count >= self.most:
            self._refuse(key)
            return None
        self._counts[key] = count + 1
        return key

    def leave(self, key: str) -> None:
        """Count one less; ``""`` is none."""
        count = self._counts.get(key, 0)
        if count > 1:
            self._counts[key] = count - 1
        elif count:
            del self._counts[key]
            self._told.discard(key)

    def _refuse(self, key: str) -> None:
        """Count a refusal; log the first one of an address, until it has none left."""
        self._stats.reach(self._limit)
        if key not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(key)
            self._log.warn("refused {address}: {text}", address=key, text=self._text.format(most=self.most))
