"""What a connector offers of its pod: how it is announced, and the streams of the server for it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from hmac import compare_digest
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.dialing import EndpointFor, target_endpoint
from rtunnel.client.pod.environment import EnvironmentService
from rtunnel.client.pod.files import FilesService
from rtunnel.client.pod.reach import ReachService
from rtunnel.client.targets import Forwarder, OpenStream
from rtunnel.outcomes import StreamOutcome
from rtunnel.settings import ConnectorSettings
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest, PodService, user_of
from rtunnel.wire.relay import Response
from rtunnel.wire.relay_features import RelayError

__all__ = ["PodOffers"]

Serve = Callable[[PodRequest, str, Forwarder, TunnelStream, bytes], None]
"""Takes over a stream: what it is for, for whom, and what came behind its request."""


class PodOffers:
    """What a connector offers of its pod, if anything; owned by the connector.

    :param settings: of the connector.
    :param endpoint_for: how to reach an address; by default its socket.
    :ivar token: by which the streams of the server are known; told to it over the control stream.
    """

    def __init__(
        self, settings: ConnectorSettings, forwarder: Forwarder, reactor: Any, endpoint_for: EndpointFor | None = None
    ) -> None:
        self.token = secrets.token_hex(16)
        self._forwarder = forwarder
        udp_idle = settings.udp.idle
        endpoint_for = endpoint_for or target_endpoint(reactor, settings.connect_timeout, udp_idle, forwarder.stats.drop)
        self._services: Mapping[PodService, Serve] = dict(_services(settings, reactor, endpoint_for))

    @property
    def names(self) -> str:
        """The services, separated by commas."""
        return ",".join(self._services)

    def accept(self, stream: TunnelStream, preface: Response) -> Any:
        """The protocol of a stream to a reserved destination; None if it is not the server's, or nothing of the kind is offered."""
        if len(preface.addresses) != 2 or not self._services:
            return None
        source = preface.addresses[0].host
        if not compare_digest(source.encode(), self.token.encode()):
            return None
        return AskedStream(self._forwarder, stream, self._services, user_of(preface))


def _services(settings: ConnectorSettings, reactor: Any, endpoint_for: EndpointFor) -> Iterator[tuple[PodService, Serve]]:
    if settings.reach:
        yield PodService.REACH, ReachService(settings.reach, reactor=reactor, endpoint_for=endpoint_for).serve
    if settings.env.source is not None:
        yield PodService.ENV, EnvironmentService(settings.env, settings.env.source).serve
    if settings.files:
        yield PodService.FILES, FilesService(settings.files).serve


@implementer(IHalfCloseableProtocol)
class AskedStream(OpenStream):
    """The protocol of a stream of the server until it has said what it is for."""

    __slots__ = ("_buffer", "_forwarder", "_services", "_user")

    def __init__(self, forwarder: Forwarder, stream: TunnelStream, services: Mapping[PodService, Serve], user: str) -> None:
        super().__init__(stream)
        self._forwarder = forwarder
        self._services = services
        self._user = user
        self._buffer = b""
        forwarder.open.add(self)

    @property
    def begun(self) -> bool:
        """Not as long as this is its protocol."""
        return False

    def makeConnection(self, transport: object) -> None:
        """Does nothing: streams are connected from the start."""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            taken = PodRequest.take(self._buffer)
        except RelayError as error:
            self._reject(PodAnswer(Cause.FAILED, error.reason))
            return
        if taken is None:
            return
        request, size = taken
        serve = self._services.get(request.service)
        if serve is None:
            self._reject(PodAnswer(Cause.NOT_ALLOWED, f"the client in the pod does not offer {request.service}"))
        else:
            self._forwarder.open.discard(self)
            serve(request, self._user, self._forwarder, self._stream, self._buffer[size:])

    def _reject(self, answer: PodAnswer) -> None:
        self._give_up(StreamOutcome.NO_TARGET)
        self._stream.write(answer.encode())
        self._stream.loseConnection()

    def _give_up(self, outcome: StreamOutcome) -> None:
        self._forwarder.open.discard(self)
        self._forwarder.stats.record(outcome)
        self._stream.protocol = None

    def readConnectionLost(self) -> None:
        """The server ended the stream before it said what it is for."""
        self.abort()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.abort()

    def abort(self) -> None:
        """Give the stream up."""
        if self in self._forwarder.open:
            self._give_up(StreamOutcome.BAD_PREFACE)
            self._stream.abortConnection()
