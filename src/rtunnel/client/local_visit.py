"""What a local program's connection is joined with: a visit of its own to a private tunnel."""

from __future__ import annotations

import typing
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.dialing import Once, no_delay
from rtunnel.client.visit_endpoint import VisitClientEndpoint, VisitFailed, VisitFailure
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.transport.sockets import host_and_port
from rtunnel.tunnel.link import Keepalive
from rtunnel.tunnel.liveness import LivenessMonitor
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.wire.relay import RelayAddress

__all__ = ["LocalVisit", "VisitOwner"]

_SPLICED = {
    SpliceOutcome.DONE: LocalPortOutcome.DONE,
    SpliceOutcome.NEAR_LOST: LocalPortOutcome.LOCAL_GONE,
    SpliceOutcome.FAR_LOST: LocalPortOutcome.REMOTE_GONE,
}
_FAILED = {
    VisitFailure.REFUSED: LocalPortOutcome.REFUSED,
    VisitFailure.MALFORMED_ANSWER: LocalPortOutcome.REFUSED,
    VisitFailure.UNREACHABLE: LocalPortOutcome.UNREACHABLE,
    VisitFailure.TIMED_OUT: LocalPortOutcome.UNREACHABLE,
}


class VisitOwner(typing.Protocol):
    """What a visit asks of the local port that it belongs to."""

    keepalive: Keepalive

    def visit_endpoint(self, source: RelayAddress) -> VisitClientEndpoint:
        """Make the endpoint that dials the tunnel for a local program.

        :param source: the address of the program.
        """

    def begun(self, visit: LocalVisit) -> None:
        """A local program has connected."""

    def rejected(self, peer: str, reason: str) -> None:
        """The tunnel could not be dialed for a local program."""

    def ended(self, visit: LocalVisit, outcome: LocalPortOutcome, up: int = 0, down: int = 0) -> None:
        """A visit has ended.

        :param up: bytes passed to the server.
        :param down: bytes passed from it.
        """


@implementer(IHalfCloseableProtocol)
class LocalVisit(Protocol):
    """One connection (or association) of a local program, and the visit that it is joined with; ends with one recorded outcome.

    It is the protocol of the local connection while the tunnel is dialed, during which nothing is read; then the two are spliced.

    :param port: owns it.
    :ivar let_in: whether the server has let the visit in.
    """

    transport: Any
    source: RelayAddress

    def __init__(self, port: VisitOwner) -> None:
        self.let_in = False
        self._port = port
        self._splice = Splice(self._spliced_end)
        self._dialing: Deferred[Any] | None = None
        self._liveness: LivenessMonitor | None = None
        self._cut: LocalPortOutcome | None = None

    @property
    def peer(self) -> str:
        """The local program's address, for logs."""
        return f"{self.source.host}:{self.source.port}"

    @property
    def moved(self) -> int:
        """Bytes passed so far, both ways."""
        return self._splice.near.received + self._splice.far.received

    @property
    def unanswered(self) -> bool:
        """Whether the server's or the target's answer is awaited."""
        return not self.let_in or self._splice.last is self._splice.near

    # -- until the server has answered

    def connectionMade(self) -> None:
        """Dial the tunnel."""
        no_delay(self.transport)
        self.transport.pauseProducing()
        self.source = RelayAddress(*host_and_port(self.transport.getPeer()))
        self._port.begun(self)
        self._dialing = dialing = self._port.visit_endpoint(self.source).connect(Once(self._splice.far))
        dialing.addCallbacks(self._admitted, self._not_admitted)

    def _admitted(self, _protocol: Any) -> None:
        splice, keepalive = self._splice, self._port.keepalive
        self._dialing = None
        self.let_in = True
        splice.near.attach(self.transport)
        self._liveness = LivenessMonitor(splice.far, keepalive)
        splice.join()
        splice.near.transport.resumeProducing()

    def _not_admitted(self, failure: Failure) -> None:
        self._dialing = None
        if self._cut is None:
            error = failure.value
            reason = error.reason if isinstance(error, VisitFailed) else VisitFailure.UNREACHABLE
            self._port.rejected(self.peer, str(error))
            # at once, so that the program sees an error rather than an empty answer
            self._give_up(_FAILED[reason])

    def dataReceived(self, data: bytes) -> None:
        """Never called: reading is paused."""

    def readConnectionLost(self) -> None:
        """Never called: reading is paused."""

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The local program left before the server had answered."""
        if self._cut is None:
            self._give_up(LocalPortOutcome.LOCAL_GONE)

    def _give_up(self, outcome: LocalPortOutcome) -> None:
        self._cut = outcome
        if self._dialing is not None:
            self._dialing.cancel()
        self.transport.abortConnection()
        self._port.ended(self, outcome)

    # -- from then on

    def check(self) -> None:
        """Cut the visit when the server gives no sign of life; called once in each interval of the keepalive."""
        if self._liveness is not None and not self._liveness.check():
            self.abort(LocalPortOutcome.REMOTE_GONE)

    def abort(self, outcome: LocalPortOutcome) -> None:
        """Cut both connections.

        :param outcome: how it ended.
        """
        if not self.let_in:
            if self._cut is None:
                self._give_up(outcome)
        else:
            self._cut = self._cut or outcome
            self._splice.abort()

    def _spliced_end(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        self._port.ended(self, self._cut or _SPLICED[outcome], up, down)
