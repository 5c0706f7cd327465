"""A shared registry that another process of this machine keeps, over a unix socket (:mod:`rtunnel.registry.served`).

The connection is reliable and in order, so the copy of what others have never has gaps, and whoever has heard the count of a tunnel
knows everything that led to it. It is made once: that other process is the parent, without which this one ends as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from rtunnel.metrics.stats import RegistryStats, RegistryStatus
from rtunnel.registry import frames
from rtunnel.registry.interfaces import RegistryObserver, RegistryUnavailable
from rtunnel.registry.records import ConnectorRecord, RecordError, ServerRecord

__all__ = ["MAX_TRIES", "SocketRegistry"]

MAX_TRIES = 20
"""How often something is decided again because something else was agreed on meanwhile."""

T = TypeVar("T")


class SocketRegistry:
    """See :class:`~rtunnel.registry.interfaces.SharedRegistry`.

    :param endpoint: where the registry is.
    :param address: the same, for display.
    :param on_lost: called when the connection is lost, or cannot be made, before it was stopped.
    """

    _log = Logger()
    _observer: RegistryObserver

    def __init__(self, endpoint: IStreamClientEndpoint, address: str, on_lost: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._address = address
        self._on_lost = on_lost
        self._connection: _Connection | None = None
        self._stopped = False
        self._server: ServerRecord | None = None
        self._own: dict[UUID, ConnectorRecord] = {}
        self._servers: dict[UUID, ServerRecord] = {}
        self._connectors: dict[UUID, dict[UUID, ConnectorRecord]] = {}
        """By their servers."""
        self._tunnels: dict[UUID, dict[UUID, ConnectorRecord]] = {}
        self.stats = RegistryStats()
        self.complete = False

    # -- begin and end

    @property
    def available(self) -> bool:
        """See the interface."""
        return self._connection is not None and self.complete

    def start(self, server: ServerRecord, observer: RegistryObserver) -> None:
        """See the interface."""
        self._server = server
        self._observer = observer
        factory = Factory.forProtocol(lambda: _Connection(self))
        factory.noisy = False
        self._endpoint.connect(factory).addErrback(lambda _: self.lost())

    def stop(self) -> Deferred[None]:
        """See the interface."""
        self._stopped = True
        if self._connection is not None:
            self._connection.transport.loseConnection()
        return succeed(None)

    def connected(self, connection: _Connection) -> None:
        """The connection is there: say who this is, and what it has."""
        if self._stopped or self._server is None:
            connection.transport.abortConnection()
            return
        self._connection = connection
        connection.send(frames.SERVER + self._server.encode())
        for record in self._own.values():
            connection.send(frames.WRITTEN + record.encode())

    def lost(self) -> None:
        """The connection is lost, or could not be made."""
        was_available, self._connection = self.available, None
        if self._stopped:
            return
        if was_available:
            self.stats.outages += 1
            self._observer.availability(False)
        self._on_lost()

    def _say(self, frame: bytes) -> None:
        if self._connection is not None:
            self.stats.written += 1
            self._connection.send(frame)

    # -- records of this server

    def announce(self, server: ServerRecord) -> None:
        """See the interface."""
        self._server = server
        self._say(frames.SERVER + server.encode())

    def publish(self, record: ConnectorRecord) -> None:
        """See the interface."""
        if self._own.get(record.id) != record:
            self._own[record.id] = record
            self._say(frames.WRITTEN + record.encode())

    def withdraw(self, connector: UUID) -> None:
        """See the interface."""
        if self._own.pop(connector, None) is not None:
            self._say(frames.frame(frames.GONE, connector))

    def tell(self, server: UUID, message: bytes) -> None:
        """See the interface."""
        self._say(frames.told_frame(server, message))

    # -- agreements

    def claim(self, record: ConnectorRecord, decide: Callable[[Iterable[ConnectorRecord]], T]) -> Deferred[T]:
        """See the interface."""

        def counted(outcome: Any) -> Any:
            failed = isinstance(outcome, Failure)
            missing = failed and outcome.check(RegistryUnavailable) is not None
            self.stats.claims["unavailable" if missing else "refused" if failed else "agreed"] += 1
            return outcome

        return Deferred.fromCoroutine(self._claim(record, decide)).addBoth(counted)

    async def _claim(self, record: ConnectorRecord, decide: Callable[[Iterable[ConnectorRecord]], T]) -> T:
        for _ in range(MAX_TRIES):
            count = await self._ask(frames.frame(frames.COUNT, record.tunnel))
            result = decide(self.records(record.tunnel))
            if await self._ask(frames.claim_frame(count, record)):
                self._own[record.id] = record
                return result
        raise RegistryUnavailable("too many clients join the tunnel at once")

    async def _ask(self, frame: bytes) -> int:
        if self._connection is None or not self.complete:
            raise RegistryUnavailable("the first process of the server does not answer")
        return await self._connection.ask(frame)

    # -- records of others

    def records(self, tunnel: UUID) -> Collection[ConnectorRecord]:
        """See the interface."""
        return self._tunnels.get(tunnel, {}).values()

    @property
    def tunnels(self) -> Iterable[UUID]:
        """See the interface."""
        return tuple(self._tunnels)

    @property
    def servers(self) -> Iterable[ServerRecord]:
        """See the interface."""
        return tuple(self._servers.values())

    def server(self, server: UUID) -> ServerRecord | None:
        """See the interface."""
        return self._servers.get(server)

    def status(self) -> RegistryStatus:
        """See the interface."""
        return RegistryStatus(
            address=self._address,
            available=self.available,
            complete=self.complete,
            servers=len(self._servers),
            connectors=sum(not record.held for records in self._connectors.values() for record in records.values()),
            published=len(self._own),
            reason="" if self.available else "the first process of the server does not answer",
        )

    # -- what is heard

    def heard(self, kind: bytes, content: bytes) -> None:
        """Others have changed something.

        :raises RecordError: it cannot be read.
        """
        self.stats.messages += 1
        if kind == frames.WRITTEN:
            self._written(ConnectorRecord.decode(content))
        elif kind == frames.GONE:
            server, connector = frames.read_ids(content)
            self._gone(server, connector)
        elif kind == frames.SERVER:
            self._described(ServerRecord.decode(content))
        elif kind == frames.SERVER_GONE:
            self._forget(frames.read_id(content))
        elif kind == frames.TELL:
            self._observer.told(*frames.read_told(content))
        elif kind == frames.ALL:
            self.complete = True
            self._observer.availability(True)
        else:
            raise RecordError("a frame of an unknown kind")

    def _described(self, server: ServerRecord) -> None:
        former = self._servers.get(server.id)
        self._servers[server.id] = server
        if former is None:
            self._observer.server_up(server)
        else:
            self._observer.server_changed(server)

    def _written(self, record: ConnectorRecord) -> None:
        of_server = self._connectors.setdefault(record.server, {})
        former = of_server.get(record.id)
        of_server[record.id] = record
        self._tunnels.setdefault(record.tunnel, {})[record.id] = record
        if former is None:
            self._observer.connector_up(record)
        else:
            self._observer.connector_changed(record, former)

    def _gone(self, server: UUID, connector: UUID) -> None:
        record = self._connectors.get(server, {}).pop(connector, None)
        if record is None:
            return
        of_tunnel = self._tunnels[record.tunnel]
        of_tunnel.pop(connector, None)
        if not of_tunnel:
            del self._tunnels[record.tunnel]
        self._observer.connector_gone(record)

    def _forget(self, server: UUID) -> None:
        for connector in list(self._connectors.get(server, ())):
            self._gone(server, connector)
        self._connectors.pop(server, None)
        if self._servers.pop(server, None) is not None:
            self._observer.server_gone(server)


class _Connection(Int32StringReceiver):
    """The connection to the registry."""

    _log = Logger()
    MAX_LENGTH = frames.MAX_FRAME
    transport: Any

    def __init__(self, owner: SocketRegistry) -> None:
        self._owner = owner
        self._asked: deque[Deferred[int]] = deque()

    def send(self, frame: bytes) -> None:
        """Say something."""
        self.sendString(frame)  # type: ignore[no-untyped-call]

    def ask(self, frame: bytes) -> Deferred[int]:
        """Say something that is answered with a number."""
        answer: Deferred[int] = Deferred()
        self._asked.append(answer)
        self.send(frame)
        return answer

    def connectionMade(self) -> None:
        self._owner.connected(self)

    def stringReceived(self, string: bytes) -> None:
        kind, content = string[:1], string[1:]
        try:
            if kind == frames.COUNT and self._asked:
                self._asked.popleft().callback(frames.read_number(content))
            else:
                self._owner.heard(kind, content)
        except RecordError as error:
            self._owner.stats.malformed += 1
            self._log.error("the registry of this server cannot be understood: {error}", error=str(error))
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        asked, self._asked = self._asked, deque()
        for answer in asked:
            answer.errback(RegistryUnavailable("the first process of the server does not answer"))
        self._owner.lost()
