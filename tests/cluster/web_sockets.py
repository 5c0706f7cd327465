"""A visitor with a WebSocket beside the load of a rollout, and what became of its messages and connections.

A connection cannot move from one process to another, so it ends with its pod or with its server. Counted as failed is what need not
be: a handshake that is refused, a message that is not echoed while its connection lives, or again on the next one, a reset. How and
when connections ended is kept for the check, which knows what was rolled out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import Final, Self

import attrs
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.cluster import ingress
from tests.cluster.node import INGRESS

__all__ = ["BY_THE_APPLICATION", "CUT", "End", "WebSocketVisitor"]

BY_THE_APPLICATION: Final = "by the application (1001)"
CUT: Final = "without a close frame"
_PAUSE: Final = 0.02
"""Seconds between an echo and the next message."""
_PATIENCE: Final = 20.0
"""Seconds that an echo, or the answer to a handshake, may take."""


@attrs.frozen
class End:
    """How a connection ended.

    :ivar at: in seconds of the monotonic clock.
    :ivar how: :data:`BY_THE_APPLICATION`, or :data:`CUT`, an orderly end of the TCP connection.
    :ivar unanswered: whether a message was on its way, which is sent again on the next connection.
    """

    at: float
    how: str
    unanswered: bool


class WebSocketVisitor:
    """A WebSocket on which one message after another is sent and echoed; a context manager.

    When its connection ends it connects again at once, and has one try.

    :param host: the Host.
    :param headers: of the handshake, besides those that are needed.
    """

    def __init__(self, host: str, headers: Mapping[str, str] | None = None) -> None:
        self._host = host
        self._headers = dict(headers or {})
        self._over = Event()
        self._thread = Thread(target=self._visit)
        self._unanswered = False
        self.connections = 0
        """How many handshakes succeeded."""
        self.echoed = 0
        """How many messages."""
        self.names: set[str] = set()
        """Who has echoed: the first words of the applications."""
        self.ends: list[End] = []
        """Of the connections that it did not end itself."""
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def __str__(self) -> str:
        return f"{len(self.failed)} failed, {self.echoed} echoes, {self.connections} connections"

    def _visit(self) -> None:
        while not self._over.is_set():
            try:
                self._connect_and_talk()
            except ConnectionClosed as closed:
                self._ended(closed)
            except (OSError, WebSocketException) as error:
                self.failed.append(f"message {self.echoed}: {error!r}")
                self._over.wait(1)

    def _connect_and_talk(self) -> None:
        with (
            socket.create_connection((INGRESS, ingress.LISTEN), _PATIENCE) as plain,
            connect(
                f"ws://{self._host}/socket", sock=plain, additional_headers=self._headers, open_timeout=_PATIENCE
            ) as connection,
        ):
            self.connections += 1
            while not self._over.wait(_PAUSE):
                self._echo(connection)

    def _echo(self, connection: ClientConnection) -> None:
        """Send a message and wait for its echo; one that is not echoed is sent again by the next call."""
        number = str(self.echoed)
        self._unanswered = False
        connection.send(number)
        self._unanswered = True
        name, _, echo = str(connection.recv(_PATIENCE)).rpartition(" ")
        if echo != number:
            raise WebSocketException(f"the echo of {number} is {echo}")
        self._unanswered = False
        self.echoed += 1
        self.names.add(name.partition(" ")[0])

    def _ended(self, closed: ConnectionClosed) -> None:
        if isinstance(closed.__cause__, ConnectionResetError):
            self.failed.append(f"message {self.echoed}: the connection was reset")
        elif closed.rcvd is None or closed.rcvd.code == 1001:
            how = CUT if closed.rcvd is None else BY_THE_APPLICATION
            self.ends.append(End(time.monotonic(), how, self._unanswered))
        else:
            self.failed.append(f"message {self.echoed}: closed with {closed.rcvd}")
