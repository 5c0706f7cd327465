"""Servers, connectors, and an observer that writes down what it hears."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rtunnel.registry.records import ConnectorRecord, ServerRecord

TUNNEL = UUID("7a0c6a1e-5a52-4b0c-9d9b-7ab6a1f6f001")
OTHER_TUNNEL = UUID("7a0c6a1e-5a52-4b0c-9d9b-7ab6a1f6f002")


def server_id(number: int) -> UUID:
    """The ID of a server."""
    return UUID(int=number << 64)


def server(number: int, **more: Any) -> ServerRecord:
    """The record of a server."""
    return ServerRecord(id=server_id(number), name=f"server{number}", **more)


def connector(number: int, at: int = 1, **more: Any) -> ConnectorRecord:
    """The record of a connector."""
    more.setdefault("tunnel", TUNNEL)
    return ConnectorRecord(id=UUID(int=number), server=server_id(at), **more)


class Heard:
    """An observer: what it heard, and what others have according to it.

    :ivar events: everything, in order.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.servers: dict[UUID, ServerRecord] = {}
        self.connectors: dict[UUID, ConnectorRecord] = {}
        self.availabilities: list[bool] = []

    def take(self) -> list[tuple[str, Any]]:
        """What it heard since the last time."""
        events, self.events = self.events, []
        return events

    def server_up(self, server: ServerRecord) -> None:
        assert server.id not in self.servers, "it is there already"
        self.servers[server.id] = server
        self.events.append(("server up", server))

    def server_changed(self, server: ServerRecord) -> None:
        assert server.id in self.servers, "nobody knows it"
        self.servers[server.id] = server
        self.events.append(("server changed", server))

    def server_gone(self, server: UUID) -> None:
        assert not any(record.server == server for record in self.connectors.values()), "it has connectors"
        del self.servers[server]
        self.events.append(("server gone", server))

    def connector_up(self, record: ConnectorRecord) -> None:
        assert record.server in self.servers, "nobody knows its server"
        assert record.id not in self.connectors, "it is there already"
        self.connectors[record.id] = record
        self.events.append(("connector up", record))

    def connector_changed(self, record: ConnectorRecord, former: ConnectorRecord) -> None:
        assert self.connectors[record.id] == former, "it was another one"
        assert self.connectors[record.id] != record, "nothing has changed"
        self.connectors[record.id] = record
        self.events.append(("connector changed", record))

    def connector_gone(self, record: ConnectorRecord) -> None:
        assert self.connectors.pop(record.id) == record, "it was another one"
        self.events.append(("connector gone", record))

    def told(self, sender: UUID, message: bytes) -> None:
        self.events.append(("told", (sender, message)))

    def availability(self, available: bool) -> None:
        self.availabilities.append(available)
