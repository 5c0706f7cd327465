"""A client's end of a real link, with targets that the test plays."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.http_forward import HttpForwarder, needs_http
from rtunnel.client.targets import Forwarder
from rtunnel.metrics.stats import ClientStats
from rtunnel.options.targets import TARGETS
from rtunnel.outcomes import StreamOutcome
from rtunnel.settings import ForwardSettings, TargetList
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.relay import RelayAddress, stream_preface
from rtunnel.wire.smux import DATA, Session
from tests.support.transports import Transport

PREFACE = stream_preface(RelayAddress("192.0.2.1", 4711), RelayAddress("pod.local", 80))


class Target:
    """An endpoint whose other end is the test."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Deferred[Any]]] = []
        self.transport: Any = None
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.waiting.append((factory, deferred))
        return deferred

    def accept(self) -> None:
        factory, deferred = self.waiting.pop()
        self.protocol = factory.buildProtocol(None)
        self.transport = Transport()
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        deferred.callback(self.protocol)

    def refuse(self) -> None:
        self.waiting.pop()[1].errback(Failure(ConnectError()))


class ForwarderCase(SynchronousTestCase):
    """A forwarder, a link whose server is the test, and one stream of it.

    :cvar targets: what the forwarder forwards to, as a user would write it.
    :cvar settings: how.
    :cvar target_class: what plays a target.
    """

    targets = "localhost:80"
    settings = ForwardSettings()
    target_class: type[Target] = Target

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ClientStats()
        targets: TargetList = TARGETS.parse(self.targets)
        self.all_targets = {str(target.address): self.target_class() for target in targets.targets}
        self.target = next(iter(self.all_targets.values()))
        forwarder = HttpForwarder if needs_http(targets, self.settings) else Forwarder
        self.forwarder: Forwarder = forwarder(
            targets=targets,
            settings=self.settings,
            timeout=10,
            stats=self.stats,
            reactor=self.clock,
            endpoint_for=lambda address: self.all_targets[str(address)],  # type: ignore[arg-type,return-value]
        )
        self.forwarder.start()
        self.server = Session(opens=True)
        self.link = Link(
            Session(opens=False),
            reactor=self.clock,
            keepalive=Keepalive(0),
            on_stream=self.forwarder.take,
            on_lost=lambda link, end, reason: None,
        )
        self.wire: Any = Transport()
        self.link.makeConnection(self.wire)
        self.received = b""
        self.signals: list[int] = []
        self.consume = True
        self.stream = self.server.open()

    def turn(self) -> None:
        """Let everything happen that needs no time."""
        moving = True
        while moving:
            up = self.server.take_output()
            if up:
                self.link.dataReceived(up)
            self.clock.advance(0)
            down = self.wire.value()
            self.wire.clear()
            for kind, _, payload in self.server.receive(down):
                if kind == DATA:
                    self.received += payload
                    if self.consume:
                        self.server.consumed(self.stream, len(payload))
                else:
                    self.signals.append(kind)
            moving = bool(up or down)

    def send(self, data: bytes) -> None:
        self.server.send(self.stream, data)
        self.turn()

    def say(self, data: bytes) -> None:
        """The target sends bytes."""
        self.target.protocol.dataReceived(data)
        self.turn()

    def outcomes(self) -> dict[StreamOutcome, int]:
        return {outcome: count for outcome, count in self.stats.streams.items() if count}

    def close(self) -> None:
        """The target's connection is gone in good order."""
        self.target.protocol.connectionLost(Failure(ConnectionDone()))
        self.turn()
