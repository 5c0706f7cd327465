"""Attempts: which connector comes next, and what is counted on the way."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import Limit
from rtunnel.routing.selection import VisitorProtocol
from rtunnel.server.attempt import Attempts, PendingStream
from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.upstream import LinkFull, StreamLimits, Upstream, UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.bounds import StreamCount
from rtunnel.tunnel.link import LinkClosed
from rtunnel.wire.http1 import parse_request
from rtunnel.wire.http1_exchange import END, WHOLE, Event
from tests.runner import INTERPRETED
from tests.server.harness import PRIVATE, FarConnector, World
from tests.support.compiled import COMPILED
from tests.support.heads import GET, OK
from tests.support.ids import TUNNEL

if COMPILED:
    skip = INTERPRETED


class Query:
    """What an attempt is asked about; here nobody asks."""

    protocol = VisitorProtocol.HTTP
    host = "pod.local"
    visitor_address = "192.0.2.1"

    def method(self) -> bytes:
        return b"GET"

    def path(self) -> bytes:
        return b"/"

    def field(self, name: bytes) -> bytes | None:
        return None

    def cookie(self, name: bytes) -> bytes | None:
        return None


class Request(Query, Attempts[Entrypoint, Upstream]):
    """A request on its way, which goes to free streams where it may.

    :ivar fresh: whether a fresh stream was asked for, with each try.
    :ivar exhaustions: how often it was said that no connector is left.
    """

    def __init__(self, world: World, tunnel: UUID = TUNNEL) -> None:
        self._entrypoint = world.entrypoint
        self.stream = None
        self.tunnel = tunnel
        self.fresh: list[bool] = []
        self.exhaustions = 0
        self.answered = False
        self.try_next()
        world.turn()

    def send_to(self, pool: UpstreamPool, fresh: bool) -> Upstream:
        self.fresh.append(fresh)
        upstream = (None if fresh else pool.acquire(self.host)) or pool.open(self.host)
        upstream.exchange = self
        upstream.answers.expect(parse_request(GET))
        upstream.stream.write(GET)
        return upstream

    def exhausted(self) -> None:
        self.exhaustions += 1

    def answer(self, events: list[Event]) -> None:
        self.answered = events[-1][0] in (WHOLE, END)
        assert self.stream is not None
        self.stream.release()
        self.stream = None

    def upstream_ended(self) -> None:
        if self.stream is not None:
            self.stream.discard()
        self.retry()

    def fail(self, *, answering: bool = False) -> None:
        raise AssertionError("an error in the test")


class Connection(Query, Attempts[Entrypoint, PendingStream]):
    """A connection on its way, which has a stream of its own.

    :ivar told: what was said of the stream.
    """

    protocol = VisitorProtocol.TLS

    def __init__(self, world: World) -> None:
        self._entrypoint = world.entrypoint
        self.stream = None
        self.tunnel = TUNNEL
        self.told: list[object] = []
        self.try_next()
        world.turn()

    def send_to(self, pool: UpstreamPool, fresh: bool) -> PendingStream:
        pending = PendingStream(self, pool)
        pending.stream.write(b"hello")
        return pending

    def exhausted(self) -> None:
        self.told.append("exhausted")

    def answered(self, pending: PendingStream, data: bytes) -> None:
        self.told += [pending, data]

    def answer_ended(self, pending: PendingStream) -> None:
        self.told += [pending, "ended"]

    def stream_lost(self, pending: PendingStream) -> None:
        self.told += [pending, "lost"]

    def fail(self) -> None:
        raise AssertionError("an error in the test")


class AttemptCase(SynchronousTestCase):
    """A tunnel with two connectors; the laptop's is chosen as long as it is attached and did not fail."""

    def setUp(self) -> None:
        self.world = World(self)
        self.laptop, self.pod = self.world.attach(255), self.world.attach(1)

    def counted(self) -> tuple[int, int]:
        """Streams and retries, in all."""
        return self.world.stats.streams_total, self.world.stats.retries_total

    def where(self, attempt: Attempts[Any, Any]) -> tuple[FarConnector | None, list[FarConnector]]:
        """Who was tried last, and who had failed."""
        ends = {far.connector: far for far in self.world.connectors}
        last = None if attempt.connector is None else ends[attempt.connector]
        return last, [ends[connector] for connector in attempt.failed or ()]


class OrderTests(AttemptCase):
    """Which connector is tried, on which stream."""

    def test_first(self) -> None:
        request = Request(self.world)
        self.assertEqual(self.laptop.stream.raw, GET)
        self.assertEqual(self.where(request), (self.laptop, []))
        self.assertEqual((request.fresh, request.retries), ([False], 0))
        self.assertEqual(self.counted(), (1, 0))
        self.assertEqual((self.laptop.connector.streams, self.pod.connector.streams), (1, 0))

    def test_none_attached(self) -> None:
        self.laptop.lose()
        self.pod.lose()
        request = Request(self.world)
        self.assertEqual((request.exhaustions, request.stream), (1, None))
        self.assertEqual(self.where(request), (None, []))
        self.assertIsNone(request.failed)
        self.assertEqual(self.counted(), (0, 0))

    def test_full_link(self) -> None:
        """One that has as many streams as it may have is passed over; idle ones make room."""
        self.laptop.pool._streams = StreamLimits(of_link=1)
        first = Connection(self.world)
        second = Connection(self.world)
        self.assertEqual((first.connector, second.connector), (self.laptop.connector, self.pod.connector))
        self.assertEqual(self.world.stats.limits[Limit.STREAMS_PER_LINK], 1)
        self.assertRaises(LinkFull, PendingStream, second, self.laptop.pool)
        first.drop_stream()
        idle = self.laptop.pool.open("pod.local")
        idle.answers.reusable = True
        idle.release()
        self.assertEqual(self.laptop.pool.idle, 1)
        self.assertIs(Connection(self.world).connector, self.laptop.connector)
        self.assertTrue(idle.stream.ended)

    def test_full_tunnel(self) -> None:
        """The links of a tunnel may have so many streams together, idle ones included, which make room."""
        count = StreamCount()
        for far in (self.laptop, self.pod):
            far.link._count = count
            far.pool._streams = StreamLimits(of_tunnel=2, count=count)
        connections = [Connection(self.world) for _ in range(2)]
        late = Connection(self.world)
        self.assertEqual((late.told, late.crowded, late.overloaded), (["exhausted"], True, True))
        self.assertEqual(self.world.stats.limits[Limit.STREAMS_PER_TUNNEL], 2, "at both connectors")
        connections[0].drop_stream()
        idle = self.laptop.pool.open("pod.local")
        idle.answers.reusable = True
        idle.release()
        self.assertIsNotNone(Connection(self.world).stream)
        self.assertTrue(idle.stream.ended)
        self.laptop.lose()
        self.pod.lose()
        self.assertEqual(count.open, 0)

    def test_full_links(self) -> None:
        """Too much waits for their clients: an idle stream is no way around that, and it is nobody's failure."""
        idle = self.laptop.pool.open("pod.local")
        idle.answers.reusable = True
        idle.release()
        for far in (self.laptop, self.pod):
            far.link.full, far.link.usable = True, False
        request = Request(self.world)
        self.assertEqual((request.exhaustions, request.crowded, request.overloaded), (1, True, True))
        self.assertEqual(self.world.stats.limits[Limit.LINK_BUFFER], 2)
        self.assertFalse(self.laptop.connector.failing)

    def test_closing_link(self) -> None:
        """It takes no streams: the next connector is tried, and as nothing was sent before, that is no retry."""
        self.laptop.be_closing()
        request = Request(self.world)
        self.assertEqual(self.pod.stream.raw, GET)
        self.assertEqual(self.where(request), (self.pod, [self.laptop]))
        self.assertEqual((request.fresh, request.retries), ([False, False], 0))
        self.assertEqual(self.counted(), (1, 0))
        self.assertEqual((self.laptop.connector.streams, self.pod.connector.streams), (0, 1))

    def test_all_links_closing(self) -> None:
        self.laptop.be_closing()
        self.pod.be_closing()
        request = Request(self.world)
        self.assertEqual((request.exhaustions, request.stream), (1, None))
        self.assertEqual(self.where(request), (self.pod, [self.laptop, self.pod]))
        self.assertEqual(self.counted(), (0, 0))

    def test_stream_lost(self) -> None:
        """Before the first byte of an answer, the next connector is tried."""
        request = Request(self.world)
        self.laptop.stream.refuse()
        self.assertEqual(self.pod.stream.raw, GET)
        self.assertEqual(self.where(request), (self.pod, [self.laptop]))
        self.assertEqual(request.retries, 1)
        self.assertEqual(self.counted(), (2, 1))

    def test_link_lost(self) -> None:
        request = Request(self.world)
        self.laptop.lose()
        self.assertEqual(self.pod.stream.raw, GET)
        self.assertEqual(self.where(request), (self.pod, [self.laptop]))

    def test_exhausted(self) -> None:
        """Each was tried once; a request that nobody was left for was not sent again."""
        request = Request(self.world)
        self.laptop.stream.refuse()
        self.pod.stream.refuse()
        self.assertEqual((request.exhaustions, request.stream), (1, None))
        self.assertEqual(self.where(request), (self.pod, [self.laptop, self.pod]))
        self.assertEqual(request.retries, 1)
        self.assertEqual(self.counted(), (2, 1))

    def test_many_that_fail(self) -> None:
        """Not all of them are tried, but as many as the option says."""
        limit = 3
        self.world.change(HttpSettings(max_retries=limit))
        others = [self.world.attach(255) for _ in range(limit + 5)]
        request = Request(self.world)
        left = [self.laptop, *others]
        for _ in range(1 + limit):
            self.assertEqual(request.exhaustions, 0)
            tried = next(far for far in left if far.streams)
            left.remove(tried)
            tried.stream.refuse()
        self.assertEqual(request.exhaustions, 1)
        self.assertEqual([far for far in (*left, self.pod) if far.streams], [])
        self.assertEqual((request.retries, request.stream), (limit, None))
        self.assertEqual(self.world.stats.limits[Limit.RETRIES], 1)

    def test_other_tunnels(self) -> None:
        """They are not asked."""
        request = Request(self.world, PRIVATE)
        self.assertEqual((request.exhaustions, request.connector), (1, None))


class FreeStreamTests(AttemptCase):
    """Streams that have carried a request before."""

    def setUp(self) -> None:
        super().setUp()
        requests = [Request(self.world) for _ in range(2)]
        for stream in self.laptop.streams:
            stream.answer(OK)
        self.assertTrue(all(request.answered for request in requests))
        self.before = self.counted()

    def test_is_taken(self) -> None:
        """It was counted when it was opened."""
        request = Request(self.world)
        self.assertEqual(len(self.laptop.streams), 2)
        assert request.stream is not None
        self.assertTrue(request.stream.used)
        self.assertEqual(self.counted(), self.before)
        self.assertEqual(self.laptop.connector.streams, 2)

    def test_lost(self) -> None:
        """That says nothing of its connector, which is tried again: on a fresh stream, for the other free one may be lost too."""
        request = Request(self.world)
        self.laptop.streams[-1].close()
        self.assertEqual(len(self.laptop.streams), 3)
        self.assertEqual(request.fresh, [False, True])
        self.assertEqual(self.where(request), (self.laptop, []))
        self.assertEqual(request.retries, 1)
        self.assertEqual(self.counted(), (3, 1))

    def test_fresh_stream_lost(self) -> None:
        """After a free one: now the connector is to blame."""
        request = Request(self.world)
        self.laptop.streams[1].close()
        self.laptop.streams[2].close()
        self.assertEqual(self.where(request), (self.pod, [self.laptop]))
        self.assertEqual(request.fresh, [False, True, True])
        self.assertEqual(request.retries, 2)
        self.assertEqual(self.counted(), (4, 2))

    def test_lost_with_its_link(self) -> None:
        """The connector takes no other stream."""
        request = Request(self.world)
        self.laptop.lose()
        self.assertEqual(self.where(request), (self.pod, [self.laptop]))
        self.assertEqual(self.pod.stream.raw, GET)


class EndTests(AttemptCase):
    """Whoever asked is gone, or was answered."""

    def test_dropped(self) -> None:
        """The stream ends at once, on both sides, and nobody else is tried."""
        request = Request(self.world)
        request.drop_stream()
        self.world.turn()
        self.assertTrue(self.laptop.stream.finished and self.laptop.stream.stopped)
        self.assertEqual((self.pod.streams, request.exhaustions), ([], 0))
        self.assertIsNone(request.stream)
        request.drop_stream()
        self.assertEqual(self.counted(), (1, 0))

    def test_lost_after_the_end(self) -> None:
        request = Request(self.world)
        self.laptop.stream.answer(OK)
        request.retry()
        self.assertEqual((self.pod.streams, self.counted()), ([], (1, 0)))
        self.assertEqual(self.where(request), (self.laptop, []))


class PendingStreamTests(AttemptCase):
    """A stream for one connection, until its first byte."""

    def test_answered(self) -> None:
        connection = Connection(self.world)
        self.assertEqual(self.laptop.stream.raw, b"hello")
        self.laptop.stream.answer(b"first")
        self.assertEqual(connection.told, [connection.stream, b"first"])

    def test_answer_ended(self) -> None:
        """A half-close: the other direction stays open."""
        connection = Connection(self.world)
        pending = connection.stream
        assert pending is not None
        self.laptop.stream.close()
        self.assertEqual(connection.told, [pending, "ended"])
        self.assertFalse(pending.stream.ended)
        pending.stream.loseWriteConnection()
        self.world.turn()
        self.assertEqual(connection.told, [pending, "ended", pending, "lost"])

    def test_given_up(self) -> None:
        connection = Connection(self.world)
        pending = connection.stream
        assert pending is not None
        self.laptop.stream.refuse()
        self.assertEqual(connection.told[-2:], [pending, "lost"])
        self.assertTrue(pending.stream.ended)

    def test_next_connector(self) -> None:
        """It has not carried anything, so its connector is to blame."""
        connection = Connection(self.world)
        self.laptop.stream.refuse()
        connection.retry()
        self.world.turn()
        self.assertEqual(self.pod.stream.raw, b"hello")
        self.assertEqual(connection.failed, [self.laptop.connector])
        self.assertEqual(self.counted(), (2, 1))

    def test_closing_link(self) -> None:
        self.laptop.be_closing()
        self.assertRaises(LinkClosed, PendingStream, Connection(self.world), self.laptop.pool)
