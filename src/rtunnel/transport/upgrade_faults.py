"""What it means when the upgrade to a WebSocket fails, and what to do about it."""

from __future__ import annotations

__all__ = ["CLOSED", "describe_answer", "describe_failure", "describe_timeout"]

CLOSED = (
    "the connection was closed before the upgrade to a WebSocket was answered; "
    "check that host and port are those of a ws:// listener, and the log of the server and of proxies on the way"
)

_HINTS = {
    400: "check whether this port expects wss:// (tunnel+wss://), and the path of the server's address",
    401: "a proxy in front of the server asks for a login; exempt the path of the tunnel from it",
    403: "a proxy or firewall in front of the server forbids it; allow WebSockets to the path of the tunnel there",
    404: "check the path of the server's address and --host-header (host): an Ingress finds its rule by both",
    426: "a proxy on the way drops the Upgrade header; switch WebSockets on there",
    502: "a proxy or Ingress answers, and the server behind it does not; check that the server is running and ready",
    503: "a proxy or Ingress answers, and no server is behind it; check that the server is running and ready",
    504: "a proxy or Ingress answers, and the server behind it does not in time; check that the server is running and ready",
}
_REDIRECTS = {301, 302, 303, 307, 308}


def describe_answer(status: int, phrase: str, location: str = "") -> str:
    """Say what an answer other than 101 means.

    :param status: of the answer.
    :param phrase: the reason phrase after it.
    :param location: where a redirect leads to.
    """
    return f"the upgrade was answered with {f'{status} {_plain(phrase)}'.strip()}; {_hint(status, location)}"


def describe_failure(what: str) -> str:
    """Say what an answer means that does not open a WebSocket.

    :param what: what is wrong with it.
    """
    return f"the upgrade to a WebSocket failed: {_plain(what)}; check that host and port are those of a ws:// listener"


def describe_timeout(seconds: float) -> str:
    """Say what it means that nothing answered in time.

    :param seconds: the limit.
    """
    return (
        f"the upgrade to a WebSocket was not answered within {seconds:g} s; check that host and port are those of a ws:// "
        "listener (a tcp:// listener waits for the client), and that proxies on the way pass WebSockets on"
    )


def _hint(status: int, location: str) -> str:
    if status in _REDIRECTS:
        to = f"it redirects to {_plain(location)}" if location else "it redirects"
        return f"{to}; use that address for the server, with wss:// for https://"
    if 200 <= status < 300:
        return "a web server answers here, not a tunnel listener; check host, port and path of the server's address"
    return _HINTS.get(status) or (
        "the server failed; check its log" if status >= 500 else "check host, port and path of the server's address"
    )


def _plain(text: str) -> str:
    """What a peer sent, fit for a log."""
    return "".join(character if character.isprintable() else "?" for character in text[:100])
