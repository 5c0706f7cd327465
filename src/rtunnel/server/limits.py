"""The limits of a server: how many connections, links and handshakes there may be, in all and of one address."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

from attrs import frozen
from twisted.logger import Logger

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.descriptors import Shares
from rtunnel.outcomes import Limit
from rtunnel.server.connection_budget import AddressCounts, Bound, ConnectionBudget, Rank
from rtunnel.server.entrypoint.forwarding import within
from rtunnel.settings import LimitSettings, ListenerSettings
from rtunnel.transport.accepting import AcceptingPort, Gate, Place
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.sockets import has_input
from rtunnel.tunnel.bounds import StreamCount

__all__ = ["ClientLimits", "ClientPlace", "ServerLimits", "VisitorLimits"]

MOST_HANDSHAKES: Final = 2048
"""Handshakes that are not finished, by default: each costs some KiB."""


@frozen
class _Gate:
    """The gate of a port.

    :ivar exempt: the networks of proxies, whose connections count for no address: each is of another visitor or client.
    """

    budget: ConnectionBudget
    exempt: Sequence[IPv4Network | IPv6Network]
    place: Callable[[str], Place | None]

    @property
    def room(self) -> int:
        return self.budget.room

    def enter(self, host: str) -> Place | None:
        return self.place("" if self.exempt and within(host, self.exempt) else host)

    def exhausted(self, error: OSError) -> None:
        self.budget.exhaust(error)

    def add(self, port: AcceptingPort) -> None:
        self.budget.add(port)

    def remove(self, port: AcceptingPort) -> None:
        self.budget.remove(port)


class VisitorLimits:
    """How many connections visitors may have, at all entrypoints together; owned by :class:`ServerLimits`."""

    def __init__(self, stats: ServerStats) -> None:
        self.connections = Bound(Limit.CONNECTIONS, "visitors have all of {most} connections (--max-connections)")
        self.budget = ConnectionBudget((self.connections,), stats)
        self.addresses = AddressCounts(
            Limit.CONNECTIONS_PER_ADDRESS,
            "it has {most} connections to entrypoints (--max-connections-per-address; name a proxy with --trusted-proxy)",
            stats,
        )

    def gate(self, settings: ListenerSettings) -> Gate:
        """The gate of an entrypoint."""
        return _Gate(self.budget, (*settings.http.trusted_proxies, *settings.proxy_protocol), self._enter)

    def _enter(self, host: str) -> VisitorPlace | None:
        key = self.addresses.enter(host) if host else ""
        return None if key is None else VisitorPlace(self, key)


class VisitorPlace:
    """The place of a visitor.

    :param key: the address that it counts for; ``""`` for none.
    """

    __slots__ = ("_key", "_limits", "_transport")

    def __init__(self, limits: VisitorLimits, key: str) -> None:
        self._limits = limits
        self._key = key
        self._transport: Any = None
        limits.budget.places[self] = None
        limits.budget.use(limits.connections, 1)

    def taken_by(self, transport: Any) -> None:
        """The connection has a transport."""
        self._transport = transport

    @property
    def rank(self) -> Rank | None:
        """See :class:`~rtunnel.server.connection_budget.RankedPlace`."""
        transport = self._transport
        idle_since = None if transport is None or transport.disconnecting else getattr(transport.protocol, "idle_since", None)
        if idle_since is None:
            return None
        return (1, idle_since) if idle_since else (0, -self._limits.addresses[self._key])

    def give_way(self) -> bool:
        """Close the connection, unless it has just sent something: what it was sent still arrives, if it was sent anything."""
        transport = self._transport
        if has_input(ITunnelTransport(transport).tcp_socket()):
            return False
        if transport.protocol.idle_since:
            transport.loseConnection()
        else:
            transport.abortConnection()
        return True

    def recount(self, host: str) -> bool:
        """Count it for the address that a proxy announces."""
        addresses = self._limits.addresses
        key = addresses.enter(host)
        if key is None:
            return False
        addresses.leave(self._key)
        self._key = key
        return True

    def leave(self) -> None:
        """The connection has ended."""
        del self._limits.budget.places[self]
        self._limits.addresses.leave(self._key)
        self._limits.budget.use(self._limits.connections, -1)


class ClientLimits:
    """How many connections clients may have, at all tunnel listeners together; owned by :class:`ServerLimits`."""

    def __init__(self, stats: ServerStats) -> None:
        self.connections = Bound(Limit.TUNNEL_CONNECTIONS, "clients have all of {most} connections (--max-tunnel-connections)")
        self.handshakes = Bound(Limit.HANDSHAKES, "{most} clients have not finished their handshake (--max-handshakes)")
        self.budget = ConnectionBudget((self.connections, self.handshakes), stats)
        self.beginners = AddressCounts(
            Limit.HANDSHAKES_PER_ADDRESS,
            "{most} handshakes of it are not finished (--max-handshakes-per-address; name a proxy with --trusted-proxy)",
            stats,
        )
        self.links = AddressCounts(Limit.LINKS_PER_ADDRESS, "it has {most} links and visits (--max-links-per-address)", stats)

    def gate(self, settings: ListenerSettings) -> Gate:
        """The gate of a tunnel listener."""
        return _Gate(self.budget, settings.http.trusted_proxies, self._enter)

    def _enter(self, host: str) -> ClientPlace | None:
        key = self.beginners.enter(host) if host else ""
        return None if key is None else ClientPlace(self, key)


class ClientPlace:
    """The place of a connection to a tunnel listener: of a handshake at first, then of a link or a visit.

    :param key: the address that its handshake counts for; ``""`` for none.
    """

    __slots__ = ("_admitted", "_key", "_limits", "_transport", "asked")

    def __init__(self, limits: ClientLimits, key: str) -> None:
        self._limits = limits
        self._key = key
        self._admitted = False
        self.asked = False
        """Whether its request was received, and is being decided on."""
        self._transport: Any = None
        limits.budget.places[self] = None
        limits.budget.use(limits.connections, 1)
        limits.budget.use(limits.handshakes, 1)

    def taken_by(self, transport: Any) -> None:
        """The connection has a transport."""
        self._transport = transport

    @property
    def rank(self) -> Rank | None:
        """See :class:`~rtunnel.server.connection_budget.RankedPlace`: handshakes give way that have brought no request."""
        if self._admitted or self.asked or self._transport is None:
            return None
        return 0, -self._limits.beginners[self._key]

    def give_way(self) -> bool:
        """Close the connection, unless it has just sent something."""
        if has_input(ITunnelTransport(self._transport).tcp_socket()):
            return False
        self._transport.abortConnection()
        return True

    def recount(self, host: str) -> bool:
        """Count the handshake for the address that a proxy announces."""
        beginners = self._limits.beginners
        key = beginners.enter(host)
        if key is None:
            return False
        beginners.leave(self._key)
        self._key = key
        return True

    def admit(self, host: str) -> bool:
        """The handshake is finished, and becomes a link or a visit of an address; False if that has too many."""
        limits = self._limits
        key = limits.links.enter(host)
        if key is None:
            return False
        self._finish()
        self._key = key
        self._admitted = True
        return True

    def _finish(self) -> None:
        limits = self._limits
        limits.beginners.leave(self._key)
        limits.budget.use(limits.handshakes, -1)

    def leave(self) -> None:
        """The connection has ended."""
        del self._limits.budget.places[self]
        if self._admitted:
            self._limits.links.leave(self._key)
        else:
            self._finish()
        self._limits.budget.use(self._limits.connections, -1)


class ServerLimits:
    """All of them; owned by the server's service.

    :param settings: what the user wants.
    :ivar links_per_tunnel: how many links a tunnel may have.
    """

    _log = Logger()

    def __init__(self, settings: LimitSettings, stats: ServerStats) -> None:
        self.settings = settings
        self.visitors = VisitorLimits(stats)
        self.clients = ClientLimits(stats)
        self.links_per_tunnel = sys.maxsize
        self._streams: WeakValueDictionary[UUID, StreamCount] = WeakValueDictionary()

    def streams_of(self, tunnel: UUID) -> StreamCount:
        """Where the links of a tunnel count their streams; whoever has it keeps it alive."""
        count = self._streams.get(tunnel)
        if count is None:
            count = self._streams[tunnel] = StreamCount()
        return count

    def start(self, descriptors: int | None) -> None:
        """Derive them from the descriptors that there are.

        :param descriptors: the limit of them; None where there is none.
        """
        settings, visitors, clients = self.settings, self.visitors, self.clients
        shares = Shares.of(descriptors, settings.connections, settings.tunnel_connections)
        for option, wanted, share in (
            ("--max-connections", settings.connections, shares.visitors),
            ("--max-tunnel-connections", settings.tunnel_connections, shares.clients),
        ):
            if wanted is not None and wanted > share:
                self._log.warn(
                    "{option} {wanted} is more than the limit of {limit} descriptors allows, so it is {share}; raise that limit "
                    "(ulimit -Hn, LimitNOFILE= in a systemd unit)",
                    option=option,
                    wanted=wanted,
                    limit=descriptors,
                    share=share,
                )
        visitors.connections.most = shares.visitors
        visitors.addresses.most = settings.connections_per_address or _half(shares.visitors)
        clients.connections.most = shares.clients
        clients.handshakes.most = settings.handshakes or min(_half(shares.clients), MOST_HANDSHAKES)
        clients.beginners.most = settings.handshakes_per_address or _half(clients.handshakes.most)
        clients.links.most = settings.links_per_address or _half(shares.clients)
        self.links_per_tunnel = settings.links_per_tunnel or _half(shares.clients)
        visitors.budget.update()
        clients.budget.update()

    def sweep(self, now: float) -> None:
        """See :meth:`~rtunnel.server.connection_budget.ConnectionBudget.sweep`."""
        self.visitors.budget.sweep(now)
        self.clients.budget.sweep(now)


def _half(number: int) -> int:
    return max(number // 2, 1)
