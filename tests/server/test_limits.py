"""The limits of a server: places for connections, in all and of one address."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.descriptors import RESERVE
from rtunnel.outcomes import Limit
from rtunnel.server.connection_budget import MAX_TOLD, QUIET
from rtunnel.server.limits import ClientPlace, ServerLimits
from rtunnel.settings import Address, HttpSettings, LimitSettings, ListenerSettings
from tests.support.logs import logged

PLAIN = ListenerSettings(listen=Address("", 8421))


class PlayedPort:
    """A port that is paused or not."""

    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


ROOM = "idle ones are closed for new ones, which else wait until there is room"


class Case(SynchronousTestCase):
    def limits(self, descriptors: int | None = 1_000_000, **settings: Any) -> ServerLimits:
        self.stats = ServerStats()
        limits = ServerLimits(LimitSettings(**settings), self.stats)
        limits.start(descriptors)
        return limits

    def reached(self) -> dict[Limit, int]:
        return {limit: count for limit, count in self.stats.limits.items() if count}


class DefaultTests(Case):
    def figures(self, limits: ServerLimits) -> tuple[int, ...]:
        visitors, clients = limits.visitors, limits.clients
        return (
            visitors.connections.most,
            visitors.addresses.most,
            clients.connections.most,
            clients.handshakes.most,
            clients.beginners.most,
            clients.links.most,
            limits.links_per_tunnel,
        )

    def test_few_descriptors(self) -> None:
        """A quarter of what is not kept back is for clients."""
        left = 256 - RESERVE
        self.assertEqual(self.figures(self.limits(256)), (left * 3 // 4, left * 3 // 8, left // 4, left // 8, left // 16, 24, 24))

    def test_many_descriptors(self) -> None:
        many = (65_536, 32_768, 16_384, 2048, 1024, 8192, 8192)
        for descriptors in (1_000_000, None):
            self.assertEqual(self.figures(self.limits(descriptors)), many)

    def test_hardly_any(self) -> None:
        self.assertTrue(all(self.figures(self.limits(10))))

    def test_what_the_user_wants(self) -> None:
        wanted = {
            "connections": 100,
            "connections_per_address": 10,
            "tunnel_connections": 50,
            "handshakes": 40,
            "handshakes_per_address": 30,
            "links_per_address": 20,
            "links_per_tunnel": 15,
        }
        self.assertEqual(self.figures(self.limits(**wanted)), tuple(wanted.values()))

    def test_more_than_there_are(self) -> None:
        """It is said, and what there are are used; clients keep their share."""
        with logged() as lines:
            found = self.figures(self.limits(1024, connections=5000))
        self.assertEqual((found[0], found[2]), ((1024 - RESERVE) * 3 // 4, (1024 - RESERVE) // 4))
        (line,) = lines
        self.assertIn("--max-connections 5000 is more than the limit of 1024 descriptors allows, so it is 720", line)
        with logged() as lines:
            self.limits(1024, connections=700, tunnel_connections=200)
        self.assertEqual(lines, [])


class VisitorTests(Case):
    def test_all_taken(self) -> None:
        """Ports pause at the limit and go on as soon as there is room; the log tells when it begins and when it is over."""
        limits = self.limits(connections=3, connections_per_address=3)
        gate, budget = limits.visitors.gate(PLAIN), limits.visitors.budget
        port: Any = PlayedPort()
        budget.add(port)
        with logged() as lines:
            places = [gate.enter("192.0.2.1") for _ in range(2)]
            self.assertEqual((port.paused, gate.room), (False, 1))
            for _ in range(5):
                last = gate.enter("192.0.2.1")
                assert last is not None
                self.assertEqual((port.paused, gate.room), (True, 0))
                budget.sweep(1.0)
                last.leave()
                self.assertEqual((port.paused, gate.room), (False, 1))
            late: Any = PlayedPort()
            places.append(gate.enter("192.0.2.1"))
            budget.add(late)
            self.assertTrue(late.paused)
        self.assertEqual(lines, [f"visitors have all of 3 connections (--max-connections): {ROOM}"])
        self.assertEqual(self.reached(), {Limit.CONNECTIONS: 1})
        with logged() as lines:
            budget.sweep(2.0)
            for place in places:
                assert place is not None
                place.leave()
            budget.sweep(2.0 + QUIET / 2)
            self.assertEqual(lines, [])
            for now in (2.0 + QUIET, 4.0 + QUIET):
                budget.sweep(now)
        (line,) = lines
        self.assertIn("accepted at once again", line)
        self.assertEqual(len(limits.visitors.addresses), 0)

    def test_clients_have_their_own(self) -> None:
        limits = self.limits(connections=1)
        limits.visitors.gate(PLAIN).enter("192.0.2.1")
        self.assertGreater(limits.clients.gate(PLAIN).room, 1000)

    def test_no_descriptor(self) -> None:
        """In spite of the arithmetic; tried again at each sweep."""
        limits = self.limits()
        gate, budget = limits.visitors.gate(PLAIN), limits.visitors.budget
        port: Any = PlayedPort()
        budget.add(port)
        with logged() as lines:
            for now in (1.0, 1.5, 2.0):
                gate.exhausted(OSError(errno.EMFILE, "played"))
                self.assertEqual((port.paused, gate.room), (True, 0))
                budget.sweep(now)
                self.assertFalse(port.paused)
                self.assertGreater(gate.room, 0)
        self.assertEqual(lines, ["no connection can be accepted: Too many open files; others wait until one can"])
        self.assertEqual(self.reached(), {Limit.DESCRIPTORS: 1})
        with logged() as lines:
            for now in (3.0, 2.0 + QUIET, 9.0 + QUIET):
                budget.sweep(now)
        self.assertEqual(len(lines), 1)

    def test_a_descriptor_is_free(self) -> None:
        """Accepting goes on as soon as a connection has ended; it is over for the log when there was no pause for a while."""
        limits = self.limits()
        gate, budget = limits.visitors.gate(PLAIN), limits.visitors.budget
        port: Any = PlayedPort()
        budget.add(port)
        with logged() as lines:
            for now in (100.0, 100.5, 101.0):
                place = gate.enter("192.0.2.1")
                assert place is not None
                gate.exhausted(OSError(errno.EMFILE, "played"))
                self.assertTrue(port.paused)
                place.leave()
                self.assertFalse(port.paused)
                self.assertGreater(gate.room, 0)
                budget.sweep(now)
        self.assertEqual(len(lines), 1)
        with logged() as lines:
            for now in (101.5, 101.0 + QUIET, 110.0 + QUIET):
                budget.sweep(now)
        self.assertEqual(len(lines), 1)

    def test_one_address(self) -> None:
        """It gets no more than its part, however it is spelled; the log names it once."""
        limits = self.limits(connections_per_address=2)
        gate = limits.visitors.gate(PLAIN)
        with logged() as lines:
            first, _ = gate.enter("2001:db8::1"), gate.enter("2001:DB8:0::2")
            self.assertEqual([gate.enter("2001:db8::3") for _ in range(3)], [None] * 3)
            self.assertIsNotNone(gate.enter("2001:db8:0:1::1"))
            assert first is not None
            first.leave()
            self.assertIsNotNone(gate.enter("2001:db8::3"))
            self.assertIsNone(gate.enter("2001:db8::3"))
        (line,) = lines
        self.assertIn("refused 2001:db8::/64: it has 2 connections to entrypoints (--max-connections-per-address;", line)
        self.assertEqual(self.reached(), {Limit.CONNECTIONS_PER_ADDRESS: 4})

    def test_many_addresses(self) -> None:
        """The log names some of them."""
        gate = self.limits(connections_per_address=1).visitors.gate(PLAIN)
        with logged() as lines:
            for number in range(3 * MAX_TOLD):
                gate.enter(f"10.0.{number}.1")
                gate.enter(f"10.0.{number}.1")
        self.assertEqual(len(lines), MAX_TOLD)

    def test_proxies(self) -> None:
        """The connections of trusted proxies count for nobody; those of a PROXY header for the address in it."""
        limits = self.limits(connections_per_address=1)
        settings = ListenerSettings(
            listen=Address("", 8421),
            http=HttpSettings(trusted_proxies=(ip_network("10.0.0.0/8"),)),
            proxy_protocol=(ip_network("fd00::/8"),),
        )
        gate = limits.visitors.gate(settings)
        for host in ("10.0.0.1", "fd00::1"):
            for _ in range(5):
                self.assertIsNotNone(gate.enter(host))
        first, second = gate.enter("fd00::1"), gate.enter("fd00::1")
        assert first is not None and second is not None
        self.assertEqual([place.recount("192.0.2.1") for place in (first, second)], [True, False])
        first.leave()
        self.assertTrue(second.recount("192.0.2.1"))
        second.leave()
        self.assertEqual(limits.visitors.connections.used, 10)
        self.assertEqual(len(limits.visitors.addresses), 0)


class ClientTests(Case):
    def enter(self, limits: ServerLimits, host: str = "192.0.2.1") -> ClientPlace:
        place = limits.clients.gate(PLAIN).enter(host)
        assert isinstance(place, ClientPlace)
        return place

    def test_handshakes(self) -> None:
        """At their limit the port pauses, whatever else there is room for; one that is finished makes room."""
        limits = self.limits(handshakes=2, handshakes_per_address=2)
        with logged() as lines:
            first, second = self.enter(limits), self.enter(limits)
        self.assertEqual(limits.clients.budget.room, 0)
        self.assertEqual(lines, [f"2 clients have not finished their handshake (--max-handshakes): {ROOM}"])
        self.assertTrue(first.admit("192.0.2.1"))
        self.assertEqual(limits.clients.budget.room, 1)
        second.leave()
        self.assertEqual(limits.clients.budget.room, 2)
        self.assertEqual(self.reached(), {Limit.HANDSHAKES: 1})

    def test_handshakes_of_an_address(self) -> None:
        limits = self.limits(handshakes_per_address=1)
        first = self.enter(limits)
        self.assertIsNone(limits.clients.gate(PLAIN).enter("::ffff:192.0.2.1"))
        self.enter(limits, "192.0.2.2")
        first.admit("192.0.2.1")
        self.enter(limits)
        self.assertEqual(self.reached(), {Limit.HANDSHAKES_PER_ADDRESS: 1})

    def test_links_of_an_address(self) -> None:
        limits = self.limits(links_per_address=1)
        first, second = self.enter(limits), self.enter(limits)
        self.assertEqual([place.admit("192.0.2.1") for place in (first, second)], [True, False])
        first.leave()
        self.assertTrue(second.admit("192.0.2.1"))
        self.assertEqual(self.reached(), {Limit.LINKS_PER_ADDRESS: 1})

    def test_all_connections(self) -> None:
        limits = self.limits(tunnel_connections=2, handshakes=3, handshakes_per_address=3, links_per_address=2)
        for _ in range(2):
            self.enter(limits, "192.0.2.1").admit("192.0.2.1")
        self.assertEqual(limits.clients.budget.room, 0)
        self.assertEqual(self.reached(), {Limit.TUNNEL_CONNECTIONS: 1})

    def test_all_is_given_back(self) -> None:
        """Whatever became of a connection."""
        limits = self.limits(links_per_address=2)
        places = [self.enter(limits) for _ in range(5)]
        for place in places[:3]:
            place.admit("198.51.100.7")
        places[3].recount("198.51.100.7")
        for place in places:
            place.leave()
        clients = limits.clients
        self.assertEqual((clients.connections.used, clients.handshakes.used), (0, 0))
        self.assertEqual((len(clients.beginners), len(clients.links)), (0, 0))
