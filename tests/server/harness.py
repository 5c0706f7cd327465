"""A server's entrypoint in memory: visitors at the other ends of pipes, connectors whose client and target the test plays."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any, ClassVar
from uuid import uuid4

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import AccessLog
from rtunnel.outcomes import LinkEnd, Outcome
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.policies import Policies, Policy, PolicyRow
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.drain_queue import DrainQueue
from rtunnel.server.entrypoint.entrypoint import Entrypoint, Speaker
from rtunnel.server.entrypoint.first_bytes import VisitorFactory
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.health import HealthMonitor
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.observers import ObservedExchange, Observer
from rtunnel.server.observers.access_log import AccessLogObserver
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HealthSettings, HttpSettings
from rtunnel.transport.reasons import Stalled
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire import http1_reader
from rtunnel.wire.http1 import HeadLimits, RequestReader, ResponseReader
from rtunnel.wire.http1_templates import LEARN_AFTER
from rtunnel.wire.relay import take_preface
from rtunnel.wire.smux import DATA, FINISHED, OPENED, STOPPED, Session
from tests.support.access import writes
from tests.support.heads import GET, OK, POST
from tests.support.ids import OTHER, TUNNEL
from tests.support.pipe import Pipe, PipeTransport, connect

PRIVATE = OTHER
"""A tunnel of its own, which nobody joins."""

VISITOR = IPv4Address("TCP", "192.168.1.1", 54321)
"""Where visitors come from, unless a test says otherwise."""
SERVER = IPv4Address("TCP", "192.168.1.2", 80)

KEPT = b"GET /%d HTTP/1.1\r\nHost: pod.local\r\nConnection: keep-alive\r\nX-A: b\r\n\r\n"
"""A request as wrk and many clients send it."""
ANSWER = b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"
"""The head of an answer as nginx and many targets send it."""

REQUESTS = (b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 1\r\n\r\n", KEPT % 0, POST, GET)
"""What learned readers of requests have met, as many kinds as are tried; the last one is tried first."""
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
    ANSWER % 3,
    OK[:-3],
)
"""The same of answers."""


@implementer(IHalfCloseableProtocol)
class OtherEnd(Protocol):
    """The end of a connection that the test plays.

    :ivar received: what came, and was not taken yet.
    :ivar read_ended: whether our end has sent all that it has.
    :ivar lost: why the connection was lost there, None as long as it is not.
    """

    transport: PipeTransport

    def __init__(self) -> None:
        self.received = b""
        self.read_ended = False
        self.lost: Failure | None = None

    @property
    def near(self) -> PipeTransport:
        """Our end."""
        return self.transport.other

    def take(self) -> bytes:
        """What came since the last call."""
        data, self.received = self.received, b""
        return data

    @property
    def closed(self) -> bool:
        """Whether our end has closed the connection, or its own direction."""
        return self.read_ended or self.lost is not None

    @property
    def half_closed(self) -> bool:
        """Whether our end has closed its own direction, and no more."""
        return self.read_ended and not self.near.disconnected

    @property
    def aborted(self) -> bool:
        """Whether our end has aborted the connection."""
        return self.near.lost is not None and self.near.lost.check(ConnectionAborted) is not None

    @property
    def held_up(self) -> bool:
        """Whether our end does not read what comes."""
        return self.near.connected and not self.near.reading

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.read_ended = True

    def writeConnectionLost(self) -> None:
        """The test asked for it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Visitor(OtherEnd):
    """One visitor connection.

    :param factory: makes the server's end.
    :param address: where the visitor comes from.
    :param gate: that of the port.
    """

    def __init__(self, factory: Any, world: World, address: Any = VISITOR, gate: Any = None) -> None:
        super().__init__()
        self.world = world
        world.connect(self, factory.buildProtocol(address), address, SERVER, gate and gate.enter(address.host))

    def send(self, data: bytes) -> Visitor:
        self.transport.write(data)
        self.world.turn()
        return self

    def end_sending(self) -> None:
        """Close the visitor's direction."""
        self.transport.loseWriteConnection()
        self.world.turn()

    def leave(self) -> None:
        """Close the connection."""
        self.transport.loseConnection()
        self.world.turn()

    def vanish(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()
        self.world.turn()

    def stall(self) -> None:
        """Take nothing for so long that the system ends the connection."""
        self.near.cut(Stalled())
        self.world.turn()

    def stop_reading(self) -> None:
        """Leave what comes with the server."""
        self.transport.pauseProducing()

    def read_on(self) -> None:
        self.transport.resumeProducing()
        self.world.turn()

    @property
    def status(self) -> int:
        """The status of the first answer that came."""
        return int(self.received.split(b" ", 2)[1])

    @property
    def statuses(self) -> list[int]:
        """Those of all answers, none of which has a status line in its body."""
        return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.received)]


class FarStream:
    """A stream as its connector sees it: the test plays the target."""

    def __init__(self, connector: FarConnector, stream_id: int) -> None:
        self.connector = connector
        self.id = stream_id
        self.raw = b""
        self.finished = False
        self.stopped = False
        self.preface: Any = None

    def take(self) -> bytes:
        """The bytes after the preface, each once; they count as consumed."""
        if self.preface is None and (taken := take_preface(self.raw)) is not None:
            self.preface, used = taken
            self.raw = self.raw[used:]
        data, self.raw = self.raw, b""
        return data

    def answer(self, data: bytes) -> None:
        self.connector.session.send(self.id, data)
        self.connector.flush()

    def close(self) -> None:
        """The target closed its connection."""
        self.connector.session.finish(self.id)
        self.connector.flush()

    def refuse(self) -> None:
        """What our client does when the target cannot be reached."""
        self.connector.session.refuse(self.id)
        self.connector.flush()


class FarConnector(Protocol):
    """A client attached to the tunnel, played by the test: a smux session at the other end of a real link.

    :param consume: whether credit is returned for what comes.
    """

    transport: PipeTransport

    def __init__(
        self, world: World, weight: int, *, consume: bool = True, datagrams: bool = False, filters: Iterable[str] = ()
    ) -> None:
        self.world = world
        self.session = Session(opens=False)
        self.streams: list[FarStream] = []
        self.consume = consume
        self.link = Link(
            Session(opens=True),
            reactor=world.clock,
            keepalive=Keepalive(0),
            on_draining=self.leaving,
            on_lost=self.left,
            peer="192.0.2.7:1",
        )
        idle = world.settings.pool_idle if world.settings.pool else 0
        self.pool = UpstreamPool(self.link, limits=HeadLimits(), idle=idle)
        self.connector: Connector[UpstreamPool] = Connector(
            id=uuid4(),
            tunnel=TUNNEL,
            weight=weight,
            pool=self.pool,
            peer="192.0.2.7:1",
            datagrams=datagrams,
            filters=tuple(map(InterceptFilter.parse, filters)),
        )
        self.pipe = world.connect(self, self.link, IPv4Address("TCP", "192.0.2.7", 1), SERVER)
        world.registry.add(self.connector)

    @property
    def stream(self) -> FarStream:
        """The stream opened last."""
        return self.streams[-1]

    def leaving(self) -> None:
        self.world.registry.remove(self.connector)

    def left(self, link: Link, end: LinkEnd, text: str) -> None:
        self.world.registry.remove(self.connector)

    def lose(self) -> None:
        """The link breaks."""
        self.pipe.break_link()
        self.world.turn()

    def be_closing(self) -> None:
        """The link takes no more streams, and closes when its last bytes are sent, which cannot be."""
        self.pipe.silent = True
        self.link.session.ping()
        self.link.close(LinkEnd.CLOSED)

    def flush(self) -> None:
        """Send what the session has to say."""
        self.transport.write(self.session.take_output())
        self.world.turn()

    def dataReceived(self, data: bytes) -> None:
        for kind, stream_id, payload in self.session.receive(data):
            if kind == OPENED:
                self.streams.append(FarStream(self, stream_id))
                continue
            stream = next((stream for stream in self.streams if stream.id == stream_id), None)
            if stream is None:
                continue
            if kind == DATA:
                stream.raw += payload
                if self.consume:
                    self.session.consumed(stream_id, len(payload))
            elif kind == FINISHED:
                stream.finished = True
            elif kind == STOPPED:
                stream.stopped = True
        self.transport.write(self.session.take_output())


class Watched:
    """What an observer saw of one exchange, and in which order.

    :ivar calls: a letter for each call: (q) bytes of the request, (b) the answer's beginning, (a) more of it, (e) the end, (u) the
        end of an upgraded connection.
    """

    def __init__(self, exchange: ObservedExchange) -> None:
        self.exchange = exchange
        self.visitor = exchange.visitor_address
        self.calls = ""
        self.request = b""
        self.status: int | None = None
        self.answer = b""
        self.outcome: Outcome | None = None
        self.upgraded = (0, 0)

    def request_data(self, data: bytes) -> None:
        self.calls += "q"
        self.request += data

    def answer_begun(self, status: int, data: bytes) -> None:
        self.calls += "b"
        self.status = status
        self.answer += data

    def answer_data(self, data: bytes) -> None:
        self.calls += "a"
        self.answer += data

    def ended(self, outcome: Outcome) -> None:
        self.calls += "e"
        self.outcome = outcome

    def upgrade_ended(self, received: int, sent: int) -> None:
        self.calls += "u"
        self.outcome = Outcome.UPGRADED
        self.upgraded = (received, sent)

    @property
    def over(self) -> bool:
        """Whether its end was told."""
        return self.outcome is not None


class Watcher:
    """An observer of the test's own, beside the access log: writes everything down."""

    def __init__(self) -> None:
        self.exchanges: list[Watched] = []
        self.rejections: list[tuple[str, int, int, Outcome]] = []

    def begin(self, exchange: ObservedExchange) -> Watched:
        watched = Watched(exchange)
        self.exchanges.append(watched)
        return watched

    def rejected(self, visitor: str, status: int, size: int, outcome: Outcome) -> None:
        self.rejections.append((visitor, status, size, outcome))


def policies_of(settings: HttpSettings, *rows: PolicyRow) -> Policies:
    """The policies of an entrypoint with these settings."""
    return Policies(rows, Policy(served_by=settings.served_by))


class World:
    """An entrypoint with its registry and clock.

    :param case: the test that it is for.
    :param learned: whether the readers of requests and of answers have met the heads of the tests so often that templates take
        them. If not, nothing is ever read with a template.
    :param logged: whether an access log and a second observer watch the exchanges.
    :param query: whether the access log shows queries.
    :param observers: further observers.
    :ivar lines: the lines of the access log.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        settings: HttpSettings | None = None,
        *,
        learned: bool = False,
        logged: bool = False,
        query: bool = False,
        speakers: Iterable[Speaker] = (TLS, HTTP1),
        observers: Iterable[Observer] = (),
    ) -> None:
        self.case = case
        case.patch(http1_reader, "FAST", learned)
        self.settings = settings or HttpSettings(response_timeout=15)
        self.learned = learned
        self.logged = logged
        self.clock = Clock()
        self.registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        self.stats = ServerStats()
        self.deadlines = Deadlines(self.clock)
        self.health = HealthMonitor(self.registry)
        self.deadlines.each_sweep(self.health.sweep)
        self.draining = DrainQueue(self.clock.seconds)
        self.leases = LeaseManager(self.registry, self.draining, lambda: 10.0, self.stats)
        self.deadlines.each_sweep(self.draining.sweep)
        self.deadlines.each_sweep(self.leases.sweep)
        self.deadlines.start()
        self.pipes: list[Pipe] = []
        self.connectors: list[FarConnector] = []
        self.lines: list[str] = []
        self.watcher = Watcher()
        log = AccessLog(writes(self.lines, "json"), query=query, wall=lambda: 0.0, clock=self.clock.seconds)
        rules = [
            IngressRule("pod.local", TUNNEL),
            IngressRule("secret.local", PRIVATE, private=True),
            IngressRule("nobody.local", PRIVATE),
        ]
        self.entrypoint = Entrypoint(
            settings=self.settings,
            policies=policies_of(self.settings),
            table=IngressTable(rules),
            registry=self.registry,
            deadlines=self.deadlines,
            stats=self.stats,
            health=self.health,
            speakers=speakers,
            observers=[*((AccessLogObserver(log), self.watcher) if logged else ()), *observers],
            access=log if logged else None,
        )
        self.factory = VisitorFactory(self.entrypoint)
        # heads that were parsed, of those that the readers were taught and of those for which there are no templates
        self._taught_requests = self._taught_answers = 0
        self._parsed_before = 0
        self._unusual_requests = self._unusual_answers = 0
        self._answers: tuple[bytes, ...] = ANSWERS
        if learned:
            self.learn(*REQUESTS)

    def change(self, settings: HttpSettings, *rows: PolicyRow) -> None:
        """Serve by other settings and policies from now on; their readers have learned as much as those before them."""
        self._parsed_before += self._parsed
        self.settings = settings
        self.entrypoint.change(settings, policies_of(settings, *rows), self.entrypoint.selector.table)
        self.learn(*REQUESTS)

    def rules(self, *rules: IngressRule) -> None:
        """Route by other rules from now on."""
        self.entrypoint.selector.table = IngressTable(rules)

    def attach(
        self, weight: int = 1, *, consume: bool = True, datagrams: bool = False, filters: Iterable[str] = ()
    ) -> FarConnector:
        connector = FarConnector(self, weight, consume=consume, datagrams=datagrams, filters=filters)
        self.connectors.append(connector)
        self.health.watch(connector.connector, HealthSettings())
        if self.learned:
            self._learn_answers(connector.pool.reader, self._answers)
        return connector

    def visit(self, data: bytes = b"", address: Any = VISITOR) -> Visitor:
        visitor = Visitor(self.factory, self, address)
        return visitor.send(data) if data else visitor

    def connect(self, other: Any, near: Any, address: Any, near_address: Any, place: Any = None) -> Pipe:
        """Connect an end that the test plays with one of ours."""
        pipe = connect(other, near, client_address=address, server_address=near_address, place=place)
        self.pipes.append(pipe)
        return pipe

    # -- time

    def turn(self) -> None:
        """Let everything happen that needs no time, turn by turn: first what came is read, then the end of the turn comes."""
        quiet = 0
        while quiet < 2:
            moved = sum([pipe.pump() for pipe in self.pipes])
            now = self.clock.seconds()
            due = any(call.getTime() <= now for call in self.clock.getDelayedCalls())
            self.clock.advance(0)
            quiet = 0 if moved or due else quiet + 1
        self.pipes = [pipe for pipe in self.pipes if not (pipe.client.disconnected and pipe.server.disconnected)]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps of the sweep."""
        for _ in range(int(seconds * 2) + 1):
            self.clock.advance(0.5)
            self.turn()

    # -- what the readers know

    def learn(self, *heads: bytes) -> None:
        """Have the readers meet heads so often that templates take them; where nothing is learned, nothing happens."""
        if not self.learned:
            return
        requests = [head for head in heads if not head.startswith(b"HTTP/")]
        answers = tuple(head for head in heads if head.startswith(b"HTTP/"))
        for trusted in (False, True):
            self._learn_requests(self.entrypoint.reader(trusted=trusted), requests)
        for connector in self.connectors:
            self._learn_answers(connector.pool.reader, answers)
        self._answers += answers

    def _learn_requests(self, reader: RequestReader, heads: Iterable[bytes]) -> None:
        before = reader.parsed
        for head in heads:
            for _ in range(LEARN_AFTER):
                reader.read(head)
            parsed = reader.parsed
            reader.read(head)
            self.case.assertEqual(reader.parsed, parsed, f"no template takes {head!r}")
        self._taught_requests += reader.parsed - before

    def _learn_answers(self, reader: ResponseReader, heads: Iterable[bytes]) -> None:
        before = reader.parsed
        for head in heads:
            for _ in range(LEARN_AFTER):
                reader.read(head, b"GET")
            parsed = reader.parsed
            reader.read(head, b"GET")
            self.case.assertEqual(reader.parsed, parsed, f"no template takes {head!r}")
        self._taught_answers += reader.parsed - before

    def unusual(self, *, requests: int = 0, answers: int = 0) -> None:
        """Say how many heads of a test are of a kind that no template is made of, or that was never met."""
        self._unusual_requests += requests
        self._unusual_answers += answers

    @property
    def parsed_requests(self) -> int:
        """Heads of requests that no template took."""
        return self._parsed_before + self._parsed - self._taught_requests

    @property
    def _parsed(self) -> int:
        return sum(self.entrypoint.reader(trusted=trusted).parsed for trusted in (False, True))

    @property
    def parsed_answers(self) -> int:
        """Heads of answers that no template took."""
        return sum(connector.pool.reader.parsed for connector in self.connectors) - self._taught_answers

    # -- what became of it

    def outcomes(self) -> dict[Outcome, int]:
        """How many requests ended in which way."""
        return {outcome: count for outcome, count in self.stats.requests.items() if count}

    def verify(self) -> None:
        """At the end of a test: heads were read as they should have been, and observers saw what happened."""
        if self.learned:
            expected = (self._unusual_requests, self._unusual_answers)
            self.case.assertEqual((self.parsed_requests, self.parsed_answers), expected, "heads that no template took")
        if self.logged:
            self._verify_observers()
            if not self.learned:
                self.case.assertEqual(self.parsed_requests, len(self.watcher.exchanges))

    def _verify_observers(self) -> None:
        """Each exchange was told of from its beginning to its one end, and left one line."""
        assert_equal = self.case.assertEqual
        counted: Counter[Outcome] = Counter(outcome for *_, outcome in self.watcher.rejections)
        for watched in self.watcher.exchanges:
            self.case.assertRegex(watched.calls, r"\Aq*(b[qa]*)?[eu]?\Z")
            outcome = watched.outcome or (Outcome.UPGRADED if watched.status == 101 else None)
            if outcome is not None:
                counted[outcome] += 1
        assert_equal(dict(counted), self.outcomes())
        over = [watched for watched in self.watcher.exchanges if watched.over]
        http = [line for line in map(json.loads, self.lines) if line["kind"] == "http"]
        assert_equal(len(http), len(over) + len(self.watcher.rejections))
        by_id = {line["request_id"]: line for line in http}
        for watched in over:
            line = by_id[watched.exchange.request_id.decode()]
            received, sent = watched.upgraded
            assert_equal((line["status"], line["outcome"]), (watched.status, watched.outcome))
            assert_equal(line["received_bytes"], len(watched.request) + received)
            assert_equal(line["sent_bytes"], len(watched.answer) + sent)


class HttpCase(SynchronousTestCase):
    """Conversations of HTTP that hold whatever the readers know and whoever watches: see :func:`all_worlds`."""

    learned: ClassVar[bool] = False
    logged: ClassVar[bool] = False

    def setUp(self) -> None:
        self.worlds: list[World] = []
        self.world = self.make_world()

    def make_world(self, settings: HttpSettings | None = None, *, query: bool = False) -> World:
        """Make a world as this class's tests have it."""
        world = World(self, settings, learned=self.learned, logged=self.logged, query=query)
        self.worlds.append(world)
        return world

    def tearDown(self) -> None:
        for world in self.worlds:
            world.verify()


def all_worlds(*cases: type[HttpCase], logged: Iterable[bool] = (False, True)) -> dict[str, type[HttpCase]]:
    """Make the classes of tests for the worlds other than that of the given ones.

    :param logged: which worlds there are: without observers, with them, or both.
    :returns: the classes by name, for the module's namespace, where trial finds them.
    """
    classes: dict[str, type[HttpCase]] = {}
    for case, world in product(cases, product((False, True), logged)):
        if world != (case.learned, case.logged):
            name = f"{case.__name__}{'Learned' if world[0] else ''}{'Logged' if world[1] and not case.logged else ''}"
            classes[name] = type(name, (case,), {"learned": world[0], "logged": world[1], "__module__": case.__module__})
    return classes
