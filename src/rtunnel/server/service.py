"""The server as a whole: what belongs together, and the order of its start and end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from rtunnel.ops.access import FORMATS, AccessLog
from rtunnel.ops.access_file import AccessFile
from rtunnel.ops.metrics import ServerStats, TunnelLoad
from rtunnel.ops.start import StartError
from rtunnel.ops.status import ServiceStatus
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.entrypoint.http import HttpEntrypoint
from rtunnel.server.entrypoint.logged import log_requests
from rtunnel.server.entrypoint.proxied import Network, ProxiedEntrypoint
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.listener import TunnelListener
from rtunnel.server.place import listening_place
from rtunnel.server.status import server_status
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import WEBSOCKETS, Address, ListenerSettings, ServerSettings
from rtunnel.transport.sockets import listen_tcp
from rtunnel.wire.clienthello import HANDSHAKE

__all__ = ["ServerService"]

OTHER_PROTOCOLS = {HANDSHAKE: TLS}
"""What an entrypoint carries beside HTTP, by the first byte of a connection."""

DRAIN_STEP = 0.05
"""Seconds between two looks whether the last request has ended."""


class ServerService(Service):
    """Runs the tunnel listeners and entrypoints of one process.

    The end goes in order: no new visitor and no new link, idle visitors closed, requests under way up to ``settings.drain``
    seconds, then the links closed properly, then what is left is cut.

    :param settings: what the user asked for.
    :param reactor: the reactor.
    """

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
        self.ports: list[Any] = []
        """The listening ports, in the order of the settings: each tunnel listener followed by its entrypoints."""
        self._reactor = reactor
        self._deadlines = Deadlines(reactor)
        self._entrypoints: list[HttpEntrypoint] = []
        self._listeners: list[TunnelListener] = []
        self._bound = False
        self._waiting: list[Deferred[None]] = []
        self._log = Logger()

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
        self._deadlines.each_sweep(self._sweep_pools)
        super().startService()  # type: ignore[no-untyped-call]
        self.ready = True
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _bind(self) -> None:
        if self._bound:
            return
        self._bound = True
        try:
            for listener in self.settings.listeners:
                self._start_listener(listener)
        except StartError:
            for port in self.ports:
                port.stopListening()
            raise

    def when_ready(self) -> Deferred[None]:
        """Fire when all ports are bound."""
        if self.ready:
            return succeed(None)
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        return deferred

    def _start_listener(self, settings: ListenerSettings) -> None:
        tunnels = {rule.tunnel for rule in settings.rules}
        listener = TunnelListener(
            settings=settings,
            known=tunnels.__contains__,
            registry=self.registry,
            stats=self.stats,
            reactor=self._reactor,
        )
        self._listeners.append(listener)
        self._listen_tunnel(settings, listener)
        table = IngressTable(settings.rules)
        for address in settings.entrypoints:
            entrypoint = HttpEntrypoint(
                settings=settings.http,
                table=table,
                registry=self.registry,
                deadlines=self._deadlines,
                stats=self.stats,
                others=OTHER_PROTOCOLS,
            )
            if self.access is not None:
                log_requests(entrypoint, self.access)
            self._entrypoints.append(entrypoint)
            self._listen_entrypoint(address, entrypoint, settings.proxy_protocol)

    def _listen_tunnel(self, settings: ListenerSettings, listener: TunnelListener) -> None:
        failures: list[Any] = []
        listening_place(settings, self._reactor).listen(listener).addCallbacks(self.ports.append, failures.append)
        if failures:
            raise _start_error("tunnel listener", settings.listen, failures[0].value)
        listener.address = _shown(settings.listen, self.ports[-1])
        where = f" at path {settings.path}" if settings.transport in WEBSOCKETS else ""
        self._log.info(
            "tunnel listener ({transport}) on {address}{where}",
            transport=settings.transport,
            address=listener.address,
            where=where,
        )

    def _listen_entrypoint(self, address: Address, entrypoint: HttpEntrypoint, proxies: tuple[Network, ...]) -> None:
        factory = ProxiedEntrypoint(entrypoint, proxies) if proxies else entrypoint
        try:
            self.ports.append(listen_tcp(self._reactor, address.host, address.port, factory))
        except (CannotListenError, OSError) as error:
            raise _start_error("entrypoint", address, error) from error
        entrypoint.address = _shown(address, self.ports[-1])
        self._log.info("entrypoint on {address}", address=entrypoint.address)

    def _sweep_pools(self, now: float) -> None:
        for connector in self.registry:
            connector.link.sweep(now)

    # -- end

    def stopService(self) -> Deferred[None]:
        """Drain, then close; fires when nothing is left and the ports are free."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.ready = False
        closing = [maybeDeferred(port.stopListening) for port in self.ports]
        self.ports.clear()
        for entrypoint in self._entrypoints:
            entrypoint.drain()
        drained: Deferred[None] = Deferred()
        self._await_requests(self._reactor.seconds() + self.settings.drain, drained)
        return DeferredList([*closing, drained], consumeErrors=True).addCallback(self._stopped)

    def _stopped(self, _: object) -> None:
        if self._access_file is not None:
            self._access_file.stopService()

    def _await_requests(self, until: float, done: Deferred[None]) -> None:
        if any(entrypoint.busy for entrypoint in self._entrypoints) and self._reactor.seconds() < until:
            self._reactor.callLater(DRAIN_STEP, self._await_requests, until, done)
            return
        self._deadlines.stop()
        for entrypoint in self._entrypoints:
            entrypoint.cut()
        for listener in self._listeners:
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
        connectors: dict[UUID, list[UpstreamPool]] = {
            rule.tunnel: [] for listener in self.settings.listeners for rule in listener.rules
        }
        for connector in self.registry:
            connectors.setdefault(connector.tunnel, []).append(connector.link)
        for tunnel, pools in connectors.items():
            yield TunnelLoad(tunnel, len(pools), sum(len(pool.link.streams) for pool in pools))

    def status(self) -> ServiceStatus:
        """What the server says of itself."""
        return server_status(
            listeners=self._listeners,
            entrypoints=self._entrypoints,
            rules=[rule for listener in self.settings.listeners for rule in listener.rules],
            loads=self.loads(),
        )


def _shown(address: Address, port: Any) -> str:
    return f"{address.host or '*'}:{port.getHost().port}"


def _start_error(what: str, address: Address, error: Exception) -> StartError:
    cause = getattr(error, "socketError", error)
    reason = getattr(cause, "strerror", None) or str(cause)
    return StartError(f"the {what} cannot listen on {address.host or '*'}:{address.port}: {reason}")
