"""How connectors leave: no more streams, time for those in progress, then the links are closed, and what is left is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from rtunnel.ops.drain import drain

__all__ = ["Handover", "drain_connectors"]

CLOSE_TIME = 1.0
"""Seconds that the close handshakes of the links may take."""
HANDOVER = 10.0
"""Seconds that connectors wait for those that take their place."""


class Drained(Protocol):
    """A connector, or several that are one to the user."""

    @property
    def joined(self) -> bool:
        """Whether there is a link."""

    @property
    def busy(self) -> bool:
        """Whether requests are in progress, as far as that can be known."""

    def drain(self) -> None:
        """Ask for no more streams, and join no more."""

    def stop(self) -> Deferred[Any]:
        """Leave cleanly; fires when no link is left."""

    def cut(self) -> None:
        """Cut the links that did not close in time."""


def drain_connectors(connectors: Sequence[Drained], drain_timeout: float, reactor: IReactorTime) -> Deferred[None]:
    """Have some connectors leave together.

    :param drain_timeout: seconds that streams in progress get.
    :returns: fires when no link is left.
    """
    for connector in connectors:
        connector.drain()

    def busy() -> bool:
        # all of them are asked: an answer is about the time since the last question
        activity = [connector.busy for connector in connectors]
        return any(activity)

    def stop(_: object) -> Deferred[None]:
        cut = reactor.callLater(CLOSE_TIME, _cut, connectors)

        def left(_: object) -> None:
            if cut.active():
                cut.cancel()

        return DeferredList([connector.stop() for connector in connectors]).addCallback(left)

    return drain(busy, reactor.seconds() + drain_timeout, reactor).addCallback(stop)


def _cut(connectors: Sequence[Drained]) -> None:
    for connector in connectors:
        connector.cut()


class Handover:
    """Connectors leave when those that take their place have joined, so that no tunnel is without one in between.

    :param old: those that leave.
    :param new: those that were started in their place; without any the old ones leave at once.
    :param leave: called once, when it is time.
    """

    def __init__(
        self,
        old: Sequence[Drained],
        new: Sequence[Drained],
        leave: Callable[[Handover], None],
        reactor: IReactorTime,
    ) -> None:
        self.old = old
        self._new = new
        self._leave = leave
        self._timer = reactor.callLater(HANDOVER, self.finish)

    def check(self) -> None:
        """A connector has joined: finish if it was the last one."""
        if all(connector.joined for connector in self._new):
            self.finish()

    def finish(self) -> None:
        """Have the old ones leave, whether or not the new ones have joined."""
        if self._timer.active():
            self._timer.cancel()
        self._leave(self)
