"""The health of connectors: who is avoided, for how long, and what brings it back."""

from __future__ import annotations

from rtunnel.outcomes import Outcome
from rtunnel.routing.failing import MAX_FAILING
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.tunnels import Rank
from rtunnel.server.health import FORGOTTEN, MAX_AVOIDED
from rtunnel.settings import HealthSettings, HttpSettings
from rtunnel.tunnel.bounds import LinkBounds
from tests.server.harness import FarConnector, HttpCase, Visitor
from tests.support.heads import GET, OK, POST
from tests.support.hellos import hello, record, server_name
from tests.support.ids import TUNNEL


class HealthCase(HttpCase):
    """The laptop has the weight 255; both clients know our signals unless a test says otherwise."""

    signals = True

    def setUp(self) -> None:
        super().setUp()
        self.world.change(HttpSettings(response_timeout=0, idle_timeout=10000, pool_idle=10000))
        self.laptop = self.world.attach(255)
        self.pod = self.world.attach(1)
        if self.signals:
            for connector in (self.laptop, self.pod):
                connector.link.ask()
            self.world.turn()

    def asks(self, head: bytes = GET) -> tuple[Visitor, FarConnector | None]:
        """Somebody asks; who gets the request."""
        before = [(one, len(one.streams), sum(len(stream.raw) for stream in one.streams)) for one in (self.laptop, self.pod)]
        visitor = self.world.visit(head)
        for connector, streams, size in before:
            if (len(connector.streams), sum(len(stream.raw) for stream in connector.streams)) != (streams, size):
                return visitor, connector
        return visitor, None

    def is_served_by(self, connector: FarConnector) -> None:
        """The next request goes to a connector at once, which answers it."""
        retries = self.world.stats.retries_total
        visitor, tried = self.asks()
        self.assertIs(tried, connector)
        connector.stream.take()
        connector.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(self.world.stats.retries_total, retries)
        visitor.leave()

    def fails(self) -> None:
        """A request is tried at the laptop, which cannot deliver it, and answered by the pod."""
        visitor, tried = self.asks()
        self.assertIs(tried, self.laptop)
        self.laptop.stream.refuse()
        self.pod.streams[-1].take()
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        visitor.leave()


class FailureTests(HealthCase):
    """A target that cannot be reached."""

    def test_avoided(self) -> None:
        """The weight 255 does not protect it; the next requests go to the pod at once."""
        self.fails()
        self.assertTrue(self.laptop.connector.failing.avoided("pod.local"))
        self.is_served_by(self.pod)
        self.is_served_by(self.pod)
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_tried_again(self) -> None:
        """After a second by one request; the others do not wait for how it ends."""
        self.fails()
        self.world.pass_time(1)
        trial, tried = self.asks()
        self.assertIs(tried, self.laptop)
        self.is_served_by(self.pod)
        self.laptop.stream.take()
        self.laptop.stream.answer(OK)
        self.assertEqual(trial.received, OK)
        self.assertEqual(self.laptop.connector.failing, {})
        self.is_served_by(self.laptop)

    def test_many_at_once(self) -> None:
        """Requests that were sent before the first of them failed count once."""
        visitors = [self.asks()[0] for _ in range(20)]
        for stream in self.laptop.streams:
            stream.refuse()
        for stream in self.pod.streams:
            stream.answer(OK)
        self.assertEqual([visitor.received for visitor in visitors], [OK] * 20)
        self.assertEqual(self.laptop.connector.failing["pod.local"].failures, 1)

    def test_for_long(self) -> None:
        """A target that stays away is tried for as long as that takes."""
        for _ in range(1100):
            self.world.health.failed(self.laptop.connector, "pod.local", delivered=False)
            self.laptop.connector.failing["pod.local"].avoided = False
            self.world.health.tried(self.laptop.connector, "pod.local")
        self.assertEqual(self.laptop.connector.failing["pod.local"].failures, 1100)

    def test_longer_each_time(self) -> None:
        for wait in (1.0, 2.0, 4.0, 8.0, 16.0, MAX_AVOIDED, MAX_AVOIDED):
            self.fails()
            self.world.pass_time(wait - 1.0)
            self.is_served_by(self.pod)
            self.world.pass_time(0.5)

    def test_answer_of_any_kind(self) -> None:
        """An error is an answer: the target was reached."""
        self.fails()
        self.world.pass_time(1)
        visitor, _ = self.asks()
        self.laptop.stream.answer(b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nhal")
        self.assertEqual(self.laptop.connector.failing, {})
        self.laptop.stream.answer(b"lo")
        self.assertEqual(visitor.status, 500)

    def test_post(self) -> None:
        """Counts as well, and is served by the pod, since it was not delivered."""
        visitor, tried = self.asks(POST)
        self.assertIs(tried, self.laptop)
        self.laptop.stream.refuse()
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.is_served_by(self.pod)

    def test_delivered(self) -> None:
        """A target that hangs up without an answer was reached: a request may do that."""
        visitor, _ = self.asks()
        self.laptop.stream.close()
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.is_served_by(self.laptop)

    def test_alone(self) -> None:
        """Avoided by whom? There is no other one."""
        self.pod.lose()
        visitor, _ = self.asks()
        self.laptop.stream.refuse()
        self.assertEqual(visitor.status, 502)
        self.is_served_by(self.laptop)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)

    def test_switched_off(self) -> None:
        self.world.health.watch(self.laptop.connector, HealthSettings(passive=False))
        self.fails()
        self.fails()

    def test_gone_meanwhile(self) -> None:
        """One that has left is not tried again, nor watched."""
        self.fails()
        self.laptop.lose()
        self.world.health.forget(self.laptop.connector)
        self.world.pass_time(5)
        self.is_served_by(self.pod)


class HostTests(HealthCase):
    """A client may serve several hosts, each with a target of its own: one that is down concerns no other."""

    OTHER = b"GET / HTTP/1.1\r\nHost: other.local\r\n\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.world.rules(IngressRule("pod.local", TUNNEL), IngressRule("other.local", TUNNEL))

    def test_the_others_stay(self) -> None:
        self.fails()
        self.is_served_by(self.pod)
        _, tried = self.asks(self.OTHER)
        self.assertIs(tried, self.laptop)

    def test_an_answer_for_another_host(self) -> None:
        """It says nothing of the one that fails."""
        self.fails()
        self.asks(self.OTHER)
        self.laptop.stream.answer(OK)
        self.is_served_by(self.pod)

    def test_trials_apart(self) -> None:
        """Each host is tried again for itself."""
        self.fails()
        self.world.pass_time(1)
        _, tried = self.asks(self.OTHER)
        self.assertIs(tried, self.laptop)
        _, tried = self.asks()
        self.assertIs(tried, self.laptop)
        self.is_served_by(self.pod)

    def test_server_names(self) -> None:
        """TLS counts likewise, in both directions."""
        self.fails()
        self.world.visit(record(hello(server_name(b"pod.local"))))
        self.world.visit(record(hello(server_name(b"other.local"))))
        self.assertEqual((len(self.laptop.streams), len(self.pod.streams)), (2, 2))
        self.laptop.stream.refuse()
        _, tried = self.asks(self.OTHER)
        self.assertIs(tried, self.pod)

    def test_many(self) -> None:
        """What is remembered of a client is bounded, whatever hosts are asked for under a rule for all of them."""
        for number in range(10 * MAX_FAILING):
            self.world.health.failed(self.laptop.connector, f"{number}.local", delivered=False)
        self.assertEqual(len(self.laptop.connector.failing), MAX_FAILING)
        self.assertTrue(self.laptop.connector.failing.avoided(f"{10 * MAX_FAILING - 1}.local"))

    def test_forgotten(self) -> None:
        """If nobody asks any more, the choice costs nothing any more."""
        self.fails()
        tunnel = self.world.registry.get(TUNNEL)
        assert tunnel is not None
        self.world.pass_time(FORGOTTEN - 1)
        self.assertEqual(tunnel.failing, {self.laptop.connector})
        self.world.pass_time(5)
        self.assertEqual((tunnel.failing, self.laptop.connector.failing), (set(), {}))

    def test_leaves_and_comes(self) -> None:
        """A connector that is silent in between keeps what is known of its hosts."""
        self.fails()
        self.world.registry.avoid(self.laptop.connector, True)
        self.world.registry.avoid(self.laptop.connector, False)
        self.is_served_by(self.pod)
        self.world.registry.remove(self.laptop.connector)
        tunnel = self.world.registry.get(TUNNEL)
        assert tunnel is not None
        self.assertEqual(tunnel.failing, set())


class LeavingTests(HealthCase):
    """A client that leaves sees when it may go: what carries no request is closed, and the rest when it is done."""

    def leave(self) -> None:
        """What the listener does when the client says that it leaves."""
        self.world.registry.remove(self.laptop.connector)
        self.laptop.pool.retire()
        self.world.turn()

    def test_idle_streams_end(self) -> None:
        self.is_served_by(self.laptop)
        self.leave()
        self.assertTrue(self.laptop.stream.finished)
        self.is_served_by(self.pod)

    def test_others_end_with_their_response(self) -> None:
        visitor, _ = self.asks()
        self.leave()
        self.assertFalse(self.laptop.stream.finished)
        self.laptop.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.assertTrue(self.laptop.stream.finished)


class OtherClientTests(HealthCase):
    """A client that does not know our signals, as gost's: a stream that is closed without a byte is all that it has to say."""

    signals = False

    def test_closed_without_an_answer(self) -> None:
        visitor, _ = self.asks()
        self.laptop.stream.close()
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)
        self.is_served_by(self.pod)

    def test_post(self) -> None:
        """It may have been delivered, so it is not repeated; but the next requests go to the pod."""
        visitor, _ = self.asks(POST)
        self.laptop.stream.close()
        self.assertEqual(visitor.status, 502)
        self.is_served_by(self.pod)

    def test_silence(self) -> None:
        """Means nothing: the keepalive decides."""
        visitor, _ = self.asks()
        self.laptop.pipe.silent = True
        self.laptop.link.answers_probes = False
        self.world.pass_time(60)
        self.assertEqual(visitor.received, b"")
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.assertEqual(self.pod.streams, [])
        self.assertTrue(self.laptop.link.usable)

    def test_link_lost(self) -> None:
        """It says nothing of the target."""
        self.asks()
        self.laptop.lose()
        self.assertEqual(self.laptop.connector.failing, {})


class SilenceTests(HealthCase):
    """A frozen laptop, a cable that was pulled."""

    def freeze(self) -> None:
        self.laptop.pipe.silent = True

    def test_suspect(self) -> None:
        """New requests avoid it after 2 seconds; what it has is moved after 5."""
        waiting, tried = self.asks()
        self.assertIs(tried, self.laptop)
        self.freeze()
        self.world.pass_time(1)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.world.pass_time(1.5)
        self.assertEqual(self.laptop.connector.rank, Rank.AVOIDED)
        self.is_served_by(self.pod)
        self.assertEqual(waiting.received, b"")
        self.world.pass_time(2.5)
        self.pod.stream.answer(OK)
        self.assertEqual(waiting.received, OK)
        self.assertEqual(self.world.stats.retries_total, 1)

    def test_post_is_not_repeated(self) -> None:
        waiting, _ = self.asks(POST)
        self.freeze()
        self.world.pass_time(6)
        self.assertEqual(waiting.status, 502)
        self.assertEqual(self.world.outcomes(), {Outcome.TARGET_FAILED: 1})

    def test_thawed(self) -> None:
        """In time: it keeps what it has, and gets the next ones again."""
        waiting, _ = self.asks()
        self.freeze()
        self.world.pass_time(3)
        self.assertEqual(self.laptop.connector.rank, Rank.AVOIDED)
        self.laptop.pipe.silent = False
        self.world.pass_time(1)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.laptop.stream.take()
        self.laptop.stream.answer(OK)
        self.assertEqual(waiting.received, OK)
        self.is_served_by(self.laptop)

    def test_slow_target(self) -> None:
        """A breakpoint of ten minutes: the client answers the probes, so the request is its own for as long as it takes."""
        waiting, _ = self.asks()
        self.world.pass_time(600)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.laptop.stream.answer(OK)
        self.assertEqual(waiting.received, OK)

    def test_nothing_to_answer(self) -> None:
        """An idle link may be silent: the keepalive watches it."""
        self.is_served_by(self.laptop)
        self.freeze()
        self.world.pass_time(60)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)

    def test_server_that_slept(self) -> None:
        """For an hour: it was not waiting for anybody."""
        waiting, _ = self.asks()
        # one sweep sees what was received, the next one has to be the one after the sleep
        self.world.pass_time(0)
        self.world.clock.advance(3600)
        self.world.turn()
        self.assertTrue(self.laptop.link.usable)
        self.world.pass_time(2)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.laptop.stream.answer(OK)
        self.assertEqual(waiting.received, OK)

    def test_slow_link(self) -> None:
        """An upload that takes its time: the answer to a probe waits behind it."""
        body = b"x" * 400_000
        self.freeze()
        self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.world.pass_time(4)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.world.pass_time(1.5)
        self.assertEqual(self.laptop.connector.rank, Rank.AVOIDED)

    def test_many_requests(self) -> None:
        """What is sent after the first probe does not delay its answer."""
        self.asks()
        self.freeze()
        self.world.pass_time(0.5)
        for _ in range(7):
            self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
            self.world.pass_time(0)
        self.assertEqual(self.laptop.connector.rank, Rank.AVOIDED)

    def test_reads_nothing(self) -> None:
        """A client that sends whatever it likes but reads nothing is avoided, and gets requests again once it reads."""
        body = b"x" * 400_000
        self.laptop.transport.pauseProducing()
        self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(12):
            self.laptop.session.ping()
            self.laptop.flush()
            self.world.pass_time(0.5)
        self.assertEqual(self.laptop.connector.rank, Rank.AVOIDED)
        self.is_served_by(self.pod)
        self.assertTrue(self.laptop.link.usable)
        self.laptop.transport.resumeProducing()
        self.world.pass_time(0.5)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)

    def test_reads_slowly(self) -> None:
        """A link that is congested all the time, and takes a little."""
        self.laptop.transport.pauseProducing()
        for _ in range(40):
            self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000)
        for _ in range(30):
            self.laptop.transport.resumeProducing()
            self.laptop.transport.other.turn(1000)
            self.laptop.transport.pauseProducing()
            self.world.pass_time(0.5)
        self.assertTrue(self.laptop.link.congested)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)

    def test_too_much_waits(self) -> None:
        """For a link that takes something, but less than comes: others get the requests until it has caught up."""
        self.patch(self.laptop.link, "_bounds", LinkBounds(1 << 20))
        self.laptop.transport.pauseProducing()
        for _ in range(40):
            self.world.visit(b"PUT / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000)
        self.world.pass_time(0)
        self.assertEqual(self.laptop.connector.rank, Rank.AVOIDED)
        self.is_served_by(self.pod)
        self.laptop.transport.resumeProducing()
        self.world.turn()
        self.world.pass_time(0)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)

    def test_switched_off(self) -> None:
        self.world.health.watch(self.laptop.connector, HealthSettings(suspect_after=0, dead_after=0))
        waiting, _ = self.asks()
        self.freeze()
        self.world.pass_time(60)
        self.assertEqual(self.laptop.connector.rank, Rank.EXCLUSIVE)
        self.assertEqual(waiting.received, b"")
