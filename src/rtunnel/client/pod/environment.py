"""The environment of the application for developers: read when it is asked for, filtered, and given out as one document."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.targets import Forwarder, OpenStream
from rtunnel.outcomes import StreamOutcome
from rtunnel.podenv.rules import EnvRules
from rtunnel.podenv.sources import SourceError, read_source
from rtunnel.podenv.variables import Variable, write_document
from rtunnel.settings import PodEnvSettings
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.control import clean
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest

__all__ = ["EnvironmentService"]

_UNREADABLE = PodAnswer(Cause.FAILED, "the client in the pod cannot read the environment (--env-source); check its log")
_BUSY = PodAnswer(Cause.BUSY, "the client in the pod gives the environment to others just now; try again")
MAX_OPEN = 4
"""Answers that are being sent at a time: each may wait here for a reader that is slow."""
TIMEOUT = 60.0
"""Seconds in which an answer must have been taken."""
MAX_LOGGED = 4000
"""Characters of names in a line of the log."""


class EnvironmentService:
    """Gives out what its rules allow; owned by what a connector offers.

    :param settings: what is allowed.
    :param source: where the environment is read.
    """

    _log = Logger()

    def __init__(self, settings: PodEnvSettings, source: str) -> None:
        self._rules = EnvRules(settings.allow, settings.allow_secret, settings.deny)
        self._source = source
        self.open: set[GivenStream] = set()
        """The streams whose answer is not sent whole."""

    def serve(self, request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes) -> None:
        """Answer a stream of the server; nothing more is expected of it."""
        if len(self.open) >= MAX_OPEN:
            refuse(stream, forwarder, _BUSY, StreamOutcome.TOO_MANY)
            return
        try:
            given = self._rules.given(read_source(self._source), values=request.values)
        except SourceError as error:
            self._log.warn("{who} gets no environment of the pod: {reason}", who=_who(user), reason=str(error))
            refuse(stream, forwarder, _UNREADABLE, StreamOutcome.TARGET_REFUSED)
        else:
            stream.protocol = GivenStream(self.open, forwarder, stream)
            self._give(given, request, user, stream)
            stream.loseWriteConnection()

    def _give(self, given: list[Variable], request: PodRequest, user: str, stream: TunnelStream) -> None:
        names = tuple(variable.name for variable in given if variable.value is not None or not request.values)
        self._log.info(
            "{who} gets {what} of the environment of the pod: {names}",
            who=_who(user),
            what="values" if request.values else "names",
            names=clean(", ".join(names), MAX_LOGGED),
        )
        stream.write(PodAnswer(names=names if request.values else ()).encode())
        stream.write(write_document(given))


def refuse(stream: TunnelStream, forwarder: Forwarder, answer: PodAnswer, outcome: StreamOutcome) -> None:
    """Answer a stream that there is nothing for."""
    forwarder.stats.record(outcome)
    stream.protocol = None
    stream.write(answer.encode())
    stream.loseConnection()


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


def _who(user: str) -> str:
    return user or "an anonymous user"
