"""Every conversation of the entrypoint's tests once more, with connectors that are attached to another server.

The test plays visitors, clients and targets as it does for one server; between the entrypoint and the clients there are a peer link
and the other server's forwarding. What visitors and targets see is to be the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import TlsOutcome
from rtunnel.registry.records import ConnectorRecord
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.peers.forwarding import Forwarding
from rtunnel.server.peers.remote_connectors import RemotePool
from rtunnel.server.upstream import UpstreamPool
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.smux import Session
from tests.server import harness, test_http, test_http_failures, test_http_flow, test_relay, test_tls
from tests.support.compiled import interpreted

HERE, THERE = IPv4Address("TCP", "10.0.0.1", 40000), IPv4Address("TCP", "10.0.0.2", 8424)


class OtherServer:
    """What the other server is to this one: its registry, and the link to it."""

    def __init__(self, world: RemoteWorld) -> None:
        self.registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        self.rows: dict[UUID, Connector[UpstreamPool]] = {}
        self._world = world
        self._stats = ServerStats()
        forwarding = Forwarding(self._find, self._stats)
        self.far = self._link(opens=False, on_stream=forwarding.accept)
        self.near = self._link(opens=True)
        world.connect(self.near, self.far, HERE, THERE)
        self.near.ask()

    def _link(self, *, opens: bool, on_stream: Any = None) -> Link:
        return Link(
            Session(opens=opens),
            reactor=self._world.clock,
            keepalive=Keepalive(0),
            on_stream=on_stream,
            on_lost=lambda link, end, text: None,
            peer="peer",
        )

    def _find(self, connector: UUID) -> Connector[UpstreamPool] | None:
        return next((one for one in self.registry if one.id == connector), None)

    def add(self, connector: Connector[UpstreamPool]) -> None:
        """A connector is attached there: it is a row here."""
        self.registry.add(connector)
        record = ConnectorRecord(id=connector.id, server=uuid4(), tunnel=connector.tunnel, instance=b"1")
        row: Connector[UpstreamPool] = Connector(
            id=connector.id,
            tunnel=connector.tunnel,
            weight=connector.weight,
            pool=RemotePool(self.near, record, self._world.settings, self._world.stats),
            datagrams=connector.datagrams,
            filters=connector.filters,
            cacheable=connector.cacheable,
        )
        self.rows[connector.id] = row
        self._world.registry.add(row)

    def remove(self, connector: Connector[UpstreamPool]) -> bool:
        """It has left."""
        self._world.registry.remove(self.rows[connector.id])
        return self.registry.remove(next(one for one in self.registry if one.id == connector.id))


class There:
    """The world as a client sees it that is attached to the other server."""

    def __init__(self, world: RemoteWorld) -> None:
        self._world = world
        self.registry: Any = world.other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


class RemoteWorld(harness.World):
    """The world, in which every client is attached to another server."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.other = OtherServer(self)

    def turn(self) -> None:
        """A turn ends before anything of another connection is read, as in a reactor."""
        quiet = 0
        while quiet < 2:
            moved = 0
            for pipe in self.pipes:
                moved += pipe.pump()
                self.clock.advance(0)
            quiet = 0 if moved else quiet + 1
        super().turn()

    def attach(
        self, weight: int = 1, *, consume: bool = True, datagrams: bool = False, filters: Iterable[str] = ()
    ) -> harness.FarConnector:
        there: Any = There(self)
        client = harness.FarConnector(there, weight, consume=consume, datagrams=datagrams, filters=filters)
        client.connector = self.other.rows[client.connector.id]
        client.pool = client.connector.pool
        self.connectors.append(client)
        if self.learned:
            self._learn_answers(client.pool.reader, self._answers)
        return client


@interpreted
def error_at_the_other_server(self: Any) -> None:
    """An error there costs the stream, and nothing else."""

    def fail(pool: UpstreamPool, protocol: Any) -> Any:
        raise ZeroDivisionError

    self.patch(UpstreamPool, "open_raw", fail)
    visitor = self.world.visit(test_tls.HELLO)
    self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
    self.assertTrue(visitor.closed)
    self.assertEqual(self.world.stats.tls[TlsOutcome.TARGET_FAILED], 1)
    self.assertEqual(self.world.other.near.streams, {})


def byte_after_the_refusal(self: Any) -> None:
    """A byte that comes when the stream has ended already goes to the next connector; that is known here a turn later."""
    self.first.session.abort(self.first.stream.id)
    self.first.transport.write(self.first.session.take_output())
    self.world.turn()
    self.visitor.send(b"ping")
    self.assertEqual(self.second.stream.take(), b"ping")


OTHER_WAY = {
    "PassingTests.test_error": error_at_the_other_server,
    "RetryTests.test_byte_and_refusal_in_one_turn": byte_after_the_refusal,
}
"""What is played in another way, since an error there is none here, and two servers take two turns."""


def remote(module: ModuleType) -> Iterator[tuple[str, type]]:
    """The test cases of a module, in that world."""
    for name, case in list(vars(module).items()):
        if isinstance(case, type) and issubclass(case, SynchronousTestCase) and case.__module__ == module.__name__:

            def set_up(self: Any, of: Any = case) -> None:
                for one in list(sys.modules.values()):
                    if one is not harness and getattr(one, "World", None) is harness.World:
                        self.patch(one, "World", RemoteWorld)
                of.setUp(self)

            other_way = {test.partition(".")[2]: played for test, played in OTHER_WAY.items() if test.startswith(f"{name}.")}
            yield f"Remote{name}", type(f"Remote{name}", (case,), {"setUp": set_up, "__module__": __name__, **other_way})


for module in (test_http, test_http_failures, test_http_flow, test_tls, test_relay):
    globals().update(remote(module))
