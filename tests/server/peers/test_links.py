"""Links between servers: who is a peer, what happens to links that fail, and what the operator sees of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.start import StartError
from rtunnel.registry.interfaces import RegistryObserver
from rtunnel.registry.memory import MemoryRegistry
from rtunnel.registry.records import ConnectorRecord, ServerRecord
from rtunnel.server.peers import remote_connectors
from rtunnel.server.peers.peer_link import PeerLink, Self
from rtunnel.server.peers.trust import HANDSHAKE_TIMEOUT, PeerTrust
from rtunnel.settings import Address, PeerSettings, SettingsError
from rtunnel.wire.peers import NONCE, Challenge, Refusal, Verdict
from tests.client.harness import PlayedEndpoint, aborted, settle
from tests.server.harness import OtherEnd
from tests.server.peers.site import SECRET, Site
from tests.support.heads import GET, OK, POST
from tests.support.logs import logged


class Impostor(Protocol):
    """What listens where a server should be, and knows what everybody can hear.

    :param server: the ID of that server.
    """

    def __init__(self, server: UUID) -> None:
        self._server = server

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(Challenge(self._server, bytes(NONCE)).encode())

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(Verdict(Refusal.NONE, bytes(32)).encode())


class TrustTests(SynchronousTestCase):
    """Who is let in."""

    def secret(self, text: str) -> str:
        """A file with a secret."""
        file = Path(self.mktemp())
        file.write_text(text)
        return str(file)

    def test_another_secret(self) -> None:
        """Neither of the two forwards anything to the other one, and both say why."""
        others = iter((SECRET, "another secret of 32 characters!"))
        with logged() as lines:
            site = Site(self, peers=lambda settings: attrs.evolve(settings, secret_file=self.secret(next(others))))
            here, there = site.servers
            there.attach()
        self.assertEqual(here.rows, [])
        self.assertEqual(here.visit(GET).status, 503)
        self.assertEqual(there.service.stats.peers.refused, 1)
        self.assertIn("it has another secret; give all servers the same --peer-secret-file", " ".join(lines))
        self.assertIn("as a peer: it does not have the secret of the peers", " ".join(lines))

    def test_another_server_at_the_address(self) -> None:
        """A pod got the address of one that is gone, and the registry does not say so yet."""
        site = Site(self)
        here, there = site.servers
        there.replicas._listener.server = here.replicas.id
        there.attach()
        self.assertEqual(here.rows, [])

    def test_something_else_connects(self) -> None:
        site = Site(self)
        port = OtherEnd()
        site.connect_to(8501, port)
        self.assertTrue(port.take().startswith(b"rtunnel peer 1\r\n"))
        port.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        site.turn()
        self.assertTrue(port.aborted)
        silent = OtherEnd()
        site.connect_to(8501, silent)
        site.pass_time(HANDSHAKE_TIMEOUT + 1)
        self.assertTrue(silent.aborted)
        self.assertEqual(site.servers[0].service.stats.peers.refused, 2)
        self.assertEqual(site.servers[0].replicas._listener.admissions, set())

    def test_one_that_pretends_to_be_a_server(self) -> None:
        """It answers like one, without the secret: it gets no stream."""
        site = Site(self)
        here, there = site.servers
        site.reactor.tcpServers.append((8502, Factory.forProtocol(partial(Impostor, there.replicas.id))))
        with logged() as lines:
            there.attach()
        self.assertEqual((here.rows, here.links), ([], []))
        self.assertIn("it has another secret", " ".join(lines))

    def test_stopped_while_it_connects(self) -> None:
        """Nothing is tried any more, however far the attempt is."""
        for accepted in (False, True):
            clock, endpoint = Clock(), PlayedEndpoint()
            trust = PeerTrust(PeerSettings(secret_file=self.secret(SECRET)), clock)
            endpoints = {"10.0.0.1:8501": endpoint}
            me = Self(uuid4(), trust, endpoints.__getitem__, ServerStats(), clock)
            record = ServerRecord(id=uuid4(), address="10.0.0.1:8501")
            link = PeerLink(record, me, on_up=self.fail, on_down=self.fail, on_suspect=self.fail)
            link.open()
            if accepted:
                endpoint.accept()
            link.close()
            settle(clock, endpoint)
            self.assertEqual((endpoint.cancelled, endpoint.waiting, clock.getDelayedCalls()), (int(not accepted), [], []))
            self.assertTrue(not accepted or aborted(endpoint.transport))

    def test_a_secret_that_is_too_short(self) -> None:
        settings = PeerSettings(secret_file=self.secret("too short\n"))
        error = self.assertRaises(StartError, PeerTrust, settings, MemoryReactorClock())
        self.assertIn("has 9 bytes, and needs at least 16; make one with openssl rand -hex 32", str(error))

    def test_a_secret_that_is_not_there(self) -> None:
        error = self.assertRaises(StartError, PeerTrust, PeerSettings(secret_file="/none"), MemoryReactorClock())
        self.assertIn('the file "/none" cannot be read', str(error))

    def test_a_secret_that_changes(self) -> None:
        file = self.secret(SECRET)
        reactor: Any = MemoryReactorClock()
        trust = PeerTrust(PeerSettings(secret_file=file), reactor)
        Path(file).write_text("another secret of 32 characters!")
        reactor.advance(60)
        self.assertEqual(trust.secret, b"another secret of 32 characters!")


class SettingsTests(SynchronousTestCase):
    """What settings say that cannot be."""

    def refused(self, field: str, **settings: Any) -> None:
        error = self.assertRaises(SettingsError, PeerSettings, **settings)
        self.assertEqual(error.key, field)

    def test_refused(self) -> None:
        listen = Address("10.0.0.1", 8424)
        self.refused("peer.secret_file", listen=listen)
        self.refused("peer.address", listen=Address("", 8424), secret_file="s")
        self.refused("peer.listen", address=listen, secret_file="s")
        self.refused("peer.ca_file", listen=listen, cert_file="c")
        self.refused("peer.cert_file", listen=listen, ca_file="c")
        self.refused("peer.key_file", key_file="k", secret_file="s")


class LinkTests(SynchronousTestCase):
    """Links that come and go."""

    def setUp(self) -> None:
        self.site = Site(self)
        self.here, self.there = self.site.servers

    def test_only_where_there_are_clients(self) -> None:
        self.assertEqual((self.here.links, self.there.links), ([], []))
        self.there.attach()
        self.assertEqual((len(self.here.links), len(self.there.links)), (1, 0))
        for client in range(3):
            self.there.attach(instance=client + 1)
        self.assertEqual(len(self.here.links), 1)

    def test_one_that_breaks_is_made_again(self) -> None:
        client = self.there.attach()
        self.site.peer_pipe(1, 2).break_link()
        self.site.turn()
        self.assertEqual(self.here.rows, [])
        self.site.pass_time(1)
        visitor = self.here.visit(GET)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.here.service.stats.peers.links, 2)

    def test_a_server_that_is_gone(self) -> None:
        """Streams that its link still carries go on, then the link is closed."""
        client = self.there.attach()
        visitor = self.here.visit(GET)
        self.there.registry.lose()
        self.assertEqual(self.here.rows, [])
        self.assertEqual(len(self.here.links), 1)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.site.pass_time(1)
        self.assertEqual(self.here.links, [])

    def test_a_server_that_starts_again(self) -> None:
        self.there.attach()
        self.there.lose()
        self.site.servers[1] = self.site.start(2)
        self.site.pass_time(6)
        client = self.site.servers[1].attach()
        visitor = self.here.visit(GET)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(len(self.here.links), 1)

    def test_an_address_that_is_no_peer(self) -> None:
        """It is told once, not with each attempt."""
        self.site.dead.add(2)
        with logged() as lines:
            self.there.attach()
            self.site.pass_time(30)
        self.assertEqual(sum("cannot be reached" in line for line in lines), 1)
        self.assertGreater(self.here.service.stats.peers.refused, 5)

    def test_clients_that_come_and_go(self) -> None:
        client = self.there.attach()
        self.assertEqual(len(self.here.rows), 1)
        client.leave()
        self.assertEqual(self.here.rows, [])
        self.there.attach().lose()
        self.assertEqual(self.here.rows, [])

    def test_status(self) -> None:
        self.there.attach()
        [peer] = self.here.service.status().peers
        self.assertEqual((peer.address, peer.state, peer.connectors, peer.streams), ("10.0.0.2:8502", "up", 1, 0))
        [peer] = self.there.service.status().peers
        self.assertEqual((peer.state, peer.connectors), ("unused", 0))
        self.site.part(1, 2)
        [peer] = self.here.service.status().peers
        self.assertEqual((peer.state, peer.connectors), ("connecting", 0))

    def test_a_filter_of_a_later_version(self) -> None:
        """The connector gets no requests from here, and the log says why."""
        record = self.there.replicas.record_of(self.there.attach().connector)
        with logged() as lines:
            self.there.registry.publish(attrs.evolve(record, filters=("future:x",)))
        self.assertEqual(self.here.rows, [])
        self.assertIn("a filter of it is not understood", " ".join(lines))


class Unanswered(MemoryRegistry):
    """A registry that says nothing yet."""

    def start(self, server: ServerRecord, observer: RegistryObserver) -> None:
        super().start(server, observer)
        self.complete = False


class ReadyTests(SynchronousTestCase):
    """When a server is ready that has to know others first."""

    def test_the_links_are_tried(self) -> None:
        site = Site(self)
        site.servers[1].attach()
        site.dead.add(2)
        third = site.start(3)
        site.servers.append(third)
        self.assertFalse(third.service.ready)
        site.turn()
        site.pass_time(1)
        self.assertTrue(third.service.ready)

    def test_clients_are_waited_for(self) -> None:
        site = Site(self, ready_wait=5)
        here, there = site.servers
        self.assertFalse(here.service.ready)
        there.attach()
        site.pass_time(1)
        self.assertTrue(here.service.ready and there.service.ready)

    def test_but_not_for_ever(self) -> None:
        site = Site(self, ready_wait=15)
        with logged() as lines:
            site.pass_time(14)
            self.assertFalse(site.servers[0].service.ready)
            site.pass_time(2)
        self.assertTrue(site.servers[0].service.ready)
        self.assertIn("ready, though no client has joined the tunnel 10bc451e", " ".join(lines))

    def test_a_registry_that_does_not_answer(self) -> None:
        site = Site(self, 1)
        server = site.start(2, Unanswered(site.hub))
        self.assertFalse(server.service.ready)
        site.pass_time(11)
        self.assertTrue(server.service.ready)


class StopTests(SynchronousTestCase):
    """A server that stops, while others have requests for its clients."""

    def setUp(self) -> None:
        self.site = Site(self, stop_delay=5.0)
        self.here, self.there = self.site.servers

    def test_its_clients_are_used_until_they_have_left(self) -> None:
        client = self.there.attach(instance=7)
        stopped = self.there.stop()
        self.assertTrue(client.asked_to_leave)
        visitor = self.here.visit(GET)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        again = self.here.attach(instance=7)
        client.leave()
        visitor.send(GET)
        again.stream.answer(OK)
        self.assertEqual(visitor.received, OK * 2)
        self.assertEqual(len(self.here.rows), 1)
        self.site.pass_time(8)
        self.successResultOf(stopped)
        self.assertEqual(self.here.peer_links, [])

    def test_what_is_on_its_way(self) -> None:
        """The other server sends a request when the connectors here are withdrawn already, but it does not know that yet."""
        client = self.there.attach()
        late: list[ConnectorRecord] = []
        hear = self.here.replicas.connector_gone
        self.patch(self.here.replicas, "connector_gone", late.append)
        stopped = self.there.stop()
        self.site.pass_time(5)
        self.assertNoResult(stopped)
        visitor = self.here.visit(POST)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        for record in late:
            hear(record)
        self.site.pass_time(3)
        self.successResultOf(stopped)

    def test_what_runs_is_finished(self) -> None:
        client = self.there.attach()
        visitor = self.here.visit(GET)
        stopped = self.there.stop()
        self.site.pass_time(9)
        self.assertEqual(self.here.rows, [])
        self.assertNoResult(stopped)
        client.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.site.pass_time(3)
        self.successResultOf(stopped)

    def test_last_bytes_for_a_slow_visitor(self) -> None:
        """The client has sent everything, and its stream is gone; this server still has what the visitor has no room for."""
        client = self.there.attach()
        visitor = self.here.visit(GET)
        visitor.transport.pauseProducing()
        client.stream.answer(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(300_000))
        client.session.stop(client.stream.id)
        client.stream.close()
        client.leave()
        self.assertEqual(list(self.there.service.registry), [])
        stopped = self.there.stop()
        self.site.pass_time(9)
        self.assertNoResult(stopped)
        visitor.transport.resumeProducing()
        self.site.pass_time(3)
        self.successResultOf(stopped)
        self.assertEqual(len(visitor.received.partition(b"\r\n\r\n")[2]), 300_000)

    def test_idle_streams_do_not_hold_it_up(self) -> None:
        client = self.there.attach()
        visitor = self.here.visit(GET)
        client.stream.answer(OK)
        self.assertTrue(self.there.replicas.busy)
        stopped = self.there.stop()
        self.site.pass_time(7)
        self.successResultOf(stopped)
        self.assertEqual(visitor.received, OK)

    def test_leaving(self) -> None:
        self.there.attach()
        self.there.stop()
        [peer] = self.here.service.status().peers
        self.assertEqual(peer.state, "leaving")


class StartTests(SynchronousTestCase):
    """Ports that cannot be opened."""

    def test_none_stays_open(self) -> None:
        site = Site(self, 1)
        listen = site.reactor.listenTCP

        def refuse(port: int, *arguments: Any, **more: Any) -> Any:
            if port == 8502:
                raise CannotListenError("", port, OSError(98, "Address already in use"))
            return listen(port, *arguments, **more)

        self.patch(site.reactor, "listenTCP", refuse)
        error = self.assertRaises(StartError, site.start, 2)
        self.assertIn("the port for peers cannot listen on *:8502", str(error))


class ManyTests(SynchronousTestCase):
    """More connectors than are looked at in one turn."""

    def test_all_of_them(self) -> None:
        self.patch(remote_connectors, "BATCH", 3)
        site = Site(self)
        here, there = site.servers
        clients = [there.attach(instance=number % 2 and number) for number in range(10)]
        self.assertEqual(len(here.rows), 10)
        site.peer_pipe(1, 2).break_link()
        self.assertEqual(len(here.rows), 7)
        site.turn()
        self.assertEqual(here.rows, [])
        clients[4].lose()
        site.pass_time(1)
        self.assertEqual(len(here.rows), 9)
        self.assertTrue(all(row.pool.link is here.links[0] for row in here.rows))
