"""The visitor role: a local port, each connection of which goes to a private tunnel by a connection of its own to the server.

A visit is not multiplexed, as gost has it (go-gost/x ``connector/tunnel/connector.go``): CONNECT, the answer, then the bytes as
they are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.connector import reason_of
from rtunnel.client.dialling import no_delay
from rtunnel.client.server_dialer import ServerDialer
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.start import StartError
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import Address, VisitorSettings
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.sockets import listen_tcp, plain_address
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Keepalive
from rtunnel.tunnel.liveness import LivenessMonitor
from rtunnel.tunnel.splice import Splice, SpliceOutcome
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Response, Status, TunnelFeature, take_response

__all__ = ["LocalVisit", "VisitorPort", "connect_request", "hint"]

LINGER = 5.0
"""Seconds of silence after which a WebSocket to a server without half-close is closed, once the local program has sent all; a gost
closes its own connection at once then (go-gost/x ``internal/net/pipe.go``)."""


class VisitorPort(Factory):
    """One local port of a visitor; owned by the client's service.

    :param settings: where to listen, what to visit.
    :param endpoint: how to reach the server; by default what the settings say.
    :ivar visits: the connections that are open.
    """

    noisy = False

    def __init__(
        self,
        settings: VisitorSettings,
        *,
        stats: ClientStats,
        reactor: Any,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.reactor = reactor
        self._dialer = ServerDialer(settings, reactor)
        self._endpoint = endpoint
        self.keepalive = Keepalive(settings.mux.keepalive_interval, settings.mux.keepalive_timeout)
        self.visits: set[LocalVisit] = set()
        self.port: Any = None
        self._moved = -1
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._log = Logger()

    # -- life

    def listen(self) -> None:
        """Open the port.

        :raises StartError: when it cannot be opened, or a file that the settings name cannot be used.
        """
        self._dialer.check()
        listen = self.settings.listen
        try:
            self.port = self._bind(listen)
        except (CannotListenError, OSError) as error:
            raise not_listening(listen.host, listen.port, error) from error
        self._log.info(
            "{address} leads to {to} in tunnel {tunnel} at {server}",
            address=self.address,
            to=self.to,
            tunnel=short_id(self.settings.tunnel),
            server=self.server,
        )

    def _bind(self, listen: Address) -> Any:
        return listen_tcp(self.reactor, listen.host, listen.port, self)

    @property
    def endpoint(self) -> IStreamClientEndpoint:
        """How to reach the server."""
        return self._endpoint or self._dialer.endpoint

    def dialer_for(self, settings: VisitorSettings) -> ServerDialer:
        """The way to the server of other settings.

        :raises StartError: a file that they name cannot be used.
        """
        way = ServerDialer(settings, self.reactor)
        way.check()
        return way

    def change(self, settings: VisitorSettings, way: ServerDialer) -> None:
        """Do from the next connection on what other settings say; those that are open go on.

        :param settings: for the same port.
        :param way: theirs.
        """
        self.settings = settings
        self._dialer = way

    def start(self) -> None:
        """Begin to look after the connections."""
        if self.keepalive.interval:
            self._looking.start(self.keepalive.interval, now=False)

    def close(self) -> Deferred[Any]:
        """Take no more connections; fires when the port is free."""
        port, self.port = self.port, None
        return maybeDeferred(port.stopListening) if port is not None else maybeDeferred(lambda: None)

    def cut(self) -> None:
        """Cut what is left."""
        if self._looking.running:
            self._looking.stop()
        for visit in list(self.visits):
            visit.abort(LocalPortOutcome.STOPPED)

    @property
    def busy(self) -> bool:
        """Whether bytes moved since the last look, or some answer is awaited."""
        moved = sum(visit.moved for visit in self.visits)
        before, self._moved = self._moved, moved
        return bool(self.visits) and (moved != before or any(visit.unanswered for visit in self.visits))

    def _look(self) -> None:
        for visit in list(self.visits):
            visit.look()

    # -- words

    @property
    def address(self) -> str:
        """Where local programs connect, with the port that is bound."""
        listen = self.settings.listen
        port = listen.port if self.port is None else self.port.getHost().port
        return f"{'udp://' if self.settings.datagrams else ''}{listen.host or '*'}:{port}"

    @property
    def server(self) -> str:
        """The server's address, for logs."""
        return str(self.settings.server)

    @property
    def to(self) -> str:
        """The destination as a user types it."""
        to = self.settings.to
        return str(to) if to.port else to.host

    def turned_away(self, peer: str, what: str) -> None:
        """Log why a local program was turned away."""
        self._log.warn(
            "{peer} cannot visit {to} in tunnel {tunnel} at {server}: {what}",
            peer=peer,
            to=self.to,
            tunnel=short_id(self.settings.tunnel),
            server=self.server,
            what=what,
        )

    def buildProtocol(self, addr: Any) -> _LocalConnection:
        return _LocalConnection(self)


@implementer(IHalfCloseableProtocol)
class _LocalConnection(Protocol):
    """The connection of a local program, or its association, until the server has answered; nothing is read in the meantime."""

    transport: Any
    visit: LocalVisit

    def __init__(self, port: VisitorPort) -> None:
        self._port = port

    def connectionMade(self) -> None:
        no_delay(self.transport)
        self.transport.pauseProducing()
        self.visit = LocalVisit(self._port, self.transport)
        self.visit.dial()

    def dataReceived(self, data: bytes) -> None:
        """Never called: reading is paused."""

    def readConnectionLost(self) -> None:
        """Never called: reading is paused."""

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.visit.abort(LocalPortOutcome.LOCAL_GONE)


class _AskFactory(Factory):
    """Builds the protocol of one visit towards the server."""

    noisy = False

    def __init__(self, visit: LocalVisit, port: VisitorPort) -> None:
        self._visit = visit
        self._port = port

    def buildProtocol(self, addr: Any) -> _ConnectHandshake:
        return _ConnectHandshake(self._visit, self._port)


class LocalVisit:
    """One connection (or association) of a local program and its connection to the server; ends with exactly one recorded outcome.

    :param port: owns it.
    :param transport: the local connection; reading is paused.
    """

    def __init__(self, port: VisitorPort, transport: Any) -> None:
        self._port = port
        self._local = transport
        self._asking: _ConnectHandshake | None = None
        self._attempt: Deferred[Any] | None = None
        self._splice: Splice | None = None
        self._liveness: LivenessMonitor | None = None
        self._lingering: Any = None
        self._why: LocalPortOutcome | None = None
        address = transport.getPeer()
        self.source = RelayAddress(plain_address(getattr(address, "host", "") or ""), getattr(address, "port", 0) or 0)
        self.peer = f"{self.source.host}:{self.source.port}"
        port.visits.add(self)
        port.stats.visitors_open += 1

    @property
    def moved(self) -> int:
        """Bytes passed so far, both ways."""
        return self._splice.near.received + self._splice.far.received if self._splice is not None else 0

    @property
    def unanswered(self) -> bool:
        """Whether the server's or the target's word is awaited."""
        return self._splice is None or self._splice.last is self._splice.near

    # -- until the server has answered

    def dial(self) -> None:
        """Connect to the server."""
        self._attempt = attempt = self._port.endpoint.connect(_AskFactory(self, self._port))
        attempt.addCallbacks(self._connected, self._not_connected)

    def _connected(self, asking: _ConnectHandshake) -> None:
        self._attempt = None

    def _not_connected(self, failure: Failure) -> None:
        self._attempt = None
        self.turn_away(LocalPortOutcome.UNREACHABLE, f"the server cannot be reached: {reason_of(failure)}")

    def asked(self, asking: _ConnectHandshake) -> None:
        """The server is asked."""
        self._asking = asking

    def turn_away(self, outcome: LocalPortOutcome, what: str) -> None:
        """Close the local connection at once, so that its program sees an error rather than an empty answer."""
        if self in self._port.visits and self._splice is None:
            self._port.turned_away(self.peer, what)
            self._end(outcome)
            self._local.abortConnection()

    def join(self, asking: _ConnectHandshake) -> None:
        """The server let us in: splice the two connections."""
        port = self._port
        far = asking.transport
        splice = self._splice = Splice(self._ended)
        splice.near.attach(self._local)
        splice.far.attach(far)
        ITunnelTransport(far).enter_half_close_mode(self._linger)
        self._liveness = LivenessMonitor(splice.far, port.keepalive)
        asking.switch_to(splice.far)
        splice.join()
        self._local.resumeProducing()

    def _linger(self, before: int = -1) -> None:
        """The local program has sent all and the server knows no half-close: keep the connection as long as an answer comes."""
        splice = self._splice
        if splice is None or splice.far.lost:
            return
        if splice.far.received == before:
            splice.far.close()
        else:
            self._lingering = self._port.reactor.callLater(LINGER, self._linger, splice.far.received)

    # -- from then on

    def displace(self) -> None:
        """End it in favour of another one."""
        self._why = LocalPortOutcome.EVICTED
        self.abort(LocalPortOutcome.EVICTED)

    def look(self) -> None:
        """Cut the visit when the server gives no sign of life."""
        if self._liveness is not None and not self._liveness.check():
            self.abort(LocalPortOutcome.REMOTE_GONE)

    def abort(self, outcome: LocalPortOutcome) -> None:
        """Cut both connections.

        :param outcome: how it ended, if the server had not answered yet.
        """
        if self._splice is not None:
            self._splice.abort()
        elif self in self._port.visits:
            self._end(outcome)
            self._local.abortConnection()
            if self._attempt is not None:
                self._attempt.cancel()
            elif self._asking is not None:
                self._asking.give_up()

    def _ended(self, outcome: SpliceOutcome, up: int, down: int) -> None:
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        stats = self._port.stats
        stats.visitor_bytes_in += up
        stats.visitor_bytes_out += down
        self._end(self._why or _OUTCOMES[outcome])

    def _end(self, outcome: LocalPortOutcome) -> None:
        self._port.visits.discard(self)
        self._port.stats.visitors_open -= 1
        self._port.stats.visitors[outcome] += 1


_OUTCOMES = {
    SpliceOutcome.DONE: LocalPortOutcome.DONE,
    SpliceOutcome.NEAR_LOST: LocalPortOutcome.LOCAL_GONE,
    SpliceOutcome.FAR_LOST: LocalPortOutcome.REMOTE_GONE,
}


class _ConnectHandshake(Handshake[Response]):
    """The connection to the server: CONNECT, then the answer, then the bytes."""

    def __init__(self, visit: LocalVisit, port: VisitorPort) -> None:
        super().__init__(take_response, seconds=port.settings.handshake_timeout, reactor=port.reactor)
        self._visit = visit
        self._settings = port.settings
        self._answered = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self._visit.asked(self)
        self.transport.write(connect_request(self._settings, self._visit.source).encode())

    def received(self, message: Response) -> None:
        self._answered = True
        if message.status is Status.OK:
            self._visit.join(self)
        else:
            self._over(LocalPortOutcome.REFUSED, hint(message.status, self._settings))

    def malformed(self, reason: str) -> None:
        self._over(LocalPortOutcome.REFUSED, f"the server's answer is malformed ({reason})")

    def expired(self) -> None:
        self._over(LocalPortOutcome.UNREACHABLE, "the server did not answer in time")

    def _over(self, outcome: LocalPortOutcome, what: str) -> None:
        self._visit.turn_away(outcome, what)
        self.give_up()

    def give_up(self) -> None:
        """Ask no more."""
        self._answered = True
        self.finish()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.finish()
        if not self._answered:
            self._visit.turn_away(LocalPortOutcome.UNREACHABLE, f"the server closed the connection: {reason_of(reason)}")


def connect_request(settings: VisitorSettings, source: RelayAddress) -> Request:
    """What a visitor asks of the server.

    :param source: where the local program comes from.
    """
    return Request(
        command=Command.CONNECT,
        network=Network.UDP if settings.datagrams else Network.TCP,
        credentials=(settings.credentials.user, settings.credentials.password) if settings.credentials else None,
        addresses=(source, RelayAddress(settings.to.host, settings.to.port)),
        tunnel=TunnelFeature(settings.tunnel),
    )


def hint(status: Status, settings: VisitorSettings) -> str:
    """What a refusal means, and what to do about it."""
    words = f"the server refused: {status.description} (status {int(status)})"
    what = _MENDS.get(status, "").format(host=settings.to.host)
    return f"{words}; {what}" if what else words


_MENDS = {
    Status.UNAUTHORIZED: "give it the right user and password (--auth-file or RTUNNEL_AUTH)",
    Status.FORBIDDEN: "this user may not visit the tunnel; ask whoever runs the server",
    Status.SERVICE_UNAVAILABLE: "nobody serves the tunnel now; start a client that joins it (rtunnel client --tunnel)",
    Status.HOST_UNREACHABLE: 'no rule of it leads "{host}" to this tunnel; compare --to and --tunnel with its --route',
    Status.NETWORK_UNREACHABLE: 'it has no rule for "{host}"; compare --to with its --route',
}


def not_listening(host: str, port: int, error: Exception) -> StartError:
    """A local port cannot be opened."""
    cause = getattr(error, "socketError", error)
    reason = getattr(cause, "strerror", None) or str(cause)
    return StartError(f"the visitor cannot listen on {host or '*'}:{port}: {reason}")
