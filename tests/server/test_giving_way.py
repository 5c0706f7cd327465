"""Connections on which nothing goes on give way when others need their places."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit, Outcome
from rtunnel.server.connection_budget import PORTION
from rtunnel.server.entrypoint.proxied import ProxiedEntrypoint
from rtunnel.server.limits import ClientPlace, ServerLimits
from rtunnel.settings import Address, LimitSettings, ListenerSettings
from tests.server.harness import HttpCase, Visitor
from tests.server.test_tls import HELLO
from tests.support.heads import GET, OK
from tests.support.logs import logged
from tests.support.transports import PingingTransport

PLAIN = ListenerSettings(listen=Address("", 8421))


class VisitorTests(HttpCase):
    """Six places, and somebody who has come later than all of them."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()
        limits = ServerLimits(LimitSettings(connections=6, connections_per_address=6), self.world.stats)
        limits.start(None)
        self.visitors = limits.visitors
        self.gate = self.visitors.gate(PLAIN)

    def arrive(self, data: bytes = b"", address: int = 9, factory: Any = None) -> Visitor:
        """Somebody comes, as long as there is room."""
        self.assertGreater(self.gate.room, 0, "the port is paused")
        visitor = Visitor(factory or self.world.factory, self.world, IPv4Address("TCP", f"192.0.2.{address}", 4711), self.gate)
        self.world.turn()
        return visitor.send(data) if data else visitor

    def served(self, address: int = 9) -> Visitor:
        """Somebody whose first request was answered."""
        visitor = self.arrive(GET, address)
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.take(), OK)
        return visitor

    def gone(self, *visitors: Visitor) -> list[bool]:
        """Which of them are."""
        self.world.turn()
        return [visitor.closed or visitor.aborted for visitor in visitors]

    def test_silent_ones_first(self) -> None:
        """Those that have said nothing whole, in the order in which they came; whoever comes after 100 of them is served."""
        idle, busy = self.served(), self.arrive(GET)
        silent = [self.arrive(begun) for begun in (b"", b"GET / HT", HELLO[:20], b"\x16")]
        self.assertEqual(self.gone(*silent, idle, busy), [True, False, False, False, False, False])
        for count in range(2, 5):
            self.arrive()
            self.assertEqual(self.gone(*silent), [True] * count + [False] * (4 - count))
        for _ in range(100):
            self.arrive()
        last = self.served()
        self.pod.streams[0].answer(OK)
        self.assertEqual((busy.take(), self.gone(idle, busy, last)), (OK, [False, False, False]))
        self.assertEqual(self.world.stats.limits[Limit.CONNECTIONS], 1, "one time of pauses")

    def test_then_the_idle_ones(self) -> None:
        """Between two requests, the longest idle one first; in order, so that what they were sent arrives."""
        first, second = self.served(), self.served()
        self.world.clock.advance(10)
        first.send(GET)
        self.pod.stream.answer(OK)
        first.take()
        busy = [self.arrive(GET) for _ in range(4)]
        self.assertEqual(self.gone(first, second, *busy), [False, True, False, False, False, False])
        self.assertFalse(second.aborted)
        busy.append(self.arrive(GET))
        self.assertEqual(self.gone(first, *busy), [True] + [False] * 5)

    def test_all_are_in_use(self) -> None:
        """They keep their places, and others wait; whoever is idle next gives way in the sweep."""
        with logged() as lines:
            busy = [self.arrive(GET) for _ in range(6)]
        self.assertEqual((self.gate.room, self.gone(*busy)), (0, [False] * 6))
        (line,) = lines
        self.assertIn("visitors have all of 6 connections (--max-connections): idle ones are closed for new ones, which else", line)
        for stream in list(self.pod.streams):
            stream.answer(OK)
        self.assertEqual([visitor.take() for visitor in busy], [OK] * 6)
        self.visitors.budget.sweep(1.0)
        self.assertEqual((self.gone(*busy), self.gate.room), ([True] + [False] * 5, 1))

    def test_most_of_an_address(self) -> None:
        """The connections of whoever holds most of them go first, whoever came first."""
        alone = self.arrive(address=1)
        many = [self.arrive(address=2) for _ in range(5)]
        self.assertEqual(self.gone(alone, *many), [False, True, False, False, False, False])
        for number in range(3, 6):
            self.arrive(address=number)
        self.assertEqual(self.gone(alone, *many), [False, True, True, True, True, False])

    def test_slow_reader(self) -> None:
        """Who still reads its response is not cut off."""
        slow = self.arrive(GET)
        slow.stop_reading()
        large = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
        self.pod.stream.answer(large)
        busy = [self.arrive(GET) for _ in range(5)]
        self.visitors.budget.sweep(1.0)
        self.visitors.budget.sweep(2.0)
        slow.read_on()
        self.assertEqual(slow.received, large)
        self.assertEqual((self.gone(slow, *busy), slow.aborted), ([True] + [False] * 5, False))

    def test_proxy_header(self) -> None:
        """A connection that has not said whom it is for is nobody's yet."""
        proxies = (ip_network("192.0.2.0/24"),)
        settings = ListenerSettings(listen=Address("", 1), proxy_protocol=proxies)
        self.gate = self.visitors.gate(settings)
        proxied = ProxiedEntrypoint(self.world.entrypoint, proxies)
        waiting = self.arrive(b"PROXY ", factory=proxied)
        busy = [self.arrive(GET) for _ in range(5)]
        self.assertEqual(self.gone(waiting, *busy), [True] + [False] * 5)

    def test_no_descriptor(self) -> None:
        """The same when the system has none."""
        silent = [self.arrive() for _ in range(3)]
        self.gate.exhausted(OSError(24, "played"))
        self.assertEqual(self.gone(*silent), [True, False, False])

    def test_nothing_is_left(self) -> None:
        visitors = [self.arrive() for _ in range(20)]
        visitors.append(self.arrive(GET))
        self.pod.stream.answer(OK)
        for visitor in visitors:
            visitor.vanish()
        self.assertEqual((self.visitors.budget.places, self.visitors.connections.used), ({}, 0))
        self.assertEqual(set(self.world.outcomes()), {Outcome.ANSWERED})


class Closing(PingingTransport):
    """A transport that is closed at once.

    :ivar socket: what it is made of, if it is.
    """

    taken_place: ClientPlace
    socket: Any = None

    def tcp_socket(self) -> Any:
        return self.socket

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.taken_place.leave()


class ClientTests(SynchronousTestCase):
    """Handshakes that are not finished."""

    def setUp(self) -> None:
        limits = ServerLimits(LimitSettings(handshakes=4, handshakes_per_address=4, tunnel_connections=1000), ServerStats())
        limits.start(None)
        self.clients = limits.clients
        self.gate = self.clients.gate(PLAIN)

    def arrive(self, host: str = "192.0.2.1") -> tuple[Closing, ClientPlace]:
        place: Any = self.gate.enter(host)
        transport = Closing()
        transport.taken_place = place
        place.taken_by(transport)
        return transport, place

    def test_silent_ones(self) -> None:
        """The oldest of the address with most of them; a request that is being decided on is waited for, and so is a link."""
        _, link = self.arrive()
        link.admit("192.0.2.1")
        asked, place = self.arrive()
        place.asked = True
        alone, _ = self.arrive("192.0.2.2")
        silent = [self.arrive()[0] for _ in range(2)]
        self.assertEqual([one.disconnecting for one in (asked, alone, *silent)], [False, False, True, False])
        self.assertEqual(self.gate.room, 1)
        for _ in range(50):
            self.arrive()
        self.assertEqual([one.disconnecting for one in (asked, alone, *silent)], [False, False, True, True])
        self.assertEqual(self.gate.room, 1)

    def test_something_was_just_sent(self) -> None:
        """What the system has and the server has not read yet counts: only who is silent gives way."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.setblocking(False)
        sender, _ = self.arrive()
        sender.socket = near
        far.sendall(b"GET ")
        silent = [self.arrive()[0] for _ in range(3)]
        self.assertEqual([one.disconnecting for one in (sender, *silent)], [False, True, False, False])
        near.recv(100)
        self.arrive()
        self.assertEqual([one.disconnecting for one in (sender, *silent)], [True, True, False, False])

    def test_all_are_decided_on(self) -> None:
        """Then others wait."""
        came = [self.arrive() for _ in range(2)]
        for _, place in came:
            place.asked = True
        came += [self.arrive() for _ in range(2)]
        self.assertEqual([transport.disconnecting for transport, _ in came], [False, False, True, False])
        came[3][1].asked = True
        came.append(self.arrive())
        came[4][1].asked = True
        self.clients.budget.sweep(1.0)
        self.assertEqual([transport.disconnecting for transport, _ in came], [False, False, True, False, False])
        self.assertEqual(self.gate.room, 0)
        came[0][1].leave()
        self.assertEqual(self.gate.room, 1)


class PortionTests(SynchronousTestCase):
    """How many give way at a time."""

    def test_many(self) -> None:
        limits = ServerLimits(LimitSettings(handshakes=4 * PORTION, handshakes_per_address=4 * PORTION), ServerStats())
        limits.start(None)
        gate = limits.clients.gate(PLAIN)
        for _ in range(4 * PORTION):
            place: Any = gate.enter("192.0.2.1")
            transport = Closing()
            transport.taken_place = place
            place.taken_by(transport)
        self.assertEqual(gate.room, 4)
