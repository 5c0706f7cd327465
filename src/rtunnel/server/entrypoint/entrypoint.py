"""What the visitors of one entrypoint share, whatever they speak."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from attrs import frozen

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.access import AccessLog
from rtunnel.routing.ingress import IngressTable
from rtunnel.routing.selection import Selector
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.deadlines import NEVER, Deadlines
from rtunnel.server.entrypoint.forwarding import TrustedProxies
from rtunnel.server.observers import Observer
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.transport.sockets import host_and_port
from rtunnel.tunnel.splice import Splice
from rtunnel.wire.http1 import TRUSTED, UNTRUSTED, HeadLimits, RequestReader

__all__ = ["LINGER", "Entrypoint", "Peer", "Speaker", "VisitorConnection"]

LINGER = 2.0
"""Seconds that a visitor may go on sending after an answer that ends its connection early: closing at once would make the system
reset the connection, and the answer might be lost with it (RFC 9112 9.6)."""


@frozen
class Peer:
    """A visitor's address."""

    host: str
    port: int

    @classmethod
    def of(cls, transport: Any) -> Peer:
        """The other end of a connection."""
        return cls(*host_and_port(transport.getPeer()))


class VisitorConnection(Protocol):
    """A visitor's connection as its entrypoint sees it, whatever it speaks."""

    deadline: float

    @property
    def busy(self) -> bool:
        """Whether it is worth waiting for when the server stops."""

    def settings_changed(self) -> None:
        """The entrypoint serves by other settings from now on."""

    def drain(self) -> None:
        """Close unless it is busy."""

    def break_off(self) -> None:
        """Cut the connection."""

    def expired(self) -> None:
        """A time limit is over (called by the sweep)."""


class Speaker(Protocol):
    """A protocol that visitors may speak at an entrypoint.

    :ivar name: for the status.
    :ivar prefixes: what a connection begins with that speaks it; none for the one that gets all others.
    """

    @property
    def name(self) -> str: ...

    @property
    def prefixes(self) -> tuple[bytes, ...]: ...

    def accept(self, entrypoint: Entrypoint, transport: Any, peer: Peer, data: bytes) -> None:
        """Take a connection over, with its first bytes."""


class Entrypoint:
    """What all visitors of one entrypoint share; owned by its listener group.

    :param settings: the limits.
    :param table: ingress rules of this entrypoint.
    :param registry: the tunnels and their connectors.
    :param speakers: what visitors may speak here; the last one gets the connections that no prefix tells.
    :param observers: who watches the exchanges.
    :param access: where connections that are no exchanges leave a line.
    """

    def __init__(
        self,
        *,
        settings: HttpSettings,
        table: IngressTable,
        registry: TunnelRegistry[UpstreamPool],
        deadlines: Deadlines,
        stats: ServerStats,
        speakers: Iterable[Speaker],
        observers: Iterable[Observer] = (),
        access: AccessLog | None = None,
    ) -> None:
        self.selector = Selector(registry, table)
        self.deadlines = deadlines
        self.stats = stats
        self.speakers = tuple(speakers)
        self.observers = tuple(observers)
        self.access = access
        self.address = ""
        """Where it listens, set when it does."""
        self.draining = False
        self.visitors: set[VisitorConnection] = set()
        self.splices: set[Splice] = set()
        self.change(settings, table)

    def change(self, settings: HttpSettings, table: IngressTable) -> None:
        """Serve by other settings from now on; on connections that exist, from their next request on."""
        self.settings = settings
        self.selector.table = table
        self.response_limit = settings.response_timeout or NEVER
        self.idle_limit = settings.idle_timeout
        limits = HeadLimits(settings.head_bytes, settings.line_bytes, settings.header_count)
        self.proxies = TrustedProxies(settings.trusted_proxies)
        taken = {b"forwarded"} if settings.write_forwarded else set()
        self._readers = {
            True: RequestReader(limits, TRUSTED.taking(taken)),
            False: RequestReader(limits, UNTRUSTED),
        }
        for visitor in self.visitors:
            visitor.settings_changed()

    def reader(self, *, trusted: bool) -> RequestReader:
        """What reads the heads of visitors, or of trusted proxies."""
        return self._readers[trusted]

    # -- its visitors

    def enter(self, visitor: VisitorConnection, seconds: float) -> None:
        """A connection belongs here from now on.

        :param seconds: until its first time limit is over.
        """
        self.visitors.add(visitor)
        self.stats.visitors_open += 1
        visitor.deadline = self.deadlines.now + seconds
        self.deadlines.add(visitor)

    def leave(self, visitor: VisitorConnection) -> bool:
        """A connection belongs here no more.

        :returns: whether it did.
        """
        if visitor not in self.visitors:
            return False
        self.visitors.discard(visitor)
        self.deadlines.discard(visitor)
        self.stats.visitors_open -= 1
        return True

    @property
    def protocols(self) -> tuple[str, ...]:
        """What visitors may speak here, for the status."""
        return tuple(speaker.name for speaker in self.speakers)

    @property
    def connections(self) -> int:
        """How many visitors are connected."""
        return len(self.visitors) + len(self.splices)

    @property
    def busy(self) -> bool:
        """Whether a request is in progress or an upgraded connection open."""
        return bool(self.splices) or any(visitor.busy for visitor in self.visitors)

    def drain(self) -> None:
        """Close connections as their requests end; those without one now."""
        self.draining = True
        for visitor in list(self.visitors):
            visitor.drain()

    def cut(self) -> None:
        """Close what is left."""
        for splice in list(self.splices):
            splice.abort()
        for visitor in list(self.visitors):
            visitor.break_off()
