"""Pod links between a real server, real clients in pods and a real machine's end: who gets what, and how it ends."""

from __future__ import annotations

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.python.failure import Failure

from rtunnel.client.pod import link as link_module
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.outcomes import Limit, PodOutcome, StreamOutcome
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.permissions import Action
from rtunnel.routing.reach import ReachRules
from rtunnel.server import pod_link
from rtunnel.server.pod_stream import REQUEST_TIMEOUT
from rtunnel.settings import Address, ServerConnectionSettings, SettingsError
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest, PodService, pod_preface
from rtunnel.wire.relay import RelayAddress, Response, Status, stream_preface
from tests.client.harness import Peer, PlayedEndpoint
from tests.server.pods import POSTGRES, Asked, PodCase
from tests.support.ids import TUNNEL


class GrantedTests(PodCase):
    def test_bytes(self) -> None:
        """Both ways, with their ends, and each end logs who reaches what, once."""
        pod, link = self.pod(), self.machine()
        self.assertEqual((self.started, link.up), ([None], True))
        asked = self.reached(link)
        self.assertIsNone(asked.stream)
        target = self.accept(pod)
        asked.stream.write(b"select 1")
        self.settle()
        self.assertEqual(target.take(), b"select 1")
        target.transport.write(b"1")
        self.settle()
        self.assertEqual(asked.peer.take(), b"1")
        asked.stream.loseWriteConnection()
        self.settle()
        self.assertTrue(target.read_ended)
        target.transport.write(b"bye")
        target.transport.loseConnection()
        self.settle()
        self.assertEqual((asked.peer.take(), asked.peer.read_ended), (b"bye", True))
        self.heard("reach of an anonymous user", "by connector", f"{POSTGRES}:5432")
        self.heard(f"an anonymous user reaches {POSTGRES}:5432")
        self.assertEqual(pod.forwarder.open, set())
        self.assertEqual({outcome: count for outcome, count in pod._stats.streams.items() if count}, {StreamOutcome.DONE: 1})
        self.assertEqual((self.place.stats.pod_links_open, self.place.stats.pod_requests[PodOutcome.GRANTED]), (1, 1))
        self.assertEqual((self.place.stats.bytes_in, self.place.stats.bytes_out), (8, len(link_answer()) + 4))

    def test_one_line_for_each_destination(self) -> None:
        pod, link = self.pod(), self.machine()
        for _ in range(3):
            self.reached(link)
            self.accept(pod)
        for words in ("by connector", "reaches"):
            self.assertEqual(sum(words in line and POSTGRES in line for line in self.lines), 1)
        link.stop()
        self.settle()
        self.heard(f"{POSTGRES}:5432 had 3 connections")
        self.assertEqual((self.place.group.listener.pod_links, self.place.stats.pod_links_open), (set(), 0))

    def test_early_bytes(self) -> None:
        """What is sent with the request arrives once the pod has connected."""
        pod, link = self.pod(), self.machine()
        current = link._link
        assert current is not None
        stream = current.open_stream(Peer())
        stream.write(PodRequest(PodService.REACH, RelayAddress(POSTGRES, 5432)).encode() + b"early")
        self.settle()
        stream.write(b", and more")
        self.settle()
        target = self.accept(pod)
        self.assertEqual(target.take(), b"early, and more")

    def test_it_is_held_up_until_there_is_an_answer(self) -> None:
        """A program that sends much costs a window, wherever it is."""
        pod, link = self.pod(), self.machine()
        current = link._link
        assert current is not None
        stream = current.open_stream(Peer())
        stream.write(PodRequest(PodService.REACH, RelayAddress(POSTGRES, 5432)).encode() + b"x" * (4 << 20))
        self.settle()
        (server_link,) = self.place.group.listener.pod_links
        self.assertLess(server_link.link.buffered(), 2 << 20)
        target = self.accept(pod)
        self.settle()
        self.assertEqual(len(target.take()), 4 << 20)

    def test_the_machine_leaves(self) -> None:
        """Its connections end in the pod."""
        pod, link = self.pod(), self.machine()
        self.reached(link)
        target = self.accept(pod)
        link.stop()
        self.settle()
        self.assertTrue(target.read_ended)
        self.assertEqual(pod.forwarder.open, set())

    def test_the_machine_leaves_before_the_answer(self) -> None:
        pod, link = self.pod(), self.machine()
        asked = self.reached(link)
        asked.deferred.cancel()
        self.settle()
        target = self.accept(pod)
        self.settle()
        self.assertIsNotNone(target.lost)
        self.assertEqual(pod.forwarder.open, set())


def link_answer() -> bytes:
    """The answer of a pod to what it grants, which counts as bytes of it."""
    return PodAnswer().encode()


class ChoiceTests(PodCase):
    """Which client in a pod."""

    def test_the_same_one(self) -> None:
        first, second, link = self.pod("first"), self.pod("second"), self.machine()
        for _ in range(3):
            self.reached(link)
            self.accept(first)
        self.assertEqual(self.targets(second).pipes, [])

    def test_another_one_when_it_is_gone(self) -> None:
        first, second, link = self.pod("first"), self.pod("second"), self.machine()
        self.reached(link)
        self.accept(first)
        first.stop()
        self.settle()
        self.assertIsNotNone(self.reached(link).deferred)
        self.accept(second)

    def test_none(self) -> None:
        """Also where clients have joined that offer nothing."""
        self.client("laptop")
        asked = self.reached(self.machine())
        self.assertIs(asked.cause, Cause.NO_POD)
        self.heard("refused: no client that offers it has joined")

    def test_who_intercepts_is_no_pod(self) -> None:
        """Whoever may have some requests only must not serve others' connections, whatever they announce."""
        client = self.client("mallory", "header:X-User=mallory", start=False)
        client.lease._offers, client.lease._pod_token = "reach", "0badc0de" * 4
        client.start()
        self.settle()
        self.assertIs(self.reached(self.machine()).cause, Cause.NO_POD)

    def test_lost_before_the_answer(self) -> None:
        pod, link = self.pod(), self.machine()
        asked = self.reached(link)
        self.lose(pod)
        self.settle()
        self.assertIs(asked.cause, Cause.FAILED)
        self.assertIn("the client in the pod was lost", asked.failed.answer.why)


class RefusedTests(PodCase):
    """By the pod: the machine is told why."""

    def refused(self, cause: Cause, words: str, asked: Asked) -> None:
        self.assertIs(asked.cause, cause)
        self.assertIn(words, asked.failed.answer.why)
        self.heard("an anonymous user cannot reach", words)
        self.heard("refused:", words)
        self.assertEqual(self.place.stats.pod_requests[PodOutcome(cause.name.lower())], 1)

    def test_not_allowed(self) -> None:
        pod, link = self.pod(), self.machine()
        self.refused(Cause.NOT_ALLOWED, "no rule of the client in the pod", self.reached(link, POSTGRES, 5433))
        self.assertEqual(self.targets(pod).waiting, [])
        self.assertEqual({outcome: count for outcome, count in pod._stats.streams.items() if count}, {StreamOutcome.NO_TARGET: 1})

    def test_special(self) -> None:
        self.reach = "*:80"
        pod, link = self.pod(), self.machine()
        self.refused(Cause.NOT_ALLOWED, "a metadata service of the cloud", self.reached(link, "169.254.169.254", 80))
        self.assertEqual(self.targets(pod).waiting, [])

    def test_nothing_listens(self) -> None:
        pod, link = self.pod(), self.machine()
        asked = self.reached(link)
        self.targets(pod).refuse(Refused())
        self.settle()
        self.refused(Cause.REFUSED, "nothing listens there", asked)
        self.assertEqual(pod.forwarder.open, set())

    def test_nothing_offered(self) -> None:
        """A client without rules offers nothing, and a server cannot make it."""
        pod = self.pod(reach=ReachRules())
        self.assertIs(self.reached(self.machine()).cause, Cause.NO_POD)
        self.assertEqual(pod.pod.names, "")


class RightsTests(PodCase):
    """What the server's permissions allow."""

    def test_nothing_without_permissions(self) -> None:
        """Nobody may, unless a rule says so."""
        self.permit(None)
        link = self.machine()
        self.assertFalse(link.up)
        self.assertIn("its permissions allow a client without a user nothing with the pod", str(self.started[0].value))
        self.heard("refused", "the permissions do not allow it anything with the pod")

    def test_other_rights_imply_nothing(self) -> None:
        self.permit("bind,visit,intercept,global,list,admin * *")
        self.assertFalse(self.machine().up)

    def test_each_by_itself(self) -> None:
        self.permit("bind * pod.local\nenv * pod.local")
        self.pod()
        asked = self.reached(self.machine())
        self.assertIs(asked.cause, Cause.NOT_ALLOWED)
        self.assertIn("the permissions of the server do not allow", asked.failed.answer.why)

    def test_all_hosts_of_the_tunnel(self) -> None:
        self.permit("bind * pod.local\nreach * other.local")
        self.assertFalse(self.machine().up)

    def test_withdrawn(self) -> None:
        """The link is closed, and what comes back gets nothing."""
        pod, link = self.pod(), self.machine()
        self.reached(link)
        target = self.accept(pod)
        self.permit("bind * *")
        self.settle()
        self.assertFalse(link.up)
        self.assertTrue(target.read_ended)
        self.wait(1)
        self.heard("no link to", "nothing with the pod")

    def test_granted_later(self) -> None:
        """With the next stream."""
        self.permit("bind * pod.local\nenv * pod.local")
        pod, link = self.pod(), self.machine()
        self.permit("bind * pod.local\nenv,reach * pod.local")
        self.reached(link)
        self.accept(pod)

    def test_withdrawn_after_it_was_granted_later(self) -> None:
        self.permit("bind * pod.local\nenv * pod.local")
        pod, link = self.pod(), self.machine()
        self.permit("bind * pod.local\nenv,reach * pod.local")
        self.reached(link)
        self.accept(pod)
        self.permit("bind * pod.local\nenv * pod.local")
        self.settle()
        self.assertFalse(link.up)

    def test_explicit(self) -> None:
        self.assertEqual([action for action in Action if action.explicit], [Action.ADMIN, Action.REACH, Action.ENV, Action.FILES])

    def test_a_host_of_another_tunnel(self) -> None:
        link = self.machine("other.local")
        self.assertFalse(link.up)
        self.assertIn('no ingress rule of it leads "other.local"', str(self.started[0].value))


class HostileTests(PodCase):
    """Machines that do not keep to it, and visitors that pass for the server."""

    def raw(self, data: bytes) -> Peer:
        link = self.machine()
        current = link._link
        assert current is not None
        peer = Peer()
        current.open_stream(peer).write(data)
        self.settle()
        return peer

    def test_malformed(self) -> None:
        peer = self.raw(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(peer.take())
        self.assertTrue(peer.read_ended or peer.lost)

    def test_endless(self) -> None:
        peer = self.raw(b"\x01\x01\xff\xff" + b"x" * 5000)
        self.assertTrue(peer.read_ended or peer.lost)

    def test_silent(self) -> None:
        """A stream that does not say what it is for is closed."""
        peer = self.raw(b"\x01")
        self.assertIsNone(peer.lost)
        self.wait(REQUEST_TIMEOUT + 1)
        self.assertTrue(peer.read_ended or peer.lost)
        (server_link,) = self.place.group.listener.pod_links
        self.assertEqual(server_link.link.streams, {})

    def test_too_many(self) -> None:
        self.patch(pod_link, "MAX_STREAMS", 2)
        self.pod()
        link = self.machine()
        waiting = [self.reached(link) for _ in range(2)]
        self.assertEqual([asked.failed for asked in waiting], [None, None])
        self.assertIs(self.reached(link).cause, Cause.BUSY)
        self.assertEqual(self.place.stats.limits[Limit.STREAMS_PER_LINK], 1)

    def test_too_many_at_the_machine(self) -> None:
        self.patch(link_module, "MAX_STREAMS", 1)
        self.pod()
        link = self.machine()
        self.reached(link)
        asked = self.reached(link)
        self.assertIs(asked.cause, Cause.BUSY)
        self.assertIn("over the link", asked.failed.answer.why)

    def test_a_visitor_passes_for_the_server(self) -> None:
        """With the reserved host, and without the token."""
        pod = self.pod()
        (connector,) = self.place.registry
        peer = Peer()
        request = PodRequest(PodService.REACH, RelayAddress(POSTGRES, 5432)).encode()
        for preface in (
            stream_preface(RelayAddress("192.0.2.1", 80), RelayAddress("reach.rtunnel", 0)),
            pod_preface("0" * 32, PodService.REACH, "root"),
            pod_preface("", PodService.REACH, "root"),
        ):
            connector.pool.open_raw(peer).write(preface + request)
            self.settle()
        self.assertEqual(self.targets(pod).waiting, [])
        self.assertEqual(pod._stats.streams[StreamOutcome.NO_TARGET], 3)

    def test_the_token_is_in_no_log(self) -> None:
        pod, link = self.pod(), self.machine()
        self.reached(link)
        self.accept(pod)
        self.assertNotIn(pod.pod.token, "\n".join(self.lines))


class OldServerTests(PodCase):
    """Servers that know no pods."""

    def setUp(self) -> None:
        super().setUp()
        self.server = PlayedEndpoint()
        settings = ServerConnectionSettings(server=Address("server", 8421), transport="tcp", tunnel=TUNNEL)
        link = PodLinkClient(settings, "pod.local", reactor=self.clock, endpoint=self.server)
        self.failed: list[Failure] = []
        link.start().addErrback(self.failed.append)
        self.peer = self.server.accept()
        self.server.pipe.pump()

    def answer(self, data: bytes) -> str:
        """What the user is told."""
        self.peer.transport.write(data)
        self.server.pipe.pump()
        return str(self.failed[0].value)

    def test_the_request(self) -> None:
        """A command that they refuse as unknown."""
        self.assertEqual(self.peer.take()[:2], bytes((1, 6)))

    def test_bad_request(self) -> None:
        """As gost and older servers of ours answer it."""
        self.assertIn("it does not know pods; update it", self.answer(Response(Status.BAD_REQUEST).encode()))
        self.clock.advance(60)
        self.assertEqual(self.server.waiting, [])

    def test_ok_by_mistake(self) -> None:
        """A server that takes any command for another one."""
        self.assertIn("without saying that it knows pods", self.answer(Response(Status.OK).encode()))

    def test_closed(self) -> None:
        self.peer.transport.loseConnection()
        self.assertIn("closed the connection before it answered", self.answer(b""))

    def test_silent(self) -> None:
        self.clock.advance(20)
        self.server.pipe.pump()
        self.assertIn("did not answer within", self.answer(b""))


class LinkTests(PodCase):
    """The machine's link comes and goes."""

    def test_unreachable(self) -> None:
        """Never having had a link is an error of the command."""
        self.place.group.listener.leave()
        link = self.machine()
        self.assertIn("it is about to stop", str(self.started[0].value))
        self.wait(60)
        self.assertEqual((link.up, len(self.way_of_machine.pipes)), (False, 1))

    def test_lost(self) -> None:
        """It is said, tried again, and said; what runs then ends, what is asked meanwhile waits."""
        pod, link = self.pod(), self.machine()
        running = self.reached(link)
        self.accept(pod)
        self.way_of_machine.pipes[-1].break_link()
        self.settle()
        self.assertIsNotNone(running.peer.lost)
        waiting = self.reached(link)
        self.heard("no link to server:8421", "next attempt in")
        self.wait(1)
        self.heard("the link to server:8421 is there again")
        self.accept(pod)
        self.assertIsNotNone(waiting.stream)

    def test_patience(self) -> None:
        """Nobody waits forever."""
        link = self.machine()
        self.place.group.listener.stopping = True
        self.way_of_machine.pipes[-1].break_link()
        self.settle()
        asked = self.reached(link)
        self.wait(link_module.PATIENCE + 1)
        self.assertIs(asked.cause, Cause.FAILED)
        self.assertIn("there is no link to the server", asked.failed.answer.why)

    def test_the_server_leaves(self) -> None:
        """What runs goes on, over the link that there is; the next request goes over another one."""
        pod, link = self.pod(), self.machine()
        running = self.reached(link)
        target = self.accept(pod)
        (server_link,) = self.place.group.listener.pod_links
        server_link.link.leave()
        self.settle()
        self.heard("is about to stop; connecting again")
        self.wait(1)
        self.assertEqual(len(self.way_of_machine.pipes), 2)
        target.transport.write(b"still here")
        self.settle()
        self.assertEqual(running.peer.take(), b"still here")

    def test_the_listener_leaves(self) -> None:
        """It says so to machines as well."""
        self.machine()
        self.place.group.listener.leave()
        self.settle()
        self.heard("is about to stop; connecting again")

    def test_the_server_stops(self) -> None:
        self.pod()
        link = self.machine()
        self.place.group.listener.close()
        self.settle()
        self.assertFalse(link.up)

    def test_no_rule_any_more(self) -> None:
        link = self.machine()
        self.patch(self.place.group, "knows", lambda tunnel: False)
        self.place.group.drop_unwelcome_connectors(1.0)
        self.settle()
        self.assertFalse(link.up)

    def test_it_stops_while_it_is_lost(self) -> None:
        link = self.machine()
        self.way_of_machine.pipes[-1].break_link()
        self.settle()
        asked = self.reached(link)
        gone: list[object] = []
        link.stop().addCallback(gone.append)
        self.assertEqual((gone, asked.cause), ([None], Cause.FAILED))

    def test_filters_and_reach(self) -> None:
        """A client with both is a mistake, which its settings refuse."""
        error = self.assertRaises(SettingsError, self.pod, intercept=(InterceptFilter.parse("path=/"),))
        self.assertIn("only a client in the pod", str(error))
