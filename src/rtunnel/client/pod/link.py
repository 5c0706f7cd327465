"""The pod link at a developer's machine: kept up as long as it is wanted, with a stream for each thing that is asked of the pod."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.refusals import CLOSED_EARLY, describe_malformed_answer, describe_refusal, describe_silence
from rtunnel.client.repeats import Repeats
from rtunnel.client.server_dialer import ServerDialer
from rtunnel.outcomes import LinkEnd
from rtunnel.settings import ServerConnectionSettings
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import reason_of
from rtunnel.transport.sockets import end_when_stalled
from rtunnel.tunnel.backoff import Backoff
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Link, LinkClosed
from rtunnel.tunnel.opening import open_link
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest
from rtunnel.wire.relay import Command, RelayAddress, Request, Response, Status, TunnelFeature, take_response
from rtunnel.wire.relay_features import RelayError
from rtunnel.wire.relay_intercepts import InterceptAnswer

__all__ = ["MAX_STREAMS", "PodLinkClient", "PodLinkFailed", "PodLinkForbidden", "PodRefused"]

MAX_STREAMS = 1000
"""Streams of the link at a time; the server allows a few more."""
PATIENCE = 10.0
"""Seconds for which a request waits for a link that is lost."""
BACKOFF = 0.25, 10.0
"""The shortest and the longest wait between two attempts to connect, in seconds."""
WAKE_TIMEOUT = 3.0
"""Seconds in which the link must give a sign of life when the machine has slept."""

_OLD = "the server answered without saying that it knows pods; update it"


class PodRefused(Exception):
    """A request to the pod was refused.

    :ivar answer: why.
    """

    def __init__(self, answer: PodAnswer) -> None:
        super().__init__(answer.why)
        self.answer = answer


class PodLinkFailed(Exception):
    """There is no link to the server; the text says why, and what to do."""


class PodLinkForbidden(PodLinkFailed):
    """The server is there, and allows nothing with the pod: it has no users, or this user has no right of that kind."""


class PodLinkClient:
    """Keeps a pod link; owned by the command that needs it.

    :param settings: which server and tunnel.
    :param host: whose pod.
    :param endpoint: how to reach the server; by default what the settings say.
    :param random: gives numbers from 0 to 1, for the waits between attempts.
    :ivar up: whether there is a link.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ServerConnectionSettings,
        host: str,
        *,
        reactor: Any,
        endpoint: IStreamClientEndpoint | None = None,
        random: Callable[[], float] = random,
    ) -> None:
        self.settings = settings
        self.host = host
        self.reactor = reactor
        self._dialer = ServerDialer(settings, reactor)
        self._endpoint = endpoint or self._dialer.endpoint
        self._backoff = Backoff(*BACKOFF, random)
        self._repeats = Repeats()
        self._attempt: Deferred[Any] | None = None
        self._timer: Any = None
        self._current: _PodHandshake | None = None
        self._former: list[_PodHandshake] = []
        self._waiting: list[_Call] = []
        self._first: Deferred[None] | None = None
        self._stopping = False
        self._gone: Deferred[None] | None = None

    @property
    def up(self) -> bool:
        """Whether there is a link."""
        return self._link is not None

    @property
    def _link(self) -> Link | None:
        return None if self._current is None else self._current.link

    @property
    def server(self) -> str:
        """The server's address, for logs."""
        return str(self.settings.server)

    # -- life

    def start(self) -> Deferred[None]:
        """Connect.

        :returns: fires when the link is there; fails with :class:`PodLinkFailed` when it cannot be had. Once it was there it is
            connected again whenever it is lost.
        :raises StartError: a file of the settings cannot be used.
        """
        self._dialer.check()
        first = self._first = Deferred()
        self._try()
        return first

    def stop(self) -> Deferred[None]:
        """Close it, and connect no more; fires when nothing is left of it."""
        self._stopping = True
        gone = self._gone = self._gone or Deferred()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempt is not None:
            self._attempt.cancel()
        for connection in self._connections:
            connection.leave()
        for call in list(self._waiting):
            call.fail(_no_link("this command stops"))
        self._finish()
        return gone

    @property
    def _connections(self) -> list[_PodHandshake]:
        return [*self._former, *([] if self._current is None else [self._current])]

    def _finish(self) -> None:
        """It has stopped, if nothing is left of it."""
        if self._gone is not None and not self._gone.called and not self._connections:
            self._gone.callback(None)

    def woke(self, _seconds: float) -> None:
        """The machine has slept: a link that gives no sign of life is dead, and the next attempt is due."""
        link = self._link
        if link is not None and link.answers_probes:
            link.poll_heard()
            link.probe()
            self.reactor.callLater(WAKE_TIMEOUT, _check_heard, link)
        if self._timer is not None:
            self._timer.cancel()
            self._backoff.reset()
            self._try()

    def _try(self) -> None:
        self._timer = None
        self._attempt = attempt = self._endpoint.connect(_PodFactory(self))
        attempt.addCallbacks(self._connected, self._connect_failed)

    def _connected(self, connection: _PodHandshake) -> None:
        self._attempt = None
        self._current = connection

    def _connect_failed(self, failure: Failure) -> None:
        self._attempt = None
        if not failure.check(CancelledError):
            self._again(f"the server cannot be reached: {reason_of(failure)}")

    def _again(self, why: str, failed: type[PodLinkFailed] = PodLinkFailed) -> None:
        """There is no link: try again, unless there never was one.

        :param failed: what is said of the first attempt.
        """
        if self._stopping:
            return
        first, self._first = self._first, None
        if first is not None:
            self._stopping = True
            first.errback(Failure(failed(why)))
            return
        wait = self._backoff.wait()
        if self._repeats.say(why):
            self._log.warn("no link to {server}: {why}; next attempt in {wait} s", server=self.server, why=why, wait=f"{wait:.1f}")
        self._timer = self.reactor.callLater(wait, self._try)

    # -- called by its connections

    def link_up(self) -> None:
        """The server has let us in."""
        self._repeats.forget()
        self._backoff.reset()
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)
        else:
            self._log.info("the link to {server} is there again", server=self.server)
        for call in list(self._waiting):
            self._open(call)

    def server_leaves(self, connection: _PodHandshake) -> None:
        """The server is about to stop: connect again, where another one may answer, and leave it the link for what runs."""
        if self._stopping or connection is not self._current:
            return
        self._current = None
        self._former.append(connection)
        self._log.info("the server at {server} is about to stop; connecting again", server=self.server)
        self._timer = self.reactor.callLater(self._backoff.wait(), self._try)

    def connection_lost(self, connection: _PodHandshake, why: str) -> None:
        """A link is lost, or the attempt to have one has failed."""
        if connection in self._former:
            self._former.remove(connection)
        else:
            self._current = None
            self._again(why, PodLinkForbidden if connection.forbidden else PodLinkFailed)
        self._finish()

    # -- requests

    def ask(self, request: PodRequest, protocol: Any) -> Deferred[TunnelStream]:
        """Ask something of the pod.

        :param protocol: gets the bytes that follow the answer, in turns after this one; until then nothing.
        :returns: fires with the stream; fails with :class:`PodRefused`. Cancelling it closes the stream.
        """
        call = _Call(self, request, protocol)
        self._open(call)
        return call.answer

    def _open(self, call: _Call) -> None:
        link = self._link
        if link is None or not link.usable:
            self._wait(call)
        elif len(link.streams) >= MAX_STREAMS:
            call.fail(PodAnswer(Cause.BUSY, f"there are {MAX_STREAMS} connections over the link, as many as there may be"))
        else:
            try:
                call.open(link)
            except LinkClosed:
                self._wait(call)

    def _wait(self, call: _Call) -> None:
        """There is no link, but there may be one soon."""
        if call not in self._waiting:
            self._waiting.append(call)
            call.wait()

    def forget(self, call: _Call) -> None:
        """A call waits for a link no more."""
        if call in self._waiting:
            self._waiting.remove(call)


def _no_link(why: str) -> PodAnswer:
    return PodAnswer(Cause.FAILED, f"there is no link to the server: {why}")


def _check_heard(link: Link) -> None:
    if not link.poll_heard():
        link.drop(LinkEnd.KEEPALIVE_TIMEOUT, f"nothing received in {WAKE_TIMEOUT:g} s after this machine slept")


@implementer(IHalfCloseableProtocol)
class _Call:
    """A request to the pod until it is answered; then its protocol has the stream."""

    def __init__(self, owner: PodLinkClient, request: PodRequest, protocol: Any) -> None:
        self._owner = owner
        self._request = request
        self._protocol = protocol
        self._stream: TunnelStream | None = None
        self._buffer = b""
        self._timer: Any = None
        self.answer: Deferred[TunnelStream] = Deferred(lambda _: self._close())

    def wait(self) -> None:
        """There is no link, but there may be one soon."""
        why = f"it is lost, and was not there again within {PATIENCE:g} s"
        self._timer = self._owner.reactor.callLater(PATIENCE, self.fail, _no_link(why))

    def open(self, link: Link) -> None:
        """Open the stream.

        :raises LinkClosed: the link accepts no more streams.
        """
        try:
            request = self._request.encode()
        except ValueError as error:
            self.fail(PodAnswer(Cause.NO_NAME, str(error)))
            return
        self._stream = link.open_stream(self)
        self._end_wait()
        self._stream.write(request)

    def _end_wait(self) -> None:
        if self._timer is not None:
            self._owner.forget(self)
            if self._timer.active():
                self._timer.cancel()

    def fail(self, answer: PodAnswer) -> None:
        """It is refused."""
        self._close()
        if not self.answer.called:
            self.answer.errback(Failure(PodRefused(answer)))

    def _close(self) -> None:
        self._end_wait()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.protocol = None
            stream.abortConnection()

    def makeConnection(self, transport: object) -> None:
        """Does nothing: streams are connected from the start."""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        stream = self._stream
        if stream is None:
            return
        try:
            taken = PodAnswer.take(self._buffer)
        except RelayError as error:
            self.fail(PodAnswer(Cause.FAILED, f"the answer of the pod is malformed ({error.reason}); use the same version there"))
            return
        if taken is None:
            return
        answer = self._request.meant(taken[0])
        if answer.cause is not None:
            self.fail(answer)
            return
        rest, self._stream = self._buffer[taken[1] :], None
        stream.protocol = self._protocol
        self.answer.callback(stream)
        if rest:
            self._protocol.dataReceived(rest)

    def readConnectionLost(self) -> None:
        """The other end has ended the stream without an answer."""
        self.fail(PodAnswer(Cause.FAILED, "the server ended the stream without an answer; check its log"))

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stream = None
        self.fail(_no_link("it was lost before there was an answer"))


class _PodFactory(Factory):
    """Builds the protocol of one attempt."""

    noisy = False

    def __init__(self, owner: PodLinkClient) -> None:
        self._owner = owner

    def buildProtocol(self, addr: Any) -> _PodHandshake:
        return _PodHandshake(self._owner)


class _PodHandshake(Handshake[Response]):
    """One attempt: asks for the pod, reads the answer, then becomes the link."""

    _request: Request

    def __init__(self, owner: PodLinkClient) -> None:
        super().__init__(take_response, seconds=owner.settings.handshake_timeout, reactor=owner.reactor)
        self._owner = owner
        self._settings = owner.settings
        self._reason = ""
        self.forbidden = False

    def connectionMade(self) -> None:
        super().connectionMade()
        settings = self._settings
        end_when_stalled(ITunnelTransport(self.transport).tcp_socket(), settings.mux.stall_timeout)
        host = self.transport.getHost()
        self._request = Request(
            Command.POD,
            credentials=(settings.credentials.user, settings.credentials.password) if settings.credentials else None,
            addresses=(
                RelayAddress(getattr(host, "host", "0.0.0.0"), getattr(host, "port", 0)),
                RelayAddress(self._owner.host, 0),
            ),
            tunnel=TunnelFeature(settings.tunnel),
        )
        self.transport.write(self._request.encode())

    def received(self, message: Response) -> None:
        if message.status is not Status.OK:
            self.forbidden = message.status is Status.FORBIDDEN
            self._fail(describe_refusal(message.status, self._request))
        elif InterceptAnswer.of(message.metadata) is None:
            self._fail(_OLD)
        else:
            self._join()

    def malformed(self, reason: str) -> None:
        self._fail(describe_malformed_answer(self._buffer, reason))

    def expired(self) -> None:
        self._fail(describe_silence(self._settings.handshake_timeout))
        self.transport.abortConnection()

    def _join(self) -> None:
        link = open_link(
            self._settings.mux,
            opens=True,
            reactor=self._reactor,
            on_draining=lambda: self._owner.server_leaves(self),
            on_lost=self._link_lost,
            peer=self._owner.server,
        )
        self.switch_to_link(link)
        link.ask()
        self._owner.link_up()

    def leave(self) -> None:
        """Close cleanly."""
        if self.link is not None:
            self.link.close(LinkEnd.CLOSED, "the command ends")
        else:
            self._fail("the command ends")

    def _fail(self, reason: str) -> None:
        self.finish()
        self._reason = self._reason or reason
        self.transport.loseConnection()

    def _link_lost(self, link: Link, end: LinkEnd, text: str) -> None:
        self._reason = self._reason or text

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if not self._reason:
            self._reason = CLOSED_EARLY if self.link is None and reason.type is ConnectionDone else reason_of(reason)
        self._owner.connection_lost(self, self._reason)
