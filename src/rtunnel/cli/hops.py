"""Sends one request the way that visitors come, and says how far it came."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse

import attrs

from rtunnel.ops.logs import one_line

__all__ = ["MAX_BODY", "Hop", "Route", "travel"]

MAX_BODY = 4096
"""Bytes of the response's body that are read: all of one of our own, and enough to know that it is none."""

_DOUBTFUL = frozenset((404, 502, 503, 504))
"""What an Ingress answers when it does not reach the entrypoint, and targets seldom do."""
_BEYOND = {
    404: ("rule", "add --route HOST=TUNNEL to the server"),
    502: ("target", "the client joined, and its --target does not answer; its log says why"),
    503: ("client", "start a client for the tunnel; its log says when it has joined, or why it may not"),
    504: ("target", "it takes longer than --response-timeout of the server"),
    508: ("target", "it leads back to the entrypoint: set --target to the service itself"),
}
"""The hop at which a request ends that the entrypoint answers itself, and what to do, by status."""


@attrs.frozen
class Route:
    """Where the request goes.

    :ivar host: of the URL.
    :ivar port: of the URL.
    :ivar tls: whether TLS is spoken.
    :ivar target: path and query.
    :ivar fields: of the request, besides those that are needed.
    :ivar timeout: seconds for each hop.
    :ivar ca_file: a CA that is trusted besides those of the system, in PEM.
    """

    host: str
    port: int
    tls: bool
    target: str
    fields: Mapping[str, str]
    timeout: float
    ca_file: str | None = None


@attrs.frozen
class Hop:
    """One hop.

    :ivar name: name, connection, TLS, entrypoint, rule, client or target; or ``answer``, if it is not known whose it is.
    :ivar ok: whether the request came past it.
    :ivar text: for the user.
    :ivar date: of the response, by the clock of what answered; ``""`` before there is one.
    """

    name: str
    ok: bool
    text: str
    date: str = ""


def travel(route: Route, own: Callable[[int, str], str | None]) -> list[Hop]:
    """Send the request.

    :param own: the explanation of a status and body, if they are the tunnel server's own response.
    :returns: the hops up to the first that fails.
    """
    return list(_travel(route, own))


def _travel(route: Route, own: Callable[[int, str], str | None]) -> Iterator[Hop]:
    hop = "name"
    try:
        found = socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
        yield Hop(hop, True, f"{route.host} is {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}")
        hop = "connection"
        with socket.create_connection((route.host, route.port), route.timeout) as connection:
            yield Hop(hop, True, f"port {route.port} accepts connections")
            if route.tls:
                hop = "TLS"
                context = ssl.create_default_context()
                if route.ca_file is not None:
                    context.load_verify_locations(route.ca_file)
                connection = context.wrap_socket(connection, server_hostname=route.host)  # noqa: PLW2901
                yield Hop(hop, True, f"{connection.version()}, the certificate is valid")
            hop = "answer"
            response, body = _ask(route, connection)
    except ssl.SSLCertVerificationError as error:
        yield Hop(hop, False, f"the certificate is not accepted: {error.verify_message}")
    except TimeoutError:
        yield Hop(hop, False, f"nothing within {route.timeout:g} s")
    except (OSError, HTTPException) as error:
        yield Hop(hop, False, one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__)
    else:
        for judged in _judge(response, own(response.status, body)):
            yield attrs.evolve(judged, date=response.headers.get("Date", ""))


def _ask(route: Route, connection: socket.socket) -> tuple[HTTPResponse, str]:
    visitor = HTTPConnection(route.host, route.port)
    visitor.sock = connection
    fields = {"User-Agent": "rtunnel-probe", "Accept": "text/plain, */*", "Rtunnel-Explain": "1", "Connection": "close"}
    visitor.request("GET", route.target, headers={**fields, **route.fields})
    response = visitor.getresponse()
    return response, response.read(MAX_BODY).decode("utf-8", "replace")


def _judge(response: HTTPResponse, explanation: str | None) -> Iterator[Hop]:
    status = f"{response.status} {one_line(response.reason)}"
    served_by = response.headers.get("Rtunnel-Served-By")
    if explanation is not None:
        name, advice = _BEYOND.get(response.status, ("entrypoint", "see the server's log"))
        if name != "entrypoint":
            yield Hop("entrypoint", True, "it answered itself")
        yield Hop(name, False, f"{status}: {explanation} What to do: {advice}")
    elif served_by is not None:
        yield Hop("entrypoint", True, f"the request was served by {one_line(served_by)}")
        yield Hop("target", True, f"it answered {status}")
    elif response.status in _DOUBTFUL:
        yield Hop(
            "answer",
            False,
            f"{status}, and not by the entrypoint: an Ingress does not reach it, or this is the target's own; start the server "
            "with --served-by on-request to tell them apart",
        )
    else:
        yield Hop("target", True, f"it answered {status}")
