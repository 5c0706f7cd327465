"""Several servers in one process, with everything that they really run: services, links, peer links; only the sockets are pipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.memory import MemoryHub, MemoryRegistry
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.policies import PolicyRow
from rtunnel.routing.tunnels import Connector
from rtunnel.server.peers.peer_link import PeerLink
from rtunnel.server.replicas import Replicas
from rtunnel.server.service import ServerService
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import Address, HttpSettings, ListenerSettings, PeerSettings, ServerSettings
from rtunnel.transport import sockets
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Status, TunnelFeature, take_response
from rtunnel.wire.relay_intercepts import InterceptRequest
from rtunnel.wire.smux import DATA, DRAINING, FINISHED, OPENED, STOPPED, Session
from tests.server.harness import FarStream, OtherEnd
from tests.support.ids import TUNNEL
from tests.support.pipe import Pipe, connect

SECRET = "0123456789abcdef0123456789abcdef"
PRIVATE_HOST = "db.local"


class Server:
    """One server of a site.

    :ivar registry: its end of the shared registry.
    """

    def __init__(self, site: Site, number: int, registry: MemoryRegistry, settings: ServerSettings) -> None:
        self.site = site
        self.number = number
        self.registry = registry
        self.service = ServerService(settings, site.reactor, self.registry)
        self.service.startService()

    @property
    def rows(self) -> list[Connector[UpstreamPool]]:
        """Its connectors and those of others that it uses."""
        return list(self.service.registry)

    @property
    def links(self) -> list[Any]:
        """Its links to other servers that are up."""
        return [peer.link for peer in self.peer_links if peer.link is not None]

    @property
    def peer_links(self) -> list[PeerLink]:
        """Its ways to other servers."""
        return self.replicas.remote.links

    @property
    def replicas(self) -> Replicas:
        """What it shares with others."""
        assert self.service.replicas is not None
        return self.service.replicas

    def attach(self, weight: int = 1, **how: Any) -> Client:
        """A client joins."""
        client = Client(self, weight, **how)
        self.site.clients.append(client)
        self.site.connect_to(8400 + self.number, client)
        client.join()
        return client

    def visit(self, data: bytes = b"") -> Guest:
        """A visitor comes."""
        return self._guest(8000 + self.number, data)

    def visit_tunnel(self, data: bytes) -> Guest:
        """A visitor of a tunnel comes, at the listener of the clients."""
        return self._guest(8400 + self.number, data)

    def _guest(self, port: int, data: bytes) -> Guest:
        guest = Guest(self.site)
        self.site.connect_to(port, guest)
        if data:
            guest.send(data)
        return guest

    def lose(self) -> None:
        """The server is killed: its connections break, and the others notice that it is silent."""
        for pipe in self.site.pipes_of(self.number):
            pipe.break_link()
        self.site.dead.add(self.number)
        self.registry.lose()
        self.site.turn()

    def stop(self) -> Any:
        stopped = self.service.stopService()
        self.site.turn()
        return stopped


class Guest(OtherEnd):
    """A visitor."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def send(self, data: bytes) -> Guest:
        self.transport.write(data)
        self.site.turn()
        return self

    @property
    def status(self) -> int:
        """The status of the first answer."""
        return int(self.received.split(b" ", 2)[1])


class Client(OtherEnd):
    """A client, played by the test: the relay handshake, then a smux session.

    :param consume: whether credit is returned for what comes.
    """

    def __init__(
        self,
        server: Server,
        weight: int = 1,
        *,
        instance: int = 0,
        filters: Iterable[str] = (),
        datagrams: bool = False,
        consume: bool = True,
        tunnel: Any = TUNNEL,
    ) -> None:
        super().__init__()
        self.server = server
        self.site = server.site
        self.session = Session(opens=False)
        self.streams: list[FarStream] = []
        self.consume = consume
        self.asked_to_leave = False
        self.admitted: Status | None = None
        self._weight = weight
        self._instance = instance
        self._filters = tuple(filters)
        self._datagrams = datagrams
        self._tunnel = tunnel

    def join(self) -> None:
        network = Network.UDP if self._datagrams else Network.TCP
        request = Request(
            command=Command.INTERCEPT if self._filters else Command.BIND,
            network=network,
            credentials=None,
            addresses=(RelayAddress("192.0.2.1", 4711), RelayAddress("0.0.0.0", 0)),
            tunnel=TunnelFeature(self._tunnel, weight=self._weight, udp=self._datagrams),
            metadata=InterceptRequest(name="alice", filters=self._filters).metadata() if self._filters else {},
        )
        self.transport.write(request.encode())
        self.site.turn()
        if self._instance:
            self.session.announce(self._instance)
            self.flush()

    @property
    def connector(self) -> Connector[UpstreamPool]:
        """What it is at its server; of several, the latest."""
        return max(self.server.rows, key=lambda row: (not row.pool.is_remote, row.since))

    @property
    def stream(self) -> FarStream:
        """The stream opened last."""
        return self.streams[-1]

    def flush(self) -> None:
        self.transport.write(self.session.take_output())
        self.site.turn()

    def leave(self) -> None:
        """Say that no more streams are wanted."""
        self.session.leave()
        self.flush()

    def lose(self) -> None:
        """The link breaks."""
        self.transport._pipe.break_link()
        self.site.turn()

    def dataReceived(self, data: bytes) -> None:
        if self.admitted is None:
            self.received += data
            taken = take_response(self.received)
            if taken is None:
                return
            self.admitted = taken[0].status
            data = self.received[taken[1] :]
        for kind, stream_id, payload in self.session.receive(data):
            self._event(kind, stream_id, payload)
        self.transport.write(self.session.take_output())

    def _event(self, kind: int, stream_id: int, payload: bytes) -> None:
        stream: Any = next((stream for stream in self.streams if stream.id == stream_id), None)
        if kind == OPENED:
            self.streams.append(FarStream(self, stream_id))  # type: ignore[arg-type]
        elif kind == DATA:
            stream.raw += payload
            if self.consume:
                self.session.consumed(stream_id, len(payload))
        elif kind == FINISHED:
            stream.finished = True
        elif kind == STOPPED:
            stream.stopped = True
        elif kind == DRAINING:
            self.asked_to_leave = True


class Site:
    """Servers 1 to ``count``: each has clients at port 8400, visitors at 8000 and peers at 8500, plus its number.

    :param settings: changes of the settings of all servers.
    :param http: the settings of their entrypoints.
    :param policies: what clients have to keep to.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        count: int = 2,
        *,
        http: HttpSettings | None = None,
        peers: Callable[[PeerSettings], PeerSettings] = lambda settings: settings,
        policies: tuple[PolicyRow, ...] = (),
        **settings: Any,
    ) -> None:
        self.case = case
        # connections that write at once are made by real sockets
        case.patch(sockets, "AT_ONCE", False)
        self.reactor: Any = MemoryReactorClock()
        self.hub = MemoryHub()
        self.pipes: list[tuple[tuple[int, ...], Pipe]] = []
        """Each connection with the servers at its ends, the one that has dialed first."""
        self.clients: list[Client] = []
        self.dead: set[int] = set()
        self.cut: set[frozenset[int]] = set()
        """Pairs of servers that do not reach each other."""
        self._dialed = 0
        self._http = http or HttpSettings(response_timeout=15)
        self._peers = peers
        self._policies = policies
        self._settings = settings
        self._secret = Path(case.mktemp())
        self._secret.write_text(SECRET)
        self.servers = [self.start(number) for number in range(1, count + 1)]
        self.turn()

    def start(self, number: int, registry: MemoryRegistry | None = None) -> Server:
        """Start a server, or start it again."""
        self.dead.discard(number)
        listener = ListenerSettings(
            listen=Address("", 8400 + number),
            transport="tcp",
            entrypoints=(Address("", 8000 + number),),
            rules=(IngressRule("pod.local", TUNNEL), IngressRule(PRIVATE_HOST, TUNNEL, private=True)),
            http=self._http,
            policies=self._policies,
        )
        address = Address(f"10.0.0.{number}", 8500 + number)
        peer = self._peers(PeerSettings(listen=attrs.evolve(address, host=""), address=address, secret_file=str(self._secret)))
        return Server(
            self, number, registry or self.hub.registry(), ServerSettings(listeners=(listener,), peer=peer, **self._settings)
        )

    # -- connections

    def connect_to(self, port: int, end: Any) -> None:
        """Connect an end that the test plays."""
        pipe = connect(end, self._factory(port).buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000)))
        self.pipes.append(((port % 100,), pipe))
        self.turn()

    def _factory(self, port: int) -> Any:
        found = [factory for listening, factory, *_ in self.reactor.tcpServers if listening == port]
        return found[-1]

    def pipes_of(self, number: int) -> list[Pipe]:
        """All connections of a server."""
        return [pipe for ends, pipe in self.pipes if number in ends]

    def peer_pipe(self, source: int, target: int) -> Pipe:
        """The connection that one server has made to another one."""
        return next(pipe for ends, pipe in self.pipes if ends == (source, target))

    def part(self, first: int, second: int, *, silently: bool = False) -> None:
        """Two servers do not reach each other any more."""
        self.cut.add(frozenset((first, second)))
        for ends, pipe in list(self.pipes):
            if set(ends) == {first, second}:
                if silently:
                    pipe.silent = True
                else:
                    pipe.break_link()
        self.turn()

    def _dial(self) -> bool:
        """Make the connections that servers ask for."""
        pending = self.reactor.tcpClients[self._dialed :]
        self._dialed += len(pending)
        for host, port, factory, *_ in pending:
            if not hasattr(factory._wrappedFactory, "_owner"):
                # the target of a client: there is none
                factory.clientConnectionFailed(None, Failure(ConnectError()))
                continue
            source, number = self._who_dials(factory), port - 8500
            if number in self.dead or frozenset((source, number)) in self.cut:
                factory.clientConnectionFailed(None, Failure(ConnectError()))
                continue
            address = IPv4Address("TCP", host, port)
            far = self._factory(port).buildProtocol(IPv4Address("TCP", f"10.0.0.{source}", 40000))
            self.pipes.append(((source, number), connect(factory.buildProtocol(address), far, server_address=address)))
        return bool(pending)

    def _who_dials(self, factory: Any) -> int:
        """The number of the server that has asked for a connection."""
        owner = factory._wrappedFactory._owner
        return next(server.number for server in self.servers if owner in server.peer_links)

    # -- time

    def turn(self) -> None:
        """Let everything happen that needs no time."""
        quiet = 0
        while quiet < 2:
            moved = sum([pipe.pump() for _, pipe in self.pipes])
            dialed = hasattr(self, "servers") and self._dial()
            now = self.reactor.seconds()
            due = any(call.getTime() <= now for call in self.reactor.getDelayedCalls())
            self.reactor.advance(0)
            quiet = 0 if moved or due or dialed else quiet + 1
        self.pipes = [(ends, pipe) for ends, pipe in self.pipes if not (pipe.client.disconnected and pipe.server.disconnected)]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps of the sweep."""
        for _ in range(int(seconds * 2)):
            self.reactor.advance(0.5)
            self.turn()
