"""What a server needs of the shared registry, and what the registry tells the server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred

from rtunnel.metrics.stats import RegistryStats, RegistryStatus
from rtunnel.registry.records import ConnectorRecord, ServerRecord

__all__ = ["RegistryObserver", "RegistryUnavailable", "SharedRegistry"]

T = TypeVar("T")


class RegistryUnavailable(Exception):
    """The registry cannot be asked now; the text says why, in a few words."""


class RegistryObserver(Protocol):
    """What a server hears of the others. All calls come from the reactor, one after the other; none is about the server itself."""

    def server_up(self, server: ServerRecord) -> None:
        """Another server is there; its connectors follow."""

    def server_changed(self, server: ServerRecord) -> None:
        """It says something else about itself: that it leaves."""

    def server_gone(self, server: UUID) -> None:
        """It has stopped, or was silent for too long; its connectors were reported as gone before."""

    def connector_up(self, record: ConnectorRecord) -> None:
        """A connector of another server, which is known."""

    def connector_changed(self, record: ConnectorRecord, former: ConnectorRecord) -> None:
        """Something else is true of it: its lease, its name, whether it is avoided.

        :param former: what was true until now.
        """

    def connector_gone(self, record: ConnectorRecord) -> None:
        """It is gone; the record is the last one."""

    def told(self, sender: UUID, message: bytes) -> None:
        """Another server says something to this one."""

    def availability(self, available: bool) -> None:
        """The registry can be reached now, or cannot any more. The copy stays as it was, and nobody is gone for that."""


class SharedRegistry(Protocol):
    """The registry as one server uses it. The server owns it: it starts it once, and stops it."""

    @property
    def available(self) -> bool:
        """Whether changes are exchanged with others now."""

    @property
    def complete(self) -> bool:
        """Whether the copy of what others have has been complete once: a server that starts is ready only then."""

    def start(self, server: ServerRecord, observer: RegistryObserver) -> None:
        """Begin.

        :param server: what others get to know of this one.
        :param observer: hears of the others.
        """

    def stop(self) -> Deferred[None]:
        """Withdraw the server with all its records, and end; fires when that is done, or has failed."""

    def announce(self, server: ServerRecord) -> None:
        """Change what others know of this server, e.g. that it leaves."""

    def publish(self, record: ConnectorRecord) -> None:
        """A record of this server, new or changed. Never waits: it is written soon, and again whenever the registry lost it."""

    def withdraw(self, connector: UUID) -> None:
        """Take back a record of this server; nothing if there is none."""

    def claim(self, record: ConnectorRecord, decide: Callable[[Iterable[ConnectorRecord]], T]) -> Deferred[T]:
        """Publish a record if all servers agree, as if one after the other decided.

        :param decide: gets the records of all other servers for the tunnel, and says what the client gets, or raises what it
            is refused with; it may be called several times, and must change nothing.
        :returns: what it said, once the record is published. It fails with what it raised, or with :exc:`RegistryUnavailable`.
        """

    def records(self, tunnel: UUID) -> Collection[ConnectorRecord]:
        """The records of all other servers for a tunnel, those of held leases too; not to be kept, since they change."""

    @property
    def tunnels(self) -> Iterable[UUID]:
        """The tunnels for which other servers have records."""

    @property
    def servers(self) -> Iterable[ServerRecord]:
        """All other servers."""

    def server(self, server: UUID) -> ServerRecord | None:
        """What is known of another server."""

    def tell(self, server: UUID, message: bytes) -> None:
        """Say something to another server; it is lost if that one, or the registry, is not there."""

    @property
    def stats(self) -> RegistryStats:
        """What has happened so far."""

    def status(self) -> RegistryStatus:
        """How it goes."""
