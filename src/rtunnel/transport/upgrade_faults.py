"""What it means when the upgrade to a WebSocket fails, and what to do about it."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

__all__ = [
    "CLOSED",
    "NO_TUNNEL",
    "PLAIN_ONLY",
    "TLS_HERE",
    "Asked",
    "describe_answer",
    "describe_failure",
    "describe_greeting",
    "describe_timeout",
]

NO_TUNNEL = "no tunnel listens at this path"
"""The reason phrase of a listener's 404; proxies pass it on, unlike the name of the server."""
PLAIN_ONLY = "this port does not speak TLS"
"""The reason phrase of a listener's answer to a client that speaks TLS to a port without."""
OF_ENTRYPOINT = (b"No service is published under this host name.", b"No client is currently connected for this service.")
"""What the bodies of an entrypoint's 404 and 503 say (:mod:`rtunnel.server.entrypoint.answers`)."""
RELAY = b"\x01"
"""The version with which the answers of a tunnel listener begin (:mod:`rtunnel.wire.relay`)."""
RELAY_HERE = "a tunnel listener without WebSockets answers here; use tcp:// (tunnel://)"
TLS_HERE = "the server speaks TLS here; use wss:// (tunnel+wss://)"
CLOSED = (
    "the connection was closed before the upgrade to a WebSocket was answered; "
    "check that host and port are those of a ws:// listener, and the log of the server and of proxies on the way"
)

_NOT_FOUND = (
    "no tunnel server at {path} for the host {host}; an Ingress finds its rule by both: compare the path of the server's address "
    "and --host-header (host) with the rule and with --path of the server"
)
_OTHER_PATH = "the tunnel server is there, but not at {path}; write the server's --path into its address"
_ENTRYPOINT = (
    "this is an entrypoint of the server, which is for visitors; use the port of --listen, or have the Ingress send {path} of "
    "{host} to that port"
)
_WEB_SERVER = (
    "no tunnel server at {path} for the host {host}, but a web server; check host, port and path of the server's address, "
    "and that the Ingress sends this path to the port of --listen"
)
_HINTS = {
    400: "check whether this port expects wss:// (tunnel+wss://), and the path of the server's address",
    401: "a proxy in front of the server asks for a login; exempt {path} from it",
    403: "a proxy or firewall in front of the server forbids it; allow WebSockets to {path} of {host} there",
    404: _NOT_FOUND,
    407: "a proxy on the way asks for a login; give --proxy with its user and password",
    421: "the name that TLS was opened for is not {host}; use one name for the server, --host-header and --tls-server-name",
    426: "a proxy on the way drops the Upgrade header; switch WebSockets on there",
    429: "a proxy in front of the server limits the number of requests; exempt {path} from the limit",
    502: "a proxy or Ingress answers, and the server behind it does not; check that the server is running and ready",
    503: "a proxy or Ingress answers, and no server is behind it; check that the server is running and ready",
    504: "a proxy or Ingress answers, and the server behind it does not in time; check that the server is running and ready",
    505: "a proxy on the way speaks another version of HTTP to the server; have it pass WebSockets on with HTTP/1.1, at {path}",
}
_REDIRECTS = {301, 302, 303, 307, 308}
_TO_TLS = "this address is served with TLS; use {url} for the server"
_ELSEWHERE = "it redirects to {location}; use {url} for the server"
_LOGIN = (
    "it redirects to {location}, perhaps the login of a proxy in front of the server; exempt {path} from it, "
    "or check host and path of the server's address"
)
_REDIRECT = "it redirects, but does not say where to; check host, port and path of the server's address"
_SERVER_FAILED = "the server failed; check its log"
_OTHER = "check host, port and path of the server's address"


@attrs.frozen
class Asked:
    """What an upgrade asked for.

    :ivar host: in the Host header, without the port.
    :ivar path: where the WebSocket was expected.
    """

    host: str
    path: str


def describe_answer(asked: Asked, status: int, phrase: str, *, location: str = "", body: bytes = b"") -> str:
    """Say what an answer other than 101 means.

    :param asked: what it answers.
    :param status: of the answer.
    :param phrase: the reason phrase after it.
    :param location: where a redirect leads to.
    :param body: the beginning of the body, as far as it is here.
    """
    url = _websocket_url(location)
    hint = _redirect(asked, location, url) if status in _REDIRECTS else _hint(status, phrase, body)
    hint = hint.format(host=_plain(asked.host), path=_plain(asked.path), location=_plain(location), url=_plain(url))
    return f"the upgrade was answered with {f'{status} {_plain(phrase)}'.strip()}; {hint}"


def describe_failure(what: str) -> str:
    """Say what an answer means that does not open a WebSocket.

    :param what: what is wrong with it.
    """
    return f"the upgrade to a WebSocket failed: {_plain(what)}; check that host and port are those of a ws:// listener"


def describe_greeting(first: bytes) -> str:
    """Say what it means that something else than HTTP was received.

    :param first: its first bytes.
    """
    if first.startswith(RELAY):
        return RELAY_HERE
    line = first.split(b"\n")[0].strip()[:40].decode("latin-1")
    return describe_failure(f'the answer is not HTTP, but "{line}"')


def describe_timeout(seconds: float) -> str:
    """Say what it means that nothing answered in time.

    :param seconds: the limit.
    """
    return (
        f"the upgrade to a WebSocket was not answered within {seconds:g} s; check that host and port are those of a ws:// "
        "listener (a tcp:// listener waits for the client), and that proxies on the way pass WebSockets on"
    )


def _hint(status: int, phrase: str, body: bytes) -> str:
    if status == 400 and ("speaks TLS" in phrase or b"HTTPS" in body):
        return TLS_HERE
    if status == 404 and phrase == NO_TUNNEL:
        return _OTHER_PATH
    if any(text in body for text in OF_ENTRYPOINT):
        return _ENTRYPOINT
    if 200 <= status < 300:
        return _WEB_SERVER
    return _HINTS.get(status) or (_SERVER_FAILED if status >= 500 else _OTHER)


def _redirect(asked: Asked, location: str, url: str) -> str:
    """What to use instead, where it is the same path at another address; any other is that of a page for people."""
    if not location:
        return _REDIRECT
    to = urlsplit(url)
    if to.path.rstrip("/") != asked.path.rstrip("/"):
        return _LOGIN
    return _TO_TLS if to.scheme == "wss" and to.hostname == asked.host.lower() else _ELSEWHERE


def _websocket_url(location: str) -> str:
    """Where a redirect leads to, as the address of a server; empty where that cannot be."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    return f"{scheme}://{parts.netloc}{parts.path}" if scheme and parts.hostname else ""


def _plain(text: str) -> str:
    """What a peer sent, fit for a log."""
    return "".join(character if character.isprintable() else "?" for character in text[:100])
