"""What a server has to do so that what runs becomes what its settings want."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from rtunnel.settings import ListenerSettings, ServerSettings
from rtunnel.settings.diff import BindKey, Difference, changed_fields, compare

__all__ = ["PlannedListener", "ServerPlan", "planned_listeners"]

TRANSPORT = frozenset(("transport", "tls", "path", "handshake_timeout"))
"""The settings of a listener that its transport is made of."""


@attrs.frozen
class PlannedListener:
    """A listener with the keys that it takes.

    :ivar listen: where clients attach; by it a listener is known to be the same one in other settings. Where nobody attaches, the
        first entrypoint with the number 0, a key that nothing is bound to.
    :ivar entrypoints: where visitors arrive.
    """

    listen: BindKey
    entrypoints: tuple[BindKey, ...]
    settings: ListenerSettings

    @property
    def attaching(self) -> bool:
        """Whether clients attach here."""
        return self.settings.listen is not None


def planned_listeners(settings: ServerSettings) -> tuple[PlannedListener, ...]:
    """Give every address of the settings its key."""
    key = BindKey.counter()

    def place(listener: ListenerSettings) -> PlannedListener:
        listen = key(listener.listen) if listener.listen is not None else BindKey(listener.entrypoints[0], number=0)
        return PlannedListener(listen, tuple(map(key, listener.entrypoints)), listener)

    return tuple(map(place, settings.listeners))


def _spots(listeners: tuple[PlannedListener, ...]) -> dict[BindKey, str]:
    """Every key, with what is there."""
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
    :ivar groups: listeners to start, stop and change, by their keys.
    """

    running: dict[BindKey, PlannedListener]
    wanted: dict[BindKey, PlannedListener]
    ports: Difference[BindKey]
    groups: Difference[BindKey]
    roles: dict[BindKey, str]

    @classmethod
    def between(cls, running: tuple[PlannedListener, ...], wanted: tuple[PlannedListener, ...]) -> ServerPlan:
        """Compare; nothing is touched."""
        before, after = ({listener.listen: listener for listener in listeners} for listeners in (running, wanted))
        roles = _spots(wanted)
        return cls(
            running=before,
            wanted=after,
            # a port that changes its role stays bound: it has nothing to do for that
            ports=attrs.evolve(compare(_spots(running), roles), change=()),
            groups=compare(before, after),
            roles=roles,
        )

    @property
    def moved(self) -> tuple[BindKey, ...]:
        """The listeners with a transport that is new: started, or with other settings of it."""
        changed = (
            key
            for key in self.groups.change
            if not TRANSPORT.isdisjoint(changed_fields(self.running[key].settings, self.wanted[key].settings))
        )
        return tuple(key for key in (*self.groups.start, *changed) if self.wanted[key].attaching)

    def lines(self) -> Iterator[str]:
        """What changes, for people."""
        for key in self.groups.start:
            yield f"listener {key} started"
        for key in self.groups.change:
            before, after = self.running[key].settings, self.wanted[key].settings
            yield f"listener {key} changed ({', '.join(_words(before, after))})"
        for key in self.groups.stop:
            yield f"listener {key} stopped"


def _words(before: ListenerSettings, after: ListenerSettings) -> Iterator[str]:
    for name in changed_fields(before, after):
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, tuple):
            added, removed = sum(one not in old for one in new), sum(one not in new for one in old)
            yield f"{name} +{added} -{removed}"
        else:
            yield name.replace("_", "-")
