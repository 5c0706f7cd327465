"""Connections from the pod: names and addresses that are checked, what failed, and how streams end."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import Any

from twisted.internet import error
from twisted.internet.defer import fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.pod.reaching import KEPT, MAX_KEPT, Reacher, api_addresses, describe, is_own_address
from rtunnel.client.pod.resolver import Resolver
from rtunnel.client.targets import MAX_UNSAID, STALL_SWEEP
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.reach import ReachRules
from rtunnel.wire.pod import Cause, PodRequest, PodService, pod_preface
from rtunnel.wire.relay import RelayAddress
from tests.client.harness import Peer, PlayedEndpoint
from tests.client.pod.test_resolver import ThreadlessReactor
from tests.server.pods import POSTGRES, PodCase


class ReacherTests(SynchronousTestCase):
    """Names whose addresses the test makes up."""

    def setUp(self) -> None:
        self.reactor = ThreadlessReactor()
        self.names: dict[str, list[str]] = {}
        self.dialed: list[str] = []
        self.asked: list[str] = []
        self.target = PlayedEndpoint()
        self.reacher = Reacher(
            ReachRules.parse("*.shop:80"),
            reactor=self.reactor,
            endpoint_for=self.endpoint,
            api=frozenset([ip_address("10.96.0.1")]),
            is_own=lambda address: False,
            resolver=Resolver(self.reactor, self.lookup),
        )

    def endpoint(self, address: Any) -> PlayedEndpoint:
        self.dialed.append(str(address))
        return self.target

    def lookup(self, host: str, port: None, type: int) -> list[Any]:  # noqa: A002
        self.asked.append(host)
        return [(socket.AF_INET, type, 6, "", (address, 0)) for address in self.names[host]]

    def reach(self, host: str, port: int = 80) -> Any:
        connecting = self.reacher.connect(PodRequest(PodService.REACH, RelayAddress(host, port)), Peer())
        self.reactor.run()
        return connecting

    def denied(self, host: str, port: int = 80) -> str:
        answer = describe(self.failureResultOf(self.reach(host, port)), f"{host}:{port}")
        self.assertIs(answer.cause, Cause.NOT_ALLOWED)
        self.assertEqual(self.dialed, [])
        return answer.why

    def test_name(self) -> None:
        """What was checked is what is dialed: the name is looked up once."""
        self.names["a.shop"] = ["10.0.0.7"]
        connecting = self.reach("a.shop")
        self.assertEqual(self.dialed, ["10.0.0.7:80"])
        self.target.accept()
        self.successResultOf(connecting)

    def test_known_for_a_moment(self) -> None:
        """Many connections at once ask once; after that the name is looked up, and its addresses are checked, again."""
        self.names["a.shop"] = ["10.0.0.7"]
        for _ in range(3):
            self.reach("a.shop")
        self.assertEqual((self.asked, self.dialed), (["a.shop"], ["10.0.0.7:80"]))
        self.assertEqual(len(self.target.waiting), 3)
        self.reactor.advance(KEPT)
        self.names["a.shop"] = ["127.0.0.1"]
        self.dialed.clear()
        self.assertIn("the loopback of the pod", self.denied("a.shop"))
        self.assertEqual(self.asked, ["a.shop"] * 2)

    def test_not_too_many_are_known(self) -> None:
        for number in range(MAX_KEPT + 5):
            self.names[f"a{number}.shop"] = ["10.0.0.7"]
            self.reach(f"a{number}.shop")
        self.assertEqual(len(self.reacher._kept), MAX_KEPT)
        self.reach("a0.shop")
        self.assertEqual(self.asked[-1], "a0.shop")

    def test_another_port_is_another_destination(self) -> None:
        self.names["a.shop"] = ["10.0.0.7"]
        self.reach("a.shop")
        self.dialed.clear()
        self.denied("a.shop", 81)

    def test_rebinding(self) -> None:
        for address in ("127.0.0.1", "169.254.169.254", "10.96.0.1"):
            self.names[f"a{address}.shop"] = [address]
            self.assertIn(f"is at {address}, which is", self.denied(f"a{address}.shop"))

    def test_some_addresses(self) -> None:
        """Those that may not be connected to are left out."""
        self.names["a.shop"] = ["127.0.0.1", "10.0.0.8"]
        self.reach("a.shop")
        self.assertEqual(self.dialed, ["10.0.0.8:80"])

    def test_the_next_address(self) -> None:
        self.names["a.shop"] = ["10.0.0.7", "10.0.0.8"]
        connecting = self.reach("a.shop")
        self.target.refuse(error.ConnectionRefusedError())
        self.assertEqual(self.dialed, ["10.0.0.7:80", "10.0.0.8:80"])
        self.target.accept()
        self.successResultOf(connecting)

    def test_denied_names_are_not_looked_up(self) -> None:
        """The pod's DNS learns nothing of them."""
        self.assertIn("no rule", self.denied("a.evil"))


class DescribeTests(SynchronousTestCase):
    def test_causes(self) -> None:
        for cause, expected in (
            (error.ConnectionRefusedError(), Cause.REFUSED),
            (error.TimeoutError(), Cause.TIMED_OUT),
            (error.TCPTimedOutError(), Cause.TIMED_OUT),
            (error.NoRouteError(), Cause.UNREACHABLE),
            (error.ConnectError(errno.ENETUNREACH, "no"), Cause.UNREACHABLE),
            (OSError(errno.EHOSTUNREACH, "no"), Cause.UNREACHABLE),
            (OSError(errno.EMFILE, "no more files"), Cause.FAILED),
        ):
            answer = describe(Failure(cause), "a:80")
            self.assertIs(answer.cause, expected, cause)
            self.assertIn("a:80", answer.why)


class AddressTests(SynchronousTestCase):
    def test_own(self) -> None:
        self.assertTrue(is_own_address(ip_address("127.0.0.1")))
        self.assertFalse(is_own_address(ip_address("192.0.2.1")))

    def test_api(self) -> None:
        self.assertEqual(api_addresses({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}), {ip_address("10.96.0.1")})
        self.assertEqual(api_addresses({"KUBERNETES_SERVICE_HOST": "fd00::1"}), {ip_address("fd00::1")})
        self.assertEqual(api_addresses({}), frozenset())


class StreamTests(PodCase):
    """How the client in the pod gives streams up."""

    def test_stalled(self) -> None:
        """As streams to a target, they are given up by the client's sweep, too."""
        pod, link = self.pod(), self.machine()
        self.reached(link)
        target = self.accept(pod)
        (stream,) = pod.forwarder.open
        stream.abort()
        self.settle()
        self.assertIsNotNone(target.lost)
        self.assertEqual(pod.forwarder.open, set())

    def test_stopped_while_dialing(self) -> None:
        pod, link = self.pod(), self.machine()
        asked = self.reached(link)
        (stream,) = pod.forwarder.open
        stream.abort()
        self.settle()
        self.assertIs(asked.cause, Cause.FAILED)
        self.assertEqual((self.targets(pod).cancelled, pod.forwarder.open), (1, set()))

    def test_it_counts_as_busy(self) -> None:
        """A client that leaves lets its connections finish."""
        pod, link = self.pod(), self.machine()
        self.assertFalse(pod.busy)
        self.reached(link)
        self.accept(pod)
        self.assertTrue(pod.busy)

    def test_nothing_is_asked(self) -> None:
        """A stream of the server that does not say what it is for is given up."""
        pod = self.pod()
        (connector,) = self.place.registry
        server = Peer()
        connector.pool.open_raw(server).write(pod_preface(connector.offer.token, PodService.REACH, "alice") + b"\x01")
        self.settle()
        self.assertEqual(len(pod.forwarder.open), 1)
        self.wait(STALL_SWEEP * MAX_UNSAID)
        self.assertEqual(pod.forwarder.open, set())
        self.assertEqual(pod.forwarder.stats.streams[StreamOutcome.BAD_PREFACE], 1)

    def test_something_breaks(self) -> None:
        """An error of another kind is told as one."""
        pod, link = self.pod(), self.machine()
        self.patch(PlayedEndpoint, "connect", lambda *_: fail(OSError(errno.EMFILE, "no more files")))
        asked = self.reached(link)
        self.assertIs(asked.cause, Cause.FAILED)
        self.assertIn(f"{POSTGRES}:5432 cannot be connected to", asked.failed.answer.why)
        self.assertEqual(pod.forwarder.open, set())
