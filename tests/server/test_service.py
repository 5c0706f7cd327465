"""The order in which a server stops."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.outcomes import LinkEnd, RefusalReason
from rtunnel.routing.ingress import IngressRule
from rtunnel.server.service import ServerService
from rtunnel.settings import Address, ListenerSettings, ServerSettings
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Status, TunnelFeature, take_response
from rtunnel.wire.smux import DRAINING, Session
from tests.support.ids import TUNNEL
from tests.support.pipe import Pipe, connect

BIND = Request(
    command=Command.BIND,
    network=Network.TCP,
    credentials=None,
    addresses=(RelayAddress("192.0.2.1", 4711), RelayAddress("0.0.0.0", 0)),
    tunnel=TunnelFeature(TUNNEL, weight=1),
    metadata={},
).encode()


class End(Protocol):
    """The other end of a connection."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class StopTests(SynchronousTestCase):
    """A server with a client and a visitor; it stops with a delay."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pipes: list[Pipe] = []
        listener = ListenerSettings(
            listen=Address("", 8421),
            transport="tcp",
            entrypoints=(Address("", 80),),
            rules=(IngressRule("pod.local", TUNNEL), IngressRule("other.local", uuid4())),
        )
        self.service = ServerService(ServerSettings(listeners=(listener,), stop_delay=5), self.reactor)
        self.service.startService()
        self.factories: dict[int, Any] = {port: factory for port, factory, *_ in self.reactor.tcpServers}
        self.client = self.arrive(8421, BIND)

    def arrive(self, port: int, data: bytes) -> End:
        """Somebody connects and sends something."""
        end = End()
        self.pipes.append(connect(self.factories[port].buildProtocol(None), end))
        self.send(end, data)
        return end

    def send(self, end: End, data: bytes) -> None:
        transport: Any = end.transport
        transport.write(data)
        self.advance(0)

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        for _ in range(4):
            self.reactor.advance(0)
            for pipe in self.pipes:
                pipe.pump()

    def signals(self) -> list[int]:
        """What the server has said on the link of its client, besides the answer."""
        taken = take_response(self.client.received)
        assert taken is not None
        return [kind for kind, _stream, _payload in Session(opens=False).receive(self.client.received[taken[1] :])]

    def stop(self) -> Deferred[None]:
        self.assertNotIn(DRAINING, self.signals())
        stopped = self.service.stopService()
        self.advance(0)
        return stopped

    def test_clients_are_told_first(self) -> None:
        """They have the whole delay to join elsewhere, and their links meanwhile."""
        stopped = self.stop()
        self.assertFalse(self.service.ready)
        self.assertEqual(self.signals().count(DRAINING), 1)
        self.assertEqual(len(list(self.service.registry)), 1)
        self.advance(4.9)
        self.assertNoResult(stopped)
        self.assertEqual(self.service.stats.links_open, 1)
        for _ in range(3):
            self.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.service.stats.losses[LinkEnd.SERVER_STOPPED], 1)

    def test_no_clients_are_admitted(self) -> None:
        """One that is asked to join elsewhere and comes here again would take the place of its own link."""
        self.stop()
        taken = take_response(self.arrive(8421, BIND).received)
        assert taken is not None
        self.assertIs(taken[0].status, Status.SERVICE_UNAVAILABLE)
        self.assertEqual(self.service.stats.refusals[RefusalReason.STOPPING], 1)
        self.assertEqual(self.service.stats.links_open, 1)

    def test_visitors_are_served(self) -> None:
        """Each with a last response on its connection, so that an idle one is not closed under a request."""
        request = b"GET / HTTP/1.1\r\nHost: other.local\r\n\r\n"
        kept = self.arrive(80, request)
        self.assertNotIn(b"Connection: close", kept.received)
        kept.received = b""
        self.stop()
        self.send(kept, request)
        for visitor in (kept, self.arrive(80, request)):
            self.assertIn(b"HTTP/1.1 503 ", visitor.received)
            self.assertIn(b"Connection: close", visitor.received)

    def test_without_a_delay(self) -> None:
        changes = self.service.reload(ServerSettings(listeners=self.service.settings.listeners))
        self.assertEqual(changes, ["stop-delay is 0 s now"])
        stopped = self.stop()
        self.assertIn(DRAINING, self.signals())
        self.advance(0.1)
        self.successResultOf(stopped)
