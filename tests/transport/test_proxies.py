"""Through proxies, over an in-memory pipe: the connection is given away when the proxy passes bytes on, and not before."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.proxies import ProxiedClientEndpoint, ProxyRefused
from rtunnel.wire.proxy import HttpConnect, Socks5
from tests.support.pipe import connect

ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


class Plain(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class Under:
    """The endpoint of the proxy."""

    def __init__(self) -> None:
        self.factory: Any = None
        self.fired: Deferred[Any] = Deferred()

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.fired


class ProxiedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.under = Under()
        self.proxy = Plain()
        self.built: list[Plain] = []

    def build(self) -> Any:
        factory: Any = Factory.forProtocol(Plain)
        build = factory.buildProtocol

        def built(address: Any) -> Any:
            self.built.append(build(address))
            return self.built[-1]

        factory.buildProtocol = built
        return factory

    def dial(self, engine: Any = HttpConnect, under: Any = None) -> Deferred[Any]:
        below: Any = under or self.under
        endpoint = ProxiedClientEndpoint(
            below,
            lambda: engine("server.local", 8443),
            name="http proxy proxy.local:3128",
            reactor=self.clock,
            timeout=9,
        )
        return endpoint.connect(self.build())

    def reach(self) -> None:
        """The connection to the proxy is there."""
        below = self.under.factory.buildProtocol(None)
        self.pipe = connect(below, self.proxy)
        self.under.fired.callback(below)
        self.pipe.pump()

    def say(self, data: bytes) -> None:
        self.proxy.transport.write(data)
        self.pipe.pump()

    def refused(self, opened: Deferred[Any]) -> str:
        self.pipe.pump()
        self.assertEqual(len(self.proxy.lost), 1, "the connection stays open")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(self.failureResultOf(opened, ProxyRefused).value)

    def test_passed_on(self) -> None:
        opened = self.dial()
        self.reach()
        self.assertTrue(self.proxy.received.startswith(b"CONNECT server.local:8443 "))
        self.assertNoResult(opened)
        self.say(ESTABLISHED)
        upper = self.successResultOf(opened)
        upper.transport.write(b"hello")
        self.proxy.received.clear()
        self.say(b"you too")
        self.assertEqual((bytes(self.proxy.received), bytes(upper.received)), (b"hello", b"you too"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_stays_on_the_way(self) -> None:
        opened = self.dial()
        self.reach()
        self.say(ESTABLISHED)
        self.assertIs(self.pipe.client.protocol, self.successResultOf(opened))
        self.assertIs(self.built[0].transport, self.pipe.client)

    def test_first_bytes_of_the_other_end(self) -> None:
        """What comes in one piece with the proxy's answer arrives."""
        opened = self.dial()
        self.reach()
        self.say(ESTABLISHED + b"early")
        self.assertEqual(bytes(self.successResultOf(opened).received), b"early")

    def test_chain(self) -> None:
        """A proxy behind a proxy: the words with the second go through the first."""
        first = ProxiedClientEndpoint(
            self.under,  # type: ignore[arg-type]
            lambda: HttpConnect("second.local", 1080),
            name="http proxy first.local:3128",
            reactor=self.clock,
        )
        opened = self.dial(Socks5, first)
        self.reach()
        self.assertTrue(self.proxy.received.startswith(b"CONNECT second.local:1080 "))
        self.proxy.received.clear()
        self.say(ESTABLISHED)
        self.assertEqual(bytes(self.proxy.received), b"\x05\x01\x00")
        self.say(b"\x05\x00")
        self.say(b"\x05\x00\x00\x01" + bytes(6) + b"hello")
        self.assertEqual(bytes(self.successResultOf(opened).received), b"hello")

    def test_refused(self) -> None:
        opened = self.dial()
        self.reach()
        self.say(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        self.assertEqual(
            self.refused(opened),
            "the http proxy proxy.local:3128 does not allow connections to server.local:8443 (it answered 403 Forbidden)",
        )
        self.assertEqual(self.built, [])

    def test_closed(self) -> None:
        opened = self.dial()
        self.reach()
        self.proxy.transport.loseConnection()
        self.assertIn("closed the connection before it answered", self.refused(opened))

    def test_silent(self) -> None:
        opened = self.dial()
        self.reach()
        self.clock.advance(8.9)
        self.assertNoResult(opened)
        self.clock.advance(0.2)
        self.assertIn("did not answer within 9 s", self.refused(opened))

    def test_unreachable(self) -> None:
        opened = self.dial()
        self.under.fired.errback(Failure(ConnectError(string="no route")))
        reason = str(self.failureResultOf(opened, ProxyRefused).value)
        self.assertIn("the http proxy proxy.local:3128 cannot be reached: An error occurred while connecting: no route", reason)

    def test_cancelled(self) -> None:
        opened = self.dial()
        opened.cancel()
        self.failureResultOf(opened, CancelledError)
        self.setUp()
        opened = self.dial()
        self.reach()
        opened.cancel()
        self.failureResultOf(opened, CancelledError)
        self.pipe.pump()
        self.assertEqual(len(self.proxy.lost), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
