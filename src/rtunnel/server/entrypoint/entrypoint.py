"""What the visitors of one entrypoint share, regardless of protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from attrs import frozen
from twisted.logger import Logger

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import AccessLog
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.policies import Policies
from rtunnel.routing.selection import Selector
from rtunnel.routing.sticky import StickyBy
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import NEVER, Deadlines
from rtunnel.server.entrypoint.forwarding import TrustedProxies
from rtunnel.server.health import HealthMonitor
from rtunnel.server.observers import Observer
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.sockets import host_and_port
from rtunnel.transport.tcp_info import tcp_is_closed
from rtunnel.tunnel.splice import Splice
from rtunnel.wire.http1 import TRUSTED, UNTRUSTED, HeadLimits, RequestReader

__all__ = ["FIRST_BYTES", "LINGER", "Entrypoint", "Peer", "Speaker", "VisitorConnection"]

LINGER = 2.0
"""Seconds that a visitor may go on sending after a response that ends its connection early: closing at once would make the kernel
reset the connection, and the response might be lost (RFC 9112 9.6)."""
FIRST_BYTES = 1.0
"""Seconds that a stopping server waits for the first bytes of a connection: it was accepted, so its request may be on its way, and
a visitor takes the end of a new connection for an error."""

_log = Logger()


@frozen
class Peer:
    """A visitor's address."""

    host: str
    port: int

    @classmethod
    def of(cls, transport: Any) -> Peer:
        """The remote address of a connection."""
        return cls(*host_and_port(transport.getPeer()))


class VisitorConnection(Protocol):
    """A visitor's connection as its entrypoint sees it, regardless of protocol."""

    transport: Any
    deadline: float
    read_paused: bool

    @property
    def busy(self) -> bool:
        """Whether a drain has to wait for it."""

    @property
    def idle_since(self) -> float | None:
        """Orders idle connections by time: the lowest gives way first when others need its place.

        :returns: None while something goes on, 0 if nothing whole was received of it yet.
        """

    def settings_changed(self) -> None:
        """The settings of the entrypoint have changed."""

    def drain(self) -> None:
        """Close, unless a request is in progress or may be on its way."""

    def cut(self) -> None:
        """The drain is over: close the connection, whatever it does."""

    def expired(self) -> None:
        """The deadline has passed (called by the sweep)."""


class Speaker(Protocol):
    """A protocol that an entrypoint supports.

    :ivar name: for the status; empty if it only refuses.
    :ivar prefixes: the first bytes of its connections; empty for the default protocol.
    """

    @property
    def name(self) -> str: ...

    @property
    def prefixes(self) -> tuple[bytes, ...]: ...

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take over a connection, with its first bytes."""


class Entrypoint:
    """What all visitors of one entrypoint share; owned by its listener group.

    :param settings: the limits.
    :param policies: of the hosts.
    :param table: ingress rules of this entrypoint.
    :param registry: the tunnels and their connectors.
    :param speakers: the supported protocols; the last one is the default and gets the connections that match no prefix.
    :param observers: observe the exchanges.
    :param access: the access log of connections other than exchanges.
    """

    def __init__(
        self,
        *,
        settings: HttpSettings,
        policies: Policies,
        table: IngressTable,
        registry: TunnelRegistry[UpstreamPool],
        deadlines: Deadlines,
        stats: ServerStats,
        health: HealthMonitor,
        speakers: Iterable[Speaker],
        observers: Iterable[Observer] = (),
        access: AccessLog | None = None,
    ) -> None:
        self.selector = Selector(registry, table)
        self.deadlines = deadlines
        self.stats = stats
        self.health = health
        self.speakers = tuple(speakers)
        self.observers = tuple(observers)
        self.access = access
        self.address = ""
        """The address it listens at, once it does."""
        self.draining = False
        """Whether each response ends its connection."""
        self.visitors: set[VisitorConnection] = set()
        self.splices: set[Splice] = set()
        self.change(settings, policies, table)

    def change(self, settings: HttpSettings, policies: Policies, table: IngressTable) -> None:
        """Apply new settings; on existing connections, from their next request on."""
        self.settings = settings
        self.policies = policies
        self.selector.policies = policies if policies.withhold else None
        self.selector.table = table
        self.selector.sticky = settings.sticky
        self.response_limit = self.deadlines.limit(settings.response_timeout or NEVER)
        self.idle_limit = self.deadlines.limit(settings.idle_timeout)
        self.max_retries = settings.max_retries
        gives_cookies = settings.sticky is not None and settings.sticky.by is StickyBy.COOKIE
        self.marks_responses = gives_cookies or policies.say_who
        """Whether responses may get fields of the server, whoever serves them."""
        limits = HeadLimits(settings.head_bytes, settings.line_bytes, settings.header_count)
        self.proxies = TrustedProxies(settings.trusted_proxies)
        own_fields = {b"forwarded"} if settings.write_forwarded else set()
        self._readers = {
            True: RequestReader(limits, TRUSTED.taking(own_fields)),
            False: RequestReader(limits, UNTRUSTED),
        }
        for visitor in self.visitors:
            visitor.settings_changed()

    def reader(self, *, trusted: bool) -> RequestReader:
        """The reader for the heads of visitors, or of trusted proxies."""
        return self._readers[trusted]

    # -- its visitors

    def enter(self, visitor: VisitorConnection, seconds: float) -> None:
        """Register a connection.

        :param seconds: until its first deadline.
        """
        self.visitors.add(visitor)
        self.stats.visitors_open += 1
        visitor.deadline = self.deadlines.now + seconds
        self.deadlines.add(visitor)

    def hurry(self, visitor: VisitorConnection) -> None:
        """Give a visitor of which nothing has come :data:`FIRST_BYTES` from now."""
        visitor.deadline = min(visitor.deadline, self.deadlines.now + FIRST_BYTES)

    def leave(self, visitor: VisitorConnection) -> bool:
        """Unregister a connection.

        :returns: whether it was registered.
        """
        if visitor not in self.visitors:
            return False
        self.visitors.discard(visitor)
        self.deadlines.discard(visitor)
        self.stats.visitors_open -= 1
        return True

    @property
    def protocols(self) -> tuple[str, ...]:
        """The supported protocols, for the status."""
        *others, default = filter(None, (speaker.name for speaker in self.speakers))
        return (default, *others)

    @property
    def connections(self) -> int:
        """How many visitors are connected."""
        return len(self.visitors) + len(self.splices)

    def buffered(self) -> int:
        """Bytes that wait for visitors. Counted each time: not for hot paths."""
        transports = [visitor.transport for visitor in self.visitors] + [splice.near.transport for splice in self.splices]
        return sum([ITunnelTransport(transport).unsent() for transport in transports if transport is not None])

    def sweep(self) -> None:
        """Abort the connections that their visitors have reset while nothing is read of them, which nobody else notices."""
        paused = [visitor.transport for visitor in self.visitors if visitor.read_paused]
        for transport in paused + [splice.near.transport for splice in self.splices]:
            connection = ITunnelTransport(transport).tcp_socket()
            if connection is not None and tcp_is_closed(connection):
                transport.abortConnection()

    @property
    def busy(self) -> bool:
        """Whether a request is in progress, an upgraded connection is open, or a visitor has not taken its last response yet."""
        return bool(self.splices) or any(visitor.busy for visitor in self.visitors) or self.buffered() > 0

    def wind_down(self) -> None:
        """End each connection with its next response; new ones are accepted still."""
        self.draining = True

    def drain(self) -> None:
        """Close idle connections now, silent ones after :data:`FIRST_BYTES`, and the others when their requests end."""
        self.draining = True
        self._tell_all(lambda visitor: visitor.drain())

    def _tell_all(self, tell: Callable[[VisitorConnection], None]) -> None:
        """Tell all visitors; an error in one of them costs nobody else."""
        for visitor in list(self.visitors):
            try:
                tell(visitor)
            except Exception:
                _log.failure("error at the end of a visitor's connection")

    def cut(self) -> None:
        """End the remaining connections; requests without a byte of a response get a 503."""
        for splice in list(self.splices):
            splice.abort()
        self._tell_all(lambda visitor: visitor.cut())
