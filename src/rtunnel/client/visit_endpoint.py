"""Dialing a private tunnel: an endpoint like any other, at the other end of which is the target of the tunnel.

A visit is not multiplexed, as gost has it (go-gost/x ``connector/tunnel/connector.go``): a connection to the server of its own,
CONNECT, the answer, then the bytes as they are.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.linger import linger
from rtunnel.client.refusals import CLOSED_EARLY, describe_malformed_answer, describe_refusal, describe_silence
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import reason_of
from rtunnel.tunnel.handshake import Handshake
from rtunnel.wire.relay import Request, Response, Status, take_response

__all__ = ["VisitClientEndpoint", "VisitFailed", "VisitFailure"]


class VisitFailure(Enum):
    """Why a tunnel could not be dialed."""

    REFUSED = "refused"
    """The server answered, with a status other than OK."""
    UNREACHABLE = "unreachable"
    """The server could not be reached, or closed the connection before it answered."""
    TIMED_OUT = "timed_out"
    """The server did not answer in time."""
    MALFORMED_ANSWER = "malformed_answer"
    """What answered does not speak the relay protocol."""


class VisitFailed(ConnectError):
    """A tunnel could not be dialed; the text is one line that says why and what to do.

    :ivar reason: why.
    :ivar status: what the server answered, where it refused.
    """

    def __init__(self, reason: VisitFailure, text: str, status: Status | None = None) -> None:
        super().__init__(string=text)  # type: ignore[no-untyped-call]
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


@implementer(IStreamClientEndpoint)
class VisitClientEndpoint:
    """Connects to a target through its tunnel; ``connect`` fires when the server has let the visit in.

    Whether the target itself can be reached is not known then: where it cannot, the connection is lost without a byte.

    The protocol sits on the connection to the server, whose two directions end independently: where the server knows no half-close
    the connection is closed once nothing has come for a while (:mod:`rtunnel.client.linger`).

    :param server: how to reach the server, see :class:`~rtunnel.client.server_dialer.ServerDialer`.
    :param request: what is asked of it: a CONNECT with the tunnel, the source and the destination.
    :param reactor: for the time limits.
    :param timeout: seconds that the server may take to answer, once it is reached.
    """

    def __init__(self, server: IStreamClientEndpoint, request: Request, *, reactor: IReactorTime, timeout: float = 15.0) -> None:
        self._server = server
        self.request = request
        self.reactor = reactor
        self.timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Dial the tunnel.

        The Deferred fails with :class:`VisitFailed`, whatever went wrong; cancelling it closes what is open.
        """

        def cancel(_: Deferred[IProtocol]) -> None:
            attempt.waiting = None
            connecting.cancel()
            if attempt.handshake is not None:
                attempt.handshake.give_up()

        opened: Deferred[IProtocol] = Deferred(cancel)
        attempt = _Attempt(self, protocolFactory, opened)
        connecting = self._server.connect(attempt)
        connecting.addErrback(attempt.unreachable)
        return opened


class _Attempt(Factory):
    """One dialing of the tunnel; builds the protocol that asks the server."""

    noisy = False

    def __init__(self, endpoint: VisitClientEndpoint, upper: IProtocolFactory, waiting: Deferred[IProtocol]) -> None:
        self.endpoint = endpoint
        self.upper = upper
        self.waiting: Deferred[IProtocol] | None = waiting
        self.handshake: _ConnectHandshake | None = None

    def buildProtocol(self, addr: Any) -> _ConnectHandshake:
        self.handshake = _ConnectHandshake(self, addr)
        return self.handshake

    def unreachable(self, failure: Failure) -> None:
        """There is no connection to the server."""
        self.fail(VisitFailed(VisitFailure.UNREACHABLE, f"the server cannot be reached: {reason_of(failure)}"))

    def fail(self, error: Exception) -> None:
        """Have the dialing fail, if it has not ended before."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.errback(Failure(error))


class _ConnectHandshake(Handshake[Response]):
    """The connection to the server until it has answered the CONNECT."""

    def __init__(self, attempt: _Attempt, address: Any) -> None:
        super().__init__(take_response, seconds=attempt.endpoint.timeout, reactor=attempt.endpoint.reactor)
        self._attempt = attempt
        self._address = address

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.write(self._attempt.endpoint.request.encode())

    def received(self, message: Response) -> None:
        if message.status is Status.OK:
            self._let_in()
        else:
            text = describe_refusal(message.status, self._attempt.endpoint.request)
            self._fail(VisitFailed(VisitFailure.REFUSED, text, message.status))

    def _let_in(self) -> None:
        """Give the connection to the protocol that was dialed for."""
        attempt, transport = self._attempt, self.transport
        waiting, attempt.waiting = attempt.waiting, None
        if waiting is None:
            self.give_up()
            return
        upper: Any = attempt.upper.buildProtocol(self._address)
        if upper is None:
            self.give_up()
            waiting.errback(Failure(NoProtocol()))
            return
        ITunnelTransport(transport).enter_half_close_mode(lambda: linger(transport, attempt.endpoint.reactor))
        self.switch_to(upper)
        self.dataReceived = self._pass_on  # type: ignore[method-assign]
        upper.makeConnection(transport)
        waiting.callback(upper)

    def _pass_on(self, data: bytes) -> None:
        """Pass on what came with the answer, to the protocol that the connection has by then."""
        if self.transport.protocol is not None:
            self.transport.protocol.dataReceived(data)

    def malformed(self, reason: str) -> None:
        self._fail(VisitFailed(VisitFailure.MALFORMED_ANSWER, describe_malformed_answer(self._buffer, reason)))

    def expired(self) -> None:
        self._fail(VisitFailed(VisitFailure.TIMED_OUT, describe_silence(self._attempt.endpoint.timeout)))

    def _fail(self, error: VisitFailed) -> None:
        self.give_up()
        self._attempt.fail(error)

    def give_up(self) -> None:
        """Ask no more."""
        self.finish()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.finish()
        text = CLOSED_EARLY if reason.type is ConnectionDone else reason_of(reason)
        self._attempt.fail(VisitFailed(VisitFailure.UNREACHABLE, text))
