"""A server that is about to stop: its clients join again before they lose the link that they have."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.connector import ConnectorClient
from rtunnel.metrics.stats import ClientStats
from rtunnel.settings import Address, ConnectorSettings
from rtunnel.wire.relay import Response, Status, TunnelFeature
from rtunnel.wire.smux import DRAINING
from tests.client.harness import PREFACE, PlayedEndpoint, ServerEnd, closed, settle
from tests.support.logs import logged

ADMITTED = Response(status=Status.OK, tunnel=TunnelFeature(uuid4())).encode()
REFUSED = Response(status=Status.SERVICE_UNAVAILABLE).encode()


class ServerLeavesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.stats = Clock(), ClientStats()
        self.server, self.target = PlayedEndpoint(), PlayedEndpoint()
        self.connector = ConnectorClient(
            ConnectorSettings(server=Address("server", 8421), tunnel=uuid4(), target=Address("localhost", 80)),
            stats=self.stats,
            reactor=self.clock,
            on_joined=lambda: None,
            endpoint=self.server,
            target_endpoint=lambda address: self.target,
            random=lambda: 1.0,
        )
        self.connector.start()
        self.old = self.admit()
        self.ask(self.old)

    def admit(self) -> ServerEnd:
        """A server lets the client in."""
        self.server.accept().transport.write(ADMITTED)
        self.settle()
        end = ServerEnd()
        self.server.pipe.server.protocol = end
        end.makeConnection(self.server.pipe.server)
        return end

    def settle(self) -> None:
        settle(self.clock, self.server, self.target)

    def ask(self, end: ServerEnd) -> None:
        """A request, which its target has got."""
        end.session.send(end.session.open(), PREFACE + b"question")
        end.flush()
        self.settle()
        self.target.accept()
        self.settle()

    def answered(self, end: ServerEnd) -> bool:
        """Whether the request that was asked last is answered, once its target does."""
        self.target.peer.transport.write(b"answer")
        self.settle()
        return b"answer" in end.received.values()

    def leave(self, end: ServerEnd) -> None:
        """The server says that it is about to stop."""
        end.session.leave()
        end.flush()
        self.settle()

    def close(self, end: ServerEnd) -> None:
        """The server closes the link."""
        end.transport.loseConnection()
        self.settle()

    def again(self) -> None:
        """Time passes until the next attempt."""
        self.clock.advance(self.connector.settings.backoff_min)
        self.settle()

    def test_joins_elsewhere_first(self) -> None:
        """What runs on the old link goes on there; its end is nothing worth mentioning."""
        self.leave(self.old)
        self.assertEqual(self.server.waiting, [])
        self.again()
        new = self.admit()
        self.assertEqual((self.stats.joins, self.connector.joined), (2, True))
        self.assertTrue(self.answered(self.old))
        with logged() as lines:
            self.close(self.old)
        self.assertEqual((self.stats.losses, self.connector.joined, lines), (0, True, []))
        self.ask(new)
        self.assertTrue(self.answered(new))

    def test_no_other_place(self) -> None:
        """The server refuses to have it twice: it tries again, later and later, without a word; the link goes on meanwhile."""
        self.leave(self.old)
        with capturedLogs() as events:
            for _ in range(3):
                while not self.server.waiting:
                    self.again()
                self.server.accept().transport.write(REFUSED)
                self.settle()
        said = [formatEvent(event) or "" for event in events if event["log_level"] > LogLevel.debug]
        # of the link that goes on, whose server has never told the share
        self.assertEqual([line for line in said if "joined tunnel" not in line], [])
        self.assertTrue(self.connector.joined and self.answered(self.old))
        with logged() as lines:
            self.close(self.old)
        self.assertEqual((self.stats.losses, self.connector.joined), (1, False))
        self.assertTrue(any("lost the link" in line for line in lines), lines)
        # as soon as after any other loss, since a server that stopped may be back in a moment
        self.again()
        self.admit()
        self.assertTrue(self.connector.joined)

    def test_closed_while_joining(self) -> None:
        """The attempt that is under way stays the only one."""
        self.leave(self.old)
        self.again()
        self.close(self.old)
        self.assertEqual((self.stats.losses, self.connector.joined), (1, False))
        self.assertEqual(len(self.server.waiting), 1)
        self.admit()
        self.assertTrue(self.connector.joined)

    def test_new_link_is_lost(self) -> None:
        """While the old one is still there, too."""
        self.leave(self.old)
        self.again()
        self.close(self.admit())
        self.assertEqual((self.stats.losses, self.connector.joined), (1, True))
        while not self.server.waiting:
            self.again()
        self.assertTrue(self.answered(self.old))

    def test_said_again(self) -> None:
        """Repeating it changes nothing."""
        for _ in range(100):
            self.leave(self.old)
        self.again()
        self.assertEqual(len(self.server.waiting), 1)

    def test_client_stops_meanwhile(self) -> None:
        """It leaves both, and joins no more."""
        for joined in (False, True):
            with self.subTest(joined=joined):
                self.setUp()
                self.leave(self.old)
                if joined:
                    self.again()
                    new = self.admit()
                self.connector.drain()
                self.settle()
                self.assertIn(DRAINING, self.old.signals)
                self.assertEqual(joined and DRAINING in new.signals, joined)
                gone = self.connector.stop()
                self.assertNoResult(gone)
                self.settle()
                self.successResultOf(gone)
                self.assertTrue(all(closed(pipe.client) for pipe in self.server.pipes))
                self.assertEqual(self.clock.getDelayedCalls(), [])
