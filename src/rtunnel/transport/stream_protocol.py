"""The base class of protocols that are compiled: Twisted's is interpreted, which the base of a compiled class cannot be."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

__all__ = ["StreamProtocol"]


class StreamProtocol:
    """What :class:`twisted.internet.protocol.Protocol` is elsewhere; subclasses say with ``classImplements`` what else they are.

    :ivar transport: of the connection; None before there is one.
    :ivar factory: set by Twisted's factories.
    """

    def __init__(self) -> None:
        self.transport: Any = None
        self.factory: Any = None

    def makeConnection(self, transport: Any) -> None:
        """Connect it to its transport."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """The connection is there."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the peer were received."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""


classImplements(StreamProtocol, IProtocol)
