"""Requests that arrive at one server and are served by a client of another one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit, Outcome, TlsOutcome, VisitOutcome
from rtunnel.server.peers.forwarding import Forwarding
from rtunnel.settings import LimitSettings
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.peers import stream_prefix
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Status, TunnelFeature, take_response
from rtunnel.wire.smux import BROKEN, FINISHED, REFUSED, Session
from tests.server.harness import OtherEnd
from tests.server.peers.site import PRIVATE_HOST, Client, Guest, Server, Site
from tests.support.heads import GET, OK, POST
from tests.support.hellos import client as client_hello
from tests.support.ids import TUNNEL
from tests.support.pipe import connect

BIG = 4 << 20


class TwoServers(SynchronousTestCase):
    """Two servers; visitors come to the first one."""

    def setUp(self) -> None:
        self.site = Site(self)
        self.here, self.there = self.site.servers

    @property
    def stats(self) -> ServerStats:
        """The counters where the visitors are."""
        return self.here.service.stats

    def asked(self, client: Client) -> bytes:
        """The request line that a client got last."""
        return client.stream.take().partition(b"\r\n")[0]


class HttpTests(TwoServers):
    """Exchanges; the client is at the second server."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.there.attach()

    def test_served_by_a_client_of_another_server(self) -> None:
        visitor = self.here.visit(GET)
        self.assertEqual(self.asked(self.client), b"GET / HTTP/1.1")
        self.client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.stats.requests[Outcome.ANSWERED], 1)
        self.assertEqual((self.stats.peers.streams_out, self.there.service.stats.peers.streams_in), (1, 1))
        self.assertEqual(self.there.rows[0].streams, 1)

    def test_the_stream_is_used_again(self) -> None:
        visitor = self.here.visit(GET)
        for _ in range(3):
            self.client.stream.answer(OK)
            visitor.send(GET)
        self.assertEqual(len(self.client.streams), 1)
        self.assertEqual(visitor.received, OK * 3)

    def test_an_idle_stream_is_closed_at_last(self) -> None:
        self.here.visit(GET)
        self.client.stream.answer(OK)
        self.site.pass_time(65)
        self.assertTrue(self.client.stream.finished)
        self.assertFalse(self.there.rows[0].pool.busy)

    def test_nothing_is_forwarded_twice(self) -> None:
        """The second server has only the connector of the first one, which has none of its own then."""
        row = self.here.rows[0]
        self.client.lose()
        self.here.service.registry.add(row)
        visitor = self.here.visit(GET)
        self.assertEqual(visitor.status, 503)
        self.assertEqual(self.there.service.stats.peers.turned_away, 1)

    def test_body_and_answer_of_any_size(self) -> None:
        body = bytes(range(256)) * (BIG // 256)
        visitor = self.here.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: %d\r\n\r\n" % BIG)
        visitor.send(body)
        self.assertEqual(self.client.stream.take().partition(b"\r\n\r\n")[2], body)
        self.client.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        for start in range(0, BIG, 65536):
            self.client.stream.answer(body[start : start + 65536])
        self.assertEqual(visitor.received.partition(b"\r\n\r\n")[2], body)

    def test_a_slow_visitor_bounds_what_waits(self) -> None:
        """Each of the two servers holds a window of the stream at most, and the client is stopped."""
        visitor = self.here.visit(GET)
        visitor.transport.pauseProducing()
        self.client.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 << 20))
        for _ in range(160):
            self.client.stream.answer(bytes(65536))
        for server in (self.here, self.there):
            self.assertLess(server.service._buffered(), (1 << 20) + (512 << 10))
        self.assertGreater(self.client.session.buffered, 7 << 20)
        visitor.transport.resumeProducing()
        self.site.turn()
        self.assertGreater(len(visitor.received), 160 * 65536)

    def test_a_slow_client_bounds_what_waits(self) -> None:
        self.client.consume = False
        visitor = self.here.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: %d\r\n\r\n" % (100 << 20))
        for _ in range(160):
            visitor.send(bytes(65536))
        for server in (self.here, self.there):
            self.assertLess(server.service._buffered(), (1 << 20) + (512 << 10))
        self.assertGreater(visitor.transport.waiting, 6 << 20)

    def test_a_visitor_that_leaves_is_noticed_by_the_client(self) -> None:
        visitor = self.here.visit(GET)
        self.client.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n...")
        visitor.transport.abortConnection()
        self.site.turn()
        self.assertTrue(self.client.stream.finished)
        self.assertTrue(self.client.stream.stopped)

    def test_an_answer_that_breaks_off(self) -> None:
        visitor = self.here.visit(GET)
        self.client.stream.answer(b"HTTP/1.1 200 OK\r\n\r\n...")
        self.client.session.mark_broken(self.client.stream.id)
        self.client.stream.close()
        self.assertTrue(visitor.aborted)
        self.assertEqual(self.stats.requests[Outcome.ABORTED], 1)

    def test_an_answer_that_ends(self) -> None:
        visitor = self.here.visit(GET)
        self.client.stream.answer(b"HTTP/1.1 200 OK\r\n\r\n...")
        self.client.stream.close()
        self.assertTrue(visitor.closed)
        self.assertFalse(visitor.aborted)
        self.assertEqual(self.stats.requests[Outcome.ANSWERED], 1)

    def test_the_link_of_the_client_breaks_in_the_answer(self) -> None:
        visitor = self.here.visit(GET)
        self.client.stream.answer(b"HTTP/1.1 200 OK\r\n\r\n...")
        self.client.lose()
        self.assertTrue(visitor.aborted)

    def test_upgrade(self) -> None:
        visitor = self.here.visit(
            b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        stream = self.client.stream
        stream.take()
        stream.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        stream.answer(b"from the target")
        visitor.send(b"from the visitor")
        self.assertTrue(visitor.received.endswith(b"\r\n\r\nfrom the target"))
        self.assertEqual(stream.take(), b"from the visitor")
        visitor.transport.loseConnection()
        self.site.turn()
        self.assertTrue(stream.finished)


class FailoverTests(TwoServers):
    """Clients at both servers, or several at the other one."""

    def test_not_delivered(self) -> None:
        """Even a POST goes to the next connector."""
        first, second = self.there.attach(255), self.here.attach()
        visitor = self.here.visit(POST)
        first.stream.refuse()
        second.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.stats.retries_total, 1)

    def test_perhaps_delivered(self) -> None:
        """A POST does not go to another one when the link of its client is lost; a GET does."""
        first, second = self.there.attach(255), self.here.attach()
        visitor = self.here.visit(POST)
        other = self.here.visit(GET)
        first.lose()
        self.assertEqual(visitor.status, 502)
        second.stream.answer(OK)
        self.assertEqual(other.received, OK)

    def test_the_other_server_is_lost(self) -> None:
        self.there.attach(255)
        local = self.here.attach()
        visitor = self.here.visit(GET)
        self.there.lose()
        local.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(len(self.here.rows), 1)

    def test_a_connector_that_has_left(self) -> None:
        """The request was on its way when its connector left: it goes on, whatever its method, and nobody's target is blamed."""
        remote, local = self.there.attach(255), self.here.attach()
        pipe = self.site.peer_pipe(1, 2)
        pipe.silent = True
        visitor = self.here.visit(POST)
        [row] = [row for row in self.here.rows if row.pool.is_remote]
        remote.leave()
        pipe.silent = False
        self.site.turn()
        local.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(remote.streams, [])
        self.assertFalse(row.failing)

    def test_a_target_that_cannot_be_reached_is_avoided(self) -> None:
        remote, local = self.there.attach(255, instance=1), self.here.attach()
        visitor = self.here.visit(GET)
        remote.stream.refuse()
        local.stream.answer(OK)
        visitor.send(GET)
        self.assertEqual(len(remote.streams), 1)
        self.assertEqual(len(local.streams), 1)
        self.site.pass_time(1.5)
        self.here.visit(GET)
        remote.stream.answer(OK)
        self.assertEqual(len(remote.streams), 2)
        self.assertFalse(any(row.failing for row in self.here.rows))

    def test_a_suspect_client_is_avoided_everywhere(self) -> None:
        remote, local = self.there.attach(255), self.here.attach()
        remote.session.ask()
        visitor = self.here.visit(GET)
        remote.transport._pipe.silent = True
        self.there.rows[0].pool.link.answers_probes = True
        self.site.pass_time(3)
        other = self.here.visit(GET)
        local.stream.answer(OK)
        self.assertEqual(other.received, OK)
        self.site.pass_time(4)
        local.streams[-1].answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_a_silent_server_is_avoided_then_lost(self) -> None:
        self.there.attach(255)
        local = self.here.attach()
        visitor = self.here.visit(GET)
        self.site.part(1, 2, silently=True)
        self.site.pass_time(2.5)
        self.assertEqual(sorted(row.avoided for row in self.here.rows), [False, True])
        self.here.visit(GET)
        self.assertEqual(len(local.streams), 1)
        self.site.pass_time(4)
        self.assertEqual(len(self.here.rows), 1)
        local.stream.answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_parted_servers_find_each_other_again(self) -> None:
        client = self.there.attach()
        self.site.part(1, 2)
        self.assertEqual(self.here.visit(GET).status, 503)
        self.site.pass_time(10)
        self.assertEqual(self.here.rows, [])
        self.site.cut.clear()
        self.site.pass_time(6)
        visitor = self.here.visit(GET)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)


class FullTests(SynchronousTestCase):
    """A client that has as many streams as it may have."""

    def test_its_server_sends_requests_elsewhere(self) -> None:
        """Only it knows; nothing was delivered, so even a POST goes on."""
        site = Site(self, limits=LimitSettings(streams_per_link=1))
        here, there = site.servers
        remote = there.attach(255)
        first, second = here.visit(POST), here.visit(POST)
        self.assertEqual(second.status, 503)
        local = here.attach()
        third = here.visit(POST)
        local.stream.answer(OK)
        remote.stream.answer(OK)
        self.assertEqual((first.received, third.received), (OK, OK))
        self.assertEqual(there.service.stats.limits[Limit.STREAMS_PER_LINK], 2)
        self.assertEqual(there.service.stats.peers.turned_away, 2)


class ChoiceTests(TwoServers):
    """How connectors of both servers are chosen."""

    def served(self, server: Server, requests: int, **headers: str) -> int:
        """How many of some requests went to each client, in the order in which they joined."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"GET / HTTP/1.1\r\nHost: pod.local\r\n{fields}\r\n".encode()
        counts = [0] * len(self.site.clients)
        visitor = server.visit()
        for _ in range(requests):
            visitor.send(request)
            for number, client in enumerate(self.site.clients):
                for stream in client.streams:
                    if stream.take():
                        counts[number] += 1
                        stream.answer(OK)
        self.assertEqual(sum(counts), requests)
        self.counts = counts
        return requests

    def test_weights(self) -> None:
        """They hold at every server, wherever the clients are."""
        self.here.attach(1)
        self.there.attach(3)
        for server in (self.here, self.there):
            self.served(server, 2000)
            # six standard deviations of a binomial distribution with 2000 trials and p = 1/4
            self.assertLess(abs(self.counts[0] - 500), 117)

    def test_exclusive(self) -> None:
        self.here.attach(1)
        self.there.attach(255)
        self.served(self.here, 20)
        self.assertEqual(self.counts, [0, 20])

    def test_filters(self) -> None:
        self.here.attach(1)
        self.there.attach(filters=["header:X-User=alice"])
        self.served(self.here, 5, **{"X-User": "alice"})
        self.assertEqual(self.counts, [0, 5])
        self.served(self.here, 5, **{"X-User": "bob"})
        self.assertEqual(self.counts, [5, 0])

    def test_a_client_of_several_servers_counts_once(self) -> None:
        """And requests stay where they arrive."""
        self.here.attach(1, instance=7)
        self.there.attach(1, instance=7)
        self.there.attach(1, instance=8)
        self.assertEqual((len(self.here.rows), len(self.there.rows)), (2, 2))
        self.served(self.here, 1000)
        self.assertEqual(self.counts[1], 0)
        self.assertLess(abs(self.counts[0] - 500), 95)
        self.site.clients[0].lose()
        self.assertEqual(len(self.here.rows), 2)
        self.served(self.here, 10)
        self.assertEqual(self.counts[0], 0)

    def test_a_client_of_several_other_servers_counts_once(self) -> None:
        site = self.site = Site(self, 3)
        second, third = (server.attach(instance=7) for server in site.servers[1:])
        [row] = site.servers[0].rows
        first = next(client for client in (second, third) if row.id in {one.id for one in client.server.rows})
        other = third if first is second else second
        self.served(site.servers[0], 1)
        first.lose()
        self.served(site.servers[0], 3)
        self.assertEqual(len(other.streams), 1)
        self.assertEqual(len(site.servers[0].rows), 1)


class VisitTests(TwoServers):
    """Connections that are passed on as they are: visits of private tunnels, TLS."""

    def visit(self, network: Network = Network.TCP, server: Server | None = None) -> Guest:
        """A visitor of the private host."""
        request = Request(
            command=Command.CONNECT,
            network=network,
            credentials=None,
            addresses=(RelayAddress("192.0.2.9", 4711), RelayAddress(PRIVATE_HOST, 5432)),
            tunnel=TunnelFeature(TUNNEL, udp=network is Network.UDP),
            metadata={},
        )
        guest = (server or self.here).visit_tunnel(request.encode())
        taken = take_response(guest.take())
        assert taken is not None
        self.assertIs(taken[0].status, Status.OK)
        return guest

    def test_target_speaks_first(self) -> None:
        client = self.there.attach()
        guest = self.visit()
        client.stream.answer(b"220 hello")
        self.assertEqual(guest.take(), b"220 hello")
        guest.send(b"quit")
        self.assertEqual(client.stream.take(), b"quit")
        self.assertEqual(client.stream.preface.addresses[-1].host, PRIVATE_HOST)

    def test_half_closed_by_the_visitor(self) -> None:
        client = self.there.attach()
        guest = self.visit().send(b"question")
        guest.transport.loseWriteConnection()
        self.site.turn()
        self.assertEqual(client.stream.take(), b"question")
        self.assertTrue(client.stream.finished)
        client.stream.answer(b"answer")
        client.stream.close()
        self.assertEqual(guest.take(), b"answer")
        self.assertTrue(guest.closed)
        self.assertEqual(self.stats.visits[VisitOutcome.DONE], 1)
        self.assertEqual([server.replicas.busy for server in self.site.servers], [False, False])

    def test_half_closed_by_the_target(self) -> None:
        client = self.there.attach()
        guest = self.visit().send(b"question")
        client.stream.answer(b"answer")
        client.stream.close()
        self.assertTrue(guest.half_closed)
        guest.send(b"and more")
        self.assertEqual(client.stream.take(), b"questionand more")
        self.assertFalse(client.stream.finished)

    def test_visitor_gone(self) -> None:
        client = self.there.attach()
        guest = self.visit().send(b"question")
        guest.transport.abortConnection()
        self.site.turn()
        self.assertTrue(client.stream.finished and client.stream.stopped)

    def test_target_fails(self) -> None:
        client, local = self.there.attach(255), self.here.attach()
        guest = self.visit()
        client.stream.refuse()
        local.stream.answer(b"hello")
        self.assertEqual(guest.take(), b"hello")

    def test_datagrams(self) -> None:
        self.there.attach()
        client = self.there.attach(datagrams=True)
        guest = self.visit(Network.UDP).send(b"\0\3abc")
        self.assertEqual(client.stream.take(), b"\0\3abc")
        client.stream.answer(b"\0\1z")
        self.assertEqual(guest.take(), b"\0\1z")

    def test_tls(self) -> None:
        client = self.there.attach()
        greeting = client_hello("pod.local")[2]
        guest = self.here.visit(greeting)
        self.assertEqual(client.stream.take(), greeting)
        client.stream.answer(b"server hello")
        self.assertEqual(guest.take(), b"server hello")
        client.stream.close()
        guest.transport.loseConnection()
        self.site.turn()
        self.assertEqual(self.stats.tls[TlsOutcome.DONE], 1)


class PrefixTests(SynchronousTestCase):
    """Streams whose prefix is not what it should be, or comes byte by byte."""

    def setUp(self) -> None:
        self.stats = ServerStats()
        clock: Any = Clock()
        self.clock = clock
        self.forwarding = Forwarding(lambda connector: None, self.stats)
        self.link = Link(
            Session(opens=False),
            reactor=clock,
            keepalive=Keepalive(0),
            on_stream=self.forwarding.accept,
            on_lost=lambda *reason: None,
        )
        self.peer = OtherEnd()
        self.pipe = connect(self.peer, self.link)
        self.session = Session(opens=True)

    def send(self, *pieces: bytes, finish: bool = False) -> list[int]:
        """What the peer hears after it has sent some bytes on a stream."""
        number = self.session.open()
        for piece in pieces:
            self.session.send(number, piece)
            self.peer.transport.write(self.session.take_output())
            self.pipe.pump()
        if finish:
            self.session.finish(number)
            self.peer.transport.write(self.session.take_output())
        for _ in range(3):
            self.pipe.pump()
            self.clock.advance(0)
        self.pipe.pump()
        return [kind for kind, _, _ in self.session.receive(self.peer.take())]

    def test_byte_by_byte(self) -> None:
        kinds = self.send(*(bytes([byte]) for byte in stream_prefix(uuid4())))
        self.assertIn(REFUSED, kinds)
        self.assertIn(BROKEN, kinds)
        self.assertEqual(self.stats.peers.turned_away, 1)

    def test_another_version(self) -> None:
        self.assertIn(REFUSED, self.send(b"\x02" + bytes(16)))

    def test_cut_off(self) -> None:
        self.assertIn(FINISHED, self.send(b"\x01", finish=True))
        self.assertEqual(self.link.streams, {})
