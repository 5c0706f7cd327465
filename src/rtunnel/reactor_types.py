"""Types of reactors, where a single interface of Twisted is not enough."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    IReactorUNIX,
)
from zope.interface import Interface

__all__ = ["INetworkReactor", "IReactorTurns"]


class INetworkReactor(IReactorTCP, IReactorUDP, IReactorUNIX, IReactorPluggableNameResolver, IReactorThreads, IReactorTime):
    """What is needed where connections are made; every reactor of Twisted that works on sockets provides all of it."""


class IReactorTurns(Interface):
    """A reactor that knows when a turn ends: see :class:`rtunnel.reactor.TurnReactor`."""

    def end_of_turn(call: Callable[[], None]) -> None:
        """Call once, without arguments, when the current events have been handled and before the reactor waits again."""
