"""The client as a whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from rtunnel.client.all_servers import AllServers, resolve
from rtunnel.client.connector import ConnectorClient
from rtunnel.client.drain import Handover, drain_connectors
from rtunnel.client.local_ports import LocalPorts
from rtunnel.client.status import client_status
from rtunnel.client.stream_budget import StreamBudget
from rtunnel.client.wake import SleepWatch
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ClientStats, TunnelStats
from rtunnel.ops.descriptors import current_limit
from rtunnel.ops.start import StartError
from rtunnel.ops.status import Queries, ServiceStatus
from rtunnel.settings import ClientSettings, ConnectorSettings
from rtunnel.settings.diff import compare, numbered

if TYPE_CHECKING:
    from rtunnel.client.watch import Watch
    from rtunnel.client.watch_lines import WatchLines

__all__ = ["ClientService", "wants_lines"]


def wants_lines(settings: ClientSettings, descriptor: int) -> bool:
    """Whether each request is to be shown where a descriptor leads: on a terminal by default, elsewhere only when asked for."""
    return settings.watch or (os.isatty(descriptor) and settings.log_level != "warn" and not settings.unwatched)


def _on_stdout(settings: ClientSettings) -> WatchLines | None:
    if not wants_lines(settings, 1):
        return None
    from rtunnel.client.watch_lines import lines_on

    return lines_on(sys.__stdout__ or sys.stdout)


class ClientService(Service):
    """Runs the connectors and the visitors of one process.

    At the end no more streams are accepted, those in progress get up to ``settings.drain`` seconds, then the links are closed.

    :param settings: what the user asked for.
    :param reactor: the reactor.
    :param lines: where each request is shown, if anywhere; called at the start, since twistd may have forked before.
    :param target_follows: whether the target is started once the requests come here, so that nothing listens there before.
    """

    live = frozenset(("connectors", "visitors", "drain"))
    """The settings of the process that :meth:`reload` can change."""
    _log = Logger()

    def __init__(
        self,
        settings: ClientSettings,
        reactor: Any,
        lines: Callable[[ClientSettings], WatchLines | None] | None = None,
        *,
        target_follows: bool = False,
    ) -> None:
        self.settings = settings
        self.stats = ClientStats()
        self.budget = StreamBudget(settings.max_streams)
        self._reactor = reactor
        self.on_over: Callable[[], None] = lambda: None
        """Called when there is nothing left to do: all leases have ended, and no local ports are open."""
        self._lines = lines or _on_stdout
        self._target_follows = target_follows
        self._watch: Watch | None = None
        self._waiting: list[Deferred[None]] = []
        self.connectors: list[ConnectorClient | AllServers] = list(map(self._connector, settings.connectors))
        self.visitors = LocalPorts(settings.visitors, stats=self.stats, reactor=reactor)
        self._sleep = SleepWatch(self._woke, reactor)
        self._handovers: list[Handover] = []
        self._draining: list[Deferred[None]] = []

    @property
    def ready(self) -> bool:
        """Whether every connector is joined now whose lease has not ended; the ports of visitors are open from the start."""
        wanted = [connector for connector in self.connectors if not connector.ended]
        return bool(self.running) and bool(wanted or self.visitors.ports) and all(connector.joined for connector in wanted)

    def when_ready(self) -> Deferred[None]:
        """Fire when every connector is joined for the first time."""
        if self.ready:
            return succeed(None)
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        return deferred

    def tunnel_stats(self) -> Iterator[TunnelStats]:
        """What this process carries of each tunnel at this moment."""
        for connector in self.members:
            yield TunnelStats(connector.settings.tunnel, int(connector.joined), len(connector.forwarder.open))

    @property
    def members(self) -> list[ConnectorClient]:
        """All connectors, each of those to several servers."""
        return [member for connector in self.connectors for member in connector.members]

    def metrics(self) -> bytes:
        """The metrics of the process in Prometheus' format."""
        # late, so that a process whose metrics nobody reads does not carry the library for them
        from rtunnel.metrics.exposition import exposition

        return exposition(self.stats, self.tunnel_stats)

    def refresh(self) -> Deferred[None]:
        """Ask the servers which part of the requests comes here, and how many have."""
        return DeferredList([connector.shares.ask() for connector in self.members]).addCallback(lambda _: None)

    @property
    def queries(self) -> Queries:
        """What the admin endpoint answers besides the status: nothing."""
        return {}

    def status(self) -> ServiceStatus:
        """The client's status."""
        return client_status(self.members, self.visitors.ports, self.tunnel_stats())

    def _joined(self) -> None:
        for handover in list(self._handovers):
            handover.check()
        if self.ready:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def privilegedStartService(self) -> None:
        """Open the ports of visitors, while the process may still open low ones (``twistd --uid``).

        :raises StartError: when one cannot be opened; none stays open then.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self.visitors.listen()

    def startService(self) -> None:
        """Join the tunnels; opens the ports of visitors if that was not done before.

        :raises StartError: when one cannot be opened; none stays open then.
        """
        self.visitors.listen()
        self.budget.start(current_limit())
        self._begin_to_watch()
        super().startService()  # type: ignore[no-untyped-call]
        self.visitors.start()
        for connector in self.connectors:
            connector.start()
        self._sleep.start()
        self._joined()

    def _begin_to_watch(self) -> None:
        """Show each request, if that is wanted."""
        lines = self._lines(self.settings) if self.connectors else None
        if lines is None:
            return
        # late, since nobody else needs the library for terminals
        from rtunnel.client.watch import Watch

        self._watch = Watch(lines, self._reactor)
        self._watch.start()
        for connector in self.members:
            connector.watch(self._watch)

    def _woke(self, seconds: float) -> None:
        """The machine has slept: its links may be dead, and there is no reason to wait with the next attempt."""
        self._log.info("this machine slept for {seconds:.0f} s; asking whether the links are still alive", seconds=seconds)
        for connector in self.connectors:
            connector.woke()

    # -- reload

    def reload(self, settings: ClientSettings) -> list[str]:
        """Change what runs to what other settings want, and nothing else.

        A connector with other settings than before is a new one. The old ones go when all new ones have joined, or after ten
        seconds, so that no tunnel is without a connector in between; streams in progress there get ``settings.drain`` seconds.

        :returns: what changed, for people, one line each.
        :raises StartError: a file of a new connector or visitor cannot be used, or a port not be opened; then nothing has changed.
        """
        running = dict(zip(numbered(one.settings for one in self.connectors), self.connectors, strict=True))
        wanted = numbered(settings.connectors)
        difference = compare({key: key[0] for key in running}, wanted)
        started = {key: self._connector(wanted[key]) for key in difference.start}
        stopped = [running[key] for key in difference.stop]
        self._start(started.values())
        try:
            visitors = self.visitors.reload(settings.visitors, settings.drain)
        except StartError:
            for connector in started.values():
                connector.stop()
            raise
        self.settings = settings
        self.connectors = [started[key] if key in started else running[key] for key in wanted]
        if stopped:
            handover = Handover(stopped, list(started.values()), self._leave, self._reactor)
            self._handovers.append(handover)
            handover.check()
        return [
            *(f"connector to tunnel {short_id(key[0].tunnel)} at {key[0].server} started" for key in difference.start),
            *(f"connector to tunnel {short_id(key[0].tunnel)} at {key[0].server} stops" for key in difference.stop),
            *visitors,
        ]

    def _start(self, connectors: Iterable[ConnectorClient | AllServers]) -> None:
        """Start all or none."""
        started: list[ConnectorClient | AllServers] = []
        for connector in connectors:
            try:
                connector.start()
            except StartError:
                for other in started:
                    other.stop()
                raise
            started.append(connector)

    def _connector(self, settings: ConnectorSettings) -> ConnectorClient | AllServers:
        make = partial(
            self._watched,
            settings,
            stats=self.stats,
            budget=self.budget,
            reactor=self._reactor,
            on_joined=self._joined,
            target_follows=self._target_follows,
        )
        if settings.join == "one":
            return make(on_ended=self._lease_ended)
        return AllServers(
            settings,
            make=lambda address, instance, on_ended: make(address=address, instance=instance, on_ended=on_ended),
            on_ended=self._lease_ended,
            reactor=self._reactor,
            look_up=partial(resolve, settings.server.host, self._reactor),
        )

    def _watched(self, settings: ConnectorSettings, **more: Any) -> ConnectorClient:
        connector = ConnectorClient(settings, **more)
        if self._watch is not None:
            connector.watch(self._watch)
        return connector

    def _lease_ended(self, connector: ConnectorClient | AllServers) -> None:
        """A connector has to leave, and does not come back."""
        gone = drain_connectors([connector], self.settings.drain, self._reactor)
        self._draining.append(gone)
        gone.addCallback(lambda _: self._left_for_good(gone))

    def _left_for_good(self, gone: Deferred[None]) -> None:
        self._draining.remove(gone)
        if self.running and not self.visitors.ports and all(connector.ended for connector in self.connectors):
            self.on_over()

    def _leave(self, handover: Handover) -> None:
        """Have the old connectors of a handover leave."""
        self._handovers.remove(handover)
        gone = drain_connectors(handover.old, self.settings.drain, self._reactor)
        self._draining.append(gone)
        gone.addCallback(lambda _: self._draining.remove(gone))

    # -- end

    def stopService(self) -> Deferred[None]:
        """Leave the tunnels; fires when nothing is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._sleep.stop()
        for handover in list(self._handovers):
            handover.finish()
        gone = [
            *self._draining,
            drain_connectors(self.connectors, self.settings.drain, self._reactor),
            self.visitors.drain(self.settings.drain),
        ]
        return DeferredList(gone, consumeErrors=True).addCallback(self._stopped)

    def _stopped(self, _result: object) -> None:
        stats = self.stats
        if self._watch is not None:
            self._watch.stop()
        self._log.info(
            "stopped; joined {joins} times, {streams} streams, {bytes_in} bytes to the target and {bytes_out} from it",
            joins=stats.joins,
            streams=sum(stats.streams.values()),
            bytes_in=stats.bytes_in,
            bytes_out=stats.bytes_out,
        )
