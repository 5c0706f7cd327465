"""Visitors, a server, a client and its target, driven at random: requests, bodies, pauses, aborts, and the loss of any connection.

Each request and its response carry marks with the request's number, so that bytes that get to a wrong place are seen there. The
server and the client are ours, over a link in memory; the test plays visitors and targets.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.http_forwarder import HttpForwarder
from rtunnel.client.targets import Forwarder
from rtunnel.metrics.stats import ClientStats
from rtunnel.options.targets import TARGETS
from rtunnel.outcomes import LinkEnd
from rtunnel.routing.tunnels import Connector
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ForwardSettings, HealthSettings
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.http1 import HeadLimits
from rtunnel.wire.smux import Session
from tests.client.harness import Peer, PlayedEndpoint
from tests.server.harness import SERVER, Visitor, World
from tests.support.ids import TUNNEL

MAX_VISITORS = 4
bounded = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    report_multiple_bugs=False,
    # a failure is not shrunk, which would take minutes
    phases=[Phase.generate],
)
which = st.integers(0, MAX_VISITORS - 1)

_MARK = re.compile(rb"<([qa])(\d+)>")
_REQUEST = re.compile(rb"(?:GET|POST|HEAD) /(\d+) HTTP/1\.1\r\n")


def marks(letter: bytes, number: int, size: int) -> bytes:
    return b"<%b%d>" % (letter, number) * size


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


class Joined:
    """A client of ours, attached to a world over a link in memory.

    :ivar target: its connects wait until the test accepts or refuses them.
    """

    def __init__(self, world: World, kind: type[Forwarder], forward: ForwardSettings) -> None:
        self.world = world
        self.target = PlayedEndpoint()
        self.peers: list[Peer] = []
        self.stats = ClientStats()
        self.lost = 0
        self.forwarder = kind(
            targets=TARGETS.parse("localhost:80"),
            settings=forward,
            timeout=10,
            stats=self.stats,
            reactor=world.clock,
            endpoint_for=lambda address: self.target,
        )
        self.forwarder.start()
        self.link = Link(
            Session(opens=True),
            reactor=world.clock,
            keepalive=Keepalive(0),
            on_draining=self.remove,
            on_lost=self.left,
            peer="client",
        )
        self.far = Link(
            Session(opens=False),
            reactor=world.clock,
            keepalive=Keepalive(0),
            on_stream=self.forwarder.accept,
            on_lost=self.far_left,
        )
        pool = UpstreamPool(self.link, limits=HeadLimits(), idle=60)
        self.connector: Connector[UpstreamPool] = Connector(id=uuid4(), tunnel=TUNNEL, weight=1, pool=pool, peer="client")
        self.pipe = world.connect(self.far, self.link, IPv4Address("TCP", "192.0.2.7", 1), SERVER)
        world.registry.add(self.connector)
        world.health.watch(self.connector, HealthSettings())

    def remove(self) -> None:
        self.world.registry.remove(self.connector)

    def left(self, link: Link, end: LinkEnd, text: str) -> None:
        self.lost += 1
        self.remove()

    def far_left(self, link: Link, end: LinkEnd, text: str) -> None:
        self.lost += 1

    def accept(self) -> None:
        self.peers.append(self.target.accept())
        self.world.pipes.append(self.target.pipe)
        self.world.turn()


class Exchanges(RuleBasedStateMachine):
    """The whole way of a request."""

    case: ClassVar[SynchronousTestCase]
    forwarder: ClassVar[type[Forwarder]] = Forwarder
    forward: ClassVar[ForwardSettings] = ForwardSettings()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.case, logged=True)
        self.clients = [Joined(self.world, self.forwarder, self.forward)]
        self.visitors: list[Visitor] = []
        self.asked: dict[Visitor, list[int]] = {}
        self.unsent: dict[Visitor, bytes] = {}
        self.received: dict[Visitor, bytes] = {}
        self.heard: dict[Peer, bytes] = {}
        self.answered: dict[Peer, int] = {}
        self.number = 0

    @property
    def client(self) -> Joined:
        return self.clients[-1]

    # -- visitors

    def visitor(self, number: int) -> Visitor:
        """A visitor that is connected; the number says which one, or that it is a new one."""
        connected = [visitor for visitor in self.visitors if visitor.lost is None and not visitor.transport.disconnecting]
        if number < len(connected):
            return connected[number]
        self.visitors.append(self.world.visit())
        return self.visitors[-1]

    @rule(
        number=which,
        method=st.sampled_from([b"GET", b"GET", b"POST", b"HEAD"]),
        framed=st.sampled_from(["length", "chunked"]),
        size=st.sampled_from([0, 1, 100, 20000]),
        at_once=st.booleans(),
    )
    def ask(self, number: int, method: bytes, framed: str, size: int, at_once: bool) -> None:
        """A request, of which the body may come later."""
        visitor = self.visitor(number)
        if self.unsent.get(visitor):
            return
        self.number += 1
        self.asked.setdefault(visitor, []).append(self.number)
        body = marks(b"q", self.number, size) if method == b"POST" else b""
        field = b"Content-Length: %d" % len(body) if framed == "length" else b"Transfer-Encoding: chunked"
        head = b"%b /%d HTTP/1.1\r\nHost: pod.local\r\n" % (method, self.number)
        if method == b"POST":
            head += field + b"\r\n"
            body = body if framed == "length" else chunked(body)
        if not at_once:
            self.unsent[visitor] = body
        visitor.send(head + b"\r\n" + (body if at_once else b""))
        self.check()

    @precondition(lambda self: any(self.unsent.values()))
    @rule(part=st.sampled_from([1, 50, 10**6, 10**6]))
    def go_on(self, part: int) -> None:
        """More of a body."""
        visitor, body = next((visitor, body) for visitor, body in self.unsent.items() if body)
        self.unsent[visitor] = body[part:]
        visitor.send(body[:part])
        self.check()

    @rule(number=which, how=st.sampled_from(["leave", "vanish", "end_sending", "stop_reading", "read_on", "read_on"]))
    def change(self, number: int, how: str) -> None:
        getattr(self.visitor(number), how)()
        self.world.turn()
        self.check()

    # -- the target

    @precondition(lambda self: bool(self.client.target.waiting))
    @rule(accepted=st.sampled_from([True, True, True, False]))
    def connect(self, accepted: bool) -> None:
        if accepted:
            self.client.accept()
        else:
            self.client.target.refuse()
            self.world.turn()
        self.check()

    @property
    def answerable(self) -> dict[Peer, tuple[bytes, bytes]]:
        """The connections with a request that was not answered: its number and its head."""
        found = {}
        for peer in self.client.peers:
            asked = list(_REQUEST.finditer(self.heard.get(peer, b"")))[self.answered.get(peer, 0) :]
            if asked and peer.lost is None:
                found[peer] = asked[0][1], asked[0][0]
        return found

    @precondition(lambda self: bool(self.answerable))
    @rule(
        number=which,
        how=st.sampled_from(
            ["length", "length", "chunked", "close", "part", "too much", "twice", "nothing", "malformed", "interim"]
        ),
        size=st.sampled_from([0, 1, 100, 40000]),
    )
    def answer(self, number: int, how: str, size: int) -> None:
        """Answer the oldest request of a connection, in one of many ways."""
        waiting = self.answerable
        peer = list(waiting)[number % len(waiting)]
        request, line = waiting[peer]
        body = b"" if line.startswith(b"HEAD") else marks(b"a", int(request), size)
        length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        data, whole, closes = {
            "length": (length + body, True, False),
            "chunked": (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (chunked(body) if body else b"0\r\n\r\n"),
                True,
                False,
            ),
            "close": (b"HTTP/1.1 200 OK\r\n\r\n" + body, True, True),
            "part": (length + body[: len(body) // 2], True, True),
            "too much": (length + body + marks(b"a", int(request), 1), True, False),
            "twice": (2 * (length + body), True, False),
            "nothing": (b"", True, True),
            "malformed": (b"HTTP/1.1 2000 OK\r\n\r\n", True, True),
            "interim": (b"HTTP/1.1 103 Early Hints\r\n\r\n", False, False),
        }[how]
        if line.startswith(b"HEAD") and how == "chunked":
            data = length
        self.answered[peer] = self.answered.get(peer, 0) + whole
        if data:
            peer.transport.write(data)
        if closes:
            peer.transport.loseConnection()
        self.world.turn()
        self.check()

    @precondition(lambda self: bool(self.answerable))
    @rule(
        number=which,
        how=st.sampled_from(["abortConnection", "loseConnection", "pauseProducing", "resumeProducing", "resumeProducing"]),
    )
    def change_target(self, number: int, how: str) -> None:
        peer = self.client.peers[number % len(self.client.peers)]
        if peer.lost is None:
            getattr(peer.transport, how)()
            self.world.turn()
            self.check()

    # -- the link, and time

    @precondition(lambda self: self.number > 8 * len(self.clients))
    @rule(graceful=st.booleans())
    def lose_link(self, graceful: bool) -> None:
        """The link is lost, or the client leaves; another one comes."""
        if graceful:
            self.client.far.leave()
            self.client.far.close(LinkEnd.CLOSED)
        else:
            self.client.pipe.break_link()
        self.world.turn()
        self.clients.append(Joined(self.world, self.forwarder, self.forward))
        self.check()

    @rule(seconds=st.sampled_from([0.5, 0.5, 1, 4]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.check()

    # -- what must hold

    def check(self) -> None:
        for visitor in self.visitors:
            self.received[visitor] = self.received.get(visitor, b"") + visitor.take()
            self.check_answers(self.received[visitor], self.asked.get(visitor, []))
        for client in self.clients:
            for peer in client.peers:
                self.heard[peer] = self.heard.get(peer, b"") + peer.take()
                self.check_requests(self.heard[peer])

    def check_answers(self, data: bytes, asked: list[int]) -> None:
        """A visitor gets answers to its own requests, in their order."""
        numbers = [int(mark[2]) for mark in _MARK.finditer(data)]
        assert all(mark[1] == b"a" for mark in _MARK.finditer(data)), "a visitor gets a request"
        assert numbers == sorted(numbers), "answers in another order"
        assert set(numbers) <= set(asked), "an answer to somebody else's request"
        assert len(re.findall(rb"^HTTP/1\.1 [2-5]\d\d ", data, re.MULTILINE)) <= len(asked) + 1

    def check_requests(self, data: bytes) -> None:
        """A target gets requests, each with its own body."""
        heads = list(_REQUEST.finditer(data))
        assert not data or (heads and heads[0].start() == 0)
        ends = [*(head.start() for head in heads[1:]), len(data)][: len(heads)]
        for head, end in zip(heads, ends, strict=True):
            for mark in _MARK.finditer(data, head.end(), end):
                assert mark.groups() == (b"q", head[1]), "a body with another request"

    def teardown(self) -> None:
        world = self.world
        for visitor in self.visitors:
            if visitor.lost is None:
                visitor.vanish()
        self.end_targets()
        world.pass_time(1)
        self.check()
        for client in self.clients:
            self.check_idle(client)
        for client in self.clients:
            client.pipe.break_link()
            world.pass_time(12)
            assert client.lost == 2
            assert not client.forwarder.open
            assert all(pipe.client.disconnected for pipe in client.target.pipes), "a connection to a target is left open"
            client.forwarder.stop()
        assert all(watched.over for watched in world.watcher.exchanges), "a request without an outcome"
        world.verify()
        world.deadlines.stop()
        assert not world.clock.getDelayedCalls()

    def end_targets(self) -> None:
        """That a visitor is gone is not noticed while nothing is read from it or written to it; an answer is then."""
        for client in self.clients:
            for peer in client.peers:
                if peer.lost is None:
                    peer.transport.abortConnection()
            self.world.turn()
            while client.target.waiting:
                # a connect goes on when its stream is lost, until its own timeout
                client.target.refuse()
                self.world.turn()

    def check_idle(self, client: Joined) -> None:
        """No stream is left but those that wait for another request."""
        idle = client.connector.pool.idle
        assert len(client.link.streams) == idle
        if not client.lost:
            assert client.link.session.streams <= idle + len(client.far.streams)


class ExchangesTests(SynchronousTestCase):
    """With a client that passes on the bytes of each stream."""

    machine: ClassVar[type[Exchanges]] = Exchanges

    def test_at_random(self) -> None:
        self.machine.case = self
        run_state_machine_as_test(self.machine, settings=bounded)


class ParsingExchanges(Exchanges):
    forwarder = HttpForwarder
    forward = ForwardSettings(set_headers=(("X-Set", "a"),))


class ParsingExchangesTests(ExchangesTests):
    """With a client that parses requests and responses."""

    machine: ClassVar[type[Any]] = ParsingExchanges
