"""The environment of a pod, from its client to a developer's machine, in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from rtunnel.client.pod import asking
from rtunnel.client.pod.asking import ANSWER_TIMEOUT, PodAskFailed, ask_environment, over_link
from rtunnel.client.pod.giving import MAX_OPEN, TIMEOUT
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.outcomes import StreamOutcome
from rtunnel.podenv.variables import Variable, write_document
from rtunnel.routing.globs import Glob
from rtunnel.routing.reach import ReachRules
from rtunnel.settings import Address, PodEnvSettings, ServerConnectionSettings, SettingsError
from rtunnel.wire.pod import PodRequest, PodService
from tests.client.harness import Peer
from tests.server.pods import Asked, PodCase
from tests.server.test_leases import Way
from tests.support.ids import TUNNEL

VARIABLES = (
    Variable("MODE", "dev", "value"),
    Variable("DB_PASSWORD", "swordfish", "secret/db"),
    Variable("LARGE", "x" * (2 << 20), "configmap/app"),
)


class EnvironmentTests(PodCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.mktemp()).absolute().with_suffix(".json")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(write_document(VARIABLES))

    def offering(self, **rules: Any) -> None:
        """A client that gives out the environment."""
        self.client_in_pod = self.pod(reach=ReachRules(), env=PodEnvSettings(source=str(self.file), **rules))

    def ask(self, *, values: bool = True) -> Deferred[list[Variable]]:
        way = Way(self.place)
        self.ways.append(way)
        settings = ServerConnectionSettings(server=Address("server", 8421), transport="tcp", tunnel=TUNNEL, mux=self.mux)
        link = PodLinkClient(settings, "pod.local", reactor=self.clock, endpoint=way)
        asked = Deferred.fromCoroutine(over_link(link, self.clock, partial(ask_environment, values=values)))
        self.settle()
        return asked

    def failed(self) -> str:
        return str(self.failureResultOf(self.ask(), PodAskFailed).value)

    def test_values(self) -> None:
        """More than a window of them; both ends log the names, and no value."""
        self.offering()
        found = self.successResultOf(self.ask())
        self.assertEqual(
            [(one.name, one.value and len(one.value)) for one in found], [("DB_PASSWORD", None), ("LARGE", 2 << 20), ("MODE", 3)]
        )
        self.assertEqual([one.withheld for one in found], [True, False, False])
        self.heard("env of an anonymous user", "by connector", "values: LARGE, MODE")
        self.heard("an anonymous user gets values of the environment of the pod: LARGE, MODE")
        self.assertNotIn("swordfish", "\n".join(self.lines))
        self.assertNotIn("xxxxx", "\n".join(self.lines))
        self.assertEqual(self.place.group.listener.pod_links, set())

    def test_secrets(self) -> None:
        self.offering(allow_secret=(Glob("DB_*"),))
        found = {one.name: one.value for one in self.successResultOf(self.ask())}
        self.assertEqual(found["DB_PASSWORD"], "swordfish")
        self.heard("values: DB_PASSWORD, LARGE, MODE")
        self.assertNotIn("swordfish", "\n".join(self.lines))

    def test_names(self) -> None:
        """Without values, nothing of them leaves the pod."""
        self.offering(allow_secret=(Glob("*"),))
        self.assertEqual({one.value for one in self.successResultOf(self.ask(values=False))}, {None})
        self.heard("gets names of the environment of the pod: DB_PASSWORD, LARGE, MODE")

    def test_it_is_read_each_time(self) -> None:
        self.offering()
        self.file.write_bytes(write_document([Variable("NEW", "1", "value")]))
        self.assertEqual([one.name for one in self.successResultOf(self.ask())], ["NEW"])

    def test_unreadable(self) -> None:
        """The log of the client says why; the developer is told to look there."""
        self.offering()
        self.file.write_text("secret: swordfish")
        self.assertIn("the client in the pod cannot read the environment", self.failed())
        self.heard("gets no environment of the pod: ", "not JSON")

    def test_not_offered(self) -> None:
        self.client_in_pod = self.pod(reach=ReachRules.parse("a:1"))
        self.assertIn("no client that offers it has joined", self.failed())

    def test_another_service(self) -> None:
        """Who may read the environment may not reach anything by it."""
        self.offering()
        self.permit("bind * pod.local\nenv * pod.local")
        self.assertIn("DB_PASSWORD", [one.name for one in self.successResultOf(self.ask())])
        self.permit("bind * pod.local\nreach * pod.local")
        self.assertIn("the permissions of the server do not allow", self.failed())

    def test_an_answer_that_does_not_end(self) -> None:
        """It is given up."""
        self.offering()
        link = self.machine()
        asked = Asked(link, PodRequest(PodService.ENV, values=True))
        self.settle()
        self.assertTrue(asked.peer.read_ended)
        whole = asking._Whole()
        late = whole.within(ANSWER_TIMEOUT, self.clock)
        whole.dataReceived(b"{")
        self.clock.advance(ANSWER_TIMEOUT)
        self.assertIn("did not send all of its answer", str(self.failureResultOf(late, PodAskFailed).value))

    def test_an_answer_that_is_too_large(self) -> None:
        self.patch(asking, "MAX_ANSWER", 10)
        self.offering()
        self.assertIn("is larger than", self.failed())

    def test_readers_that_do_not_read(self) -> None:
        """They cost so much and no more, and not for long."""
        self.offering()
        link = self.machine()
        current = link._link
        assert current is not None
        streams = [current.open_stream(Peer()) for _ in range(MAX_OPEN + 2)]
        for stream in streams:
            stream.pauseProducing()
            stream.write(PodRequest(PodService.ENV, values=True).encode())
        self.settle()
        self.assertEqual(len(self.client_in_pod.forwarder.open), MAX_OPEN)
        self.assertEqual(self.client_in_pod._stats.streams[StreamOutcome.TOO_MANY], 2)
        self.heard("refused: the client in the pod gives it to others just now")
        self.wait(TIMEOUT + 1)
        self.assertEqual(self.client_in_pod.forwarder.open, set())
        self.assertIn("MODE", [one.name for one in self.successResultOf(self.ask())])

    def test_filters(self) -> None:
        """A client that intercepts is none in the pod."""
        error = self.assertRaises(SettingsError, self.client, "a", "path=/", env=PodEnvSettings(source="/env.json"))
        self.assertIn("only a client in the pod", str(error))
        self.assertRaises(SettingsError, PodEnvSettings, deny=(Glob("A"),))
