"""What the user can ask for: one model for gost's URLs, plain options and the environment.

The classes are plain frozen values; making one checks it. Nothing here opens a file, resolves a name or knows where a value
came from: a check that fails raises :class:`SettingsError` with the *field's* name as its key, and whoever read the value
(:mod:`rtunnel.options`) says the same again with the name and the text that the user typed.

All times are seconds, all sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

import attrs

from rtunnel.routing.ingress import IngressRule

__all__ = [
    "TRANSPORTS",
    "Address",
    "ClientSettings",
    "ConnectorSettings",
    "Credentials",
    "HttpSettings",
    "ListenerSettings",
    "MuxSettings",
    "ServerSettings",
    "SettingsError",
]

TRANSPORTS = ("ws", "tcp")
"""The byte streams that a link can run over."""

_SHOWN = 120  # characters of a value that an error repeats

_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


class SettingsError(Exception):
    """Something that was asked for cannot be had.

    :param key: the name of the setting as the user knows it.
    :param value: what was given, or ``None`` when nothing was given or it is a secret.
    :param mend: what is wrong and what to write instead.
    """

    def __init__(self, key: str, value: str | None, mend: str) -> None:
        super().__init__(key, value, mend)
        self.key = key
        self.value = value
        self.mend = mend

    def about(self, key: str, value: str | None) -> SettingsError:
        """The same complaint with the name and the text that the user typed."""
        return SettingsError(key, value, self.mend)

    def __str__(self) -> str:
        subject = _plain(self.key)
        if self.value is not None:
            subject += f' "{_plain(self.value)}"'
        return f"{subject}: {_plain(self.mend, None)}"


def _plain(text: str, limit: int | None = _SHOWN) -> str:
    """Text on one line, whatever it holds."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _check(test: Callable[[Any], bool], mend: str) -> _Validator:
    def validate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not test(value):
            raise SettingsError(attribute.name, str(value), mend)

    return validate


def _whole(low: int, high: int, what: str = "a whole number") -> _Validator:
    return _check(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"must be {what} from {low} to {high}",
    )


def _seconds(low: float, high: float, zero: str | None = None) -> _Validator:
    """A time between two bounds; *zero* says what 0 means where it is allowed as well."""
    return _check(
        lambda value: isinstance(value, int | float) and (low <= value <= high or (zero is not None and value == 0)),
        f"must be a time from {low:g}s to {high:g}s" + (f", or 0 for {zero}" if zero else ""),
    )


def _header_value(text: str) -> bool:
    """Whether the text can stand in a request line or header without changing its meaning (visible ASCII)."""
    return text.isascii() and text.isprintable() and " " not in text


_DAY = 86400.0
_PATH = _check(
    lambda path: path.startswith("/") and _header_value(path) and not set(path) & set("?#"),
    'must be a path that begins with "/", without spaces, "?" and "#", e.g. /proxy',
)


@attrs.frozen
class Address:
    """A host and a port.

    :ivar host: a name or an IP address without brackets; ``""`` is every interface (targets: ``localhost``).
    :ivar port: 0 to 65535; what 0 means is said where the address is used.
    """

    host: str = attrs.field(
        validator=_check(lambda host: _header_value(host) and not set(host) & set('/?#@[]"'), "is not a host name or IP address")
    )
    port: int = attrs.field(validator=_whole(0, 65535, "a port"))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def meets(self, other: Address) -> bool:
        """Whether listening on both would fail: the same port on interfaces that overlap. Port 0 meets nobody."""
        if not self.port or self.port != other.port:
            return False
        mine, theirs = self.host.lower(), other.host.lower()
        return mine == theirs or mine in _EVERYWHERE or theirs in _EVERYWHERE


_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))

_SERVER_PORT = _check(lambda address: address.port > 0, "has no port to connect to; write HOST:PORT")


@attrs.frozen(kw_only=True)
class MuxSettings:
    """How streams share a link (smux; the defaults are gost's, ``handler/tunnel/metadata.go`` and ``smux/mux.go``).

    :ivar version: 2 (windows for each stream) or 1 (none); both ends must say the same.
    :ivar stream_window: bytes of one stream that we take before the consumer took any.
    :ivar frame_size: the most bytes that we put in one frame; any size is taken.
    :ivar keepalive_interval: seconds between two NOP frames, 0 sends none and never declares a link dead.
    :ivar keepalive_timeout: seconds without any frame after which a link is dead.
    :ivar receive_buffer: bytes of all streams of a link together.
    """

    version: int = attrs.field(default=2, validator=_whole(1, 2))
    stream_window: int = attrs.field(default=1048576, validator=_whole(4096, 2**31 - 1))
    frame_size: int = attrs.field(default=32768, validator=_whole(256, 65535))
    keepalive_interval: float = attrs.field(default=10.0, validator=_seconds(0.1, _DAY, "no keepalive"))
    keepalive_timeout: float = attrs.field(default=30.0, validator=_seconds(0.1, _DAY))
    receive_buffer: int = attrs.field(default=4194304, validator=_whole(4096, 2**31 - 1))

    def __attrs_post_init__(self) -> None:
        if self.keepalive_interval and self.keepalive_timeout <= self.keepalive_interval:
            raise SettingsError(
                "keepalive_timeout",
                f"{self.keepalive_timeout:g}s",
                f"must be longer than the keepalive interval, {self.keepalive_interval:g}s",
            )
        if self.receive_buffer < self.stream_window:
            raise SettingsError(
                "receive_buffer", str(self.receive_buffer), f"must be at least the stream window, {self.stream_window}"
            )


@attrs.frozen(kw_only=True)
class HttpSettings:
    """The limits and habits of the HTTP entrypoint.

    :ivar head_bytes: the largest request or response head; a larger one is 431.
    :ivar line_bytes: the longest line in a head.
    :ivar header_count: the most header fields in a head.
    :ivar head_timeout: seconds that a request head may take to arrive, then 408.
    :ivar idle_timeout: seconds that a kept-alive visitor connection may wait for its next request.
    :ivar response_timeout: seconds until the answer of the target must begin, then 504; 0 waits for ever.
    :ivar replay_bytes: how much of a request body is kept so that another connector can be tried.
    :ivar pool: whether a stream is kept for the next request to the same connector and host.
    :ivar pool_idle: seconds that a free stream is kept.
    :ivar trusted_proxies: from whom ``X-Forwarded-*`` and ``X-Request-Id`` are believed.
    """

    head_bytes: int = attrs.field(default=65536, validator=_whole(1024, 16 * 2**20))
    line_bytes: int = attrs.field(default=16384, validator=_whole(256, 16 * 2**20))
    header_count: int = attrs.field(default=128, validator=_whole(1, 10000))
    head_timeout: float = attrs.field(default=15.0, validator=_seconds(0.1, _DAY))
    idle_timeout: float = attrs.field(default=75.0, validator=_seconds(0.1, _DAY))
    response_timeout: float = attrs.field(default=15.0, validator=_seconds(0.1, _DAY, "no limit"))
    replay_bytes: int = attrs.field(default=65536, validator=_whole(0, 64 * 2**20))
    pool: bool = True
    pool_idle: float = attrs.field(default=30.0, validator=_seconds(0.1, _DAY))
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


@attrs.frozen(kw_only=True)
class ListenerSettings:
    """One place where clients attach, with the entrypoints and the ingress rules that belong to it.

    :ivar listen: where links are accepted; port 0 takes any free one.
    :ivar transport: ``ws`` or ``tcp``.
    :ivar path: where the WebSocket is (not used by ``tcp``).
    :ivar entrypoints: where visitors arrive.
    :ivar rules: which host belongs to which tunnel.
    :ivar mux: see :class:`MuxSettings`.
    :ivar http: see :class:`HttpSettings`.
    :ivar handshake_timeout: seconds for the upgrade and the relay request of a new link.
    """

    listen: Address
    transport: str = attrs.field(default="ws", validator=_check(TRANSPORTS.__contains__, 'must be "ws" or "tcp"'))
    path: str = attrs.field(default="/ws", validator=_PATH)
    entrypoints: tuple[Address, ...] = ()
    rules: tuple[IngressRule, ...] = ()
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    http: HttpSettings = attrs.field(factory=HttpSettings)
    handshake_timeout: float = attrs.field(default=15.0, validator=_seconds(0.1, _DAY))

    def __attrs_post_init__(self) -> None:
        seen: dict[str, IngressRule] = {}
        for rule in self.rules:
            if seen.setdefault(rule.pattern, rule) != rule:
                raise SettingsError(
                    "rules",
                    str(rule),
                    "this host already has another tunnel; name each host once",
                )


@attrs.frozen
class ServerSettings:
    """Everything that one server process does.

    :ivar listeners: at least one.
    :ivar admin: where ``/livez``, ``/readyz`` and ``/metrics`` are served, ``None`` for nowhere.
    :ivar drain: the seconds that running requests get when the server stops.
    """

    listeners: tuple[ListenerSettings, ...] = attrs.field(validator=_check(bool, "a server needs at least one place to listen on"))
    admin: Address | None = None
    drain: float = attrs.field(default=10.0, validator=_seconds(0, _DAY))

    def __attrs_post_init__(self) -> None:
        taken: list[tuple[str, Address]] = []
        for name, address in self._addresses():
            for other, used in taken:
                if address.meets(used):
                    raise SettingsError(name, str(address), f'the port is taken by {other} "{used}"; give each its own port')
            taken.append((name, address))

    def _addresses(self) -> Iterator[tuple[str, Address]]:
        for listener in self.listeners:
            yield "listen", listener.listen
            for entrypoint in listener.entrypoints:
                yield "entrypoint", entrypoint
        if self.admin is not None:
            yield "admin", self.admin


@attrs.frozen
class Credentials:
    """Who a client is. The password shows in no ``repr``, error or log line."""

    user: str = attrs.field()
    password: str = attrs.field(repr=False)

    @user.validator
    @password.validator
    def _fits(self, attribute: attrs.Attribute[str], value: str) -> None:
        # a length byte goes before each of them on the wire
        if not value.isprintable() or not 0 < len(value.encode()) <= 255:
            raise SettingsError(attribute.name, None, "must have 1 to 255 bytes of printable text")


@attrs.frozen(kw_only=True)
class ConnectorSettings:
    """One attachment of a client to a tunnel.

    :ivar server: where the server listens for clients.
    :ivar transport: ``ws`` or ``tcp``.
    :ivar tunnel: which tunnel to join.
    :ivar target: where each stream is forwarded to.
    :ivar weight: 1 to 255; 255 leaves out all smaller ones.
    :ivar path: where the WebSocket is (not used by ``tcp``).
    :ivar host: the Host header of the upgrade request, ``None`` for the server's own name.
    :ivar bind: the address asked of the server: host ``""`` and port 0 for "as you like".
    :ivar credentials: for a server that asks, or ``None``.
    :ivar mux: see :class:`MuxSettings`.
    :ivar connect_timeout: seconds to reach the server, and to reach the target.
    :ivar handshake_timeout: seconds for the upgrade and the answer of the server.
    :ivar backoff_min: the first wait after a loss.
    :ivar backoff_max: the longest wait.
    """

    server: Address = attrs.field(validator=_SERVER_PORT)
    transport: str = attrs.field(default="ws", validator=_check(TRANSPORTS.__contains__, 'must be "ws" or "tcp"'))
    tunnel: UUID = attrs.field(validator=_check(lambda tunnel: tunnel.int != 0, "must not be the nil UUID"))
    target: Address = attrs.field(validator=_SERVER_PORT)
    weight: int = attrs.field(default=1, validator=_whole(1, 255))
    path: str = attrs.field(default="/ws", validator=_PATH)
    host: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            _check(lambda host: host and _header_value(host) and not set(host) & set("/?#@"), "is not a host name")
        ),
    )
    bind: Address = Address("", 0)
    credentials: Credentials | None = None
    mux: MuxSettings = attrs.field(factory=MuxSettings)
    connect_timeout: float = attrs.field(default=10.0, validator=_seconds(0.1, _DAY))
    handshake_timeout: float = attrs.field(default=15.0, validator=_seconds(0.1, _DAY))
    backoff_min: float = attrs.field(default=0.5, validator=_seconds(0.01, _DAY))
    backoff_max: float = attrs.field(default=30.0, validator=_seconds(0.01, _DAY))

    def __attrs_post_init__(self) -> None:
        if self.backoff_max < self.backoff_min:
            raise SettingsError("backoff_max", f"{self.backoff_max:g}s", f"must be at least the first wait, {self.backoff_min:g}s")


@attrs.frozen
class ClientSettings:
    """Everything that one client process does.

    :ivar connectors: at least one.
    :ivar admin: where ``/livez``, ``/readyz`` and ``/metrics`` are served, ``None`` for nowhere.
    :ivar drain: the seconds that running requests get when the client stops.
    """

    connectors: tuple[ConnectorSettings, ...] = attrs.field(validator=_check(bool, "a client needs at least one server and target"))
    admin: Address | None = None
    drain: float = attrs.field(default=10.0, validator=_seconds(0, _DAY))
