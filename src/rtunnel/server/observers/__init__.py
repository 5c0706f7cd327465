"""Observers of the exchanges of an entrypoint: an exchange may have several, and none of them changes it.

- :mod:`rtunnel.server.observers.access_log`: writes a line per exchange
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from rtunnel.outcomes import Outcome
from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import UpstreamPool
from rtunnel.wire.http1 import RequestHead

__all__ = ["ExchangeObserver", "ObservedExchange", "Observer"]


class ObservedExchange(Protocol):
    """The part of an exchange that observers can read.

    :ivar head: the request.
    :ivar request_id: the value of X-Request-Id.
    :ivar tunnel: where it was routed to; None before that.
    :ivar connector: the one that was tried last.
    :ivar retries: how often it was retried.
    """

    head: RequestHead
    request_id: bytes
    tunnel: UUID | None
    connector: Connector[UpstreamPool] | None
    retries: int

    @property
    def visitor_address(self) -> str:
        """The address of the visitor, taken from trusted proxies where there are any."""


class ExchangeObserver(Protocol):
    """Observes one exchange from start to end. An exception ends the exchange."""

    def request_data(self, data: bytes) -> None:
        """Bytes of the request body, as received."""

    def answer_begun(self, status: int, data: bytes) -> None:
        """The response begins: the target's or our own.

        :param data: the first bytes of its body.
        """

    def answer_data(self, data: bytes) -> None:
        """More bytes of the response body."""

    def ended(self, outcome: Outcome) -> None:
        """The exchange is over."""

    def upgrade_ended(self, received: int, sent: int) -> None:
        """Called instead of :meth:`ended`: both sides of an upgraded connection are closed.

        :param received: bytes received from the visitor after the request.
        :param sent: bytes sent to it after the 101.
        """


class Observer(Protocol):
    """Observes an entrypoint; owned by the service."""

    def begin(self, exchange: ObservedExchange) -> ExchangeObserver:
        """A request was read and is about to be routed."""

    def rejected(self, visitor: str, status: int, size: int, outcome: Outcome) -> None:
        """A visitor sent an invalid request.

        :param visitor: its address.
        :param status: of our response.
        :param size: bytes of its body.
        """
