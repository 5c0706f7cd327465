"""The counts."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.stats import ClientStats, ServerStats
from rtunnel.outcomes import LinkEnd, Outcome, StreamOutcome
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.tunnel.splice import SpliceOutcome
from rtunnel.wire.smux import Session


class ServerStatsTests(SynchronousTestCase):
    def test_every_outcome_is_there_from_the_start(self) -> None:
        """A rate over a label that appears late would miss its first event."""
        self.assertEqual(ServerStats().requests, dict.fromkeys(Outcome, 0))
        self.assertEqual(ServerStats().losses, dict.fromkeys(LinkEnd, 0))

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
        first.link_lost("the server stops")
        self.assertEqual(second, ServerStats())

    def test_slots(self) -> None:
        """A misspelt count must not pass."""
        with self.assertRaises(AttributeError):
            ServerStats().visitor_total = 1  # type: ignore[attr-defined]


class LinkEndTests(SynchronousTestCase):
    """The words are those of the link and of Twisted: taken from there, so that a change of theirs shows here."""

    def lost(self) -> tuple[Link, Clock, list[str]]:
        clock, reasons = Clock(), list[str]()
        link = Link(
            Session(opens=True, version=2, window=65536, frame_size=1024, receive_buffer=65536),
            reactor=clock,
            keepalive=Keepalive(10.0, 30.0),
            on_leaving=lambda: None,
            on_lost=lambda _link, reason: reasons.append(reason),
            peer="test",
        )
        link.makeConnection(StringTransport())
        return link, clock, reasons

    def test_silent(self) -> None:
        link, clock, reasons = self.lost()
        clock.pump([1.0] * 60)
        link.connectionLost()
        self.assertEqual([LinkEnd.of(reason) for reason in reasons], [LinkEnd.KEEPALIVE_TIMEOUT], reasons)

    def test_protocol_error(self) -> None:
        link, _clock, reasons = self.lost()
        link.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        link.connectionLost()
        self.assertEqual([LinkEnd.of(reason) for reason in reasons], [LinkEnd.PROTOCOL_ERROR], reasons)

    def test_server_stopped(self) -> None:
        link, _clock, reasons = self.lost()
        link.close("the server stops")
        link.connectionLost()
        self.assertEqual([LinkEnd.of(reason) for reason in reasons], [LinkEnd.SERVER_STOPPED], reasons)

    def test_closed_in_good_order(self) -> None:
        link, _clock, reasons = self.lost()
        link.connectionLost()
        self.assertEqual([LinkEnd.of(reason) for reason in reasons], [LinkEnd.CLOSED], reasons)
        self.assertIs(LinkEnd.of(str(ConnectionDone())), LinkEnd.CLOSED)

    def test_broken(self) -> None:
        for error in (ConnectionLost(), ConnectionAborted(), OSError("no route to host")):
            self.assertIs(LinkEnd.of(str(error)), LinkEnd.LOST, str(error))

    def test_counted(self) -> None:
        stats = ServerStats()
        stats.link_lost("no sign of life for 30 s")
        stats.link_lost("something new")
        self.assertEqual((stats.losses[LinkEnd.KEEPALIVE_TIMEOUT], stats.losses[LinkEnd.LOST]), (1, 1))


class ClientStatsTests(SynchronousTestCase):
    def test_every_end_of_a_splice_has_a_count(self) -> None:
        stats = ClientStats()
        for outcome in SpliceOutcome:
            stats.record(outcome.value)
        self.assertEqual(sum(stats.streams.values()), len(SpliceOutcome))
        self.assertEqual(stats.streams[StreamOutcome.DONE], 1)

    def test_no_other_labels(self) -> None:
        with self.assertRaises(ValueError):
            ClientStats().record("10.0.0.1 refused")
