"""The copy that a server keeps of what the others have in the registry, without any I/O.

Each server numbers its changes. What comes in order is applied; when a number is missing, what that server has is read again
(:class:`Reading`) while further changes come in. A server that is silent for :data:`SILENCE` is gone with all that it has.

Redis gives the records of a server in pages, each of which is as old as the moment in which it was read. So what changes while they
are read is applied at once, and is newer than any page; what was neither on a page nor changed meanwhile is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

from rtunnel.registry.interfaces import RegistryObserver
from rtunnel.registry.messages import Change
from rtunnel.registry.records import ConnectorRecord, ServerRecord

__all__ = ["MAX_AHEAD", "SILENCE", "Reading", "View"]

SILENCE: Final = 4.0
"""Seconds without a sign of life after which a server is gone: two signs and the half of one; noticed half a second later."""
MAX_STEP: Final = 1.0
"""Seconds that are counted at once at most: a process that was stopped has not listened."""
MAX_AHEAD: Final = 1000
"""Changes that may come before what they change is read; of more, all is read again."""


class _Peer:
    """What is known of another server."""

    __slots__ = ("ahead", "connectors", "heard", "id", "number", "reading", "record", "silence")

    def __init__(self, server: UUID) -> None:
        self.id = server
        self.record: ServerRecord | None = None
        """None until it was read."""
        self.connectors: dict[UUID, ConnectorRecord] = {}
        self.number: int | None = None
        """Of the latest change that was applied; None when something is missing."""
        self.ahead: list[Change] = []
        """Changes that came while something was missing."""
        self.heard = 0
        """The highest number that was heard of."""
        self.reading: Reading | None = None
        self.silence = 0.0

    def miss(self) -> None:
        """Something is missing: nothing is applied until all is read again."""
        self.number = None
        self.reading = None


class View:
    """The copy; owned by the registry, which feeds it.

    :param own: the ID of the server itself, whose records are none of it.
    :param observer: hears of what changes.
    :ivar connectors: how many records there are, without held leases.
    :ivar gaps: how often something was missing.
    """

    def __init__(self, own: UUID, observer: RegistryObserver) -> None:
        self._own = own
        self._observer = observer
        self._peers: dict[UUID, _Peer] = {}
        self._tunnels: dict[UUID, dict[UUID, ConnectorRecord]] = {}
        self.connectors = 0
        self.gaps = 0

    # -- what is known

    def records(self, tunnel: UUID) -> Collection[ConnectorRecord]:
        """The records for a tunnel, as they are now and change: not a copy."""
        return self._tunnels.get(tunnel, {}).values()

    @property
    def tunnels(self) -> tuple[UUID, ...]:
        """Those that have records."""
        return tuple(self._tunnels)

    @property
    def servers(self) -> tuple[ServerRecord, ...]:
        """The other servers."""
        return tuple(peer.record for peer in self._peers.values() if peer.record is not None)

    def server(self, server: UUID) -> ServerRecord | None:
        """What a server says of itself."""
        peer = self._peers.get(server)
        return None if peer is None else peer.record

    @property
    def missing(self) -> tuple[UUID, ...]:
        """The servers of which something is missing, so that they have to be read, or are being read."""
        return tuple(server for server, peer in self._peers.items() if peer.number is None or peer.reading is not None)

    @property
    def unread(self) -> tuple[UUID, ...]:
        """The servers that have to be read, and are not being read."""
        return tuple(server for server, peer in self._peers.items() if peer.number is None)

    # -- what comes in

    def found(self, servers: Iterable[UUID]) -> None:
        """These servers are there; what they have is not known, or may have changed meanwhile."""
        for server in servers:
            if server != self._own and server not in self._peers:
                self._peers[server] = _Peer(server)
        for peer in self._peers.values():
            peer.miss()
            peer.ahead.clear()
            peer.silence = 0.0

    def receive(self, change: Change) -> None:
        """A change was published."""
        if change.server == self._own:
            return
        if change.stops:
            self._forget(change.server)
            return
        peer = self._peers.get(change.server)
        if peer is None:
            peer = self._peers[change.server] = _Peer(change.server)
        peer.silence = 0.0
        peer.heard = max(peer.heard, change.number)
        if peer.number is None:
            if not change.is_sign_of_life:
                peer.ahead.append(change)
                if len(peer.ahead) > MAX_AHEAD:
                    # the oldest ones: if they are needed after all, a number will be missing
                    del peer.ahead[: MAX_AHEAD // 2]
            return
        self._take(peer, change)

    def misunderstood(self, server: UUID) -> None:
        """A message of a server could not be read: what it has said is not known."""
        peer = self._peers.get(server)
        if peer is not None and peer.number is not None:
            self._miss(peer)

    def _take(self, peer: _Peer, change: Change) -> bool:
        """Apply a change if it is the next one, else notice that something is missing; returns whether nothing is."""
        if peer.number is None:
            return False
        if change.number <= peer.number:
            return True
        if change.is_sign_of_life or change.anew or change.number > peer.number + 1:
            self._miss(peer)
            return False
        peer.number = change.number
        if change.server_record is not None:
            self._describe(peer, change.server_record)
        for record in change.written:
            if peer.reading is not None:
                peer.reading.newer.add(record.id)
            self._write(peer, record)
        for connector in change.gone:
            if peer.reading is not None:
                peer.reading.newer.add(connector)
            self._remove(peer, connector)
        return True

    def _miss(self, peer: _Peer) -> None:
        self.gaps += 1
        peer.miss()

    def read(self, server: UUID, number: int, record: ServerRecord) -> Reading | None:
        """The records of a server are about to be read.

        :param number: of its latest change, before the first page is read.
        :returns: takes the pages; None if nobody knows the server any more.
        """
        peer = self._peers.get(server)
        if peer is None:
            return None
        peer.number = number
        peer.reading = reading = Reading(self, peer)
        self._describe(peer, record)
        ahead, peer.ahead = peer.ahead, []
        for position, change in enumerate(ahead):
            if not self._take(peer, change):
                peer.ahead = ahead[position:]
                return reading
        if (peer.number or 0) < peer.heard:
            # what was read is older than what was heard of
            self._miss(peer)
        return reading

    def absent(self, server: UUID) -> None:
        """The registry has nothing of a server that was to be read: it is gone, or will soon write all anew."""
        peer = self._peers.get(server)
        if peer is not None and peer.record is None:
            del self._peers[server]

    def advance(self, seconds: float) -> None:
        """Count time in which others could be heard."""
        step = min(seconds, MAX_STEP)
        for server, peer in list(self._peers.items()):
            peer.silence += step
            if peer.silence >= SILENCE:
                self._forget(server)

    def clear(self) -> None:
        """Forget everything."""
        for server in list(self._peers):
            self._forget(server)

    # -- changes, as others hear of them

    def _describe(self, peer: _Peer, record: ServerRecord) -> None:
        former, peer.record = peer.record, record
        if former is None:
            self._observer.server_up(record)
        elif former != record:
            self._observer.server_changed(record)

    def _write(self, peer: _Peer, record: ConnectorRecord) -> None:
        former = peer.connectors.get(record.id)
        if former == record:
            return
        if former is not None and former.tunnel != record.tunnel:
            self._remove(peer, record.id)
            former = None
        self.connectors += (not record.held) - (former is not None and not former.held)
        peer.connectors[record.id] = record
        self._tunnels.setdefault(record.tunnel, {})[record.id] = record
        if former is None:
            self._observer.connector_up(record)
        else:
            self._observer.connector_changed(record, former)

    def _remove(self, peer: _Peer, connector: UUID) -> None:
        record = peer.connectors.pop(connector, None)
        if record is None:
            return
        self.connectors -= not record.held
        of_tunnel = self._tunnels[record.tunnel]
        del of_tunnel[connector]
        if not of_tunnel:
            del self._tunnels[record.tunnel]
        self._observer.connector_gone(record)

    def _forget(self, server: UUID) -> None:
        peer = self._peers.pop(server, None)
        if peer is None:
            return
        peer.miss()
        for connector in list(peer.connectors):
            self._remove(peer, connector)
        if peer.record is not None:
            self._observer.server_gone(server)


class Reading:
    """The records of a server as they are read, page by page; of no use once something is missing again.

    :param view: that they are read for.
    :param peer: the server.
    :ivar newer: connectors that have changed since it began.
    """

    def __init__(self, view: View, peer: _Peer) -> None:
        self._view = view
        self._peer = peer
        self.newer: set[UUID] = set()
        self._seen: set[UUID] = set()

    @property
    def void(self) -> bool:
        """Whether its pages are of no use any more."""
        return self._peer.reading is not self

    def page(self, records: Iterable[ConnectorRecord]) -> None:
        """Take some of the records."""
        if self.void:
            return
        for record in records:
            if record.id not in self.newer:
                self._seen.add(record.id)
                self._view._write(self._peer, record)

    def over(self) -> None:
        """All pages were read."""
        if self.void:
            return
        self._peer.reading = None
        known = self._seen | self.newer
        for connector in [connector for connector in self._peer.connectors if connector not in known]:
            self._view._remove(self._peer, connector)
