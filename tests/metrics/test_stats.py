"""The counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ClientStats, ServerStats
from rtunnel.outcomes import DatagramLoss, Limit, LinkEnd, Outcome, StreamOutcome


class ServerStatsTests(SynchronousTestCase):
    def test_every_outcome_is_there_from_the_start(self) -> None:
        """A rate over a label that appears late would miss its first event."""
        self.assertEqual(ServerStats().requests, dict.fromkeys(Outcome, 0))
        self.assertEqual(ServerStats().losses, dict.fromkeys(LinkEnd, 0))
        self.assertEqual(ServerStats().limits, dict.fromkeys(Limit, 0))

    def test_reach(self) -> None:
        stats = ServerStats()
        for _ in range(2):
            stats.reach(Limit.PIPELINED)
        self.assertEqual(stats.limits[Limit.PIPELINED], 2)

    def test_record(self) -> None:
        stats = ServerStats()
        for outcome in (Outcome.ANSWERED, Outcome.ANSWERED, Outcome.VISITOR_GONE):
            stats.record(outcome)
        self.assertEqual(stats.requests[Outcome.ANSWERED], 2)
        self.assertEqual(stats.requests[Outcome.VISITOR_GONE], 1)
        self.assertEqual(sum(stats.requests.values()), 3)

    def test_stats_share_nothing(self) -> None:
        first, second = ServerStats(), ServerStats()
        first.record(Outcome.ANSWERED)
        first.link_lost(LinkEnd.SERVER_STOPPED)
        self.assertEqual(second, ServerStats())

    def test_slots(self) -> None:
        """A misspelt count must not pass."""
        with self.assertRaises(AttributeError):
            ServerStats().visitor_total = 1  # type: ignore[attr-defined]


class LinkEndTests(SynchronousTestCase):
    def test_text(self) -> None:
        """The text follows from the fact."""
        self.assertEqual(LinkEnd.KEEPALIVE_TIMEOUT.describe(), "keepalive timeout")
        self.assertEqual(LinkEnd.LOST.describe("no route to host"), "lost: no route to host")

    def test_counted(self) -> None:
        stats = ServerStats()
        for end in (LinkEnd.LOST, LinkEnd.KEEPALIVE_TIMEOUT, LinkEnd.LOST):
            stats.link_lost(end)
        self.assertEqual((stats.losses[LinkEnd.KEEPALIVE_TIMEOUT], stats.losses[LinkEnd.LOST]), (1, 2))
        self.assertEqual(sum(stats.losses.values()), 3)


class ClientStatsTests(SynchronousTestCase):
    def test_counted(self) -> None:
        stats = ClientStats()
        for outcome in (StreamOutcome.DONE, StreamOutcome.TARGET_LOST, StreamOutcome.DONE):
            stats.record(outcome)
        stats.drop(DatagramLoss.EXPIRED)
        self.assertEqual((stats.streams[StreamOutcome.DONE], stats.streams[StreamOutcome.TARGET_LOST]), (2, 1))
        self.assertEqual((sum(stats.streams.values()), sum(stats.datagrams_dropped.values())), (3, 1))
