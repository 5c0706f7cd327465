"""What a server shares with the others of its installation: its connectors are published, and those of others become rows here.

Three parts meet here: the shared registry (:mod:`rtunnel.registry`), which says what others have; the tunnel registry, out of which
connectors are chosen; and the peer links (:mod:`rtunnel.server.peers`), over which one server reaches the connectors of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from platform import node
from time import time
from typing import Any, Final
from uuid import UUID, uuid4

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from rtunnel import __version__
from rtunnel.auth.access_control import AccessControl
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.registry.records import ConnectorRecord, ServerRecord
from rtunnel.routing.leases import LeaseTerms
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.deadlines import SWEEP
from rtunnel.server.health import HealthMonitor
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.peers.forwarding import Forwarding
from rtunnel.server.peers.peer_link import Self
from rtunnel.server.peers.peer_listener import PeerListener
from rtunnel.server.peers.remote_connectors import RemoteConnectors
from rtunnel.server.peers.trust import PeerTrust
from rtunnel.server.shared_guesses import SharedGuesses
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings, PeerSettings

__all__ = ["Replicas", "WorkerPlace"]

NOTICED: Final = 0.5
"""Seconds in which others notice that connectors were taken back; what they send until then is still forwarded."""
MAX_STEP: Final = 2 * SWEEP
"""Seconds that one sweep counts at most."""


@attrs.frozen
class WorkerPlace:
    """That a server is one of several processes which listen at the same ports (``--workers``).

    :ivar name: by which the others know it.
    :ivar socket: the unix socket at which they reach it; ``None`` for the port of the settings.
    """

    name: str
    socket: str | None = None


class Replicas:
    """The connection of one server to the others; owned by the service, which sweeps it.

    It is the :class:`~rtunnel.registry.interfaces.RegistryObserver` of the shared registry, and the watcher of the tunnel registry.

    :param shared: the shared registry, which it starts and stops.
    :param settings: how peers are reached.
    :param registry: the tunnel registry.
    :param health: that of the connectors.
    :param http: how responses of the connectors of others are read.
    :param leases: those of this server.
    :param terms: those of the leases of a tunnel.
    :param controls: returns the access control of each listener.
    :param place: if it is one of several workers.
    :raises StartError: a secret or certificate cannot be used.
    :ivar leases: what is shared of them, and what is known of those of others.
    :ivar guesses: wrong passwords.
    """

    _log = Logger()

    def __init__(
        self,
        shared: SharedRegistry,
        settings: PeerSettings,
        *,
        registry: TunnelRegistry[UpstreamPool],
        health: HealthMonitor,
        leases: LeaseManager,
        stats: ServerStats,
        http: HttpSettings,
        terms: Callable[[UUID], LeaseTerms],
        controls: Callable[[], Iterable[AccessControl]],
        reactor: Any,
        place: WorkerPlace | None = None,
    ) -> None:
        self.id = uuid4()
        self.shared = shared
        self._settings = settings
        self._socket = None if place is None else place.socket
        self._registry = registry
        self.leases = SharedLeases(
            shared, self.id, manager=leases, registry=registry, record_of=self.record_of, terms=terms, reactor=reactor
        )
        leases.sharing = self.leases
        self.guesses = SharedGuesses(shared, controls)
        stats.registry = shared
        self._local: dict[UUID, Connector[UpstreamPool]] = {}
        trust = PeerTrust(settings, reactor)
        self._listener = PeerListener(self.id, trust, Forwarding(self._local.get, stats), stats, reactor)
        me = Self(self.id, trust, trust.connecting, stats, reactor)
        self.remote = RemoteConnectors(registry, health, stats, http, me)
        self._record = ServerRecord(id=self.id, name=node() if place is None else place.name, software=__version__, since=time())
        self._started = False
        self._withdrawn: float | None = None
        """When the connectors of this server were taken back."""
        self._reactor = reactor
        self._swept: float | None = None

    # -- begin and end

    def bind(self) -> None:
        """Open the port for peers.

        :raises StartError: it cannot be opened.
        """
        if self._socket is not None:
            self._listener.listen_at(self._socket)
            self._record = attrs.evolve(self._record, address=self._socket)
        elif self._settings.listen is not None:
            bound = self._listener.listen(self._settings.listen)
            address = self._settings.address or bound
            if not address.port:
                address = attrs.evolve(address, port=bound.port)
            self._record = attrs.evolve(self._record, address=str(address))
            self._log.info("port for peers on {bound}; others reach it at {address}", bound=str(bound), address=str(address))

    def start(self) -> None:
        """Tell the others of this server, and hear of them."""
        self._log.info("this is server {id}", id=short_id(self.id))
        self._started = True
        self._registry.watcher = self
        self.shared.start(self._record, self)

    @property
    def complete(self) -> bool:
        """Whether this server knows what the others have, and which of them it reaches."""
        return self.shared.complete and self.remote.tried

    def leave(self) -> None:
        """The server is about to stop: say so. Its connectors stay until their clients have joined elsewhere."""
        if self._started:
            self._record = attrs.evolve(self._record, leaving=True)
            self.shared.announce(self._record)

    def withdraw(self) -> None:
        """Take the connectors of this server back: others send nothing new; what is on its way is still forwarded."""
        if self._started and self._withdrawn is None:
            self._withdrawn = self._reactor.seconds()
            self.leases.hand_over()
            for connector in self._local:
                self.shared.withdraw(connector)

    @property
    def busy(self) -> bool:
        """Whether others have streams for connectors of this server in progress, or may not know yet that these were taken back."""
        before = self._withdrawn
        return self._listener.busy or (before is not None and self._reactor.seconds() - before < NOTICED)

    def stop(self) -> Deferred[Any]:
        """End everything; fires when the port is closed and the registry knows that this server is gone."""
        if self._registry.watcher is self:
            self._registry.watcher = None
        self.remote.close()
        stopping: list[Deferred[Any]] = [self._listener.close()]
        if self._started:
            self._started = False
            stopping.append(self.shared.stop())
        return DeferredList(stopping, consumeErrors=True)

    def sweep(self, now: float) -> None:
        """Count the time; see :meth:`~rtunnel.server.peers.remote_connectors.RemoteConnectors.sweep`."""
        step = SWEEP if self._swept is None else min(now - self._swept, MAX_STEP)
        self._swept = now
        self.remote.sweep(now, step)

    def buffered(self) -> int:
        """Bytes that wait in links to and from peers. Counted each time: not for hot paths."""
        links = [*self._listener.links, *(peer.link for peer in self.remote.links if peer.link is not None)]
        return sum([link.buffered() for link in links])

    # -- connectors of this server: the watcher of the tunnel registry

    def attached(self, connector: Connector[UpstreamPool]) -> None:
        """A connector is a row now."""
        if connector.pool.is_remote:
            return
        self._local[connector.id] = connector
        self._publish(connector)

    def detached(self, connector: Connector[UpstreamPool]) -> None:
        """It is none any more."""
        if self._local.pop(connector.id, None) is None:
            return
        self.shared.withdraw(connector.id)
        self.remote.left_here(connector)

    def changed(self, connector: Connector[UpstreamPool]) -> None:
        """Something else is true of it."""
        if connector.id in self._local:
            self._publish(connector)

    def _publish(self, connector: Connector[UpstreamPool]) -> None:
        if connector.instance:
            self.remote.joined_here(connector)
        if self._withdrawn is None:
            self.shared.publish(self.record_of(connector))

    def record_of(self, connector: Connector[UpstreamPool]) -> ConnectorRecord:
        """What others are told of a connector."""
        return ConnectorRecord(
            id=connector.id,
            server=self.id,
            tunnel=connector.tunnel,
            weight=connector.weight,
            datagrams=connector.datagrams,
            name=connector.name,
            user=connector.user,
            peer=connector.peer,
            filters=tuple(map(str, connector.filters)),
            cacheable=connector.cacheable,
            instance=connector.instance,
            since=connector.since,
            avoided=connector.avoided,
            pod=connector.pod,
            lease=self.leases.lease_of(connector),
        )

    # -- other servers: the observer of the shared registry

    def server_up(self, server: ServerRecord) -> None:
        """Another server is there."""
        self._log.info("server {id} ({name}) is there", id=short_id(server.id), name=server.name or "?")
        self.remote.server_up(server)

    def server_changed(self, server: ServerRecord) -> None:
        """It says something else about itself."""
        self.remote.server_changed(server)

    def server_gone(self, server: UUID) -> None:
        """It is gone."""
        self._log.info("server {id} is gone", id=short_id(server))
        self.remote.server_gone(server)

    def connector_up(self, record: ConnectorRecord) -> None:
        """It has another connector."""
        self.remote.connector_up(record)
        self.leases.heard(record)

    def connector_changed(self, record: ConnectorRecord, former: ConnectorRecord) -> None:
        """Something else is true of one."""
        self.remote.connector_changed(record)
        self.leases.heard(record, former)

    def connector_gone(self, record: ConnectorRecord) -> None:
        """One is gone."""
        self.remote.connector_gone(record)
        self.leases.heard_end(record)

    def told(self, sender: UUID, message: bytes) -> None:
        """It says something to this server."""
        if not self.guesses.told(sender, message):
            self.leases.calls.told(sender, message)

    def availability(self, available: bool) -> None:
        """The registry can be reached, or cannot: the copy stays, and the peer links tell who is alive."""
