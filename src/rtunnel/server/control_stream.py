"""The server's end of the control stream of a link: what its client says, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.ids import short_id
from rtunnel.outcomes import LinkEnd
from rtunnel.routing.leases import LeaseTerms
from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import UpstreamPool
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.control import CONTROL_HOST, ControlError, ControlReader, Message, encode
from rtunnel.wire.relay import RelayAddress, stream_preface

__all__ = ["ControlStream", "Surroundings"]

MAX_MESSAGES = 100
"""Messages of a client between two sweeps; more are a flood."""
MAX_UNREAD = 65536
"""Bytes that may wait for a client that does not read its control stream; beyond them it is told nothing of others."""


@attrs.frozen
class Surroundings:
    """What a client is told of its tunnel that the connector does not know.

    :ivar hosts: returns the host patterns that lead there.
    :ivar sticky: returns whether visitors stay with one of the connectors that share by weight.
    """

    hosts: Callable[[], Sequence[str]] = tuple
    sticky: Callable[[], bool] = lambda: False


class ControlStream(Protocol):
    """The control stream of a connector; owned by its link.

    :param connector: whose client it is.
    :param terms: of the lease that the client gets.
    :param on_message: called with this and each message.
    :param surroundings: what it is told of its tunnel.
    :ivar greeted: whether it has said who it is, and has its lease.
    :ivar quota: how many messages the client may send until the next sweep.
    """

    transport: TunnelStream
    _log = Logger()

    def __init__(
        self,
        connector: Connector[UpstreamPool],
        terms: LeaseTerms,
        on_message: Callable[[ControlStream, Message], None],
        surroundings: Surroundings,
    ) -> None:
        self.connector = connector
        self.terms = terms
        self.quota = MAX_MESSAGES
        self.surroundings = surroundings
        self.greeted = False
        self._on_message = on_message
        self._reader = ControlReader()
        self._open = False

    def open(self, token: str) -> None:
        """Open the stream.

        :param token: what the client knows it by.
        :raises LinkClosed: the link accepts no more streams.
        """
        self.transport = self.connector.pool.link.open_control(self)
        self._open = True
        self.transport.write(stream_preface(RelayAddress(token, 0), RelayAddress(CONTROL_HOST, 0)))

    def send(self, message: Message) -> None:
        """Tell the client something."""
        if self._open:
            self.transport.write(encode(message))

    def mention(self, *messages: Message) -> None:
        """Tell the client something of others, all of it or nothing, if it reads what it is told."""
        if self._open and self.transport.link.unsent(self.transport.id) < MAX_UNREAD:
            self.transport.write(b"".join(map(encode, messages)))

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self._reader.receive(data)
        except ControlError as error:
            self._give_up(str(error))
            return
        self.quota -= len(messages)
        if self.quota < 0:
            self.connector.pool.link.drop(LinkEnd.FLOODED, f"more than {MAX_MESSAGES} control messages in half a second")
            return
        for message in messages:
            self._on_message(self, message)

    def _give_up(self, reason: str) -> None:
        self._log.warn(
            "connector {connector} sends control messages that are none, and is told nothing any more: {reason}",
            connector=short_id(self.connector.id),
            reason=reason,
        )
        self._open = False
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
