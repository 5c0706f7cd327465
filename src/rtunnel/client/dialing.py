"""How a client connects to its targets: one after another, until one accepts the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import time
from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.addresses import plain_address
from rtunnel.outcomes import DatagramLoss
from rtunnel.routing.round_robin import Member, RoundRobin
from rtunnel.settings import Address, ForwardSettings, UdpAddress, UnixSocket
from rtunnel.transport.connecting import SocketClientEndpoint
from rtunnel.transport.datagrams import UdpClientEndpoint
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.reasons import reason_of
from rtunnel.transport.sockets import host_and_port
from rtunnel.wire.proxyproto import ProxyAddress, ProxyHeader
from rtunnel.wire.relay import RelayAddress, Response

__all__ = ["DialedTarget", "Dialer", "EndpointFor", "Once", "no_delay", "proxy_header", "target_endpoint"]

EndpointFor = Callable[[Address | UnixSocket], IStreamClientEndpoint]
"""How to reach an address."""


def target_endpoint(reactor: Any, timeout: float, idle: float, on_drop: Callable[[DatagramLoss], None]) -> EndpointFor:
    """How to reach a target by its socket.

    :param timeout: seconds that a connect may take.
    :param idle: seconds of silence that end an association with a target of UDP.
    :param on_drop: called for each datagram that is dropped there.
    """

    def endpoint(address: Address | UnixSocket) -> IStreamClientEndpoint:
        if isinstance(address, UnixSocket):
            return UNIXClientEndpoint(reactor, address.path, timeout=timeout)
        if isinstance(address, UdpAddress):
            return UdpClientEndpoint(reactor, address.host, address.port, idle=idle, on_drop=on_drop)
        return SocketClientEndpoint(reactor, address.host, address.port, timeout)

    return endpoint


def no_delay(transport: Any) -> None:
    """Have small writes leave at once (``TCP_NODELAY``), where that is not so anyway."""
    ITunnelTransport(transport).set_no_delay()


def proxy_header(version: int, preface: Response, transport: Any) -> bytes:
    """The PROXY header that tells a target the visitor's address.

    The destination is what the visitor asked for where that is an address, and the target's own address where it is a name. An
    unknown address of a visitor is written as unknown.

    :param version: 1 or 2.
    :param preface: of the stream.
    :param transport: the connection to the target.
    """
    source = _known(preface.addresses[0]) if preface.addresses else None
    if source is None:
        return ProxyHeader().encode(version)
    places = (preface.addresses[-1], RelayAddress(*host_and_port(transport.getPeer())))
    destination = next((found for found in map(_known, places) if found is not None), ProxyAddress("0.0.0.0", 0))
    return ProxyHeader(source, destination).encode(version)


def _known(address: RelayAddress) -> ProxyAddress | None:
    """An address out of a preface, None for a name."""
    host = plain_address(address.host)
    return ProxyAddress(host, address.port) if isIPAddress(host) or isIPv6Address(host) else None


class DialedTarget:
    """A target, how to reach it, and what came of it.

    :ivar tried: whether it has been dialed.
    :ivar failing_since: since when it cannot be reached, in seconds of the epoch; None as long as it can.
    :ivar reason: why not.
    """

    __slots__ = ("address", "endpoint", "failing_since", "reason", "tried")

    def __init__(self, address: Address | UnixSocket, endpoint: IStreamClientEndpoint) -> None:
        self.address = address
        self.endpoint = endpoint
        self.tried = False
        self.failing_since: float | None = None
        self.reason = ""

    def worked(self, protocol: Any) -> Any:
        """It was reached."""
        self.failing_since = None
        return protocol

    def failed(self, reason: str) -> None:
        """It was not."""
        self.reason = reason
        if self.failing_since is None:
            self.failing_since = time()


def _host_of(address: Address | UnixSocket) -> str:
    if isinstance(address, UnixSocket):
        return "localhost"
    named = attrs.evolve(address, host=address.host or "localhost")
    return str(named).removesuffix(":80")


class Once(Factory):
    """Builds the one protocol that waits for the connection."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Any:
        return self._protocol


class Dialer:
    """Connects to one of several interchangeable targets, in turn; owned by a forwarder.

    One that cannot be reached is skipped for a while, and the next one is dialed at once for the same stream, of which nothing was
    sent yet; each is tried once for a stream at most.

    :param addresses: at least one.
    :param endpoint_for: how to reach one.
    :ivar targets: one for each address.
    :ivar host: how a browser would write the host and port of the (first) target.
    :ivar reuse: whether a connection may carry several requests, where the client parses HTTP.
    """

    _log = Logger()

    def __init__(
        self,
        addresses: Iterable[Address | UnixSocket],
        *,
        settings: ForwardSettings,
        endpoint_for: EndpointFor,
        reactor: Any,
    ) -> None:
        targets = self.targets = [DialedTarget(address, endpoint_for(address)) for address in addresses]
        self.host = _host_of(targets[0].address)
        self._name = ", ".join(str(target.address) for target in targets)
        self._round_robin = RoundRobin(targets, max_fails=settings.max_fails, fail_timeout=settings.fail_timeout)
        self._alone = targets[0] if len(targets) == 1 else None
        self._fail_timeout = settings.fail_timeout
        self._reactor = reactor
        self.reuse = True

    def stop_reuse(self) -> None:
        """A target sent bytes that belong to no request: they would be taken for the response to the next one."""
        if self.reuse:
            self.reuse = False
            self._log.warn(
                "target {target} sends more than its responses: each request to it gets a connection of its own",
                target=self._name,
            )

    def connect(self, protocol: Any, wanted: Callable[[], bool]) -> Deferred[Any]:
        """Connect to the next target in turn that can be reached.

        :param protocol: of the connection.
        :param wanted: whether another target is still to be dialed when one failed.
        :returns: fires with the protocol, or with the failure of the last target that was tried.
        """
        alone = self._alone
        if alone is not None:
            alone.tried = True
            connecting: Deferred[Any] = alone.endpoint.connect(Once(protocol))
            if alone.failing_since is not None:
                connecting.addCallback(alone.worked)
            return connecting.addErrback(self._alone_failed, alone)
        return self._try(self._round_robin.order(self._reactor.seconds()), protocol, wanted)

    def _alone_failed(self, failure: Failure, target: DialedTarget) -> Failure:
        if not failure.check(CancelledError, ConnectingCancelledError):
            target.failed(reason_of(failure))
            self._log.warn("target {target} cannot be reached: {reason}", target=str(target.address), reason=reason_of(failure))
        return failure

    def _try(self, order: list[Member[DialedTarget]], protocol: Any, wanted: Callable[[], bool]) -> Deferred[Any]:
        member = order.pop(0)
        member.thing.tried = True
        connecting: Deferred[Any] = member.thing.endpoint.connect(Once(protocol))
        connecting.addCallbacks(self._worked, self._failed, callbackArgs=(member,), errbackArgs=(member, order, protocol, wanted))
        return connecting

    def _worked(self, protocol: Any, member: Member[DialedTarget]) -> Any:
        member.worked()
        return member.thing.worked(protocol)

    def _failed(
        self,
        failure: Failure,
        member: Member[DialedTarget],
        order: list[Member[DialedTarget]],
        protocol: Any,
        wanted: Callable[[], bool],
    ) -> Failure | Deferred[Any]:
        if failure.check(CancelledError, ConnectingCancelledError):
            return failure
        now = self._reactor.seconds()
        was_skipped = self._round_robin.is_skipped(member, now)
        member.failed(now)
        member.thing.failed(reason_of(failure))
        if self._round_robin.is_skipped(member, now) and not was_skipped:
            # logged once: a target that is skipped already is tried only when all are
            self._log.warn(
                "target {target} cannot be reached: {reason}; the others are preferred for {seconds} s",
                target=str(member.thing.address),
                reason=reason_of(failure),
                seconds=f"{self._fail_timeout:g}",
            )
        if not order or not wanted():
            return failure
        return self._try(order, protocol, wanted)
