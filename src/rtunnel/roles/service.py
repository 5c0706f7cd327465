"""The service that does what the settings of a role say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from rtunnel.ops.status import Queries, Reporting

__all__ = ["Reloadable", "RoleService"]


class Reloadable(Protocol):
    """A service whose settings can change while it runs."""

    settings: Any
    """What it does now."""
    live: frozenset[str]
    """The names of the settings of the process that :meth:`reload` can change."""

    def reload(self, settings: Any) -> list[str]:
        """Apply other settings.

        :returns: what changed, for people.
        :raises StartError: they cannot be used; then nothing has changed.
        """


class RoleService(Reloadable, Reporting, Protocol):
    """What one process is for: a server, or a client with its connectors and visitors. A service of Twisted."""

    on_over: Callable[[], None]
    """Called when there is nothing left to do for it: the leases of a client have ended."""

    def metrics(self) -> bytes | Deferred[bytes]:
        """Its metrics in Prometheus' format."""

    def when_ready(self) -> Deferred[None]:
        """Fire when it is ready for the first time."""

    @property
    def queries(self) -> Queries:
        """What the admin endpoint answers besides the status."""

    def setServiceParent(self, parent: Any) -> None:
        """Make it a child of the process's service."""
