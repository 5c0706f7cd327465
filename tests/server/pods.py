"""A server, a client in a pod and a developer's machine in memory, for tests of what goes between them."""

from __future__ import annotations

from typing import Any

from rtunnel.auth.access_control import Rights
from rtunnel.client.connector import ConnectorClient
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.metrics.stats import ClientStats
from rtunnel.routing.permissions import Permissions
from rtunnel.routing.reach import ReachRules
from rtunnel.settings import Address, ConnectorSettings, ServerConnectionSettings
from rtunnel.wire.pod import PodRequest, PodService
from rtunnel.wire.relay import RelayAddress
from tests.client.harness import Peer, PlayedEndpoint
from tests.server.test_leases import LeaseCase, Place, Way
from tests.support.ids import TUNNEL

POSTGRES = "10.0.0.7"
"""What a rule allows; an address, so that nothing is looked up."""


class Asked:
    """Something that was asked of the pod, and what came of it.

    :ivar peer: gets the bytes behind the answer.
    :ivar stream: once it is granted.
    :ivar failed: why it is not.
    """

    def __init__(self, link: PodLinkClient, request: PodRequest) -> None:
        self.peer = Peer()
        self.stream: Any = None
        self.failed: Any = None
        self.deferred = link.ask(request, self.peer)
        self.deferred.addCallbacks(self._granted, self._refused)

    def _granted(self, stream: Any) -> None:
        self.stream = stream

    def _refused(self, failure: Any) -> None:
        self.failed = failure.value

    @property
    def cause(self) -> Any:
        return self.failed.answer.cause


class PodCase(LeaseCase):
    """A client in a pod with rules, and a machine with a link.

    :cvar permissions: of the server; there are no users.
    :cvar reach: the rules of the client.
    """

    permissions: str | None = "bind,reach,env * pod.local"
    reach = f"{POSTGRES}:5432,10.0.0.8:80"

    def setUp(self) -> None:
        super().setUp()
        self.pods: dict[ConnectorClient, PlayedEndpoint] = {}
        self.permit(self.permissions)

    def permit(self, permissions: str | None) -> None:
        """The permissions file has changed."""
        control = self.place.group.listener.access_control
        control.apply(control._settings, Rights(None, None if permissions is None else Permissions.parse(permissions)))

    def pod(self, name: str = "pod", targets: PlayedEndpoint | None = None, **settings: Any) -> ConnectorClient:
        """A client in a pod, which has joined; the test plays what it dials."""
        way, targets = Way(self.place), targets or PlayedEndpoint()
        self.ways.append(way)
        settings.setdefault("reach", ReachRules.parse(self.reach))
        client = ConnectorClient(
            ConnectorSettings(
                server=Address("server", 8421),
                transport="tcp",
                tunnel=TUNNEL,
                target=Address("localhost", 9),
                name=name,
                mux=self.mux,
                **settings,
            ),
            stats=ClientStats(),
            reactor=self.clock,
            on_joined=lambda: None,
            endpoint=way,
            target_endpoint=lambda address: targets,
            random=lambda: 0.5,
            wall=self.clock.seconds,
        )
        client.way = way  # type: ignore[attr-defined]
        self.pods[client] = targets
        self.addCleanup(client.stop)
        client.start()
        self.settle()
        return client

    def machine(self, host: str = "pod.local") -> PodLinkClient:
        """A developer's machine, which has tried to connect."""
        self.way_of_machine = Way(self.place)
        self.ways.append(self.way_of_machine)
        settings = ServerConnectionSettings(server=Address("server", 8421), transport="tcp", tunnel=TUNNEL, mux=self.mux)
        link = PodLinkClient(settings, host, reactor=self.clock, endpoint=self.way_of_machine, random=lambda: 0.5)
        self.started: list[Any] = []
        link.start().addBoth(self.started.append)
        self.addCleanup(link.stop)
        self.settle()
        return link

    def settle(self) -> None:
        quiet = 0
        while quiet < 2:
            self.clock.advance(0)
            pipes = [pipe for way in self.ways for pipe in way.pipes]
            pipes += [pipe for targets in getattr(self, "pods", {}).values() for pipe in targets.pipes]
            quiet = 0 if sum(pipe.pump() for pipe in pipes) else quiet + 1

    def reached(self, link: PodLinkClient, host: str = POSTGRES, port: int = 5432) -> Asked:
        """Ask to reach something."""
        asked = Asked(link, PodRequest(PodService.REACH, RelayAddress(host, port)))
        self.settle()
        return asked

    def targets(self, client: ConnectorClient) -> PlayedEndpoint:
        return self.pods[client]

    def accept(self, client: ConnectorClient) -> Peer:
        """What a client dials accepts."""
        peer = self.targets(client).accept()
        self.settle()
        return peer


__all__ = ["POSTGRES", "Asked", "Place", "PodCase"]
