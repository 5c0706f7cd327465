"""How many streams a client forwards at once: each needs a descriptor for its target."""

from __future__ import annotations

import sys
from collections.abc import Sized
from typing import Protocol
from weakref import WeakSet

from twisted.logger import Logger

from rtunnel.ops.descriptors import RESERVE

__all__ = ["StreamBudget"]


class Forwarding(Protocol):
    """What forwards streams.

    :ivar open: those that it has.
    """

    @property
    def open(self) -> Sized: ...


class StreamBudget:
    """The streams of all connectors of a process; owned by the client's service, which starts it.

    :param wanted: the user's limit; None for what the descriptors allow.
    """

    _log = Logger()

    def __init__(self, wanted: int | None = None) -> None:
        self._wanted = wanted
        self._most = wanted or sys.maxsize
        self._forwarders: WeakSet[Forwarding] = WeakSet()
        self._told = False

    def start(self, descriptors: int | None) -> None:
        """Derive it from the descriptors that there are.

        :param descriptors: the limit of them; None where there is none.
        """
        if descriptors is not None:
            self._most = min(self._wanted or sys.maxsize, max(descriptors - RESERVE, 1))

    def add(self, forwarder: Forwarding) -> None:
        """Count the streams of one more connector, as long as it lives."""
        self._forwarders.add(forwarder)

    @property
    def is_used_up(self) -> bool:
        """Whether no more streams can be forwarded; said once each time that this begins."""
        count = sum(len(forwarder.open) for forwarder in self._forwarders)
        if count < self._most:
            # not again at once where it stays near the limit
            self._told = self._told and count * 4 > self._most * 3
            return False
        if not self._told:
            self._told = True
            self._log.warn(
                "{most} streams are open, as many as the descriptors or --max-streams allow: the server is told to send further "
                "requests to other clients; raise the limit of descriptors (ulimit -Hn) if there are none",
                most=self._most,
            )
        return True
