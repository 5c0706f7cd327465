"""All local ports of a process: opened together, changed by a reload, drained."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.local_ports import LocalPorts
from rtunnel.client.local_visit import LocalVisit
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.drain import DRAIN_INTERVAL
from rtunnel.ops.start import StartError
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import Address, VisitorSettings
from tests.client.harness import Peer
from tests.support.pipe import Pipe, connect

TUNNEL = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")


class Reactor(MemoryReactorClock):
    """Ports of which some cannot be opened.

    :ivar taken: those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[int] = set()

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)


def visitor(port: int, to: str = "ssh.svc") -> VisitorSettings:
    return VisitorSettings(
        server=Address("192.0.2.1", 8421), tunnel=TUNNEL, listen=Address("127.0.0.1", port), to=Address(to, 0), transport="tcp"
    )


class LocalPortsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.stats = ClientStats()
        self.ports = LocalPorts([visitor(1), visitor(2)], stats=self.stats, reactor=self.reactor)

    def listen(self) -> None:
        self.ports.listen()
        self.ports.start()

    def visit(self, number: int = 0) -> Pipe:
        """A program connects to a port; the tunnel is being dialed for it."""
        port: Any = self.ports.ports[number]
        return connect(Peer(), LocalVisit(port))

    def outcomes(self) -> dict[LocalPortOutcome, int]:
        return {outcome: count for outcome, count in self.stats.visitors.items() if count}

    def test_all_or_none(self) -> None:
        self.reactor.taken = {2}
        error = self.assertRaises(StartError, self.ports.listen)
        self.assertIn("the visitor cannot listen on 127.0.0.1:2: Address already in use", str(error))
        self.assertEqual([address for address, *_ in self.reactor.tcpServers], [1])
        self.assertTrue(all(port._listening is None for port in self.ports.ports))

    def test_opened_once(self) -> None:
        self.listen()
        self.ports.listen()
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [1, 2])

    def test_reload(self) -> None:
        """What stays is changed, what is new is opened, what goes has time for what is in progress."""
        self.listen()
        stays, goes = self.ports.ports
        pipe = self.visit(1)
        said = self.ports.reload([visitor(1, "other.svc"), visitor(3)], 5.0)
        self.assertEqual(said, ["visitor at 127.0.0.1:3 opened", "visitor at 127.0.0.1:1 changed", "visitor at 127.0.0.1:2 closed"])
        self.assertIs(self.ports.ports[0], stays)
        self.assertEqual((stays.to, len(goes.visits)), ("other.svc", 1))
        self.reactor.pump([DRAIN_INTERVAL] * 90)
        self.assertEqual(self.outcomes(), {})
        self.reactor.pump([DRAIN_INTERVAL] * 20)
        pipe.pump()
        self.assertEqual((self.outcomes(), len(goes.visits)), ({LocalPortOutcome.STOPPED: 1}, 0))

    def test_reload_that_fails(self) -> None:
        self.listen()
        before = self.ports.ports
        self.reactor.taken = {3}
        self.assertRaises(StartError, self.ports.reload, [visitor(1, "other.svc"), visitor(3)], 5.0)
        self.assertEqual((self.ports.ports, before[0].to), (before, "ssh.svc"))

    def test_drain(self) -> None:
        """Fires when nothing is left, also of a port that a reload has closed before."""
        self.listen()
        pipe = self.visit(1)
        self.ports.reload([visitor(1)], 5.0)
        drained = self.ports.drain(0.0)
        self.assertNoResult(drained)
        self.reactor.pump([DRAIN_INTERVAL] * 120)
        self.successResultOf(drained)
        pipe.pump()
        self.assertEqual(self.outcomes(), {LocalPortOutcome.STOPPED: 1})

    def test_drain_without_anything(self) -> None:
        self.listen()
        self.successResultOf(self.ports.drain(5.0))
