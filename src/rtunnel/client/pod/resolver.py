"""Names as the pod resolves them, with its search domains; what went wrong is told apart."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from rtunnel.wire.pod import Cause

__all__ = ["MAX_LOOKUPS", "NameFailed", "Resolver", "search_domains"]

MAX_LOOKUPS: Final = 64
"""Names that are looked up at a time."""

RESOLV_CONF: Final = "/etc/resolv.conf"
MAX_RESOLV_CONF: Final = 65536
"""Bytes of it that are read."""

_UNKNOWN: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

Addresses = tuple[IPv4Address | IPv6Address, ...]


class NameFailed(Exception):
    """A name has no address.

    :ivar cause: why.
    """

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Resolver:
    """Resolves names with the system's resolver, in the reactor's threads.

    :param reactor: for its threads.
    :param lookup: the system's resolver.
    """

    def __init__(self, reactor: Any, lookup: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._reactor = reactor
        self._lookup = lookup
        self._waiting: dict[str, list[Deferred[Addresses]]] = {}

    def resolve(self, host: str) -> Deferred[Addresses]:
        """The addresses of a name, in the order of the system's preference, or of an address itself.

        :returns: fires with at least one; fails with :class:`NameFailed`.
        """
        try:
            return succeed((ip_address(host),))
        except ValueError:
            pass
        waiting = self._waiting.get(host)
        if waiting is None and len(self._waiting) >= MAX_LOOKUPS:
            return fail(NameFailed(Cause.BUSY, f"the client in the pod looks up {MAX_LOOKUPS} names, as many as it may"))
        answer: Deferred[Addresses] = Deferred()
        if waiting is None:
            self._waiting[host] = [answer]
            self._ask(host)
        else:
            waiting.append(answer)
        return answer

    def _ask(self, host: str) -> None:
        asking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._lookup, host, None, type=socket.SOCK_STREAM)
        asking.addCallbacks(_addresses, _failure, errbackArgs=(host,)).addBoth(self._answer, host)

    def _answer(self, result: Addresses | Failure, host: str) -> None:
        for waiting in self._waiting.pop(host):
            # a failure by itself for each: one that is handled must not be so for the others
            waiting.callback(result) if not isinstance(result, Failure) else waiting.errback(Failure(result.value))


def _addresses(found: list[Any]) -> Addresses:
    return tuple(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))


def _failure(failure: Failure, host: str) -> Failure:
    error = failure.value
    if isinstance(error, UnicodeError) or (isinstance(error, socket.gaierror) and error.errno in _UNKNOWN):
        return Failure(NameFailed(Cause.NO_NAME, f'the DNS of the pod knows no "{host}"; check its spelling and namespace'))
    if isinstance(error, socket.gaierror):
        text = f'the DNS of the pod gave no answer for "{host}" ({error.strerror}); try again, or check the pod\'s DNS'
        return Failure(NameFailed(Cause.NO_DNS, text))
    return failure


def search_domains(path: str = RESOLV_CONF) -> tuple[str, ...]:
    """The domains in which the system looks for a name, in their order (resolv.conf(5): the last line of them counts)."""
    found: tuple[str, ...] = ()
    with suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        for line in file.read(MAX_RESOLV_CONF).splitlines():
            keyword, *domains = line.split() or ("",)
            if keyword in ("search", "domain"):
                found = tuple(domain.lower().removesuffix(".") for domain in domains if domain != ".")
    return found
