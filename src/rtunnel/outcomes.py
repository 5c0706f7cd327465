"""How things end: the outcomes of requests, connections, streams and links, as facts that every room knows.

They are the labels of the metrics and the words of the access log; docs/metrics.md has their meanings.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "DatagramLoss",
    "LinkEnd",
    "LocalPortOutcome",
    "Outcome",
    "RefusalReason",
    "StreamOutcome",
    "TlsOutcome",
    "VisitOutcome",
]

# The members are strings because these are looked up once per request: an Enum's hash is Python code, a str's is not.


class Outcome(StrEnum):
    """How a request of a visitor ended; each ends in exactly one way."""

    ANSWERED = "answered"
    """The answer of a target was passed on whole, whatever its status."""
    UPGRADED = "upgraded"
    """The target answered 101: the connection speaks something else from there on."""
    BAD_REQUEST = "bad_request"
    """Malformed or over a limit: 400, 413, 431 or 505."""
    REQUEST_TIMEOUT = "request_timeout"
    """The visitor did not send its request in time: 408."""
    UNKNOWN_HOST = "unknown_host"
    """No public ingress rule for the host: 404."""
    NO_CONNECTOR = "no_connector"
    """No connector is attached to the tunnel: 503."""
    TARGET_FAILED = "target_failed"
    """No usable answer came from any connector that was tried: 502."""
    RESPONSE_TIMEOUT = "response_timeout"
    """No answer began in time: 504."""
    VISITOR_GONE = "visitor_gone"
    """The visitor left before its answer was whole."""
    ABORTED = "aborted"
    """The answer broke off after it had begun; so did the visitor's connection."""


class TlsOutcome(StrEnum):
    """How a TLS connection that was passed through by its server name ended; each ends in exactly one way."""

    DONE = "done"
    """Both sides sent all they had."""
    VISITOR_GONE = "visitor_gone"
    """The visitor went away before both sides had finished."""
    TARGET_GONE = "target_gone"
    """The target, or the connector that leads to it, went away before both sides had finished."""
    TARGET_FAILED = "target_failed"
    """No connector of the tunnel got an answer from its target."""
    NO_CONNECTOR = "no_connector"
    """No connector is attached to the tunnel."""
    UNKNOWN_NAME = "unknown_name"
    """No public ingress rule for the server name, or none was given."""
    BAD_HELLO = "bad_hello"
    """What came is no ClientHello, or over a limit."""
    HELLO_TIMEOUT = "hello_timeout"
    """The visitor did not send its ClientHello in time."""
    RESPONSE_TIMEOUT = "response_timeout"
    """No answer began in time."""
    STOPPED = "stopped"
    """The server stopped."""


class VisitOutcome(StrEnum):
    """How a visit, a connection of a visitor that said CONNECT, ended at the server; each ends in exactly one way."""

    DONE = "done"
    """Both sides sent all they had."""
    VISITOR_GONE = "visitor_gone"
    """The visitor went away before both sides had finished."""
    TARGET_GONE = "target_gone"
    """The target, or the connector that leads to it, went away before both sides had finished."""
    TARGET_FAILED = "target_failed"
    """No connector of the tunnel reached its target."""
    NO_CONNECTOR = "no_connector"
    """Refused, status 5: no connector is attached to the tunnel."""
    WRONG_TUNNEL = "wrong_tunnel"
    """Refused, status 6: no rule leads the host to the tunnel that the visitor named, or the tunnel is a private one."""
    UNKNOWN_HOST = "unknown_host"
    """Refused, status 7: no rule names the host."""
    FORBIDDEN = "forbidden"
    """Refused, status 3: the permissions do not allow the user to visit the host; or cut: they, or the users, no longer do."""
    BAD_REQUEST = "bad_request"
    """Refused, status 1: no tunnel was named."""
    STOPPED = "stopped"
    """The server, or its listener, stopped before both sides had finished."""


class LocalPortOutcome(StrEnum):
    """How a connection to a local port of a visitor process ended; each ends in exactly one way."""

    DONE = "done"
    """Both sides sent all they had."""
    LOCAL_GONE = "local_gone"
    """The local program went away before both sides had finished."""
    REMOTE_GONE = "remote_gone"
    """The server, or the target behind it, went away before both sides had finished."""
    REFUSED = "refused"
    """The server did not let us in."""
    UNREACHABLE = "unreachable"
    """The server could not be reached, or did not answer in time."""
    EVICTED = "evicted"
    """An association of UDP that had to make room for another one."""
    STOPPED = "stopped"
    """The process, or its local port, stopped before both sides had finished."""


class DatagramLoss(StrEnum):
    """Why a client or visitor dropped a datagram."""

    QUEUE_FULL = "queue_full"
    """The tunnel did not take them fast enough, and it was the oldest that waited."""
    EXPIRED = "expired"
    """Its association was over."""
    REFUSED = "refused"
    """The system did not take it, or said that nobody is there."""
    COOLDOWN = "cooldown"
    """The server could not be reached, or did not let a visitor in, just before."""


class StreamOutcome(StrEnum):
    """How a stream ended at the client; each ends in exactly one way."""

    DONE = "done"
    """Both sides sent all they had."""
    VISITOR_LOST = "visitor_lost"
    """The stream went away first: the visitor left, or the link was lost."""
    TARGET_LOST = "target_lost"
    """The target went away before it had finished."""
    TARGET_REFUSED = "target_refused"
    """The target could not be reached."""
    NO_TARGET = "no_target"
    """No target is for what came."""
    BAD_REQUEST = "bad_request"
    """What came looked like HTTP and was malformed."""
    BAD_PREFACE = "bad_preface"
    """The server did not say, or not in time, what the stream is for."""
    STOPPED = "stopped"
    """The client stopped before the target was reached."""


class LinkEnd(StrEnum):
    """Why a link ended. Each end of the link has its own view: what closes it is known there only, the other end sees it closed."""

    CLOSED = "closed"
    """It was closed cleanly: by the client, or because the stream IDs of its session were used up."""
    LOST = "lost"
    """The connection broke."""
    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    """Nothing was received for the keepalive timeout."""
    PROTOCOL_ERROR = "protocol_error"
    """The peer violated the protocol."""
    SERVER_STOPPED = "server_stopped"
    """The server closed it because it, or its listener, is stopping."""
    UNROUTED = "unrouted"
    """The server closed it because no ingress rule names its tunnel any longer."""
    FORBIDDEN = "forbidden"
    """The server closed it because the users or permissions no longer allow it."""

    def describe(self, detail: str = "") -> str:
        """The reason as text, for logs.

        :param detail: what else is known about it.
        """
        name = self.value.replace("_", " ")
        return f"{name}: {detail}" if detail else name


class RefusalReason(StrEnum):
    """Why the server did not let in whoever connected to its tunnel listener."""

    BAD_REQUEST = "bad_request"
    """What came is no request, or one that is not served."""
    TIMEOUT = "timeout"
    """No request came in time."""
    NO_PASSWORD = "no_password"
    """It gave no user and password where they are asked for."""
    WRONG_PASSWORD = "wrong_password"
    """There is no such user, or it has another password."""
    THROTTLED = "throttled"
    """Too many wrong passwords were under way from its address or for its user; the password was not looked at."""
    UNKNOWN_TUNNEL = "unknown_tunnel"
    """No ingress rule names the tunnel."""
    FORBIDDEN = "forbidden"
    """The permissions do not allow the user what it asked for."""
    FAILED = "failed"
    """The password could not be verified."""
