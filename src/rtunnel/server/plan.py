"""The steps from the running state of a server to the one of its settings."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from rtunnel.ops.start import ENTRYPOINT, TUNNEL_LISTENER, PortRole
from rtunnel.settings import ListenerSettings, ServerSettings
from rtunnel.settings.diff import BindKey, Difference, changed_fields, compare

__all__ = ["PlannedListener", "ServerPlan", "planned_listeners"]

TRANSPORT = frozenset(("transport", "tls", "path", "handshake_timeout"))
"""The settings of a listener that need a new transport when they change."""


@attrs.frozen
class PlannedListener:
    """A listener and the keys of its addresses.

    :ivar listen: where clients attach; identifies the listener across reloads. If no clients attach, the first entrypoint with the
        number 0, a key that nothing is bound to.
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
    """Assign a key to every address of the settings."""
    key = BindKey.counter()

    def plan(listener: ListenerSettings) -> PlannedListener:
        listen = key(listener.listen) if listener.listen is not None else BindKey(listener.entrypoints[0], number=0)
        return PlannedListener(listen, tuple(map(key, listener.entrypoints)), listener)

    return tuple(map(plan, settings.listeners))


def _keys(listeners: tuple[PlannedListener, ...]) -> dict[BindKey, PortRole]:
    """Every bound key and the role of its port."""
    found: dict[BindKey, PortRole] = {}
    for listener in listeners:
        if listener.attaching:
            found[listener.listen] = TUNNEL_LISTENER
        found.update(dict.fromkeys(listener.entrypoints, ENTRYPOINT))
    return found


@attrs.frozen
class ServerPlan:
    """The difference between the running listeners and the wanted ones.

    :ivar wanted: the listeners of the settings, in their order.
    :ivar ports: ports to bind and to close.
    :ivar groups: listeners to start, stop and change, by their keys.
    """

    running: dict[BindKey, PlannedListener]
    wanted: dict[BindKey, PlannedListener]
    ports: Difference[BindKey]
    groups: Difference[BindKey]
    roles: dict[BindKey, PortRole]

    @classmethod
    def between(cls, running: tuple[PlannedListener, ...], wanted: tuple[PlannedListener, ...]) -> ServerPlan:
        """Compare, without any effect."""
        before, after = ({listener.listen: listener for listener in listeners} for listeners in (running, wanted))
        roles = _keys(wanted)
        return cls(
            running=before,
            wanted=after,
            # a port that changes its role stays bound
            ports=attrs.evolve(compare(_keys(running), roles), change=()),
            groups=compare(before, after),
            roles=roles,
        )

    @property
    def moved(self) -> tuple[BindKey, ...]:
        """The listeners with a new transport: those started, and those whose transport settings changed."""
        changed = (
            key
            for key in self.groups.change
            if not TRANSPORT.isdisjoint(changed_fields(self.running[key].settings, self.wanted[key].settings))
        )
        return tuple(key for key in (*self.groups.start, *changed) if self.wanted[key].attaching)

    def lines(self) -> Iterator[str]:
        """Descriptions of the changes, for the log."""
        for key in self.groups.start:
            yield f"listener {key} started"
        for key in self.groups.change:
            before, after = self.running[key].settings, self.wanted[key].settings
            yield f"listener {key} changed ({', '.join(_changes(before, after))})"
        for key in self.groups.stop:
            yield f"listener {key} stopped"


def _changes(before: ListenerSettings, after: ListenerSettings) -> Iterator[str]:
    for name in changed_fields(before, after):
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, tuple):
            added, removed = sum(one not in old for one in new), sum(one not in new for one in old)
            yield f"{name} +{added} -{removed}"
        else:
            yield name.replace("_", "-")
