"""What a worker tells the supervisor, as it would tell a service manager: sd_notify(3), of which this is the other end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import DatagramProtocol

__all__ = ["Notices"]


class Notices(DatagramProtocol):
    """Hears of one worker after the other; owned by its place.

    :param path: of the socket.
    :param on_ready: called when the worker is ready, at first and after a reload.
    :param on_stopping: called when it stops.
    :param on_sign: called with each message, whatever it says.
    """

    noisy = False

    def __init__(
        self,
        path: str,
        *,
        on_ready: Callable[[], None],
        on_stopping: Callable[[], None],
        on_sign: Callable[[], None],
        reactor: Any,
    ) -> None:
        self.path = path
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self._on_sign = on_sign
        self._reactor = reactor
        self._port: Any = None

    def listen(self) -> None:
        """Open the socket.

        :raises CannotListenError: it cannot be opened.
        """
        self._port = self._reactor.listenUNIXDatagram(self.path, self, mode=0o600)

    def close(self) -> Deferred[None]:
        """Close it; fires when that is done."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)

        def remove(_: object) -> None:
            with suppress(OSError):
                os.unlink(self.path)

        return maybeDeferred(port.stopListening).addCallback(remove)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._on_sign()
        for line in datagram.split(b"\n"):
            if line == b"READY=1":
                self._on_ready()
            elif line == b"STOPPING=1":
                self._on_stopping()
