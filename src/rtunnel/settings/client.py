"""The settings of a client process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

import attrs

from rtunnel.routing.intercept_terms import MAX_FILTERS, InterceptFilter, session_filters
from rtunnel.routing.reach import ReachRules
from rtunnel.settings.address import CONNECTABLE, Address, UdpAddress
from rtunnel.settings.checks import DAY, LOG_LEVEL, PATH, SettingsError, check, header_value, seconds, whole
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.mux import MuxSettings
from rtunnel.settings.pod_env import PodEnvSettings
from rtunnel.settings.pod_files import FileRoot
from rtunnel.settings.proxy import ProxySettings
from rtunnel.settings.targets import ForwardSettings, TargetList, connectable, target_list
from rtunnel.settings.tls import ClientTls
from rtunnel.settings.transports import TRANSPORT, check_no_unused_tls
from rtunnel.settings.udp import UdpSettings

__all__ = ["ClientSettings", "ConnectorSettings", "ServerConnectionSettings", "VisitorSettings"]


def _without_direct(proxies: Iterable[ProxySettings | None]) -> tuple[ProxySettings, ...]:
    """Without the ``None`` that stands for a direct connection."""
    return tuple(proxy for proxy in proxies if proxy is not None)


@attrs.frozen(kw_only=True)
class ServerConnectionSettings:
    """How a server is reached, and which tunnel is used there: what connectors and visitors have in common.

    :ivar server: the address on which the server accepts clients.
    :ivar transport: ``ws``, ``tcp``, or the same with TLS: ``wss``, ``tls``.
    :ivar tls: see :class:`ClientTls`.
    :ivar proxies: on the path to the server, the nearest first.
    :ivar tunnel: which tunnel to join or to visit.
    :ivar path: of the WebSocket; unused by ``tcp`` and ``tls``.
    :ivar host: the Host header of the upgrade request, ``None`` for the server's own name.
    :ivar credentials: for a server that requires them, or ``None``.
    :ivar mux: see :class:`MuxSettings`; a visitor uses only the keepalive.
    :ivar udp: see :class:`UdpSettings`; for datagrams only.
    :ivar connect_timeout: seconds for connecting to the server, and to the target.
    :ivar handshake_timeout: seconds for the WebSocket upgrade and the tunnel handshake.
    """

    server: Address = attrs.field(validator=CONNECTABLE)
    transport: str = attrs.field(default="ws", validator=TRANSPORT)
    tls: ClientTls = attrs.field(factory=ClientTls)
    proxies: tuple[ProxySettings, ...] = attrs.field(default=(), converter=_without_direct)
    tunnel: UUID = attrs.field(validator=check(lambda tunnel: tunnel.int != 0, "must not be the nil UUID"))
    path: str = attrs.field(default="/ws", validator=PATH)
    host: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            check(lambda host: host and header_value(host) and not set(host) & set("/?#@"), "not a host name")
        ),
    )
    credentials: Credentials | None = None
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    udp: UdpSettings = attrs.field(factory=UdpSettings)
    connect_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY))
    handshake_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))

    def __attrs_post_init__(self) -> None:
        check_no_unused_tls(self.transport, self.tls)


@attrs.frozen(kw_only=True)
class ConnectorSettings(ServerConnectionSettings):
    """One connection of a client that joins a tunnel.

    :ivar target: where streams are forwarded to.
    :ivar forward: how; see :class:`ForwardSettings`.
    :ivar weight: 1 to 255; with 255, connectors with a smaller weight get nothing.
    :ivar intercept: filters of the requests that it takes, any of which may match; empty for a share of all requests.
    :ivar session: the name of a session whose requests it takes, too; ``""`` for none.
    :ivar keep_caching: whether intercepted responses may be cached as the target says.
    :ivar name: who it is, as others see it; ``""`` for the user and the host of this process.
    :ivar role: ``pod`` for the client of the service itself, ``laptop`` for any other.
    :ivar join: ``one`` to join one server behind the name of ``server``; ``all`` for a link to each of its addresses.
    :ivar reason: what for, as others see it.
    :ivar lease: the seconds after which it ends by itself; 0 for as many as the server allows.
    :ivar reach: what developers may reach from here; empty for nothing.
    :ivar env: what they get of the environment of the application.
    :ivar files: the volumes of the application of which they get the files.
    :ivar bind: the address requested from the server; host ``""`` and port 0 leave the choice to it.
    :ivar backoff_min: seconds before the first attempt to reconnect.
    :ivar backoff_max: the longest time between two attempts.
    """

    target: TargetList = attrs.field(converter=target_list, validator=connectable)
    forward: ForwardSettings = attrs.field(factory=ForwardSettings)
    weight: int = attrs.field(default=1, validator=whole(1, 255))
    intercept: tuple[InterceptFilter, ...] = attrs.field(
        default=(),
        converter=tuple,
    )
    session: str = attrs.field(
        default="",
        validator=check(
            lambda name: re.fullmatch(r"[A-Za-z0-9_-]{0,64}", name) is not None,
            "not the name of a session: up to 64 letters, digits, _ and -",
        ),
    )
    keep_caching: bool = False
    name: str = attrs.field(
        default="", validator=check(lambda name: name.isprintable() and len(name.encode()) <= 100, "not a name of up to 100 bytes")
    )
    reason: str = attrs.field(
        default="",
        validator=check(lambda reason: reason.isprintable() and len(reason) <= 200, "not a line of up to 200 characters"),
    )
    role: str = attrs.field(default="laptop", validator=check(lambda role: role in ("pod", "laptop"), "must be pod or laptop"))
    join: str = attrs.field(default="one", validator=check(lambda join: join in ("one", "all"), "must be one or all"))
    lease: float = attrs.field(default=0.0, validator=seconds(1.0, 366 * DAY, "no end"))
    reach: ReachRules = attrs.field(default=ReachRules())
    env: PodEnvSettings = attrs.field(factory=PodEnvSettings)
    files: tuple[FileRoot, ...] = ()
    bind: Address = attrs.field(default=Address("", 0))
    backoff_min: float = attrs.field(default=0.5, validator=seconds(0.01, DAY))
    backoff_max: float = attrs.field(default=30.0, validator=seconds(0.01, DAY))

    @property
    def filters(self) -> tuple[InterceptFilter, ...]:
        """The filters of the requests that it takes, with those of the session; empty for a share of all requests."""
        return self.intercept + (session_filters(self.session) if self.session else ())

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.target.udp and (self.forward.proxy_protocol or self.forward.rewrites):
            hint = "a UDP target, whose datagrams have no PROXY header and no HTTP header fields"
            raise SettingsError("target", str(self.target), hint)
        if len(self.filters) > MAX_FILTERS:
            raise SettingsError("intercept", str(self.intercept[-1]), f"more than {MAX_FILTERS} filters; a session has two")
        if self.filters and self.role == "pod":
            raise SettingsError("role", self.role, "the pod takes what no filter takes; leave the filters out")
        if self.target.udp and self.filters:
            raise SettingsError("target", str(self.target), "a UDP target, whose datagrams have no fields to intercept by")
        offers = [("reach", bool(self.reach)), ("env.source", self.env.source is not None), ("files", bool(self.files))]
        for name, offered in offers if self.filters else ():
            if offered:
                hint = "only a client in the pod, which takes a share of all requests, can offer something of it (no --intercept)"
                raise SettingsError(name, None, hint)
        if self.backoff_max < self.backoff_min:
            raise SettingsError("backoff_max", f"{self.backoff_max:g}s", f"must be at least the minimum, {self.backoff_min:g}s")


@attrs.frozen(kw_only=True)
class VisitorSettings(ServerConnectionSettings):
    """One local port that leads to a private tunnel.

    :ivar listen: where local programs connect, or a :class:`UdpAddress` to which they send; port 0 is any free one.
    :ivar to: the destination: a host in the server's ingress rules, and a port, 0 for none.
    """

    listen: Address
    to: Address = attrs.field(validator=check(lambda to: bool(to.host), "no host; write one of the server's rules, e.g. ssh.svc"))

    @property
    def datagrams(self) -> bool:
        """Whether it is a UDP port."""
        return isinstance(self.listen, UdpAddress)


@attrs.frozen
class ClientSettings:
    """The settings of a client process, with at least one connector or visitor.

    :ivar connectors: the tunnels that it joins, and where their streams are forwarded to.
    :ivar visitors: local ports that lead to private tunnels.
    :ivar admin: where ``/livez``, ``/readyz``, ``/metrics`` and ``/status`` are served, ``None`` for nowhere.
    :ivar admin_socket: whether the same is answered at a unix socket, to the user of the process alone.
    :ivar drain: seconds for running requests to finish when the client stops.
    :ivar log_level: the lowest level that the log has; see :data:`LOG_LEVEL`.
    :ivar watch: whether a line shows each request wherever the log goes, and not only on a terminal.
    :ivar unwatched: whether it does not even there.
    :ivar max_streams: how many streams are forwarded at once, by all connectors; ``None`` for what the descriptors allow.
    """

    connectors: tuple[ConnectorSettings, ...] = ()
    visitors: tuple[VisitorSettings, ...] = ()
    admin: Address | None = None
    admin_socket: bool = True
    drain: float = attrs.field(default=10.0, validator=seconds(0, DAY))
    log_level: str = attrs.field(default="info", validator=LOG_LEVEL)
    watch: bool = False
    unwatched: bool = False
    max_streams: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(1, 10_000_000)))

    def __attrs_post_init__(self) -> None:
        if not self.connectors and not self.visitors:
            raise SettingsError("connectors", "()", "a client needs at least one server and target")
        used: list[tuple[str, Address]] = [] if self.admin is None else [("admin", self.admin)]
        for visitor in self.visitors:
            for other, address in used:
                if visitor.listen.conflicts_with(address):
                    hint = f'the port is already used by {other} "{address}"; choose another one'
                    raise SettingsError("listen", str(visitor.listen), hint)
            used.append(("listen", visitor.listen))
