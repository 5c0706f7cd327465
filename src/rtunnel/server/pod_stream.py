"""One stream of a pod link: its request is read and checked, then it is joined with a stream of a client in the pod."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest, PodService, pod_preface
from rtunnel.wire.relay_features import RelayError

__all__ = ["PodStream"]

REQUEST_TIMEOUT = 15.0
"""Seconds in which the request of a stream must come."""

_NO_CLIENT = PodAnswer(
    Cause.NO_POD,
    "no client that offers it has joined the tunnel; check that one runs in the pod with --reach, --env-source or --files, and "
    "its log",
)
_LOST = PodAnswer(Cause.FAILED, "the client in the pod was lost, or has as many connections as it may have; check its log")


class PodStreamOwner(Protocol):
    """What a stream asks of its link."""

    host: Any
    grant: Any

    def refusal(self, request: PodRequest) -> PodAnswer | None: ...

    def connector(self, service: PodService) -> Connector[UpstreamPool] | None: ...

    def granted(self, request: PodRequest, connector: Connector[UpstreamPool], answer: PodAnswer) -> None: ...

    def refused(self, request: PodRequest, answer: PodAnswer) -> None: ...

    def ended(self, request: PodRequest, up: int, down: int) -> None: ...


@implementer(IHalfCloseableProtocol)
class PodStream:
    """The protocol of a stream until it has said what it is for; from then on it is the near side of a splice.

    :param owner: the link.
    :param stream: opened by the other end.
    """

    __slots__ = ("_buffer", "_owner", "_stream", "_timer")

    def __init__(self, owner: PodStreamOwner, stream: TunnelStream) -> None:
        self._owner = owner
        self._stream = stream
        self._buffer = b""
        self._timer = owner.host.reactor.callLater(REQUEST_TIMEOUT, stream.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            taken = PodRequest.take(self._buffer)
        except RelayError as error:
            self._finish()
            reject(self._stream, PodAnswer(Cause.FAILED, error.reason))
            return
        if taken is not None:
            request, size = taken
            self._finish()
            self._open(request, self._buffer[size:])

    def _open(self, request: PodRequest, early: bytes) -> None:
        owner, stream = self._owner, self._stream
        refusal = owner.refusal(request)
        connector = None if refusal else owner.connector(request.service)
        if connector is None:
            refusal = refusal or _NO_CLIENT
        else:
            try:
                PodSplice(owner, stream, request, connector, early)
            except LinkClosed:
                refusal = _LOST
        if refusal:
            owner.refused(request, refusal)
            reject(stream, refusal)

    def _finish(self) -> None:
        if self._timer.active():
            self._timer.cancel()

    def readConnectionLost(self) -> None:
        """The other end has ended its direction before it said what it is for."""
        self._stream.abortConnection()

    def writeConnectionLost(self) -> None:
        """Our half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._finish()


def reject(stream: TunnelStream, answer: PodAnswer) -> None:
    """Answer a stream, and end it."""
    stream.write(answer.encode())
    stream.loseConnection()


@implementer(IHalfCloseableProtocol)
class PodSplice:
    """The two streams of a request, joined once the pod has answered; until then the protocol of the one to the pod.

    :param near: the stream of the pod link.
    :param early: what came behind the request.
    :raises LinkClosed: the connector's link accepts no more streams.
    """

    __slots__ = ("_answer", "_connector", "_far", "_granted", "_near", "_owner", "_request", "_splice")

    def __init__(
        self,
        owner: PodStreamOwner,
        near: TunnelStream,
        request: PodRequest,
        connector: Connector[UpstreamPool],
        early: bytes,
    ) -> None:
        self._owner = owner
        self._request = request
        self._connector = connector
        self._near = near
        self._answer = b""
        self._granted = False
        far = self._far = connector.pool.open_raw(self)
        splice = self._splice = Splice(self._ended, near.mark_broken)
        splice.far.attach(far)
        far.protocol = self
        splice.near.attach(near)
        connector.streams += 1
        owner.host.stats.streams_total += 1
        far.write(pod_preface(connector.offer.token, request.service, owner.grant.user) + request.encode())
        if early:
            splice.near.dataReceived(early)
        # nothing more is read, and no credit returned, until the pod has answered
        near.pauseProducing()

    def makeConnection(self, transport: object) -> None:
        """Does nothing: streams are connected from the start."""

    def dataReceived(self, data: bytes) -> None:
        """Read the answer of the pod, for the log; pass it on as it is."""
        self._answer += data
        try:
            taken = PodAnswer.take(self._answer)
        except RelayError:
            self._far.abortConnection()
            return
        if taken is None:
            return
        answer = taken[0]
        self._granted = answer.cause is None
        if self._granted:
            self._owner.granted(self._request, self._connector, answer)
        else:
            self._owner.refused(self._request, answer)
        splice, far = self._splice, self._far
        far.protocol = splice.far
        splice.join()
        self._near.resumeProducing()
        splice.far.dataReceived(self._answer)

    def readConnectionLost(self) -> None:
        """The pod has ended its direction without an answer."""
        self._far.abortConnection()

    def writeConnectionLost(self) -> None:
        """Our half-close was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There is no answer: the client in the pod is gone, or the other end did not wait for it."""
        if not self._splice.near.lost:
            self._near.protocol = None
            self._owner.refused(self._request, _LOST)
            reject(self._near, _LOST)

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        if self._granted:
            self._owner.ended(self._request, up, down)
