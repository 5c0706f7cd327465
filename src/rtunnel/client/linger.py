"""The end of a visit over a WebSocket whose other end knows no half-close."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["LINGER", "linger"]

LINGER = 5.0
"""Seconds without a byte after which the connection is closed; a gost closes its own at once then (go-gost/x
``internal/net/pipe.go``)."""


def linger(transport: Any, reactor: IReactorTime) -> None:
    """Close the connection of a visit whose protocol has sent all, as soon as no more of an answer comes.

    :param transport: of the visit, a WebSocket: it tells whether it is paused.
    """
    transport.protocol = _Lingering(transport, reactor)


@implementer(IHalfCloseableProtocol)
class _Lingering:
    """Replaces the protocol of a visit on its transport, and passes everything on to it."""

    def __init__(self, transport: Any, reactor: IReactorTime) -> None:
        self._transport = transport
        self._protocol = transport.protocol
        self._reactor = reactor
        self._heard = False
        self._timer = reactor.callLater(LINGER, self._check)

    def _check(self) -> None:
        # nothing comes while reading is paused, and that is not the server's fault
        if self._heard or self._transport.paused:
            self._heard = False
            self._timer = self._reactor.callLater(LINGER, self._check)
        else:
            self._transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """More of the answer."""
        self._heard = True
        self._protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        """The answer is whole."""
        self._protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._timer.active():
            self._timer.cancel()
        self._protocol.connectionLost(reason)
