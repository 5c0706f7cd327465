"""Why a connection failed: what happened, why, and what to do, in one line.

The errors of our own endpoints (TLS, proxies, the WebSocket upgrade, visits) are such lines already. Here are those for the errors
of the system and of Twisted, which say the first of the three at most.
"""

from __future__ import annotations

import errno

from twisted.internet import error
from twisted.python.failure import Failure

__all__ = ["Flooded", "Stalled", "reason_of"]


class Stalled(error.ConnectionLost):
    """The other end took nothing of what was sent for so long that the system gave up."""


class Flooded(error.ConnectionClosed):
    """The other end sent more than it may, and this end cut the connection; the text says of what."""


_BY_ERRNO = {
    errno.ECONNREFUSED: (
        "the connection was refused: nothing listens at that address; "
        "check host and port, and that the service is running and ready"
    ),
    errno.ENETUNREACH: "there is no route to the network of that address; check the address and the network (VPN, firewall)",
    errno.EHOSTUNREACH: "there is no route to the host; check the address and the network (VPN, firewall)",
    errno.ETIMEDOUT: "nothing answered in time; check the address, and that no firewall drops the packets on the way",
    errno.ECONNRESET: "the connection was reset by the other end, or by a proxy or firewall on the way; check its log",
    errno.ECONNABORTED: "the connection was aborted by the system; check the network of this machine",
    errno.EPIPE: "the other end closed the connection while something was being sent; check its log",
    errno.ENOENT: "the socket does not exist; check the path, and that the service is running",
    errno.EACCES: "permission denied; check the permissions of the socket, or the firewall of this machine",
    errno.EPERM: "the system does not permit the connection; check the firewall of this machine",
    errno.EADDRNOTAVAIL: "no local address or port is free for the connection; check how many connections are open",
    errno.EAFNOSUPPORT: "this machine does not support that kind of address; use one of the other family (IPv4, IPv6)",
    errno.EMFILE: "too many files and connections are open in this process; raise its limit (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "too many files and connections are open on this machine; raise its limit (fs.file-max)",
}

_BY_CLASS: tuple[tuple[type[BaseException], int | str], ...] = (
    (error.ConnectionRefusedError, errno.ECONNREFUSED),
    (error.NoRouteError, errno.EHOSTUNREACH),
    (error.TCPTimedOutError, errno.ETIMEDOUT),
    (error.TimeoutError, errno.ETIMEDOUT),
    (Stalled, "the other end took nothing of what was sent for too long; check it, and the network in between"),
    (error.ConnectingCancelledError, "the attempt was cancelled"),
    (error.ConnectionAborted, "the connection was closed by this end"),
    (error.ConnectionLost, "the connection was lost; the other end or something on the way has failed, check its log"),
    (error.ConnectionDone, "the other end closed the connection; check its log"),
)


def reason_of(failure: Failure) -> str:
    """Describe a failure to connect, or the loss of a connection.

    :returns: one line without a full stop: what happened, why, what to do.
    """
    return _reason(failure.value)


def _reason(cause: BaseException | None) -> str:
    nested = cause.args[0] if isinstance(cause, error.ConnectError) and cause.args else None
    if isinstance(nested, Failure):
        # Twisted's way to say that a socket was given up before it was connected
        return _reason(nested.value)
    if isinstance(cause, (error.DNSLookupError, error.UnknownHostError)):
        return f"the name cannot be resolved ({_text(cause)}); check its spelling and the DNS server of this machine"
    number = getattr(cause, "osError", None) or getattr(cause, "errno", None)
    if number in _BY_ERRNO:
        return _BY_ERRNO[number]
    for kind, found in _BY_CLASS:
        if type(cause) is kind:
            return _BY_ERRNO[found] if isinstance(found, int) else _detailed(found, cause)
    return _text(cause)


def _detailed(sentence: str, cause: BaseException) -> str:
    """Put what else an error says into its sentence."""
    detail = " ".join(str(argument) for argument in cause.args)
    what, hint_follows, hint = sentence.partition("; ")
    return f"{what} ({detail}){hint_follows}{hint}" if detail else sentence


def _text(cause: BaseException | None) -> str:
    """What an error says itself, in one line."""
    text = " ".join(str(cause).split()).rstrip(".")
    return text.removeprefix("DNS lookup failed: ") or type(cause).__name__
