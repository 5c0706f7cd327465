"""The status of a process: the document at ``/status``, described in docs/status.md, and its JSON.

The services fill it in (:mod:`rtunnel.server.status`, :mod:`rtunnel.client.status`) for each query; nothing is kept in between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from rtunnel import __version__
from rtunnel.ops.recent import RecentErrors

__all__ = [
    "STATUS_VERSION",
    "ConnectorStatus",
    "EntrypointStatus",
    "ListenerStatus",
    "OtherStatus",
    "PeerStatus",
    "PortStatus",
    "ProcessStatus",
    "Queries",
    "RegistryState",
    "RoundTrip",
    "RuleStatus",
    "ServiceStatus",
    "ShareStatus",
    "TargetStatus",
    "TunnelStatus",
    "WorkerStatus",
]

Queries = Mapping[bytes, Callable[[bytes], bytes | Deferred[bytes]]]
"""What the admin endpoint answers besides the status: for each path a function that gets the query of the URL and returns JSON, now
or later, or fails with ValueError for a query that is wrong."""

STATUS_VERSION = 1
"""The version of the document: increased when a key is removed or changes its meaning, not when one is added."""


@attrs.frozen(kw_only=True)
class ListenerStatus:
    """Where clients attach.

    :ivar address: with the bound port.
    :ivar transport: of the links.
    :ivar links: how many are up.
    """

    address: str
    transport: str
    links: int


@attrs.frozen(kw_only=True)
class EntrypointStatus:
    """Where visitors arrive.

    :ivar address: with the bound port.
    :ivar protocols: those that are accepted.
    :ivar visitors: open connections of visitors.
    """

    address: str
    protocols: tuple[str, ...]
    visitors: int


@attrs.frozen(kw_only=True)
class RuleStatus:
    """An ingress rule.

    :ivar host: the pattern.
    :ivar tunnel: the first characters of the tunnel's ID.
    :ivar private: whether public entrypoints reject its visitors.
    """

    host: str
    tunnel: str
    private: bool


@attrs.frozen(kw_only=True)
class TunnelStatus:
    """A tunnel.

    :ivar tunnel: the first characters of its ID.
    :ivar connectors: how many are attached (server), or have joined (client).
    :ivar streams: how many are open.
    """

    tunnel: str
    connectors: int
    streams: int


@attrs.frozen
class RoundTrip:
    """The round-trip time of a link.

    :ivar seconds: the time.
    :ivar by: ``ping`` for a WebSocket's ping and pong, which are end-to-end; ``tcp`` for the kernel's estimate, which ends at the
        next proxy.
    """

    seconds: float
    by: str

    @classmethod
    def of(cls, *, ping: float | None, tcp: Callable[[], float | None]) -> RoundTrip | None:
        """Return the better one of those that are available."""
        if ping is not None:
            return cls(round(ping, 6), "ping")
        estimate = tcp()
        return None if estimate is None else cls(round(estimate, 6), "tcp")


@attrs.frozen(kw_only=True)
class TargetStatus:
    """A target of a client.

    :ivar address: where it is.
    :ivar state: ``reachable``, ``refused``, or ``unknown`` as long as nothing was sent there.
    :ivar since: since when it cannot be reached, in seconds since the epoch.
    :ivar reason: why not.
    """

    address: str
    state: str
    since: float | None = attrs.field(default=None, metadata={"time": True})
    reason: str | None = None


@attrs.frozen(kw_only=True)
class ShareStatus:
    """Which part of the requests comes to a client: so many of so many.

    :ivar text: for people.
    """

    part: int
    whole: int
    text: str


@attrs.frozen(kw_only=True)
class OtherStatus:
    """Somebody else on the tunnel of a client.

    :ivar name: who.
    :ivar what: their filters, else their weight.
    """

    name: str
    what: str


@attrs.frozen(kw_only=True)
class ConnectorStatus:
    """A connector, at either end.

    :ivar id: the first characters of its ID, ``None`` before the server assigned one.
    :ivar tunnel: the first characters of its tunnel's ID.
    :ivar network: ``tcp``, or ``udp`` when its streams carry datagrams.
    :ivar state: ``joined``, ``leaving`` (no more streams) or ``joining`` (the client is trying).
    :ivar peer: the address of the other end.
    :ivar user: the authenticated user, if authentication is required.
    :ivar target: where the client forwards to; ``None`` at the server, which does not know.
    :ivar targets: the same, each with its state.
    :ivar hosts: that lead to the tunnel, as the server tells a client.
    :ivar share: of the requests, as the server tells a client; ``None`` if it does not.
    :ivar others: who is on the tunnel besides, as the server tells a client.
    :ivar weight: its share.
    :ivar name: what its client calls itself, ``None`` if it does not say.
    :ivar reason: what it is for, as its client says.
    :ivar intercept: the filters of the requests that it takes, any of which may match; empty for a share of all.
    :ivar until: when its lease ends, in seconds since the epoch; ``None`` without an end.
    :ivar since: when the link came up, in seconds since the epoch; ``None`` without one.
    :ivar streams: how many are open.
    :ivar requests: requests and connections that ended; at a client, as its server has counted them, ``None`` if it does not tell.
    :ivar received_bytes: received over the link, including framing.
    :ivar sent_bytes: sent over the link.
    :ivar round_trip: the round-trip time, if known.
    """

    id: str | None
    tunnel: str
    network: str
    state: str
    peer: str
    user: str | None = None
    target: str | None = None
    targets: tuple[TargetStatus, ...] = ()
    hosts: tuple[str, ...] = ()
    share: ShareStatus | None = None
    others: tuple[OtherStatus, ...] = ()
    weight: int
    name: str | None = None
    reason: str | None = None
    intercept: tuple[str, ...] = ()
    until: float | None = attrs.field(default=None, metadata={"time": True})
    since: float | None = attrs.field(metadata={"time": True})
    streams: int
    requests: int | None = None
    received_bytes: int
    sent_bytes: int
    round_trip: RoundTrip | None


@attrs.frozen(kw_only=True)
class PortStatus:
    """A local port that leads to a private tunnel.

    :ivar address: with the bound port.
    :ivar to: the destination.
    :ivar tunnel: the first characters of the tunnel's ID.
    :ivar server: the server's address.
    :ivar connections: of local programs, open now.
    """

    address: str
    to: str
    tunnel: str
    server: str
    connections: int


@attrs.frozen(kw_only=True)
class PeerStatus:
    """Another server of the shared registry.

    :ivar server: the first characters of its ID.
    :ivar name: of its machine or pod.
    :ivar address: where it is reached; empty if it is not.
    :ivar state: ``up``, ``connecting``, ``suspect`` (no sign of life), ``unused`` (it has no connectors) or ``leaving``.
    :ivar connectors: how many of its connectors get requests from here.
    :ivar streams: how many are open over the link to it.
    """

    server: str
    name: str
    address: str
    state: str
    connectors: int
    streams: int


@attrs.frozen(kw_only=True)
class RegistryState:
    """The shared registry of a server.

    :ivar address: where it is.
    :ivar state: ``available``, or ``unavailable``: what others do is not known, and nothing can be agreed on.
    :ivar servers: other servers that are known.
    :ivar connectors: their connectors.
    :ivar published: records of this server.
    :ivar reason: why it is unavailable, ``None`` if it is not.
    """

    address: str
    state: str
    servers: int
    connectors: int
    published: int
    reason: str | None


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """A process of a server with several.

    :ivar number: from 1 on.
    :ivar pid: its process ID; ``None`` while it is not running.
    :ivar state: ``starting``, ``ready``, ``stopping`` or ``waiting`` (until it is started again).
    :ivar since: when it was started, in seconds since the epoch.
    :ivar restarts: how often it was started again.
    :ivar links: of clients, up at it.
    :ivar visitors: open connections of visitors at it.
    """

    number: int
    pid: int | None
    state: str
    since: float | None = attrs.field(metadata={"time": True})
    restarts: int
    links: int
    visitors: int


@attrs.frozen(kw_only=True)
class ServiceStatus:
    """The status of a service; whatever does not apply to it is empty.

    :ivar role: ``server``, ``client`` or ``visitor``.
    """

    role: str
    listeners: tuple[ListenerStatus, ...] = ()
    entrypoints: tuple[EntrypointStatus, ...] = ()
    rules: tuple[RuleStatus, ...] = ()
    tunnels: tuple[TunnelStatus, ...] = ()
    connectors: tuple[ConnectorStatus, ...] = ()
    registry: tuple[RegistryState, ...] = ()
    peers: tuple[PeerStatus, ...] = ()
    ports: tuple[PortStatus, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()


class Reporting(Protocol):
    """A service with a status."""

    running: Any
    """Whether it was started and not stopped yet."""

    @property
    def ready(self) -> bool:
        """Whether it can do its work."""

    def refresh(self) -> Deferred[None]:
        """Ask for what of the status is known elsewhere; fires when it is there, or will not come."""

    def status(self) -> ServiceStatus:
        """Return its current status."""


class ProcessStatus:
    """The status of a process; owned by its admin endpoint.

    :param service: the service that the process runs.
    :param recent: the latest errors.
    :param clock: returns seconds since the epoch.
    """

    def __init__(self, service: Reporting, recent: RecentErrors, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._recent = recent
        self._clock = clock
        self._started = clock()

    @property
    def _state(self) -> str:
        if self._service.ready:
            return "ready"
        return "joining" if self._service.running else "draining"

    def document(self) -> dict[str, Any]:
        """Return the current status as JSON types."""
        service = attrs.asdict(self._service.status(), value_serializer=_plain)
        process = {
            "role": service.pop("role"),
            "version": __version__,
            "pid": os.getpid(),
            "started": _timestamp(self._started),
            "uptime": round(self._clock() - self._started, 3),
            "state": self._state,
        }
        return {"status_version": STATUS_VERSION, "process": process, **service, "errors": _errors(self._recent)}

    def json(self) -> bytes:
        """Return the current status as JSON text."""
        return json.dumps(self.document(), ensure_ascii=False).encode() + b"\n"


def _errors(recent: Iterable[Any]) -> list[dict[str, Any]]:
    return [{**attrs.asdict(error), "time": _timestamp(error.time)} for error in recent]


def _plain(_instance: Any, attribute: attrs.Attribute[Any] | None, value: Any) -> Any:
    if attribute is not None and attribute.metadata.get("time") and isinstance(value, (int, float)):
        return _timestamp(value)
    return value


def _timestamp(seconds: float) -> str:
    """Return a time in the format of RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
