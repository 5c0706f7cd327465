"""Leases between a real server and real clients, over pipes that break, with a clock that the test moves."""

from __future__ import annotations

from time import time
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.auth.access_control import Rights
from rtunnel.client.connector import ConnectorClient
from rtunnel.client.drain import drain_connectors
from rtunnel.client.status import client_status
from rtunnel.metrics.stats import ClientStats, ServerStats
from rtunnel.outcomes import Limit, LinkEnd
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.leases import LeaseEnd
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server import control_stream, lease_manager, share_news
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.drain_queue import DrainQueue
from rtunnel.server.health import HealthMonitor
from rtunnel.server.lease_manager import LeaseManager, PoolLease
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listener_group import ListenerGroup, Shared
from rtunnel.server.plan import planned_listeners
from rtunnel.server.routes import Routes
from rtunnel.server.status import server_status
from rtunnel.settings import (
    Address,
    ConnectorSettings,
    LeaseSettings,
    LimitSettings,
    ListenerSettings,
    MuxSettings,
    ServerSettings,
)
from rtunnel.tunnel.link import Link
from rtunnel.wire.control import RenewLease, encode
from tests.support.ids import TUNNEL
from tests.support.logs import logged
from tests.support.pipe import Pipe, connect

HOUR = 3600.0
HOLD = 20.0


@implementer(IStreamClientEndpoint)
class Way:
    """The way of a client to the server that there is now, in memory.

    :ivar pipes: of its connections.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.pipes: list[Pipe] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        client = factory.buildProtocol(None)
        self.pipes.append(connect(client, self.place.group.listener.buildProtocol(None)))
        return succeed(client)


class Place:
    """A server.

    :param terms: of its leases.
    """

    def __init__(self, case: LeaseCase, terms: LeaseSettings, permissions: Any = None) -> None:
        rules = (IngressRule("pod.local", TUNNEL),)
        settings = ListenerSettings(
            listen=Address("", 8421), transport="tcp", entrypoints=(Address("", 80),), rules=rules, mux=case.mux, leases=terms
        )
        (planned,) = planned_listeners(ServerSettings(listeners=(settings,)))
        self.registry: TunnelRegistry[Any] = TunnelRegistry()
        self.stats = ServerStats()
        draining = DrainQueue(case.clock.seconds)
        deadlines = Deadlines(case.clock)
        self.manager = LeaseManager(self.registry, draining, lambda: 10.0, self.stats)
        shared = Shared(
            registry=self.registry,
            deadlines=deadlines,
            stats=self.stats,
            health=HealthMonitor(self.registry),
            draining=draining,
            leases=self.manager,
            limits=ServerLimits(LimitSettings(), self.stats),
            access=None,
            routed_elsewhere=lambda tunnel: False,
            rules_changed=lambda: None,
            reactor=case.clock,
        )
        self.group = ListenerGroup(planned, Routes(rules, None, reactor=case.clock), Rights(None, permissions), shared)
        deadlines.each_sweep(self.manager.sweep)
        deadlines.each_sweep(draining.sweep)
        deadlines.start()
        case.addCleanup(self.group.stop, 0)
        case.addCleanup(deadlines.stop)

    @property
    def leases(self) -> list[PoolLease]:
        return list(self.manager.leases)

    def lease(self, name: str) -> PoolLease:
        (found,) = (lease for lease in self.leases if lease.name == name)
        return found


class LeaseCase(SynchronousTestCase):
    """A server, and what its clients log.

    :cvar terms: of its leases.
    """

    terms = LeaseSettings(hold=HOLD)
    mux = MuxSettings()

    def setUp(self) -> None:
        self.clock = Clock()
        self.place = Place(self, self.terms)
        self.ways: list[Way] = []
        self.ended: list[ConnectorClient] = []
        capture = logged()
        self.lines = capture.__enter__()
        self.addCleanup(capture.__exit__, None, None, None)

    def client(self, name: str, *filters: str, start: bool = True, **settings: Any) -> ConnectorClient:
        """A client; it has joined.

        :param start: whether it has.
        """
        way = Way(self.place)
        self.ways.append(way)
        settings["intercept"] = tuple(map(InterceptFilter.parse, filters))
        client = ConnectorClient(
            ConnectorSettings(
                server=Address("server", 8421),
                transport="tcp",
                tunnel=TUNNEL,
                target=Address("localhost", 9),
                name=name,
                mux=self.mux,
                **settings,
            ),
            stats=ClientStats(),
            reactor=self.clock,
            on_joined=lambda: None,
            on_ended=self.lease_ended,
            endpoint=way,
            random=lambda: 0.5,
            wall=self.clock.seconds,
        )
        client.way = way  # type: ignore[attr-defined]
        self.addCleanup(client.stop)
        if start:
            client.start()
            self.settle()
        return client

    def lease_ended(self, client: ConnectorClient) -> None:
        """What the client's service does."""
        self.ended.append(client)
        drain_connectors([client], 10, self.clock)

    def way(self, client: ConnectorClient) -> Way:
        way: Way = client.way  # type: ignore[attr-defined]
        return way

    def lose(self, client: ConnectorClient) -> None:
        """The link of a client breaks."""
        self.way(client).pipes[-1].break_link()

    def settle(self) -> None:
        quiet = 0
        while quiet < 2:
            self.clock.advance(0)
            moved = sum(pipe.pump() for way in self.ways for pipe in way.pipes)
            quiet = 0 if moved else quiet + 1

    def wait(self, seconds: float) -> None:
        """Time passes, a sweep after the other."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.settle()

    def heard(self, *words: str) -> None:
        """Somebody has logged a line with these words."""
        self.assertTrue([line for line in self.lines if all(word in line for word in words)], (words, self.lines))


class StatusTests(LeaseCase):
    def test_both_ends(self) -> None:
        """The name, the reason and the end."""
        client = self.client("alice", reason="PROJ-12", lease=HOUR)
        (server,) = server_status(listeners=[self.place.group.listener], entrypoints=(), rules=(), tunnels=()).connectors
        (ours,) = client_status([client], (), ()).connectors
        self.assertEqual((server.name, server.reason, ours.name, ours.reason), ("alice", "PROJ-12", "alice", "PROJ-12"))
        assert server.until is not None and ours.until is not None
        self.assertApproximates(server.until, time() + HOUR, 60)
        self.assertApproximates(ours.until, time() + HOUR, 60)
        self.place.manager.end(self.place.lease("alice"), LeaseEnd.RELEASED)
        self.settle()
        self.assertEqual(client_status([client], (), ()).connectors[0].state, "ended")


class ShareTests(LeaseCase):
    """Which part of the requests comes to whom."""

    def test_joins(self) -> None:
        """The line of a join, and what those read who are there."""
        self.client("pod")
        self.heard("pod.local -> localhost:9: joined tunnel", ", you get all requests")
        laptop = self.client("laptop")
        self.heard("pod.local -> localhost:9: joined tunnel", ", you get 1 of 2 requests (50 %)")
        self.assertEqual(laptop.shares.view.instead(), "pod")
        self.wait(1)
        self.heard(": you get 1 of 2 requests (50 %) now")
        self.assertEqual(len([line for line in self.lines if "joined tunnel" in line and "->" in line]), 2)

    def test_takes_over(self) -> None:
        """With weight 255, and gives it back: each time a line for the other one."""
        pod = self.client("pod")
        laptop = self.client("laptop", weight=255)
        self.heard("laptop has joined as well, for weight 255")
        self.heard("joined tunnel", "you get all requests (weight 255)")
        self.wait(1)
        self.heard(": you get no requests: they go to laptop (weight 255) now")
        self.assertEqual((pod.shares.view.splits, laptop.shares.view.instead()), (False, "pod"))
        drain_connectors([laptop], 10, self.clock)
        self.wait(1)
        self.heard("laptop has left (left), who was there for weight 255")
        self.heard(": you get all requests now")

    def test_intercepts(self) -> None:
        alice = self.client("alice", "header:X-User=alice")
        pod = self.client("pod")
        self.heard("pod.local -> localhost:9: joined tunnel", ', you get the requests with "header:x-user=alice"')
        self.heard("you get all requests, but for those that others intercept")
        self.wait(1)
        self.assertEqual((alice.shares.view.instead(), pod.shares.view.others[0].what), ("pod", "header:x-user=alice"))

    def test_a_crowd(self) -> None:
        """Not all are mentioned, and nobody hears of each who comes and goes."""
        self.patch(share_news, "MAX_TOLD", 2)
        first = self.client("pod0")
        clients = [self.client(f"pod{number}") for number in range(1, 5)]
        self.wait(1)
        view = clients[-1].shares.view
        self.assertEqual((view.describe(), len(view.others)), ("you get 1 of 5 requests (20 %)", 2))
        self.assertEqual(view.instead(), "one of 4 others")
        self.assertNotEqual(first.shares.view.share, view.share)
        asked = first.shares.ask()
        self.settle()
        self.successResultOf(asked)
        self.assertEqual(first.shares.view.share, view.share)

    def test_one_without_a_control_stream(self) -> None:
        """It is there, although it has no lease: a gost."""
        client = self.client("laptop")
        ours = client.lease.token
        self.patch(Link, "offer_control", lambda link, token: None)
        self.client("gost")
        self.wait(1)
        self.assertTrue(ours)
        (other,) = client.shares.view.others
        self.assertRegex(other.name, "[0-9a-f]{8}")
        self.assertEqual(other.what, "weight 1")

    def test_asked(self) -> None:
        """By the status: what the server has counted; often only once in a while."""
        client = self.client("pod")
        self.wait(1)
        (connector,) = self.place.registry
        connector.requests = 7
        asked = [client.shares.ask(), client.shares.ask()]
        self.settle()
        for one in asked:
            self.successResultOf(one)
        (ours,) = client_status([client], (), ()).connectors
        self.assertEqual((ours.requests, ours.hosts), (7, ("pod.local",)))
        assert ours.share is not None
        self.assertEqual((ours.share.part, ours.share.whole, ours.share.text), (1, 1, "you get all requests"))
        connector.requests = 8
        self.successResultOf(client.shares.ask())
        self.settle()
        self.assertEqual(client_status([client], (), ()).connectors[0].requests, 7)

    def test_nobody_answers(self) -> None:
        """The status does not wait for ever, nor for a link that is lost."""
        client = self.client("pod")
        self.wait(1)
        asked = client.shares.ask()
        self.clock.advance(1)
        self.successResultOf(asked)
        self.settle()
        self.wait(1)
        asked = client.shares.ask()
        self.lose(client)
        self.settle()
        self.successResultOf(asked)
        self.assertIsNone(client.shares.view.share)
        self.successResultOf(client.shares.ask())

    def test_a_client_that_does_not_read(self) -> None:
        """It is told nothing of others."""
        self.patch(control_stream, "MAX_UNREAD", 0)
        self.client("pod")
        self.wait(2)
        self.heard("localhost:9: joined tunnel", "you get a share of the requests (weight 1)")


class ControlTests(LeaseCase):
    """Who is there."""

    def test_names(self) -> None:
        """The server knows the name and the reason of each client, and tells the others."""
        self.client("pod/shop")
        self.client("alice", "header:X-User=alice", reason="PROJ-12")
        self.assertEqual([(lease.name, lease.reason) for lease in self.place.leases], [("pod/shop", ""), ("alice", "PROJ-12")])
        self.heard("alice has joined as well, for requests with header:x-user=alice", "PROJ-12")
        self.heard("pod/shop is on it as well, for weight 1")
        self.heard("lease", "of alice on tunnel", "granted for header:x-user=alice", '"PROJ-12"')

    def test_leaving(self) -> None:
        self.client("pod")
        bob = self.client("bob")
        drain_connectors([bob], 10, self.clock)
        self.settle()
        self.assertEqual([lease.name for lease in self.place.leases], ["pod"])
        self.heard("bob has left (left)")

    def test_it_is_no_visitors_stream(self) -> None:
        """A connector without requests is not busy, and its control stream counts nowhere."""
        self.client("pod")
        (connector,) = self.place.registry
        self.assertFalse(connector.pool.busy)
        self.assertEqual((len(connector.pool.link.streams), connector.pool.link.carrying), (1, 0))

    def test_hostile_names(self) -> None:
        """A name cannot contain what drives a terminal, whatever the client."""
        client = self.client("pod", start=False)
        object.__setattr__(client.settings, "name", "\x1b[2J" + "x" * 500)
        self.client("bob")
        client.start()
        self.settle()
        self.heard("\\x1b[2Jxxx", "has joined as well")
        self.heard("\\x1b[2Jxxx", "granted")
        # what it says of itself comes from its own settings
        others = [line for line in self.lines if "is known to others" not in line]
        self.assertFalse([line for line in others if "\x1b" in line or "x" * 101 in line])

    def test_not_messages(self) -> None:
        """A client that sends something else is told nothing any more, and goes on."""
        client = self.client("pod")
        self.say(client, b"GET / HTTP/1.1\r\n")
        self.heard("sends control messages that are none")
        self.assertTrue(client.joined)
        self.assertEqual(len(self.place.leases), 1)

    def test_flood(self) -> None:
        """Too many messages end the link, which is counted."""
        client = self.client("pod")
        self.say(client, encode(RenewLease()) * (control_stream.MAX_MESSAGES - 1))
        self.assertTrue(client.joined)
        self.wait(1)
        self.say(client, encode(RenewLease()) * control_stream.MAX_MESSAGES)
        self.assertTrue(client.joined)
        self.wait(1)
        self.say(client, encode(RenewLease()) * (control_stream.MAX_MESSAGES + 1))
        self.assertEqual(self.place.stats.losses[LinkEnd.FLOODED], 1)
        self.assertEqual(self.place.stats.limits[Limit.FLOOD], 1)

    def say(self, client: ConnectorClient, data: bytes) -> None:
        """A client says something on its control stream."""
        assert client.link is not None
        (stream,) = client.link.streams.values()
        stream.write(data)
        self.settle()


class OldPeersTests(LeaseCase):
    """Version 1 of smux has no signals."""

    mux = MuxSettings(version=1)

    def test_no_lease(self) -> None:
        client = self.client("pod")
        self.assertTrue(client.joined)
        self.assertEqual(self.place.leases, [])


class EndTests(LeaseCase):
    """A lease that ends: its connector leaves, and does not come back."""

    def gone(self, client: ConnectorClient, *why: str) -> None:
        """The client was told why, has left and stays away."""
        self.settle()
        self.heard("the lease has ended", *why)
        self.assertEqual(self.ended, [client])
        self.wait(60)
        self.assertFalse(client.joined)
        self.assertEqual(len(self.way(client).pipes), 1)
        self.assertEqual(self.place.leases, [])
        self.assertEqual(list(self.place.registry), [])

    def test_its_time_is_over(self) -> None:
        client = self.client("alice", lease=100.0)
        self.heard("is known to others as alice; the lease ends in 100 s")
        self.wait(89.5)
        self.assertFalse([line for line in self.lines if "rtunnel renew" in line])
        self.wait(1)
        self.heard("the lease ends in 10 s", "rtunnel renew")
        self.wait(10)
        self.gone(client, "its time is over")
        self.heard("lease", "ended: expired")

    def test_released(self) -> None:
        client = self.client("alice")
        self.place.manager.end(self.place.lease("alice"), LeaseEnd.RELEASED, "alice")
        self.gone(client, "it was released by alice")
        self.assertEqual(self.place.stats.losses[LinkEnd.LEASE_ENDED] + self.place.stats.losses[LinkEnd.CLOSED], 1)

    def test_revoked(self) -> None:
        client = self.client("alice", "header:X-User=alice")
        self.place.manager.end(self.place.lease("alice"), LeaseEnd.REVOKED, "root", "production!\x1b")
        self.gone(client, 'it was revoked by root: "production!\\x1b"')
        self.heard("ended: revoked by root")

    def test_running_requests_are_finished(self) -> None:
        """The connector gets no more of them; what it has is finished."""
        self.client("alice")
        (connector,) = self.place.registry
        stream = connector.pool.link.open_stream(None)
        self.place.manager.end(self.place.lease("alice"), LeaseEnd.REVOKED, "root")
        self.assertEqual(list(self.place.registry), [])
        self.wait(5)
        self.assertTrue(connector.pool.link.usable)
        stream.abortConnection()
        self.wait(1)
        self.assertFalse(connector.pool.link.usable)

    def test_a_client_that_does_not_leave(self) -> None:
        """The server closes its link in the end."""
        client = self.client("alice")
        client.lease._on_ended = lambda: None
        (connector,) = self.place.registry
        connector.pool.link.open_stream(None)
        self.place.manager.end(self.place.lease("alice"), LeaseEnd.REVOKED, "root")
        self.wait(9)
        self.assertTrue(connector.pool.link.usable)
        self.wait(2)
        self.assertFalse(connector.pool.link.usable)

    def test_renewed(self) -> None:
        client = self.client("alice", lease=100.0)
        self.wait(80)
        self.place.manager.renew(self.place.lease("alice"), 200)
        self.settle()
        self.heard("the lease was renewed; the lease ends in 3 min")
        self.wait(150)
        self.assertEqual(self.ended, [])
        self.wait(60)
        self.gone(client, "its time is over")


class IdleTests(LeaseCase):
    terms = LeaseSettings(idle=60.0)

    def test_idle(self) -> None:
        """Without requests it ends, after a warning; a request is use."""
        client = self.client("alice")
        (connector,) = self.place.registry
        self.wait(55)
        self.heard("the lease ends in 6 s", "a request keeps it")
        connector.requests += 1
        self.wait(55)
        self.assertEqual(self.ended, [])
        self.wait(6)
        self.assertEqual(self.ended, [client])
        self.heard("no request has come for so long")


class LinkTests(LeaseCase):
    """Links that are lost, clients that come back, clocks that jump."""

    def test_back_in_time(self) -> None:
        """The traffic is free at once, the filter is not; the client that comes back has the same lease, with the same end."""
        client = self.client("alice", "header:X-User=alice", lease=HOUR, reason="PROJ-12")
        lease = self.place.lease("alice")
        self.wait(100)
        self.way(client).pipes[-1].silent = True
        (connector,) = self.place.registry
        connector.pool.link.drop(LinkEnd.KEEPALIVE_TIMEOUT)
        self.way(client).pipes[-1].silent = False
        self.settle()
        self.assertEqual(list(self.place.registry), [])
        bob = self.client("bob", "header:X-User=alice; path^=/api")
        self.heard("are taken by alice", "whose link is lost", '"PROJ-12"', "for another 58 min")
        self.assertFalse(bob.joined)
        self.wait(10)
        self.assertTrue(client.joined)
        self.assertEqual(self.place.leases, [lease])
        self.assertApproximates(self.place.manager.leases.left(lease), HOUR - 110, 1)
        self.heard("resumed for header:x-user=alice")

    def test_revoked_while_the_link_was_lost(self) -> None:
        """The client is told when it comes back, and leaves again; another process of the same person may come."""
        client = self.client("alice", "header:X-User=alice")
        self.lose(client)
        self.place.manager.end(self.place.lease("alice"), LeaseEnd.REVOKED, "root", "lunch")
        self.assertEqual(self.ended, [])
        self.wait(10)
        self.assertEqual(self.ended, [client])
        self.heard('it was revoked by root: "lunch"')
        self.assertEqual((self.place.leases, list(self.place.registry)), ([], []))
        self.assertTrue(self.client("alice", "header:X-User=alice").joined)
        self.assertEqual(len(self.place.leases), 1)

    def test_what_was_missed_is_bounded(self) -> None:
        self.patch(lease_manager, "MAX_MISSED", 1)
        clients = [self.client(name) for name in ("alice", "bob")]
        for client in clients:
            self.lose(client)
            self.place.manager.end(self.place.leases[0], LeaseEnd.REVOKED, "root")
        self.wait(10)
        self.assertEqual(self.ended, clients[1:])

    def test_too_late(self) -> None:
        """After the hold others may have it."""
        client = self.client("alice", "header:X-User=alice")
        client._stopping = True
        self.lose(client)
        self.wait(HOLD - 1)
        bob = self.client("bob", "header:X-User=alice")
        self.assertFalse(bob.joined)
        self.wait(20)
        self.assertTrue(bob.joined)
        self.heard("ended: lost")

    def test_the_servers_clock_jumps(self) -> None:
        """A server that slept for 8 hours ends nothing: nobody was waiting for it."""
        client = self.client("alice", lease=HOUR)
        self.clock.rightNow += 8 * HOUR
        self.wait(2)
        self.assertTrue(client.joined)
        self.assertApproximates(self.place.manager.leases.left(self.place.lease("alice")), HOUR - 3, 1)

    def test_the_lid_is_closed(self) -> None:
        """A client that slept for 8 hours, of a lease of one: it knows that its lease has ended, and does not come back."""
        client = self.client("alice", lease=HOUR)
        self.lose(client)
        self.clock.rightNow += 8 * HOUR
        self.wait(2)
        self.assertEqual(self.ended, [client])
        self.heard("the lease has ended: its time is over")
        self.wait(60)
        self.assertEqual(len(self.way(client).pipes), 1)

    def test_the_server_is_restarted(self) -> None:
        """The next one knows nothing of the lease; the client asks for the rest of it."""
        client = self.client("alice", lease=HOUR)
        self.wait(600)
        place = self.place
        self.place = self.way(client).place = Place(self, self.terms)
        place.group.listener.leave()
        place.group.stop(0)
        self.lose(client)
        self.wait(10)
        self.assertTrue(client.joined)
        self.assertApproximates(self.place.manager.leases.left(self.place.lease("alice")), HOUR - 610, 10)

    def test_too_many_are_held(self) -> None:
        """The longest held one ends, which is counted."""
        for lease in range(3):
            client = self.client(f"client {lease}")
            object.__setattr__(self.place.lease(f"client {lease}"), "terms", LeaseSettings(held=2))
            client._stopping = True
            self.lose(client)
        self.assertEqual([lease.name for lease in self.place.leases], ["client 1", "client 2"])
        self.assertEqual(self.place.stats.limits[Limit.HELD_LEASES], 1)


class CrowdTests(LeaseCase):
    def test_large_crowds_are_not_told(self) -> None:
        """Else each join of a thousand would be a thousand messages."""
        for number in range(40):
            self.client(f"client-{number}")
        told = [line for line in self.lines if "has joined as well" in line]
        self.assertEqual(len(told), 32 * 31 // 2)
        self.assertEqual(len(self.place.leases), 40)


class AskTests(LeaseCase):
    """Somebody else wants the requests."""

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.client("alice", "header:X-User=alice")
        self.lease = self.place.lease("alice")
        self.answers: list[LeaseEnd | None] = []

    def ask(self) -> bool:
        asked = self.place.manager.ask(self.lease, "bob", "please", self.answers.append)
        self.settle()
        return asked

    def test_given(self) -> None:
        """It is given when no request comes."""
        self.assertTrue(self.ask())
        self.heard('bob asks for the requests, "please"', "rtunnel release")
        self.wait(59)
        self.assertEqual(self.answers, [])
        self.wait(2)
        self.assertEqual(self.answers, [LeaseEnd.TAKEN])
        self.assertEqual(self.ended, [self.holder])
        self.heard("the lease has ended: it was taken by bob")

    def test_kept(self) -> None:
        """A request keeps it."""
        self.ask()
        self.assertFalse(self.place.manager.ask(self.lease, "carol", "", self.answers.append))
        (connector,) = self.place.registry
        connector.requests += 1
        self.wait(1)
        self.assertEqual(self.answers, [None])
        self.wait(120)
        self.assertTrue(self.holder.joined)

    def test_released(self) -> None:
        self.ask()
        self.place.manager.end(self.lease, LeaseEnd.RELEASED, "alice")
        self.assertEqual(self.answers, [LeaseEnd.RELEASED])

    def test_who_asked_is_gone(self) -> None:
        self.ask()
        self.place.manager.forget(self.lease)
        self.wait(120)
        self.assertTrue(self.holder.joined)
        self.assertEqual(self.answers, [])
