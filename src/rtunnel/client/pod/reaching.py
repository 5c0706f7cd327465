"""Connections from the pod for developers: allowed by a rule, resolved here, checked again, dialed, and joined with a stream."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from attrs import frozen
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.client.dialing import EndpointFor, Once, no_delay
from rtunnel.client.pod.resolver import NameFailed, Resolver
from rtunnel.client.targets import STREAM_OUTCOMES, Forwarder, OpenStream
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.reach import ReachGate, ReachRules
from rtunnel.settings import Address, UdpAddress
from rtunnel.transport.names import connect_in_turn
from rtunnel.tunnel.splice import Side, Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest, Reach

__all__ = ["Reacher", "api_addresses", "cause_of", "is_own_address"]

KEPT = 1.0
"""Seconds for which it is known what a destination is and whether it may be connected to: many connections at once ask once."""
MAX_KEPT = 256
"""Destinations of which that is known."""
MAX_NAMED = 500
"""Users and destinations that are remembered, so that each pair is one line of the log and not one for each connection."""

IPAddress = IPv4Address | IPv6Address
Ways = Mapping[str, IStreamClientEndpoint]
"""How to reach a destination, by its addresses."""


def api_addresses(environ: Mapping[str, str] = os.environ) -> frozenset[IPAddress]:
    """The addresses of the API of Kubernetes, as a pod is told them."""
    found = set()
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP_ADDR"):
        with suppress(ValueError):
            found.add(ip_address(environ.get(name, "")))
    return frozenset(found)


def is_own_address(address: IPAddress) -> bool:
    """Whether an address is one of this machine, or pod: then the way there begins and ends at it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # of UDP: nothing is sent
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False


class NotAllowed(Exception):
    """The rules do not allow it; the text says which one is missing."""


class Reacher:
    """Reaches for developers what its rules allow; owned by what a connector offers.

    :param rules: what may be reached.
    :param endpoint_for: how to reach an address.
    :param api: the addresses of the API of Kubernetes.
    :param is_own: whether an address is one of the pod's own.
    :param resolver: by default the system's.
    """

    _log = Logger()

    def __init__(
        self,
        rules: ReachRules,
        *,
        reactor: Any,
        endpoint_for: EndpointFor,
        api: frozenset[IPAddress] | None = None,
        is_own: Callable[[IPAddress], bool] = is_own_address,
        resolver: Resolver | None = None,
    ) -> None:
        self.gate = ReachGate(rules.rules, api_addresses() if api is None else api, is_own)
        self._reactor = reactor
        self._resolver = resolver or Resolver(reactor)
        self._endpoint_for = endpoint_for
        self._kept: dict[tuple[str, int, bool], tuple[float, Ways]] = {}
        self._named: set[tuple[str, PodRequest]] = set()

    def serve(self, request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes) -> None:
        """Connect a stream of the server.

        :param request: what it is for.
        :param user: for whom.
        :param early: what came behind the request.
        """
        ReachStream(self, request, user, forwarder, stream, early)

    def connect(self, request: PodRequest, protocol: Any) -> Deferred[Any]:
        """Connect to a destination.

        :returns: fires with the protocol; fails with :class:`NotAllowed`, :class:`NameFailed`, or what went wrong with the last
            address.
        """
        host, port, udp = request.destination.host, request.destination.port, request.reach is Reach.DATAGRAMS
        kept = self._kept.get((host, port, udp))
        if kept is not None and self._reactor.seconds() < kept[0]:
            return self._dial(kept[1], udp, protocol)
        refused = self.gate.refuses_name(host, port, udp=udp)
        if refused is not None:
            failed: Deferred[Any] = Deferred()
            failed.errback(Failure(NotAllowed(refused)))
            return failed
        connecting: Deferred[Any] = self._resolver.resolve(host)
        return connecting.addCallback(self._allowed, host, port, udp).addCallback(self._dial, udp, protocol)

    def _allowed(self, addresses: tuple[IPAddress, ...], host: str, port: int, udp: bool) -> Ways:
        """The ways to those addresses that may be connected to.

        :raises NotAllowed: there is none.
        """
        refused = {address: self.gate.refuses_address(host, port, address, udp=udp) for address in addresses}
        kind = UdpAddress if udp else Address
        ways = {str(address): self._endpoint_for(kind(str(address), port)) for address, why in refused.items() if why is None}
        if not ways:
            raise NotAllowed(refused[addresses[0]])
        self._kept.pop((host, port, udp), None)
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[host, port, udp] = self._reactor.seconds() + KEPT, ways
        return ways

    def _dial(self, ways: Ways, udp: bool, protocol: Any) -> Deferred[Any]:
        if udp or len(ways) == 1:
            # a Service nearly always has one; and datagrams do not tell which of several is there
            return next(iter(ways.values())).connect(Once(protocol))
        return connect_in_turn(self._reactor, list(ways), ways.__getitem__, Once(protocol))

    def connected(self, request: PodRequest, user: str) -> None:
        """A line for each user and destination."""
        named = user, request
        if named in self._named:
            return
        if len(self._named) < MAX_NAMED:
            self._named.add(named)
        self._log.info("{who} reaches {what}", who=user or "an anonymous user", what=str(request))

    def refused(self, request: PodRequest, user: str, answer: PodAnswer) -> None:
        """A line for each refusal."""
        self._log.info("{who} cannot reach {what}: {why}", who=user or "an anonymous user", what=str(request), why=answer.why)


class ReachStream(OpenStream):
    """A stream of the server and a connection of the pod; ends with one recorded outcome."""

    __slots__ = ("_dialing", "_forwarder", "_reacher", "_request", "_user")

    _splice: Splice

    def __init__(
        self, reacher: Reacher, request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes
    ) -> None:
        super().__init__(stream)
        self._reacher = reacher
        self._request = request
        self._user = user
        self._forwarder = forwarder
        forwarder.open.add(self)
        splice = self._splice = Splice(self._ended, stream.mark_broken)
        splice.near.attach(stream)
        if early:
            splice.near.dataReceived(early)
        # nothing more is read, and no credit returned, until there is somewhere to put it
        stream.pauseProducing()
        self._dialing: Deferred[Any] | None = reacher.connect(request, splice.far)
        self._dialing.addCallbacks(self._connected, self._failed)

    def _connected(self, side: Side) -> None:
        splice = self._splice
        self._dialing = None
        if splice.near.lost:
            side.transport.abortConnection()
            return
        self._reacher.connected(self._request, self._user)
        no_delay(side.transport)
        self._stream.write(_OK)
        splice.join()
        self._stream.resumeProducing()

    def _failed(self, failure: Failure) -> None:
        self._dialing = None
        if self not in self._forwarder.open:
            return
        answer = describe(failure, str(self._request))
        allowed = answer.cause is not Cause.NOT_ALLOWED
        self._give_up(StreamOutcome.TARGET_REFUSED if allowed else StreamOutcome.NO_TARGET)
        if not self._splice.near.lost:
            self._reacher.refused(self._request, self._user, answer)
            self._stream.protocol = None
            self._stream.write(answer.encode())
            self._stream.loseConnection()

    def _give_up(self, outcome: StreamOutcome) -> None:
        self._forwarder.open.discard(self)
        self._forwarder.stats.record(outcome)

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        stats = self._forwarder.stats
        stats.bytes_in += up
        stats.bytes_out += down
        self._give_up(STREAM_OUTCOMES[outcome])

    def abort(self) -> None:
        """Give the stream up."""
        if self._dialing is None:
            self._splice.abort()
        elif self in self._forwarder.open:
            self._give_up(StreamOutcome.STOPPED)
            self._dialing.cancel()
            self._stream.protocol = None
            self._stream.abortConnection()


_OK = PodAnswer().encode()


@frozen
class _Reason:
    cause: Cause
    text: str


_REFUSED = _Reason(Cause.REFUSED, "{} refused the connection: nothing listens there; check the port, and that the service is ready")
_TIMED_OUT = _Reason(Cause.TIMED_OUT, "{} did not answer in time; check the address, the NetworkPolicies and the firewall")
_NO_WAY = _Reason(Cause.UNREACHABLE, "there is no route from the pod to {}; check the address and the NetworkPolicies")

_BY_ERRNO = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ETIMEDOUT: _TIMED_OUT,
    errno.EHOSTUNREACH: _NO_WAY,
    errno.ENETUNREACH: _NO_WAY,
}
_BY_CLASS: dict[type, _Reason] = {
    error.ConnectionRefusedError: _REFUSED,
    error.TCPTimedOutError: _TIMED_OUT,
    error.TimeoutError: _TIMED_OUT,
    error.NoRouteError: _NO_WAY,
}


def cause_of(failure: Failure) -> Cause | None:
    """Why a connection could not be made, of what its endpoint says; None for a connect that was cancelled."""
    if failure.check(CancelledError, error.ConnectingCancelledError):
        return None
    if failure.check(error.DNSLookupError):
        return Cause.NO_NAME
    reason = _reason_of(failure.value)
    return Cause.FAILED if reason is None else reason.cause


def _reason_of(failed: BaseException | None) -> _Reason | None:
    number = getattr(failed, "osError", None) or getattr(failed, "errno", None)
    return (_BY_ERRNO.get(number) if isinstance(number, int) else None) or _BY_CLASS.get(type(failed))


def describe(failure: Failure, what: str) -> PodAnswer:
    """The answer to a request whose connection could not be made.

    :param what: host and port.
    """
    cause = failure.value
    if isinstance(cause, NotAllowed):
        return PodAnswer(Cause.NOT_ALLOWED, str(cause))
    if isinstance(cause, NameFailed):
        return PodAnswer(cause.cause, str(cause))
    reason = _reason_of(cause)
    if reason is None:
        return PodAnswer(Cause.FAILED, f"{what} cannot be connected to: {' '.join(str(cause).split()) or type(cause).__name__}")
    return PodAnswer(reason.cause, reason.text.format(what))
