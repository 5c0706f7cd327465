"""Servers that share a registry within one process."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.interfaces import RegistryUnavailable
from rtunnel.registry.memory import MemoryHub, MemoryRegistry
from rtunnel.registry.records import ConnectorRecord
from tests.registry.support import OTHER_TUNNEL, TUNNEL, Heard, connector, server, server_id


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = MemoryHub()
        self.heard: dict[int, Heard] = {}
        self.a = self.begin(1)

    def begin(self, number: int) -> MemoryRegistry:
        registry = self.hub.registry()
        self.heard[number] = Heard()
        registry.start(server(number), self.heard[number])
        return registry

    def test_those_that_are_there(self) -> None:
        self.a.publish(connector(7))
        b = self.begin(2)
        self.assertEqual(self.heard[2].events, [("server up", server(1)), ("connector up", connector(7))])
        self.assertEqual(self.heard[1].events, [("server up", server(2))])
        self.assertTrue(b.complete)

    def test_changes(self) -> None:
        self.begin(2)
        heard = self.heard[2]
        heard.take()
        self.a.publish(connector(7))
        self.a.publish(connector(7))
        self.a.publish(connector(7, avoided=True))
        self.a.announce(server(1, leaving=True))
        self.a.withdraw(connector(7).id)
        self.a.withdraw(connector(7).id)
        self.assertEqual(
            heard.take(),
            [
                ("connector up", connector(7)),
                ("connector changed", connector(7, avoided=True)),
                ("server changed", server(1, leaving=True)),
                ("connector gone", connector(7, avoided=True)),
            ],
        )

    def test_records_of_others(self) -> None:
        b = self.begin(2)
        self.a.publish(connector(7))
        self.a.publish(connector(8, tunnel=OTHER_TUNNEL))
        self.assertEqual(list(b.records(TUNNEL)), [connector(7)])
        self.assertEqual(list(self.a.records(TUNNEL)), [])
        self.assertEqual(set(b.tunnels), {TUNNEL, OTHER_TUNNEL})
        self.assertEqual(b.server(server_id(1)), server(1))
        self.assertIsNone(b.server(server_id(2)))
        status = b.status()
        self.assertEqual((status.servers, status.connectors, status.published), (1, 2, 0))

    def test_end(self) -> None:
        b = self.begin(2)
        b.publish(connector(7, at=2))
        self.heard[1].take()
        self.successResultOf(b.stop())
        self.assertEqual(self.heard[1].take(), [("connector gone", connector(7, at=2)), ("server gone", server_id(2))])
        b.lose()
        self.assertEqual(self.heard[1].take(), [])

    def test_claims(self) -> None:
        """The second one sees the first one."""
        b = self.begin(2)

        def decide(records: Iterable[ConnectorRecord]) -> str:
            for record in records:
                raise ValueError(f"taken by {record.holder}")
            return "granted"

        self.assertEqual(self.successResultOf(self.a.claim(connector(7, name="alice"), decide)), "granted")
        refused = self.failureResultOf(b.claim(connector(8, at=2, name="bob"), decide), ValueError)
        self.assertEqual(str(refused.value), "taken by alice")
        self.assertEqual(list(self.a.records(TUNNEL)), [])
        self.assertEqual(list(b.records(TUNNEL)), [connector(7, name="alice")])

    def test_cut_off(self) -> None:
        b = self.begin(2)
        b.publish(connector(7, at=2))
        self.a.cut(False)
        self.failureResultOf(self.a.claim(connector(8), list), RegistryUnavailable)
        self.a.tell(server_id(2), b"lost")
        self.assertEqual(self.heard[1].availabilities, [False])
        self.assertEqual(list(self.a.records(TUNNEL)), [connector(7, at=2)])
        self.assertFalse(self.a.status().available)
        self.a.cut(True)
        self.assertEqual(self.successResultOf(self.a.claim(connector(8), list)), [connector(7, at=2)])

    def test_messages(self) -> None:
        self.begin(2)
        self.heard[2].take()
        self.a.tell(server_id(2), b"hello")
        self.a.tell(server_id(3), b"nobody")
        self.assertEqual(self.heard[2].take(), [("told", (server_id(1), b"hello"))])
