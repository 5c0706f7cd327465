"""The local port of a visitor for UDP: the datagrams of each address are an association, which is a visit of its own.

gost's visitor makes a visit for each datagram, and ends it with the first answer (go-gost/x ``handler/forward/local``). So does
gost's client (``bindUDPConn.Write`` in ``connector/tunnel/conn.go`` says that it wrote more than it was given), when the next
datagram may be on its way. So what has no answer when a visit ends is sent again, in a new visit; and where visits are seen to end
with the first answer, we end them ourselves, and each datagram that follows gets a new one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol

from rtunnel.client.local_association import LocalAssociation
from rtunnel.client.local_port import LocalPort
from rtunnel.outcomes import DatagramLoss
from rtunnel.settings import VisitorSettings
from rtunnel.transport.datagrams import listen_udp

__all__ = ["AssociationPort"]

RETRY_COOLDOWN = 1.0
"""Seconds after a visit was rejected in which no address gets another: each of its datagrams would ask the server anew."""
SINGLE_ANSWER_SIGNS = 2
"""Visits in a row that must have ended with their first answer, for the tunnel to be taken for one of a gost's client."""
SINGLE_ANSWER_TIME = 60.0
"""Seconds for which it is taken for one, until it is looked at anew."""


class AssociationPort(LocalPort):
    """One local port of a visitor, of UDP.

    :ivar associations: by the address of the local program, the one that was silent longest first.
    """

    def __init__(self, settings: VisitorSettings, **more: Any) -> None:
        super().__init__(settings, **more)
        self.associations: dict[Any, LocalAssociation] = {}
        self._cooldown_until = 0.0
        self._single_answer_signs = 0
        self._single_answer_until = 0.0
        self._closed: Deferred[Any] | None = None

    def _listen(self, host: str, port: int) -> IListeningPort:
        return listen_udp(self.reactor, host, port, _Socket(self))

    def close(self) -> Deferred[Any]:
        """Accept no more associations; fires when the port is free: those that are open share it to their end."""
        if self._closed is None:
            self._closed = Deferred()
            if not self.visits:
                super().close().chainDeferred(self._closed)
        return self._closed

    def cut(self) -> None:
        """Cut what is left."""
        super().cut()
        if self._closed is not None and self._listening is not None:
            super().close().chainDeferred(self._closed)

    def rejected(self, peer: str, reason: str) -> None:
        """Log why, and leave the server alone for a moment."""
        super().rejected(peer, reason)
        self._cooldown_until = self.reactor.seconds() + RETRY_COOLDOWN

    # -- datagrams

    def datagram(self, datagram: bytes, address: Any, socket: Any) -> None:
        """A local program sent a datagram.

        :param socket: whose transport answers.
        """
        self._forward(datagram, address, socket)

    @property
    def single_answer(self) -> bool:
        """Whether the other end of the tunnel ends a visit with its first answer."""
        return bool(self.reactor.seconds() < self._single_answer_until)

    def answered(self, association: LocalAssociation) -> None:
        """An association has got an answer: it is not the one that was silent longest."""
        if self.associations.get(association.address) is association:
            self.associations[association.address] = self.associations.pop(association.address)

    def association_ended(self, association: LocalAssociation) -> None:
        """An association is over; what of it has no answer is sent again, in a new one."""
        if self.associations.get(association.address) is association:
            del self.associations[association.address]
        if self._closed is not None:
            return
        if not association.ended_here:
            self._learn(association)
        for datagram in association.unanswered():
            self._forward(datagram, association.address, association.socket, again=True)

    def _learn(self, association: LocalAssociation) -> None:
        """See how the other end of the tunnel has ended a visit."""
        self._single_answer_signs = self._single_answer_signs + 1 if association.ended_with_first_answer else 0
        if self._single_answer_signs >= SINGLE_ANSWER_SIGNS:
            self._single_answer_signs = 0
            self._single_answer_until = self.reactor.seconds() + SINGLE_ANSWER_TIME

    def _forward(self, datagram: bytes, address: Any, socket: Any, *, again: bool = False) -> None:
        association = self.associations.pop(address, None)
        if association is None or association.over:
            if self._closed is not None or self.reactor.seconds() < self._cooldown_until:
                self.stats.drop(DatagramLoss.COOLDOWN)
                return
            while len(self.associations) >= self.settings.udp.associations:
                self.associations.pop(next(iter(self.associations))).evict()
            association = LocalAssociation(self, address, socket)
        self.associations[address] = association
        association.send(datagram, again=again)


class _Socket(DatagramProtocol):
    """Gives what comes to the port."""

    noisy = False
    transport: Any

    def __init__(self, port: AssociationPort) -> None:
        self._port = port

    def logPrefix(self) -> str:
        """What Twisted's own log calls the port."""
        return "visitor"

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._port.datagram(datagram, addr, self)
