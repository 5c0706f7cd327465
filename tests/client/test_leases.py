"""What a client does when its leases have ended."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.control import ClientLease
from rtunnel.client.service import ClientService
from rtunnel.outcomes import StreamOutcome
from rtunnel.settings import Address, ClientSettings, ConnectorSettings, VisitorSettings
from rtunnel.wire.control import CONTROL_HOST, Ended, encode
from rtunnel.wire.relay import RelayAddress, stream_preface
from tests.client.harness import ForwarderCase, Peer
from tests.support.logs import logged
from tests.support.transports import PingingTransport


def connector() -> ConnectorSettings:
    return ConnectorSettings(server=Address("server", 80), tunnel=uuid4(), target=Address("localhost", 9), name="alice")


class ControlStreamTests(ForwarderCase):
    """Streams to the reserved destination, of the server and of a visitor."""

    token = "0badc0de"

    def setUp(self) -> None:
        super().setUp()
        self.peer = Peer()
        self.forwarder.reserved = lambda stream, preface: self.peer if preface.addresses[0].host == self.token else None

    def open(self, source: str) -> None:
        self.send(stream_preface(RelayAddress(source, 0), RelayAddress(CONTROL_HOST, 0)) + b"hello")

    def test_the_servers(self) -> None:
        """It is no stream of a visitor: not counted as open, and the target hears nothing of it."""
        self.open(self.token)
        self.assertEqual(self.peer.take(), b"hello")
        self.assertEqual((len(self.forwarder.open), self.target.waiting, self.outcomes()), (0, [], {}))

    def test_a_visitors(self) -> None:
        self.open("192.0.2.1")
        self.assertEqual((self.peer.take(), self.target.waiting), (b"", []))
        self.assertEqual(self.outcomes(), {StreamOutcome.NO_TARGET: 1})


class ReadControlStreamTests(ControlStreamTests):
    """The same where streams are read."""

    targets = "web:80?protocol=http"


class ServiceTests(SynchronousTestCase):
    """The process ends when all of them have."""

    def service(self, *visitors: VisitorSettings) -> ClientService:
        self.clock = Clock()
        self.over = 0
        service = ClientService(ClientSettings((connector(), connector()), visitors), self.clock)
        service.on_over = self.end
        service.running = True
        return service

    def end(self) -> None:
        self.over += 1

    def end_lease(self, lease: ClientLease) -> None:
        """The server says so."""
        session = lease.accept(f"{lease.token:08x}")
        assert session is not None
        session.makeConnection(PingingTransport())
        session.dataReceived(encode(Ended("revoked", "root")))
        self.clock.advance(1)

    def test_all_of_them(self) -> None:
        service = self.service()
        first, second = service.members
        self.end_lease(first.lease)
        self.assertEqual(self.over, 0)
        self.end_lease(second.lease)
        self.assertEqual(self.over, 1)
        self.assertFalse(service.ready)

    def test_local_ports_go_on(self) -> None:
        visitor = VisitorSettings(
            server=Address("server", 80), tunnel=uuid4(), listen=Address("127.0.0.1", 1), to=Address("ssh.svc", 0)
        )
        service = self.service(visitor)
        for one in service.members:
            self.end_lease(one.lease)
        self.assertEqual(self.over, 0)
        self.assertTrue(service.ready)

    def test_no_visitors_stream_is_the_servers(self) -> None:
        """Only who knows the number that the client has made up."""
        lease = self.service().members[0].lease
        for token in ("", "0", f"{lease.token ^ 1:08x}", f"{lease.token:09x}", "192.0.2.1"):
            self.assertIsNone(lease.accept(token))

    def test_unknown_causes_and_nonsense(self) -> None:
        """A newer server has other causes; what is no message ends the conversation, and nothing else."""
        service = self.service()
        with logged() as lines:
            lease = service.members[0].lease
            session = lease.accept(f"{lease.token:08x}")
            assert session is not None
            transport = PingingTransport()
            session.makeConnection(transport)
            session.dataReceived(b'{"kind":"ended","cause":"moon"}\n')
            session.dataReceived(b"nonsense\n")
        self.assertTrue([line for line in lines if "the lease has ended: moon" in line])
        self.assertTrue([line for line in lines if "cannot be read" in line])
