"""Policies of hosts: who joins, what becomes of requests whose holder is gone, who served them; and all of it after a reload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.policies import POLICY
from rtunnel.outcomes import LinkEnd, Outcome, RefusalReason
from rtunnel.routing.explanation import AskedRequest, explain
from rtunnel.routing.policies import PolicyRow
from rtunnel.settings import Address, Credentials, LeaseSettings, ListenerSettings, SettingsError
from rtunnel.wire.relay import Command, Request, Status, TunnelFeature
from rtunnel.wire.relay_intercepts import AS_POD, InterceptAnswer, InterceptRequest
from tests.server.harness import FarConnector, HttpCase, all_worlds
from tests.server.test_leases import HOUR, LeaseCase
from tests.server.test_listener import Case
from tests.support.heads import GET
from tests.support.ids import TUNNEL

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ALICES = GET[:-2] + b"X-User: alice\r\n\r\n"


class JoinTests(Case):
    """Who is let in."""

    policy: ClassVar[str] = "pod.local global=forbid require=session,header:X-User"

    def setUp(self) -> None:
        super().setUp()
        self.use(self.policy)

    def use(self, *texts: str) -> None:
        settings = attrs.evolve(self.listener.settings, policies=tuple(map(POLICY.parse, texts)))
        self.listener.settings, self.listener.policies = settings, settings.policy

    def ask(self, *filters: str, pod: bool = False, weight: int = 1) -> InterceptAnswer | None:
        self.arrive()
        metadata: Any = InterceptRequest("name", filters).metadata() if filters else AS_POD if pod else {}
        command = Command.INTERCEPT if filters else Command.BIND
        credentials = (self.credentials.user, self.credentials.password) if self.credentials else None
        feature = TunnelFeature(TUNNEL, weight=weight)
        self.client.send(Request(command, credentials=credentials, tunnel=feature, metadata=metadata).encode())
        return InterceptAnswer.of(self.answer().metadata)

    def allowed(self, *filters: str, pod: bool = False, weight: int = 1) -> bool:
        refused = self.ask(*filters, pod=pod, weight=weight)
        status = self.answer().status
        if status is not Status.OK:
            self.assertIs(status, Status.FORBIDDEN)
            self.assertTrue(refused is not None and refused.why)
        return status is Status.OK

    def test_a_share_of_all_requests(self) -> None:
        """The pod gets it, and nobody else, whatever the weight."""
        refused = self.ask()
        assert refused is not None
        self.assertIn("only the pod may take a share of all requests here (policy global=forbid)", refused.why)
        self.assertFalse(self.allowed(weight=255))
        self.assertTrue(self.allowed(pod=True))
        self.assertEqual([connector.pod for connector in self.registry], [True])
        self.assertEqual(self.stats.refusals[RefusalReason.POLICY], 2)
        self.assertTrue(self.allowed("header:X-User=alice"), "beside it")

    def test_filters(self) -> None:
        refused = self.ask("header:X-User=alice", "path^=/a")
        assert refused is not None
        self.assertIn('an exact value of session or header:x-user in each filter, and "path^=/a" has none', refused.why)
        self.assertFalse(self.allowed("header:X-User"))
        self.assertTrue(self.allowed("header:X-User=alice; path^=/a"))

    def test_all_hosts_of_the_tunnel(self) -> None:
        """A client serves all of them, so that the strictest policy counts."""
        self.use("*.dev.local global=allow", "a.dev.local global=forbid")
        self.assertFalse(self.allowed())
        self.use("*.dev.local global=allow", "other.local global=forbid")
        self.assertTrue(self.allowed())

    def test_owners_without_permissions(self) -> None:
        self.use("* global=owners")
        refused = self.ask()
        assert refused is not None
        self.assertIn('users with the permission "global"', refused.why)
        self.assertTrue(self.allowed(pod=True))

    def test_terms_of_leases(self) -> None:
        self.use("pod.local max-lease=2h")
        self.assertEqual((self.listener.lease_terms(TUNNEL).longest, self.listener.lease_terms(TUNNEL).idle), (7200, 0))


class OwnerTests(JoinTests):
    """With users and permissions."""

    credentials = Credentials("user", "secret")

    def setUp(self) -> None:
        self.permissions = self.mktemp()
        Path(self.permissions).write_text("global user pod.local,*.dev.local\nintercept user *\n")
        super().setUp()

    def test_owners_without_permissions(self) -> None:
        """A permission says so; without a file none does."""
        self.use("* global=owners")
        self.assertTrue(self.allowed())
        assert self.permissions is not None
        Path(self.permissions).write_text("intercept user *\n")
        self.listener.access_control.reload()
        self.ask()
        self.assertIs(self.answer().status, Status.FORBIDDEN)

    def test_a_pod_needs_the_permission(self) -> None:
        """To say that one is the pod is no permission."""
        assert self.permissions is not None
        Path(self.permissions).write_text("intercept user *\n")
        self.listener.access_control.reload()
        self.ask(pod=True)
        self.assertIs(self.answer().status, Status.FORBIDDEN)
        self.assertEqual(list(self.registry), [])


class ReloadTests(LeaseCase):
    """Policies that change while clients are there."""

    def use(self, *texts: str) -> None:
        group = self.place.group
        settings = attrs.evolve(group.planned.settings, policies=tuple(map(POLICY.parse, texts)))
        group.change(attrs.evolve(group.planned, settings=settings), group.routes, 0.0)
        group.drop_unwelcome_connectors(0.0)

    def test_no_longer_allowed(self) -> None:
        """Who takes a share of all requests has to leave, and hears why; the pod and those with filters stay."""
        self.client("pod", role="pod")
        self.client("alice", "header:X-User=alice")
        bob = self.client("bob")
        self.use("pod.local global=forbid")
        self.wait(1)
        self.assertEqual(sorted(connector.name for connector in self.place.registry), ["alice", "pod"])
        self.wait(30)
        self.heard("the server refused: only the pod may take a share of all requests here (policy global=forbid)")
        self.use("pod.local global=allow")
        self.wait(60)
        self.assertEqual(sorted(connector.name for connector in self.place.registry), ["alice", "bob", "pod"])
        self.assertTrue(bob.joined)

    def test_terms(self) -> None:
        """A lease that begins later has the new end."""
        self.use("pod.local max-lease=2h idle=1h")
        self.client("alice", "path=/", lease=9 * HOUR)
        lease = self.place.lease("alice")
        self.assertEqual((lease.length, lease.terms.idle), (2 * HOUR, HOUR))


class OverlapTests(LeaseCase):
    """Two filters that match the same requests, which the rank decides."""

    def test_both_are_told(self) -> None:
        self.client("alice", "path^=/a")
        self.client("bob", "header:X-User=bob", "header:X-Other=bob")
        said = 'those that also match your "path^=/a" go to bob'
        self.heard("bob has joined for requests with header:x-user=bob; " + said)
        self.assertEqual(sum(said in line for line in self.lines), 1, "once for each client")
        self.heard('requests that also match "path^=/a" of alice go to bob (and 1 more)')

    def test_no_overlap(self) -> None:
        self.client("alice", "header:X-User=alice")
        self.client("bob", "header:X-User=bob")
        self.assertFalse([line for line in self.lines if "also match" in line])


class AbsentTests(HttpCase):
    """Requests of somebody whose link is lost."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()
        self.alice = self.world.attach(filters=["header:X-User=alice"])
        self.alice.connector.name = "alice <a>"
        self.alice.connector.instance = b"instance"
        leases = self.world.leases.leases
        self.lease, _ = leases.grant(self.alice.connector, self.alice.connector.name, "", 0, LeaseSettings(hold=5.0))

    def use(self, row: PolicyRow) -> None:
        self.world.change(self.world.settings, row)
        self.world.learn(ALICES, OK)

    def lose(self) -> None:
        self.world.registry.remove(self.alice.connector)
        self.world.leases.lost(self.alice.connector, LinkEnd.LOST)

    def ask(self, connector: FarConnector | None, request: bytes = ALICES) -> bytes:
        visitor = self.world.visit(request)
        if connector is not None:
            connector.stream.answer(OK)
        return visitor.received

    def test_the_pod_answers(self) -> None:
        self.use(POLICY.parse("pod.local on-absent=pod"))
        self.ask(self.alice)
        self.lose()
        self.assertIn(b" 200 ", self.ask(self.pod))

    def test_kept(self) -> None:
        """Nobody else gets them as long as the lease is held; all others go on."""
        self.use(POLICY.parse("pod.local on-absent=503"))
        self.ask(self.alice)
        self.ask(self.pod, GET)
        self.lose()
        answer = self.ask(None)
        self.assertIn(b" 503 ", answer)
        self.assertIn(b"\r\nRetry-After: ", answer)
        self.assertIn(b"This request is kept for alice <a>, whose client has lost its connection.", answer)
        self.assertEqual(self.world.outcomes()[Outcome.HOLDER_ABSENT], 1)
        self.ask(self.pod, GET)
        explained = explain(self.world.entrypoint.selector, AskedRequest("pod.local", fields=(("X-User", "alice"),)))
        self.assertEqual((explained.status, [one.share for one in explained.connectors]), (503, [0.0]))
        self.assertIn("alice <a> takes it, whose link is lost", explained.because)
        self.world.pass_time(6)
        self.ask(self.pod)
        if self.logged:
            outcomes = [json.loads(line)["outcome"] for line in self.world.lines]
            self.assertEqual(outcomes.count("holder_absent"), 1)

    def test_html_is_escaped(self) -> None:
        self.use(POLICY.parse("pod.local on-absent=503"))
        self.lose()
        request = ALICES[:-2] + b"Accept: text/html\r\n\r\n"
        self.world.learn(request)
        self.assertIn(b"kept for alice &lt;a&gt;", self.ask(None, request))

    def test_back(self) -> None:
        self.use(POLICY.parse("* on-absent=503"))
        self.lose()
        back = self.world.attach(filters=["header:X-User=alice"])
        self.assertIn(b" 200 ", self.ask(back), "at once")
        back.connector.instance = b"instance"
        self.world.leases.leases.grant(back.connector, "alice", "", 0, LeaseSettings())
        self.world.registry.no_longer_gone(TUNNEL, self.lease)
        self.assertIn(b" 200 ", self.ask(back))

    def test_in_flight(self) -> None:
        """The link is lost before the response has begun."""
        self.use(POLICY.parse("* on-absent=503"))
        visitor = self.world.visit(ALICES)
        self.lose()
        self.alice.link.connectionLost()
        self.world.turn()
        self.assertIn(b" 503 ", visitor.received)

    def test_the_target_is_down(self) -> None:
        """The holder is there: that their service is not is no reason to answer with another."""
        self.use(POLICY.parse("* on-absent=503"))
        visitor = self.world.visit(ALICES)
        self.alice.stream.refuse()
        self.world.turn()
        self.assertIn(b" 502 ", visitor.received)

    def test_more_specific_ones_go_on(self) -> None:
        self.use(POLICY.parse("* on-absent=503"))
        carol = self.world.attach(filters=["header:X-User=alice; path=/"])
        self.lose()
        self.assertIn(b" 200 ", self.ask(carol))


class ServedByTests(HttpCase):
    """Who served it, host by host."""

    def test_hosts(self) -> None:
        pod = self.world.attach()
        for text, said in (("pod.local served-by=always", True), ("other.local served-by=always", False)):
            self.world.change(self.world.settings, POLICY.parse(text))
            self.world.learn(OK)
            visitor = self.world.visit(GET)
            pod.stream.answer(OK)
            self.assertEqual(b"Rtunnel-Served-By" in visitor.received, said)


class SettingsTests(SynchronousTestCase):
    def settings(self, *texts: str) -> ListenerSettings:
        return ListenerSettings(
            listen=Address("", 8421), leases=LeaseSettings(longest=60.0), policies=tuple(map(POLICY.parse, texts))
        )

    def test_defaults(self) -> None:
        self.assertEqual(self.settings("a global=forbid").policy.of_tunnel(["a"]).max_lease, 60)

    def test_refused(self) -> None:
        for texts, why in ((("a idle=1h", "A. idle=2h"), "already has a policy"), (("a max-lease=1000000h",), "max-lease must be")):
            with self.assertRaises(SettingsError) as caught:
                self.settings(*texts)
            self.assertIn(why, str(caught.exception))


globals().update(all_worlds(AbsentTests, ServedByTests))
