"""The metadata of intercepts: what goes out comes in again, whatever does not fit is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.relay import Command, RelayError, Request, Response, Status, take_request, take_response
from rtunnel.wire.relay_features import MAX_TEXT
from rtunnel.wire.relay_intercepts import InterceptAnswer, InterceptRequest


class RequestTests(SynchronousTestCase):
    @given(st.text(max_size=400), st.lists(st.text(max_size=60), min_size=1, max_size=12))
    def test_round_trip(self, name: str, filters: list[str]) -> None:
        """Over the wire, in order; a name that is too long loses its end."""
        asked = InterceptRequest(name, tuple(filters))
        taken = take_request(Request(Command.INTERCEPT, metadata=asked.metadata()).encode())
        assert taken is not None
        self.assertIs(taken[0].command, Command.INTERCEPT)
        read = InterceptRequest.of(taken[0].metadata)
        self.assertEqual(read.filters, tuple(filters))
        self.assertTrue(name.startswith(read.name))
        self.assertTrue(read.name == name or len(read.name.encode()) > MAX_TEXT - 4)

    def test_malformed(self) -> None:
        for metadata in ({}, {"rt.f.0": "path=/"}, {"rt": "2", "rt.f.0": "path=/"}, {"rt": "1"}):
            self.assertRaises(RelayError, InterceptRequest.of, metadata)


class AnswerTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for answer in (
            InterceptAnswer(),
            InterceptAnswer(hosts=("a.example.org", "*.b.example.org"), warning="careful"),
            InterceptAnswer(why="path=/", holder="alice", taken="path^=/"),
            InterceptAnswer(why="path=/", holder="alice", taken="path^=/", reason="lunch", left=3600, held=True),
        ):
            taken = take_response(Response(Status.OK, metadata=answer.metadata()).encode())
            assert taken is not None
            self.assertEqual(InterceptAnswer.of(taken[0].metadata), answer)

    def test_of_a_server_that_does_not_know(self) -> None:
        self.assertIsNone(InterceptAnswer.of({}))
        self.assertIsNone(InterceptAnswer.of({"rt": "2"}))

    def test_too_many_hosts(self) -> None:
        """As many as fit, each whole."""
        hosts = tuple(f"host-{number}.example.org" for number in range(100))
        read = InterceptAnswer.of(InterceptAnswer(hosts=hosts).metadata())
        assert read is not None
        self.assertTrue(0 < len(read.hosts) < 100)
        self.assertEqual(read.hosts, hosts[: len(read.hosts)])
