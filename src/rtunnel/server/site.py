"""One listener of the settings as it runs: where clients attach, and the entrypoints for the rules that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import attrs
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from rtunnel.guard.guard import Guard, Rights
from rtunnel.ops.access import AccessLog
from rtunnel.ops.metrics import ServerStats
from rtunnel.ops.plan import Spot, compare
from rtunnel.ops.start import StartError
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import Deadlines
from rtunnel.server.entrypoint.http import HttpEntrypoint
from rtunnel.server.entrypoint.logged import log_requests
from rtunnel.server.entrypoint.proxied import ProxiedEntrypoint
from rtunnel.server.entrypoint.relay import FIRST_BYTE, RelayEntrypoint
from rtunnel.server.entrypoint.tls import TLS
from rtunnel.server.leaving import LeavingConnector, LeavingParts
from rtunnel.server.listener import TunnelListener
from rtunnel.server.place import listening_place
from rtunnel.server.plan import Placed
from rtunnel.server.routes import Routes
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import WEBSOCKETS, ListenerSettings, SettingsError
from rtunnel.transport.door import Door
from rtunnel.wire.clienthello import HANDSHAKE

__all__ = ["Shared", "Site", "place_of", "rights_of"]


@attrs.frozen
class Shared:
    """What all sites of a server have in common; owned by the service."""

    registry: TunnelRegistry[UpstreamPool]
    deadlines: Deadlines
    stats: ServerStats
    leaving: LeavingParts
    access: AccessLog | None
    apart: Callable[[UUID], bool]
    """Whether the rules of an entrypoint apart name a tunnel: then it may be joined at every listener."""
    rules_changed: Callable[[], None]
    """Told when the rules of a site are others than before."""
    reactor: Any


class Site:
    """One listener with its entrypoints; owned by the service from its start until the settings want it no more.

    It answers nobody before :meth:`answer` is called.

    :param placed: the settings and the spots.
    :param routes: the rules that they ask for.
    :param rights: who may do what here.
    """

    def __init__(self, placed: Placed, routes: Routes, rights: Rights, shared: Shared) -> None:
        self.placed = placed
        self.routes = routes
        """The rules in force."""
        self._shared = shared
        self._direct = False
        self._entrypoints: dict[Spot, HttpEntrypoint] = {}
        self._log = Logger()
        self.relay = RelayEntrypoint(
            settings=placed.settings,
            table=routes.table,
            registry=shared.registry,
            stats=shared.stats,
            access=shared.access,
        )
        self.listener = TunnelListener(
            settings=placed.settings,
            known=self.knows,
            table=routes.table,
            guard=Guard(placed.settings, rights, shared.reactor),
            registry=shared.registry,
            relay=self.relay,
            stats=shared.stats,
            reactor=shared.reactor,
        )
        self._take(placed, routes)

    @property
    def entrypoints(self) -> Iterator[HttpEntrypoint]:
        """In the order of the settings."""
        return (self._entrypoints[spot] for spot in self.placed.entrypoints)

    def knows(self, tunnel: UUID) -> bool:
        """Whether a tunnel may be joined here: whether a rule names it, here or at an entrypoint apart, or none has to."""
        named = tunnel in self.routes.tunnels or self._shared.apart(tunnel)
        return named or (self._direct and tunnel != self.placed.settings.entrypoint_id)

    # -- what is wanted changes

    def change(self, placed: Placed, routes: Routes, patience: float) -> None:
        """Do from now on what other settings say; what is under way goes on.

        New rules and limits hold from the next request on, also on connections that exist; what a connection or link got at its
        start (a WebSocket's path, the windows of streams) for new ones. A connector whose tunnel no rule names any more takes no
        more requests.

        :param patience: seconds for what has to go.
        """
        self._take(placed, routes, patience)

    def _rules_changed(self) -> None:
        """The file of rules holds others; the same as other settings."""
        for entrypoint in self._entrypoints.values():
            entrypoint.table = self.routes.table
        self.listener.table = self.routes.table
        self.relay.table = self.routes.table
        self._shared.rules_changed()
        self.listener.guard.review()

    def part_with_strangers(self, patience: float) -> None:
        """Let connectors go whose tunnel may not be joined here any more."""
        for connector in list(self.listener.connectors):
            if not self.knows(connector.tunnel):
                self._part_with(connector, "no ingress rule names its tunnel any more", patience)

    def stop(self, patience: float) -> None:
        """Admit nobody any more, and let all that is here leave within a time."""
        self.routes.stop()
        self._direct = False
        for spot in list(self._entrypoints):
            self._retire(spot, patience)
        self.listener.guard.stop()
        self._shared.leaving.add(self.relay, patience)
        for admission in list(self.listener.admissions):
            admission.refuse_quietly()
        for connector in list(self.listener.connectors):
            self._part_with(connector, "the listener is stopped", patience)

    def _take(self, placed: Placed, routes: Routes, patience: float = 0) -> None:
        settings, table = placed.settings, routes.table
        difference = compare(self._entrypoints, dict.fromkeys(placed.entrypoints))
        for spot in difference.stop:
            self._retire(spot, patience)
        for spot in difference.change:
            self._entrypoints[spot].change(settings.http, table)
        for spot in difference.start:
            self._entrypoints[spot] = self._entrypoint(settings, table)
        self.placed = placed
        self.listener.settings = settings
        self.routes.stop()
        self.routes = routes
        routes.start(self._rules_changed)
        self.listener.table = table
        self.relay.change(settings, routes.table)
        self._direct = settings.direct

    def _entrypoint(self, settings: ListenerSettings, table: IngressTable) -> HttpEntrypoint:
        entrypoint = HttpEntrypoint(
            settings=settings.http,
            table=table,
            registry=self._shared.registry,
            deadlines=self._shared.deadlines,
            stats=self._shared.stats,
            others={HANDSHAKE: TLS, FIRST_BYTE: self.listener.beside_http},
        )
        if self._shared.access is not None:
            log_requests(entrypoint, self._shared.access)
        return entrypoint

    def _retire(self, spot: Spot, patience: float) -> None:
        entrypoint = self._entrypoints.pop(spot)
        entrypoint.drain()
        self._shared.leaving.add(entrypoint, patience)

    def _part_with(self, connector: Any, reason: str, patience: float) -> None:
        if self._shared.registry.remove(connector):
            self._shared.leaving.add(LeavingConnector(connector.link, reason), patience)

    # -- at the ports

    def answer(self, doors: Mapping[Spot, Door], place: IStreamServerEndpoint | None) -> None:
        """Answer at the ports, with what the settings say now.

        :param doors: the bound ports, by spot.
        :param place: where clients attach, ``None`` when they go on to attach as before.
        """
        if place is not None:
            self._listen(doors[self.placed.listen], place)
        proxies = self.placed.settings.proxy_protocol
        for spot, entrypoint in self._entrypoints.items():
            doors[spot].listen(ProxiedEntrypoint(entrypoint, proxies) if proxies else entrypoint)
            if not entrypoint.address:
                entrypoint.address = _shown(spot, doors[spot])
                self._log.info("entrypoint on {address}", address=entrypoint.address)

    def _listen(self, door: Door, place: IStreamServerEndpoint) -> None:
        settings = self.placed.settings
        place.listen(self.listener)
        self.listener.address = _shown(self.placed.listen, door)
        where = f" at path {settings.path}" if settings.transport in WEBSOCKETS else ""
        self._log.info(
            "tunnel listener ({transport}) on {address}{where}",
            transport=settings.transport,
            address=self.listener.address,
            where=where,
        )


def place_of(placed: Placed, doors: Mapping[Spot, Door], reactor: Any) -> IStreamServerEndpoint:
    """The endpoint of a listener at its door.

    :raises StartError: a certificate, key or CA cannot be used.
    """
    return listening_place(placed.settings, reactor, doors[placed.listen])


def rights_of(placed: Placed) -> Rights:
    """Who may do what at a listener, out of its files.

    :raises StartError: a file, or a line of it, cannot be had.
    """
    try:
        return Rights.read(placed.settings)
    except SettingsError as error:
        raise StartError(str(error)) from error


def _shown(spot: Spot, door: Door) -> str:
    return f"{spot.address.host or '*'}:{door.port.getHost().port}"
