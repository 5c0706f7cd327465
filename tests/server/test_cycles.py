"""Exchanges are freed as they end: what waits for the garbage collector costs others their time."""

from __future__ import annotations

import gc
from typing import Any

from rtunnel.ops.access import AccessLog
from rtunnel.server.attempt import Attempts
from rtunnel.server.observers.access_log import AccessLogObserver, LoggedExchange
from rtunnel.wire.http1 import HeadError
from tests.server.harness import HttpCase, World
from tests.support.access import writes
from tests.support.heads import GET, OK, POST

CHUNKED = b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n"


class CycleTests(HttpCase):
    """The collector is off, and no exchange is left."""

    def setUp(self) -> None:
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        # the runner keeps what other tests left: kept here too, so that nothing new gets one of their identities
        self.of_others = {id(one): one for one in exchanges_alive()}

    def left(self) -> list[object]:
        """What is left of the exchanges of this test."""
        return [one for one in exchanges_alive() if id(one) not in self.of_others]

    def exchanges(self, world: World) -> None:
        """Some that are answered, refused, retried, and given up by their visitor."""
        pod = world.attach()
        visitor = world.visit(GET)
        pod.stream.answer(OK)
        visitor.send(b"GET / HTTP/1.1\r\nHost: other.local\r\n\r\n")
        visitor.send(GET)
        pod.stream.close()
        pod.stream.answer(OK)
        visitor.send(POST)
        visitor.leave()
        world.visit(GET).leave()

    def test_plain(self) -> None:
        self.exchanges(World(self))
        self.assertEqual(self.left(), [])

    def test_with_an_access_log(self) -> None:
        lines: list[str] = []
        self.exchanges(World(self, observers=[AccessLogObserver(AccessLog(writes(lines, "text")))]))
        self.assertEqual(self.left(), [])
        self.assertGreater(len(lines), 3)

    def test_malformed(self) -> None:
        """Nor an error, with the frames that lead to the connection."""
        world = World(self)
        pod = world.attach()
        for request in (b"nonsense\r\n\r\n", GET.replace(b"pod.local", b"pod local"), CHUNKED + b"nonsense\r\n"):
            world.visit(request).leave()
        world.visit(GET)
        pod.stream.answer(b"nonsense\r\n\r\n")
        self.assertEqual(self.left(), [])


class AttributeTests(HttpCase):
    """CPython gives an object a dictionary of its own when it gets an attribute that the first objects of its class had not.

    Objects of compiled classes have none at all.
    """

    def test_the_end_of_an_exchange_adds_none(self) -> None:
        world = World(self, logged=True)
        pod = world.attach()
        world.visit(GET)
        exchange: Any = world.watcher.exchanges[0].exchange
        before = set(getattr(exchange, "__dict__", ()))
        pod.stream.answer(OK)
        self.assertTrue(exchange.ended)
        self.assertEqual(set(getattr(exchange, "__dict__", ())), before)

    def test_the_log_has_no_dictionaries(self) -> None:
        self.assertNotIn("__dict__", dir(LoggedExchange))


def exchanges_alive() -> list[object]:
    """The exchanges, their parts and errors that this process has not freed yet."""
    return [one for one in gc.get_objects() if isinstance(one, Attempts | LoggedExchange | HeadError)]
