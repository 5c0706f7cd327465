"""A running listener of the settings: the tunnel listener for clients, and its entrypoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import attrs
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.auth.authenticator import WrongPassword
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import AccessLog
from rtunnel.ops.start import StartError
from rtunnel.outcomes import LinkEnd
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.policies import Policies
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.drain_queue import DrainingConnector, DrainQueue
from rtunnel.server.entrypoint.entrypoint import Entrypoint
from rtunnel.server.entrypoint.first_bytes import VisitorFactory
from rtunnel.server.entrypoint.http1 import HTTP1
from rtunnel.server.entrypoint.http2 import HTTP2
from rtunnel.server.entrypoint.proxied import ProxiedEntrypoint
from rtunnel.server.entrypoint.relay import RelayEntrypoint
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.health import HealthMonitor
from rtunnel.server.lease_manager import LeaseManager
from rtunnel.server.limits import ServerLimits
from rtunnel.server.listen_endpoint import listen_endpoint
from rtunnel.server.listener import TunnelListener
from rtunnel.server.observers.access_log import AccessLogObserver
from rtunnel.server.plan import PlannedListener
from rtunnel.server.routes import Routes
from rtunnel.server.shared_guesses import SharedGuesses
from rtunnel.server.shared_leases import SharedLeases
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import WEBSOCKETS, ListenerSettings, SettingsError
from rtunnel.settings.diff import BindKey, compare
from rtunnel.transport.rebindable_port import RebindablePort
from rtunnel.transport.sockets import limit_stalls

__all__ = ["ListenerGroup", "Shared", "endpoint_of", "rights_of"]


@attrs.frozen
class Shared:
    """What all listener groups of a server have in common; owned by the service."""

    registry: TunnelRegistry[UpstreamPool]
    deadlines: Deadlines
    stats: ServerStats
    health: HealthMonitor
    draining: DrainQueue
    leases: LeaseManager
    limits: ServerLimits
    access: AccessLog | None
    routed_elsewhere: Callable[[UUID], bool]
    """Whether the rules of a standalone entrypoint name a tunnel: then it may be joined at every listener."""
    rules_changed: Callable[[], None]
    """Called when the rules of a group have changed."""
    reactor: Any
    sharing: SharedLeases | None = None
    """What leases have to do with other servers."""
    guesses: SharedGuesses | None = None
    """What wrong passwords have."""


class ListenerGroup:
    """One listener with its entrypoints; owned by the service from its start until a reload removes it.

    It accepts no connections before :meth:`listen` is called.

    :param planned: the settings and the keys.
    :param routes: the ingress rules of the settings.
    :param rights: users and permissions.
    """

    def __init__(self, planned: PlannedListener, routes: Routes, rights: Rights, shared: Shared) -> None:
        self.planned = planned
        self.routes = routes
        """The active rules."""
        self._shared = shared
        self._direct = False
        self._entrypoints: dict[BindKey, Entrypoint] = {}
        self._log = Logger()
        self.relay = RelayEntrypoint(
            settings=planned.settings,
            table=routes.table,
            registry=shared.registry,
            stats=shared.stats,
            health=shared.health,
            access=shared.access,
        )
        self.listener = TunnelListener(
            settings=planned.settings,
            known=self.knows,
            table=routes.table,
            access_control=AccessControl(planned.settings, rights, shared.reactor, on_wrong=self._wrong_password),
            registry=shared.registry,
            relay=self.relay,
            stats=shared.stats,
            health=shared.health,
            leases=shared.leases,
            limits=shared.limits,
            reactor=shared.reactor,
            sharing=shared.sharing,
        )
        self._apply(planned, routes)

    def _wrong_password(self, wrong: WrongPassword) -> None:
        if self._shared.guesses is not None:
            self._shared.guesses.wrong(wrong)

    @property
    def entrypoints(self) -> Iterator[Entrypoint]:
        """In the order of the settings."""
        return (self._entrypoints[key] for key in self.planned.entrypoints)

    def knows(self, tunnel: UUID) -> bool:
        """Whether a tunnel may be joined here: a rule here or at a standalone entrypoint leads to it, or ``direct`` allows any."""
        named = tunnel in self.routes.tunnels or self._shared.routed_elsewhere(tunnel)
        return named or (self._direct and tunnel != self.planned.settings.entrypoint_id)

    # -- reload

    def change(self, planned: PlannedListener, routes: Routes, drain_timeout: float) -> None:
        """Apply new settings; requests in progress go on.

        New rules and limits apply from the next request on, also on existing connections; what is fixed when a connection or link
        is opened (a WebSocket's path, the windows of streams) applies to new ones. A connector whose tunnel has no rule any more
        gets no more requests.

        :param drain_timeout: seconds until removed parts are closed.
        """
        self._apply(planned, routes, drain_timeout)

    def _rules_changed(self) -> None:
        """The rules file has changed: apply the new rules."""
        for entrypoint in self._entrypoints.values():
            entrypoint.selector.table = self.routes.table
        self.listener.table = self.routes.table
        self.relay.selector.table = self.routes.table
        self._shared.rules_changed()
        self.listener.access_control.review()

    def drop_unwelcome_connectors(self, drain_timeout: float) -> None:
        """Drain the connectors whose tunnel may not be joined here any more, or not as they did."""
        for connector in list(self.listener.connectors):
            if not self.knows(connector.tunnel):
                self._drop_connector(connector, LinkEnd.UNROUTED, "no ingress rule names its tunnel any longer", drain_timeout)
                continue
            reason = self.listener.against_policy(connector.tunnel, connector.user, connector.filters, pod=connector.pod)
            if reason is not None:
                self._drop_connector(connector, LinkEnd.FORBIDDEN, reason, drain_timeout)
        for pod_link in list(self.listener.pod_links):
            if not self.knows(pod_link.tunnel):
                pod_link.link.close(LinkEnd.UNROUTED)

    def stop(self, drain_timeout: float) -> None:
        """Admit no new clients and visitors, and drain everything within a timeout."""
        self.routes.stop()
        self._direct = False
        for key in list(self._entrypoints):
            self._retire(key, drain_timeout)
        self.listener.access_control.stop()
        self._shared.draining.add(self.relay, drain_timeout)
        for admission in list(self.listener.admissions):
            admission.refuse_quietly()
        for connector in list(self.listener.connectors):
            self._drop_connector(connector, LinkEnd.SERVER_STOPPED, "its listener is stopping", drain_timeout)
        for pod_link in list(self.listener.pod_links):
            pod_link.link.close(LinkEnd.SERVER_STOPPED)

    def _apply(self, planned: PlannedListener, routes: Routes, drain_timeout: float = 0) -> None:
        settings, policies, table = planned.settings, planned.settings.policy, routes.table
        difference = compare(self._entrypoints, dict.fromkeys(planned.entrypoints))
        for key in difference.stop:
            self._retire(key, drain_timeout)
        for key in difference.change:
            self._entrypoints[key].change(settings.http, policies, table)
        for key in difference.start:
            self._entrypoints[key] = self._entrypoint(settings, policies, table)
        self.planned = planned
        self.listener.settings, self.listener.policies = settings, policies
        self.routes.stop()
        self.routes = routes
        routes.start(self._rules_changed)
        self.listener.table = table
        self.relay.change(settings, routes.table)
        self._direct = settings.direct

    def _entrypoint(self, settings: ListenerSettings, policies: Policies, table: IngressTable) -> Entrypoint:
        access = self._shared.access
        return Entrypoint(
            settings=settings.http,
            policies=policies,
            table=table,
            registry=self._shared.registry,
            deadlines=self._shared.deadlines,
            stats=self._shared.stats,
            health=self._shared.health,
            speakers=(TLS, HTTP2, self.listener, HTTP1),
            observers=() if access is None else (AccessLogObserver(access),),
            access=access,
        )

    def _retire(self, key: BindKey, drain_timeout: float) -> None:
        entrypoint = self._entrypoints.pop(key)
        entrypoint.drain()
        self._shared.draining.add(entrypoint, drain_timeout)

    def _drop_connector(self, connector: Any, end: LinkEnd, detail: str, drain_timeout: float) -> None:
        if self._shared.registry.remove(connector):
            if end is LinkEnd.SERVER_STOPPED:
                connector.pool.link.leave()
            self._shared.draining.add(DrainingConnector(connector.pool, end, detail), drain_timeout)

    # -- at the ports

    def listen(self, ports: Mapping[BindKey, RebindablePort], endpoint: IStreamServerEndpoint | None) -> None:
        """Start accepting connections at the ports, according to the current settings.

        :param ports: the bound ports, by key.
        :param endpoint: the endpoint of the tunnel listener; None to keep the present one.
        """
        settings = self.planned.settings
        if self.planned.listen in ports:
            ports[self.planned.listen].accepting.use(self._shared.limits.clients.gate(settings))
        if endpoint is not None:
            self._listen_for_clients(ports[self.planned.listen], endpoint)
        proxies = settings.proxy_protocol
        gate = self._shared.limits.visitors.gate(settings)
        for key, entrypoint in self._entrypoints.items():
            ports[key].accepting.use(gate)
            limit_stalls(ports[key].port, settings.http.stall_timeout)
            ports[key].listen(ProxiedEntrypoint(entrypoint, proxies) if proxies else VisitorFactory(entrypoint))
            if not entrypoint.address:
                entrypoint.address = _shown(key, ports[key])
                self._log.info("entrypoint on {address}", address=entrypoint.address)

    def _listen_for_clients(self, port: RebindablePort, endpoint: IStreamServerEndpoint) -> None:
        settings = self.planned.settings
        endpoint.listen(self.listener)
        self.listener.address = _shown(self.planned.listen, port)
        where = f" at path {settings.path}" if settings.transport in WEBSOCKETS else ""
        self._log.info(
            "tunnel listener ({transport}) on {address}{where}",
            transport=settings.transport,
            address=self.listener.address,
            where=where,
        )


def endpoint_of(planned: PlannedListener, ports: Mapping[BindKey, RebindablePort], reactor: Any) -> IStreamServerEndpoint:
    """The endpoint of a listener at its port.

    :raises StartError: a certificate, key or CA cannot be used.
    """
    return listen_endpoint(planned.settings, reactor, ports[planned.listen])


def rights_of(planned: PlannedListener) -> Rights:
    """The users and permissions of a listener, read from its files.

    :raises StartError: a file cannot be read, or a line of it is invalid.
    """
    try:
        return Rights.read(planned.settings)
    except SettingsError as error:
        raise StartError(str(error)) from error


def _shown(key: BindKey, port: RebindablePort) -> str:
    return f"{key.address.host or '*'}:{port.port.getHost().port}"
