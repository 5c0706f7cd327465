"""The admin endpoint: ``/livez`` and ``/readyz`` for probes, ``/metrics`` for Prometheus, ``/status`` for ``rtunnel status``.

The service may answer more (:data:`~rtunnel.ops.status.Queries`).

Plain HTTP without authentication: bind it to loopback or the pod's address, never to a public one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.web.http import HTTPFactory, Request

from rtunnel.ops.start import ADMIN_ENDPOINT, cannot_listen
from rtunnel.ops.status import Queries
from rtunnel.settings import Address
from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.sockets import listen_tcp

__all__ = ["AdminService"]

IDLE_TIMEOUT = 60.0
"""Seconds that a connection may be idle."""

MOST = 32
"""Connections at a time, of the descriptors that are kept back (:data:`rtunnel.ops.descriptors.RESERVE`)."""

PLAIN = b"text/plain; charset=utf-8"
JSON = b"application/json"
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format; the metrics need nothing of newer versions."""


_NO_QUERIES: Queries = {}


class AdminService(Service):
    """Serves probes, metrics and the status, from its start to its stop.

    It must outlive the drain: until then ``/livez`` succeeds, and ``/readyz`` fails so that no new visitors arrive.

    :param address: where to listen; an empty host is every address, port 0 any free port.
    :param ready: tells whether the service is ready; called for each ``/readyz``.
    :param registry: the metrics; read for each request.
    :param status: returns the status as JSON; called for each request.
    :param queries: what else can be asked.
    :param unready: the reason that ``/readyz`` gives with 503.
    :param reactor: the reactor.
    """

    def __init__(
        self,
        address: Address,
        *,
        ready: Callable[[], bool],
        registry: CollectorRegistry,
        status: Callable[[], bytes],
        reactor: Any,
        queries: Queries = _NO_QUERIES,
        unready: str = "starting or stopping",
    ) -> None:
        self._address = address
        self._ready = ready
        self._registry = registry
        self._status = status
        self._queries = queries
        self._reactor = reactor
        self._unready = unready
        self._listening: Any = None
        self._log = Logger()

    @property
    def port(self) -> int:
        """The bound port.

        :raises AttributeError: when it is not running.
        """
        return int(self._listening.getHost().port)

    def startService(self) -> None:
        """Bind the port.

        :raises StartError: it cannot be bound.
        """
        host, port = self._address.host, self._address.port
        try:
            self._listening = listen_tcp(self._reactor, host, port, _Probes(self.answer, self._reactor))
            AcceptingPort(self._listening, self._reactor).use(FixedRoom("connections to the admin endpoint", self._reactor, MOST))
        except (CannotListenError, OSError) as error:
            raise cannot_listen(ADMIN_ENDPOINT, self._address, error) from error
        super().startService()  # type: ignore[no-untyped-call]
        self._log.info("admin endpoint on {host}:{port}", host=self._address.host or "*", port=self.port)

    def stopService(self) -> Deferred[None]:
        """Close the port; fires when it is closed. Pending responses are still sent."""
        super().stopService()  # type: ignore[no-untyped-call]
        listening, self._listening = self._listening, None
        return maybeDeferred(listening.stopListening) if listening is not None else succeed(None)

    def answer(self, path: bytes, query: bytes) -> tuple[int, bytes, bytes]:
        """Respond to a request.

        :param query: of the URL, without the question mark.
        :returns: status, media type, body.
        """
        if path == b"/livez":
            return 200, PLAIN, b"alive\n"
        if path == b"/readyz":
            return (200, PLAIN, b"ready\n") if self._ready() else (503, PLAIN, f"not ready: {self._unready}\n".encode())
        if path == b"/metrics":
            return 200, EXPOSITION, generate_latest(self._registry)
        if path == b"/status":
            return 200, JSON, self._status()
        if path in self._queries:
            try:
                return 200, JSON, self._queries[path](query)
            except ValueError as error:
                return 400, PLAIN, f"{error}\n".encode()
        return 404, PLAIN, b"not found: there are /livez, /readyz, /metrics and /status\n"


_Answer = Callable[[bytes, bytes], tuple[int, bytes, bytes]]


class _Probe(Request):
    """One request. twisted.web's Site would add a Server header, a log line and the lookup of a resource."""

    def __init__(self, answer: _Answer, *channel: Any) -> None:
        super().__init__(*channel)
        self._answer = answer

    def gotLength(self, length: int | None) -> None:
        """Drop the body, whatever its length."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Drop it."""

    def process(self) -> None:
        """Send the response."""
        fields = self.responseHeaders
        if self.method in (b"GET", b"HEAD"):
            status, kind, body = self._answer(self.path, self.uri.partition(b"?")[2])
        else:
            status, kind, body = 405, PLAIN, b"only GET and HEAD\n"
            fields.setRawHeaders(b"Allow", [b"GET, HEAD"])
        self.setResponseCode(status)
        fields.setRawHeaders(b"Content-Type", [kind])
        fields.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        fields.setRawHeaders(b"Cache-Control", [b"no-store"])
        self.write(b"" if self.method == b"HEAD" else body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class _Probes(HTTPFactory):
    """The connections of an admin endpoint, without an access log and its clock."""

    noisy = False

    def logPrefix(self) -> str:
        """What Twisted's own log calls it."""
        return "admin endpoint"

    def __init__(self, answer: _Answer, reactor: Any) -> None:
        super().__init__(timeout=IDLE_TIMEOUT, reactor=reactor)
        self._answer = answer

    def startFactory(self) -> None:
        """Do not open a log."""

    def stopFactory(self) -> None:
        """Do not close one."""

    def log(self, request: Any) -> None:
        """Do not log probes."""

    def buildProtocol(self, addr: Any) -> Any:
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = partial(_Probe, self._answer)
        return channel
