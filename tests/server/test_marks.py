"""What the server adds to responses."""

from __future__ import annotations

import json
from typing import ClassVar

from rtunnel.routing.policies import ServedBy
from rtunnel.settings import HttpSettings
from tests.server.harness import FarConnector, HttpCase, Visitor, all_worlds
from tests.support.heads import GET, OK

CACHED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-A: b\r\nContent-Length: 3\r\n\r\npod"
UNCACHED = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\nCache-Control: no-store\r\n\r\npod"
EXPLAIN = GET[:-2] + b"Rtunnel-Explain: 1\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ncache-control: private\r\nTransfer-Encoding: chunked\r\n\r\n"


class MarkTests(HttpCase):
    """Responses of a pod and of a laptop that intercepts."""

    served_by: ClassVar[ServedBy] = ServedBy.NEVER

    def setUp(self) -> None:
        super().setUp()
        self.world = self.make_world(HttpSettings(served_by=self.served_by))
        self.pod = self.world.attach()
        self.laptop = self.world.attach(filters=["path^=/laptop"])
        self.laptop.connector.name = "älice"

    def ask(self, request: bytes, connector: FarConnector, answer: bytes = CACHED) -> Visitor:
        self.world.learn(request, answer if answer is CACHED else OK)
        visitor = self.world.visit(request)
        connector.stream.answer(answer)
        return visitor

    def laptops(self, request: bytes = GET) -> bytes:
        return request.replace(b"GET / ", b"GET /laptop ")

    def test_the_pod_is_left_alone(self) -> None:
        self.assertEqual(self.ask(GET, self.pod).received, CACHED)

    def test_not_cached(self) -> None:
        self.assertEqual(self.ask(self.laptops(), self.laptop).received, UNCACHED)

    def test_not_cached_in_pieces(self) -> None:
        self.world.unusual(answers=1)
        visitor = self.ask(self.laptops(), self.laptop, CHUNKED)
        self.laptop.stream.answer(b"1\r\na\r\n0\r\n\r\n")
        head, _, body = visitor.received.partition(b"\r\n\r\n")
        self.assertEqual((head.count(b"ache-"), body), (1, b"1\r\na\r\n0\r\n\r\n"))
        self.assertIn(b"\r\nCache-Control: no-store", head)

    def test_kept_caching(self) -> None:
        self.laptop.connector.cacheable = True
        self.assertEqual(self.ask(self.laptops(), self.laptop).received, CACHED)

    def test_nothing_is_explained(self) -> None:
        self.assertNotIn(b"Served-By", self.ask(self.laptops(EXPLAIN), self.laptop).received)

    def test_log(self) -> None:
        self.ask(self.laptops(), self.laptop)
        self.ask(GET, self.pod)
        if self.logged:
            found = [(line["holder"], line["intercept"]) for line in map(json.loads, self.world.lines)]
            self.assertEqual(found, [("älice", "path^=/laptop"), (None, None)])


class OnRequestTests(MarkTests):
    """Who served is said to those who ask."""

    served_by = ServedBy.ON_REQUEST

    def test_nothing_is_explained(self) -> None:
        self.assertNotIn(b"Served-By", self.ask(self.laptops(), self.laptop).received)

    def test_on_request(self) -> None:
        number = str(self.laptop.connector.id)[:8].encode()
        received = self.ask(self.laptops(EXPLAIN), self.laptop).received
        self.assertIn(b"\r\nRtunnel-Served-By: %b \\xe4lice (path^=/laptop)\r\n" % number, received)
        number = str(self.pod.connector.id)[:8].encode()
        self.assertIn(b"\r\nRtunnel-Served-By: %b\r\n" % number, self.ask(EXPLAIN, self.pod).received)


class AlwaysTests(MarkTests):
    """And here to everybody."""

    served_by = ServedBy.ALWAYS

    def test_the_pod_is_left_alone(self) -> None:
        self.assertIn(b"\r\nRtunnel-Served-By: ", self.ask(GET, self.pod).received)

    test_nothing_is_explained = test_the_pod_is_left_alone
    test_not_cached = test_the_pod_is_left_alone

    def test_kept_caching(self) -> None:
        self.laptop.connector.cacheable = True
        self.assertIn(b"max-age=60", self.ask(self.laptops(), self.laptop).received)


globals().update(all_worlds(MarkTests, OnRequestTests, AlwaysTests))
