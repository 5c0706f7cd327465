"""What the admin endpoint answers: ``/livez``, ``/readyz``, ``/metrics``, ``/status``; and how: plain HTTP, GET alone.

The service may answer more (:data:`~rtunnel.ops.status.Queries`).
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request

from rtunnel.ops.status import Queries

__all__ = ["AdminAnswers", "AdminFactory", "Answer"]

IDLE_TIMEOUT = 60.0
"""Seconds that a connection may be idle."""

PLAIN = b"text/plain; charset=utf-8"
JSON = b"application/json"
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format; the metrics need nothing of newer versions."""

Answer = tuple[int, bytes, bytes]
"""Status, media type, body."""

_NO_QUERIES: Queries = {}


class AdminAnswers:
    """What can be asked of a process; shared by the places where it can be asked.

    :param ready: tells whether the service is ready; called for each ``/readyz``.
    :param metrics: returns the metrics in Prometheus' format; called for each ``/metrics``.
    :param status: returns the status as JSON; called for each ``/status``.
    :param refresh: called before that, for what has to be asked elsewhere; fires when it is there.
    :param queries: what else can be asked.
    :param unready: the reason that ``/readyz`` gives with 503.
    """

    def __init__(
        self,
        *,
        ready: Callable[[], bool],
        metrics: Callable[[], bytes | Deferred[bytes]],
        status: Callable[[], bytes],
        refresh: Callable[[], Deferred[None]] = lambda: succeed(None),
        queries: Queries = _NO_QUERIES,
        unready: str = "starting or stopping",
    ) -> None:
        self._ready = ready
        self._metrics: Callable[[], Any] = metrics
        self._status = status
        self._refresh = refresh
        self._queries = queries
        self._unready = unready

    def answer(self, path: bytes, query: bytes) -> Answer | Deferred[Answer]:
        """Respond to a request.

        :param query: of the URL, without the question mark.
        """
        if path == b"/livez":
            return 200, PLAIN, b"alive\n"
        if path == b"/readyz":
            return (200, PLAIN, b"ready\n") if self._ready() else (503, PLAIN, f"not ready: {self._unready}\n".encode())
        if path == b"/metrics":
            counted: Deferred[bytes] = maybeDeferred(self._metrics)
            return counted.addCallback(lambda text: (200, EXPOSITION, text))
        if path == b"/status":
            return self._refresh().addCallback(lambda _: (200, JSON, self._status()))
        if path in self._queries:
            ask: Callable[[bytes], Any] = self._queries[path]
            asked: Deferred[bytes] = maybeDeferred(ask, query)
            return asked.addCallbacks(lambda answer: (200, JSON, answer), _wrong)
        return 404, PLAIN, b"not found: there are /livez, /readyz, /metrics and /status\n"


def _wrong(failure: Failure) -> Answer:
    failure.trap(ValueError)
    return 400, PLAIN, f"{failure.value}\n".encode()


class _Question(Request):
    """One request. twisted.web's Site would add a Server header, a log line and the lookup of a resource."""

    _log = Logger()
    answers: AdminAnswers
    gone = False

    def gotLength(self, length: int | None) -> None:
        """Drop the body, whatever its length."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Drop it."""

    def process(self) -> None:
        """Send the response."""
        if self.method not in (b"GET", b"HEAD"):
            self.responseHeaders.setRawHeaders(b"Allow", [b"GET, HEAD"])
            self._send((405, PLAIN, b"only GET and HEAD\n"))
            return
        self.notifyFinish().addErrback(self._left)
        answered: Deferred[Any] = maybeDeferred(self.answers.answer, self.path, self.uri.partition(b"?")[2])
        answered.addErrback(self._failed).addCallback(self._send)

    def _left(self, _failure: Failure) -> None:
        """Who asked does not wait for the response."""
        self.gone = True

    def _failed(self, failure: Failure) -> Answer:
        self._log.failure("error while answering {path}", failure=failure, path=self.path.decode("latin-1"))
        return 500, PLAIN, b"an error, which is in the log\n"

    def _send(self, answer: Answer) -> None:
        if self.gone:
            return
        status, kind, body = answer
        fields = self.responseHeaders
        self.setResponseCode(status)
        fields.setRawHeaders(b"Content-Type", [kind])
        fields.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        fields.setRawHeaders(b"Cache-Control", [b"no-store"])
        self.write(b"" if self.method == b"HEAD" else body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class AdminFactory(HTTPFactory):
    """The connections over which a process is asked, without an access log and its clock."""

    noisy = False
    protocol: Any = HTTPChannel

    def __init__(self, answers: AdminAnswers, reactor: Any) -> None:
        super().__init__(timeout=IDLE_TIMEOUT, reactor=reactor)
        self._question = type("Question", (_Question,), {"answers": answers})

    def logPrefix(self) -> str:
        """What Twisted's own log calls it."""
        return "admin endpoint"

    def startFactory(self) -> None:
        """Do not open a log."""

    def stopFactory(self) -> None:
        """Do not close one."""

    def log(self, request: Any) -> None:
        """Do not log questions."""

    def buildProtocol(self, addr: Any) -> Any:
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = self._question
        return channel
