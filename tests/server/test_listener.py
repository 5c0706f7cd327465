"""The tunnel listener: who is admitted, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.auth.authenticator import THROTTLED_DELAY
from rtunnel.auth.throttle import MAX_GUESSES, OWN_GUESSES
from rtunnel.ids import short_id
from rtunnel.outcomes import Limit, LinkEnd, RefusalReason, VisitOutcome
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.server.admission import MAX_REQUEST
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.health import HealthMonitor
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listener import TunnelListener
from rtunnel.settings import Address, Credentials, HttpSettings, LimitSettings, ListenerSettings
from rtunnel.wire.relay import (
    Command,
    Network,
    RelayAddress,
    Request,
    Status,
    TunnelFeature,
    endpoint_host,
    take_response,
)
from rtunnel.wire.relay_intercepts import InterceptAnswer, InterceptRequest
from rtunnel.wire.smux import Session
from tests.server.harness import Visitor, World
from tests.support.ids import TUNNEL
from tests.support.logs import logged
from tests.support.transports import PingingTransport
from tests.support.vectors import CLIENT, SERVER, conversations

OTHER = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")


class OriginTests(SynchronousTestCase):
    """Where a client comes from, behind an Ingress."""

    def origin(self, fields: dict[bytes, bytes], *, trusted: str = "192.168.1.0/24") -> str:
        """How a client is named whose upgrade had these fields, and came from 192.168.1.1."""
        world = World(self)
        settings = ListenerSettings(
            listen=Address("", 8421), transport="tcp", http=HttpSettings(trusted_proxies=(ip_network(trusted),))
        )
        table = IngressTable(())
        relay = RelayEntrypoint(settings=settings, table=table, registry=world.registry, stats=world.stats, health=world.health)
        listener = TunnelListener(
            settings=settings,
            known=lambda tunnel: True,
            table=table,
            access_control=AccessControl(settings, Rights.read(settings), world.clock),
            registry=world.registry,
            relay=relay,
            stats=world.stats,
            health=world.health,
            leases=world.leases,
            limits=ServerLimits(LimitSettings(), world.stats),
            reactor=world.clock,
        )
        transport = PingingTransport()
        transport.fields = fields
        admission = listener.buildProtocol(None)
        admission.makeConnection(transport)
        self.addCleanup(admission.finish)
        return admission._peer.host

    def test_named_by_a_proxy(self) -> None:
        self.assertEqual(self.origin({b"x-forwarded-for": b"203.0.113.9, 198.51.100.7"}), "198.51.100.7")
        self.assertEqual(self.origin({b"forwarded": b"for=198.51.100.7"}), "198.51.100.7")

    def test_spellings(self) -> None:
        """An address is the same one however a proxy spells it, a trusted one too."""
        fields = {b"x-forwarded-for": b"2001:0DB8::0:7, ::FFFF:192.168.1.9, 0:0:0:0:0:ffff:c0a8:010a"}
        self.assertEqual(self.origin(fields), "2001:db8::7")

    def test_named_by_itself(self) -> None:
        """Anybody may send such a field: only a trusted proxy is believed."""
        mine = self.origin({})
        self.assertEqual(self.origin({b"x-forwarded-for": b"198.51.100.7"}, trusted="10.0.0.0/8"), mine)
        self.assertEqual(self.origin({b"x-forwarded-for": b"nonsense"}), mine)


class Case(SynchronousTestCase):
    """A listener and one connection to it."""

    credentials: Credentials | None = None
    permissions: str | None = None

    def in_thread(self, function: Callable[[], bool]) -> Deferred[bool]:
        """Verify a password at once."""
        return succeed(function())

    def setUp(self) -> None:
        self.world = World(self)
        # nothing but what a connection and its admission need is due on the clock
        self.world.deadlines.stop()
        self.clock, self.stats, self.registry = self.world.clock, self.world.stats, self.world.registry
        settings = ListenerSettings(
            listen=Address("", 8421),
            transport="tcp",
            entrypoints=(Address("", 80),),
            rules=(IngressRule("pod.local", TUNNEL), IngressRule("*.dev.local", TUNNEL), IngressRule("other.local", OTHER)),
            credentials=self.credentials,
            permissions=self.permissions,
        )
        self.limits = ServerLimits(LimitSettings(), self.stats)
        self.relay = RelayEntrypoint(
            settings=settings,
            table=IngressTable(settings.rules),
            registry=self.registry,
            stats=self.stats,
            health=HealthMonitor(self.registry),
        )
        self.listener = TunnelListener(
            settings=settings,
            known={TUNNEL, OTHER}.__contains__,
            table=IngressTable(settings.rules),
            access_control=AccessControl(settings, Rights.read(settings), self.clock, in_thread=self.in_thread),
            registry=self.registry,
            relay=self.relay,
            stats=self.stats,
            health=HealthMonitor(self.registry),
            leases=self.world.leases,
            limits=self.limits,
            reactor=self.clock,
        )
        self.arrive()

    def arrive(self) -> None:
        """Another connection."""
        self.client = Visitor(self.listener, self.world)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.world.turn()

    @staticmethod
    def request(command: Command = Command.BIND, tunnel: UUID = TUNNEL, weight: int = 7, host: str = "0.0.0.0") -> bytes:
        return Request(
            command=command,
            network=Network.TCP,
            credentials=None,
            addresses=(RelayAddress("192.0.2.1", 4711), RelayAddress(host, 0)),
            tunnel=TunnelFeature(tunnel, weight=weight),
            metadata={},
        ).encode()

    def answer(self) -> Any:
        taken = take_response(self.client.received)
        assert taken is not None
        return taken[0]

    def refused(self, status: Status, reason: RefusalReason) -> None:
        self.assertIs(self.answer().status, status)
        self.assertTrue(self.client.closed)
        self.assertIsNone(self.registry.choose(TUNNEL))
        self.listener.access_control.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual({kind: count for kind, count in self.stats.refusals.items() if count}, {reason: 1})


class ListenerTests(Case):
    """A listener that everybody may connect to."""

    def test_bind(self) -> None:
        """Byte by byte; the answer names the endpoint and a fresh connector with the weight asked for."""
        for byte in self.request():
            self.client.send(bytes([byte]))
        answer = self.answer()
        self.assertIs(answer.status, Status.OK)
        self.assertEqual(answer.addresses[0].host, endpoint_host(TUNNEL))
        connector = self.registry.choose(TUNNEL)
        assert connector is not None
        self.assertEqual((answer.tunnel.id, answer.tunnel.weight), (connector.id, 7))
        self.assertEqual((connector.weight, self.stats.links_open), (7, 1))

    def test_nothing_waits_to_be_sent_with_more(self) -> None:
        """Over plain TCP, each end would wait for the other's acknowledgement before a small frame leaves (Nagle)."""
        self.assertTrue(self.client.near.getTcpNoDelay())

    def test_weight_zero_counts_as_one(self) -> None:
        self.client.send(self.request(weight=0))
        connector = self.registry.choose(TUNNEL)
        assert connector is not None
        self.assertEqual(connector.weight, 1)

    def test_link_lost(self) -> None:
        """The connector leaves with its link."""
        self.client.send(self.request())
        self.client.leave()
        self.assertIsNone(self.registry.choose(TUNNEL))
        self.assertEqual((self.stats.links_total, self.stats.links_open), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tunnel_without_rule(self) -> None:
        """Nobody attaches to a tunnel that no ingress rule names."""
        self.client.send(self.request(tunnel=uuid4()))
        self.refused(Status.FORBIDDEN, RefusalReason.UNKNOWN_TUNNEL)

    def test_no_tunnel(self) -> None:
        for request in (Request(Command.BIND), Request(Command.BIND, tunnel=TunnelFeature(UUID(int=0)))):
            self.setUp()
            self.client.send(request.encode())
            self.refused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST)

    def test_other_command(self) -> None:
        self.client.send(self.request(Command.ASSOCIATE))
        self.refused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST)

    def test_connect(self) -> None:
        """Visitors are let in by the relay entrypoint; no rule names the host of this one."""
        self.client.send(self.request(Command.CONNECT))
        self.assertIs(self.answer().status, Status.HOST_UNREACHABLE)
        self.assertTrue(self.client.closed)
        self.assertEqual(self.stats.visits[VisitOutcome.WRONG_TUNNEL], 1)

    def test_malformed(self) -> None:
        self.client.send(b"GET / HTTP/1.1\r\n\r\n")
        self.refused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST)

    def test_long_request(self) -> None:
        """Nothing that is not admitted yet is given much memory."""
        self.client.send(self.request()[:2] + b"\xff\xff" + b"\x01" * (MAX_REQUEST - 4))
        self.assertFalse(self.client.closed)
        self.client.send(b"\x01")
        self.refused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST)

    def test_nothing_after_a_refusal(self) -> None:
        self.client.send(self.request(tunnel=uuid4()) + self.request())
        self.client.send(self.request())
        self.refused(Status.FORBIDDEN, RefusalReason.UNKNOWN_TUNNEL)

    def test_silent_client(self) -> None:
        self.advance(15)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.stats.refusals[RefusalReason.TIMEOUT], 1)

    def test_links_of_a_tunnel(self) -> None:
        """As many as it may have, and when one is gone there is room; other tunnels are not concerned."""
        self.limits.links_per_tunnel = 1
        first = self.client
        first.send(self.request())
        self.arrive()
        with logged() as lines:
            self.client.send(self.request())
        self.assertIs(self.answer().status, Status.SERVICE_UNAVAILABLE)
        self.assertTrue(self.client.closed)
        self.assertIn("the tunnel 10bc451e has too many links (--max-links-per-tunnel)", lines[0])
        self.assertEqual((self.stats.refusals[RefusalReason.TOO_MANY], self.stats.limits[Limit.LINKS_PER_TUNNEL]), (1, 1))
        self.arrive()
        self.client.send(self.request(tunnel=OTHER))
        self.assertIs(self.answer().status, Status.OK)
        first.leave()
        self.arrive()
        self.client.send(self.request())
        self.assertIs(self.answer().status, Status.OK)

    def test_gives_way(self) -> None:
        """A handshake may be closed for others until its request is there, at an entrypoint as well."""
        gate = self.limits.clients.gate(self.listener.settings)
        client = Visitor(self.listener, self.world, gate=gate)
        (place,) = self.limits.clients.budget.places
        request = self.request()
        client.send(request[:10])
        admission = client.near.protocol
        self.assertEqual((place.rank, admission.idle_since), ((0, -1), 0.0))
        client.send(request[10:])
        self.assertEqual((place.rank, admission.idle_since), (None, None))

    def test_streams_of_a_tunnel(self) -> None:
        """Its links count their streams together, those of other tunnels by themselves; nothing is left with the last link."""
        pools = []
        clients = []
        for tunnel in (TUNNEL, TUNNEL, OTHER):
            self.arrive()
            self.client.send(self.request(tunnel=tunnel))
            clients.append(self.client)
            pools.append(next(pool for one in self.world.registry if (pool := one.pool) not in pools))
            for _ in range(2):
                pools[-1].open("pod.local")
        self.assertEqual([self.limits.streams_of(tunnel).open for tunnel in (TUNNEL, OTHER)], [4, 2])
        self.assertEqual([pool._streams.of_tunnel for pool in pools], [32768] * 3)
        clients[0].leave()
        self.assertEqual(self.limits.streams_of(TUNNEL).open, 2)

    def test_links_of_an_address(self) -> None:
        """Links and visits together; the place is given back with the connection."""
        self.limits.clients.links.most = 1
        gate = self.limits.clients.gate(self.listener.settings)
        self.client = first = Visitor(self.listener, self.world, gate=gate)
        self.client.send(self.request())
        self.assertIs(self.answer().status, Status.OK)
        for command in (Command.BIND, Command.CONNECT):
            self.client = Visitor(self.listener, self.world, gate=gate)
            with logged() as lines:
                self.client.send(self.request(command))
            self.assertIs(self.answer().status, Status.SERVICE_UNAVAILABLE)
            self.assertTrue(any("its address has too many links and visits (--max-links-per-address)" in line for line in lines))
        self.assertEqual((self.stats.refusals[RefusalReason.TOO_MANY], self.stats.limits[Limit.LINKS_PER_ADDRESS]), (2, 2))
        self.assertEqual((self.limits.clients.connections.used, self.limits.clients.handshakes.used), (1, 0))
        first.leave()
        self.client = Visitor(self.listener, self.world, gate=gate)
        self.client.send(self.request())
        self.assertIs(self.answer().status, Status.OK)

    def test_handshakes_behind_a_proxy(self) -> None:
        """Where a trusted proxy names the client they count for that one, not for the proxy."""
        self.listener.settings = attrs.evolve(
            self.listener.settings, http=HttpSettings(trusted_proxies=(ip_network("192.168.1.0/24"),))
        )
        self.limits.clients.beginners.most = 1
        gate = self.limits.clients.gate(self.listener.settings)

        def arrive(client: bytes) -> PingingTransport:
            transport = PingingTransport()
            transport.fields = {b"x-forwarded-for": client}
            transport.taken = gate.enter("192.168.1.1")
            admission = self.listener.buildProtocol(None)
            admission.makeConnection(transport)
            self.addCleanup(admission.finish)
            return transport

        first, other, second = arrive(b"198.51.100.7"), arrive(b"198.51.100.8"), arrive(b"198.51.100.7")
        self.assertEqual((first.value(), other.value()), (b"", b""))
        taken = take_response(second.value())
        assert taken is not None
        self.assertIs(taken[0].status, Status.SERVICE_UNAVAILABLE)
        self.assertEqual((self.stats.refusals[RefusalReason.TOO_MANY], self.stats.limits[Limit.HANDSHAKES_PER_ADDRESS]), (1, 1))
        first.taken.leave()
        self.assertEqual(arrive(b"198.51.100.7").value(), b"")

    def test_broken_session(self) -> None:
        """What is not smux ends the link, and nothing else."""
        self.client.send(self.request())
        self.client.send(b"\x09" * 8)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.stats.links_open, 0)

    def test_client_that_leaves(self) -> None:
        """Its idle streams are closed, so that it sees when the last request is done."""
        self.client.send(self.request())
        (connector,) = self.registry
        upstream = connector.pool.open("pod.local")
        upstream.answers.reusable = True
        upstream.release()
        self.assertEqual(connector.pool.idle, 1)
        session = Session(opens=False)
        session.leave()
        self.client.send(session.take_output())
        self.assertEqual((connector.pool.idle, list(self.registry)), (0, []))
        self.assertTrue(upstream.stream.ended)

    def test_client_that_is_back(self) -> None:
        """Its former link is dropped, which nobody told us was lost; those of other clients are not."""

        def join(instance: int) -> Any:
            self.arrive()
            self.client.send(self.request())
            session = Session(opens=False)
            session.announce(instance)
            self.client.send(session.take_output())
            return self.client

        other, ghost = join(1), join(2)
        with logged() as lines:
            back = join(2)
        self.assertEqual((other.closed, ghost.aborted, back.closed), (False, True, False))
        self.assertEqual((self.stats.links_open, len(list(self.registry))), (2, 2))
        self.assertEqual(self.stats.losses[LinkEnd.LOST], 1)
        self.assertTrue(any("its client is back on another connection" in line for line in lines), lines)
        # a name counts once: it cannot be changed to drop others one after another
        session = Session(opens=False)
        session.announce(1)
        back.send(session.take_output())
        self.assertFalse(other.closed)

    def test_close(self) -> None:
        """When the server stops, links are closed in good order, and who has not become one is closed too."""
        self.client.send(self.request())
        other = Visitor(self.listener, self.world)
        self.listener.close()
        self.world.turn()
        self.assertTrue(self.client.closed)
        self.assertTrue(other.closed)

    def test_host_that_was_asked_for(self) -> None:
        """Granted where a rule of this tunnel leads the host there, as it was written."""
        for host, granted in (
            ("pod.local", True),
            ("A.dev.local", True),
            ("other.local", False),
            ("nobody.local", False),
            ("192.0.2.1", False),
            ("::", False),
            ("", False),
        ):
            self.arrive()
            with logged() as lines:
                self.client.send(self.request(host=host))
            self.assertEqual(self.answer().addresses[0].host, host if granted else endpoint_host(TUNNEL))
            told = any(
                f"asked for the host {host}, to which no ingress rule of tunnel {short_id(TUNNEL)} leads" in line for line in lines
            )
            self.assertEqual(told, not granted and host not in ("", "::"), host)
            self.client.leave()

    def test_datagrams(self) -> None:
        """A gost client of UDP is answered as a gost answers it, and gets streams of datagrams only."""
        (conversation, *_) = conversations("private-udp-visitor")
        request, answer = (next(read.data for read in conversation.reads if read.sender == end) for end in (CLIENT, SERVER))
        self.client.send(request)
        (connector,) = self.listener.connectors
        self.assertTrue(connector.datagrams)
        recorded = take_response(answer)
        assert recorded is not None and recorded[0].tunnel is not None
        self.assertEqual(self.answer().tunnel, attrs.evolve(recorded[0].tunnel, id=connector.id))
        self.assertIsNone(self.registry.choose(connector.tunnel))
        self.assertIs(self.registry.choose(connector.tunnel, datagrams=True), connector)
        self.client.leave()


class InterceptTests(Case):
    """Clients that want some requests only."""

    def join(self, *filters: str, name: str = "alice", network: Network = Network.TCP) -> Any:
        self.arrive()
        request = Request(
            Command.INTERCEPT,
            network,
            tunnel=TunnelFeature(TUNNEL),
            metadata=InterceptRequest(name, filters).metadata(),
        )
        self.client.send(request.encode())
        return InterceptAnswer.of(self.answer().metadata)

    def test_granted(self) -> None:
        granted = self.join("header:X-User=alice", "path^=/a")
        self.assertEqual(granted, InterceptAnswer(hosts=("pod.local", "*.dev.local")))
        (connector,) = self.registry
        self.assertEqual((list(map(str, connector.filters)), connector.holder), (["header:x-user=alice", "path^=/a"], "alice"))
        self.assertIsNone(self.registry.choose(TUNNEL))
        self.client.leave()
        self.assertEqual(list(self.registry), [])

    def test_private(self) -> None:
        """No request can come: the client is told so."""
        self.listener.table = IngressTable((IngressRule("pod.local", TUNNEL, private=True),))
        granted = self.join("header:X-User=alice")
        self.assertIn("all rules of the tunnel are private: visits have no fields to intercept by", granted.warning)
        self.listener.table = IngressTable((IngressRule("a", TUNNEL, private=True), IngressRule("b", TUNNEL)))
        self.assertEqual(self.join("header:X-User=alice").warning, "")

    def test_taken(self) -> None:
        self.join("header:X-User=alice")
        refused = self.join("header:X-User=alice; path^=/a", name="bob\n")
        self.assertIs(self.answer().status, Status.FORBIDDEN)
        self.assertEqual(refused, InterceptAnswer(why="header:x-user=alice; path^=/a", holder="alice", taken="header:x-user=alice"))
        self.assertEqual(self.stats.refusals[RefusalReason.INTERCEPT_TAKEN], 1)
        self.assertEqual(len(list(self.registry)), 1)

    def test_caching(self) -> None:
        wanted = InterceptRequest("alice", ("path=/",), cacheable=True)
        request = Request(Command.INTERCEPT, tunnel=TunnelFeature(TUNNEL), metadata=wanted.metadata())
        self.client.send(request.encode())
        self.assertEqual([connector.cacheable for connector in self.registry], [True])
        self.join("path=/b")
        self.assertEqual([connector.cacheable for connector in self.registry], [True, False])

    def test_own(self) -> None:
        self.join("header:X-User=alice")
        self.join("header:X-User=alice")
        self.assertEqual(len(list(self.registry)), 2)

    def test_overlap(self) -> None:
        """Granted, with a word about who gets what both want."""
        self.join("path^=/a")
        self.join("path^=/a/b; method=GET", "header:X-User=bob", name="bob")
        self.assertIs(self.answer().status, Status.FORBIDDEN, "a part of hers")
        granted = self.join("header:X-User=bob", name="bob")
        self.assertEqual(granted.warning, 'requests that also match "path^=/a" of alice go to bob')
        granted = self.join("method=GET", "path*=*", name="carol")
        self.assertEqual(granted.warning, 'requests that also match "header:x-user=bob" of bob go to bob (and 3 more)')

    def test_malformed(self) -> None:
        for filters, why in (
            (("nothing",), "nothing"),
            (("header:X~(",), "no regular expression"),
            (("path=/", "header:X=\x1b"), "control characters"),
        ):
            self.assertIn(why, self.join(*filters).why)
            self.assertIs(self.answer().status, Status.BAD_REQUEST)
        self.assertEqual((self.stats.refusals[RefusalReason.BAD_REQUEST], list(self.registry)), (3, []))

    def test_datagrams(self) -> None:
        self.assertIn("datagrams have no fields", self.join("path=/", network=Network.UDP).why)
        self.assertEqual((self.stats.refusals[RefusalReason.BAD_REQUEST], list(self.registry)), (1, []))

    def test_without_metadata(self) -> None:
        self.client.send(self.request(Command.INTERCEPT))
        self.refused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST)

    def test_names_are_of_one_line(self) -> None:
        self.join("path=/", name="a\x1b[2J\nb")
        (connector,) = self.registry
        self.assertTrue(connector.name.isprintable())


class OwnerTests(Case):
    """Which user may bind which tunnel, and when that changes."""

    credentials = Credentials("user", "secret")

    def setUp(self) -> None:
        self.permissions = self.mktemp()
        self.write("bind user pod.local,*.dev.local")
        super().setUp()

    def write(self, text: str) -> None:
        assert self.permissions is not None
        Path(self.permissions).write_text(text)

    def bind(self, tunnel: UUID) -> None:
        feature = TunnelFeature(tunnel)
        self.client.send(Request(command=Command.BIND, credentials=("user", "secret"), tunnel=feature).encode())

    def intercept(self) -> None:
        wanted = InterceptRequest("name", ("header:X-User=me",)).metadata()
        feature = TunnelFeature(TUNNEL)
        request = Request(command=Command.INTERCEPT, credentials=("user", "secret"), tunnel=feature, metadata=wanted)
        self.client.send(request.encode())

    def test_some_requests_only(self) -> None:
        """Who may intercept may not take a share of all requests, and the other way round; who may bind may do both."""
        for action, intercepts, shares in (("intercept", True, False), ("global", False, True), ("bind", True, True)):
            self.write(f"{action} user pod.local,*.dev.local")
            self.listener.access_control.reload()
            for ask, allowed in ((self.intercept, intercepts), (lambda: self.bind(TUNNEL), shares)):
                self.arrive()
                ask()
                self.assertIs(self.answer().status, Status.OK if allowed else Status.FORBIDDEN, action)

    def test_revoked_at_a_reload(self) -> None:
        """A link for some requests ends when its user may not have them any more, and so does its lease, which is not held."""
        self.write("intercept user pod.local,*.dev.local")
        self.listener.access_control.reload()
        self.intercept()
        (connector,) = self.registry
        connector.instance = b"instance"
        lease, _ = self.world.leases.leases.grant(connector, "name", "", 0, self.listener.settings.leases)
        self.write("global user pod.local,*.dev.local")
        self.listener.access_control.reload()
        self.world.turn()
        self.assertEqual(list(self.registry), [])
        self.assertNotIn(lease, self.world.leases.leases)

    def test_allowed(self) -> None:
        self.bind(TUNNEL)
        self.assertIs(self.answer().status, Status.OK)
        self.client.leave()

    def test_not_allowed(self) -> None:
        with logged() as lines:
            self.bind(OTHER)
        self.assertTrue(
            any(f"(user user): the permissions do not allow it to bind the tunnel {short_id(OTHER)}" in line for line in lines),
            lines,
        )
        self.refused(Status.FORBIDDEN, RefusalReason.FORBIDDEN)

    def test_no_longer_allowed(self) -> None:
        """When the permissions change the link is closed."""
        self.bind(TUNNEL)
        self.write("bind user other.local")
        self.listener.access_control.reload()
        self.world.turn()
        self.assertTrue(self.client.closed)
        self.assertEqual(self.stats.losses[LinkEnd.FORBIDDEN], 1)
        self.listener.access_control.reload()

    def test_still_allowed(self) -> None:
        self.bind(TUNNEL)
        self.write("bind * *")
        self.listener.access_control.reload()
        self.world.turn()
        self.assertFalse(self.client.closed)
        self.client.leave()


class UserTests(Case):
    """A listener with one user; the threads that verify passwords are played by the test."""

    credentials = Credentials("user", "secret")

    def setUp(self) -> None:
        super().setUp()
        self.work: list[tuple[Callable[[], bool], Deferred[bool]]] = []

    def in_thread(self, function: Callable[[], bool]) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        self.work.append((function, done))
        return done

    def run_threads(self) -> None:
        for function, done in self.work:
            done.callback(function())
        self.work.clear()
        self.world.turn()

    def said(self, name: str, end: str = CLIENT) -> bytes:
        """What one end said first in a recording of gost."""
        (conversation,) = conversations(name)
        return next(read.data for read in conversation.reads if read.sender == end)

    def test_right_password(self) -> None:
        """A gost client's own words; the answer waits for the verification, and what came meanwhile is for the link."""
        self.client.send(self.said("auth-ok") + b"\x02\x03\x00\x00\x00\x00\x00\x00")
        self.assertEqual(self.client.received, b"")
        with logged() as lines:
            self.run_threads()
        self.assertIs(self.answer().status, Status.OK)
        (connector,) = self.listener.connectors
        self.assertEqual(connector.user, "user")
        self.assertFalse(self.client.aborted)
        self.assertTrue(any("(user user)" in line for line in lines), lines)
        self.client.leave()

    def test_known_again(self) -> None:
        """A client that sends its key in each upgrade is not held up by guesses, at its own name and from its own address."""
        asks = [
            Request(command=Command.BIND, credentials=("user", password), tunnel=TunnelFeature(TUNNEL)).encode()
            for password in ("secret", *(f"wrong {number}" for number in range(MAX_GUESSES + OWN_GUESSES + 1)))
        ]

        def ask(request: bytes, fields: dict[bytes, bytes]) -> Status | None:
            transport = PingingTransport()
            transport.fields = fields
            admission = self.listener.buildProtocol(None)
            admission.makeConnection(transport)
            self.addCleanup(admission.connectionLost)
            admission.dataReceived(request)
            self.run_threads()
            answer = take_response(transport.value())
            return answer[0].status if answer else None

        key = {b"client-key": b"0123456789abcdef" * 2}
        self.assertIs(ask(asks[0], key), Status.OK)
        self.assertEqual({ask(request, {}) for request in asks[1:-1]}, {None})
        refused = self.stats.refusals[RefusalReason.THROTTLED]
        self.assertIsNone(ask(asks[-1], key))
        self.clock.advance(THROTTLED_DELAY)
        self.assertEqual(self.stats.refusals[RefusalReason.THROTTLED], refused + 1)
        self.assertEqual([ask(asks[0], key) for _ in range(60)], [Status.OK] * 60)
        self.listener.access_control.stop()

    def test_wrong_password(self) -> None:
        """Gost's own answer, a moment later; the log names user and address, not the password."""
        self.client.send(self.said("auth-refused"))
        self.run_threads()
        self.assertEqual(self.client.received, b"")
        with logged() as lines:
            self.advance(1)
        self.assertEqual(self.client.received, self.said("auth-refused", SERVER))
        (line,) = lines
        self.assertIn("(user user): wrong user or password", line)
        self.assertNotIn("wrong1", line)
        self.refused(Status.UNAUTHORIZED, RefusalReason.WRONG_PASSWORD)

    def test_no_password(self) -> None:
        self.client.send(self.request())
        self.refused(Status.UNAUTHORIZED, RefusalReason.NO_PASSWORD)

    def test_names_are_logged_on_one_line(self) -> None:
        with logged() as lines:
            self.client.send(Request(command=Command.BIND, credentials=("a\nb", "x"), tunnel=TunnelFeature(TUNNEL)).encode())
            self.run_threads()
            self.advance(1)
        self.assertEqual([line for line in lines if "\n" in line], [])
        self.assertTrue(any("(user a\\nb)" in line for line in lines), lines)
        self.refused(Status.UNAUTHORIZED, RefusalReason.WRONG_PASSWORD)

    def test_no_time_limit_while_it_is_verified(self) -> None:
        self.client.send(self.said("auth-ok"))
        self.advance(60)
        self.run_threads()
        self.assertIs(self.answer().status, Status.OK)
        self.client.leave()

    def test_left_meanwhile(self) -> None:
        """Who leaves before its answer is forgotten, and if it was wrong, counted."""
        self.client.send(self.said("auth-ok"))
        self.client.leave()
        self.run_threads()
        self.assertEqual((self.client.received, self.stats.links_total), (b"", 0))
        self.arrive()
        self.client.send(self.said("auth-refused"))
        self.client.leave()
        self.run_threads()
        self.advance(1)
        self.assertEqual(self.client.received, b"")
        self.assertEqual(self.stats.refusals[RefusalReason.WRONG_PASSWORD], 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flood_before_the_answer(self) -> None:
        """What comes before the answer is kept, but not without end; the verdict changes nothing then."""
        self.client.send(self.said("auth-ok"))
        for _ in range(3):
            self.client.send(bytes(40000))
        self.run_threads()
        self.refused(Status.BAD_REQUEST, RefusalReason.BAD_REQUEST)

    def test_stop_meanwhile(self) -> None:
        self.client.send(self.said("auth-ok"))
        self.listener.close()
        self.world.turn()
        self.assertTrue(self.client.closed)
        self.run_threads()
        self.assertEqual(self.client.received, b"")
