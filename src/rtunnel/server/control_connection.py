"""A connection of a caller that asks about leases: one message, the answer, and the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.server.control_commands import ControlCommands
from rtunnel.server.lease_manager import ASK_TIME
from rtunnel.wire.control import ControlError, ControlReader, Done, Message, Refused, encode

__all__ = ["ControlConnection"]

TIMEOUT = ASK_TIME + 30.0
"""Seconds that a connection may last; the longest question is whether somebody gives way."""


class ControlConnection(Protocol):
    """The connection, once the caller was let in.

    :param transport: is connected.
    :param commands: carries out what the caller says.
    :param who: for the log.
    :param on_over: called when it is lost.
    """

    transport: Any
    _log = Logger()

    def __init__(
        self,
        transport: Any,
        commands: ControlCommands,
        who: str,
        reactor: IReactorTime,
        on_over: Callable[[ControlConnection], None],
    ) -> None:
        self.transport = transport
        self._commands = commands
        self._who = who
        self._on_over = on_over
        self._reader = ControlReader()
        self._asked = False
        self._timer: Any = reactor.callLater(TIMEOUT, transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            return
        try:
            messages = self._reader.receive(data)
        except ControlError as error:
            self._asked = True
            self._reply(Refused(str(error)))
            return
        if messages:
            self._asked = True
            self._commands.handle(messages[0], self._reply)

    def _reply(self, message: Message) -> None:
        self.transport.write(encode(message))
        if isinstance(message, Refused):
            self._log.info("refused {who}: {reason}", who=self._who, reason=message.text)
        if isinstance(message, Done | Refused):
            self.close()

    def close(self) -> None:
        """End it, after what was written."""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._commands.forget()
        self._on_over(self)
