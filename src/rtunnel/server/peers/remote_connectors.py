"""The connectors of other servers, as rows of the tunnel registry.

A connector of another server is chosen like any other one as long as the link to that server is up; then its pool opens streams
over that link. A client that is attached to several servers counts once: of the connectors of one client the local one is a row,
else the one with the smallest ID, and the others wait until that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from twisted.logger import Logger

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.status import PeerStatus
from rtunnel.outcomes import Limit
from rtunnel.registry.records import ConnectorRecord, ServerRecord
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.health import HealthMonitor
from rtunnel.server.peers.peer_link import PeerLink, Self
from rtunnel.server.upstream import LinkFull, UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.link import Link
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.peers import stream_prefix

__all__ = ["RemoteConnectors", "RemotePool"]

BATCH = 200
"""Connectors of a server that are looked at in one turn."""

ClientKey = tuple[UUID, str, bytes]
"""What a client is known by at all servers: its tunnel, its user, and what it calls itself."""


class RemotePool(UpstreamPool):
    """The pool of a connector of another server: each stream begins with the connector's ID.

    :param link: the link to that server.
    """

    __slots__ = ("_knows_signals", "_prefix", "_stats")

    is_remote = True

    def __init__(self, link: Link, record: ConnectorRecord, http: HttpSettings, stats: ServerStats) -> None:
        limits = HeadLimits(http.head_bytes, http.line_bytes, http.header_count)
        super().__init__(link, limits=limits, idle=http.pool_idle if http.pool else 0)
        self._prefix = stream_prefix(record.id)
        self._knows_signals = bool(record.instance)
        self._stats = stats.peers

    @property
    def knows_signals(self) -> bool:
        """Whether its client knows our signals: those who do say who they are."""
        return self._knows_signals

    def open_raw(self, protocol: Any) -> TunnelStream:
        """Open a stream; how many there may be is up to the other server."""
        if self.link.full:
            raise LinkFull(Limit.LINK_BUFFER, "too much waits for the other server")
        stream = self.link.open_stream(protocol)
        self._stats.streams_out += 1
        stream.write(self._prefix)
        return stream


class _Peer:
    """One other server.

    :ivar link: the way to it, None as long as none is needed.
    :ivar connectors: those that it has.
    :ivar rows: those of them that are rows of the tunnel registry.
    """

    def __init__(self, record: ServerRecord) -> None:
        self.record = record
        self.link: PeerLink | None = None
        self.connectors: dict[UUID, ConnectorRecord] = {}
        self.rows: dict[UUID, Connector[UpstreamPool]] = {}

    @property
    def up(self) -> bool:
        """Whether its connectors can be used."""
        return self.link is not None and self.link.link is not None

    def has_row(self, connector: UUID) -> bool:
        """Whether a connector is a row over the link that there is now."""
        row = self.rows.get(connector)
        return row is not None and self.link is not None and row.pool.link is self.link.link

    @property
    def state(self) -> str:
        """How it stands with it, for the status."""
        if self.record.leaving:
            return "leaving"
        if self.link is None:
            return "unused"
        return "suspect" if self.link.suspect else "up" if self.up else "connecting"


class RemoteConnectors:
    """Those of all other servers; owned by what the server shares with others, which tells it what the shared registry says.

    :param registry: the tunnel registry of this server.
    :param health: that of its connectors.
    :param http: how their responses are read.
    :param me: what this server reaches others with.
    """

    _log = Logger()

    def __init__(
        self,
        registry: TunnelRegistry[UpstreamPool],
        health: HealthMonitor,
        stats: ServerStats,
        http: HttpSettings,
        me: Self,
    ) -> None:
        self.http = http
        self._registry = registry
        self._health = health
        self._stats = stats
        self._me = me
        self._peers: dict[UUID, _Peer] = {}
        self._leaving: list[PeerLink] = []
        """Links to servers that are gone from the registry, but still carry something."""
        self._settling = 0
        """Servers of whose connectors some are looked at in the next turn."""
        self._closed = False
        self._local: dict[ClientKey, set[UUID]] = {}
        self._clients: dict[ClientKey, dict[UUID, _Peer]] = {}
        """The connectors of each client that says who it is, and their servers."""

    # -- what the shared registry says

    def server_up(self, record: ServerRecord) -> None:
        """Another server is there."""
        self._peers[record.id] = _Peer(record)

    def server_changed(self, record: ServerRecord) -> None:
        """It says something else about itself."""
        peer = self._peers.get(record.id)
        if peer is not None:
            peer.record = record

    def server_gone(self, server: UUID) -> None:
        """It is gone; what its link still carries goes on."""
        peer = self._peers.pop(server, None)
        if peer is None:
            return
        for record in list(peer.connectors.values()):
            self._remove(peer, record)
        if peer.link is not None:
            self._leaving.append(peer.link)
            self._close_idle()

    def connector_up(self, record: ConnectorRecord) -> None:
        """A connector of another server."""
        peer = self._peers.get(record.server)
        if peer is None or record.held:
            return
        peer.connectors[record.id] = record
        key = _key(record)
        if key is not None:
            self._clients.setdefault(key, {})[record.id] = peer
        if peer.link is None:
            self._open(peer)
        self._settle(peer, record)

    def connector_changed(self, record: ConnectorRecord) -> None:
        """Something else is true of it."""
        peer = self._peers.get(record.server)
        if peer is None:
            return
        former, row = peer.connectors.get(record.id), peer.rows.get(record.id)
        if former is None or record.held or _fixed(former) != _fixed(record):
            if former is not None:
                self._remove(peer, former)
            self.connector_up(record)
            return
        peer.connectors[record.id] = record
        if row is not None:
            row.name = record.name
            self._avoid(peer, row, record)

    def connector_gone(self, record: ConnectorRecord) -> None:
        """It is gone."""
        peer = self._peers.get(record.server)
        former = peer.connectors.get(record.id) if peer is not None else None
        if peer is not None and former is not None:
            self._remove(peer, former)

    def _remove(self, peer: _Peer, record: ConnectorRecord) -> None:
        del peer.connectors[record.id]
        self._remove_row(peer, record.id)
        key = _key(record)
        if key is not None:
            others = self._clients.get(key, {})
            others.pop(record.id, None)
            if not others:
                self._clients.pop(key, None)
            self._settle_client(key)

    # -- clients of this server

    def joined_here(self, connector: Connector[UpstreamPool]) -> None:
        """A client of this server says who it is: its connectors at others do not count any more."""
        key = (connector.tunnel, connector.user, connector.instance)
        self._local.setdefault(key, set()).add(connector.id)
        self._settle_client(key)

    def left_here(self, connector: Connector[UpstreamPool]) -> None:
        """It is gone: they count."""
        key = (connector.tunnel, connector.user, connector.instance)
        here = self._local.get(key)
        if here is not None:
            here.discard(connector.id)
            if not here:
                del self._local[key]
                self._settle_client(key)

    # -- rows

    def _settle(self, peer: _Peer, record: ConnectorRecord) -> None:
        """Make a connector a row, if it can be used and counts; else make it none."""
        key = _key(record)
        if key is not None:
            self._settle_client(key)
        elif not peer.has_row(record.id):
            self._remove_row(peer, record.id)
            self._add_row(peer, record)

    def _settle_client(self, key: ClientKey) -> None:
        """Of all connectors of a client, make one a row."""
        candidates = self._clients.get(key, {})
        usable = [connector for connector, peer in candidates.items() if peer.up]
        chosen = min(usable, key=lambda connector: connector.int) if usable and key not in self._local else None
        for connector, peer in candidates.items():
            if connector == chosen and peer.has_row(connector):
                continue
            self._remove_row(peer, connector)
            if connector == chosen:
                self._add_row(peer, peer.connectors[connector])

    def _add_row(self, peer: _Peer, record: ConnectorRecord) -> None:
        link = peer.link.link if peer.link is not None else None
        if link is None:
            return
        try:
            filters = tuple(map(InterceptFilter.parse, record.filters))
        except ValueError as error:
            self._log.warn(
                "connector {connector} of {server} gets no requests from here, since a filter of it is not understood: {reason}",
                connector=short_id(record.id),
                server=link.peer,
                reason=str(error),
            )
            return
        row: Connector[UpstreamPool] = Connector(
            id=record.id,
            tunnel=record.tunnel,
            weight=record.weight,
            pool=RemotePool(link, record, self.http, self._stats),
            peer=record.peer,
            user=record.user,
            since=record.since,
            datagrams=record.datagrams,
            name=record.name,
            filters=filters,
            cacheable=record.cacheable,
            pod=record.pod,
        )
        row.instance = record.instance
        peer.rows[record.id] = row
        self._avoid(peer, row, record)
        self._registry.add(row)

    def _remove_row(self, peer: _Peer, connector: UUID) -> None:
        row = peer.rows.pop(connector, None)
        if row is not None:
            self._registry.remove(row)
            self._health.forget(row)
            row.pool.retire()

    def _avoid(self, peer: _Peer, row: Connector[UpstreamPool], record: ConnectorRecord) -> None:
        self._registry.avoid(row, record.avoided or (peer.link is not None and peer.link.suspect))

    # -- links

    def _open(self, peer: _Peer) -> None:
        def changed() -> None:
            self._settle_some(peer, list(peer.connectors))

        if peer.record.address:
            peer.link = PeerLink(peer.record, self._me, on_up=changed, on_down=changed, on_suspect=changed)
            peer.link.open()

    def _settle_some(self, peer: _Peer, left: list[UUID]) -> None:
        """Look at some connectors of a server whose link is up, lost or suspect, and at the others in the turns that follow.

        There may be very many. A row whose link is lost costs a request nothing but the way to the next one.
        """
        some, rest = left[:BATCH], left[BATCH:]
        for connector in some:
            record = peer.connectors.get(connector)
            if record is not None:
                self._settle(peer, record)
                row = peer.rows.get(connector)
                if row is not None:
                    self._avoid(peer, row, record)
        if rest and not self._closed:
            self._settling += 1
            self._me.reactor.callLater(0, self._settle_rest, peer, rest)

    def _settle_rest(self, peer: _Peer, left: list[UUID]) -> None:
        self._settling -= 1
        self._settle_some(peer, left)

    @property
    def links(self) -> list[PeerLink]:
        """Those to other servers."""
        return [*(peer.link for peer in self._peers.values() if peer.link is not None), *self._leaving]

    @property
    def tried(self) -> bool:
        """Whether it is known of each server with connectors if it can be reached, and its connectors are rows if it can."""
        return not self._settling and all(link.tried for link in self.links)

    def status(self) -> Iterator[PeerStatus]:
        """The other servers."""
        for peer in self._peers.values():
            yield PeerStatus(
                server=short_id(peer.record.id),
                name=peer.record.name,
                address=peer.record.address,
                state=peer.state,
                connectors=len(peer.rows),
                streams=0 if peer.link is None else peer.link.carrying,
            )

    def sweep(self, now: float, step: float) -> None:
        """Watch the links, and close idle streams."""
        for link in self.links:
            link.sweep(step)
        self._close_idle()
        for peer in self._peers.values():
            for row in peer.rows.values():
                if row.pool.free:
                    row.pool.sweep(now)

    def _close_idle(self) -> None:
        for link in list(self._leaving):
            if not link.carrying:
                self._leaving.remove(link)
                link.close()

    def close(self) -> None:
        """The server stops: close all links."""
        self._closed = True
        for link in self.links:
            link.close()


def _key(record: ConnectorRecord) -> ClientKey | None:
    return (record.tunnel, record.user, record.instance) if record.instance else None


def _fixed(record: ConnectorRecord) -> tuple[Any, ...]:
    """What of a record a row cannot change."""
    return (
        record.tunnel,
        record.weight,
        record.datagrams,
        record.user,
        record.filters,
        record.cacheable,
        record.pod,
        record.instance,
    )
