"""A client that joins every server behind a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.all_servers import WATCH, AllServers
from rtunnel.client.connector import ConnectorClient
from rtunnel.client.service import ClientService
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.start import StartError
from rtunnel.settings import Address, ClientSettings, ClientTls, ConnectorSettings
from rtunnel.transport.names import resolve
from rtunnel.wire.control import Ended, encode
from rtunnel.wire.relay import Response, Status, TunnelFeature
from tests.client.harness import PlayedEndpoint, ServerEnd, settle
from tests.support.logs import logged
from tests.support.transports import PingingTransport

ADMITTED = Response(status=Status.OK, tunnel=TunnelFeature(uuid4())).encode()
SETTINGS = ConnectorSettings(server=Address("servers", 8421), tunnel=uuid4(), target=Address("localhost", 80), join="all")


class AllServersTests(SynchronousTestCase):
    """The name has the addresses that the test says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoints: dict[str, PlayedEndpoint] = {}
        self.addresses: list[str] | None = ["10.0.0.1", "10.0.0.2"]
        self.ended: list[AllServers] = []
        self.client = AllServers(SETTINGS, make=self.make, on_ended=self.ended.append, reactor=self.clock, look_up=self.look_up)
        self.client.start()

    def make(self, address: str, instance: int, on_ended: Callable[[ConnectorClient], None]) -> ConnectorClient:
        endpoint = self.endpoints[address] = PlayedEndpoint()
        return ConnectorClient(
            SETTINGS,
            stats=ClientStats(),
            reactor=self.clock,
            on_joined=lambda: None,
            on_ended=on_ended,
            address=address,
            instance=instance,
            endpoint=endpoint,
        )

    def look_up(self) -> Deferred[list[str]]:
        return fail(DNSLookupError()) if self.addresses is None else succeed(self.addresses)

    def admit(self, address: str) -> ServerEnd:
        """A server lets the client in."""
        endpoint = self.endpoints[address]
        endpoint.accept().transport.write(ADMITTED)
        settle(self.clock, *self.endpoints.values())
        end = ServerEnd()
        endpoint.pipe.server.protocol = end
        end.makeConnection(endpoint.pipe.server)
        return end

    def later(self, addresses: list[str] | None) -> None:
        """The name has other addresses, and some time passes."""
        self.addresses = addresses
        self.clock.advance(WATCH)
        settle(self.clock, *self.endpoints.values())

    def lose(self, address: str) -> None:
        self.endpoints[address].pipe.break_link()
        settle(self.clock, *self.endpoints.values())

    def test_each_address_is_joined(self) -> None:
        self.assertEqual(sorted(self.endpoints), ["10.0.0.1", "10.0.0.2"])
        self.assertFalse(self.client.joined)
        self.admit("10.0.0.2")
        self.assertTrue(self.client.joined)
        self.assertEqual([member.server for member in self.client.members], ["10.0.0.1:8421", "10.0.0.2:8421"])
        self.assertEqual(len({member.instance for member in self.client.members}), 1)

    def test_a_new_address(self) -> None:
        self.later(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        self.assertEqual(len(self.endpoints), 3)
        self.admit("10.0.0.3")
        self.later(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        self.assertEqual(len(self.client.members), 3)

    def test_an_address_that_is_gone(self) -> None:
        """Its link stays as long as the server has it."""
        self.admit("10.0.0.1")
        self.later(["10.0.0.3"])
        self.assertEqual([member.server for member in self.client.members], ["10.0.0.1:8421", "10.0.0.3:8421"])
        self.lose("10.0.0.1")
        self.later(["10.0.0.3"])
        self.assertEqual([member.server for member in self.client.members], ["10.0.0.3:8421"])
        # and nobody tries there any more
        waiting = len(self.endpoints["10.0.0.1"].waiting)
        for _ in range(30):
            self.later(["10.0.0.3"])
        self.assertEqual((len(self.endpoints["10.0.0.1"].waiting), waiting), (0, 0))

    def test_dns_fails(self) -> None:
        """What is there stays, and it is told once."""
        self.admit("10.0.0.1")
        with logged() as lines:
            for addresses in (None, list[str](), None):
                self.later(addresses)
        self.assertEqual(len(self.client.members), 2)
        self.assertEqual(sum("the name servers has no address now" in line for line in lines), 1)
        self.later(["10.0.0.1"])
        self.assertEqual([member.server for member in self.client.members], ["10.0.0.1:8421"])

    def test_lease(self) -> None:
        """When that at one server has ended, the client leaves all of them, once."""
        for member in self.client.members:
            session = member.lease.accept(f"{member.lease.token:08x}")
            assert session is not None
            session.makeConnection(PingingTransport())
            session.dataReceived(encode(Ended("revoked", "root")))
        self.assertEqual(self.ended, [self.client])
        self.assertTrue(self.client.ended)

    def test_busy_and_cut(self) -> None:
        for address in ("10.0.0.1", "10.0.0.2"):
            self.admit(address)
        self.client.drain()
        # by whether bytes have moved since the question before: these servers do not say what they know
        self.assertEqual([self.client.busy, self.client.busy], [True, False])
        self.client.cut()
        settle(self.clock, *self.endpoints.values())
        self.assertTrue(all(endpoint.transport.disconnected for endpoint in self.endpoints.values()))

    def test_woken_up(self) -> None:
        """There is no reason to wait with the next attempt."""
        self.endpoints["10.0.0.1"].refuse()
        self.assertEqual(self.endpoints["10.0.0.1"].waiting, [])
        self.client.woke()
        self.assertEqual(len(self.endpoints["10.0.0.1"].waiting), 1)

    def test_stop(self) -> None:
        for address in ("10.0.0.1", "10.0.0.2"):
            self.admit(address)
        self.client.drain()
        gone = self.client.stop()
        settle(self.clock, *self.endpoints.values())
        self.successResultOf(gone)
        self.assertFalse(self.client.joined)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_before_dns_answers(self) -> None:
        answer: Deferred[list[str]] = Deferred()
        client = AllServers(SETTINGS, make=self.make, on_ended=self.ended.append, reactor=self.clock, look_up=lambda: answer)
        client.start()
        self.successResultOf(client.stop())
        answer.callback(["10.0.0.9"])
        self.assertEqual(client.members, [])

    def test_files_are_read_first(self) -> None:
        settings = ConnectorSettings(
            server=Address("servers", 8421),
            tunnel=uuid4(),
            target=Address("localhost", 80),
            join="all",
            transport="wss",
            tls=ClientTls(ca_file="/none"),
        )
        service = ClientService(ClientSettings((settings,)), self.clock)
        error = self.assertRaises(StartError, service.connectors[0].start)
        self.assertIn("/none", str(error))


class ResolveTests(SynchronousTestCase):
    """The addresses of a name."""

    def test_an_address(self) -> None:
        for host in ("10.0.0.1", "fd00::1"):
            self.assertEqual(self.successResultOf(resolve(host, None)), [host])

    def test_a_name(self) -> None:
        class Resolver:
            def resolveHostName(self, receiver: Any, host: str) -> None:
                receiver.resolutionBegan(None)
                receiver.addressResolved(IPv4Address("TCP", "10.0.0.7", 0))
                receiver.resolutionComplete()

        class Reactor:
            nameResolver = Resolver()

        self.assertEqual(self.successResultOf(resolve("servers", Reactor())), ["10.0.0.7"])
