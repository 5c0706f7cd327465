"""Connectors that leave together, with streams in progress."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.connector import ConnectorClient
from rtunnel.client.drain import HANDOVER, Handover, drain_connectors
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.drain import DRAIN_INTERVAL
from rtunnel.settings import Address, ConnectorSettings
from rtunnel.wire.relay import Response, Status, TunnelFeature
from rtunnel.wire.smux import DRAINING
from tests.client.harness import PREFACE, PlayedEndpoint, ServerEnd, settle

JOINED = Response(status=Status.OK, tunnel=TunnelFeature(uuid4())).encode()


class Attached:
    """A connector, and the server's end of its link.

    :ivar target: what its streams are forwarded to.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.server, self.target = PlayedEndpoint(), PlayedEndpoint()
        self.connector = ConnectorClient(
            ConnectorSettings(server=Address("server", 8421), tunnel=uuid4(), target=Address("localhost", 80), bind=Address("", 0)),
            stats=ClientStats(),
            reactor=clock,
            on_joined=lambda: None,
            endpoint=self.server,
            target_endpoint=lambda address: self.target,
        )
        self.connector.start()
        self.end = ServerEnd()

    def join(self) -> None:
        peer = self.server.accept()
        peer.transport.write(JOINED)
        settle(self.clock, self.server)
        self.server.pipe.server.protocol = self.end
        self.end.makeConnection(self.server.pipe.server)

    def settle(self) -> None:
        self.end.flush()
        settle(self.clock, self.server, self.target)
        self.end.flush()
        settle(self.clock, self.server, self.target)

    def ask(self) -> None:
        """A stream with a question, which the target has got."""
        self.end.session.send(self.end.session.open(), PREFACE + b"question")
        self.settle()
        self.target.accept()
        self.settle()

    def answer(self) -> None:
        self.target.peer.transport.write(b"answer")
        self.settle()


class DrainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.one, self.two = Attached(self.clock), Attached(self.clock)
        for attached in (self.one, self.two):
            attached.join()

    def steps(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(DRAIN_INTERVAL)
            for attached in (self.one, self.two):
                attached.settle()

    def drained(self, patience: float = 10.0) -> list[None]:
        gone: list[None] = []
        drain_connectors([self.one.connector, self.two.connector], patience, self.clock).addCallback(gone.append)
        self.steps()
        return gone

    def test_nothing_in_progress(self) -> None:
        gone = self.drained()
        self.steps(2)
        self.assertEqual(gone, [None])
        self.assertIn(DRAINING, self.one.end.signals)
        self.assertTrue(self.one.server.transport.disconnected and self.two.server.transport.disconnected)

    def test_waits_for_each(self) -> None:
        """Whoever is asked second is asked as often, so that its activity is that of one interval."""
        self.one.ask()
        self.two.ask()
        gone = self.drained()
        self.steps(3)
        self.two.answer()
        self.one.answer()
        self.assertEqual(gone, [])
        # one interval in which something moved, one in which nothing did
        self.steps(2)
        self.assertEqual(gone, [None])

    def test_answer_that_pauses(self) -> None:
        """A server of ours ends what carries no request: as long as a stream is open, its answer may go on."""
        link = self.one.connector.link
        assert link is not None
        link.ask()
        self.one.settle()
        self.one.ask()
        self.one.answer()
        gone = self.drained()
        self.steps(100)
        self.assertEqual(gone, [])
        self.one.answer()
        (stream,) = self.one.connector.forwarder.open
        self.one.end.session.abort(3)
        self.steps(3)
        self.assertEqual(gone, [None])
        self.assertNotIn(stream, self.one.connector.forwarder.open)

    def test_last_bytes_of_an_answer(self) -> None:
        """The target has sent everything and is gone, and the visitor has no room for it yet."""
        self.one.end.consume = False
        self.one.ask()
        self.one.target.peer.transport.write(bytes(310_000))
        self.one.settle()
        self.one.end.session.finish(3)
        self.one.target.peer.transport.loseConnection()
        for _ in range(3):
            self.one.settle()
        self.assertEqual(list(self.one.connector.forwarder.open), [])
        gone = self.drained()
        self.steps(20)
        self.assertEqual(gone, [])
        self.one.end.session.consumed(3, len(self.one.end.received[3]))
        self.steps(3)
        self.assertEqual(gone, [None])
        self.assertEqual(len(self.one.end.received[3]), 310_000)

    def test_time_is_over(self) -> None:
        self.one.ask()
        gone = self.drained(patience=1.0)
        self.steps(18)
        self.assertEqual(gone, [])
        self.steps(3)
        self.assertEqual(gone, [None])
        self.assertTrue(self.one.target.transport.disconnected)

    def test_server_does_not_close(self) -> None:
        """Then the link is cut."""
        self.one.server.pipe.silent = True
        self.one.server.transport.write(b"x" * 100)
        gone = self.drained()
        self.steps(10)
        self.assertEqual(gone, [])
        self.steps(15)
        self.assertEqual(gone, [None])


class HandoverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.old, self.new = Attached(self.clock), Attached(self.clock)
        self.old.join()
        self.left: list[Handover] = []
        self.handover = Handover([self.old.connector], [self.new.connector], self.left.append, self.clock)

    def test_successor_joins(self) -> None:
        self.handover.check()
        self.assertEqual(self.left, [])
        self.new.join()
        self.handover.check()
        self.assertEqual(self.left, [self.handover])

    def test_successor_is_late(self) -> None:
        self.clock.advance(HANDOVER)
        self.assertEqual(self.left, [self.handover])
