"""The access log as an observer: a line per exchange."""

from __future__ import annotations

from rtunnel.ids import short_id
from rtunnel.ops.access import Access, AccessLog
from rtunnel.outcomes import Outcome
from rtunnel.server.observers import ObservedExchange

__all__ = ["AccessLogObserver"]


class AccessLogObserver:
    """Observes entrypoints for the access log; shared by all of them, owned by the service.

    :param log: takes what is over.
    """

    def __init__(self, log: AccessLog) -> None:
        self._log = log

    def begin(self, exchange: ObservedExchange) -> LoggedExchange:
        """A request was read."""
        return LoggedExchange(self._log, exchange)

    def rejected(self, visitor: str, status: int, size: int, outcome: Outcome) -> None:
        """A visitor sent an invalid request: log its address and our response only."""
        access = self._log.begin("http", visitor)
        access.status, access.sent = status, size
        access.answered()
        access.end(outcome)


class LoggedExchange(Access):
    """Collects the data for the line of one exchange.

    :param log: takes it when the exchange is over.
    :param exchange: what is observed; it owns this, which forgets it when it is over.
    """

    __slots__ = ("_exchange",)

    def __init__(self, log: AccessLog, exchange: ObservedExchange) -> None:
        super().__init__(log, "http", exchange.visitor_address)
        self._exchange: ObservedExchange | None = exchange

    def request_data(self, data: bytes) -> None:
        """Count the request body."""
        self.received += len(data)

    def answer_begun(self, status: int, data: bytes) -> None:
        """Record when the response began."""
        self.status = status
        self.sent = len(data)
        self.first_byte = self.log.clock() - self.clock

    def answer_data(self, data: bytes) -> None:
        """Count the response body."""
        self.sent += len(data)

    def ended(self, outcome: Outcome) -> None:
        """Fill in the fields of the request, and write it."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        head, connector = exchange.head, exchange.connector
        # Latin-1 decodes anything; the formats escape what is not ASCII
        self.method = head.method.decode("latin-1")
        self.host = head.host
        self.target = head.target.decode("latin-1")
        self.protocol = "HTTP/1.1" if head.minor else "HTTP/1.0"
        self.request_id = exchange.request_id.decode("latin-1")
        self.retries = exchange.retries
        if connector is not None:
            self.tunnel = connector.tunnel_shown
            self.connector = connector.shown
            if connector.filters:
                self.holder, self.intercept = connector.holder, connector.what
        elif exchange.tunnel is not None:
            self.tunnel = short_id(exchange.tunnel)
        self.end(outcome)

    def upgrade_ended(self, received: int, sent: int) -> None:
        """An upgraded connection was closed."""
        self.received += received
        self.sent += sent
        self.ended(Outcome.UPGRADED)
