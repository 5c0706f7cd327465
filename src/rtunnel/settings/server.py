"""The settings of a server process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from uuid import UUID

import attrs

from rtunnel.routing.policies import Policies, Policy, PolicyRow
from rtunnel.settings.access_log import AccessLogSettings
from rtunnel.settings.address import Address
from rtunnel.settings.checks import DAY, LOG_LEVEL, PATH, SettingsError, check, seconds, whole
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.entrypoint import EntrypointSettings
from rtunnel.settings.health import HealthSettings
from rtunnel.settings.leases import LeaseSettings
from rtunnel.settings.limits import LimitSettings
from rtunnel.settings.mux import MuxSettings
from rtunnel.settings.peers import PeerSettings
from rtunnel.settings.registry import RegistrySettings
from rtunnel.settings.tls import ServerTls
from rtunnel.settings.transports import SECURE, TRANSPORT, check_no_unused_tls

__all__ = ["ListenerSettings", "ServerSettings"]

MAX_WORKERS = 64
"""Each has a link to each other one."""


def _absolute(path: str | None) -> str | None:
    """A file that is read again later, when twistd may have changed the working directory."""
    return None if path is None else os.path.abspath(path)


@attrs.frozen(kw_only=True)
class ListenerSettings(EntrypointSettings):
    """One address where clients connect, with the entrypoints and the ingress rules that belong to it.

    :ivar listen: where clients connect; port 0 is any free one. ``None`` for standalone entrypoints: clients join the tunnels of
        their rules at the other listeners.
    :ivar transport: ``ws``, ``tcp``, or the same with TLS: ``wss``, ``tls``.
    :ivar tls: see :class:`ServerTls`.
    :ivar path: of the WebSocket; unused by ``tcp`` and ``tls``.
    :ivar credentials: a single user, besides those of the file; ``None`` for none.
    :ivar users: the users file; without any user, every client may connect.
    :ivar permissions: the permissions file; without it, every user may bind and visit every tunnel.
    :ivar entrypoint_id: the ID with which public entrypoints of other servers visit every public rule; ``None`` for none.
    :ivar direct: whether the ID of a tunnel is enough to join and visit it, without an ingress rule.
    :ivar mux: see :class:`MuxSettings`.
    :ivar health: see :class:`HealthSettings`.
    :ivar leases: see :class:`LeaseSettings`.
    :ivar policies: what clients of some hosts have to keep to, each pattern once.
    :ivar handshake_timeout: seconds for the WebSocket upgrade and the tunnel handshake.
    """

    listen: Address | None = None
    transport: str = attrs.field(default="ws", validator=TRANSPORT)
    tls: ServerTls = attrs.field(factory=ServerTls)
    path: str = attrs.field(default="/ws", validator=PATH)
    credentials: Credentials | None = None
    users: str | None = attrs.field(default=None, converter=_absolute)
    permissions: str | None = attrs.field(default=None, converter=_absolute)
    entrypoint_id: UUID | None = attrs.field(
        default=None, validator=check(lambda value: value is None or value.int != 0, "must not be the nil UUID")
    )
    direct: bool = False
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    health: HealthSettings = attrs.field(factory=HealthSettings)
    leases: LeaseSettings = attrs.field(factory=LeaseSettings)
    policies: tuple[PolicyRow, ...] = ()
    handshake_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))

    @property
    def policy(self) -> Policies:
        """The policies of all hosts."""
        leases, http = self.leases, self.http
        return Policies(self.policies, Policy(max_lease=leases.longest, idle=leases.idle, served_by=http.served_by))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._check_policies()
        if any(rule.tunnel == self.entrypoint_id for rule in self.rules):
            raise SettingsError(
                "entrypoint_id", str(self.entrypoint_id), "also the ID of a tunnel; generate another one with uuidgen"
            )
        check_no_unused_tls(self.transport, self.tls)
        if self.transport in SECURE and not (self.tls.cert_file or self.tls.self_signed):
            raise SettingsError(
                "tls.cert_file",
                None,
                f"missing; {self.transport} needs a certificate: --cert-file FILE --key-file FILE (certFile, keyFile in a URL), "
                "or for tests --self-signed (selfSigned=true), which clients cannot verify",
            )
        if self.permissions is not None and self.users is None and self.credentials is None:
            raise SettingsError("permissions", self.permissions, "needs users; add --users FILE (users=FILE in -L)")

    def _check_policies(self) -> None:
        seen: set[str] = set()
        for row in self.policies:
            if row.pattern in seen:
                raise SettingsError("policies", row.pattern, "this host already has a policy; write all of it in one")
            seen.add(row.pattern)
            try:
                attrs.evolve(self.leases, longest=row.max_lease or 0.0, idle=row.idle or 0.0)
            except SettingsError as error:
                key = "max-lease" if error.key == "longest" else error.key
                raise SettingsError("policies", row.pattern, f"{key} {error.hint}") from None


@attrs.frozen
class ServerSettings:
    """The settings of a server process.

    :ivar listeners: at least one.
    :ivar admin: where ``/livez``, ``/readyz``, ``/metrics`` and ``/status`` are served, ``None`` for nowhere.
    :ivar admin_socket: whether the same is answered at a unix socket, to the user of the process alone.
    :ivar log_level: the lowest level that the log has; see :data:`LOG_LEVEL`.
    :ivar stop_delay: seconds between the moment in which the server says that it stops, and the end of its ports.
    :ivar ready_wait: seconds that a server that starts waits at most for connectors of the tunnels of its rules, before it says
        that it is ready; 0 to wait for none.
    :ivar drain: seconds for running requests to finish after that.
    :ivar registry: see :class:`~rtunnel.settings.registry.RegistrySettings`.
    :ivar peer: see :class:`~rtunnel.settings.peers.PeerSettings`.
    :ivar workers: how many processes serve; with more than one, another one watches them.
    :ivar limits: see :class:`~rtunnel.settings.limits.LimitSettings`.
    :ivar access_log: see :class:`~rtunnel.settings.access_log.AccessLogSettings`.
    """

    listeners: tuple[ListenerSettings, ...] = attrs.field(
        validator=check(
            lambda listeners: any(listener.listen is not None for listener in listeners),
            "a server needs at least one address where clients connect",
        )
    )
    admin: Address | None = None
    admin_socket: bool = True
    log_level: str = attrs.field(default="info", validator=LOG_LEVEL)
    stop_delay: float = attrs.field(default=0.0, validator=seconds(0, DAY))
    ready_wait: float = attrs.field(default=0.0, validator=seconds(0, DAY))
    drain: float = attrs.field(default=10.0, validator=seconds(0, DAY))
    registry: RegistrySettings = attrs.field(factory=RegistrySettings)
    peer: PeerSettings = attrs.field(factory=PeerSettings)
    workers: int = attrs.field(default=1, validator=whole(1, MAX_WORKERS))
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    access_log: AccessLogSettings = attrs.field(factory=AccessLogSettings)

    def __attrs_post_init__(self) -> None:
        used: list[tuple[str, Address]] = []
        for name, address in self._addresses():
            for other_name, other in used:
                if address.conflicts_with(other):
                    hint = f'the port is already used by {other_name} "{other}"; choose another one'
                    raise SettingsError(name, str(address), hint)
            used.append((name, address))
        if self.workers > 1:
            self._check_workers()

    def _check_workers(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SettingsError("workers", str(self.workers), "processes share a port on Linux only; start one")
        for name, address in self._addresses():
            if not address.port and name != "admin":
                raise SettingsError(name, str(address), "several workers need a port that all of them know; choose one")
        if self.registry.address is not None and self.peer.listen is None:
            raise SettingsError(
                "peer.listen",
                None,
                "missing; with --registry the workers reach each other, and others reach them, at ports of theirs",
            )
        if self.registry.address is None and self.peer.listen is not None:
            raise SettingsError(
                "peer.listen", str(self.peer.listen), "has no use without --registry: the workers of one server need no port for it"
            )

    @property
    def peer_ports(self) -> range:
        """The ports at which the workers listen for peers, one after the other from that of the first one on."""
        first = 0 if self.peer.listen is None else self.peer.listen.port
        return range(first, first + self.workers)

    def _addresses(self) -> Iterator[tuple[str, Address]]:
        for listener in self.listeners:
            if listener.listen is not None:
                yield "listen", listener.listen
            for entrypoint in listener.entrypoints:
                yield "entrypoint", entrypoint
        if self.peer.listen is not None:
            for port in self.peer_ports:
                yield "peer.listen", attrs.evolve(self.peer.listen, port=port)
        if self.admin is not None:
            yield "admin", self.admin
