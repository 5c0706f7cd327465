"""Connecting to a name: which address is tried when. The names are the test's own, not those of the machine."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rtunnel.transport.names import ATTEMPT_DELAY, NameEndpoint


@implementer(IHostnameResolver)
class Resolver:
    """Resolves any name to the addresses of the test.

    :ivar waiting: receivers that get no addresses yet, while the test says so.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = ["::1", "127.0.0.1"]
        self.held = False
        self.waiting: list[Any] = []

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any) -> Any:
        receiver.resolutionBegan(self)
        self.waiting.append(receiver)
        if not self.held:
            self.answer()
        return self

    def answer(self) -> None:
        receiver = self.waiting.pop()
        for address in self.addresses:
            family: Any = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(family("TCP", address, 80))
        receiver.resolutionComplete()


class Reactor(Clock):
    """A clock that knows names."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = Resolver()


@implementer(IStreamClientEndpoint)
class Attempt:
    """One address, played by the test."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cancelled = False

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.factory = protocolFactory
        self.deferred: Deferred[Any] = Deferred(self._cancel)
        return self.deferred

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled = True

    def accept(self) -> Any:
        protocol = self.factory.buildProtocol(None)
        self.deferred.callback(protocol)
        return protocol

    def refuse(self) -> None:
        self.deferred.errback(Failure(ConnectError(string=self.address)))


class NameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.attempts: list[Attempt] = []
        reactor: Any = self.reactor
        self.endpoint = NameEndpoint(reactor, "localhost", 80, self.attempt)

    def attempt(self, address: str) -> Attempt:
        self.attempts.append(Attempt(address))
        return self.attempts[-1]

    @property
    def tried(self) -> list[str]:
        return [attempt.address for attempt in self.attempts]

    def connect(self) -> Deferred[Any]:
        self.attempts.clear()
        return self.endpoint.connect(Factory.forProtocol(Protocol))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IStreamClientEndpoint, self.endpoint))
        self.assertTrue(verifyObject(IStreamClientEndpoint, Attempt("::1")))

    def test_refused(self) -> None:
        """The next address at once, without any time passing; and first the next time."""
        connecting = self.connect()
        self.assertEqual(self.tried, ["::1"])
        self.attempts[0].refuse()
        self.assertEqual(self.tried, ["::1", "127.0.0.1"])
        protocol = self.attempts[1].accept()
        self.assertIs(self.successResultOf(connecting), protocol)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.connect()
        self.assertEqual(self.tried, ["127.0.0.1"])

    def test_slow(self) -> None:
        """After a while the next address is tried beside it; the first that accepts wins, the other is given up."""
        connecting = self.connect()
        self.reactor.advance(ATTEMPT_DELAY - 0.01)
        self.assertEqual(self.tried, ["::1"])
        self.reactor.advance(0.01)
        self.assertEqual(self.tried, ["::1", "127.0.0.1"])
        protocol = self.attempts[0].accept()
        self.assertIs(self.successResultOf(connecting), protocol)
        self.assertTrue(self.attempts[1].cancelled)

    def test_refused_beside_a_slow_one(self) -> None:
        connecting = self.connect()
        self.reactor.advance(ATTEMPT_DELAY)
        self.attempts[1].refuse()
        self.assertNoResult(connecting)
        protocol = self.attempts[0].accept()
        self.assertIs(self.successResultOf(connecting), protocol)

    def test_all_refused(self) -> None:
        connecting = self.connect()
        self.attempts[0].refuse()
        self.attempts[1].refuse()
        self.failureResultOf(connecting, ConnectError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_worked_and_does_not_any_more(self) -> None:
        self.connect()
        self.attempts[0].refuse()
        self.attempts[1].accept()
        connecting = self.connect()
        self.attempts[0].refuse()
        self.assertEqual(self.tried, ["127.0.0.1", "::1"])
        self.attempts[1].accept()
        self.successResultOf(connecting)
        self.connect()
        self.assertEqual(self.tried, ["::1"])

    def test_address_that_is_gone(self) -> None:
        """What worked last counts only as long as the name leads there."""
        self.connect()
        self.attempts[0].accept()
        self.reactor.nameResolver.addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        self.connect()
        self.attempts[0].refuse()
        self.assertEqual(self.tried, ["192.0.2.1", "192.0.2.2"])

    def test_no_address(self) -> None:
        self.reactor.nameResolver.addresses = []
        failure = self.failureResultOf(self.connect(), DNSLookupError)
        self.assertIn("localhost", str(failure.value))

    def test_cancelled(self) -> None:
        """Every attempt is given up, and none follows."""
        connecting = self.connect()
        self.reactor.advance(ATTEMPT_DELAY)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError, ConnectingCancelledError)
        self.assertEqual([attempt.cancelled for attempt in self.attempts], [True, True])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancelled_before_the_addresses_are_known(self) -> None:
        self.reactor.nameResolver.held = True
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError, ConnectingCancelledError)
        self.reactor.nameResolver.answer()
        self.assertEqual(self.tried, [])
