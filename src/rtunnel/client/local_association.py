"""The datagrams of one local program: an association."""

from __future__ import annotations

import typing
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

from rtunnel.client.local_visit import LocalVisit, VisitOwner
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import VisitorSettings
from rtunnel.transport.datagrams import Association

__all__ = ["AssociationOwner", "LocalAssociation"]


class AssociationOwner(VisitOwner, typing.Protocol):
    """What an association asks of the local port that it belongs to."""

    settings: VisitorSettings
    stats: ClientStats
    reactor: Any

    def answered(self, association: LocalAssociation) -> None:
        """An association has got an answer."""

    def association_ended(self, association: LocalAssociation) -> None:
        """An association is over."""


class LocalAssociation:
    """The datagrams between one local address and its visit; owned by the port.

    :ivar socket: whose transport answers.
    """

    def __init__(self, port: AssociationOwner, address: Any, socket: Any) -> None:
        self.address = address
        self.socket = socket
        self._port = port
        self._visit = LocalVisit(port)
        host, number = address
        kind: Any = IPv6Address if ":" in host else IPv4Address
        self._association = Association(
            self._answer,
            peer=kind("UDP", host, number),
            host=socket.transport.getHost(),
            idle=port.settings.udp.idle,
            reactor=port.reactor,
            on_drop=port.stats.drop,
            on_end=self._ended,
        )
        self._association.protocol = self._visit
        self._visit.makeConnection(self._association)  # type: ignore[no-untyped-call]

    @property
    def over(self) -> bool:
        """Whether nothing that is sent goes anywhere any more."""
        return self._association.over

    def send(self, datagram: bytes) -> None:
        """Send a datagram to the target."""
        self._association.received(datagram)

    def evict(self) -> None:
        """End it in favour of another one."""
        self._visit.abort(LocalPortOutcome.EVICTED)

    def _answer(self, datagram: bytes) -> None:
        self._port.answered(self)
        self.socket.transport.write(datagram, self.address)

    def _ended(self) -> None:
        self._port.association_ended(self)
