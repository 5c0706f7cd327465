"""The client as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from rtunnel.client.connector import JoiningConnector
from rtunnel.client.status import client_status
from rtunnel.ops.metrics import ClientStats, TunnelLoad
from rtunnel.ops.status import ServiceStatus
from rtunnel.settings import ClientSettings

__all__ = ["ClientService"]

DRAIN_STEP = 0.05
"""Seconds between two looks whether the last stream has ended."""
CLOSE_TIME = 1.0
"""Seconds that the close handshakes of the links may take."""


class ClientService(Service):
    """Runs the connectors of one process.

    At the end no more streams are taken, those under way get up to ``settings.drain`` seconds, then the links are closed.

    :param settings: what the user asked for.
    :param reactor: the reactor.
    """

    def __init__(self, settings: ClientSettings, reactor: Any) -> None:
        self.settings = settings
        self.stats = ClientStats()
        self._reactor = reactor
        self._waiting: list[Deferred[None]] = []
        self._log = Logger()
        self.connectors = [
            JoiningConnector(connector, stats=self.stats, reactor=reactor, on_joined=self._joined)
            for connector in settings.connectors
        ]

    @property
    def ready(self) -> bool:
        """Whether every connector is joined now."""
        return bool(self.running) and all(connector.joined for connector in self.connectors)

    def when_ready(self) -> Deferred[None]:
        """Fire when every connector is joined for the first time."""
        if self.ready:
            return succeed(None)
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        return deferred

    def loads(self) -> Iterator[TunnelLoad]:
        """What this process carries of each tunnel now."""
        for connector in self.connectors:
            yield TunnelLoad(connector.settings.tunnel, int(connector.joined), len(connector.forwarder.open))

    def status(self) -> ServiceStatus:
        """What the client says of itself."""
        return client_status(self.connectors, self.loads())

    def _joined(self) -> None:
        if self.ready:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def startService(self) -> None:
        """Begin to join; needs no port and never fails."""
        super().startService()  # type: ignore[no-untyped-call]
        for connector in self.connectors:
            connector.start()

    def stopService(self) -> Deferred[None]:
        """Leave the tunnels; fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        done: Deferred[None] = Deferred()
        for connector in self.connectors:
            connector.drain()
        self._await_streams(self._reactor.seconds() + self.settings.drain, done)
        return done

    def _await_streams(self, until: float, done: Deferred[None]) -> None:
        if self._reactor.seconds() < until and any(connector.forwarder.busy for connector in self.connectors):
            self._reactor.callLater(DRAIN_STEP, self._await_streams, until, done)
            return
        leaving = DeferredList([connector.stop() for connector in self.connectors])
        cut = self._reactor.callLater(CLOSE_TIME, self._cut)

        def left(_: object) -> None:
            if cut.active():
                cut.cancel()
            self._log.info(
                "left after {joins} joins, {streams} streams, {bytes_in} bytes to the target and {bytes_out} from it",
                joins=self.stats.joins,
                streams=sum(self.stats.streams.values()),
                bytes_in=self.stats.bytes_in,
                bytes_out=self.stats.bytes_out,
            )
            done.callback(None)

        leaving.addCallback(left)

    def _cut(self) -> None:
        for connector in self.connectors:
            connector.cut()
