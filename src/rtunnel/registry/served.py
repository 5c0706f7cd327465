"""A shared registry in one process, for others of the same machine: each has a connection over a unix socket.

To the hub each connection is a server like one in its own process; what its observer hears goes over the connection, in order.
When the connection ends the server is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from rtunnel.registry import frames
from rtunnel.registry.memory import MemoryHub, MemoryRegistry
from rtunnel.registry.records import ConnectorRecord, RecordError, ServerRecord

__all__ = ["MAX_UNSENT", "ServedRegistry"]

MAX_UNSENT = 256 << 20
"""Bytes that wait for a process that does not read: more than all records of 300,000 connectors."""


class ServedRegistry(Factory):
    """The connections of the processes; owned by the one that keeps the registry.

    :param hub: what they share.
    """

    noisy = False

    def __init__(self, hub: MemoryHub) -> None:
        self.hub = hub

    def buildProtocol(self, addr: Any) -> _Served:
        return _Served(self.hub)


class _Served(Int32StringReceiver):
    """One process: the observer of its registry."""

    _log = Logger()
    MAX_LENGTH = frames.MAX_FRAME
    transport: Any

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._registry: MemoryRegistry | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.stop()

    # -- what the process says

    def stringReceived(self, string: bytes) -> None:
        try:
            self._take(string[:1], string[1:])
        except RecordError as error:
            self._log.error("a process of this server says what cannot be read, and is cut off: {error}", error=str(error))
            self.transport.abortConnection()

    def _take(self, kind: bytes, content: bytes) -> None:
        registry = self._registry
        if registry is None:
            if kind != frames.SERVER:
                raise RecordError("a process that did not say who it is")
            self._begin(ServerRecord.decode(content))
        elif kind == frames.WRITTEN:
            registry.publish(ConnectorRecord.decode(content))
        elif kind == frames.GONE:
            registry.withdraw(frames.read_id(content))
        elif kind == frames.SERVER:
            registry.announce(ServerRecord.decode(content))
        elif kind == frames.COUNT:
            self._send(frames.frame(frames.COUNT, self._hub.count(frames.read_id(content))))
        elif kind == frames.CLAIM:
            self._claimed(registry, *frames.read_claim(content))
        elif kind == frames.TELL:
            registry.tell(*frames.read_told(content))
        else:
            raise RecordError("a frame of an unknown kind")

    def _begin(self, server: ServerRecord) -> None:
        self._registry = self._hub.registry()
        self._registry.start(server, self)
        self._send(frames.ALL)

    def _claimed(self, registry: MemoryRegistry, count: int, record: ConnectorRecord) -> None:
        holds = self._hub.count(record.tunnel) == count
        if holds:
            registry.publish(record)
            self._hub.contested(record.tunnel)
        self._send(frames.frame(frames.COUNT, int(holds)))

    # -- what it hears: the observer

    def _send(self, data: bytes) -> None:
        unsent: Callable[[], int] | None = getattr(self.transport, "unsent", None)
        if unsent is not None and unsent() > MAX_UNSENT:
            self._log.error("a process of this server does not listen, and is cut off")
            self.transport.abortConnection()
        else:
            self.sendString(data)  # type: ignore[no-untyped-call]

    def server_up(self, server: ServerRecord) -> None:
        """See the interface."""
        self._send(frames.SERVER + server.encode())

    def server_changed(self, server: ServerRecord) -> None:
        """See the interface."""
        self._send(frames.SERVER + server.encode())

    def server_gone(self, server: UUID) -> None:
        """See the interface."""
        self._send(frames.frame(frames.SERVER_GONE, server))

    def connector_up(self, record: ConnectorRecord) -> None:
        """See the interface."""
        self._send(frames.WRITTEN + record.encode())

    def connector_changed(self, record: ConnectorRecord, former: ConnectorRecord) -> None:
        """See the interface."""
        self._send(frames.WRITTEN + record.encode())

    def connector_gone(self, record: ConnectorRecord) -> None:
        """See the interface."""
        self._send(frames.frame(frames.GONE, record.server, record.id))

    def told(self, sender: UUID, message: bytes) -> None:
        """See the interface."""
        self._send(frames.told_frame(sender, message))

    def availability(self, available: bool) -> None:
        """It is there as long as the connection is."""
