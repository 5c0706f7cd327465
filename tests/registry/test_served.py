"""Processes that share the registry of one of them, each over a connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.interfaces import RegistryUnavailable
from rtunnel.registry.memory import MAX_COUNTS, MemoryHub
from rtunnel.registry.records import ConnectorRecord
from rtunnel.registry.served import ServedRegistry
from rtunnel.registry.socket_registry import SocketRegistry
from tests.registry.support import OTHER_TUNNEL, TUNNEL, Heard, connector, server, server_id
from tests.support.pipe import Pipe, connect


class Machine:
    """The process that keeps the registry, and the connections to it; an endpoint."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.served = ServedRegistry(self.hub)
        self.pipes: list[Pipe] = []

    def connect(self, factory: Factory[Any]) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        self.pipes.append(connect(protocol, self.served.buildProtocol(None)))
        return succeed(protocol)

    def pump(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(3):
            for pipe in self.pipes:
                pipe.pump()


class One:
    """One process."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.heard = Heard()
        self.losses = 0
        self.registry = SocketRegistry(machine, "supervisor", self._lost)  # type: ignore[arg-type]
        self.registry.start(server(number), self.heard)
        self.pipe = machine.pipes[-1]

    def _lost(self) -> None:
        self.losses += 1


def alone(records: Iterable[ConnectorRecord]) -> str:
    """Decide that nobody else may be there."""
    for record in records:
        raise ValueError(f"taken by {record.holder}")
    return "granted"


class ServedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine()
        self.a, self.b = One(self.machine, 1), One(self.machine, 2)

    def begin(self) -> None:
        self.machine.pump()
        self.a.heard.take()
        self.b.heard.take()

    def test_those_that_are_there(self) -> None:
        self.a.registry.publish(connector(7))
        self.assertFalse(self.b.registry.complete)
        self.machine.pump()
        self.assertTrue(self.b.registry.complete and self.b.registry.available)
        self.assertEqual(self.a.heard.take(), [("server up", server(2))])
        self.assertEqual(self.b.heard.take(), [("server up", server(1)), ("connector up", connector(7))])
        late = One(self.machine, 3)
        self.machine.pump()
        self.assertEqual(late.heard.servers, {server_id(1): server(1), server_id(2): server(2)})
        self.assertEqual(list(late.registry.records(TUNNEL)), [connector(7)])

    def test_changes(self) -> None:
        self.begin()
        self.a.registry.publish(connector(7))
        self.a.registry.publish(connector(7))
        self.a.registry.publish(connector(7, avoided=True))
        self.a.registry.announce(server(1, leaving=True))
        self.a.registry.withdraw(connector(7).id)
        self.a.registry.withdraw(connector(7).id)
        self.machine.pump()
        self.assertEqual(
            self.b.heard.take(),
            [
                ("connector up", connector(7)),
                ("connector changed", connector(7, avoided=True)),
                ("server changed", server(1, leaving=True)),
                ("connector gone", connector(7, avoided=True)),
            ],
        )
        self.assertEqual(list(self.b.registry.records(TUNNEL)), [])
        self.assertEqual(list(self.b.registry.tunnels), [])

    def test_records_of_others(self) -> None:
        self.begin()
        self.a.registry.publish(connector(7))
        self.a.registry.publish(connector(8, tunnel=OTHER_TUNNEL))
        self.machine.pump()
        self.assertEqual(set(self.b.registry.tunnels), {TUNNEL, OTHER_TUNNEL})
        self.assertEqual(self.b.registry.server(server_id(1)), server(1))
        self.assertIsNone(self.b.registry.server(server_id(2)))
        status = self.b.registry.status()
        self.assertEqual((status.servers, status.connectors, status.published), (1, 2, 0))
        self.assertEqual(self.a.registry.status().published, 2)

    def test_a_process_is_gone(self) -> None:
        self.begin()
        self.b.registry.publish(connector(7, at=2))
        self.machine.pump()
        self.a.heard.take()
        self.b.pipe.client.abortConnection()
        self.machine.pump()
        self.assertEqual(self.a.heard.take(), [("connector gone", connector(7, at=2)), ("server gone", server_id(2))])

    def test_stop(self) -> None:
        self.begin()
        self.successResultOf(self.b.registry.stop())
        self.machine.pump()
        self.assertEqual(self.a.heard.take(), [("server gone", server_id(2))])
        self.assertEqual(self.b.losses, 0)

    def test_the_registry_is_gone(self) -> None:
        """What waits for an agreement fails, and so does what comes later; whoever owns the process is told."""
        self.begin()
        waiting = self.a.registry.claim(connector(7), alone)
        self.a.pipe.server.abortConnection()
        self.machine.pump()
        self.failureResultOf(waiting, RegistryUnavailable)
        self.failureResultOf(self.a.registry.claim(connector(7), alone), RegistryUnavailable)
        self.assertEqual((self.a.losses, self.a.registry.available, self.a.heard.availabilities), (1, False, [True, False]))
        self.assertEqual(self.a.registry.stats.claims["unavailable"], 2)

    def test_messages(self) -> None:
        self.begin()
        self.a.registry.tell(server_id(2), b"hel\nlo")
        self.a.registry.tell(server_id(3), b"nobody")
        self.machine.pump()
        self.assertEqual(self.b.heard.take(), [("told", (server_id(1), b"hel\nlo"))])

    def test_what_cannot_be_read(self) -> None:
        """Either end is cut off; nobody else notices."""
        for frame in (b"x", b"+{}", b"-7", b"!x {}", b"#7"):
            one = One(self.machine, 9)
            self.begin()
            connection: Any = one.registry._connection
            connection.send(frame)
            self.machine.pump()
            self.assertEqual((one.losses, self.a.losses), (1, 0), frame)
        served: Any = self.b.pipe.server.protocol
        for frame in (b"x", b"+{}", b"~7"):
            one = One(self.machine, 9)
            self.begin()
            served = one.pipe.server.protocol
            served.sendString(frame)
            self.machine.pump()
            self.assertEqual((one.losses, one.registry.stats.malformed), (1, 1), frame)
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class AgreementTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine()
        self.a, self.b = One(self.machine, 1), One(self.machine, 2)
        self.machine.pump()

    def test_one_after_the_other(self) -> None:
        first = self.a.registry.claim(connector(7, name="alice", filters=("path=/",)), alone)
        self.machine.pump()
        self.assertEqual(self.successResultOf(first), "granted")
        second = self.b.registry.claim(connector(8, at=2, name="bob"), alone)
        self.machine.pump()
        self.assertEqual(str(self.failureResultOf(second, ValueError).value), "taken by alice")
        self.assertEqual(self.a.registry.stats.claims, {"agreed": 1, "refused": 0, "unavailable": 0})

    def test_both_at_once(self) -> None:
        """One decides while the other one has decided, and not written yet: it decides again, and sees the other."""
        first = None
        seen: list[int] = []

        def decide(records: Iterable[ConnectorRecord]) -> str:
            nonlocal first
            seen.append(len(list(records)))
            if first is None:
                first = self.a.registry.claim(connector(7, name="alice"), alone)
                self.a.pipe.pump()
            return alone(records)

        second = self.b.registry.claim(connector(8, at=2, name="bob"), decide)
        self.machine.pump()
        assert first is not None
        self.assertEqual(self.successResultOf(first), "granted")
        self.failureResultOf(second, ValueError)
        self.assertEqual(seen, [0, 1])

    def test_what_is_published_counts(self) -> None:
        """Filters that a client brings along, without asking, make a decision void that did not know them."""
        hub = self.machine.hub
        before = hub.count(TUNNEL)
        self.a.registry.publish(connector(7, name="alice"))
        self.machine.pump()
        self.assertEqual(hub.count(TUNNEL), before)
        self.a.registry.publish(connector(8, name="alice", filters=("path=/",)))
        self.machine.pump()
        self.assertNotEqual(hub.count(TUNNEL), before)

    def test_a_bounded_memory(self) -> None:
        """Of many tunnels the oldest is forgotten: who decided there before decides again."""
        hub = self.machine.hub
        hub.contested(TUNNEL)
        before = hub.count(TUNNEL)
        for number in range(MAX_COUNTS):
            hub.contested(connector(number).id)
        self.assertEqual(hub.count(TUNNEL), 0)
        hub.contested(TUNNEL)
        self.assertGreater(hub.count(TUNNEL), before)
