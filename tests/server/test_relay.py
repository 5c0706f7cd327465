"""Visitors that say CONNECT: who is let in, what they are joined with, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.ops.access import AccessLog
from rtunnel.outcomes import RefusalReason, VisitOutcome
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.server.entrypoint.entrypoint import Peer
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.proxied import ProxiedEntrypoint
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.entrypoint.visit import Visit
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listener import TunnelListener
from rtunnel.server.tunnel_stats import connector_stats
from rtunnel.settings import Address, Credentials, LimitSettings, ListenerSettings
from rtunnel.wire.proxyproto import ProxyAddress, ProxyHeader
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Response, Status, TunnelFeature, take_response
from tests.server.harness import PRIVATE, FarConnector, Visitor, World
from tests.support.access import writes
from tests.support.compiled import interpreted
from tests.support.ids import TUNNEL
from tests.support.logs import logged
from tests.support.transports import PingingTransport

FRONT = UUID("59dc451e-59dc-4c70-999e-91a30813ac78")
OK = Response(status=Status.OK).encode()
VISITOR = IPv4Address("TCP", "198.51.100.9", 4712)


def connect(
    host: str = "pod.local",
    tunnel: UUID = TUNNEL,
    command: Command = Command.CONNECT,
    credentials: tuple[str, str] | None = None,
) -> bytes:
    addresses = (RelayAddress("192.0.2.9", 4711), RelayAddress(host, 0))
    return Request(command, credentials=credentials, addresses=addresses, tunnel=TunnelFeature(tunnel)).encode()


class RelayTestCase(SynchronousTestCase):
    """A listener whose entrypoint takes all that visitors may speak, and a visitor there."""

    direct = False
    credentials: Credentials | None = None
    permissions: str | None = None

    def in_thread(self, function: Callable[[], bool]) -> Deferred[bool]:
        """Verify a password at once."""
        return succeed(function())

    def setUp(self) -> None:
        self.world = World(self)
        self.stats = self.world.stats
        settings = ListenerSettings(
            listen=Address("", 8421),
            rules=self.world.entrypoint.selector.table.rules,
            entrypoint_id=FRONT,
            direct=self.direct,
            credentials=self.credentials,
            permissions=self.permissions,
        )
        self.relay = RelayEntrypoint(
            settings=settings,
            table=IngressTable(settings.rules),
            registry=self.world.registry,
            stats=self.stats,
            health=self.world.health,
        )
        self.listener = TunnelListener(
            settings=settings,
            known=lambda tunnel: True,
            table=self.relay.selector.table,
            access_control=AccessControl(settings, Rights.read(settings), self.world.clock, in_thread=self.in_thread),
            registry=self.world.registry,
            relay=self.relay,
            stats=self.stats,
            health=self.world.health,
            leases=self.world.leases,
            limits=ServerLimits(LimitSettings(), self.stats),
            reactor=self.world.clock,
        )
        self.world.deadlines.each_sweep(self.relay.sweep)
        self.world.entrypoint.speakers = (TLS, self.listener, HTTP1)
        self.arrive()

    def arrive(self) -> None:
        """Another visitor."""
        self.visitor = self.world.visit(address=VISITOR)

    def status(self) -> Status:
        taken = take_response(self.visitor.received)
        assert taken is not None
        return taken[0].status

    @property
    def received(self) -> bytes:
        """What came after the OK."""
        data = self.visitor.received
        self.assertTrue(data.startswith(OK))
        return data[len(OK) :]

    def outcomes(self) -> dict[VisitOutcome, int]:
        return {outcome: count for outcome, count in self.stats.visits.items() if count}

    def ended(self, outcome: VisitOutcome) -> None:
        """The visit ended in one way, and nothing is left of it."""
        self.assertEqual(self.outcomes(), {outcome: 1})
        self.assertEqual((self.stats.visits_open, self.relay.busy), (0, False))


class AdmissionTests(RelayTestCase):
    def admitted(self, request: bytes) -> None:
        self.world.attach()
        self.visitor.send(request)
        self.assertIs(self.status(), Status.OK)

    def refused(self, request: bytes, status: Status, outcome: VisitOutcome) -> None:
        self.world.attach()
        self.visitor.send(request)
        self.assertIs(self.status(), status)
        self.assertTrue(self.visitor.closed)
        self.visitor.leave()
        self.ended(outcome)
        self.assertEqual(self.listener.admissions, set())

    def test_rule_and_id_match(self) -> None:
        self.admitted(connect())

    def test_byte_by_byte(self) -> None:
        self.world.attach()
        for byte in connect():
            self.visitor.send(bytes([byte]))
        self.assertIs(self.status(), Status.OK)

    def test_wrong_id(self) -> None:
        """The vector visitor-wrong-id: status 6."""
        self.refused(connect(tunnel=uuid4()), Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL)

    def test_other_host(self) -> None:
        self.refused(connect("secret.local"), Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL)

    def test_host_without_rule(self) -> None:
        self.refused(connect("elsewhere.local"), Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL)

    def test_no_host(self) -> None:
        self.refused(connect(""), Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL)

    def test_front(self) -> None:
        """The ID of the public entrypoints stands for every public rule, and its word about the source is believed."""
        self.admitted(connect(tunnel=FRONT))
        stream = self.world.connectors[0].stream
        stream.take()
        self.assertEqual(stream.preface.addresses, (RelayAddress("192.0.2.9", 4711), RelayAddress("pod.local", 0)))

    def test_front_and_private(self) -> None:
        self.refused(connect("secret.local", FRONT), Status.HOST_UNREACHABLE, VisitOutcome.WRONG_TUNNEL)

    def test_front_and_unknown_host(self) -> None:
        self.refused(connect("elsewhere.local", FRONT), Status.NETWORK_UNREACHABLE, VisitOutcome.UNKNOWN_HOST)

    def test_no_connector(self) -> None:
        """The vector visitor-no-connector: status 5."""
        self.visitor.send(connect("secret.local", PRIVATE))
        self.assertIs(self.status(), Status.SERVICE_UNAVAILABLE)
        self.assertTrue(self.visitor.closed)
        self.ended(VisitOutcome.NO_CONNECTOR)

    def test_nil_id(self) -> None:
        self.refused(connect(tunnel=UUID(int=0)), Status.BAD_REQUEST, VisitOutcome.BAD_REQUEST)

    def test_no_id(self) -> None:
        self.refused(Request(Command.CONNECT).encode(), Status.BAD_REQUEST, VisitOutcome.BAD_REQUEST)

    def turned_away(self, request: bytes, kind: RefusalReason) -> None:
        """No visit at all: counted with all whom the listener refuses."""
        self.world.attach()
        self.visitor.send(request)
        self.world.clock.advance(15)
        self.world.turn()
        self.assertTrue(self.visitor.closed)
        self.assertEqual((self.stats.refusals[kind], self.outcomes(), self.listener.admissions), (1, {}, set()))

    def test_bind(self) -> None:
        """Nobody joins a tunnel at an entrypoint."""
        self.turned_away(connect(command=Command.BIND), RefusalReason.BAD_REQUEST)

    def test_other_networks(self) -> None:
        """Rather than joined with a target that takes something else for a stream."""
        request = Request(Command.CONNECT, Network.IP, addresses=(RelayAddress("pod.local", 0),), tunnel=TunnelFeature(TUNNEL))
        self.turned_away(request.encode(), RefusalReason.BAD_REQUEST)

    def test_malformed(self) -> None:
        self.turned_away(b"\x01\x09\0\0", RefusalReason.BAD_REQUEST)

    def test_silent(self) -> None:
        self.turned_away(connect()[:5], RefusalReason.TIMEOUT)


class ProxiedTests(RelayTestCase):
    """Relay visitors at an entrypoint behind a proxy that says with a PROXY header whose connection it is."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def visit(self, data: bytes, host: str = "10.0.0.5") -> None:
        entrypoint = ProxiedEntrypoint(self.world.entrypoint, (ip_network("10.0.0.0/8"),))
        self.visitor = Visitor(entrypoint, self.world, IPv4Address("TCP", host, 7777))
        for byte in data:
            self.visitor.send(bytes([byte]))

    def test_header(self) -> None:
        """The source is whom the proxy names, also when header, request and bytes come byte by byte."""
        header = ProxyHeader(ProxyAddress("192.0.2.33", 4711), ProxyAddress("198.51.100.1", 80))
        for version in (1, 2):
            self.setUp()
            self.visit(header.encode(version) + connect() + b"ping")
            self.assertEqual(self.pod.stream.take(), b"ping")
            self.assertEqual(self.pod.stream.preface.addresses[0], RelayAddress("192.0.2.33", 4711))
            self.pod.stream.answer(b"pong")
            self.assertEqual(self.received, b"pong")
            self.visitor.vanish()
            self.ended(VisitOutcome.VISITOR_GONE)

    def test_without_a_header(self) -> None:
        """A proxy that names nobody is not let in."""
        self.visit(connect()[:8])
        self.assertTrue(self.visitor.aborted)
        self.assertEqual((self.outcomes(), self.pod.streams), ({}, []))

    def test_directly_connected(self) -> None:
        self.visit(connect() + b"ping", "203.0.113.9")
        self.assertEqual(self.pod.stream.take(), b"ping")
        self.assertEqual(self.pod.stream.preface.addresses[0], RelayAddress("203.0.113.9", 7777))


class DatagramTests(RelayTestCase):
    """A visitor of datagrams is joined with a connector for datagrams, and with no other."""

    REQUEST = Request(
        Command.CONNECT, Network.UDP, addresses=(RelayAddress("pod.local", 0),), tunnel=TunnelFeature(TUNNEL)
    ).encode()

    def test_passes(self) -> None:
        """The framing passes as it is, both ways, and the end of one side is that of both."""
        self.world.attach()
        far = self.world.attach(datagrams=True)
        self.visitor.send(self.REQUEST)
        self.visitor.send(b"\0\3one\0")
        self.assertEqual(far.stream.take(), b"\0\3one\0")
        far.stream.answer(b"\0\5answe")
        self.assertEqual(self.received, b"\0\5answe")
        self.visitor.end_sending()
        self.assertTrue(far.stream.finished)
        far.stream.close()
        self.visitor.leave()
        self.ended(VisitOutcome.DONE)

    def test_next_connector(self) -> None:
        """One whose target has no address is replaced by another one for datagrams."""
        for _ in range(2):
            self.world.attach(datagrams=True)
        self.world.attach()
        self.visitor.send(self.REQUEST)
        for _ in range(2):
            (tried,) = [far for far in self.world.connectors if far.session.streams]
            tried.stream.refuse()
        self.assertTrue(self.visitor.aborted)
        self.assertEqual(self.world.connectors[-1].streams, [])
        self.visitor.leave()
        self.ended(VisitOutcome.TARGET_FAILED)

    def no_connector(self, request: bytes) -> None:
        self.visitor.send(request)
        self.assertIs(self.status(), Status.SERVICE_UNAVAILABLE)
        self.visitor.leave()
        self.ended(VisitOutcome.NO_CONNECTOR)

    def test_only_bytes(self) -> None:
        self.world.attach()
        self.no_connector(self.REQUEST)

    def test_only_datagrams(self) -> None:
        self.world.attach(datagrams=True)
        self.no_connector(connect())


class DirectTests(RelayTestCase):
    direct = True

    def test_id_is_enough(self) -> None:
        self.world.attach()
        self.visitor.send(connect("whatever.you.like"))
        self.assertIs(self.status(), Status.OK)

    def test_front_needs_a_rule(self) -> None:
        self.visitor.send(connect("whatever.you.like", FRONT))
        self.assertIs(self.status(), Status.NETWORK_UNREACHABLE)

    def test_ids_that_nobody_knows_get_no_label(self) -> None:
        """A visitor that makes up IDs cannot use up the labels of the metrics."""
        self.visitor.send(connect(tunnel=uuid4()))
        self.assertIs(self.status(), Status.SERVICE_UNAVAILABLE)
        self.assertEqual(self.stats.labelled.by_tunnel(), {})


class UserTests(RelayTestCase):
    """A visitor says who it is."""

    credentials = Credentials("user", "secret")

    def test_right_password(self) -> None:
        self.world.attach()
        self.visitor.send(connect(credentials=("user", "secret")))
        self.assertIs(self.status(), Status.OK)

    def refused(self, credentials: tuple[str, str] | None, kind: RefusalReason, who: str) -> None:
        """Status 2, a line that names who it was, and nothing of the tunnel was touched."""
        self.world.attach()
        with logged() as lines:
            self.visitor.send(connect(credentials=credentials))
            self.world.clock.advance(1)
            self.world.turn()
        self.assertIs(self.status(), Status.UNAUTHORIZED)
        self.assertTrue(self.visitor.closed)
        self.assertTrue(any(who in line for line in lines), lines)
        self.assertFalse(any("herring" in line for line in lines), lines)
        self.assertEqual((self.stats.refusals[kind], self.outcomes()), (1, {}))
        self.assertEqual(self.world.connectors[0].streams, [])

    def test_wrong_password(self) -> None:
        self.refused(("user", "herring"), RefusalReason.WRONG_PASSWORD, "refused 198.51.100.9:4712 (user user): ")

    def test_unknown_user(self) -> None:
        self.refused(("mallory", "herring"), RefusalReason.WRONG_PASSWORD, "refused 198.51.100.9:4712 (user mallory): ")

    def test_no_password(self) -> None:
        self.refused(None, RefusalReason.NO_PASSWORD, "refused 198.51.100.9:4712: ")


class OwnersTestCase(RelayTestCase):
    """Permissions say which user may visit what."""

    credentials = Credentials("user", "secret")
    allowed = "visit user pod.local"

    def setUp(self) -> None:
        self.permissions = self.mktemp()
        self.write(self.allowed)
        super().setUp()
        self.connector = self.world.attach()

    def write(self, text: str) -> None:
        assert self.permissions is not None
        Path(self.permissions).write_text(text)

    def visit(self, host: str, tunnel: UUID) -> Status:
        """How the visitor is answered."""
        self.arrive()
        self.visitor.send(connect(host, tunnel, credentials=("user", "secret")))
        return self.status()


class OwnerTests(OwnersTestCase):
    def test_allowed(self) -> None:
        for text in ("visit user pod.local", f"visit user {TUNNEL}", "bind,visit u* *.local"):
            self.write(text)
            self.listener.access_control.reload()
            self.assertIs(self.visit("pod.local", TUNNEL), Status.OK, text)

    def test_not_allowed(self) -> None:
        """Status 3; the log names user, address, host and the beginning of the tunnel's ID."""
        for text in ("bind user pod.local", "visit other pod.local", "visit user secret.local", f"visit user {PRIVATE}"):
            self.write(text)
            self.listener.access_control.reload()
            with logged() as lines:
                self.assertIs(self.visit("pod.local", TUNNEL), Status.FORBIDDEN, text)
            (line,) = lines
            self.assertEqual(
                line,
                "visitor 198.51.100.9:4712 (user user) rejected: "
                'the permissions do not allow it to visit "pod.local" in the tunnel 10bc451e',
            )
            self.assertTrue(self.visitor.closed)
        self.assertEqual(self.outcomes(), {VisitOutcome.FORBIDDEN: 4})
        self.assertEqual(self.connector.streams, [])

    def test_front(self) -> None:
        """Whoever stands for the public rules may visit the hosts that the permissions allow, and no others."""
        self.assertIs(self.visit("pod.local", FRONT), Status.OK)
        self.assertIs(self.visit("nobody.local", FRONT), Status.FORBIDDEN)

    def end(self) -> None:
        """The visit that was let in is cut, on both sides."""
        self.world.turn()
        self.assertTrue(self.visitor.aborted)
        self.assertTrue(self.connector.stream.finished)
        self.ended(VisitOutcome.FORBIDDEN)

    def test_no_longer_allowed(self) -> None:
        """Before the first byte, and after it."""
        for data in (b"", b"ping"):
            self.setUp()
            self.visit("pod.local", TUNNEL)
            self.visitor.send(data)
            self.write("visit user other.local")
            with logged() as lines:
                self.listener.access_control.reload()
            self.assertTrue(
                any("revoking the session of" in line and "no longer allow the user to visit" in line for line in lines), lines
            )
            self.end()
            # nothing is held that has ended
            self.listener.access_control.reload()

    def test_user_has_another_password(self) -> None:
        self.visit("pod.local", TUNNEL)
        settings = attrs.evolve(self.relay.settings, credentials=Credentials("user", "another"))
        self.listener.access_control.apply(settings, Rights.read(settings))
        self.end()

    def test_still_allowed(self) -> None:
        self.visit("pod.local", TUNNEL)
        self.write(f"visit user {TUNNEL}")
        self.listener.access_control.reload()
        self.assertFalse(self.visitor.aborted)
        self.connector.stream.answer(b"still here")
        self.assertEqual(self.received, b"still here")

    def test_host_of_another_tunnel_now(self) -> None:
        """Who may visit a host loses what no longer is this host's."""
        self.visit("pod.local", TUNNEL)
        self.visitor.send(b"ping")
        self.relay.selector.table = IngressTable([IngressRule("pod.local", PRIVATE)])
        self.listener.access_control.review()
        self.end()


class DirectOwnerTests(OwnersTestCase):
    """With ``direct`` a visitor can write any host beside any ID: only the ID says where it goes."""

    direct = True

    def test_own_host_and_foreign_tunnel(self) -> None:
        """The host that a user may visit does not open the tunnel of somebody else."""
        self.write("visit user secret.local")
        self.listener.access_control.reload()
        self.assertIs(self.visit("secret.local", TUNNEL), Status.FORBIDDEN)
        self.assertEqual(self.connector.streams, [])

    def test_any_host_and_foreign_tunnel(self) -> None:
        """Nor does a pattern of hosts, with hosts that have no rule."""
        self.write("visit user *.local")
        self.listener.access_control.reload()
        self.assertIs(self.visit("elsewhere.local", TUNNEL), Status.FORBIDDEN)
        self.assertIs(self.visit("", TUNNEL), Status.FORBIDDEN)
        self.assertEqual(self.connector.streams, [])

    def test_own_host(self) -> None:
        """Where a rule leads the host to the tunnel, the host counts."""
        self.assertIs(self.visit("pod.local", TUNNEL), Status.OK)

    def test_own_tunnel(self) -> None:
        """By its ID, under any name."""
        self.write(f"visit user {TUNNEL}")
        self.listener.access_control.reload()
        self.assertIs(self.visit("whatever.you.like", TUNNEL), Status.OK)


class VisitTests(RelayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.connector = self.world.attach()
        self.visitor.send(connect())
        self.stream = self.connector.stream

    def test_source_is_what_we_see(self) -> None:
        """Whoever only knows a tunnel is not believed about where it comes from."""
        self.stream.take()
        self.assertEqual(self.stream.preface.addresses, (RelayAddress("198.51.100.9", 4712), RelayAddress("pod.local", 0)))

    def test_both_ways(self) -> None:
        self.visitor.send(b"ping")
        self.assertEqual(self.stream.take(), b"ping")
        self.stream.answer(b"pong")
        self.assertEqual(self.received, b"pong")

    def test_target_speaks_first(self) -> None:
        self.stream.answer(b"220 hello")
        self.assertEqual(self.received, b"220 hello")

    def test_half_close(self) -> None:
        """A visitor that has ended its direction still gets its answer; then all is closed, and the bytes are counted."""
        self.visitor.send(b"question")
        self.visitor.end_sending()
        self.assertEqual((self.stream.take(), self.stream.finished), (b"question", True))
        self.stream.answer(b"answer")
        self.assertFalse(self.visitor.closed)
        self.stream.close()
        self.assertEqual(self.received, b"answer")
        self.assertTrue(self.visitor.closed)
        self.visitor.leave()
        self.ended(VisitOutcome.DONE)
        self.assertEqual((self.stats.bytes_in, self.stats.bytes_out), (8, 6))

    def test_bytes_are_counted_once(self) -> None:
        """Also those that came together with the request."""
        self.arrive()
        self.visitor.send(connect() + b"early")
        self.visitor.send(b"late")
        self.visitor.vanish()
        self.assertEqual(self.stats.bytes_in, 9)

    def test_ends_without_a_byte(self) -> None:
        self.visitor.end_sending()
        self.assertTrue(self.stream.finished)
        self.stream.close()
        self.visitor.leave()
        self.ended(VisitOutcome.DONE)

    def test_target_only_listens(self) -> None:
        """A target that ends its direction first may still be sent to."""
        self.stream.close()
        self.assertTrue(self.visitor.half_closed)
        self.visitor.send(b"take this")
        self.assertEqual(self.stream.take(), b"take this")

    def test_visitor_leaves_before_the_first_byte(self) -> None:
        self.visitor.vanish()
        self.assertTrue(self.stream.finished)
        self.ended(VisitOutcome.VISITOR_GONE)

    def test_visitor_leaves(self) -> None:
        self.visitor.send(b"ping")
        self.visitor.vanish()
        self.assertTrue(self.stream.finished)
        self.ended(VisitOutcome.VISITOR_GONE)

    @interpreted
    def test_error(self) -> None:
        """Of our own: it costs this visit alone, and is logged once."""
        for act in (lambda: self.visitor.send(b"ping"), lambda: self.stream.answer(b"hello")):
            self.setUp()
            join = Visit.join

            def fail(visit: Visit, join: Any = join) -> Any:
                self.patch(Visit, "join", join)
                raise ZeroDivisionError

            self.patch(Visit, "join", fail)
            act()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertTrue(self.visitor.aborted and self.stream.finished)
            self.ended(VisitOutcome.ERROR)

    def test_visitor_stalls_before_the_first_byte(self) -> None:
        self.visitor.stall()
        self.ended(VisitOutcome.STALLED)

    def test_visitor_stalls(self) -> None:
        self.visitor.send(b"ping")
        self.visitor.stall()
        self.assertTrue(self.stream.finished)
        self.ended(VisitOutcome.STALLED)

    def test_connector_leaves(self) -> None:
        self.visitor.send(b"ping")
        self.connector.lose()
        self.visitor.leave()
        self.ended(VisitOutcome.TARGET_GONE)

    def test_cut(self) -> None:
        self.visitor.send(b"ping")
        self.relay.cut()
        self.world.turn()
        self.assertTrue(self.visitor.aborted)
        self.ended(VisitOutcome.STOPPED)

    def test_cut_before_the_first_byte(self) -> None:
        self.relay.cut()
        self.world.turn()
        self.assertTrue(self.visitor.aborted)
        self.ended(VisitOutcome.STOPPED)


class RetryTests(RelayTestCase):
    """Before the first byte, a stream that ends is replaced."""

    def setUp(self) -> None:
        super().setUp()
        self.world.attach()
        self.world.attach()
        self.visitor.send(connect())
        (self.first,) = [connector for connector in self.world.connectors if connector.streams]
        (self.second,) = [connector for connector in self.world.connectors if not connector.streams]

    def test_other_connector(self) -> None:
        self.first.stream.refuse()
        self.visitor.send(b"ping")
        self.assertEqual(self.second.stream.take(), b"ping")
        self.assertEqual((self.stats.retries_total, self.outcomes()), (1, {}))

    def test_avoided_from_then_on(self) -> None:
        """For the host that was asked for."""
        self.first.stream.refuse()
        self.assertEqual(list(self.first.connector.failing), ["pod.local"])
        for number in range(2, 12):
            self.arrive()
            self.visitor.send(connect())
            self.assertEqual((len(self.first.streams), len(self.second.streams)), (1, number))

    def test_link_lost(self) -> None:
        self.first.lose()
        self.second.stream.answer(b"hello")
        self.assertEqual(self.received, b"hello")

    def test_none_left(self) -> None:
        """The visitor sees an error rather than an empty answer."""
        self.first.stream.refuse()
        self.second.stream.refuse()
        self.assertTrue(self.visitor.aborted)
        self.visitor.send(b"too late")
        self.visitor.vanish()
        self.ended(VisitOutcome.TARGET_FAILED)

    def test_not_after_the_first_byte(self) -> None:
        """What was sent once is not sent twice."""
        self.visitor.send(b"transfer 100 pounds")
        self.first.stream.refuse()
        self.assertEqual(self.second.streams, [])
        self.visitor.leave()
        self.ended(VisitOutcome.TARGET_GONE)

    def test_not_after_a_while(self) -> None:
        """A target that cannot be reached would have shown by then, so what ends now has been a connection."""
        self.world.pass_time(self.relay.keepalive.interval + 1)
        self.first.stream.refuse()
        self.assertEqual(self.second.streams, [])
        self.ended(VisitOutcome.TARGET_GONE)

    def test_byte_and_refusal_in_one_turn(self) -> None:
        """A byte that comes when the stream has ended already goes to the next connector, not into the void."""
        self.first.session.abort(self.first.stream.id)
        self.first.transport.write(self.first.session.take_output())
        self.first.pipe.pump()
        self.visitor.send(b"ping")
        self.assertEqual(self.second.stream.take(), b"ping")


class LivenessTests(RelayTestCase):
    """A visitor on a WebSocket is pinged."""

    def setUp(self) -> None:
        super().setUp()
        self.connector = self.world.attach()
        self.transport = PingingTransport()
        self.listener.accept(self.world.entrypoint, self.transport, Peer(VISITOR.host, VISITOR.port), connect() + b"x")
        self.world.turn()

    def test_silent_visitor_is_cut(self) -> None:
        self.world.pass_time(60)
        self.assertTrue(self.transport.aborted)
        self.assertGreaterEqual(self.transport.pings, 2)
        self.transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.world.turn()
        self.ended(VisitOutcome.VISITOR_GONE)

    def test_pongs(self) -> None:
        for _ in range(12):
            self.world.pass_time(10)
            self.transport.pong()
        self.assertFalse(self.transport.aborted)

    def test_bytes_are_a_sign_of_life(self) -> None:
        for _ in range(12):
            self.world.pass_time(10)
            self.transport.protocol.dataReceived(b"x")
        self.assertFalse(self.transport.aborted)

    def test_paused(self) -> None:
        self.transport.pauseProducing()
        self.world.pass_time(120)
        self.assertFalse(self.transport.aborted)


class AccessLogTests(RelayTestCase):
    """A visit leaves one line when it is over, a refusal at once."""

    credentials = Credentials("user", "secret")

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        clock = self.world.clock.seconds
        self.relay.access = AccessLog(writes(self.lines, "json"), wall=lambda: 0.0, clock=clock)

    def connect(self, host: str = "pod.local", tunnel: UUID = TUNNEL) -> None:
        self.visitor.send(connect(host, tunnel, credentials=("user", "secret")))

    def line(self) -> dict[str, Any]:
        """The only line; its outcome is the one that was counted."""
        (line,) = self.lines
        found: dict[str, Any] = json.loads(line)
        self.assertEqual(self.outcomes(), {VisitOutcome(found["outcome"]): 1})
        return found

    def test_visit(self) -> None:
        pod = self.world.attach()
        self.connect()
        self.visitor.send(b"hello")
        self.world.clock.advance(2)
        pod.stream.answer(b"answer")
        self.assertEqual(self.lines, [])
        self.visitor.vanish()
        self.assertEqual(
            self.line(),
            {
                "time": "1970-01-01T00:00:00.000Z",
                "kind": "relay",
                "visitor": "198.51.100.9",
                "user": "user",
                "method": None,
                "host": "pod.local",
                "target": None,
                "protocol": None,
                "status": None,
                "outcome": "visitor_gone",
                "tunnel": str(TUNNEL)[:8],
                "connector": str(pod.connector.id)[:8],
                "holder": None,
                "intercept": None,
                "first_byte": None,
                "total": 2.0,
                "received_bytes": 5,
                "sent_bytes": 6,
                "retries": 0,
                "request_id": None,
            },
        )
        self.assertNotIn("secret", self.lines[0])

    def test_datagrams(self) -> None:
        """AuthenticationFailed or let in, a visit of datagrams is called what it is."""
        for attached in (False, True):
            self.setUp()
            if attached:
                self.world.attach(datagrams=True)
            addresses = (RelayAddress("pod.local", 0),)
            tunnel = TunnelFeature(TUNNEL)
            self.visitor.send(Request(Command.CONNECT, Network.UDP, ("user", "secret"), addresses, tunnel).encode())
            self.visitor.vanish()
            self.assertEqual(self.line()["kind"], "udp")

    def test_visitor_of_a_front(self) -> None:
        """The visitor is whom the front names."""
        self.world.attach()
        self.connect(tunnel=FRONT)
        self.visitor.vanish()
        self.assertEqual((self.line()["visitor"], self.line()["outcome"]), ("192.0.2.9", "visitor_gone"))

    def test_retries(self) -> None:
        """Each connector that took over, and the one that it was last."""
        for both in (False, True):
            self.setUp()
            pods = [self.world.attach(), self.world.attach()]
            self.connect()
            (first,) = [pod for pod in pods if pod.streams]
            (second,) = [pod for pod in pods if not pod.streams]
            first.stream.refuse()
            if both:
                second.stream.refuse()
            self.visitor.vanish()
            line = self.line()
            self.assertEqual((line["retries"], line["connector"]), (1, str(second.connector.id)[:8]))
            self.assertEqual(line["outcome"], "target_failed" if both else "visitor_gone")

    def refused(self, outcome: str, tunnel: str | None) -> None:
        line = self.line()
        self.assertEqual((line["outcome"], line["tunnel"], line["connector"]), (outcome, tunnel, None))
        self.visitor.leave()
        self.assertEqual(len(self.lines), 1)

    def test_nobody_attached(self) -> None:
        self.connect()
        self.refused("no_connector", str(TUNNEL)[:8])

    def test_wrong_tunnel(self) -> None:
        """The ID that somebody thought of is not written down."""
        self.connect(tunnel=uuid4())
        self.refused("wrong_tunnel", None)

    def test_unknown_host(self) -> None:
        self.connect("elsewhere.local", FRONT)
        self.assertEqual(self.line()["host"], "elsewhere.local")
        self.refused("unknown_host", None)

    def test_wrong_password_is_no_visit(self) -> None:
        self.visitor.send(connect(credentials=("user", "herring")))
        self.world.clock.advance(1)
        self.world.turn()
        self.assertEqual((self.lines, self.stats.refusals[RefusalReason.WRONG_PASSWORD]), ([], 1))


class CountTests(RelayTestCase):
    """A visit counts once for its connector, or for its tunnel when there was none."""

    def attach(self) -> FarConnector:
        pod = self.world.attach()
        self.stats.labelled.join(pod.connector.id, partial(connector_stats, pod.connector))
        return pod

    def counted(self) -> dict[str, int]:
        return self.stats.labelled.by_tunnel()[str(TUNNEL)[:8]].outcomes

    def test_done(self) -> None:
        pod = self.attach()
        self.visitor.send(connect() + b"hello")
        self.visitor.end_sending()
        pod.stream.close()
        self.visitor.leave()
        self.assertEqual((self.counted(), pod.connector.requests), ({"done": 1}, 1))

    def test_link_is_lost_first(self) -> None:
        """The visitor has still to be told, so the visit ends after the connector has left."""
        pod = self.attach()
        self.visitor.send(connect() + b"hello")
        pod.pipe.break_link()
        self.stats.labelled.leave(pod.connector.id)
        self.world.turn()
        self.visitor.leave()
        self.assertEqual(self.counted(), {"target_gone": 1})

    def test_failed(self) -> None:
        """Two connectors were tried; it counts for the last."""
        pods = [self.attach(), self.attach()]
        self.visitor.send(connect())
        (first,) = [pod for pod in pods if pod.streams]
        (second,) = [pod for pod in pods if not pod.streams]
        for pod in (first, second):
            pod.stream.refuse()
        self.assertEqual(self.counted(), {"target_failed": 1})
        self.assertEqual((first.connector.requests, second.connector.requests), (0, 1))

    def test_nobody_attached(self) -> None:
        self.visitor.send(connect())
        self.assertEqual(self.counted(), {"no_connector": 1})

    def test_wrong_tunnel(self) -> None:
        """Belongs to no tunnel."""
        self.attach()
        self.visitor.send(connect(tunnel=uuid4()))
        self.assertEqual(self.counted(), {})
