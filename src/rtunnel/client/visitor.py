"""The local port of a visitor for TCP: each connection to it is a visit of its own."""

from __future__ import annotations

from functools import partial

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from rtunnel.client.local_port import LocalPort
from rtunnel.client.local_visit import LocalVisit
from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.sockets import listen_tcp

__all__ = ["VisitorPort"]


class _LocalPrograms(Factory):
    """Connections of local programs."""

    noisy = False

    def logPrefix(self) -> str:
        """What Twisted's own log calls the port."""
        return "visitor"


class VisitorPort(LocalPort):
    """One local port of a visitor, of TCP."""

    def _listen(self, host: str, port: int) -> IListeningPort:
        listening = listen_tcp(self.reactor, host, port, _LocalPrograms.forProtocol(partial(LocalVisit, self)))
        AcceptingPort(listening, self.reactor).use(FixedRoom("local programs", self.reactor))
        return listening

    def _awaits_answer(self) -> bool:
        return any(visit.unanswered for visit in self.visits)
