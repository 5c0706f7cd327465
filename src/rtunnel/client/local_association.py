"""The datagrams of one local program: an association, whose visit may end before the last one is answered."""

from __future__ import annotations

import typing
from collections import deque
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address

from rtunnel.client.local_visit import LocalVisit, VisitOwner
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import VisitorSettings
from rtunnel.transport.datagrams import Association

__all__ = ["AssociationOwner", "LocalAssociation"]

RESEND_WITHIN = 1.0
"""Seconds after it was sent in which a datagram may still be on its way to the target, and is sent again when its visit ends."""
END_WITHIN = 0.2
"""Seconds after its first answer within which a visit ends that a gost's client ends with it."""
MAX_UNANSWERED = 64
"""Datagrams of one association that are remembered until they are answered."""


class AssociationOwner(VisitOwner, typing.Protocol):
    """What an association asks of the local port that it belongs to."""

    settings: VisitorSettings
    stats: ClientStats
    reactor: Any

    @property
    def single_answer(self) -> bool:
        """Whether the other end of the tunnel ends a visit with its first answer."""

    def answered(self, association: LocalAssociation) -> None:
        """An association has got an answer."""

    def association_ended(self, association: LocalAssociation) -> None:
        """An association is over."""


@frozen
class _Sent:
    """A datagram that has no answer yet.

    :ivar at: when it was sent.
    :ivar again: whether that was the second time.
    """

    at: float
    datagram: bytes
    again: bool


class LocalAssociation:
    """The datagrams between one local address and its visit; owned by the port.

    :ivar socket: whose transport answers.
    :ivar ended_here: whether it was ended by this end.
    """

    def __init__(self, port: AssociationOwner, address: Any, socket: Any) -> None:
        self.address = address
        self.socket = socket
        self.ended_here = False
        self._port = port
        self._unanswered: deque[_Sent] = deque(maxlen=MAX_UNANSWERED)
        self._answers = 0
        self._answered_at = 0.0
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

    @property
    def ended_with_first_answer(self) -> bool:
        """Whether the first answer was the only one, and the end came right after it; asked when it ends."""
        return self._answers == 1 and self._port.reactor.seconds() - self._answered_at < END_WITHIN

    def send(self, datagram: bytes, *, again: bool) -> None:
        """Send a datagram to the target.

        :param again: whether it was sent before, in another association.
        """
        self._unanswered.append(_Sent(self._port.reactor.seconds(), datagram, again))
        self._association.received(datagram)

    def unanswered(self) -> list[bytes]:
        """What may have been on its way when the visit ended, and was sent only once."""
        since = self._port.reactor.seconds() - RESEND_WITHIN
        return [sent.datagram for sent in self._unanswered if sent.at > since and not sent.again and self._visit.let_in]

    def evict(self) -> None:
        """End it in favour of another one."""
        self.ended_here = True
        self._unanswered.clear()
        self._visit.abort(LocalPortOutcome.EVICTED)

    def _answer(self, datagram: bytes) -> None:
        if self._unanswered:
            # which one it answers cannot be known; most likely the oldest
            self._unanswered.popleft()
        self._answers += 1
        self._answered_at = self._port.reactor.seconds()
        self._port.answered(self)
        self.socket.transport.write(datagram, self.address)
        if self._port.single_answer:
            self.ended_here = True
            self._association.loseWriteConnection()

    def _ended(self) -> None:
        self._port.association_ended(self)
