"""The access log as an observer: a line per exchange."""

from __future__ import annotations

from rtunnel.ops.access import Access, AccessLog
from rtunnel.outcomes import Outcome
from rtunnel.server.observers import ObservedExchange

__all__ = ["AccessLogObserver"]


class AccessLogObserver:
    """Observes entrypoints for the access log; shared by all of them, owned by the service.

    :param log: formats and writes the lines.
    """

    def __init__(self, log: AccessLog) -> None:
        self._log = log

    def begin(self, exchange: ObservedExchange) -> LoggedExchange:
        """A request was read."""
        return LoggedExchange(exchange, self._log.begin("http", exchange.visitor_address))

    def rejected(self, visitor: str, status: int, size: int, outcome: Outcome) -> None:
        """A visitor sent an invalid request: log its address and our response only."""
        access = self._log.begin("http", visitor)
        access.status, access.sent = status, size
        access.answered()
        access.end(outcome)


class LoggedExchange:
    """Collects the data for the line of one exchange."""

    __slots__ = ("_access", "_exchange")

    def __init__(self, exchange: ObservedExchange, access: Access) -> None:
        self._exchange = exchange
        self._access = access

    def request_data(self, data: bytes) -> None:
        """Count the request body."""
        self._access.received += len(data)

    def answer_begun(self, status: int, data: bytes) -> None:
        """Record when the response began."""
        access = self._access
        access.status = status
        access.sent = len(data)
        access.answered()

    def answer_data(self, data: bytes) -> None:
        """Count the response body."""
        self._access.sent += len(data)

    def ended(self, outcome: Outcome) -> None:
        """Fill in the fields of the request and write the line."""
        access, exchange = self._access, self._exchange
        head, attempt = exchange.head, exchange.attempt
        access.method = head.method.decode("ascii", "backslashreplace")
        access.host = head.host
        access.target = head.target.decode("ascii", "backslashreplace")
        access.protocol = "HTTP/1.1" if head.minor else "HTTP/1.0"
        access.request_id = exchange.request_id.decode("ascii", "backslashreplace")
        if attempt is not None:
            access.tunnel = attempt.tunnel
            access.retries = attempt.retries
            if attempt.connector is not None:
                access.connector = attempt.connector.id
        access.end(outcome)

    def upgrade_ended(self, received: int, sent: int) -> None:
        """An upgraded connection was closed."""
        self._access.received += received
        self._access.sent += sent
        self.ended(Outcome.UPGRADED)
