"""A machine that slept for an hour."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.connector import WAKE_TIMEOUT, ConnectorClient
from rtunnel.client.wake import CHECK, SLEPT, SleepWatch, time_asleep
from rtunnel.metrics.stats import ClientStats
from rtunnel.settings import Address, ConnectorSettings
from rtunnel.wire.relay import Response, Status, TunnelFeature
from tests.client.harness import PlayedEndpoint, ServerEnd, aborted, settle

HOUR = 3600.0
JOINED = Response(status=Status.OK, tunnel=TunnelFeature(uuid4())).encode()


class SleepWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asleep = 100.0
        self.woke: list[float] = []
        self.watch = SleepWatch(self.woke.append, self.clock, lambda: self.asleep)
        self.watch.start()

    def test_sleep(self) -> None:
        """Told once; what was slept before the start does not count, nor what a clock is out by."""
        self.clock.advance(CHECK)
        self.asleep += SLEPT / 2
        self.clock.advance(CHECK)
        self.assertEqual(self.woke, [])
        self.asleep += HOUR
        self.clock.pump([CHECK] * 3)
        self.assertEqual(self.woke, [HOUR])

    def test_stopped(self) -> None:
        self.watch.stop()
        self.asleep += HOUR
        self.clock.advance(CHECK)
        self.assertEqual((self.woke, self.clock.getDelayedCalls()), ([], []))

    def test_system(self) -> None:
        """What the system says does not move while the machine is awake."""
        self.assertTrue(abs(time_asleep() - time_asleep()) < 1)


class WakeTests(SynchronousTestCase):
    """A connector, and the server's end of its link."""

    def setUp(self) -> None:
        self.clock, self.stats, self.server = Clock(), ClientStats(), PlayedEndpoint()
        self.connector = ConnectorClient(
            ConnectorSettings(server=Address("server", 8421), tunnel=uuid4(), target=Address("localhost", 80)),
            stats=self.stats,
            reactor=self.clock,
            on_joined=lambda: None,
            endpoint=self.server,
            random=lambda: 1.0,
        )
        self.connector.start()

    def join(self, *, ours: bool = True) -> Any:
        """A server lets the client in, and answers questions for a sign of life if it is one of ours."""
        self.server.accept().transport.write(JOINED)
        settle(self.clock, self.server)
        pipe = self.server.pipe
        pipe.server.protocol = end = ServerEnd()
        end.makeConnection(pipe.server)
        if ours:
            # the client has asked when it joined, before this end could answer
            assert self.connector.link is not None
            self.connector.link.ask()
            self.settle(end)
        return end

    def settle(self, end: ServerEnd) -> None:
        settle(self.clock, self.server)
        end.flush()
        settle(self.clock, self.server)

    def test_link_is_dead(self) -> None:
        """It is given up in seconds, not in those of the keepalive, and the next attempt follows."""
        self.join()
        self.server.pipe.silent = True
        self.connector.woke()
        self.clock.advance(WAKE_TIMEOUT)
        settle(self.clock, self.server)
        self.assertTrue(aborted(self.server.transport))
        self.clock.advance(0.5)
        self.assertEqual(len(self.server.waiting), 1)

    def test_link_is_alive(self) -> None:
        end = self.join()
        self.connector.woke()
        self.settle(end)
        self.clock.advance(WAKE_TIMEOUT)
        self.assertTrue(self.connector.joined)
        self.assertEqual(self.stats.losses, 0)

    def test_server_that_does_not_answer_questions(self) -> None:
        """A gost over plain TCP: only the keepalive knows."""
        self.join(ours=False)
        self.connector.woke()
        self.clock.advance(WAKE_TIMEOUT)
        self.assertTrue(self.connector.joined)

    def test_while_waiting(self) -> None:
        """The network was gone when the lid was closed; the next attempt does not wait any longer."""
        for _ in range(8):
            self.server.refuse()
            self.clock.advance(30)
        self.server.refuse()
        self.assertEqual(self.server.waiting, [])
        self.connector.woke()
        self.assertEqual(len(self.server.waiting), 1)

    def test_stopping(self) -> None:
        """A link that is closed meanwhile is left alone."""
        self.join()
        self.connector.woke()
        self.connector.stop()
        settle(self.clock, self.server)
        self.clock.advance(WAKE_TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])
