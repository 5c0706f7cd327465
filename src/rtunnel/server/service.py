"""The server service: its parts, and the order in which they start, reload and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats, TunnelStats
from rtunnel.ops.access import FORMATS, Access, AccessLog
from rtunnel.ops.access_file import AccessFile
from rtunnel.ops.descriptors import current_limit
from rtunnel.ops.drain import drain
from rtunnel.ops.memory import memory_limit
from rtunnel.ops.start import StartError, cannot_listen
from rtunnel.ops.status import Queries, ServiceStatus
from rtunnel.outcomes import LinkEnd
from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.routing.leases import LeaseTerms
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.ceiling import BufferCeiling
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.drain_queue import DrainQueue
from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.explaining import explanations
from rtunnel.server.health import HealthMonitor
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listener import TunnelListener
from rtunnel.server.listener_group import ListenerGroup, Shared, endpoint_of, rights_of
from rtunnel.server.plan import ServerPlan, planned_listeners
from rtunnel.server.replicas import Replicas, WorkerPlace
from rtunnel.server.routes import Routes
from rtunnel.server.status import server_status
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import ListenerSettings, ServerSettings
from rtunnel.settings.diff import BindKey
from rtunnel.transport.passed_sockets import PassedSockets
from rtunnel.transport.rebindable_port import RebindablePort

__all__ = ["ServerService"]

CLOSE_TIMEOUT = 1.0
"""Timeout of the close handshakes of the links, in seconds."""


COPY_WAIT = 10.0
"""Seconds that a server that starts waits at most until it knows what others have: an old copy is better than no server."""


class ServerService(Service):
    """Runs the tunnel listeners and entrypoints of one process.

    It stops in steps: it is not ready any more and its clients are asked to join elsewhere; for ``settings.stop_delay`` seconds it
    serves visitors as before, until those who send them have noticed; then no new visitors are accepted, idle visitors are closed,
    requests in progress get up to ``settings.drain`` seconds, the links are closed cleanly, and what is left is aborted.

    :param settings: the validated settings.
    :param reactor: the reactor.
    :param shared: the registry that it shares with others, if it does.
    :param place: if it is one of several workers, which listen at the same ports.
    """

    live = frozenset(("listeners", "drain", "stop_delay"))
    """The settings of the process that :meth:`reload` can change."""

    def __init__(
        self,
        settings: ServerSettings,
        reactor: Any,
        shared: SharedRegistry | None = None,
        place: WorkerPlace | None = None,
    ) -> None:
        self.settings = settings
        self.stats = ServerStats()
        self.registry: TunnelRegistry[UpstreamPool] = TunnelRegistry()
        self.access: AccessLog | None = None
        """The access log, if configured."""
        self.on_over: Callable[[], None] = lambda: None
        """Never called: there is always something to do for a server."""
        self._access_file: AccessFile[Access] | None = None
        access = settings.access_log
        if access.file is not None:
            self._access_file = AccessFile(
                access.file, line=FORMATS[access.format], dropped=self.stats.drop_access_lines, reactor=reactor
            )
            self.access = AccessLog(self._access_file.write, query=access.query)
        self.ready = False
        self._started_at: float | None = None
        """When it started, as long as it is not ready since then."""
        self.limits = ServerLimits(settings.limits, self.stats)
        self._reactor = reactor
        self._passed = PassedSockets.take(reactor)
        self._place = place
        self._deadlines = Deadlines(reactor)
        self._health = HealthMonitor(self.registry)
        self._drain_queue = DrainQueue(reactor.seconds)
        self._leases = LeaseManager(self.registry, self._drain_queue, lambda: self.settings.drain, self.stats)
        self.replicas = None if shared is None else self._join_others(shared)
        ceiling = memory_limit() // 4 if settings.limits.buffered is None else settings.limits.buffered
        self._ceiling = BufferCeiling(ceiling, self._buffered, self.registry, self.stats)
        self._shared = Shared(
            registry=self.registry,
            deadlines=self._deadlines,
            stats=self.stats,
            health=self._health,
            draining=self._drain_queue,
            leases=self._leases,
            limits=self.limits,
            access=self.access,
            routed_elsewhere=self._routed_elsewhere,
            rules_changed=lambda: self._drop_unwelcome_connectors(self.settings.drain),
            reactor=reactor,
            sharing=None if self.replicas is None else self.replicas.leases,
            guesses=None if self.replicas is None else self.replicas.guesses,
        )
        self._ports: dict[BindKey, RebindablePort] = {}
        self._groups: dict[BindKey, ListenerGroup] = {}
        self._bound = False
        self._waiting: list[Deferred[None]] = []
        self._log = Logger()

    def _join_others(self, shared: SharedRegistry) -> Replicas:
        listener = self.settings.listeners[0]
        self._health.of_remote = listener.health
        return Replicas(
            shared,
            self.settings.peer,
            registry=self.registry,
            health=self._health,
            leases=self._leases,
            stats=self.stats,
            http=listener.http,
            terms=self._lease_terms,
            controls=lambda: [listener.access_control for listener in self._listeners],
            reactor=self._reactor,
            place=self._place,
        )

    def _lease_terms(self, tunnel: UUID) -> LeaseTerms:
        """The terms of the leases of a tunnel, at the first listener where it can be joined."""
        listeners = (listener for listener in self._listeners if listener.settings.listen is not None and listener.known(tunnel))
        listener = next(listeners, None)
        return self.settings.listeners[0].leases if listener is None else listener.lease_terms(tunnel)

    @property
    def ports(self) -> list[Any]:
        """The listening ports, in the order of the settings: each tunnel listener followed by its entrypoints."""
        return [
            self._ports[key].port
            for group in self._groups.values()
            for key in (group.planned.listen, *group.planned.entrypoints)
            if key in self._ports
        ]

    @property
    def _listeners(self) -> list[TunnelListener]:
        return [group.listener for group in self._groups.values()]

    @property
    def _visited(self) -> list[Entrypoint | RelayEntrypoint]:
        """Everything that accepts visitors."""
        return [*self._entrypoints, *(group.relay for group in self._groups.values())]

    @property
    def _entrypoints(self) -> list[Entrypoint]:
        return [entrypoint for group in self._groups.values() for entrypoint in group.entrypoints]

    # -- start

    def privilegedStartService(self) -> None:
        """Bind every port, while the process may still bind privileged ones (``twistd --uid``).

        :raises StartError: if one cannot be bound; then none stays bound.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bind()

    def startService(self) -> None:
        """Start serving; binds the ports unless they are already bound.

        :raises StartError: if a port cannot be bound (then none stays bound), or the access log cannot be opened.
        """
        if self._access_file is not None:
            self._access_file.startService()
        self.limits.start(current_limit())
        self._bind()
        self._deadlines.start()
        # by themselves: an error in one of them keeps none of the others from running
        sweeps = (self._sweep_groups, self._health.sweep, self._leases.sweep, self.limits.sweep, self._drain_queue.sweep)
        for sweep in sweeps:
            self._deadlines.each_sweep(sweep)
        self._deadlines.each_sweep(lambda _: self._ceiling.sweep())
        if self.replicas is not None:
            self.replicas.start()
            self._deadlines.each_sweep(self.replicas.sweep)
        super().startService()  # type: ignore[no-untyped-call]
        self._started_at = self._reactor.seconds()
        self._deadlines.each_sweep(lambda _: self._become_ready())
        self._become_ready()

    def _bind(self) -> None:
        if self._bound:
            return
        self._apply(ServerPlan.between((), planned_listeners(self.settings)))
        if self.replicas is not None:
            try:
                self.replicas.bind()
            except StartError:
                self._close_ports()
                raise
        self._bound = True
        for socket in self._passed.unused:
            self._log.warn(
                "the service manager has passed the socket {socket}, where no --listen or --entrypoint listens: connections to it "
                "wait without end; make the addresses equal",
                socket=str(socket),
            )

    def _become_ready(self) -> None:
        """Be ready, when this server has what it needs to serve visitors, or has waited long enough for it."""
        started = self._started_at
        if self.ready or started is None:
            return
        missing = self._missing()
        if missing:
            limit = self.settings.ready_wait if self.replicas is None else max(self.settings.ready_wait, COPY_WAIT)
            if self._reactor.seconds() - started < limit:
                return
            self._log.warn("ready, though {missing}", missing=missing)
        self.ready = True
        self._started_at = None
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _missing(self) -> str:
        """What is missing that a server that starts waits for; empty if nothing is."""
        if self.replicas is not None and not self.replicas.complete:
            return "it is not known yet what the other servers have; check that the registry and the peers can be reached"
        if not self.settings.ready_wait:
            return ""
        tunnels = {tunnel for group in self._groups.values() for tunnel in group.routes.tunnels}
        lonely = [tunnel for tunnel in tunnels if self.registry.get(tunnel) is None]
        return f"no client has joined the tunnel {short_id(lonely[0])}" if lonely else ""

    def when_ready(self) -> Deferred[None]:
        """Fire when all ports are bound, and the clients are there that it waits for."""
        if self.ready:
            return succeed(None)
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        return deferred

    def _sweep_groups(self, now: float) -> None:
        for listener in self._listeners:
            for connector in listener.connectors:
                connector.pool.sweep(now)
        for group in self._groups.values():
            group.relay.sweep(now)
            for entrypoint in group.entrypoints:
                entrypoint.sweep()

    def _buffered(self) -> int:
        """Bytes that wait for visitors and clients, and those of streams. Counted each time: not for hot paths."""
        links = sum([link.buffered() for listener in self._listeners for link in listener.links])
        peers = 0 if self.replicas is None else self.replicas.buffered()
        return links + peers + sum([visited.buffered() for visited in self._visited])

    # -- reload

    def reload(self, settings: ServerSettings) -> list[str]:
        """Apply new settings, and change nothing else.

        New ports are bound first; then each listener applies its changes. Ports of removed listeners and entrypoints are closed at
        once, and requests in progress there get ``settings.drain`` seconds.

        :returns: descriptions of the changes, one line each.
        :raises StartError: a port cannot be bound, or a file cannot be used; then nothing has changed.
        """
        plan = ServerPlan.between(tuple(group.planned for group in self._groups.values()), planned_listeners(settings))
        self._apply(plan, settings.drain)
        before, self.settings = self.settings, settings
        delay = [f"stop-delay is {settings.stop_delay:g} s now"] if settings.stop_delay != before.stop_delay else []
        return [*plan.lines(), *delay]

    def _apply(self, plan: ServerPlan, drain_timeout: float = 0) -> None:
        opened = self._open(plan)
        ports = self._ports | opened
        try:
            # all files are read here, before anything is changed
            routes = {key: self._make_routes(plan.wanted[key].settings) for key in (*plan.groups.start, *plan.groups.change)}
            endpoints = {key: endpoint_of(plan.wanted[key], ports, self._reactor) for key in plan.moved}
            rights = {key: rights_of(wanted) for key, wanted in plan.wanted.items()}
        except StartError:
            for port in opened.values():
                port.close()
            raise
        self._ports = ports
        for key in plan.groups.stop:
            self._groups.pop(key).stop(drain_timeout)
        for key in plan.groups.start:
            self._groups[key] = ListenerGroup(plan.wanted[key], routes[key], rights[key], self._shared)
        for key in plan.groups.change:
            self._groups[key].change(plan.wanted[key], routes[key], drain_timeout)
        self._groups = {key: self._groups[key] for key in plan.wanted}
        self._drop_unwelcome_connectors(drain_timeout)
        for key, group in self._groups.items():
            group.listener.access_control.apply(group.planned.settings, rights[key])
            group.listen(ports, endpoints.get(key))
        for key in plan.ports.stop:
            self._ports.pop(key).close()

    def _routed_elsewhere(self, tunnel: UUID) -> bool:
        return any(tunnel in group.routes.tunnels for group in self._groups.values() if not group.planned.attaching)

    def _drop_unwelcome_connectors(self, drain_timeout: float) -> None:
        for group in self._groups.values():
            group.drop_unwelcome_connectors(drain_timeout)

    def _make_routes(self, settings: ListenerSettings) -> Routes:
        return Routes(settings.rules, settings.routes_file, reactor=self._reactor)

    def _open(self, plan: ServerPlan) -> dict[BindKey, RebindablePort]:
        """Bind the new ports: all of them, or none."""
        opened: dict[BindKey, RebindablePort] = {}
        for key in plan.ports.start:
            host, number = key.address.host, key.address.port
            passed = self._passed.find(host, number)
            try:
                opened[key] = RebindablePort(self._reactor, host, number, passed, shared=self._place is not None)
            except (CannotListenError, OSError) as error:
                for port in opened.values():
                    port.close()
                raise cannot_listen(plan.roles[key], key.address, error) from error
        return opened

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Send clients and visitors elsewhere, drain, then close; fires when everything is closed and the ports are free."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.ready = False
        self._started_at = None
        if self.replicas is not None:
            self.replicas.leave()
        for listener in self._listeners:
            listener.leave()
        if not self.settings.stop_delay:
            return self._drain()
        self._log.info("not ready any more; visitors are accepted for another {delay:g} s", delay=self.settings.stop_delay)
        for entrypoint in self._entrypoints:
            entrypoint.wind_down()
        return deferLater(self._reactor, self.settings.stop_delay).addCallback(lambda _: self._drain())

    def _drain(self) -> Deferred[None]:
        """Accept nothing any more, and finish what is in progress."""
        if self.replicas is not None:
            self.replicas.withdraw()
        for group in self._groups.values():
            group.routes.stop()
        closing = self._close_ports()
        for entrypoint in self._visited:
            entrypoint.drain()
        drained = drain(self._requests_in_progress, self._reactor.seconds() + self.settings.drain, self._reactor)
        drained.addCallback(self._close_links).addCallback(self._cut_links)
        return DeferredList([*closing, drained], consumeErrors=True).addCallback(self._stopped)

    def _close_ports(self) -> list[Deferred[None]]:
        ports, self._ports = self._ports, {}
        return [port.close() for port in ports.values()]

    def _stopped(self, _: object) -> None:
        if self._access_file is not None:
            self._access_file.stopService()

    def _requests_in_progress(self) -> bool:
        forwarding = self.replicas is not None and self.replicas.busy
        # the last bytes of a visitor, for which its target has no room yet
        waiting = any(link.session.buffered for listener in self._listeners for link in listener.links)
        return waiting or forwarding or self._drain_queue.busy or any(entrypoint.busy for entrypoint in self._visited)

    def _close_links(self, _: None) -> Deferred[None]:
        self._deadlines.stop()
        self._drain_queue.cut()
        for entrypoint in self._visited:
            entrypoint.cut()
        for listener in self._listeners:
            listener.access_control.stop()
            listener.close()
        until = self._reactor.seconds() + CLOSE_TIMEOUT
        closed = drain(lambda: any(listener.links for listener in self._listeners), until, self._reactor)
        if self.replicas is None:
            return closed
        return DeferredList([closed, self.replicas.stop()]).addCallback(lambda _: None)

    def _cut_links(self, _: None) -> None:
        for listener in self._listeners:
            for link in list(listener.links):
                link.drop(LinkEnd.SERVER_STOPPED)

    def tunnel_stats(self) -> Iterator[TunnelStats]:
        """Statistics per tunnel: for those with a rule, and those with connectors."""
        connectors: dict[UUID, list[UpstreamPool]] = {
            tunnel: [] for group in self._groups.values() for tunnel in group.routes.tunnels
        }
        for connector in self.registry:
            connectors.setdefault(connector.tunnel, []).append(connector.pool)
        for tunnel, pools in connectors.items():
            # the link to another server carries the streams of many tunnels
            yield TunnelStats(tunnel, len(pools), sum(pool.link.carrying for pool in pools if not pool.is_remote))

    def metrics(self) -> bytes:
        """The metrics of the process in Prometheus' format."""
        # late, so that a process whose metrics nobody reads does not carry the library for them
        from rtunnel.metrics.exposition import exposition

        return exposition(self.stats, self.tunnel_stats)

    def refresh(self) -> Deferred[None]:
        """Everything of the status is known here."""
        return succeed(None)

    @property
    def queries(self) -> Queries:
        """What the admin endpoint answers besides the status."""
        return {b"/explain": self._explain}

    def _explain(self, query: bytes) -> bytes:
        """Which client would get a request."""
        return explanations(query, [tuple(group.entrypoints) for group in self._groups.values()])

    def status(self) -> ServiceStatus:
        """The status of the server."""
        return server_status(
            listeners=self._listeners,
            entrypoints=self._entrypoints,
            rules=[rule for group in self._groups.values() for rule in group.routes.table.rules],
            tunnels=self.tunnel_stats(),
            replicas=self.replicas,
        )
