"""Where a client forwards the streams of its tunnel to, and how."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

import attrs

from rtunnel.routing.filters import ANY, TargetFilter
from rtunnel.settings.address import Address, UdpAddress
from rtunnel.settings.checks import DAY, SettingsError, check, header_value, seconds, whole
from rtunnel.settings.heads import HeadSettings

__all__ = ["MAX_TARGETS", "ForwardSettings", "Target", "TargetList", "UnixSocket"]

MAX_TARGETS = 256
"""Targets of one list: more is most likely a typing error, and a stream may have to try them all."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 section 5.6.2
MAX_UNIX_PATH = 107
"""Bytes of the path of a unix socket (``sun_path`` of unix(7), without the zero at its end)."""


@attrs.frozen
class UnixSocket:
    """A unix socket.

    :ivar path: absolute, so that it does not depend on the working directory.
    """

    path: str = attrs.field(
        validator=check(
            lambda path: path.startswith("/") and path.isprintable() and len(os.fsencode(path)) <= MAX_UNIX_PATH,
            f"must be an absolute path of at most {MAX_UNIX_PATH} bytes, as in unix:/run/app.sock",
        )
    )

    def __str__(self) -> str:
        return f"unix:{quote(self.path)}"


@attrs.frozen
class Target:
    """One service that streams are forwarded to.

    :ivar address: where it listens.
    :ivar filter: the streams that it is for.
    """

    address: Address | UnixSocket
    filter: TargetFilter = ANY

    def __str__(self) -> str:
        """The target as a user writes it."""
        filters = [(name, getattr(self.filter, name)) for name in ("host", "path", "protocol")]
        query = "&".join(f"{name}={quote(value, safe='/*:')}" for name, value in filters if value)
        return f"{self.address}?{query}" if query else str(self.address)


@attrs.frozen
class TargetList:
    """Targets that share the streams of a connector: by their filters, and in turn where several have the same.

    :ivar targets: at least one; one that is listed twice has two turns.
    """

    targets: tuple[Target, ...] = attrs.field(
        validator=check(lambda targets: 0 < len(targets) <= MAX_TARGETS, f"must have 1 to {MAX_TARGETS} targets")
    )

    def __attrs_post_init__(self) -> None:
        if self.udp and not all(isinstance(target.address, UdpAddress) for target in self.targets):
            raise SettingsError("targets", str(self), "mixes UDP and TCP; give each a connector of its own (--target twice)")
        if self.udp and any(target.filter.path or target.filter.protocol for target in self.targets):
            raise SettingsError("targets", str(self), "filters UDP by path or protocol, which it does not have; filter by host")

    @property
    def udp(self) -> bool:
        """Whether datagrams are forwarded."""
        return any(isinstance(target.address, UdpAddress) for target in self.targets)

    @classmethod
    def of(cls, *addresses: Address | UnixSocket) -> TargetList:
        """A list of targets for everything."""
        return cls(tuple(map(Target, addresses)))

    def __str__(self) -> str:
        """The list as a user writes it."""
        return ",".join(map(str, self.targets))


def target_list(value: TargetList | Address | UnixSocket) -> TargetList:
    """A converter: an address becomes a list of one target."""
    return value if isinstance(value, TargetList) else TargetList.of(value)


def connectable(_instance: object, attribute: attrs.Attribute[TargetList], value: TargetList) -> None:
    """A validator: every address has a port."""
    for target in value.targets:
        if isinstance(target.address, Address) and not target.address.port:
            raise SettingsError(attribute.name, str(target), "no port to connect to; write HOST:PORT")


_FRAMING_FIELDS = frozenset(
    (
        *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Header fields that frame a message, or address it; they cannot be set."""


def _field_name(name: str) -> bool:
    return bool(_TOKEN.fullmatch(name)) and name.lower() not in _FRAMING_FIELDS


def _field_value(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


@attrs.frozen(kw_only=True)
class ForwardSettings(HeadSettings):
    """How streams are forwarded to the targets of one connector.

    The limits of heads are those of streams whose HTTP is parsed: where a target has a path, or requests are changed.

    :ivar max_fails: connection attempts that may fail in a row before a target is skipped.
    :ivar fail_timeout: seconds that a failed target is skipped; 0 disables this.
    :ivar proxy_protocol: version of the PROXY header that tells a target the visitor's address; 0 for none.
    :ivar sniff_timeout: seconds for a visitor's first bytes to arrive, where a filter depends on its protocol.
    :ivar as_local: whether requests look to a target as if a browser on this machine had sent them.
    :ivar set_host: the Host of requests at the target; ``None`` leaves it as it is.
    :ivar set_headers: header fields to set in requests, each a name and a value.
    :ivar remove_headers: names of header fields to remove from requests.
    """

    max_fails: int = attrs.field(default=1, validator=whole(1, 1000))
    fail_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY, zero="never skipping one"))
    proxy_protocol: int = attrs.field(default=0, validator=whole(0, 2, "a version"))
    sniff_timeout: float = attrs.field(default=5.0, validator=seconds(0.1, DAY))
    as_local: bool = False
    set_host: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            check(lambda host: host and header_value(host) and not set(host) & set("/?#@,"), "is not a host name")
        ),
    )
    set_headers: tuple[tuple[str, str], ...] = attrs.field(
        default=(),
        validator=check(
            lambda fields: all(_field_name(name) and _field_value(value) for name, value in fields),
            "not a header field that can be set; write NAME=VALUE in ASCII, and --set-host for Host",
        ),
    )
    remove_headers: tuple[str, ...] = attrs.field(
        default=(),
        validator=check(
            lambda names: all(map(_field_name, names)),
            "not a header field that can be removed; requests need Host and those that frame them",
        ),
    )

    @property
    def rewrites(self) -> bool:
        """Whether HTTP requests are changed before they reach the target."""
        return bool(self.as_local or self.set_host or self.set_headers or self.remove_headers)
