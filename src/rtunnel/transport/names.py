"""Connecting to a name: its addresses in turn, without waiting for one that cannot be reached (RFC 8305).

Twisted's HostnameEndpoint waits a third of a second before each address but the first, even when that one was refused at once:
where ``localhost`` is ``::1`` first, as on Debian, in pods and on macOS, each connection to a service on IPv4 took that long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.reactor_types import INetworkReactor

__all__ = ["ATTEMPT_DELAY", "NameEndpoint", "connect_in_turn", "resolve"]

ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried while the one before it has neither connected nor failed (RFC 8305 section 5)."""

EndpointFor = Callable[[str], IStreamClientEndpoint]
"""How to reach an IP address."""


@implementer(IStreamClientEndpoint)
class NameEndpoint:
    """Connects to a name, which is resolved for each connect; the address that worked last is tried first.

    :param endpoint: how to reach one of the addresses.
    """

    def __init__(self, reactor: INetworkReactor, host: str, port: int, endpoint: EndpointFor) -> None:
        self._reactor: Any = reactor
        self._host = host
        self._port = port
        self._endpoint = endpoint
        self._worked: str | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        """Connect.

        :returns: fires with the protocol, or fails with the reason of the address that failed last; with DNSLookupError where
            there is none.
        """
        connecting: defer.Deferred[IProtocol] = defer.Deferred(lambda _: race.cancel())

        def connected(address: str, protocol: IProtocol) -> None:
            self._worked = address
            connecting.callback(protocol)

        race = _Race(self._reactor, self._endpoint, protocolFactory, connected, connecting.errback)

        def first(found: Sequence[str]) -> list[str]:
            return sorted(dict.fromkeys(found), key=lambda address: address != self._worked)

        def resolved(addresses: list[str]) -> None:
            if addresses:
                race.start(first(addresses))
            else:
                race.fail(Failure(DNSLookupError(f"no results for hostname lookup: {self._host}")))

        resolve(self._host, self._reactor).addCallback(resolved)
        return connecting


def resolve(host: str, reactor: Any) -> defer.Deferred[list[str]]:
    """The addresses of a host, as the system knows them; none if it knows none."""
    if isIPAddress(host) or isIPv6Address(host):
        return defer.succeed([host])
    found: defer.Deferred[list[str]] = defer.Deferred()
    addresses: list[str] = []

    @implementer(IResolutionReceiver)
    class Receiver:
        def resolutionBegan(self, resolution: IHostResolution) -> None:
            """Its results follow."""

        def addressResolved(self, address: IAddress) -> None:
            if isinstance(address, (IPv4Address, IPv6Address)):
                addresses.append(address.host)

        def resolutionComplete(self) -> None:
            found.callback(addresses)

    reactor.nameResolver.resolveHostName(Receiver(), host)
    return found


def connect_in_turn(
    reactor: Any, addresses: Sequence[str], endpoint: EndpointFor, factory: IProtocolFactory
) -> defer.Deferred[IProtocol]:
    """Connect to one of some addresses, as :class:`NameEndpoint` does to those of a name.

    :param addresses: at least one.
    :returns: fires with the protocol, or fails with the reason of the address that failed last.
    """
    connecting: defer.Deferred[IProtocol] = defer.Deferred(lambda _: race.cancel())
    race = _Race(reactor, endpoint, factory, lambda _, protocol: connecting.callback(protocol), connecting.errback)
    race.start(list(addresses))
    return connecting


class _Race:
    """The attempts of one connect: each is started when the one before it has failed, or after :data:`ATTEMPT_DELAY`.

    :param connected: called with the first address that accepts, and the protocol.
    :param failed: called when none is left.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: EndpointFor,
        factory: IProtocolFactory,
        connected: Callable[[str, IProtocol], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._factory = factory
        self._connected = connected
        self._failed = failed
        self._left: list[str] = []
        self._attempts: list[defer.Deferred[IProtocol]] = []
        self._timer: Any = None
        self._over = False

    def start(self, addresses: list[str]) -> None:
        """Try the first one."""
        if not self._over:
            self._left = addresses
            self._next()

    def cancel(self) -> None:
        """The connection is not wanted any more."""
        self.fail(Failure(ConnectingCancelledError(IPv4Address("TCP", "", 0))))

    def fail(self, failure: Failure) -> None:
        """End without a connection."""
        if not self._over:
            self._end()
            self._failed(failure)

    def _end(self) -> None:
        self._over = True
        self._stop_timer()
        attempts, self._attempts = self._attempts, []
        for attempt in attempts:
            attempt.cancel()

    def _next(self) -> None:
        self._stop_timer()
        address = self._left.pop(0)
        attempt = self._endpoint(address).connect(self._factory)
        self._attempts.append(attempt)
        attempt.addCallbacks(self._worked, self._lost, callbackArgs=(address, attempt), errbackArgs=(attempt,))
        if self._left and not self._over and self._timer is None:
            self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._late)

    def _late(self) -> None:
        self._timer = None
        self._next()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _worked(self, protocol: IProtocol, address: str, attempt: defer.Deferred[IProtocol]) -> None:
        self._attempts.remove(attempt)
        self._end()
        self._connected(address, protocol)

    def _lost(self, failure: Failure, attempt: defer.Deferred[IProtocol]) -> None:
        if self._over:
            return
        self._attempts.remove(attempt)
        if self._left:
            self._next()
        elif not self._attempts:
            self.fail(failure)
