"""Who watches the exchanges of an entrypoint: several may watch one exchange, and none of them changes it.

- :mod:`rtunnel.server.observers.access_log`: a line for each exchange
"""

from __future__ import annotations

from typing import Protocol

from rtunnel.outcomes import Outcome
from rtunnel.server.attempt import Attempt
from rtunnel.server.upstream import Upstream
from rtunnel.wire.http1 import RequestHead

__all__ = ["ExchangeObserver", "ObservedExchange", "Observer"]


class ObservedExchange(Protocol):
    """What an observer sees of an exchange, at any time of its life.

    :ivar head: the request.
    :ivar request_id: as in X-Request-Id.
    :ivar attempt: where it is served, once it was routed.
    """

    head: RequestHead
    request_id: bytes
    attempt: Attempt[Upstream] | None

    @property
    def visitor_address(self) -> str:
        """The address of the visitor, as far as trusted proxies tell it."""


class ExchangeObserver(Protocol):
    """Watches one exchange, from its start to its one end. What it raises ends the exchange."""

    def request_data(self, data: bytes) -> None:
        """Bytes of the request's body, as they came."""

    def answer_begun(self, status: int, data: bytes) -> None:
        """The answer begins: a target's, or our own.

        :param data: the first bytes of its body.
        """

    def answer_data(self, data: bytes) -> None:
        """More bytes of the answer's body."""

    def ended(self, outcome: Outcome) -> None:
        """The exchange is over."""

    def upgrade_ended(self, received: int, sent: int) -> None:
        """Instead of :meth:`ended`: both sides of an upgraded connection are gone.

        :param received: bytes that came from the visitor after the request.
        :param sent: bytes that went to it after the 101.
        """


class Observer(Protocol):
    """Watches an entrypoint; owned by the service."""

    def begin(self, exchange: ObservedExchange) -> ExchangeObserver:
        """A request was read and is about to be routed."""

    def rejected(self, visitor: str, status: int, size: int, outcome: Outcome) -> None:
        """A visitor sent what is not a request.

        :param visitor: its address.
        :param status: of our answer.
        :param size: bytes of its body.
        """
