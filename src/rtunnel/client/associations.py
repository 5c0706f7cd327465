"""The local port of a visitor for UDP: the datagrams of each address are an association, which is a visit of its own.

gost's visitor makes a visit for each datagram, and has its answer only if one comes (go-gost/x ``handler/forward/local``).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from rtunnel.client.visitor import LocalVisit, VisitorPort
from rtunnel.outcomes import DatagramLoss
from rtunnel.settings import Address, VisitorSettings
from rtunnel.transport.datagrams import Association, listen_udp

__all__ = ["AssociationPort"]

RETRY_COOLDOWN = 1.0
"""Seconds after a visit was turned away in which no address gets another: each of its datagrams would ask the server anew."""


class AssociationPort(VisitorPort):
    """One local port of a visitor, of UDP; owned by the client's service.

    :ivar associations: by the address of the visitor, the one that was silent longest first.
    """

    def __init__(self, settings: VisitorSettings, **more: Any) -> None:
        super().__init__(settings, **more)
        self.associations: dict[Any, tuple[Association, LocalVisit]] = {}
        self._respite_until = 0.0
        self._closed: Deferred[Any] | None = None

    def _bind(self, listen: Address) -> Any:
        return listen_udp(self.reactor, listen.host, listen.port, _Socket(self))

    def close(self) -> Deferred[Any]:
        """Take no more associations; fires when the port is free: those that are under way share it to their end."""
        if self._closed is None:
            self._closed = Deferred()
            if not self.visits:
                self._free(self._closed)
        return self._closed

    def cut(self) -> None:
        """Cut what is left."""
        super().cut()
        if self._closed is not None and self.port is not None:
            self._free(self._closed)

    def _free(self, closed: Deferred[Any]) -> None:
        super().close().chainDeferred(closed)

    @property
    def busy(self) -> bool:
        """Whether bytes moved since the last look; nobody can say whether a datagram is still to be answered."""
        moved = sum(visit.moved for visit in self.visits)
        before, self._moved = self._moved, moved
        return bool(self.visits) and moved != before

    def turned_away(self, peer: str, what: str) -> None:
        """Log why, and leave the server alone for a moment."""
        super().turned_away(peer, what)
        self._respite_until = self.reactor.seconds() + RETRY_COOLDOWN

    def datagram(self, datagram: bytes, address: Any, socket: Any) -> None:
        """A visitor sent a datagram.

        :param socket: whose transport answers.
        """
        known = self.associations.pop(address, None)
        if known is None or known[0].over:
            if self._closed is not None or self.reactor.seconds() < self._respite_until:
                self.stats.drop(DatagramLoss.COOLDOWN)
                return
            known = self._associate(address, socket)
        self.associations[address] = known
        known[0].received(datagram)

    def _associate(self, address: Any, socket: Any) -> tuple[Association, LocalVisit]:
        """A new association; where there are too many, in the place of another one."""
        while len(self.associations) >= self.settings.udp.associations:
            _, visit = self.associations.pop(next(iter(self.associations)))
            visit.displace()
        host, port = address
        made: Any = IPv6Address if ":" in host else IPv4Address
        association = Association(
            partial(self._answer, address, socket),
            peer=made("UDP", host, port),
            host=socket.transport.getHost(),
            idle=self.settings.udp.idle,
            reactor=self.reactor,
            on_drop=self.stats.drop,
            on_end=lambda: self._forget(address, association),
        )
        local = association.protocol = self.buildProtocol(address)
        local.makeConnection(association)  # type: ignore[no-untyped-call]
        return association, local.visit

    def _answer(self, address: Any, socket: Any, datagram: bytes) -> None:
        known = self.associations.pop(address, None)
        if known is not None:
            self.associations[address] = known
        socket.transport.write(datagram, address)

    def _forget(self, address: Any, association: Association) -> None:
        known = self.associations.get(address)
        if known is not None and known[0] is association:
            del self.associations[address]


class _Socket(DatagramProtocol):
    """Gives what comes to the port."""

    noisy = False
    transport: Any

    def __init__(self, port: AssociationPort) -> None:
        self._port = port

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._port.datagram(datagram, addr, self)
