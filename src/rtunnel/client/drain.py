"""How connectors leave: no more streams, time for those under way, then the links are closed, and what is left is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from rtunnel.client.connector import ConnectorClient

__all__ = ["Drain", "Handover"]

DRAIN_STEP = 0.05
"""Seconds between two looks whether the last stream has ended."""
CLOSE_TIME = 1.0
"""Seconds that the close handshakes of the links may take."""
HANDOVER = 10.0
"""Seconds that connectors wait for those that take their place."""


class Drain:
    """Some connectors leave together.

    :param patience: seconds that streams under way get.
    :ivar gone: fires when no link is left.
    """

    def __init__(self, connectors: Sequence[ConnectorClient], patience: float, reactor: Any) -> None:
        self.gone: Deferred[None] = Deferred()
        self._connectors = connectors
        self._reactor = reactor
        for connector in connectors:
            connector.drain()
        self._await_streams(reactor.seconds() + patience)

    def _await_streams(self, until: float) -> None:
        if self._reactor.seconds() < until and any(connector.forwarder.busy for connector in self._connectors):
            self._reactor.callLater(DRAIN_STEP, self._await_streams, until)
            return
        leaving = DeferredList([connector.stop() for connector in self._connectors])
        cut = self._reactor.callLater(CLOSE_TIME, self._cut)

        def left(_: object) -> None:
            if cut.active():
                cut.cancel()
            self.gone.callback(None)

        leaving.addCallback(left)

    def _cut(self) -> None:
        for connector in self._connectors:
            connector.cut()


class Handover:
    """Connectors leave when those that take their place have joined, so that no tunnel is without one in between.

    :param old: who leaves.
    :param new: who was started in their place; without any they leave at once.
    :param leave: called once, when it is time.
    """

    def __init__(
        self, old: Sequence[ConnectorClient], new: Sequence[ConnectorClient], leave: Callable[[Handover], None], reactor: Any
    ) -> None:
        self.old = old
        self._new = new
        self._leave = leave
        self._late = reactor.callLater(HANDOVER, self.finish)

    def look(self) -> None:
        """Somebody joined: perhaps it is time."""
        if all(connector.joined for connector in self._new):
            self.finish()

    def finish(self) -> None:
        """It is time, whoever has joined."""
        if self._late.active():
            self._late.cancel()
        self._leave(self)
