"""What a client process does."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import attrs

from rtunnel.settings.address import CONNECTABLE, Address, UdpAddress
from rtunnel.settings.checks import DAY, PATH, SettingsError, check, header_value, seconds, whole
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.mux import MuxSettings
from rtunnel.settings.proxy import ProxySettings
from rtunnel.settings.targets import ForwardSettings, TargetList, connectable, target_list
from rtunnel.settings.tls import ClientTls
from rtunnel.settings.transports import TRANSPORT, no_tls_in_vain
from rtunnel.settings.udp import UdpSettings

__all__ = ["ClientSettings", "ConnectorSettings", "ServerConnectionSettings", "VisitorSettings"]


def _without_direct(proxies: Iterable[ProxySettings | None]) -> tuple[ProxySettings, ...]:
    """``None`` among them is the user's word for none at all."""
    return tuple(proxy for proxy in proxies if proxy is not None)


@attrs.frozen(kw_only=True)
class ServerConnectionSettings:
    """How a server is reached, and the tunnel that is wanted there: what connectors and visitors have in common.

    :ivar server: where the server listens for clients.
    :ivar transport: ``ws``, ``tcp``, or the same with TLS: ``wss``, ``tls``.
    :ivar tls: see :class:`ClientTls`.
    :ivar proxies: what stands in between, the nearest first.
    :ivar tunnel: which tunnel to join or to visit.
    :ivar path: where the WebSocket is (not used by ``tcp`` and ``tls``).
    :ivar host: the Host header of the upgrade request, ``None`` for the server's own name.
    :ivar credentials: for a server that asks, or ``None``.
    :ivar mux: see :class:`MuxSettings`; a visitor has the keepalive of it.
    :ivar udp: see :class:`UdpSettings`; for datagrams only.
    :ivar connect_timeout: seconds to reach the server, and to reach the target.
    :ivar handshake_timeout: seconds for the upgrade and the answer of the server.
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
            check(lambda host: host and header_value(host) and not set(host) & set("/?#@"), "is not a host name")
        ),
    )
    credentials: Credentials | None = None
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    udp: UdpSettings = attrs.field(factory=UdpSettings)
    connect_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY))
    handshake_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))

    def __attrs_post_init__(self) -> None:
        no_tls_in_vain(self.transport, self.tls)


@attrs.frozen(kw_only=True)
class ConnectorSettings(ServerConnectionSettings):
    """One attachment of a client to a tunnel.

    :ivar target: where streams are passed to.
    :ivar forward: how; see :class:`ForwardSettings`.
    :ivar weight: 1 to 255; 255 leaves out all smaller ones.
    :ivar bind: the address asked of the server: host ``""`` and port 0 for "as you like".
    :ivar backoff_min: the first wait after a loss.
    :ivar backoff_max: the longest wait.
    """

    target: TargetList = attrs.field(converter=target_list, validator=connectable)
    forward: ForwardSettings = attrs.field(factory=ForwardSettings)
    weight: int = attrs.field(default=1, validator=whole(1, 255))
    bind: Address = attrs.field(default=Address("", 0))
    backoff_min: float = attrs.field(default=0.5, validator=seconds(0.01, DAY))
    backoff_max: float = attrs.field(default=30.0, validator=seconds(0.01, DAY))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.target.udp and (self.forward.proxy_protocol or self.forward.rewrites):
            hint = "takes datagrams, which have neither a PROXY header nor header fields of HTTP to change"
            raise SettingsError("target", str(self.target), hint)
        if self.backoff_max < self.backoff_min:
            raise SettingsError("backoff_max", f"{self.backoff_max:g}s", f"must be at least the first wait, {self.backoff_min:g}s")


@attrs.frozen(kw_only=True)
class VisitorSettings(ServerConnectionSettings):
    """One local port that leads to a private tunnel.

    :ivar listen: where local programs connect, or a :class:`UdpAddress` to which they send; port 0 takes any free one.
    :ivar to: what is asked for: a host that an ingress rule of the server names, and a port, 0 for none.
    """

    listen: Address
    to: Address = attrs.field(validator=check(lambda to: bool(to.host), "has no host; write the name of a rule, e.g. ssh.svc"))

    @property
    def datagrams(self) -> bool:
        """Whether the port is one of UDP."""
        return isinstance(self.listen, UdpAddress)


@attrs.frozen
class ClientSettings:
    """Everything that one client process does: at least one connector or visitor.

    :ivar connectors: what joins tunnels.
    :ivar visitors: local ports that lead to private tunnels.
    :ivar admin: where ``/livez``, ``/readyz``, ``/metrics`` and ``/status`` are served, ``None`` for nowhere.
    :ivar drain: the seconds that running requests get when the client stops.
    """

    connectors: tuple[ConnectorSettings, ...] = ()
    visitors: tuple[VisitorSettings, ...] = ()
    admin: Address | None = None
    drain: float = attrs.field(default=10.0, validator=seconds(0, DAY))

    def __attrs_post_init__(self) -> None:
        if not self.connectors and not self.visitors:
            raise SettingsError("connectors", "()", "a client needs at least one server and target")
        taken: list[tuple[str, Address]] = [] if self.admin is None else [("admin", self.admin)]
        for visitor in self.visitors:
            for other, used in taken:
                if visitor.listen.meets(used):
                    hint = f'the port is taken by {other} "{used}"; give each its own port'
                    raise SettingsError("listen", str(visitor.listen), hint)
            taken.append(("listen", visitor.listen))
