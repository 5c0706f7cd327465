"""The tunnel listener: who is admitted, and what becomes of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.metrics import ServerStats
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.listener import TunnelListener
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import Address, ListenerSettings
from rtunnel.wire.relay import (
    Command,
    Network,
    RelayAddress,
    Request,
    Status,
    TunnelFeature,
    endpoint_host,
    take_response,
)
from tests.server.harness import TUNNEL, Transport


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ServerStats()
        self.registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        self.listener = TunnelListener(
            settings=ListenerSettings(listen=Address("", 8421), transport="tcp", entrypoints=(Address("", 80),), rules=()),
            known={TUNNEL}.__contains__,
            registry=self.registry,
            stats=self.stats,
            reactor=self.clock,
        )
        self.protocol: Any = self.listener.buildProtocol(None)
        self.transport: Any = Transport()
        self.protocol.makeConnection(self.transport)

    @staticmethod
    def request(command: Command = Command.BIND, tunnel: UUID = TUNNEL, weight: int = 7) -> bytes:
        return Request(
            command=command,
            network=Network.TCP,
            credentials=None,
            addresses=(RelayAddress("192.0.2.1", 4711), RelayAddress("0.0.0.0", 0)),
            tunnel=TunnelFeature(tunnel, weight=weight),
            metadata={},
        ).encode()

    def answer(self) -> Any:
        taken = take_response(self.transport.value())
        assert taken is not None
        return taken[0]

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(0)

    def test_bind(self) -> None:
        """Byte by byte; the answer names the endpoint and a fresh connector with the weight asked for."""
        for byte in self.request():
            self.protocol.dataReceived(bytes([byte]))
        answer = self.answer()
        self.assertIs(answer.status, Status.OK)
        self.assertEqual(answer.addresses[0].host, endpoint_host(TUNNEL))
        connector = self.registry.choose(TUNNEL)
        assert connector is not None
        self.assertEqual((answer.tunnel.id, answer.tunnel.weight), (connector.id, 7))
        self.assertEqual((connector.weight, self.stats.links_open), (7, 1))

    def test_weight_zero_counts_as_one(self) -> None:
        self.protocol.dataReceived(self.request(weight=0))
        connector = self.registry.choose(TUNNEL)
        assert connector is not None
        self.assertEqual(connector.weight, 1)

    def test_link_lost(self) -> None:
        """The connector leaves with its link."""
        self.protocol.dataReceived(self.request())
        self.lose()
        self.assertIsNone(self.registry.choose(TUNNEL))
        self.assertEqual((self.stats.links_total, self.stats.links_open), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def refused(self, status: Status) -> None:
        self.assertIs(self.answer().status, status)
        self.assertTrue(self.transport.disconnecting)
        self.lose()
        self.assertIsNone(self.registry.choose(TUNNEL))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tunnel_without_rule(self) -> None:
        """Nobody attaches to a tunnel that no ingress rule names."""
        self.protocol.dataReceived(self.request(tunnel=uuid4()))
        self.refused(Status.FORBIDDEN)

    def test_other_command(self) -> None:
        self.protocol.dataReceived(self.request(Command.CONNECT))
        self.refused(Status.BAD_REQUEST)

    def test_malformed(self) -> None:
        self.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.refused(Status.BAD_REQUEST)

    def test_nothing_after_a_refusal(self) -> None:
        self.protocol.dataReceived(self.request(tunnel=uuid4()) + self.request())
        self.protocol.dataReceived(self.request())
        self.refused(Status.FORBIDDEN)

    def test_silent_client(self) -> None:
        self.clock.advance(15)
        self.assertTrue(self.transport.aborted)

    def test_broken_session(self) -> None:
        """What is not smux ends the link, and nothing else."""
        self.protocol.dataReceived(self.request())
        self.protocol.dataReceived(b"\x09" * 8)
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.assertEqual(self.stats.links_open, 0)

    def test_close(self) -> None:
        """When the server stops, links are closed in good order, and who has not become one is closed too."""
        self.protocol.dataReceived(self.request())
        other: Any = self.listener.buildProtocol(None)
        transport = Transport()
        other.makeConnection(transport)
        self.listener.close("test")
        self.assertTrue(self.transport.disconnecting)
        self.assertTrue(transport.disconnecting)
