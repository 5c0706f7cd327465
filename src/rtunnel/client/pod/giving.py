"""Documents that a client gives out of its pod: a whole one for each stream, and not too many at a time."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.targets import Forwarder, OpenStream
from rtunnel.outcomes import StreamOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer

__all__ = ["MAX_OPEN", "TIMEOUT", "Giver"]

MAX_OPEN = 4
"""Answers that are being sent at a time: each may wait here for a reader that is slow."""
TIMEOUT = 60.0
"""Seconds in which an answer must have been taken."""

_BUSY = PodAnswer(Cause.BUSY, "the client in the pod gives it to others just now; try again")


class Giver:
    """Gives documents out; owned by a service of the pod.

    :ivar open: the streams whose document is not taken whole.
    """

    def __init__(self) -> None:
        self.open: set[GivenStream] = set()

    def is_busy(self, forwarder: Forwarder, stream: TunnelStream) -> bool:
        """Whether there are too many already; then the stream is told so."""
        if len(self.open) < MAX_OPEN:
            return False
        self.refuse(forwarder, stream, _BUSY, StreamOutcome.TOO_MANY)
        return True

    def refuse(self, forwarder: Forwarder, stream: TunnelStream, answer: PodAnswer, outcome: StreamOutcome) -> None:
        """Answer a stream that there is nothing for."""
        forwarder.stats.record(outcome)
        stream.protocol = None
        stream.write(answer.encode())
        stream.loseConnection()

    def give(self, forwarder: Forwarder, stream: TunnelStream, answer: PodAnswer, document: bytes) -> None:
        """Send a document."""
        stream.protocol = GivenStream(self.open, forwarder, stream)
        stream.write(answer.encode())
        stream.write(document)
        stream.loseWriteConnection()


@implementer(IHalfCloseableProtocol)
class GivenStream(OpenStream):
    """A stream while its answer is taken; then the server ends it.

    :param others: of the service; it is one of them as long as it is open.
    """

    __slots__ = ("_forwarder", "_others", "_timer")

    def __init__(self, others: set[GivenStream], forwarder: Forwarder, stream: TunnelStream) -> None:
        super().__init__(stream)
        self._others = others
        self._forwarder = forwarder
        self._timer = forwarder.reactor.callLater(TIMEOUT, self.abort)
        others.add(self)
        forwarder.open.add(self)

    def makeConnection(self, transport: object) -> None:
        """Does nothing: streams are connected from the start."""

    def dataReceived(self, data: bytes) -> None:
        """Nothing is expected."""

    def readConnectionLost(self) -> None:
        """The server has ended its direction."""

    def writeConnectionLost(self) -> None:
        """The server reads no more."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(StreamOutcome.DONE)

    def abort(self) -> None:
        """Give the stream up."""
        self._end(StreamOutcome.VISITOR_LOST)
        self._stream.protocol = None
        self._stream.abortConnection()

    def _end(self, outcome: StreamOutcome) -> None:
        if self in self._others:
            self._others.discard(self)
            self._forwarder.open.discard(self)
            self._forwarder.stats.record(outcome)
        if self._timer.active():
            self._timer.cancel()
