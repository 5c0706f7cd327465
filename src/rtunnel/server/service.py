"""The server as a whole: what belongs together, and the order of its start and end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from rtunnel.ops.access import FORMATS, AccessLog
from rtunnel.ops.access_file import AccessFile
from rtunnel.ops.metrics import ServerStats, TunnelLoad
from rtunnel.ops.plan import Spot
from rtunnel.ops.start import StartError
from rtunnel.ops.status import ServiceStatus
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.entrypoint.http import HttpEntrypoint
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.leaving import LeavingParts
from rtunnel.server.listener import TunnelListener
from rtunnel.server.plan import ServerPlan, placed
from rtunnel.server.routes import Routes
from rtunnel.server.site import Shared, Site, place_of, rights_of
from rtunnel.server.status import server_status
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings, ServerSettings
from rtunnel.transport.door import Door

__all__ = ["ServerService"]

DRAIN_STEP = 0.05
"""Seconds between two looks whether the last request has ended."""


class ServerService(Service):
    """Runs the tunnel listeners and entrypoints of one process.

    The end goes in order: no new visitor and no new link, idle visitors closed, requests under way up to ``settings.drain``
    seconds, then the links closed properly, then what is left is cut.

    :param settings: what the user asked for.
    :param reactor: the reactor.
    """

    live = frozenset(("listeners", "drain"))
    """The settings of the process that :meth:`reload` can change."""

    def __init__(self, settings: ServerSettings, reactor: Any) -> None:
        self.settings = settings
        self.stats = ServerStats()
        self.registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        self.access: AccessLog | None = None
        """Where requests and connections leave a line, if that was asked for."""
        self._access_file: AccessFile | None = None
        access = settings.access_log
        if access.file is not None:
            self._access_file = AccessFile(access.file, dropped=self.stats.drop_access_lines, reactor=reactor)
            self.access = AccessLog(self._access_file.write, FORMATS[access.format], query=access.query)
        self.ready = False
        self._reactor = reactor
        self._deadlines = Deadlines(reactor)
        self._leaving = LeavingParts(reactor.seconds)
        self._shared = Shared(
            registry=self.registry,
            deadlines=self._deadlines,
            stats=self.stats,
            leaving=self._leaving,
            access=self.access,
            apart=self._named_apart,
            rules_changed=lambda: self._part_with_strangers(self.settings.drain),
            reactor=reactor,
        )
        self._doors: dict[Spot, Door] = {}
        self._sites: dict[Spot, Site] = {}
        self._bound = False
        self._waiting: list[Deferred[None]] = []
        self._log = Logger()

    @property
    def ports(self) -> list[Any]:
        """The listening ports, in the order of the settings: each tunnel listener followed by its entrypoints."""
        return [
            self._doors[spot].port
            for site in self._sites.values()
            for spot in (site.placed.listen, *site.placed.entrypoints)
            if spot in self._doors
        ]

    @property
    def _listeners(self) -> list[TunnelListener]:
        return [site.listener for site in self._sites.values()]

    @property
    def _visited(self) -> list[HttpEntrypoint | RelayEntrypoint]:
        """All that takes visitors."""
        return [*self._entrypoints, *(site.relay for site in self._sites.values())]

    @property
    def _entrypoints(self) -> list[HttpEntrypoint]:
        return [entrypoint for site in self._sites.values() for entrypoint in site.entrypoints]

    # -- start

    def privilegedStartService(self) -> None:
        """Bind every port, while the process may still bind low ones (``twistd --uid``).

        :raises StartError: when one cannot be bound; none stays bound then.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bind()

    def startService(self) -> None:
        """Begin to serve; binds the ports if that was not done before.

        :raises StartError: when one cannot be bound; none stays bound then. When the access log cannot be opened.
        """
        if self._access_file is not None:
            self._access_file.startService()
        self._bind()
        self._deadlines.start()
        self._deadlines.each_sweep(self._sweep)
        super().startService()  # type: ignore[no-untyped-call]
        self.ready = True
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _bind(self) -> None:
        if self._bound:
            return
        self._apply(ServerPlan.between((), placed(self.settings)))
        self._bound = True

    def when_ready(self) -> Deferred[None]:
        """Fire when all ports are bound."""
        if self.ready:
            return succeed(None)
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        return deferred

    def _sweep(self, now: float) -> None:
        for connector in self.registry:
            connector.link.sweep(now)
        for site in self._sites.values():
            site.relay.sweep(now)
        self._leaving.sweep(now)

    # -- what is wanted changes

    def reload(self, settings: ServerSettings) -> list[str]:
        """Make what runs what other settings want, and touch nothing else.

        New ports are bound first; then each listener takes what is new for it. Ports of listeners and entrypoints that are wanted
        no more are freed at once, and what is under way there gets ``settings.drain`` seconds.

        :returns: what changed, for people, one line each.
        :raises StartError: a port cannot be bound, or a file not be used; then nothing has changed.
        """
        plan = ServerPlan.between(tuple(site.placed for site in self._sites.values()), placed(settings))
        self._apply(plan, settings.drain)
        self.settings = settings
        return list(plan.lines())

    def _apply(self, plan: ServerPlan, patience: float = 0) -> None:
        opened = self._open(plan)
        doors = self._doors | opened
        try:
            # all files are read here, before anything is touched
            routes = {spot: self._make_routes(plan.wanted[spot].settings) for spot in (*plan.sites.start, *plan.sites.change)}
            places = {spot: place_of(plan.wanted[spot], doors, self._reactor) for spot in plan.moved}
            rights = {spot: rights_of(wanted) for spot, wanted in plan.wanted.items()}
        except StartError:
            for door in opened.values():
                door.close()
            raise
        self._doors = doors
        for spot in plan.sites.stop:
            self._sites.pop(spot).stop(patience)
        for spot in plan.sites.start:
            self._sites[spot] = Site(plan.wanted[spot], routes[spot], rights[spot], self._shared)
        for spot in plan.sites.change:
            self._sites[spot].change(plan.wanted[spot], routes[spot], patience)
        self._sites = {spot: self._sites[spot] for spot in plan.wanted}
        self._part_with_strangers(patience)
        for spot, site in self._sites.items():
            site.listener.guard.take(site.placed.settings, rights[spot])
            site.answer(doors, places.get(spot))
        for spot in plan.ports.stop:
            self._doors.pop(spot).close()

    def _named_apart(self, tunnel: UUID) -> bool:
        return any(tunnel in site.routes.tunnels for site in self._sites.values() if not site.placed.attaching)

    def _part_with_strangers(self, patience: float) -> None:
        for site in self._sites.values():
            site.part_with_strangers(patience)

    def _make_routes(self, settings: ListenerSettings) -> Routes:
        return Routes(settings.rules, settings.routes_file, reactor=self._reactor)

    def _open(self, plan: ServerPlan) -> dict[Spot, Door]:
        """Bind the new ports, all or none."""
        opened: dict[Spot, Door] = {}
        for spot in plan.ports.start:
            try:
                opened[spot] = Door(self._reactor, spot.address.host, spot.address.port)
            except (CannotListenError, OSError) as error:
                for door in opened.values():
                    door.close()
                raise _start_error(plan.roles[spot], spot, error) from error
        return opened

    # -- end

    def stopService(self) -> Deferred[None]:
        """Drain, then close; fires when nothing is left and the ports are free."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.ready = False
        for site in self._sites.values():
            site.routes.stop()
        doors, self._doors = self._doors, {}
        closing = [door.close() for door in doors.values()]
        for entrypoint in self._visited:
            entrypoint.drain()
        drained: Deferred[None] = Deferred()
        self._await_requests(self._reactor.seconds() + self.settings.drain, drained)
        return DeferredList([*closing, drained], consumeErrors=True).addCallback(self._stopped)

    def _stopped(self, _: object) -> None:
        if self._access_file is not None:
            self._access_file.stopService()

    def _await_requests(self, until: float, done: Deferred[None]) -> None:
        busy = self._leaving.busy or any(entrypoint.busy for entrypoint in self._visited)
        if busy and self._reactor.seconds() < until:
            self._reactor.callLater(DRAIN_STEP, self._await_requests, until, done)
            return
        self._deadlines.stop()
        self._leaving.cut()
        for entrypoint in self._visited:
            entrypoint.cut()
        for listener in self._listeners:
            listener.guard.stop()
            listener.close("the server stops")
        self._await_links(self._reactor.seconds() + 1.0, done)

    def _await_links(self, until: float, done: Deferred[None]) -> None:
        """Give the close handshakes of the links a moment."""
        if any(listener.links for listener in self._listeners) and self._reactor.seconds() < until:
            self._reactor.callLater(DRAIN_STEP, self._await_links, until, done)
            return
        for listener in self._listeners:
            for link in list(listener.links):
                link.drop("the server stops")
        done.callback(None)

    def loads(self) -> Iterator[TunnelLoad]:
        """What each tunnel carries now: those that a rule names, and those that have connectors."""
        connectors: dict[UUID, list[UpstreamPool]] = {tunnel: [] for site in self._sites.values() for tunnel in site.routes.tunnels}
        for connector in self.registry:
            connectors.setdefault(connector.tunnel, []).append(connector.link)
        for tunnel, pools in connectors.items():
            yield TunnelLoad(tunnel, len(pools), sum(len(pool.link.streams) for pool in pools))

    def status(self) -> ServiceStatus:
        """What the server says of itself."""
        return server_status(
            listeners=self._listeners,
            entrypoints=self._entrypoints,
            rules=[rule for site in self._sites.values() for rule in site.routes.table.rules],
            loads=self.loads(),
        )


def _start_error(what: str, spot: Spot, error: Exception) -> StartError:
    cause = getattr(error, "socketError", error)
    reason = getattr(cause, "strerror", None) or str(cause)
    return StartError(f"the {what} cannot listen on {spot}: {reason}")
