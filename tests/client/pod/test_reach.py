"""The list of what may be reached, from the client in the pod to a developer's machine, in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred

from rtunnel.client.pod import reach
from rtunnel.client.pod.asking import PodAskFailed, ask_reach, over_link
from rtunnel.client.pod.giving import MAX_OPEN
from rtunnel.client.pod.resolver import search_domains
from rtunnel.client.targets import Forwarder
from rtunnel.routing.reach import ReachRules
from rtunnel.routing.reach_list import ReachList
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest, PodService, Reach
from tests.server.pods import Asked, PodCase


class ListTests(PodCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(reach, "search_domains", partial(search_domains, self.resolv_conf("search shop.svc.cluster.local")))

    def resolv_conf(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def ask(self) -> Deferred[ReachList]:
        asked = Deferred.fromCoroutine(over_link(self.machine(), self.clock, ask_reach))
        self.settle()
        return asked

    def failed(self) -> PodAskFailed:
        error: PodAskFailed = self.failureResultOf(self.ask(), PodAskFailed).value
        return error

    def test_listed(self) -> None:
        """With the rules as the client has them; both ends log it, but not as a destination."""
        self.pod()
        listed = self.successResultOf(self.ask())
        self.assertEqual(listed, ReachList(ReachRules.parse(self.reach).rules, ("shop.svc.cluster.local",)))
        self.heard("an anonymous user gets the list of what may be reached")
        self.heard("reach of an anonymous user", "the list of what may be reached")
        self.assertFalse([line for line in self.lines if " had 1 connections" in line])

    def test_rights(self) -> None:
        """Who may not reach the pod does not learn what it reaches."""
        self.pod()
        self.permit("bind,env * pod.local")
        failed = self.failed()
        self.assertIn("the permissions of the server do not allow", str(failed))
        self.assertTrue(failed.final)

    def test_no_pod(self) -> None:
        self.assertIn("no client that offers it has joined", str(self.failed()))

    def test_no_rules(self) -> None:
        self.pod(reach=ReachRules())
        self.assertIn("no client that offers it has joined", str(self.failed()))

    def test_older(self) -> None:
        """What a client in a pod that does not know the question answers."""

        def refuse(request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes) -> None:
            stream.protocol = None
            stream.write(PodAnswer(Cause.FAILED, "not a request to a pod").encode())
            stream.loseConnection()

        self.pod().pod._services = {PodService.REACH: refuse}
        failed = self.failed()
        self.assertIn("is older than this command and does not know what is asked; update it", str(failed))

    def test_too_many_at_a_time(self) -> None:
        """Who does not take the answers gets no more of them."""
        client, link = self.pod(), self.machine()
        asked = [Asked(link, PodRequest(PodService.REACH, reach=Reach.RULES)) for _ in range(MAX_OPEN + 1)]
        self.settle()
        self.assertEqual([one.stream is None for one in asked], [False] * MAX_OPEN + [True])
        self.assertIs(asked[-1].cause, Cause.BUSY)
        self.assertEqual(len(client.forwarder.open), MAX_OPEN)

    def test_search_domains(self) -> None:
        for text, expected in (
            ("", ()),
            ("nameserver 10.0.0.1\nsearch a.svc.B. c\noptions ndots:5\n", ("a.svc.b", "c")),
            ("domain a\nsearch b  c\n", ("b", "c")),
            ("search a\n\nsearch .\n", ()),
            ("# search a\nsearch \xe9\n", ("\ufffd\ufffd",)),
        ):
            self.assertEqual(search_domains(self.resolv_conf(text)), expected)
        self.assertEqual(search_domains(self.mktemp()), ())
