"""Questions about leases: what each caller may, and how a connection with one goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.protocol import Protocol

from rtunnel import __version__
from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.auth.authenticator import ANONYMOUS, Grant
from rtunnel.client.connector import ConnectorClient
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.server.control_commands import Caller, ControlCommands
from rtunnel.server.control_connection import TIMEOUT
from rtunnel.server.lease_book import LeaseBook
from rtunnel.settings import Address, Credentials, ListenerSettings
from rtunnel.wire.control import (
    Allowed,
    ControlReader,
    Done,
    Hello,
    Listed,
    Message,
    QueryLeases,
    QueryRights,
    Refused,
    ReleaseLease,
    RenewLease,
    RevokeLease,
    TakeLease,
    encode,
)
from rtunnel.wire.relay import Command, Network, Request, Response, Status, TunnelFeature, take_response
from tests.server.test_leases import LeaseCase
from tests.support.ids import OTHER, TUNNEL
from tests.support.pipe import connect

RULES = (IngressRule("pod.local", TUNNEL), IngressRule("other.local", OTHER))
PERMISSIONS = f"""\
bind       alice  pod.local
list       bob    pod.local
visit      carol  pod.local
admin      root   *
intercept  dave   {TUNNEL}
visit      eve    other.local
"""


class CommandCase(LeaseCase):
    """A pod and Alice with a filter; some callers."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.client("pod")
        self.alice = self.client("alice", "header:X-User=alice", reason="PROJ-12", lease=100.0)

    def caller(self, user: str, tunnel: UUID = TUNNEL) -> Caller:
        raise NotImplementedError

    def ask(self, user: str, message: Message, tunnel: UUID = TUNNEL) -> list[Message]:
        """What a caller is answered."""
        answers: list[Message] = []
        ControlCommands(self.caller(user, tunnel), LeaseBook(self.place.manager, self.place.registry, None)).handle(
            message, answers.append
        )
        self.settle()
        return answers

    def refused(self, words: str, user: str, message: Message, tunnel: UUID = TUNNEL) -> None:
        (answer,) = self.ask(user, message, tunnel)
        assert isinstance(answer, Refused), answer
        self.assertIn(words, answer.text)

    def done(self, words: str, user: str, message: Message) -> None:
        (answer,) = self.ask(user, message)
        assert isinstance(answer, Done), answer
        self.assertIn(words, answer.text)

    def names(self, user: str, message: Message, tunnel: UUID = TUNNEL) -> list[str]:
        """Those who are listed."""
        *listed, done = self.ask(user, message, tunnel)
        self.assertEqual(done, Done(count=len(listed)))
        return [entry.name for entry in listed if isinstance(entry, Listed)]

    @property
    def left(self) -> list[str]:
        """Those who still have a lease."""
        return [lease.name for lease in self.place.leases]


class WithoutUsersTests(CommandCase):
    """The ID of the tunnel is all that counts, besides the name that one gives oneself."""

    def caller(self, user: str, tunnel: UUID = TUNNEL) -> Caller:
        settings = ListenerSettings(listen=Address("", 8421), rules=RULES)
        control = AccessControl(settings, Rights(None, None), self.clock)
        self.addCleanup(control.stop)
        return Caller(ANONYMOUS, control, IngressTable(RULES), tunnel)

    def test_list(self) -> None:
        self.wait(10)
        self.assertEqual(self.names("", QueryLeases()), ["pod", "alice"])
        self.assertEqual(self.names("", QueryLeases(), OTHER), [])
        self.assertEqual(self.names("", QueryLeases("POD.local")), ["pod", "alice"])
        entry = self.ask("", QueryLeases())[1]
        assert isinstance(entry, Listed)
        self.assertEqual(
            (entry.holder, entry.hosts, entry.what, entry.reason, entry.left, entry.age, entry.used, entry.state),
            ("alice", "pod.local", "header:x-user=alice", "PROJ-12", 90.0, 10.0, -1.0, "joined"),
        )

    def test_who_of_another_tunnel(self) -> None:
        """Whether its host exists is not told either."""
        self.refused("no ingress rule leads", "", QueryLeases("other.local"))
        self.refused("no ingress rule leads", "", QueryLeases("pod.local"), OTHER)
        self.refused("no ingress rule leads", "", QueryLeases("nothing.local"))

    def test_release(self) -> None:
        """What has one's own name; nothing else."""
        self.refused('"alice" belongs to alice, not to bob', "", ReleaseLease("bob", "alice"))
        self.refused("bob has no lease here", "", ReleaseLease("bob"))
        self.refused("no lease", "", ReleaseLease("alice"), OTHER)
        self.done("released alice", "", ReleaseLease("alice"))
        self.assertEqual(self.left, ["pod"])
        self.assertEqual(self.ended, [self.alice])

    def test_release_by_id(self) -> None:
        self.done("released alice", "", ReleaseLease("alice", self.place.lease("alice").id))

    def test_renew(self) -> None:
        self.wait(50)
        self.done("renewed alice, ends in 100 s", "", RenewLease("alice"))
        self.done("renewed alice, ends in 200 s", "", RenewLease("alice", lease=200.0))
        self.done("renewed pod", "", RenewLease("pod"))
        self.refused("belongs to alice", "", RenewLease("bob", "alice"))

    def test_nobody_is_admin(self) -> None:
        self.refused("needs the right admin", "alice", RevokeLease("alice", "no"))
        self.refused('no lease here is called "zoe"', "", RevokeLease("zoe", "no"))
        self.refused('no lease here is called ""', "", RevokeLease("", "no"))
        self.assertEqual(self.left, ["pod", "alice"])

    def test_take_over(self) -> None:
        """Only when the link is lost; then at once."""
        take = TakeLease("bob", "pod.local", over=True)
        self.refused("the link of alice is up", "", take)
        self.alice._stopping = True
        self.lose(self.alice)
        self.refused("take it with --take-over", "", TakeLease("bob", "pod.local"))
        self.done("took over from alice", "", take)
        self.assertEqual(self.left, ["pod"])
        self.assertTrue(self.client("bob", "header:X-User=alice").joined)

    def test_take_by_asking(self) -> None:
        self.assertEqual(self.ask("", TakeLease("bob", "pod.local")), [])
        self.refused("somebody else has asked alice already", "", TakeLease("carol", "pod.local"))
        self.wait(61)
        self.assertEqual(self.left, ["pod"])

    def test_take_from_whom(self) -> None:
        self.client("carol", "path=/carol")
        self.refused("say whose with --from: alice, carol", "", TakeLease("bob", "pod.local"))
        self.refused("nobody else has a lease there called zoe", "", TakeLease("bob", "pod.local", "zoe"))
        self.refused("nobody else has a lease there called alice", "", TakeLease("alice", "pod.local", "alice"))
        self.assertEqual(self.ask("", TakeLease("bob", "pod.local", "carol")), [])

    def test_rights(self) -> None:
        """Everything but what nobody may without a rule; and nothing of another tunnel."""
        everything = "bind,visit,intercept,global,list"
        self.assertEqual(self.ask("", QueryRights("POD.local")), [Allowed("", everything, __version__), Done(count=1)])
        for host, tunnel in (("other.local", TUNNEL), ("pod.local", OTHER), ("nothing.local", TUNNEL)):
            self.assertEqual(self.ask("", QueryRights(host), tunnel)[0], Allowed(server=__version__))

    def test_not_a_question(self) -> None:
        self.refused("not a question", "", Hello())


class WithUsersTests(CommandCase):
    """The permissions decide."""

    def setUp(self) -> None:
        super().setUp()
        lease = self.place.lease("alice")
        lease.user = lease.holder = "alice"
        path = Path(self.mktemp())
        path.write_text(PERMISSIONS)
        self.settings = ListenerSettings(
            listen=Address("", 8421), rules=RULES, credentials=Credentials("alice", "secret"), permissions=str(path)
        )

    def caller(self, user: str, tunnel: UUID = TUNNEL) -> Caller:
        control = AccessControl(self.settings, Rights.read(self.settings), self.clock)
        self.addCleanup(control.stop)
        return Caller(Grant(user, None), control, IngressTable(RULES), tunnel)

    def test_list(self) -> None:
        for user in ("alice", "bob", "root", "dave"):
            self.assertEqual(self.names(user, QueryLeases()), ["pod", "alice"], user)
        for user in ("carol", "eve", "nobody"):
            self.assertEqual(self.names(user, QueryLeases()), [], user)

    def test_who(self) -> None:
        """The right to visit a host is one to know who serves it."""
        self.assertEqual(self.names("carol", QueryLeases("pod.local")), ["pod", "alice"])
        self.refused("no ingress rule leads", "eve", QueryLeases("pod.local"))
        self.assertEqual(self.names("eve", QueryLeases("other.local")), [])

    def test_rights(self) -> None:
        for user, host, actions in (
            ("alice", "pod.local", "bind,intercept,global"),
            ("carol", "pod.local", "visit"),
            ("root", "other.local", "admin"),
            ("dave", "pod.local", "intercept"),
            ("dave", "other.local", ""),
            ("nobody", "pod.local", ""),
            ("alice", "nothing.local", ""),
        ):
            self.assertEqual(self.ask(user, QueryRights(host))[0], Allowed(user, actions, __version__))

    def test_release(self) -> None:
        """Whose it is depends on the user, whatever name is given."""
        self.refused("belongs to alice", "dave", ReleaseLease("alice", "alice"))
        self.refused("dave has no lease", "dave", ReleaseLease("alice"))
        self.done("released alice", "alice", ReleaseLease("nobody"))

    def test_revoke(self) -> None:
        for user in ("bob", "dave", "alice"):
            self.refused("needs the right admin", user, RevokeLease("alice", "no"))
        for user in ("carol", "nobody"):
            self.refused("no lease here", user, RevokeLease("alice", "no"))
        self.done("revoked alice", "root", RevokeLease("alice", "lunch"))
        self.heard('it was revoked by root: "lunch"')
        self.assertEqual(self.left, ["pod"])

    def test_take(self) -> None:
        """It takes the right to join."""
        self.refused("do not allow you to join", "bob", TakeLease("", "pod.local"))
        self.refused("do not allow you to join", "carol", TakeLease("", "pod.local"))
        self.assertEqual(self.ask("dave", TakeLease("", "pod.local")), [])
        self.heard("dave asks for the requests")


class CallerEnd(Protocol):
    """A caller's end of a connection."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class ConnectionTests(LeaseCase):
    """The relay command, and what follows."""

    alice: ConnectorClient

    def setUp(self) -> None:
        super().setUp()
        self.alice = self.client("alice", "header:X-User=alice")
        self.end = CallerEnd()
        self.pipe = connect(self.end, self.place.group.listener.buildProtocol(None))

    def send(self, data: bytes) -> None:
        self.end.transport.write(data)
        self.pipe.pump()
        self.settle()
        self.pipe.pump()

    def request(self, tunnel: UUID | None = TUNNEL, rest: bytes = b"", network: Network = Network.TCP) -> Response:
        feature = None if tunnel is None else TunnelFeature(tunnel)
        self.send(Request(Command.CONTROL, network, tunnel=feature).encode() + rest)
        taken = take_response(self.end.received)
        assert taken is not None
        self.end.received = self.end.received[taken[1] :]
        return taken[0]

    def answers(self) -> list[Message]:
        return ControlReader().receive(self.end.received)

    def test_one_question(self) -> None:
        """Also where it comes with the request; then the connection ends."""
        response = self.request(rest=encode(QueryLeases()) + encode(ReleaseLease("alice")))
        self.assertIs(response.status, Status.OK)
        self.assertEqual(response.metadata["rt"], "1")
        self.assertEqual([type(answer) for answer in self.answers()], [Listed, Done])
        self.assertTrue(self.end.lost)
        self.assertEqual(len(self.place.leases), 1)
        self.assertEqual(self.place.group.listener.callers, set())

    def test_refused(self) -> None:
        self.assertIs(self.request(OTHER).status, Status.FORBIDDEN)
        self.assertTrue(self.end.lost)

    def test_no_tunnel(self) -> None:
        self.assertIs(self.request(None).status, Status.BAD_REQUEST)

    def test_nonsense(self) -> None:
        self.request(rest=b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.answers(), [Refused("a line is not JSON")])
        self.assertTrue(self.end.lost)

    def test_endless_line(self) -> None:
        self.request()
        self.send(b" " * 20000)
        self.assertEqual(self.answers(), [Refused("a line is too long")])

    def test_silence(self) -> None:
        """Who asks nothing is let go."""
        self.request()
        self.wait(TIMEOUT - 1)
        self.pipe.pump()
        self.assertFalse(self.end.lost)
        self.wait(2)
        self.pipe.pump()
        self.assertTrue(self.end.lost)

    def test_who_asked_leaves(self) -> None:
        """Then nobody waits any more, and nothing is taken."""
        self.request(rest=encode(TakeLease("bob", "pod.local")))
        self.heard("bob asks for the requests")
        self.end.transport.abortConnection()
        self.pipe.pump()
        self.wait(70)
        self.assertTrue(self.alice.joined)

    def test_given(self) -> None:
        self.request(rest=encode(TakeLease("bob", "pod.local")))
        self.wait(61)
        self.pipe.pump()
        self.assertEqual(self.answers(), [Done("alice has given way (taken)", 1)])

    def test_kept(self) -> None:
        self.request(rest=encode(TakeLease("bob", "pod.local")))
        (connector,) = self.place.registry
        connector.requests += 1
        self.wait(1)
        self.pipe.pump()
        self.assertEqual(self.answers(), [Refused("alice is using it: a request has come since")])

    def test_the_server_stops(self) -> None:
        self.request()
        self.place.group.listener.close()
        self.pipe.pump()
        self.assertTrue(self.end.lost)
