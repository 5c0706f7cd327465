"""What a server does when too much is buffered for its visitors and clients."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.memory import resident_memory
from rtunnel.outcomes import Limit, LinkEnd, Outcome, TlsOutcome, VisitOutcome
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.ceiling import BufferCeiling
from rtunnel.server.service import ServerService
from rtunnel.settings import Address, LimitSettings, ListenerSettings, ServerSettings
from rtunnel.tunnel.bounds import LinkBounds
from rtunnel.wire.clienthello import Alert, alert_record
from rtunnel.wire.relay import Status, take_response
from rtunnel.wire.smux import Session
from tests.server.harness import HttpCase, Visitor
from tests.server.test_relay import RelayTestCase
from tests.server.test_relay import connect as connect_request
from tests.server.test_service import BIND, End
from tests.server.test_tls import HELLO
from tests.support.heads import GET, OK
from tests.support.ids import TUNNEL
from tests.support.logs import logged
from tests.support.pipe import Pipe, connect

MIB = 1 << 20
UPLOAD = b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 60000\r\n\r\n"


class CeilingTests(SynchronousTestCase):
    """When it is reached, and when it is over."""

    def setUp(self) -> None:
        self.registry: TunnelRegistry[Any] = TunnelRegistry()
        self.stats = ServerStats()
        self.buffered = 0
        self.counted = 0
        self.resident: int | None = 500 * MIB

    def count(self) -> int:
        self.counted += 1
        return self.buffered

    def ceiling(self, size: int = 100 * MIB) -> BufferCeiling:
        return BufferCeiling(size, self.count, self.registry, self.stats, lambda: self.resident)

    def test_reached(self) -> None:
        ceiling = self.ceiling()
        with logged() as lines:
            for buffered, suspended in ((100, False), (101, True), (1000, True), (91, True), (89, False), (100, False)):
                self.buffered = buffered * MIB
                ceiling.sweep()
                self.assertEqual(self.registry.suspended, suspended, buffered)
        self.assertEqual(self.stats.limits[Limit.MAX_BUFFERED], 1)
        self.assertEqual([line[:25] for line in lines], ["101 MiB are buffered for ", "89 MiB are buffered: new "])

    def test_small_process(self) -> None:
        """What is buffered is not added up while the whole process is smaller than that."""
        self.buffered, self.resident = 200 * MIB, 99 * MIB
        ceiling = self.ceiling()
        ceiling.sweep()
        self.assertEqual((self.counted, self.registry.suspended), (0, False))
        self.resident = None
        ceiling.sweep()
        self.assertEqual((self.counted, self.registry.suspended), (1, True))

    def test_none(self) -> None:
        self.buffered = 1 << 50
        self.ceiling(0).sweep()
        self.assertEqual((self.counted, self.registry.suspended), (0, False))

    def test_resident(self) -> None:
        resident = resident_memory()
        if resident is not None:
            self.assertGreater(resident, MIB)


class RequestTests(HttpCase):
    """New requests are refused, those in progress go on."""

    def test_refused(self) -> None:
        connector = self.world.attach()
        waiting = self.world.visit(GET)
        kept = self.world.visit(GET)
        connector.stream.answer(OK)
        self.assertEqual(kept.take(), OK)
        self.world.registry.suspended = True
        late = self.world.visit(GET)
        kept.send(GET)
        self.assertEqual((late.status, kept.status), (503, 503))
        self.assertIn(b"Retry-After: 2", late.received)
        self.assertIn(b"too much to do", late.received)
        connector.streams[0].answer(OK)
        self.assertEqual(waiting.received, OK)
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 2, Outcome.OVERLOADED: 2})
        joined = self.world.attach()
        self.world.registry.suspended = False
        self.assertEqual(len(list(self.world.registry)), 2)
        joined.lose()
        kept.take()
        kept.send(GET)
        connector.streams[0].answer(OK)
        self.assertEqual(kept.received, OK)

    def test_all_links_full(self) -> None:
        """The same when too much waits for every client of the tunnel: those that are known to be there answer 503, not 502."""
        connector = self.world.attach()
        connector.link._bounds = LinkBounds(MIB)
        connector.pipe.client.pauseProducing()
        uploads: list[Visitor] = []
        while not connector.link.full:
            self.assertLess(len(uploads), 100)
            uploads.append(self.world.visit(UPLOAD + bytes(60_000)))
        late = self.world.visit(GET)
        self.assertEqual(late.status, 503)
        self.assertIn(b"every client of this service, has too much to do", late.received)
        self.assertEqual(self.world.stats.limits[Limit.LINK_BUFFER], 1)
        self.assertEqual({visitor.received for visitor in uploads}, {b""})
        tls = self.world.visit(HELLO)
        self.assertEqual(tls.received, alert_record(Alert.INTERNAL_ERROR))
        self.assertEqual(self.world.stats.tls[TlsOutcome.OVERLOADED], 1)
        connector.pipe.client.resumeProducing()
        self.world.turn()
        self.assertEqual(len(connector.streams), len(uploads))
        again = self.world.visit(GET)
        connector.stream.answer(OK)
        self.assertEqual(again.received, OK)

    def test_full_until_it_is_dropped(self) -> None:
        """What had not left goes to another client whatever its method, and is answered with 503 when there is none."""
        connector = self.world.attach()
        connector.link._bounds = LinkBounds(MIB)
        connector.pipe.client.pauseProducing()
        uploads: list[Visitor] = []
        while not connector.link.full:
            uploads.append(self.world.visit(UPLOAD + bytes(60_000)))
        connector.link.drop(LinkEnd.OVERFLOWED)
        self.world.turn()
        statuses = [visitor.status for visitor in uploads]
        self.assertEqual(set(statuses), {502, 503})
        self.assertLess(statuses.count(502), 4, "those that may have left, as far as the server knows")

    def test_tls(self) -> None:
        self.world.attach()
        self.world.registry.suspended = True
        visitor = self.world.visit(HELLO)
        self.assertEqual(visitor.received, alert_record(Alert.INTERNAL_ERROR))
        self.assertEqual(self.world.stats.tls[TlsOutcome.OVERLOADED], 1)


class VisitTests(RelayTestCase):
    def test_refused(self) -> None:
        self.world.attach()
        self.world.registry.suspended = True
        with logged() as lines:
            self.visitor.send(connect_request())
        self.assertIs(self.status(), Status.SERVICE_UNAVAILABLE)
        self.assertEqual(self.outcomes(), {VisitOutcome.OVERLOADED: 1})
        self.assertTrue(any("--max-buffered" in line for line in lines), lines)

    def test_all_links_full(self) -> None:
        self.world.attach().link.full = True
        with logged() as lines:
            self.visitor.send(connect_request())
        self.assertIs(self.status(), Status.SERVICE_UNAVAILABLE)
        self.assertEqual(self.outcomes(), {VisitOutcome.OVERLOADED: 1})
        self.assertTrue(any("as much to do as they may (--link-buffer" in line for line in lines), lines)


class ServiceTests(SynchronousTestCase):
    """A server with a client and visitors in memory: what it adds up."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pipes: list[Pipe] = []
        listener = ListenerSettings(
            listen=Address("", 8421),
            transport="tcp",
            entrypoints=(Address("", 80),),
            rules=(IngressRule("pod.local", TUNNEL),),
        )
        self.service = ServerService(ServerSettings(listeners=(listener,), limits=LimitSettings(buffered=MIB)), self.reactor)
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.factories: dict[int, Any] = {port: factory for port, factory, *_ in self.reactor.tcpServers}
        self.client = self.arrive(8421, BIND)
        self.session = Session(opens=False)
        taken = take_response(self.client.received)
        assert taken is not None
        self.client.received = self.client.received[taken[1] :]

    def arrive(self, port: int, data: bytes) -> Any:
        end: Any = End()
        self.pipes.append(connect(self.factories[port].buildProtocol(None), end))
        end.transport.write(data)
        self.advance(0)
        return end

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        for _ in range(4):
            self.reactor.advance(0)
            for pipe in self.pipes:
                pipe.pump()

    def test_client_that_does_not_read(self) -> None:
        self.client.transport.pauseProducing()
        for _ in range(20):
            self.arrive(80, b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 100000\r\n\r\n" + bytes(60_000))
        self.advance(0.5)
        self.assertTrue(self.service.registry.suspended)
        self.assertTrue(self.arrive(80, GET).received.startswith(b"HTTP/1.1 503 "))
        self.assertEqual(self.service.stats.limits[Limit.MAX_BUFFERED], 1)
        self.client.transport.resumeProducing()
        self.advance(0.5)
        self.advance(0.5)
        self.assertFalse(self.service.registry.suspended)

    def test_visitors_that_do_not_read(self) -> None:
        visitors = [self.arrive(80, GET) for _ in range(5)]
        for kind, stream, _ in self.session.receive(self.client.received):
            if kind == 1:
                self.session.send(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + bytes(256_000))
        for visitor in visitors:
            visitor.transport.pauseProducing()
        self.client.transport.write(self.session.take_output())
        self.advance(0.5)
        self.advance(0.5)
        self.assertTrue(self.service.registry.suspended)
        for visitor in visitors:
            visitor.transport.abortConnection()
        self.advance(0.5)
        self.advance(0.5)
        self.assertFalse(self.service.registry.suspended)
