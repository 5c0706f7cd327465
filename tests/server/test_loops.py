"""Requests that come back to the server: told from those that only pass it twice."""

from __future__ import annotations

from ipaddress import ip_network

from rtunnel.outcomes import Outcome
from rtunnel.routing.ingress import IngressRule
from rtunnel.settings import HttpSettings
from tests.server.harness import FarStream, HttpCase, Visitor, all_worlds
from tests.support.heads import GET, OK
from tests.support.ids import TUNNEL


class LoopTests(HttpCase):
    """The target passes everything on to the server, as a reverse proxy would."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()

    def passes_on(self, stream: FarStream, host: bytes = b"pod.local") -> Visitor:
        """The target sends what it got to the server again."""
        request = stream.take().replace(b"Host: pod.local\r\n", b"Host: " + host + b"\r\n", 1)
        self.world.unusual(requests=1)
        return self.world.visit(request)

    def test_same_host(self) -> None:
        self.world.unusual(answers=1)
        visitor = self.world.visit(GET)
        back = self.passes_on(self.pod.stream)
        self.assertEqual(back.status, 508)
        self.assertIn(b"508 Loop Detected: The request came back to the tunnel server for the same host", back.received)
        self.assertFalse(back.closed)
        self.assertEqual(len(self.pod.streams), 1)
        self.pod.stream.answer(back.take())
        self.assertEqual(visitor.status, 508)
        self.assertEqual(self.world.outcomes(), {Outcome.LOOP: 1, Outcome.ANSWERED: 1})

    def test_through_a_trusted_proxy(self) -> None:
        """Which adds itself to Via; the fields of the request say where it has been."""
        self.world.change(HttpSettings(trusted_proxies=(ip_network("192.168.0.0/16"),)))
        self.world.learn(b"GET / HTTP/1.1\r\nHost: pod.local\r\nVia: 1.0 x\r\n\r\n")
        self.world.visit(GET[:-2] + b"Via: 2.0 front\r\n\r\n")
        self.assertEqual(self.passes_on(self.pod.stream).status, 508)

    def test_another_host(self) -> None:
        """A service may call another one through the same server; from there it may not go on for ever."""
        self.world.rules(IngressRule("pod.local", TUNNEL), IngressRule("other.local", TUNNEL))
        visitor = self.world.visit(GET)
        passed_on = self.passes_on(self.pod.stream, b"other.local")
        self.assertEqual(len(self.pod.streams), 2)
        again = self.passes_on(self.pod.streams[1])
        self.assertEqual(again.status, 508)
        self.pod.streams[1].answer(OK)
        self.assertEqual(passed_on.received, OK)
        self.pod.streams[0].answer(OK)
        self.assertEqual(visitor.received, OK)

    def test_another_server(self) -> None:
        """Two of them in a row are no loop."""
        self.world.learn(b"GET / HTTP/1.1\r\nHost: pod.local\r\nVia: 1.0 x\r\n\r\n")
        visitor = self.world.visit(GET[:-2] + b"Via: 1.1 rtunnel-0123456789, 1.1 rtunnel\r\n\r\n")
        self.pod.stream.answer(OK)
        self.assertEqual(visitor.received, OK)


globals().update(all_worlds(LoopTests))
