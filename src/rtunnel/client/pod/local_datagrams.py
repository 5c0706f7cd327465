"""Datagrams of a local program (UDP ASSOCIATE of SOCKS5): a socket for them, and a stream of the pod link for each destination.

The program's connection to the proxy says how long the socket is there. A destination is over after a while without datagrams;
the next one to it gets a new stream. What cannot be passed on is dropped, as UDP does.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from rtunnel.client.pod.link import PodLinkClient, PodRefused
from rtunnel.outcomes import DatagramLoss
from rtunnel.settings import UdpSettings
from rtunnel.transport.datagrams import Association
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import PodRequest, PodService, Reach
from rtunnel.wire.proxy_datagrams import take_datagram, wrap_datagram
from rtunnel.wire.relay import RelayAddress

__all__ = ["COOLDOWN", "MAX_DESTINATIONS", "LocalDatagrams"]

IDLE = UdpSettings().idle
"""Seconds without datagrams after which a destination is over."""
MAX_DESTINATIONS = 64
"""Destinations of a program at a time; a new one replaces the one that was silent longest."""
COOLDOWN = 1.0
"""Seconds after a refusal in which the destination is not asked for again: each datagram would be a question."""


class LocalDatagramsOwner(Protocol):
    """What a program's datagrams need."""

    link: PodLinkClient
    reactor: Any

    def refused(self, peer: str, what: str, why: str) -> None: ...


class LocalDatagrams(DatagramProtocol):
    """The datagrams of one program; owned by its connection to the proxy.

    :param host: the program's address: datagrams of others are dropped.
    :param port: its port; 0 for that of the first datagram.
    :ivar destinations: the one that was silent longest first.
    """

    noisy = False
    transport: Any

    def __init__(self, owner: LocalDatagramsOwner, host: str, port: int) -> None:
        self.owner = owner
        self.destinations: dict[tuple[str, int], _Destination] = {}
        self._host = host
        self._port = port
        self._refused: dict[tuple[str, int], float] = {}

    def logPrefix(self) -> str:
        """What Twisted's own log calls the socket."""
        return "proxy"

    @property
    def peer(self) -> str:
        """The program's address, for logs."""
        return f"{self._host}:{self._port}"

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Pass a datagram of the program on."""
        host, port = addr[:2]
        if host != self._host or port != (self._port or port):
            return
        found = take_datagram(datagram)
        if found is None:
            return
        self._port = port
        self._send(found[:2], found[2])

    def _send(self, to: tuple[str, int], data: bytes) -> None:
        destination = self.destinations.pop(to, None)
        if destination is None or destination.over:
            if self.owner.reactor.seconds() < self._refused.get(to, 0.0):
                return
            while len(self.destinations) >= MAX_DESTINATIONS:
                self.destinations.pop(next(iter(self.destinations))).abort()
            destination = _Destination(self, to)
        self.destinations[to] = destination
        destination.send(data)

    # -- called by destinations

    def answer(self, to: tuple[str, int], datagram: bytes) -> None:
        """A datagram for the program.

        :param to: where it is from.
        """
        self.transport.write(wrap_datagram(*to, datagram), (self._host, self._port))

    def refused(self, to: tuple[str, int], why: str) -> None:
        """Nothing can be sent to a destination for now."""
        if len(self._refused) >= MAX_DESTINATIONS:
            self._refused.clear()
        self._refused[to] = self.owner.reactor.seconds() + COOLDOWN
        self.owner.refused(self.peer, str(_request(to)), why)

    def over(self, to: tuple[str, int], destination: _Destination) -> None:
        """A destination is over."""
        if self.destinations.get(to) is destination:
            del self.destinations[to]

    # -- the end

    def close(self) -> None:
        """The program has left: nothing is left of it."""
        for destination in list(self.destinations.values()):
            destination.abort()
        self.transport.stopListening()


class _Destination:
    """The datagrams between a program and one destination, joined with a stream of the pod.

    :param owner: of the program.
    :param to: host and port.
    """

    def __init__(self, owner: LocalDatagrams, to: tuple[str, int]) -> None:
        self._owner = owner
        self._to = to
        splice = self._splice = Splice(_nothing_left)
        association = self._association = Association(
            lambda datagram: owner.answer(to, datagram),
            peer=owner.transport.getHost(),
            host=owner.transport.getHost(),
            idle=IDLE,
            reactor=owner.owner.reactor,
            on_drop=_dropped,
            on_end=self._ended,
        )
        splice.near.attach(association)
        # queued until there is somewhere to put it
        association.pauseProducing()
        self._asking: Deferred[TunnelStream] = owner.owner.link.ask(_request(to), splice.far)
        self._asking.addCallbacks(self._granted, self._refused)

    @property
    def over(self) -> bool:
        """Whether nothing that is sent goes anywhere any more."""
        return self._association.over

    def send(self, datagram: bytes) -> None:
        """Send a datagram there."""
        self._association.received(datagram)

    def _granted(self, stream: TunnelStream) -> None:
        self._splice.far.attach(stream)
        self._splice.join()
        self._association.resumeProducing()

    def _refused(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        self._association.abortConnection()
        error = failure.value
        if not isinstance(error, PodRefused):
            failure.raiseException()
        self._owner.refused(self._to, error.answer.why)

    def abort(self) -> None:
        """End it at once."""
        self._association.abortConnection()

    def _ended(self) -> None:
        self._owner.over(self._to, self)
        if not self._asking.called:
            self._asking.cancel()


def _request(to: tuple[str, int]) -> PodRequest:
    return PodRequest(PodService.REACH, RelayAddress(*to), reach=Reach.DATAGRAMS)


def _nothing_left(outcome: SpliceOutcome, up: int, down: int) -> None:
    """Both sides of a destination are gone."""


def _dropped(loss: DatagramLoss) -> None:
    """A datagram was dropped: the program finds out by itself, as with any UDP."""
