"""What a client process does."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import attrs

from rtunnel.settings.address import CONNECTABLE, Address
from rtunnel.settings.checks import DAY, PATH, SettingsError, check, header_value, seconds, whole
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.mux import MuxSettings
from rtunnel.settings.proxy import ProxySettings
from rtunnel.settings.targets import ForwardSettings, TargetList, connectable, target_list
from rtunnel.settings.tls import ClientTls
from rtunnel.settings.transports import TRANSPORT, no_tls_in_vain

__all__ = ["ClientSettings", "ConnectorSettings"]


def _without_direct(proxies: Iterable[ProxySettings | None]) -> tuple[ProxySettings, ...]:
    """``None`` among them is the user's word for none at all."""
    return tuple(proxy for proxy in proxies if proxy is not None)


@attrs.frozen(kw_only=True)
class ConnectorSettings:
    """One attachment of a client to a tunnel.

    :ivar server: where the server listens for clients.
    :ivar transport: ``ws``, ``tcp``, or the same with TLS: ``wss``, ``tls``.
    :ivar tls: see :class:`ClientTls`.
    :ivar proxies: what stands in between, the nearest first.
    :ivar tunnel: which tunnel to join.
    :ivar target: where streams are passed to.
    :ivar forward: how; see :class:`ForwardSettings`.
    :ivar weight: 1 to 255; 255 leaves out all smaller ones.
    :ivar path: where the WebSocket is (not used by ``tcp`` and ``tls``).
    :ivar host: the Host header of the upgrade request, ``None`` for the server's own name.
    :ivar bind: the address asked of the server: host ``""`` and port 0 for "as you like".
    :ivar credentials: for a server that asks, or ``None``.
    :ivar mux: see :class:`MuxSettings`.
    :ivar connect_timeout: seconds to reach the server, and to reach the target.
    :ivar handshake_timeout: seconds for the upgrade and the answer of the server.
    :ivar backoff_min: the first wait after a loss.
    :ivar backoff_max: the longest wait.
    """

    server: Address = attrs.field(validator=CONNECTABLE)
    transport: str = attrs.field(default="ws", validator=TRANSPORT)
    tls: ClientTls = attrs.field(factory=ClientTls)
    proxies: tuple[ProxySettings, ...] = attrs.field(default=(), converter=_without_direct)
    tunnel: UUID = attrs.field(validator=check(lambda tunnel: tunnel.int != 0, "must not be the nil UUID"))
    target: TargetList = attrs.field(converter=target_list, validator=connectable)
    weight: int = attrs.field(default=1, validator=whole(1, 255))
    path: str = attrs.field(default="/ws", validator=PATH)
    host: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            check(lambda host: host and header_value(host) and not set(host) & set("/?#@"), "is not a host name")
        ),
    )
    bind: Address = attrs.field(default=Address("", 0))
    credentials: Credentials | None = None
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    forward: ForwardSettings = attrs.field(factory=ForwardSettings)
    connect_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY))
    handshake_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))
    backoff_min: float = attrs.field(default=0.5, validator=seconds(0.01, DAY))
    backoff_max: float = attrs.field(default=30.0, validator=seconds(0.01, DAY))

    def __attrs_post_init__(self) -> None:
        no_tls_in_vain(self.transport, self.tls)
        if self.backoff_max < self.backoff_min:
            raise SettingsError("backoff_max", f"{self.backoff_max:g}s", f"must be at least the first wait, {self.backoff_min:g}s")


@attrs.frozen
class ClientSettings:
    """Everything that one client process does.

    :ivar connectors: at least one.
    :ivar admin: where ``/livez``, ``/readyz``, ``/metrics`` and ``/status`` are served, ``None`` for nowhere.
    :ivar drain: the seconds that running requests get when the client stops.
    """

    connectors: tuple[ConnectorSettings, ...] = attrs.field(validator=check(bool, "a client needs at least one server and target"))
    admin: Address | None = None
    drain: float = attrs.field(default=10.0, validator=seconds(0, DAY))
