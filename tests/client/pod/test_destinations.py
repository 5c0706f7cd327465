"""Connections of the proxy that begin in the pod, and those that begin at this machine, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError

from rtunnel.client.pod import destinations
from rtunnel.client.pod.destinations import COOLDOWN, KEPT, Destinations
from rtunnel.client.pod.local_programs import LocalProgram, LocalPrograms
from rtunnel.routing.reach import ReachRules
from rtunnel.wire.pod import PodRequest, Reach
from rtunnel.wire.proxy_server import ProxyServer, Wanted
from tests.client.harness import Peer, PlayedEndpoint
from tests.server.pods import PodCase
from tests.support.pipe import connect

ELSEWHERE = b"CONNECT example.org:443 HTTP/1.1\r\n\r\n"
ALLOWED = b"CONNECT 10.0.0.7:5432 HTTP/1.1\r\n\r\n"


class DestinationsTests(PodCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = PlayedEndpoint()
        self.link = self.machine()
        self.destinations = Destinations(self.link, self.clock, self.endpoint)
        self.programs = LocalPrograms(self.link, self.clock, destinations=self.destinations)
        self.dialed: list[str] = []
        self.asked = 0
        ask = self.link.ask

        def count(request: PodRequest, protocol: Any) -> Any:
            self.asked += request.reach is Reach.RULES
            return ask(request, protocol)

        self.patch(self.link, "ask", count)

    def endpoint(self, address: Any) -> PlayedEndpoint:
        self.dialed.append(str(address))
        return self.here

    def settle(self) -> None:
        pipes = getattr(self, "here", PlayedEndpoint()).pipes
        quiet = 0
        while quiet < 2:
            super().settle()
            # the end of a direction is none of the bytes that are counted
            quiet = 0 if sum(pipe.pump() for pipe in pipes) else quiet + 1

    def program(self, data: bytes) -> Peer:
        program = Peer()
        self.way_of_machine.pipes.append(connect(program, LocalProgram(self.programs, ProxyServer())))
        program.transport.write(data)
        self.settle()
        return program

    def test_here(self) -> None:
        """Bytes both ways, what came early first, and the end."""
        self.pod()
        program = self.program(ELSEWHERE + b"hello")
        self.assertEqual(self.dialed, ["example.org:443"])
        target = self.here.accept()
        self.settle()
        self.assertEqual(target.take(), b"hello")
        target.transport.write(b"welcome")
        self.settle()
        self.assertTrue(program.take().endswith(b"\r\n\r\nwelcome"))
        program.transport.loseWriteConnection()
        self.settle()
        self.assertTrue(target.read_ended)
        target.transport.loseConnection()
        self.settle()
        self.assertEqual(self.programs.connections, set())

    def test_a_plain_request(self) -> None:
        self.pod()
        program = self.program(b"GET http://example.org/x HTTP/1.1\r\nHost: example.org\r\n\r\n")
        target = self.here.accept()
        self.settle()
        self.assertEqual(target.take(), b"GET /x HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
        target.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        target.transport.loseConnection()
        self.settle()
        self.assertEqual(program.take(), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")

    def test_in_the_pod(self) -> None:
        """What a rule is for, and names of the cluster, although they are refused there."""
        pod = self.pod()
        program = self.program(ALLOWED)
        self.accept(pod)
        self.assertIn(b" 200 ", program.take())
        program = self.program(b"CONNECT postgres:1 HTTP/1.1\r\n\r\n")
        self.assertIn(b"no rule of the client in the pod (--reach) is for postgres:1", program.take())
        self.assertEqual(self.dialed, [])

    def test_failures(self) -> None:
        """They are told as those of the pod, with the line at the user."""
        self.pod()
        for failed, expected in ((Refused(), b" 502 refused\r\n"), (DNSLookupError("no"), b" 502 no such name\r\n")):
            program = self.program(ELSEWHERE)
            self.here.refuse(failed)
            self.settle()
            answer = program.take()
            self.assertIn(expected, answer)
            self.assertIn(b"example.org:443 cannot be reached from this machine", answer)
        self.heard("cannot reach example.org:443", "and no rule of the client in the pod (--reach) is for it")

    def test_asked_now_and_then(self) -> None:
        """Connections at once are one question; later ones do not wait for its answer."""
        pod = self.pod()
        elsewhere = b"CONNECT 198.51.100.7:443 HTTP/1.1\r\n\r\n"
        for _ in range(5):
            self.program(elsewhere)
        self.assertEqual((self.asked, len(self.dialed)), (1, 5))
        pod.pod._services = dict(self.pod("other", reach=ReachRules.parse("198.51.100.7:443")).pod._services)
        self.wait(KEPT)
        self.program(elsewhere)
        self.assertEqual((self.asked, len(self.dialed)), (2, 6))
        self.program(elsewhere)
        self.assertEqual((self.asked, len(self.dialed)), (2, 6))

    def test_waiting_for_the_rules(self) -> None:
        """Who leaves before they are known is forgotten."""
        self.pod()
        first: Any = self.destinations.is_pods(Wanted("example.org", 443))
        second: Any = self.destinations.is_pods(Wanted("example.org", 443))
        self.assertNoResult(first)
        second.addErrback(lambda _: None).cancel()
        self.settle()
        self.assertIs(self.successResultOf(first), False)
        self.assertIs(self.destinations.is_pods(Wanted("example.org", 443)), False)

    def test_unknown_rules(self) -> None:
        """Everything is the pod's, and it says what is wrong; the question is asked again."""
        program = self.program(ELSEWHERE)
        self.assertIn(b"no client that offers it has joined", program.take())
        self.program(ELSEWHERE)
        self.assertEqual((self.asked, self.dialed), (1, []))
        self.pod()
        self.wait(COOLDOWN)
        self.program(ELSEWHERE)
        self.assertEqual((self.asked, self.dialed), (2, ["example.org:443"]))

    def test_leaving(self) -> None:
        """The command ends while it connects."""
        self.pod()
        self.program(ELSEWHERE)
        self.programs.close()
        self.settle()
        self.assertEqual((self.here.cancelled, self.programs.connections), (1, set()))

    def test_bounded(self) -> None:
        self.patch(destinations, "MAX_KNOWN", 2)
        self.pod()
        for number in range(5):
            self.program(b"CONNECT example%d.org:443 HTTP/1.1\r\n\r\n" % number)
        self.assertLessEqual(len(self.destinations._known), 2)
