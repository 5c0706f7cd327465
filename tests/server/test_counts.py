"""What is counted per connector and tunnel: every request and connection once, whatever became of its connector."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.metrics.labelled_counts import Counts
from rtunnel.server.tunnel_stats import connector_stats
from tests.server.harness import FarConnector, World
from tests.support.heads import GET, OK
from tests.support.hellos import hello, record, server_name


class CountTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.pod = self.attach()

    def outcomes(self) -> dict[str, int]:
        """Of all that went to the tunnel."""
        (counts,) = self.world.stats.labelled.by_tunnel().values() or (Counts(),)
        return counts.outcomes

    def attach(self) -> FarConnector:
        """A link comes up; the listener, which is not here, tells the counts of it."""
        far = self.world.attach()
        self.world.stats.labelled.join(far.connector.id, partial(connector_stats, far.connector))
        return far

    def lose(self, far: FarConnector) -> None:
        """The link breaks."""
        far.lose()
        self.world.stats.labelled.leave(far.connector.id)

    def test_answered(self) -> None:
        for _ in range(3):
            self.world.visit(GET)
            self.pod.stream.answer(OK)
        self.assertEqual(self.outcomes(), {"answered": 3})
        self.assertEqual(self.pod.connector.requests, 3)

    def test_each_outcome(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        self.world.visit(GET).leave()
        self.world.visit(GET)
        self.world.pass_time(20)
        self.assertEqual(self.outcomes(), {"answered": 1, "visitor_gone": 1, "response_timeout": 1})
        self.assertEqual(self.outcomes(), {str(outcome): count for outcome, count in self.world.outcomes().items()})

    def test_lost_with_its_connector(self) -> None:
        """A request that nobody else can take counts for the connector that lost it; the next one finds none."""
        self.world.visit(GET)
        self.lose(self.pod)
        self.world.visit(GET)
        self.assertEqual(self.outcomes(), {"target_failed": 1, "no_connector": 1})

    def test_a_retry_counts_once(self) -> None:
        self.world.visit(GET)
        second = self.attach()
        self.lose(self.pod)
        second.stream.answer(OK)
        self.assertEqual(self.outcomes(), {"answered": 1})
        self.assertEqual((self.pod.connector.requests, second.connector.requests), (0, 1))

    def test_a_retry_that_finds_no_connector_counts_once(self) -> None:
        """The stream was free for a while and its target gone; the client does not want another one, for it is about to stop."""
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        visitor = self.world.visit(GET)
        self.pod.session.leave()
        self.pod.stream.close()
        self.assertEqual(visitor.status, 503)
        self.assertEqual(self.outcomes(), {"answered": 1, "no_connector": 1})

    def test_unknown_hosts_belong_to_no_tunnel(self) -> None:
        self.world.visit(GET.replace(b"pod", b"who"))
        self.assertEqual(self.outcomes(), {})

    def test_tls(self) -> None:
        data = record(hello(server_name(b"pod.local")))
        visitor = self.world.visit(data)
        self.pod.stream.answer(b"hello")
        self.pod.stream.close()
        visitor.leave()
        self.world.visit(data).vanish()
        self.lose(self.pod)
        self.world.visit(data)
        self.assertEqual(self.outcomes(), {"done": 1, "visitor_gone": 1, "no_connector": 1})

    def test_tls_whose_link_is_lost_first(self) -> None:
        """The visitor has still to be told, so the connection ends after the connector has left."""
        visitor = self.world.visit(record(hello(server_name(b"pod.local"))))
        self.pod.stream.answer(b"hello")
        self.pod.pipe.break_link()
        self.world.stats.labelled.leave(self.pod.connector.id)
        self.world.turn()
        visitor.leave()
        self.assertEqual(self.outcomes(), {"target_gone": 1})

    def test_bytes(self) -> None:
        self.world.visit(GET)
        self.pod.stream.answer(OK)
        counts = connector_stats(self.pod.connector).counts
        self.assertGreater(counts.sent_bytes, len(GET))
        self.assertGreater(counts.received_bytes, len(OK))
