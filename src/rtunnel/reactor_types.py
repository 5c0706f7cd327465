"""The reactor as each part needs it: what works with a clock says :class:`~twisted.internet.interfaces.IReactorTime`."""

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
    """What is asked of a reactor where connections are made: every reactor of Twisted that works on sockets has it all."""


class IReactorTurns(Interface):
    """A reactor that knows when a turn ends: see :class:`rtunnel.reactor.TurnReactor`."""

    def end_of_turn(call: Callable[[], None]) -> None:
        """Call once, without arguments, when the events at hand are handled and before the reactor waits again."""
