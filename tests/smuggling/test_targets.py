"""Hostile targets: too much, too early, too little, twice, conflicting lengths, bad chunks, floods of interim responses.

Each visitor gets a whole response or sees its connection break, and what a target sent to one visitor never gets to the next one.
"""

from __future__ import annotations

from random import Random
from typing import ClassVar

import h11
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.table import TARGETS
from tests.fuzz.test_corpus import mutated
from tests.server.harness import FarConnector, World
from tests.support.heads import GET, OK

EXAMPLES = TARGETS["http-responses"].examples()
MUTATIONS = 60
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
"""What a target sends to somebody whose request it never got."""


class TargetTests(SynchronousTestCase):
    """With heads that are parsed."""

    learned: ClassVar[bool] = False

    def test_corpus(self) -> None:
        statuses = {name: self.try_target(name, data) for name, data in EXAMPLES.items()}
        for name in ("length", "chunked", "until-close", "interim", "too-much", "twice", "not-modified", "trailers", "status-999"):
            self.assertIn(statuses[name], (200, 304, 999), name)
        for name in (
            *("interim-flood", "switch", "switch-to-nothing", "length-and-chunked", "lengths-conflict", "length-negative"),
            *("bare-lf", "bare-cr", "fold", "nul", "version-2", "icy", "html", "ssh", "tls", "gzip-coding", "status-two-digits"),
            *("bad-chunk", "bad-second-chunk"),
        ):
            self.assertEqual(statuses[name], 502, name)

    def test_mutations(self) -> None:
        random = Random(f"targets {self.learned}")
        for _ in range(MUTATIONS):
            data = mutated(TARGETS["http-responses"], list(EXAMPLES.values()), random)
            self.try_target(repr(data), data)

    def test_every_beginning(self) -> None:
        """A target that ends its connection too early: 502, or what has begun breaks off."""
        for name in ("length", "chunked", "trailers"):
            data = EXAMPLES[name]
            statuses = [self.try_target(f"{name} to {end}", data[:end]) for end in (*range(0, len(data) - 3, 6), len(data) - 1)]
            self.assertEqual(set(statuses), {502, None}, name)

    def try_target(self, name: str, data: bytes) -> int | None:
        """Have a target answer GET and HEAD with this, at once and late; returns the status that GET got, None for a cut."""
        statuses = [
            self.converse(name, data, request, surplus)
            for request in (GET, GET.replace(b"GET", b"HEAD"))
            for surplus in (b"", EVIL)
        ]
        self.assertEqual(statuses[0], statuses[1], name)
        return statuses[0]

    def converse(self, name: str, data: bytes, request: bytes, surplus: bytes) -> int | None:
        """One visitor whose target answers with the data, then more, then closes; and another visitor after it."""
        world = World(self, learned=self.learned, logged=True)
        connector = world.attach()
        first = world.visit(request)
        stream = connector.stream
        stream.take()
        if data:
            stream.answer(data)
        if surplus and world.watcher.exchanges[0].over:
            stream.answer(surplus)
        second = world.visit()
        if not world.watcher.exchanges[0].over:
            stream.close()
            self.refuse_others(connector, len(connector.streams))
        status = self.response(name, request, first.received, closed=first.closed)
        self.assertTrue(world.watcher.exchanges[0].over, f"{name}: the request has no outcome")
        before = len(connector.streams)
        second.send(GET)
        self.assertIn(len(connector.streams), (before, before + 1))
        asked = [one for one in connector.streams if one.take().startswith(b"GET / ")]
        self.assertEqual(len(asked), 1, f"{name}: the next request did not arrive once")
        asked[0].answer(OK)
        self.assertEqual((second.status, second.received[-3:]), (200, b"pod"), f"{name}: the next visitor got something else")
        self.assertEqual(second.received.count(b"HTTP/1.1 "), 1, name)
        if not self.learned:
            # the others count which heads their templates took
            world.verify()
        world.deadlines.stop()
        return status

    def refuse_others(self, connector: FarConnector, known: int) -> None:
        """A request that got nothing is sent again: the same target ends each of these streams as well."""
        while len(connector.streams) > known:
            known += 1
            connector.streams[known - 1].close()

    def response(self, name: str, request: bytes, received: bytes, *, closed: bool) -> int | None:
        """The status of the one response that a visitor got; None if its connection broke before that was complete."""
        visitor = h11.Connection(h11.CLIENT)
        visitor.send(h11.Request(method=request.split(b" ")[0], target="/", headers=[("Host", "a")]))
        visitor.send(h11.EndOfMessage())
        visitor.receive_data(received)
        if closed:
            visitor.receive_data(b"")
        status = None
        try:
            while not isinstance(event := visitor.next_event(), h11.EndOfMessage):
                self.assertNotIn(event, (h11.NEED_DATA, h11.PAUSED), f"{name}: the visitor waits: {received!r}")
                if isinstance(event, h11.Response):
                    status = event.status_code
        except h11.RemoteProtocolError as error:
            self.assertTrue((closed and "complete" in str(error)) or "closed" in str(error), f"{name}: {error}: {received!r}")
            return None
        self.assertEqual(visitor.trailing_data[0], b"", f"{name}: bytes after the response")
        return status


class LearnedTargetTests(TargetTests):
    """With heads of the usual kinds read by templates."""

    learned = True
