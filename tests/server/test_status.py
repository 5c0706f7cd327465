"""What a server says of itself when it is asked for its status."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.ids import short_id
from rtunnel.metrics.stats import TunnelStats
from rtunnel.ops.status import EntrypointStatus, ListenerStatus, RuleStatus, ServiceStatus, TunnelStatus
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listener import TunnelListener
from rtunnel.server.status import server_status
from rtunnel.settings import Address, LimitSettings, ListenerSettings
from rtunnel.wire.relay import Command, Network, Request, TunnelFeature
from tests.server.harness import PRIVATE, Visitor, World
from tests.support.heads import GET
from tests.support.ids import TUNNEL


class StatusTests(SynchronousTestCase):
    """A listener with an entrypoint, clients that join it, and visitors."""

    def setUp(self) -> None:
        self.world = World(self)
        self.listener = self.listen(Address("", 8421))
        self.world.entrypoint.speakers = (TLS, self.listener, HTTP1)
        self.world.entrypoint.address = "*:80"

    def listen(self, address: Address | None) -> TunnelListener:
        settings = ListenerSettings(listen=address, transport="tcp")
        table, registry, stats = IngressTable(()), self.world.registry, self.world.stats
        listener = TunnelListener(
            settings=settings,
            known=lambda tunnel: True,
            table=table,
            access_control=AccessControl(settings, Rights.read(settings), self.world.clock),
            registry=registry,
            relay=RelayEntrypoint(settings=settings, table=table, registry=registry, stats=stats, health=self.world.health),
            stats=stats,
            health=self.world.health,
            leases=self.world.leases,
            limits=ServerLimits(LimitSettings(), stats),
            reactor=self.world.clock,
        )
        listener.address = "*:8421"
        return listener

    def join(self, network: Network = Network.TCP) -> Any:
        """A client joins; return its connector."""
        before = set(self.listener.connectors)
        self.client = Visitor(self.listener, self.world)
        self.client.send(Request(Command.BIND, network, tunnel=TunnelFeature(TUNNEL, weight=7)).encode())
        (connector,) = self.listener.connectors - before
        return connector

    def status(self, *listeners: TunnelListener) -> ServiceStatus:
        rules = (IngressRule("pod.local", TUNNEL), IngressRule("secret.local", PRIVATE, private=True))
        return server_status(
            listeners=listeners or (self.listener,),
            entrypoints=(self.world.entrypoint,),
            rules=rules,
            tunnels=(TunnelStats(TUNNEL, 1, 2),),
        )

    def test_parts(self) -> None:
        """Tunnels by the beginnings of their IDs, which are as good as passwords."""
        self.world.visit()
        self.world.visit(b"P")
        status = self.status()
        self.assertEqual(status.role, "server")
        self.assertEqual(status.listeners, (ListenerStatus(address="*:8421", transport="tcp", links=0),))
        entrypoint = EntrypointStatus(address="*:80", protocols=("http", "tls", "relay"), visitors=2)
        self.assertEqual(status.entrypoints, (entrypoint,))
        rules = (
            RuleStatus(host="pod.local", tunnel=str(TUNNEL)[:8], private=False),
            RuleStatus(host="secret.local", tunnel=str(PRIVATE)[:8], private=True),
        )
        self.assertEqual(status.rules, rules)
        self.assertEqual(status.tunnels, (TunnelStatus(tunnel=str(TUNNEL)[:8], connectors=1, streams=2),))
        self.assertEqual(status.connectors, ())

    def test_standalone_entrypoints(self) -> None:
        """Nobody joins there, so there is no listener to tell of."""
        self.assertEqual(self.status(self.listen(None)).listeners, ())

    def test_connectors(self) -> None:
        """What each is, and what it carries now."""
        connector = self.join()
        self.world.visit(GET)
        status = self.status()
        self.assertEqual(status.listeners[0].links, 1)
        (shown,) = status.connectors
        self.assertEqual((shown.id, shown.tunnel), (short_id(connector.id), str(TUNNEL)[:8]))
        self.assertEqual((shown.network, shown.state, shown.weight, shown.user), ("tcp", "joined", 7, None))
        self.assertEqual((shown.peer, shown.since), ("192.168.1.1:54321", connector.since))
        self.assertEqual((shown.streams, shown.requests), (1, 0))
        self.assertEqual(shown.sent_bytes, connector.pool.link.bytes_out)
        self.assertGreater(shown.sent_bytes, len(GET))

    def test_leaving(self) -> None:
        """A client that is about to stop is shown until its link is gone."""
        connector = self.join()
        self.world.registry.remove(connector)
        self.assertEqual([shown.state for shown in self.status().connectors], ["leaving"])
        self.client.leave()
        self.assertEqual(self.status().connectors, ())

    def test_datagrams(self) -> None:
        """In the order in which they joined."""
        self.join()
        self.join(Network.UDP)
        self.assertEqual([shown.network for shown in self.status().connectors], ["tcp", "udp"])
