"""What a server has to do so that what runs becomes what its settings want."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from rtunnel.ops.plan import Difference, Spot, changed_fields, compare
from rtunnel.settings import ListenerSettings, ServerSettings

__all__ = ["Placed", "ServerPlan", "placed"]

TRANSPORT = frozenset(("transport", "tls", "path", "handshake_timeout"))
"""The settings of a listener that its transport is made of."""


@attrs.frozen
class Placed:
    """A listener with the spots that it takes.

    :ivar listen: where clients attach; by it a listener is known to be the same one in other settings. Where nobody attaches, the
        first entrypoint with the number 0, a spot that nothing is bound to.
    :ivar entrypoints: where visitors arrive.
    """

    listen: Spot
    entrypoints: tuple[Spot, ...]
    settings: ListenerSettings

    @property
    def attaching(self) -> bool:
        """Whether clients attach here."""
        return self.settings.listen is not None


def placed(settings: ServerSettings) -> tuple[Placed, ...]:
    """Give every address of the settings its spot."""
    spot = Spot.counter()

    def place(listener: ListenerSettings) -> Placed:
        listen = spot(listener.listen) if listener.listen is not None else Spot(listener.entrypoints[0], number=0)
        return Placed(listen, tuple(map(spot, listener.entrypoints)), listener)

    return tuple(map(place, settings.listeners))


def _spots(listeners: tuple[Placed, ...]) -> dict[Spot, str]:
    """Every spot, with what is there."""
    found = {}
    for listener in listeners:
        if listener.attaching:
            found[listener.listen] = "tunnel listener"
        found.update(dict.fromkeys(listener.entrypoints, "entrypoint"))
    return found


@attrs.frozen
class ServerPlan:
    """From what runs to what is wanted.

    :ivar wanted: how it is to be, in the order of the settings.
    :ivar ports: ports to bind and to free, with what is there.
    :ivar sites: listeners to start, stop and change, by their spots.
    """

    running: dict[Spot, Placed]
    wanted: dict[Spot, Placed]
    ports: Difference[Spot]
    sites: Difference[Spot]
    roles: dict[Spot, str]

    @classmethod
    def between(cls, running: tuple[Placed, ...], wanted: tuple[Placed, ...]) -> ServerPlan:
        """Compare; nothing is touched."""
        before, after = ({listener.listen: listener for listener in listeners} for listeners in (running, wanted))
        roles = _spots(wanted)
        return cls(
            running=before,
            wanted=after,
            # a port that changes its role stays bound: it has nothing to do for that
            ports=attrs.evolve(compare(_spots(running), roles), change=()),
            sites=compare(before, after),
            roles=roles,
        )

    @property
    def moved(self) -> tuple[Spot, ...]:
        """The listeners with a transport that is new: started, or with other settings of it."""
        changed = (
            spot
            for spot in self.sites.change
            if not TRANSPORT.isdisjoint(changed_fields(self.running[spot].settings, self.wanted[spot].settings))
        )
        return tuple(spot for spot in (*self.sites.start, *changed) if self.wanted[spot].attaching)

    def lines(self) -> Iterator[str]:
        """What changes, for people."""
        for spot in self.sites.start:
            yield f"listener {spot} started"
        for spot in self.sites.change:
            before, after = self.running[spot].settings, self.wanted[spot].settings
            yield f"listener {spot} changed ({', '.join(_words(before, after))})"
        for spot in self.sites.stop:
            yield f"listener {spot} stopped"


def _words(before: ListenerSettings, after: ListenerSettings) -> Iterator[str]:
    for name in changed_fields(before, after):
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, tuple):
            added, removed = sum(one not in old for one in new), sum(one not in new for one in old)
            yield f"{name} +{added} -{removed}"
        else:
            yield name.replace("_", "-")
