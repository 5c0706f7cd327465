"""Visitors that say CONNECT: who is let in, what they are joined with, how it ends."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.guard.guard import Guard, Rights
from rtunnel.ops.metrics import Refusal, VisitOutcome
from rtunnel.routing.ingress import IngressTable
from rtunnel.server.entrypoint.arrival import Peer
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.listener import TunnelListener
from rtunnel.settings import Address, ListenerSettings
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Response, Status, TunnelFeature, take_response
from tests.server.harness import PRIVATE, TUNNEL, Transport, World

FRONT = UUID("59dc451e-59dc-4c70-999e-91a30813ac78")
OK = Response(status=Status.OK).encode()


def connect(host: str = "pod.local", tunnel: UUID = TUNNEL, command: Command = Command.CONNECT) -> bytes:
    addresses = (RelayAddress("192.0.2.9", 4711), RelayAddress(host, 0))
    return Request(command, addresses=addresses, tunnel=TunnelFeature(tunnel)).encode()


class RelayTestCase(SynchronousTestCase):
    direct = False

    def setUp(self) -> None:
        self.world = World()
        self.stats = self.world.stats
        settings = ListenerSettings(
            listen=Address("", 8421), rules=self.world.entrypoint.table.rules, entrypoint_id=FRONT, direct=self.direct
        )
        self.relay = RelayEntrypoint(
            settings=settings,
            table=IngressTable(settings.rules),
            registry=self.world.registry,
            stats=self.stats,
        )
        self.listener = TunnelListener(
            settings=settings,
            known=lambda tunnel: True,
            table=self.relay.table,
            guard=Guard(settings, Rights.read(settings), self.world.clock),
            registry=self.world.registry,
            relay=self.relay,
            stats=self.stats,
            reactor=self.world.clock,
        )
        self.world.deadlines.each_sweep(self.relay.sweep)
        self.transport: Any = Transport()
        self.arrive()

    def arrive(self) -> None:
        """Connect, at an HTTP entrypoint."""
        self.fresh = True

    def send(self, data: bytes) -> None:
        if self.fresh:
            self.fresh = False
            self.listener.beside_http.take(self.world.entrypoint, self.transport, Peer("198.51.100.9", 4712), data)
            self.world.turn()
            return
        self.transport.protocol.dataReceived(data)
        self.world.turn()

    def end_sending(self) -> None:
        self.transport.protocol.readConnectionLost()
        self.world.turn()

    def lose(self, reason: type[Exception] = ConnectionDone) -> None:
        self.transport.protocol.connectionLost(Failure(reason()))
        self.world.turn()

    def status(self) -> Status:
        taken = take_response(self.transport.value())
        assert taken is not None
        return taken[0].status

    @property
    def received(self) -> bytes:
        """What came after the OK."""
        data: bytes = self.transport.value()
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
        self.send(request)
        self.assertIs(self.status(), Status.OK)

    def refused(self, request: bytes, status: Status, outcome: VisitOutcome) -> None:
        self.world.attach()
        self.send(request)
        self.assertIs(self.status(), status)
        self.assertTrue(self.transport.disconnecting)
        self.lose()
        self.ended(outcome)
        self.assertEqual(self.listener.admissions, set())

    def test_rule_and_id_match(self) -> None:
        self.admitted(connect())

    def test_byte_by_byte(self) -> None:
        self.world.attach()
        for byte in connect():
            self.send(bytes([byte]))
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
        self.send(connect("secret.local", PRIVATE))
        self.assertIs(self.status(), Status.SERVICE_UNAVAILABLE)
        self.assertTrue(self.transport.disconnecting)
        self.ended(VisitOutcome.NO_CONNECTOR)

    def test_nil_id(self) -> None:
        self.refused(connect(tunnel=UUID(int=0)), Status.BAD_REQUEST, VisitOutcome.BAD_REQUEST)

    def test_no_id(self) -> None:
        self.refused(Request(Command.CONNECT).encode(), Status.BAD_REQUEST, VisitOutcome.BAD_REQUEST)

    def turned_away(self, request: bytes, kind: Refusal) -> None:
        """No visit at all: counted with all whom the listener refuses."""
        self.world.attach()
        self.send(request)
        self.world.clock.advance(15)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual((self.stats.refusals[kind], self.outcomes(), self.listener.admissions), (1, {}, set()))

    def test_bind(self) -> None:
        """Nobody joins a tunnel at an entrypoint."""
        self.turned_away(connect(command=Command.BIND), Refusal.BAD_REQUEST)

    def test_datagrams(self) -> None:
        """A visitor of datagrams is told so, rather than joined with a target that takes them for a stream."""
        request = Request(Command.CONNECT, Network.UDP, addresses=(RelayAddress("pod.local", 0),), tunnel=TunnelFeature(TUNNEL))
        self.turned_away(request.encode(), Refusal.BAD_REQUEST)

    def test_malformed(self) -> None:
        self.turned_away(b"\x01\x09\0\0", Refusal.BAD_REQUEST)

    def test_silent(self) -> None:
        self.turned_away(connect()[:5], Refusal.LATE)


class DirectTests(RelayTestCase):
    direct = True

    def test_id_is_enough(self) -> None:
        self.world.attach()
        self.send(connect("whatever.you.like"))
        self.assertIs(self.status(), Status.OK)

    def test_front_needs_a_rule(self) -> None:
        self.send(connect("whatever.you.like", FRONT))
        self.assertIs(self.status(), Status.NETWORK_UNREACHABLE)


class VisitTests(RelayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.connector = self.world.attach()
        self.send(connect())
        self.stream = self.connector.stream

    def test_source_is_what_we_see(self) -> None:
        """Whoever only knows a tunnel is not believed about where it comes from."""
        self.stream.take()
        self.assertEqual(self.stream.preface.addresses, (RelayAddress("198.51.100.9", 4712), RelayAddress("pod.local", 0)))

    def test_both_ways(self) -> None:
        self.send(b"ping")
        self.assertEqual(self.stream.take(), b"ping")
        self.stream.answer(b"pong")
        self.assertEqual(self.received, b"pong")

    def test_target_speaks_first(self) -> None:
        self.stream.answer(b"220 hello")
        self.assertEqual(self.received, b"220 hello")

    def test_half_close(self) -> None:
        """A visitor that has ended its direction still gets its answer; then all is closed, and the bytes are counted."""
        self.send(b"question")
        self.end_sending()
        self.assertEqual((self.stream.take(), self.stream.finished), (b"question", True))
        self.stream.answer(b"answer")
        self.assertFalse(self.transport.disconnecting)
        self.stream.close()
        self.assertEqual(self.received, b"answer")
        self.assertTrue(self.transport.disconnecting)
        self.lose()
        self.ended(VisitOutcome.DONE)
        self.assertEqual((self.stats.bytes_in, self.stats.bytes_out), (8, 6))

    def test_ends_without_a_byte(self) -> None:
        self.end_sending()
        self.assertTrue(self.stream.finished)
        self.stream.close()
        self.lose()
        self.ended(VisitOutcome.DONE)

    def test_target_only_listens(self) -> None:
        """A target that ends its direction first may still be sent to."""
        self.stream.close()
        self.assertTrue(self.transport.half_closed)
        self.send(b"take this")
        self.assertEqual(self.stream.take(), b"take this")

    def test_visitor_leaves_before_the_first_byte(self) -> None:
        self.lose()
        self.assertTrue(self.stream.finished)
        self.ended(VisitOutcome.VISITOR_GONE)

    def test_visitor_leaves(self) -> None:
        self.send(b"ping")
        self.lose(ConnectionLost)
        self.assertTrue(self.stream.finished)
        self.ended(VisitOutcome.VISITOR_GONE)

    def test_connector_leaves(self) -> None:
        self.send(b"ping")
        self.connector.lose()
        self.lose()
        self.ended(VisitOutcome.TARGET_GONE)

    def test_cut(self) -> None:
        self.send(b"ping")
        self.relay.cut()
        self.assertTrue(self.transport.aborted)
        self.lose(ConnectionLost)
        self.ended(VisitOutcome.VISITOR_GONE)

    def test_cut_before_the_first_byte(self) -> None:
        self.relay.cut()
        self.assertTrue(self.transport.aborted)
        self.lose(ConnectionLost)
        self.ended(VisitOutcome.VISITOR_GONE)


class RetryTests(RelayTestCase):
    """Before the first byte, a stream that ends is replaced."""

    def setUp(self) -> None:
        super().setUp()
        self.world.attach()
        self.world.attach()
        self.send(connect())
        (self.first,) = [connector for connector in self.world.connectors if connector.streams]
        (self.second,) = [connector for connector in self.world.connectors if not connector.streams]

    def refuse(self, stream: Any) -> None:
        """What our client does when the target cannot be reached."""
        stream.connector.session.abort(stream.id)
        self.world.turn()

    def test_other_connector(self) -> None:
        self.refuse(self.first.stream)
        self.send(b"ping")
        self.assertEqual(self.second.stream.take(), b"ping")
        self.assertEqual((self.stats.retries_total, self.outcomes()), (1, {}))

    def test_link_lost(self) -> None:
        self.first.lose()
        self.second.stream.answer(b"hello")
        self.assertEqual(self.received, b"hello")

    def test_none_left(self) -> None:
        """The visitor sees an error rather than an empty answer."""
        self.refuse(self.first.stream)
        self.refuse(self.second.stream)
        self.assertTrue(self.transport.aborted)
        self.send(b"too late")
        self.lose(ConnectionLost)
        self.ended(VisitOutcome.TARGET_FAILED)

    def test_not_after_the_first_byte(self) -> None:
        """What was sent once is not sent twice."""
        self.send(b"transfer 100 pounds")
        self.refuse(self.first.stream)
        self.assertEqual(self.second.streams, [])
        self.lose()
        self.ended(VisitOutcome.TARGET_GONE)

    def test_byte_and_refusal_in_one_turn(self) -> None:
        """A byte that comes when the stream has ended already goes to the next connector, not into the void."""
        self.first.session.abort(self.first.stream.id)
        self.first.link.dataReceived(self.first.session.take_output())
        self.transport.protocol.dataReceived(b"ping")
        self.world.turn()
        self.assertEqual(self.second.stream.take(), b"ping")


class PulseTests(RelayTestCase):
    """A WebSocket's visitor is asked for signs of life."""

    def setUp(self) -> None:
        super().setUp()
        self.connector = self.world.attach()
        self.pings = 0
        self.transport.ping = self.ping
        self.transport.paused = False
        self.send(connect())
        self.send(b"x")

    def ping(self) -> None:
        self.pings += 1

    def test_silent_visitor_is_cut(self) -> None:
        self.world.pass_time(60)
        self.assertTrue(self.transport.aborted)
        self.assertGreaterEqual(self.pings, 2)

    def test_pongs(self) -> None:
        for _ in range(12):
            self.world.pass_time(10)
            self.transport.protocol.heard()
        self.assertFalse(self.transport.aborted)

    def test_bytes_are_a_sign_of_life(self) -> None:
        for _ in range(12):
            self.world.pass_time(10)
            self.send(b"x")
        self.assertFalse(self.transport.aborted)

    def test_paused(self) -> None:
        self.transport.paused = True
        self.world.pass_time(120)
        self.assertFalse(self.transport.aborted)
