"""Ports of loopback whose connections end in the pod: forwards to one destination, and the proxy, where programs say where to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectingCancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.dialing import no_delay
from rtunnel.client.pod.destinations import Destinations
from rtunnel.client.pod.link import MAX_STREAMS, PodLinkClient, PodRefused
from rtunnel.client.pod.local_datagrams import LocalDatagrams
from rtunnel.client.repeats import Repeats
from rtunnel.ops.start import PortRole, cannot_listen
from rtunnel.settings import Address
from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.datagrams import listen_udp
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.passed_sockets import PassedSocket
from rtunnel.transport.sockets import host_and_port, listen_on, listen_tcp
from rtunnel.tunnel.splice import Side, Splice, SpliceOutcome
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest
from rtunnel.wire.proxy_server import NotProxied, ProxyServer, Wanted
from rtunnel.wire.proxy_server_http import ClosingResponse

__all__ = ["Forward", "LocalPrograms"]

REQUEST_TIMEOUT = 30.0
"""Seconds in which a program must have said where to."""
LINGER = 2.0
"""Seconds that a program has to close its connection after an answer that is the last one."""
MAX_NAMED = 500
"""Destinations whose refusals are counted, so that many of one kind are few lines."""

PROXY = PortRole("proxy", "--proxy")
FORWARD = PortRole("forward", "--forward")
ListenUdp = Callable[[Any, str, int, DatagramProtocol], Any]


@attrs.frozen
class Forward:
    """A port of loopback that leads to one destination.

    :ivar listen: the port.
    :ivar to: the destination, as the pod calls it.
    """

    listen: Address
    to: Wanted

    def __str__(self) -> str:
        return f"{self.listen} leads to {self.to}"


class LocalPrograms:
    """The ports and their connections; owned by the command.

    :param link: to the server.
    :param reactor: opens the ports.
    :param listen_udp: opens a socket for the datagrams of a program.
    :param destinations: decides which connections of the proxy begin in the pod; by default all do.
    :ivar connections: those that are open.
    :ivar total: how many there were.
    """

    _log = Logger()

    def __init__(
        self, link: PodLinkClient, reactor: Any, listen_udp: ListenUdp = listen_udp, destinations: Destinations | None = None
    ) -> None:
        self.link = link
        self.reactor = reactor
        self.listen_udp = listen_udp
        self.destinations = destinations
        self.connections: set[LocalProgram] = set()
        self.total = 0
        self._room = FixedRoom("local programs", reactor, MAX_STREAMS)
        self._ports: list[Any] = []
        self._refusals: dict[str, Repeats] = {}

    def proxy(self, listen: Address, passed: PassedSocket | None = None) -> Address:
        """Open the proxy; returns the address with the port that it got.

        :param passed: a socket that listens there already.
        :raises StartError: it cannot be opened.
        """
        return self._listen(PROXY, listen, passed, lambda: LocalProgram(self, ProxyServer()))

    def forward(self, forward: Forward, passed: PassedSocket | None = None) -> Forward:
        """Open a forward; returns it with the port that it got.

        :param passed: a socket that listens there already.
        :raises StartError: it cannot be opened.
        """
        listen = self._listen(FORWARD, forward.listen, passed, lambda: LocalProgram(self, to=forward.to))
        return attrs.evolve(forward, listen=listen)

    def _listen(self, role: PortRole, listen: Address, passed: PassedSocket | None, make: Callable[[], LocalProgram]) -> Address:
        programs = _Programs(make)
        try:
            if passed is None:
                port: Any = listen_tcp(self.reactor, listen.host, listen.port, programs)
            else:
                port = listen_on(self.reactor, passed, programs)
        except (CannotListenError, OSError) as error:
            raise cannot_listen(role, listen, error) from error
        AcceptingPort(port, self.reactor).use(self._room)
        self._ports.append(port)
        return Address(listen.host, port.getHost().port)

    def close(self) -> Deferred[Any]:
        """Close the ports, and cut what is open; fires when the ports are free."""
        for connection in list(self.connections):
            connection.abort()
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True)

    def refused(self, peer: str, what: str, why: str) -> None:
        """A connection of a program cannot be made; said in full once for each destination, and then ever more rarely."""
        if what not in self._refusals and len(self._refusals) >= MAX_NAMED:
            self._refusals.clear()
        if self._refusals.setdefault(what, Repeats()).say(why):
            self._log.warn("{peer} cannot reach {what}: {why}", peer=peer, what=what, why=why)


class _Programs(Factory):
    """Connections of local programs."""

    noisy = False

    def __init__(self, make: Callable[[], LocalProgram]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> LocalProgram:
        return self._make()


@implementer(IHalfCloseableProtocol)
class LocalProgram(Protocol):
    """One connection of a program, until it is joined with a stream of the pod.

    :param owner: of the port.
    :param server: reads where the program wants to go; None at a forward.
    :param to: where a forward leads.
    """

    transport: Any

    def __init__(self, owner: LocalPrograms, server: ProxyServer | None = None, to: Wanted | None = None) -> None:
        self._owner = owner
        self._server = server
        self._to = to
        self._splice = Splice(self._ended)
        self._asking: Deferred[Any] | None = None
        self._timer: Any = None
        self._datagrams: LocalDatagrams | None = None

    @property
    def peer(self) -> str:
        """The program's address, for logs."""
        host, port = host_and_port(self.transport.getPeer())
        return f"{host}:{port}"

    @property
    def destination(self) -> str:
        """Where it leads, as the pod calls it; ``""`` as long as the program has not said so, and for datagrams."""
        to = self._to if self._server is None else self._server.wanted
        return str(to) if isinstance(to, Wanted) else ""

    def connectionMade(self) -> None:
        no_delay(self.transport)
        self._owner.connections.add(self)
        self._owner.total += 1
        if self._to is not None:
            self._ask(self._to)
        else:
            self._timer = self._owner.reactor.callLater(REQUEST_TIMEOUT, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Find out where the program wants to go."""
        server = self._server
        if server is None or self._asking is not None:
            return
        try:
            answer = server.receive(data)
        except NotProxied as error:
            self._owner.refused(self.peer, "anything", str(error))
            self._close(error.answer)
            return
        if answer:
            self.transport.write(answer)
        if isinstance(server.wanted, Wanted):
            self._choose(server.wanted)
        elif server.wanted is not None:
            self._associate(server, server.wanted.port)

    def _associate(self, server: ProxyServer, port: int) -> None:
        """Open a socket for the program's datagrams, as long as it is connected.

        :param port: of the program; 0 if it does not know yet.
        """
        self._stop_timer()
        self._server = None
        here, program = (host_and_port(address)[0] for address in (self.transport.getHost(), self.transport.getPeer()))
        datagrams = LocalDatagrams(self._owner, program, port)
        try:
            socket: Any = self._owner.listen_udp(self._owner.reactor, here, 0, datagrams)
        except (CannotListenError, OSError) as error:
            self._owner.refused(self.peer, "anything with datagrams", f"there is no socket for them: {error}")
            self._close(server.refused(Cause.FAILED, ""))
            return
        self._datagrams = datagrams
        self.transport.write(server.granted_datagrams(*host_and_port(socket.getHost())))

    def _choose(self, to: Wanted) -> None:
        """Connect from the pod, or from here."""
        destinations = self._owner.destinations
        if destinations is None:
            self._ask(to)
            return
        is_pods = destinations.is_pods(to)
        if not isinstance(is_pods, Deferred):
            self._begin(is_pods, destinations, to)
            return
        self._stop_timer()
        self.transport.pauseProducing()
        self._asking = is_pods
        is_pods.addCallback(self._begin, destinations, to).addErrback(self._refused, str(to))

    def _begin(self, is_pods: bool, destinations: Destinations, to: Wanted) -> None:
        if is_pods:
            self._ask(to)
        else:
            self._dial(destinations, to)

    def _dial(self, destinations: Destinations, to: Wanted) -> None:
        self._stop_timer()
        self.transport.pauseProducing()
        dialing = self._asking = destinations.connect(to, self._splice.far)
        dialing.addCallbacks(self._dialed, self._refused, errbackArgs=(str(to),))

    def _dialed(self, side: Side) -> None:
        no_delay(side.transport)
        self._join(side.transport)

    def _ask(self, to: Wanted) -> None:
        self._stop_timer()
        # nothing more is read until there is somewhere to put it
        self.transport.pauseProducing()
        asking = self._asking = self._owner.link.ask(PodRequest.to(to.host, to.port), self._splice.far)
        asking.addCallbacks(self._granted, self._refused, errbackArgs=(str(to),))

    def _granted(self, stream: TunnelStream) -> None:
        self._splice.far.attach(stream)
        self._join(stream)

    def _join(self, far: Any) -> None:
        """Join the program with where it wanted to go."""
        splice, server, transport = self._splice, self._server, self.transport
        splice.near.attach(transport)
        if server is not None:
            transport.write(server.granted())
            if server.early:
                far.write(server.early)
            if not server.passes_all:
                transport.protocol = _OneRequest(splice.near, server)
                far.protocol = _OneResponse(splice.far)
        splice.join()
        transport.resumeProducing()

    def _refused(self, failure: Failure, what: str) -> None:
        error = failure.value
        if isinstance(error, (CancelledError, ConnectingCancelledError)):
            return
        if not isinstance(error, PodRefused):
            self.transport.abortConnection()
            failure.raiseException()
        answer: PodAnswer = error.answer
        self._owner.refused(self.peer, what, answer.why)
        if self._server is None:
            # so that the program sees an error rather than an empty answer
            self.transport.abortConnection()
        elif answer.cause is not None:
            self._close(self._server.refused(answer.cause, answer.why))

    def _close(self, last: bytes) -> None:
        """Send a last answer, and close once the program has; what it still sends must not become a reset that overtakes it."""
        self._stop_timer()
        self._server = None
        self.transport.write(last)
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()
        self._timer = self._owner.reactor.callLater(LINGER, self.transport.abortConnection)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def readConnectionLost(self) -> None:
        """The program has ended its direction before it said where to."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The program has left before it was joined."""
        self._stop_timer()
        self._owner.connections.discard(self)
        if self._datagrams is not None:
            self._datagrams.close()
        if self._asking is not None and not self._asking.called:
            self._asking.cancel()

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        self._owner.connections.discard(self)

    def abort(self) -> None:
        """Cut it."""
        if self._splice.near.transport is not None:
            self._splice.abort()
        else:
            self.transport.abortConnection()


@implementer(IHalfCloseableProtocol)
class _Changed(Protocol):
    """A side of which not everything is passed on as it is.

    :param side: of the splice.
    """

    def __init__(self, side: Side) -> None:
        self._side = side

    def readConnectionLost(self) -> None:
        self._side.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self._side.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._side.connectionLost(reason)


class _OneRequest(_Changed):
    """A program's connection that carries one plain request of HTTP.

    What comes behind it, although its destination was told to close, may be for another one: the program has to connect again.
    """

    def __init__(self, side: Side, server: ProxyServer) -> None:
        super().__init__(side)
        self._server = server

    def dataReceived(self, data: bytes) -> None:
        passed = self._server.pass_on(data)
        if passed:
            self._side.dataReceived(passed)
        if data[len(passed) :].strip(b"\r\n"):
            self._side.close()


class _OneResponse(_Changed):
    """What carries the response to it."""

    def __init__(self, side: Side) -> None:
        super().__init__(side)
        self._response = ClosingResponse()

    def dataReceived(self, data: bytes) -> None:
        passed = self._response.receive(data)
        if passed:
            self._side.dataReceived(passed)
