"""Which services of a pod get listeners."""

from __future__ import annotations

import socket
from itertools import islice

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rtunnel.cli.exit_status import CommandError
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.isolation.names import Destination, addresses_for, named_hosts
from rtunnel.isolation.tiers import Tier
from rtunnel.routing.reach import ReachRules
from rtunnel.routing.reach_list import ReachList
from rtunnel.running.isolating import Isolated
from rtunnel.running.reaching import MAX_PORTS, MAX_TRIES, CommandReach, destinations, unlisted
from rtunnel.running.supervising import Supervising
from rtunnel.settings import Address, LocalForward, ServerConnectionSettings
from tests.support.ids import TUNNEL
from tests.support.processes import free_port

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


class DestinationTests(SynchronousTestCase):
    def listed(self, rules: str) -> ReachList:
        return ReachList(ReachRules.parse(rules).rules, SEARCH)

    def test_rules(self) -> None:
        names = ("postgres", "postgres.shop", "postgres.shop.svc", "postgres.shop.svc.cluster.local")
        found = destinations(self.listed("postgres:5432-5433,10.0.0.7:80,*.shop.svc:80,dns:53/udp,web:*"), ())
        expected = [*(Destination("postgres", port, names) for port in (5432, 5433)), Destination("10.0.0.7", 80, ("10.0.0.7",))]
        self.assertEqual(found, expected)

    def test_forwards(self) -> None:
        """Also of what a pattern allows."""
        forward = LocalForward(Address("127.0.0.1", 15432), "db.shop", 5432)
        (found,) = destinations(self.listed("*:5432"), (forward,))
        self.assertEqual((found.host, found.port), ("db.shop", 5432))
        self.assertIn("db.shop.svc.cluster.local", found.names)

    def test_unlisted(self) -> None:
        rules = f"postgres:5432,a:1-{MAX_PORTS},b:1-{MAX_PORTS + 1},*.svc:80,web:*,*:53/udp"
        self.assertEqual(unlisted(self.listed(rules)), [f"b:1-{MAX_PORTS + 1}", "*.svc:80", "web:*"])


class AddressTests(TestCase):
    """The addresses that stand for hosts, with real sockets."""

    NAMES = ("postgres", "postgres.shop", "postgres.shop.svc", "postgres.shop.svc.cluster.local")

    def setUp(self) -> None:
        self.port = free_port()
        self.found = [Destination("postgres", self.port, self.NAMES)]

    async def reach(self) -> CommandReach:
        supervising = Supervising(reactor)
        supervising.start()
        self.addCleanup(supervising.close)
        settings = ServerConnectionSettings(server=Address("server", 8421), transport="tcp", tunnel=TUNNEL)
        link = PodLinkClient(settings, "pod.local", reactor=reactor)
        reach = CommandReach(link, Isolated(supervising, Tier.NAMES), 1024, reactor)
        self.addCleanup(reach.close)
        await reach.open(self.found, (), None, proxied=False)
        return reach

    async def test_two_commands(self) -> None:
        """Each has addresses of its own; the first one has the same at each start."""
        first, second = await self.reach(), await self.reach()
        self.assertEqual(list(first.names.values()), [self.NAMES])
        self.assertEqual(list(second.names.values()), [self.NAMES])
        self.assertNotEqual(first.names.keys(), second.names.keys())
        await first.close()
        third = await self.reach()
        self.assertEqual(first.names.keys(), third.names.keys())
        self.assertEqual([forward.listen.port for forward in third.forwards], [self.port])

    async def test_all_taken(self) -> None:
        (host,) = named_hosts(self.found)
        for address in islice(addresses_for(host, ()), MAX_TRIES):
            taken = socket.create_server((address, self.port))
            self.addCleanup(taken.close)
        error = await self.assertFailure(Deferred.fromCoroutine(self.reach()), CommandError)
        self.assertIn(f"{MAX_TRIES} addresses of loopback for postgres are taken", str(error))
