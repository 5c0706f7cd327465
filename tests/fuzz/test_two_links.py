"""Two links driven at random, until their connection breaks at any point: bytes, half-closes, aborts, pauses of many streams."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.tunnel.stream import TunnelStream
from tests.tunnel.common import HalfCloser, Links, Recorder

MAX_STREAMS = 3
which = st.integers(0, MAX_STREAMS - 1)
bounded = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=150, stateful_step_count=50, derandomize=True
)


class Direction:
    """What one end of a stream sends to the other."""

    def __init__(self, sender: TunnelStream, receiver: Recorder, mark: bytes) -> None:
        self.sender = sender
        self.receiver = receiver
        self.mark = mark
        self.sent = b""
        self.ended = False
        """Whether the sender has half-closed it."""
        self.cut = False
        """Whether either end has closed or aborted the stream, so that not all may arrive."""

    def write(self, size: int) -> None:
        if not (self.ended or self.cut):
            data = (b"%b%d." % (self.mark, len(self.sent)) * size)[:size]
            self.sent += data
            self.sender.write(data)

    def check(self) -> None:
        """Nothing arrives but what was sent here, in order."""
        assert self.sent.startswith(bytes(self.receiver.received))
        assert self.receiver.calls.count("lost") == len(self.receiver.lost) <= 1
        assert self.receiver.calls.count("read lost") <= 1


class TwoLinks(RuleBasedStateMachine):
    """A link of a server and one of a client."""

    def __init__(self) -> None:
        super().__init__()
        # windows and buffers are small, so that everything waits often
        self.links = Links(window=4096, frame_size=1024, high_water=2048)
        self.directions: list[tuple[Direction, Direction]] = []
        self.broken = False
        self.carried = 0

    @property
    def open(self) -> bool:
        return bool(self.directions) and not self.broken

    @precondition(lambda self: not self.broken and len(self.directions) < MAX_STREAMS)
    @rule(kind=st.sampled_from([HalfCloser, HalfCloser, Recorder]))
    def open_stream(self, kind: type[Recorder]) -> None:
        """The client's end is known when it was told of the stream."""
        self.links.kind = kind
        stream, protocol, far, far_protocol = self.links.joined(kind)
        number = len(self.directions)
        self.directions.append((Direction(stream, far_protocol, b"s%d-" % number), Direction(far, protocol, b"c%d-" % number)))

    def choose(self, number: int, near: bool) -> Direction:
        return self.directions[number % len(self.directions)][near]

    @precondition(lambda self: self.open)
    @rule(number=which, near=st.booleans(), sizes=st.lists(st.sampled_from([1, 100, 1024, 5000, 20000]), min_size=1, max_size=4))
    def write(self, number: int, near: bool, sizes: list[int]) -> None:
        for size in sizes:
            self.choose(number, near).write(size)

    @precondition(lambda self: self.open)
    @rule(number=which, near=st.booleans())
    def half_close(self, number: int, near: bool) -> None:
        direction = self.choose(number, near)
        direction.sender.loseWriteConnection()
        direction.ended = True

    @precondition(lambda self: self.open)
    @rule(number=which, near=st.booleans(), how=st.sampled_from(["abortConnection", "loseConnection", "refuse", "stopProducing"]))
    def close(self, number: int, near: bool, how: str) -> None:
        direction = self.choose(number, near)
        getattr(direction.sender, how)()
        for one in self.directions[number % len(self.directions)]:
            one.cut = True

    @precondition(lambda self: self.open)
    @rule(number=which, near=st.booleans(), sizes=st.lists(st.sampled_from([1, 1500, 5000]), max_size=3))
    def pause(self, number: int, near: bool, sizes: list[int]) -> None:
        """An end stops reading while the other one writes."""
        self.choose(number, near).sender.pauseProducing()
        for size in sizes:
            self.choose(number, not near).write(size)
            self.carry(2 * size, 65536)

    @precondition(lambda self: self.open)
    @rule(number=which, near=st.booleans())
    def read_on(self, number: int, near: bool) -> None:
        self.choose(number, near).sender.resumeProducing()

    @rule(size=st.integers(1, 5000), chunk=st.sampled_from([1, 7, 1000, 65536]))
    def carry(self, size: int, chunk: int) -> None:
        self.carried += 1
        self.links.turn()
        self.links.pipe.pump(size, chunk)
        self.check()

    @precondition(lambda self: not self.broken and self.carried > 20)
    @rule(after=st.integers(1, 3000))
    def break_link(self, after: int) -> None:
        """Late, since little happens afterwards."""
        self.carry(after, 1000)
        self.links.pipe.break_link()
        self.broken = True

    def check(self) -> None:
        for pair in self.directions:
            for direction in pair:
                direction.check()

    def teardown(self) -> None:
        for pair in self.directions:
            for direction in pair:
                direction.sender.resumeProducing()
        self.links.settle()
        self.check()
        if not self.broken:
            self.check_delivered()
            for pair in self.directions:
                for direction in pair:
                    direction.sender.loseWriteConnection()
            self.links.settle()
        for link in (self.links.server, self.links.client):
            assert not link.streams, "a stream that both ends have closed is still there"
            assert self.broken or link.session.streams == 0
        for pair in self.directions:
            for direction in pair:
                assert direction.receiver.calls.count("lost") == 1, direction.receiver.calls
        self.links.pipe.break_link()
        self.links.settle()
        assert not self.links.clock.getDelayedCalls()
        assert [len(reasons) for reasons in self.links.lost.values()] == [1, 1]

    def check_delivered(self) -> None:
        """What was sent on streams that nobody cut has arrived, and so has its end."""
        for pair in self.directions:
            for direction in pair:
                if not direction.cut and isinstance(direction.receiver, HalfCloser):
                    assert bytes(direction.receiver.received) == direction.sent
                    ended = {"read lost", "lost"} & set(direction.receiver.calls)
                    assert bool(ended) is direction.ended


class TwoLinksTests(SynchronousTestCase):
    def test_at_random(self) -> None:
        run_state_machine_as_test(TwoLinks, settings=bounded)

    def test_at_random_version_1(self) -> None:
        class Version1(TwoLinks):
            def __init__(self) -> None:
                super().__init__()
                self.links: Any = Links(version=1, frame_size=1024, high_water=2048)

        run_state_machine_as_test(Version1, settings=settings(bounded, max_examples=40))
