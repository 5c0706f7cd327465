"""What a server process does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import UUID

import attrs

from rtunnel.settings.access_log import AccessLogSettings
from rtunnel.settings.address import Address
from rtunnel.settings.checks import DAY, PATH, SettingsError, check, seconds
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.entrypoint import EntrypointSettings
from rtunnel.settings.mux import MuxSettings
from rtunnel.settings.tls import ServerTls
from rtunnel.settings.transports import SECURE, TRANSPORT, no_tls_in_vain

__all__ = ["ListenerSettings", "ServerSettings"]


def _where(path: str | None) -> str | None:
    """A file that is read again later, when twistd may have changed the working directory."""
    return None if path is None else os.path.abspath(path)


@attrs.frozen(kw_only=True)
class ListenerSettings(EntrypointSettings):
    """One place where clients attach, with the entrypoints and the ingress rules that belong to it.

    :ivar listen: where links are accepted; port 0 takes any free one. ``None`` for entrypoints apart, at which nobody attaches: the
        tunnels of their rules are joined at the other listeners.
    :ivar transport: ``ws``, ``tcp``, or the same with TLS: ``wss``, ``tls``.
    :ivar tls: see :class:`ServerTls`.
    :ivar path: where the WebSocket is (not used by ``tcp`` and ``tls``).
    :ivar credentials: the one user beside those of the file, ``None`` for none.
    :ivar users: the file of users; without any user everybody may connect.
    :ivar permissions: the file that says who may bind and visit what; without it every user may everything.
    :ivar entrypoint_id: the ID by which public entrypoints outside visit every public rule, ``None`` for nobody.
    :ivar direct: whether the ID of a tunnel is enough to join and to visit it, without an ingress rule.
    :ivar mux: see :class:`MuxSettings`.
    :ivar handshake_timeout: seconds for the upgrade and the relay request of a new link.
    """

    listen: Address | None = None
    transport: str = attrs.field(default="ws", validator=TRANSPORT)
    tls: ServerTls = attrs.field(factory=ServerTls)
    path: str = attrs.field(default="/ws", validator=PATH)
    credentials: Credentials | None = None
    users: str | None = attrs.field(default=None, converter=_where)
    permissions: str | None = attrs.field(default=None, converter=_where)
    entrypoint_id: UUID | None = attrs.field(
        default=None, validator=check(lambda value: value is None or value.int != 0, "must not be the nil UUID")
    )
    direct: bool = False
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    handshake_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if any(rule.tunnel == self.entrypoint_id for rule in self.rules):
            raise SettingsError(
                "entrypoint_id", str(self.entrypoint_id), "is the ID of a tunnel as well; make another one with uuidgen"
            )
        no_tls_in_vain(self.transport, self.tls)
        if self.transport in SECURE and not (self.tls.cert_file or self.tls.self_signed):
            raise SettingsError(
                "tls.cert_file",
                None,
                f"is missing; {self.transport} needs a certificate: --cert-file FILE --key-file FILE (certFile, keyFile in a URL), "
                "or for a trial --self-signed (selfSigned=true), which clients cannot verify",
            )
        if self.permissions is not None and self.users is None and self.credentials is None:
            raise SettingsError(
                "permissions", self.permissions, "speaks of users, but there are none; add --users FILE (users=FILE in -L)"
            )


@attrs.frozen
class ServerSettings:
    """Everything that one server process does.

    :ivar listeners: at least one.
    :ivar admin: where ``/livez``, ``/readyz``, ``/metrics`` and ``/status`` are served, ``None`` for nowhere.
    :ivar drain: the seconds that running requests get when the server stops.
    :ivar access_log: see :class:`~rtunnel.settings.access_log.AccessLogSettings`.
    """

    listeners: tuple[ListenerSettings, ...] = attrs.field(
        validator=check(
            lambda listeners: any(listener.listen is not None for listener in listeners),
            "a server needs at least one place where clients attach",
        )
    )
    admin: Address | None = None
    drain: float = attrs.field(default=10.0, validator=seconds(0, DAY))
    access_log: AccessLogSettings = attrs.field(factory=AccessLogSettings)

    def __attrs_post_init__(self) -> None:
        taken: list[tuple[str, Address]] = []
        for name, address in self._addresses():
            for other, used in taken:
                if address.meets(used):
                    raise SettingsError(name, str(address), f'the port is taken by {other} "{used}"; give each its own port')
            taken.append((name, address))

    def _addresses(self) -> Iterator[tuple[str, Address]]:
        for listener in self.listeners:
            if listener.listen is not None:
                yield "listen", listener.listen
            for entrypoint in listener.entrypoints:
                yield "entrypoint", entrypoint
        if self.admin is not None:
            yield "admin", self.admin
