"""What it means when a server does not let us in, and what to do about it."""

from __future__ import annotations

from rtunnel.wire.relay import Command, Request, Status

__all__ = ["CLOSED_EARLY", "describe_malformed_answer", "describe_refusal", "describe_silence"]

CLOSED_EARLY = (
    "the server closed the connection before it answered; check that its address is that of a tunnel listener "
    "and that the transport (ws, wss, tcp, tls) is the listener's, and check the server's log"
)

_ASKS_FOR_USER = "it asks for a user and password; give them with --auth-file or RTUNNEL_AUTH (user:password)"
_WRONG_PASSWORD = "it does not know the user {user} with this password; check --auth-file or RTUNNEL_AUTH"

_ANY = {
    Status.BAD_REQUEST: "it does not understand the request; check that it is an rtunnel or gost server, and its log",
    Status.TIMEOUT: "it was too busy to answer in time; check its load and its log",
    Status.INTERNAL_SERVER_ERROR: "it has failed; check its log",
}
_BIND = {
    Status.SERVICE_UNAVAILABLE: (
        "it is about to stop, or this address or tunnel has too many links, or too many wrong passwords were sent; check its log"
    ),
    Status.FORBIDDEN: "no ingress rule (--route) of it names this tunnel, or its permissions do not allow {who} to bind it",
}
_INTERCEPT = _BIND | {
    Status.BAD_REQUEST: "it does not know intercepts (--intercept); update it, or use --weight for a share of all requests",
}
_VISIT = {
    Status.FORBIDDEN: "its permissions do not allow {who} to visit the tunnel; ask the administrator of the server",
    Status.SERVICE_UNAVAILABLE: (
        "no client is connected for the tunnel; start one (rtunnel client --tunnel), with a udp:// target for datagrams"
    ),
    Status.HOST_UNREACHABLE: 'no ingress rule of it leads "{host}" to this tunnel; compare --to and --tunnel with its --route',
    Status.NETWORK_UNREACHABLE: 'no ingress rule of it names "{host}"; compare --to with its --route',
}

_CONTROL = {
    Status.BAD_REQUEST: "it does not know leases; update it",
    Status.FORBIDDEN: "no ingress rule (--route) of it names this tunnel; check --tunnel",
    Status.SERVICE_UNAVAILABLE: "this address has too many links, or too many wrong passwords were sent; check its log",
}

_POD = {
    Status.BAD_REQUEST: "it does not know pods; update it",
    Status.FORBIDDEN: (
        "no ingress rule (--route) of it names this tunnel, or its permissions allow {who} nothing with the pod; ask the "
        "administrator of the server for a line with reach, env or files (--permissions)"
    ),
    Status.SERVICE_UNAVAILABLE: (
        "it is about to stop, or this address has too many links, or too many wrong passwords were sent; check its log"
    ),
    Status.HOST_UNREACHABLE: 'no ingress rule of it leads "{host}" to this tunnel; compare host and --tunnel with its --route',
}

_SPECIFIC = {Command.POD: _POD, Command.BIND: _BIND, Command.INTERCEPT: _INTERCEPT, Command.CONTROL: _CONTROL}


def describe_refusal(status: Status, request: Request) -> str:
    """Say what a status other than OK means.

    :param status: what the server answered.
    :param request: what it was asked.
    :returns: one line, which names the user but no password.
    """
    hint = _hint(status, request).format(
        user=request.credentials[0] if request.credentials else "",
        who=f"the user {request.credentials[0]}" if request.credentials else "a client without a user",
        host=request.addresses[-1].host if request.addresses else "",
    )
    refused = f"the server refused: {status.description} (status {int(status)})"
    return f"{refused}; {hint}" if hint else refused


def _hint(status: Status, request: Request) -> str:
    if status is Status.UNAUTHORIZED:
        return _WRONG_PASSWORD if request.credentials else _ASKS_FOR_USER
    return _SPECIFIC.get(request.command, _VISIT).get(status) or _ANY.get(status, "")


def describe_malformed_answer(first: bytes, reason: str) -> str:
    """Explain a response that is not a relay message.

    :param first: the first bytes of it.
    :param reason: what is wrong with it.
    """
    if first[:2] == b"\x15\x03":
        return "the server speaks TLS here; use tls:// (tunnel+tls://)"
    if first.startswith(b"HTTP/"):
        return "the server speaks HTTP here; use ws:// (tunnel+ws://), or the port of a tcp:// listener"
    return f"the server's answer is malformed ({reason}); check that its address is that of an rtunnel or gost tunnel listener"


def describe_silence(seconds: float) -> str:
    """Say what it means that no answer came.

    :param seconds: how long it was waited for.
    """
    return (
        f"the server did not answer within {seconds:g} s; check that its address is that of a tunnel listener "
        "and that the transport (ws, wss, tcp, tls) is the listener's, and the load of the server"
    )
