"""A gate for ports that count nobody: so many connections, from wherever."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from twisted.logger import Logger

from rtunnel.transport.accepting import AcceptingPort

__all__ = ["FixedRoom"]

RETRY: Final = 0.5
"""Seconds between an error of the system and the next try."""


class FixedRoom:
    """The gate of such ports, and the place of each of their connections; owned by the owner of the ports.

    When all is taken, or the system has no descriptor left, the ports pause until there is room.

    :param what: who connects, for the log.
    :param reactor: the clock.
    :param most: how many there may be.
    """

    _log = Logger()

    def __init__(self, what: str, reactor: Any, most: int = sys.maxsize) -> None:
        self._what = what
        self._reactor = reactor
        self._most = most
        self._used = 0
        self._ports: set[AcceptingPort] = set()

    @property
    def room(self) -> int:
        """How many more there may be."""
        return self._most - self._used

    def add(self, port: AcceptingPort) -> None:
        """Let a port use it."""
        self._ports.add(port)

    def remove(self, port: AcceptingPort) -> None:
        """The port uses another gate."""
        self._ports.discard(port)

    def enter(self, _host: str) -> FixedRoom:
        """Take a place."""
        self._used += 1
        if self._used == self._most:
            self._pause(f"they have all of {self._most} connections")
        return self

    def taken_by(self, _transport: object) -> None:
        """Connections keep their place."""

    def leave(self) -> None:
        """Give one back."""
        self._used -= 1
        if self._used == self._most - 1:
            self._resume()

    def recount(self, _host: str) -> bool:
        """Addresses do not count."""
        return True

    def exhausted(self, error: OSError) -> None:
        """The system has no descriptor or memory for another connection."""
        self._pause(os.strerror(error.errno or 0))
        self._reactor.callLater(RETRY, self._resume)

    def _pause(self, reason: str) -> None:
        self._log.warn("{what} wait until there is room: {reason}", what=self._what, reason=reason)
        for port in self._ports:
            port.pause()

    def _resume(self) -> None:
        if self.room:
            for port in self._ports:
                port.resume()
