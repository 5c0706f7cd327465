"""A question to a server about leases: the connection, the request, one message, and its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from rtunnel.cli.exit_status import CommandError
from rtunnel.client.refusals import CLOSED_EARLY, describe_malformed_answer, describe_refusal, describe_silence
from rtunnel.client.server_dialer import ServerDialer
from rtunnel.ops.start import StartError
from rtunnel.settings import ServerConnectionSettings
from rtunnel.transport.reasons import reason_of
from rtunnel.tunnel.handshake import Handshake
from rtunnel.wire.control import Allowed, ControlError, ControlReader, Done, Listed, Message, Refused, encode
from rtunnel.wire.relay import Command, Request, Response, Status, TunnelFeature, take_response
from rtunnel.wire.relay_intercepts import InterceptAnswer

__all__ = ["AskRefused", "Listing", "ask", "lines"]

Listing = Listed | Allowed
"""What a server says before its last word."""

WAIT = 60.0
"""Seconds that a server may take for an answer, besides the time limit of the handshake: so long it asks somebody."""

_OLD = "the server answered without saying that it knows leases; update it"


class AskRefused(CommandError):
    """The server let us in, and does not do what it was asked to do, or does not answer."""


async def ask(
    settings: ServerConnectionSettings, message: Message, reactor: Any, patience: float | None = None
) -> tuple[list[Listing], Done]:
    """Ask a server.

    :param settings: how it is reached, and the tunnel that is named.
    :param patience: seconds that it may take for the answer; by default a minute, and the time limit of the handshake.
    :returns: what it lists, and its last word.
    :raises AskRefused: it does not do it.
    :raises CommandError: it cannot be reached, or does not let us in.
    """
    dialer = ServerDialer(settings, reactor)
    try:
        dialer.check()
    except StartError as error:
        raise CommandError(str(error)) from None
    seconds = settings.handshake_timeout + WAIT if patience is None else patience
    asking = Question(settings, message, reactor, seconds)
    try:
        await dialer.endpoint.connect(asking)
    except CancelledError:
        raise
    except Exception as error:
        raise CommandError(f"the server cannot be reached: {reason_of(Failure(error))}") from None
    return await asking.answer


def lines(listed: Sequence[Listing], done: Done) -> list[str]:
    """An answer as JSON, one object a line, with all keys."""
    messages: tuple[Message, ...] = (*listed, done)
    return [json.dumps(_pairs(message), ensure_ascii=False) for message in messages]


def _pairs(message: Message) -> dict[str, Any]:
    return {"kind": json.loads(encode(message))["kind"], **attrs.asdict(message)}


class Question(Factory):
    """One question; builds the protocol that asks it.

    :ivar answer: fires with it.
    """

    noisy = False

    def __init__(self, settings: ServerConnectionSettings, message: Message, reactor: Any, patience: float) -> None:
        self.settings = settings
        self.message = message
        self.reactor = reactor
        self.patience = patience
        self.connection: _Connection | None = None
        self.answer: Deferred[tuple[list[Listing], Done]] = Deferred(self._cancel)

    def buildProtocol(self, addr: Any) -> _Connection:
        self.connection = _Connection(self)
        return self.connection

    def _cancel(self, _: object) -> None:
        if self.connection is not None:
            self.connection.give_up()


class _Connection(Handshake[Response]):
    """The connection to the server."""

    def __init__(self, asking: Question) -> None:
        settings = asking.settings
        super().__init__(take_response, seconds=settings.handshake_timeout, reactor=asking.reactor)
        self._asking = asking
        credentials = (settings.credentials.user, settings.credentials.password) if settings.credentials else None
        self._request = Request(Command.CONTROL, credentials=credentials, tunnel=TunnelFeature(settings.tunnel))
        self._listed: list[Listing] = []
        self._reader = ControlReader()
        self._waiting: Any = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.write(self._request.encode())

    def received(self, message: Response) -> None:
        if message.status is not Status.OK:
            self._fail(describe_refusal(message.status, self._request))
        elif InterceptAnswer.of(message.metadata) is None:
            self._fail(_OLD)
        else:
            self.finish()
            seconds = self._asking.patience
            self._waiting = self._reactor.callLater(
                seconds, self._fail, f"the server has not answered within {seconds:g} s", AskRefused
            )
            self.dataReceived = self._hear  # type: ignore[method-assign]
            self.transport.write(encode(self._asking.message))

    def _hear(self, data: bytes) -> None:
        try:
            messages = self._reader.receive(data)
        except ControlError as error:
            self._fail(f"the server's answer is malformed: {error}")
            return
        for message in messages:
            if isinstance(message, Listed | Allowed):
                self._listed.append(message)
            elif isinstance(message, Refused):
                self._fail(message.text, AskRefused)
            elif isinstance(message, Done) and not self._asking.answer.called:
                self.give_up()
                self._asking.answer.callback((self._listed, message))

    def malformed(self, reason: str) -> None:
        self._fail(describe_malformed_answer(self._buffer, reason))

    def expired(self) -> None:
        self._fail(describe_silence(self._asking.settings.handshake_timeout))

    def _fail(self, text: str, kind: type[CommandError] = CommandError) -> None:
        self.give_up()
        if not self._asking.answer.called:
            self._asking.answer.errback(kind(text))

    def give_up(self) -> None:
        """Ask no more."""
        self.finish()
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._fail(CLOSED_EARLY if reason.type is ConnectionDone else reason_of(reason))
