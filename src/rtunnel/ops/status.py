"""What a process says of itself at ``/status``: the shape, documented in docs/status.md, and how it becomes JSON.

The services fill it in (:mod:`rtunnel.server.status`, :mod:`rtunnel.client.status`) when somebody asks; nothing is kept in between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

import attrs

from rtunnel import __version__
from rtunnel.ops.recent import RecentErrors

__all__ = [
    "STATUS_VERSION",
    "ConnectorStatus",
    "EntrypointStatus",
    "ListenerStatus",
    "PortStatus",
    "ProcessStatus",
    "RoundTrip",
    "RuleStatus",
    "ServiceStatus",
    "TunnelStatus",
]

STATUS_VERSION = 1
"""The version of the shape: counted up when a key goes or changes its meaning, not when one comes."""


@attrs.frozen(kw_only=True)
class ListenerStatus:
    """Where clients attach.

    :ivar address: with the port that is bound.
    :ivar transport: how links come.
    :ivar links: those that are up.
    """

    address: str
    transport: str
    links: int


@attrs.frozen(kw_only=True)
class EntrypointStatus:
    """Where visitors arrive.

    :ivar address: with the port that is bound.
    :ivar protocols: what is spoken there.
    :ivar visitors: their open connections.
    """

    address: str
    protocols: tuple[str, ...]
    visitors: int


@attrs.frozen(kw_only=True)
class RuleStatus:
    """Which hosts belong to a tunnel.

    :ivar host: the pattern.
    :ivar tunnel: the beginning of the tunnel's ID.
    :ivar private: whether visitors of public entrypoints are kept out.
    """

    host: str
    tunnel: str
    private: bool


@attrs.frozen(kw_only=True)
class TunnelStatus:
    """What a tunnel carries.

    :ivar tunnel: the beginning of its ID.
    :ivar connectors: how many are attached (server), or have joined (client).
    :ivar streams: how many are open.
    """

    tunnel: str
    connectors: int
    streams: int


@attrs.frozen
class RoundTrip:
    """How long the other end of a link takes to answer.

    :ivar seconds: the time.
    :ivar by: ``ping`` for a WebSocket's ping and pong, which go from end to end; ``tcp`` for the kernel's estimate, which ends at
        the next proxy of the connection.
    """

    seconds: float
    by: str

    @classmethod
    def of(cls, *, ping: float | None, tcp: Callable[[], float | None]) -> RoundTrip | None:
        """The better one of what there is."""
        if ping is not None:
            return cls(round(ping, 6), "ping")
        estimate = tcp()
        return None if estimate is None else cls(round(estimate, 6), "tcp")


@attrs.frozen(kw_only=True)
class ConnectorStatus:
    """A connector, as either end sees it.

    :ivar id: the beginning of its ID, ``None`` before the server gave it one.
    :ivar tunnel: the beginning of its tunnel's ID.
    :ivar network: ``tcp``, or ``udp`` when its streams carry datagrams.
    :ivar state: ``joined``, ``leaving`` (no more streams) or ``joining`` (the client tries).
    :ivar peer: the address of the other end.
    :ivar user: who the client is, if it was asked.
    :ivar target: where the client forwards to; ``None`` at the server, which does not know.
    :ivar weight: its share.
    :ivar since: when the link came up, in seconds of the epoch; ``None`` while there is none.
    :ivar streams: how many are open.
    :ivar requests: requests and connections that ended; ``None`` at the client, which does not look.
    :ivar received_bytes: received over the link, with all that the tunnel's protocol adds.
    :ivar sent_bytes: sent over the link.
    :ivar round_trip: how far away the other end is, if that is known.
    """

    id: str | None
    tunnel: str
    network: str
    state: str
    peer: str
    user: str | None = None
    target: str | None = None
    weight: int
    since: float | None = attrs.field(metadata={"time": True})
    streams: int
    requests: int | None = None
    received_bytes: int
    sent_bytes: int
    round_trip: RoundTrip | None


@attrs.frozen(kw_only=True)
class PortStatus:
    """A local port that leads to a private tunnel.

    :ivar address: with the port that is bound.
    :ivar to: the destination that is asked for.
    :ivar tunnel: the beginning of the tunnel's ID.
    :ivar server: where it is asked for.
    :ivar connections: of local programs, open now.
    """

    address: str
    to: str
    tunnel: str
    server: str
    connections: int


@attrs.frozen(kw_only=True)
class ServiceStatus:
    """All that a service knows of itself; what it does not have is empty.

    :ivar role: ``server``, ``client`` or ``visitor``.
    """

    role: str
    listeners: tuple[ListenerStatus, ...] = ()
    entrypoints: tuple[EntrypointStatus, ...] = ()
    rules: tuple[RuleStatus, ...] = ()
    tunnels: tuple[TunnelStatus, ...] = ()
    connectors: tuple[ConnectorStatus, ...] = ()
    ports: tuple[PortStatus, ...] = ()


class Reporting(Protocol):
    """A service that can be asked."""

    running: Any
    """Whether it was started and not stopped yet."""

    @property
    def ready(self) -> bool:
        """Whether it does what it is there for."""

    def status(self) -> ServiceStatus:
        """What it knows of itself now."""


class ProcessStatus:
    """The status of a process; owned by its admin endpoint.

    :param service: what the process runs.
    :param recent: what went wrong lately.
    :param clock: gives seconds of the epoch.
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
        """The status of this moment, made of what JSON knows."""
        service = attrs.asdict(self._service.status(), value_serializer=_plain)
        process = {
            "role": service.pop("role"),
            "version": __version__,
            "pid": os.getpid(),
            "started": _moment(self._started),
            "uptime": round(self._clock() - self._started, 3),
            "state": self._state,
        }
        return {"status_version": STATUS_VERSION, "process": process, **service, "errors": _errors(self._recent)}

    def json(self) -> bytes:
        """The same as text."""
        return json.dumps(self.document(), ensure_ascii=False).encode() + b"\n"


def _errors(recent: Iterable[Any]) -> list[dict[str, Any]]:
    return [{**attrs.asdict(error), "time": _moment(error.time)} for error in recent]


def _plain(_instance: Any, attribute: attrs.Attribute[Any] | None, value: Any) -> Any:
    if attribute is not None and attribute.metadata.get("time") and value is not None:
        return _moment(value)
    return value


def _moment(seconds: float) -> str:
    """A time as RFC 3339 writes it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
