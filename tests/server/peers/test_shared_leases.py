"""Leases of clients that are attached to different servers: conflicts, clients that come back elsewhere, questions."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.auth.authenticator import ANONYMOUS, Grant
from rtunnel.client.connector import ConnectorClient
from rtunnel.client.drain import drain_connectors
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import Limit, RefusalReason
from rtunnel.registry.records import ConnectorRecord
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.leases import LeaseEnd
from rtunnel.routing.policies import OnAbsent, PolicyRow
from rtunnel.server import shared_leases
from rtunnel.server.control_commands import Caller, ControlCommands
from rtunnel.server.lease_book import LeaseBook
from rtunnel.server.lease_calls import CALL_TIMEOUT
from rtunnel.server.lease_manager import ASK_TIME, PoolLease
from rtunnel.server.shared_leases import USE_INTERVAL
from rtunnel.settings import Address, ConnectorSettings, Credentials, LeaseSettings, ListenerSettings
from rtunnel.wire.control import Done, Listed, Message, QueryLeases, Refused, ReleaseLease, RenewLease, RevokeLease, TakeLease
from rtunnel.wire.relay import Status
from tests.server.peers.site import Client, Server, Site
from tests.support.ids import OTHER, TUNNEL
from tests.support.logs import logged
from tests.support.pipe import Pipe, connect

RULES = (IngressRule("pod.local", TUNNEL),)
ALICE = "header:X-User=alice"
EPOCH = 1_700_000_000.0


@implementer(IStreamClientEndpoint)
class Way:
    """The way of a client to a server, which may be another one the next time.

    :ivar pipe: of its connection.
    :ivar blocked: whether it leads nowhere.
    """

    pipe: Pipe

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.number = number
        self.blocked = False

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.blocked:
            return Deferred()
        client = factory.buildProtocol(None)
        far = self.site._factory(8400 + self.number).buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
        self.pipe = connect(client, far)
        self.site.pipes.append(((self.number,), self.pipe))
        return succeed(client)


class SharedLeaseCase(SynchronousTestCase):
    """Two servers, and clients that can be told things."""

    policies: ClassVar[tuple[PolicyRow, ...]] = ()

    def setUp(self) -> None:
        self.site = Site(self, policies=self.policies)
        self.here, self.there = self.site.servers
        for server in self.site.servers:
            server.replicas.leases.clock = lambda: EPOCH + self.site.reactor.seconds()
        self.ways: dict[ConnectorClient, Way] = {}
        capture = logged()
        self.lines = capture.__enter__()
        self.addCleanup(capture.__exit__, None, None, None)

    def client(self, number: int, name: str, *filters: str, instance: int | None = None, **settings: Any) -> ConnectorClient:
        """A client of the server with a number; it has joined, unless it is refused."""
        way = Way(self.site, number)
        settings["intercept"] = tuple(map(InterceptFilter.parse, filters))
        client = ConnectorClient(
            ConnectorSettings(
                server=Address("server", 8421),
                transport="tcp",
                tunnel=TUNNEL,
                target=Address("127.0.0.1", 9),
                name=name,
                **settings,
            ),
            stats=ClientStats(),
            reactor=self.site.reactor,
            on_joined=lambda: None,
            on_ended=self.leave,
            endpoint=way,
            random=lambda: 0.5,
            instance=instance,
        )
        self.ways[client] = way
        self.addCleanup(client.stop)
        client.start()
        self.site.turn()
        return client

    def leave(self, client: ConnectorClient) -> None:
        """What the service of a client does whose lease has ended."""
        drain_connectors([client], 10, self.site.reactor)

    def lose(self, client: ConnectorClient) -> None:
        """The link of a client breaks, and it does not come back."""
        self.ways[client].blocked = True
        self.ways[client].pipe.break_link()
        self.site.turn()

    def use(self, server: Server, name: str) -> None:
        """A request for a client."""
        connector = self.lease(server, name).connector
        assert connector is not None
        connector.requests += 1

    def move(self, client: ConnectorClient, number: int) -> None:
        """The link of a client breaks, and it comes back to another server."""
        way = self.ways[client]
        way.number = number
        way.pipe.break_link()
        self.site.turn()
        self.site.pass_time(3)
        self.assertTrue(client.joined)

    def leases(self, server: Server) -> list[PoolLease]:
        return list(server.service._leases.leases)

    def lease(self, server: Server, name: str) -> PoolLease:
        (found,) = (lease for lease in self.leases(server) if lease.name == name)
        return found

    def records(self, server: Server) -> dict[str, ConnectorRecord]:
        """What a server knows of the others."""
        return {record.name: record for record in server.registry.records(TUNNEL)}

    def heard(self, *words: str) -> None:
        self.assertTrue([line for line in self.lines if all(word in line for word in words)], (words, self.lines))


class ConflictTests(SharedLeaseCase):
    """Two clients must not get the same requests, whichever servers they come to."""

    def test_taken_at_another_server(self) -> None:
        self.client(1, "alice", ALICE, reason="PROJ-12", lease=100.0)
        bob = self.client(2, "bob", ALICE)
        self.assertFalse(bob.joined)
        self.heard("cannot join", "are taken by alice", '(for "PROJ-12", for another 100 s)')
        self.assertEqual(self.there.service.stats.refusals[RefusalReason.INTERCEPT_TAKEN], 1)
        self.assertEqual(list(self.records(self.here)), [])

    def test_taken_at_the_same_server(self) -> None:
        self.client(1, "alice", ALICE)
        self.assertFalse(self.client(1, "bob", ALICE).joined)
        self.heard("alice")

    def test_another_filter(self) -> None:
        self.client(1, "alice", ALICE)
        bob = self.client(2, "bob", "header:X-User=bob")
        self.assertTrue(bob.joined)
        self.assertEqual(self.records(self.here)["bob"].filters, ("header:x-user=bob",))

    def test_held_at_another_server(self) -> None:
        alice = self.client(1, "alice", ALICE)
        self.lose(alice)
        self.assertTrue(self.records(self.there)["alice"].held)
        self.assertEqual([row for row in self.there.rows if row.name == "alice"], [])
        bob = self.client(2, "bob", ALICE)
        self.assertFalse(bob.joined)
        self.site.pass_time(130)
        self.assertNotIn("alice", self.records(self.there))
        # its next attempt
        self.site.pass_time(60)
        self.assertTrue(bob.joined)

    def test_not_available(self) -> None:
        """They are refused until the registry is back; those that want a share of all requests are not."""
        self.here.registry.cut(False)
        alice = self.client(1, "alice", ALICE)
        self.assertFalse(alice.joined)
        self.heard("the servers cannot agree now on who gets these requests")
        self.assertEqual(self.here.service.stats.refusals[RefusalReason.NOT_AGREED], 1)
        self.assertTrue(self.client(1, "pod").joined)
        self.here.registry.cut(True)
        self.site.pass_time(5)
        self.assertTrue(alice.joined)

    def test_gone_meanwhile(self) -> None:
        """A client that does not wait for the agreement leaves nothing behind."""
        agreed: list[Deferred[None]] = []
        claim = self.here.registry.claim

        def late(record: ConnectorRecord, decide: Any) -> Deferred[Any]:
            agreed.append(Deferred())
            return agreed[-1].addCallback(lambda _: claim(record, decide))

        self.patch(self.here.registry, "claim", late)
        client = Client(self.here, filters=[ALICE])
        self.site.connect_to(8401, client)
        client.join()
        self.assertIsNone(client.admitted)
        client.lose()
        agreed[0].callback(None)
        self.site.turn()
        self.assertEqual((self.records(self.there), self.here.rows), ({}, []))

    def test_a_server_that_stops_meanwhile(self) -> None:
        agreed: list[Deferred[None]] = []
        claim = self.here.registry.claim

        def late(record: ConnectorRecord, decide: Any) -> Deferred[Any]:
            agreed.append(Deferred())
            return agreed[-1].addCallback(lambda _: claim(record, decide))

        self.patch(self.here.registry, "claim", late)
        client = Client(self.here, filters=[ALICE])
        self.site.connect_to(8401, client)
        client.join()
        self.here.service._listeners[0].stopping = True
        agreed[0].callback(None)
        self.site.turn()
        self.assertEqual(client.admitted, Status.SERVICE_UNAVAILABLE)
        self.assertEqual(self.records(self.there), {})


class AbsentTests(SharedLeaseCase):
    """``on-absent=503``: nobody else gets the requests of a client whose link is lost, at whichever server they arrive."""

    policies = (PolicyRow(pattern="pod.local", on_absent=OnAbsent.UNAVAILABLE),)

    def statuses(self, *servers: Server, user: str = "alice") -> list[int]:
        """What visitors are answered: 502 if the request has reached a client, whose target is not there."""
        head = f"GET / HTTP/1.1\r\nHost: pod.local\r\nX-User: {user}\r\n\r\n".encode()
        guests = [server.visit(head) for server in servers]
        return [guest.status for guest in guests]

    def test_at_all_servers(self) -> None:
        self.client(1, "pod")
        alice = self.client(1, "alice", ALICE)
        self.assertEqual(self.statuses(self.here, self.there), [502, 502])
        self.lose(alice)
        self.assertEqual(self.statuses(self.here, self.there), [503, 503])
        self.assertEqual(self.statuses(self.here, self.there, user="bob"), [502, 502])
        third = self.site.start(3)
        self.site.servers.append(third)
        self.site.turn()
        self.assertEqual(self.statuses(third), [503], "one that has come later knows it as well")

    def test_it_comes_back_elsewhere(self) -> None:
        self.client(1, "pod")
        alice = self.client(1, "alice", ALICE)
        self.move(alice, 2)
        self.assertEqual(self.statuses(self.here, self.there), [502, 502])

    def test_it_does_not_come_back(self) -> None:
        self.client(1, "pod")
        self.lose(self.client(1, "alice", ALICE))
        self.site.pass_time(130)
        self.assertEqual(self.statuses(self.here, self.there), [502, 502])

    def test_its_server_stops(self) -> None:
        """Another one keeps the lease, and all know it."""
        self.client(2, "pod")
        self.lose(self.client(1, "alice", ALICE))
        self.here.stop()
        self.assertEqual(self.statuses(self.there), [503])


class ReturnTests(SharedLeaseCase):
    """A client that comes back to another server."""

    def test_the_lease_goes_on(self) -> None:
        alice = self.client(1, "alice", ALICE, lease=100.0)
        before = self.lease(self.here, "alice")
        self.site.pass_time(20)
        self.move(alice, 2)
        after = self.lease(self.there, "alice")
        self.assertEqual(after.id, before.id)
        leases = self.there.service._leases.leases
        self.assertApproximates(leases.left(after), 77.0, 1.5)
        self.assertApproximates(leases.now - after.since, 23.0, 1.5)
        self.assertEqual(self.leases(self.here), [])
        self.heard(f"lease {before.id} of alice", "goes on at another server")
        self.heard(f"lease {before.id} of alice", "resumed")
        (record,) = self.here.registry.records(TUNNEL)
        self.assertEqual((record.held, record.lease and record.lease.id), (False, before.id))
        self.site.pass_time(90)
        self.assertFalse(alice.joined)
        self.assertEqual((self.leases(self.there), self.records(self.here)), ([], {}))

    def test_the_old_link_is_not_lost_yet(self) -> None:
        """It is with the new one; nothing is held when it is."""
        alice = self.client(1, "alice", ALICE)
        way, old = self.ways[alice], self.ways[alice].pipe
        way.number = 2
        before = self.lease(self.here, "alice")
        # only the client notices
        old.silent = True
        old.client.protocol.connectionLost()
        self.site.pass_time(3)
        self.assertTrue(alice.joined)
        self.assertEqual(self.lease(self.there, "alice").id, before.id)
        self.assertEqual(self.lease(self.here, "alice").id, before.id)
        old.break_link()
        self.site.turn()
        self.assertEqual(self.leases(self.here), [])
        self.assertEqual(len(self.leases(self.there)), 1)

    def test_use_at_another_server_counts(self) -> None:
        """Of a client that is attached to both: its lease is one, and is idle at none while it is used at the other."""
        self.client(1, "pod", instance=7)
        self.site.pass_time(10)
        self.client(2, "pod", instance=7)
        here, there = self.lease(self.here, "pod"), self.lease(self.there, "pod")
        self.assertEqual(here.id, there.id)
        self.use(self.there, "pod")
        self.site.pass_time(USE_INTERVAL + 2)
        self.assertIsNotNone(here.used)
        self.assertGreater(here.active, 9.0)

    def test_one_that_joined_both_at_once(self) -> None:
        """Neither server knew of the other one's lease: they are two, but of one client."""
        self.patch(self.there.replicas.leases, "former", lambda connector: None)
        for number in (1, 2):
            self.client(number, "pod", instance=7)
        self.assertNotEqual(self.lease(self.here, "pod").id, self.lease(self.there, "pod").id)
        book = LeaseBook(self.here.service._leases, self.here.service.registry, self.here.replicas.leases)
        (lease,) = book.of_tunnel(TUNNEL)
        self.assertEqual(len(book.twins(lease)), 2)

    def test_one_at_both_is_listed_once_and_ended_at_both(self) -> None:
        clients = [self.client(number, "pod", instance=7) for number in (1, 2)]
        service = self.here.service
        book = LeaseBook(service._leases, service.registry, self.here.replicas.leases)
        self.assertEqual(len(book.of_tunnel(TUNNEL)), 1)
        self.assertEqual(len(list(book)), 2)
        for lease in book:
            self.successResultOf(self.soon(book.end(lease, LeaseEnd.RELEASED, "pod")))
        self.assertEqual([client.joined for client in clients], [False, False])

    def soon(self, deferred: Deferred[None]) -> Deferred[None]:
        self.site.turn()
        return deferred

    def test_use_is_told(self) -> None:
        self.client(1, "pod")
        self.use(self.here, "pod")
        self.site.pass_time(USE_INTERVAL + 2)
        record = self.records(self.there)["pod"]
        assert record.lease is not None
        self.assertGreater(record.lease.used, EPOCH)


class MissedTests(SharedLeaseCase):
    def test_told_at_another_server(self) -> None:
        """Of what has ended while its link was lost; it does not come back by itself."""
        alice = self.client(1, "alice", ALICE, instance=7)
        self.lose(alice)
        lease = self.lease(self.here, "alice")
        self.here.service._leases.end(lease, LeaseEnd.REVOKED, "root", "the demo is at 3")
        self.site.turn()
        again = self.client(2, "alice", ALICE, instance=7)
        self.assertFalse(again.joined)
        self.heard('it was revoked by root: "the demo is at 3"')
        self.assertEqual((self.leases(self.there), self.records(self.here)), ([], {}))


class NewsTests(SharedLeaseCase):
    """What clients hear of those at other servers."""

    def news(self, words: str) -> int:
        """How many lines have some words."""
        return sum(words in line for line in self.lines)

    def test_comes_and_goes(self) -> None:
        self.client(1, "pod")
        alice = self.client(2, "alice", ALICE, reason="PROJ-12")
        self.heard("alice has joined as well, for requests with header:x-user=alice", "PROJ-12")
        self.heard("pod is on it as well, for weight 1")
        self.lose(alice)
        # in two steps, since each change is known at once here: it is gone, then it is held
        self.heard("alice has left (left)")
        self.site.pass_time(130)
        self.assertEqual((self.news("alice has joined"), self.news("alice has l")), (1, 1))

    def test_leaves(self) -> None:
        self.client(1, "pod")
        self.leave(self.client(2, "alice", ALICE))
        self.site.turn()
        self.heard("alice has left (left), who was there for requests with header:x-user=alice")
        self.assertEqual(self.news("alice has l"), 1)

    def test_one_that_moves(self) -> None:
        """From one server to another: it was away in between."""
        self.client(1, "pod")
        alice = self.client(1, "alice", ALICE)
        self.move(alice, 2)
        self.assertEqual((self.news("alice has joined"), self.news("alice has lost its link")), (2, 1))

    def test_one_that_is_at_both(self) -> None:
        """It is one, whichever leaves first."""
        self.client(1, "laptop")
        both = [self.client(number, "pod", instance=7) for number in (1, 2)]
        self.assertEqual(self.news("pod has joined"), 1)
        self.lose(both[1])
        self.site.pass_time(130)
        self.assertEqual(self.news("pod has l"), 0)

    def test_a_crowd(self) -> None:
        self.patch(shared_leases, "MAX_TOLD", 1)
        for number in range(2):
            self.client(2, f"pod{number}")
        self.client(1, "laptop")
        self.assertEqual(self.news("is on it as well"), 1)


class StopTests(SharedLeaseCase):
    """A server stops; its clients cannot all be elsewhere already."""

    def test_a_lease_that_is_held(self) -> None:
        alice = self.client(1, "alice", ALICE, lease=100.0)
        before = self.lease(self.here, "alice")
        self.site.pass_time(20)
        self.lose(alice)
        self.here.stop()
        self.site.pass_time(12)
        kept = self.lease(self.there, "alice")
        self.assertEqual((kept.id, kept.connector, kept.what), (before.id, None, "header:x-user=alice"))
        self.heard(f"lease {before.id} of alice", "held for another", "for a server that stops")
        self.assertFalse(self.client(2, "bob", ALICE).joined)
        self.ways[alice].number, self.ways[alice].blocked = 2, False
        alice.stop()
        # the same process, with another link
        again = self.client(2, "alice", ALICE, instance=alice.instance)
        self.assertTrue(again.joined)
        self.assertIs(self.lease(self.there, "alice"), kept)
        self.assertApproximates(self.there.service._leases.leases.left(kept), 68.0, 2)

    def test_one_that_does_not_come_back(self) -> None:
        self.lose(self.client(1, "alice", ALICE))
        self.here.stop()
        self.site.pass_time(130)
        self.assertEqual(self.leases(self.there), [])
        self.assertTrue(self.client(2, "bob", ALICE).joined)

    def test_a_client_that_is_elsewhere(self) -> None:
        alice = self.client(1, "alice", ALICE)
        before = self.lease(self.here, "alice")
        self.client(2, "alice", ALICE, instance=alice.instance)
        self.here.stop()
        self.site.pass_time(12)
        (lease,) = self.leases(self.there)
        self.assertEqual(lease.id, before.id)
        self.assertIsNotNone(lease.connector)

    def test_nobody_is_there(self) -> None:
        self.there.stop()
        self.site.pass_time(12)
        self.lose(self.client(1, "alice", ALICE))
        self.here.stop()
        self.site.pass_time(12)

    def test_too_many_are_held(self) -> None:
        self.patch(self.there.replicas.leases, "_terms", lambda tunnel: LeaseSettings(held=1))
        for name in ("alice", "bob"):
            self.lose(self.client(1, name, f"header:X-User={name}"))
        self.here.stop()
        self.site.pass_time(12)
        self.assertEqual([lease.name for lease in self.leases(self.there)], ["bob"])
        self.assertEqual(self.there.service.stats.limits[Limit.HELD_LEASES], 1)


class QuestionTests(SharedLeaseCase):
    """What callers ask at one server about the leases of both."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.client(1, "pod")
        self.alice = self.client(2, "alice", ALICE, reason="PROJ-12", lease=100.0)

    def caller(self, user: str) -> Caller:
        settings = ListenerSettings(listen=Address("", 8421), rules=RULES)
        control = AccessControl(settings, Rights(None, None), self.site.reactor)
        self.addCleanup(control.stop)
        return Caller(ANONYMOUS, control, IngressTable(RULES), TUNNEL)

    def commands(self, caller: Caller) -> ControlCommands:
        service = self.here.service
        return ControlCommands(caller, LeaseBook(service._leases, service.registry, self.here.replicas.leases))

    def ask(self, message: Message, caller: Caller | None = None) -> list[Message]:
        """What a caller at the first server is answered."""
        answers: list[Message] = []
        self.commands(caller or self.caller("")).handle(message, answers.append)
        self.site.turn()
        return answers

    def admin(self) -> Caller:
        """Somebody who may end the leases of others."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("admin root *\n")
        settings = ListenerSettings(listen=Address("", 8421), rules=RULES, credentials=Credentials("root", "x"), permissions=path)
        control = AccessControl(settings, Rights.read(settings), self.site.reactor)
        self.addCleanup(control.stop)
        return Caller(Grant("root", None), control, IngressTable(RULES), OTHER)

    def test_list(self) -> None:
        self.site.pass_time(10)
        pod, alice, done = self.ask(QueryLeases())
        assert isinstance(pod, Listed) and isinstance(alice, Listed)
        self.assertEqual(done, Done(count=2))
        self.assertEqual((pod.name, pod.state), ("pod", "joined"))
        self.assertEqual(
            (alice.name, alice.holder, alice.reason, alice.what, alice.left, alice.age, alice.used, alice.state, alice.lease),
            ("alice", "alice", "PROJ-12", "header:x-user=alice", 90.0, 10.0, -1.0, "joined", self.lease(self.there, "alice").id),
        )

    def test_those_without_a_lease(self) -> None:
        self.there.attach(3)
        listed = [answer for answer in self.ask(QueryLeases()) if isinstance(answer, Listed)]
        self.assertEqual(
            [(one.name, one.what) for one in listed], [("pod", "weight 1"), ("alice", "header:x-user=alice"), ("", "weight 3")]
        )

    def test_while_the_registry_is_gone(self) -> None:
        self.here.registry.cut(False)
        *_, done = self.ask(QueryLeases())
        assert isinstance(done, Done)
        self.assertIn("cannot be reached", done.text)
        (refused,) = self.ask(ReleaseLease(caller="alice"))
        assert isinstance(refused, Refused)
        self.assertIn("cannot reach each other", refused.text)

    def test_release(self) -> None:
        self.assertEqual(self.ask(ReleaseLease(caller="alice")), [Done("released alice", 1)])
        self.assertEqual(self.leases(self.there), [])
        self.assertFalse(self.alice.joined)

    def test_renew(self) -> None:
        self.site.pass_time(50)
        (done,) = self.ask(RenewLease(caller="alice", lease=70.0))
        self.assertEqual(done, Done("renewed alice, ends in 70 s", 1))
        record = self.records(self.here)["alice"]
        assert record.lease is not None
        self.assertEqual(record.lease.until, EPOCH + self.site.reactor.seconds() + 70)

    def test_revoke(self) -> None:
        (done,) = self.ask(RevokeLease(name="alice", because="over"), self.admin())
        self.assertEqual(done, Done("revoked alice", 1))
        self.heard("ended: revoked by root", "over")
        self.assertFalse(self.alice.joined)

    def test_take(self) -> None:
        """She does not use it."""
        answers: list[Message] = []
        self.commands(self.caller("")).handle(TakeLease(host="pod.local", caller="bob", because="demo"), answers.append)
        self.site.turn()
        self.heard("bob", "demo")
        self.assertEqual(answers, [])
        self.site.pass_time(ASK_TIME + 1)
        self.assertEqual(answers, [Done("alice has given way (taken)", 1)])

    def test_take_what_is_used(self) -> None:
        answers: list[Message] = []
        self.commands(self.caller("")).handle(TakeLease(host="pod.local", caller="bob"), answers.append)
        self.use(self.there, "alice")
        self.site.pass_time(2)
        self.assertEqual(answers, [Refused("alice is using it: a request has come since")])

    def test_a_taker_who_leaves(self) -> None:
        """The holder need not use it any more."""
        answers: list[Message] = []
        commands = self.commands(self.caller(""))
        commands.handle(TakeLease(host="pod.local", caller="bob"), answers.append)
        self.site.turn()
        lease = self.lease(self.there, "alice")
        self.assertEqual(lease.wished_by, "bob")
        (refused,) = self.ask(TakeLease(host="pod.local", caller="carol"))
        assert isinstance(refused, Refused)
        self.assertIn("somebody else has asked alice already", refused.text)
        commands.forget()
        self.site.turn()
        self.assertEqual((lease.wished_by, answers), ("", []))
        self.site.pass_time(ASK_TIME + 1)
        self.assertEqual(self.leases(self.there), [lease])

    def test_take_over(self) -> None:
        self.lose(self.alice)
        (refused,) = self.ask(TakeLease(host="pod.local", caller="bob"))
        assert isinstance(refused, Refused)
        self.assertIn("take it with --take-over", refused.text)
        (done,) = self.ask(TakeLease(host="pod.local", caller="bob", over=True))
        self.assertEqual(done, Done("took over from alice, whose link is lost", 1))
        self.assertEqual((self.leases(self.there), list(self.records(self.here))), ([], []))

    def test_a_server_that_does_not_answer(self) -> None:
        self.patch(self.there.replicas, "told", lambda sender, message: None)
        answers: list[Message] = []
        self.commands(self.caller("")).handle(ReleaseLease(caller="alice"), answers.append)
        self.site.pass_time(CALL_TIMEOUT + 1)
        (refused,) = answers
        assert isinstance(refused, Refused)
        self.assertIn("does not answer", refused.text)

    def test_one_that_has_ended_meanwhile(self) -> None:
        ended = self.here.replicas.leases.calls.end(self.there.replicas.id, "none", LeaseEnd.REVOKED, "root", "")
        self.site.turn()
        self.assertIn("it has ended meanwhile", str(self.failureResultOf(ended).value))

    def test_nonsense(self) -> None:
        for data in (
            b"",
            b"[]",
            b"{}",
            b'{"q":1}',
            b'{"q":1,"do":"dance","lease":""}',
            b'{"a":7,"ok":1}',
            b'{"keep":{}}',
            b'{"ended":{"tunnel":"x"}}',
            b'{"ended":1}',
            b'{"q":1,"do":[]}',
            json.dumps({"q": []}).encode(),
        ):
            self.here.replicas.told(self.there.replicas.id, data)
        self.assertEqual(len(self.leases(self.here)), 1)
