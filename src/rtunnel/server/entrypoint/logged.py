"""Visitors and exchanges of an entrypoint with an access log: the same, and each request leaves a line.

They stand in for the plain classes when there is an access log, so that without one nothing is asked or counted per request.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from rtunnel.ops.access import Access, AccessLog
from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.exchange import Exchange
from rtunnel.server.entrypoint.forwarding import Forwarding, client_address
from rtunnel.server.entrypoint.http import Entrypoint, HttpVisitor
from rtunnel.wire.http1 import HeadError

__all__ = ["log_requests"]


def log_requests(entrypoint: Entrypoint, log: AccessLog) -> None:
    """Have each request of an entrypoint leave a line."""
    entrypoint.access = log
    entrypoint.visitor = partial(_LoggedVisitor, log)
    entrypoint.exchange = _LoggedExchange


class _LoggedVisitor(HttpVisitor):
    """A visitor whose answers are looked at on their way."""

    _refused: Access | None = None

    def __init__(self, log: AccessLog, entrypoint: Entrypoint) -> None:
        super().__init__(entrypoint)
        self.access_log = log

    @property
    def forwarding(self) -> Forwarding:
        """What is known of who visits."""
        return self._forwarding or self._meet()

    def write(self, data: bytes) -> None:
        exchange = self._exchange
        access = exchange.access if isinstance(exchange, _LoggedExchange) else self._refused
        if access is not None:
            _look(access, data)
        super().write(data)

    def _refuse(self, error: HeadError, outcome: Outcome) -> None:
        access = self._refused = self.access_log.begin("http", self.forwarding.peer.decode())
        super()._refuse(error, outcome)
        access.end(outcome)

    def hand_over(self) -> bytes:
        exchange = self._exchange
        early = super().hand_over()
        if isinstance(exchange, _LoggedExchange):
            exchange.access.received += len(early)
        return early


def _look(access: Access, data: bytes) -> None:
    """Find out what an answer says: its status, when it began, how long its body is. A head always comes in one piece."""
    if access.status is not None:
        access.sent += len(data)
        return
    status = int(data[9:12])
    if status >= 200 or status == 101:
        access.status = status
        access.answered()
        access.sent = len(data) - data.find(b"\r\n\r\n") - 4


class _LoggedExchange(Exchange):
    """An exchange whose end is a line."""

    observed = True
    _attempts = 0

    def __init__(self, visitor: HttpVisitor, entrypoint: Entrypoint, authority: bytes, host: str) -> None:
        super().__init__(visitor, entrypoint, authority, host)
        logged = cast(_LoggedVisitor, visitor)
        self._forwarding = logged.forwarding
        self.access = logged.access_log.begin("http", visitor.peer.host)

    def _attempt(self, tunnel: Any) -> None:
        self._attempts += 1
        self.access.tunnel = tunnel
        super()._attempt(tunnel)

    def request_data(self, data: bytes) -> bytes:
        rest = super().request_data(data)
        self.access.received += len(data) - len(rest)
        return rest

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        self._describe()
        # an upgraded connection goes on, and its line waits for its end
        if outcome is not Outcome.UPGRADED:
            self.access.end(outcome)

    def _upgrade_ended(self, up: int, down: int) -> None:
        super()._upgrade_ended(up, down)
        self.access.received += up
        self.access.sent += down
        self.access.end(Outcome.UPGRADED)

    def _describe(self) -> None:
        """Fill in what is known of the request."""
        access, head = self.access, self._head
        if head is not None and head.forwarded is not None:
            access.visitor = client_address(self._forwarding, head.forwarded, self._entrypoint.settings.trusted_proxies)
        access.method = self.method.decode("ascii", "backslashreplace")
        access.host = self.host
        access.target = self.target.decode("ascii", "backslashreplace")
        access.protocol = f"HTTP/1.{self._minor}"
        access.request_id = self.request_id.decode("ascii", "backslashreplace")
        access.retries = max(self._attempts - 1, 0)
        if self._connector is not None:
            access.connector = self._connector.id
