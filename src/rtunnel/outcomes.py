"""The outcomes of requests, connections, streams and links: the vocabulary of every package.

They are labels of the metrics and values of the access log; docs/metrics.md explains them to users.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "DatagramLoss",
    "Limit",
    "LinkEnd",
    "LocalPortOutcome",
    "Outcome",
    "PodOutcome",
    "RefusalReason",
    "StreamOutcome",
    "TlsOutcome",
    "VisitOutcome",
]

# The members are strings because these are looked up once per request: an Enum's hash is Python code, a str's is not.


class Outcome(StrEnum):
    """The outcome of a visitor's request; each has exactly one."""

    ANSWERED = "answered"
    """The target's response was passed on completely, whatever its status."""
    UPGRADED = "upgraded"
    """The target responded with 101: the connection speaks another protocol from then on."""
    BAD_REQUEST = "bad_request"
    """Malformed or over a limit: 400, 413, 431 or 505."""
    REQUEST_TIMEOUT = "request_timeout"
    """The visitor did not send its request in time: 408."""
    SESSION = "session"
    """A link of a session, answered with its cookie: 302."""
    UNKNOWN_HOST = "unknown_host"
    """No public ingress rule for the host: 404."""
    LOOP = "loop"
    """It came back to this server, for the same host: 508."""
    NO_CONNECTOR = "no_connector"
    """No connector is attached to the tunnel: 503."""
    HOLDER_ABSENT = "holder_absent"
    """A filter of a client takes it whose link is lost, and the policy of the host keeps it from others: 503."""
    OVERLOADED = "overloaded"
    """The server buffers as much as it may for others, or no connector has room for it: 503."""
    TARGET_FAILED = "target_failed"
    """No usable response from any connector that was tried: 502."""
    RESPONSE_TIMEOUT = "response_timeout"
    """No response began in time: 504."""
    VISITOR_GONE = "visitor_gone"
    """The visitor left before its response was complete."""
    STALLED = "stalled"
    """The visitor took nothing of its response for the stall timeout, or is gone without a word."""
    ABORTED = "aborted"
    """The response broke off after it had begun; so did the visitor's connection."""
    STOPPED = "stopped"
    """The server stopped before the response was complete: 503 if it had not begun."""
    ERROR = "error"
    """An error in the server: 500, or the response broke off. The log has the details, under the request ID."""


class TlsOutcome(StrEnum):
    """The outcome of a TLS connection that was passed through by server name; each has exactly one."""

    DONE = "done"
    """Both sides sent everything."""
    VISITOR_GONE = "visitor_gone"
    """The visitor left before both sides had finished."""
    STALLED = "stalled"
    """The visitor took nothing for the stall timeout, or is gone without a word."""
    TARGET_GONE = "target_gone"
    """The target, or its connector, left before both sides had finished."""
    TARGET_FAILED = "target_failed"
    """No connector of the tunnel got a response from its target."""
    NO_CONNECTOR = "no_connector"
    """No connector is attached to the tunnel."""
    OVERLOADED = "overloaded"
    """The server buffers as much as it may for others, or no connector has room for it."""
    UNKNOWN_NAME = "unknown_name"
    """No public ingress rule for the server name, or none was given."""
    BAD_HELLO = "bad_hello"
    """Not a valid ClientHello, or over a limit."""
    HELLO_TIMEOUT = "hello_timeout"
    """The visitor did not send its ClientHello in time."""
    RESPONSE_TIMEOUT = "response_timeout"
    """No response began in time."""
    STOPPED = "stopped"
    """The server stopped."""
    ERROR = "error"
    """An error in the server, which is in its log."""


class VisitOutcome(StrEnum):
    """The outcome of a visit (a connection of a visitor that sent CONNECT) at the server; each has exactly one."""

    DONE = "done"
    """Both sides sent everything."""
    VISITOR_GONE = "visitor_gone"
    """The visitor left before both sides had finished."""
    STALLED = "stalled"
    """The visitor took nothing for the stall timeout, or is gone without a word."""
    TARGET_GONE = "target_gone"
    """The target, or its connector, left before both sides had finished."""
    TARGET_FAILED = "target_failed"
    """No connector of the tunnel reached its target."""
    NO_CONNECTOR = "no_connector"
    """Rejected, status 5: no connector is attached to the tunnel."""
    OVERLOADED = "overloaded"
    """The server buffers as much as it may for others, or no connector has room for it; status 5 if it was not accepted yet."""
    WRONG_TUNNEL = "wrong_tunnel"
    """Rejected, status 6: no rule leads the host to the tunnel that the visitor named, or the tunnel is private."""
    UNKNOWN_HOST = "unknown_host"
    """Rejected, status 7: no rule for the host."""
    FORBIDDEN = "forbidden"
    """Rejected, status 3: the permissions do not allow it; or closed when users or permissions changed."""
    BAD_REQUEST = "bad_request"
    """Rejected, status 1: no tunnel was named."""
    STOPPED = "stopped"
    """The server, or its listener, stopped before both sides had finished."""
    ERROR = "error"
    """An error in the server, which is in its log."""


class PodOutcome(StrEnum):
    """How a request over a pod link was answered, by the server or the client in the pod; each in exactly one way."""

    GRANTED = "granted"
    """The connection, or the document, was there."""
    NOT_ALLOWED = "not_allowed"
    """The permissions, or the rules of the client in the pod, do not allow it."""
    NO_NAME = "no_name"
    """The pod's DNS knows no such name."""
    NO_DNS = "no_dns"
    """The pod's DNS did not answer."""
    REFUSED = "refused"
    """Nothing listens there."""
    UNREACHABLE = "unreachable"
    """There is no way there."""
    TIMED_OUT = "timed_out"
    """Nothing answered in time."""
    BUSY = "busy"
    """There were too many connections."""
    NO_POD = "no_pod"
    """No client that offers it had joined."""
    FAILED = "failed"
    """Something else went wrong, of which the log of the client in the pod says more."""


class LocalPortOutcome(StrEnum):
    """The outcome of a connection to a local port of a visitor; each has exactly one."""

    DONE = "done"
    """Both sides sent everything."""
    LOCAL_GONE = "local_gone"
    """The local program left before both sides had finished."""
    REMOTE_GONE = "remote_gone"
    """The server, or the target behind it, left before both sides had finished."""
    REFUSED = "refused"
    """The server rejected the visit."""
    UNREACHABLE = "unreachable"
    """The server could not be reached, or did not answer in time."""
    EVICTED = "evicted"
    """A UDP association that made room for another one."""
    STOPPED = "stopped"
    """The process, or its local port, stopped before both sides had finished."""


class DatagramLoss(StrEnum):
    """Why a client or visitor dropped a datagram."""

    QUEUE_FULL = "queue_full"
    """The tunnel was too slow, and this was the oldest datagram in the queue."""
    EXPIRED = "expired"
    """Its association had ended."""
    REFUSED = "refused"
    """The system did not accept it, or reported that the port is closed."""
    COOLDOWN = "cooldown"
    """The server could not be reached, or rejected the visitor, within the last second."""


class StreamOutcome(StrEnum):
    """The outcome of a stream at the client; each has exactly one."""

    DONE = "done"
    """Both sides sent everything."""
    VISITOR_LOST = "visitor_lost"
    """The stream ended first: the visitor left, or the link was lost."""
    TARGET_LOST = "target_lost"
    """The target closed the connection early."""
    TARGET_REFUSED = "target_refused"
    """The target could not be reached."""
    NO_TARGET = "no_target"
    """No target matches."""
    BAD_REQUEST = "bad_request"
    """A malformed HTTP request, where the client parses HTTP."""
    BAD_PREFACE = "bad_preface"
    """The server did not say in time what the stream is for."""
    STOPPED = "stopped"
    """The client stopped before the target was reached."""
    TOO_MANY = "too_many"
    """The client had as many streams as it may have: the server was told to send it elsewhere."""


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
    STALLED = "stalled"
    """The peer took nothing of what was sent for the stall timeout of links."""
    OVERFLOWED = "overflowed"
    """More bytes waited for the peer than the link may buffer."""
    FLOODED = "flooded"
    """The peer sent so many frames that change nothing that it can only want to do harm."""
    FAILED = "failed"
    """There was an error in this program, which the log has."""
    SERVER_STOPPED = "server_stopped"
    """The server closed it because it, or its listener, is stopping."""
    UNROUTED = "unrouted"
    """The server closed it because no ingress rule names its tunnel anymore."""
    FORBIDDEN = "forbidden"
    """The server closed it because the users or permissions no longer allow it."""
    LEASE_ENDED = "lease_ended"
    """The server closed it because its client's lease has ended."""

    def describe(self, detail: str = "") -> str:
        """The reason as text, for logs.

        :param detail: what else is known about it.
        """
        name = self.value.replace("_", " ")
        return f"{name}: {detail}" if detail else name


class RefusalReason(StrEnum):
    """Why the server rejected a connection to its tunnel listener."""

    BAD_REQUEST = "bad_request"
    """The request was malformed or is not supported."""
    TIMEOUT = "timeout"
    """No request arrived in time."""
    NO_PASSWORD = "no_password"
    """It sent no user and password, and the server requires them."""
    WRONG_PASSWORD = "wrong_password"
    """No such user, or another password."""
    THROTTLED = "throttled"
    """Too many wrong passwords from its address or for its user; the password was not checked."""
    UNKNOWN_TUNNEL = "unknown_tunnel"
    """No ingress rule names the tunnel."""
    FORBIDDEN = "forbidden"
    """The permissions do not allow it."""
    INTERCEPT_TAKEN = "intercept_taken"
    """Another client gets the requests that it asks for."""
    NOT_AGREED = "not_agreed"
    """The servers cannot agree on whether another client gets them."""
    POLICY = "policy"
    """The policy of a host does not allow it to take what it asks for."""
    FAILED = "failed"
    """The password could not be verified."""
    STOPPING = "stopping"
    """The server is stopping: the client has to join elsewhere."""
    TOO_MANY = "too_many"
    """Its address or its tunnel has too many links, or its address too many handshakes that are not finished."""


class Limit(StrEnum):
    """A bound of the server for what others can choose; each time that it is reached counts."""

    CONNECTIONS = "connections"
    """Visitors had all connections that they may have; idle ones gave way, or others waited."""
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    """A visitor was refused: its address had as many connections as it may have."""
    TUNNEL_CONNECTIONS = "tunnel_connections"
    """Clients had all connections that they may have; unfinished handshakes gave way, or others waited."""
    HANDSHAKES = "handshakes"
    """As many clients as possible had not finished their handshake; those without a request gave way, or others waited."""
    HANDSHAKES_PER_ADDRESS = "handshakes_per_address"
    """The same of one address: another one was refused."""
    LINKS_PER_ADDRESS = "links_per_address"
    """A client was refused: its address had as many links and visits as it may have."""
    LINKS_PER_TUNNEL = "links_per_tunnel"
    """A client was refused: the tunnel had as many links as it may have."""
    STREAMS_PER_LINK = "streams_per_link"
    """A link had as many streams as it may have; another connector was tried."""
    STREAMS_PER_TUNNEL = "streams_per_tunnel"
    """The links of a tunnel had as many streams together as they may have: a request was refused."""
    RETRIES = "retries"
    """A request or connection was sent to as many connectors as it may be, and none answered."""
    DESCRIPTORS = "descriptors"
    """The system had no descriptor or memory for another connection; accepting paused."""
    PIPELINED = "pipelined"
    """A visitor sent many requests that are answered at once; the others were served first."""
    LINK_STALL = "link_stall"
    """The client of a link took nothing of what was sent for too long: the link was dropped."""
    LINK_BUFFER = "link_buffer"
    """Too many bytes waited for the client of a link: another connector was tried, or the link was dropped."""
    FLOOD = "flood"
    """A client sent a flood of frames, before or after it had joined: its connection was cut."""
    STREAM_HOLD = "stream_hold"
    """A stream held back all others of its link (smux version 1), and was aborted."""
    HELD_LEASES = "held_leases"
    """As many leases of a tunnel were held as may be: the longest held one ended."""
    MAX_BUFFERED = "max_buffered"
    """The server buffered as much as it may: new requests were refused until it was less."""
