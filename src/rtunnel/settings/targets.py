"""Where a client passes what comes for its tunnel, and how."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

import attrs

from rtunnel.routing.filters import ANY, TargetFilter
from rtunnel.settings.address import Address, UdpAddress
from rtunnel.settings.checks import DAY, SettingsError, check, header_value, seconds, whole

__all__ = ["MAX_TARGETS", "ForwardSettings", "Target", "TargetList", "UnixSocket"]

MAX_TARGETS = 256
"""Targets of one list: more is a mistake in writing it, and each stream may have to try them all."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 section 5.6.2
UNIX_PATH_BYTES = 107
"""Most bytes of the path of a unix socket (``sun_path`` of unix(7), without the zero at its end)."""


@attrs.frozen
class UnixSocket:
    """A unix socket.

    :ivar path: absolute, so that the directory in which the process starts does not matter.
    """

    path: str = attrs.field(
        validator=check(
            lambda path: path.startswith("/") and path.isprintable() and len(os.fsencode(path)) <= UNIX_PATH_BYTES,
            f"must be an absolute path of at most {UNIX_PATH_BYTES} bytes, as in unix:/run/app.sock",
        )
    )

    def __str__(self) -> str:
        return f"unix:{quote(self.path)}"


@attrs.frozen
class Target:
    """One service that streams are passed to.

    :ivar address: where it is.
    :ivar filter: what it is for.
    """

    address: Address | UnixSocket
    filter: TargetFilter = ANY

    def __str__(self) -> str:
        """The target as a user can type it."""
        asked = [(name, getattr(self.filter, name)) for name in ("host", "path", "protocol")]
        query = "&".join(f"{name}={quote(value, safe='/*:')}" for name, value in asked if value)
        return f"{self.address}?{query}" if query else str(self.address)


@attrs.frozen
class TargetList:
    """Targets that share what comes, each with its part: by what they are for, and in turn where several are for the same.

    :ivar targets: at least one; one that is there twice has two turns.
    """

    targets: tuple[Target, ...] = attrs.field(
        validator=check(lambda targets: 0 < len(targets) <= MAX_TARGETS, f"must have 1 to {MAX_TARGETS} targets")
    )

    def __attrs_post_init__(self) -> None:
        if self.udp and not all(isinstance(target.address, UdpAddress) for target in self.targets):
            raise SettingsError("targets", str(self), "mixes UDP and TCP; a connector carries one of them, so give each its own")
        if self.udp and any(target.filter.path or target.filter.protocol for target in self.targets):
            raise SettingsError("targets", str(self), "asks datagrams for a path or protocol; a filter for UDP names a host")

    @property
    def udp(self) -> bool:
        """Whether datagrams are passed on."""
        return any(isinstance(target.address, UdpAddress) for target in self.targets)

    @classmethod
    def of(cls, *addresses: Address | UnixSocket) -> TargetList:
        """A list of targets for everything."""
        return cls(tuple(map(Target, addresses)))

    def __str__(self) -> str:
        """The list as a user can type it."""
        return ",".join(map(str, self.targets))


def target_list(value: TargetList | Address | UnixSocket) -> TargetList:
    """A converter: one address is a list of one target."""
    return value if isinstance(value, TargetList) else TargetList.of(value)


def connectable(_instance: object, attribute: attrs.Attribute[TargetList], value: TargetList) -> None:
    """A validator: every address has a port."""
    for target in value.targets:
        if isinstance(target.address, Address) and not target.address.port:
            raise SettingsError(attribute.name, str(target), "has no port to connect to; write HOST:PORT")


_WRITTEN_BY_US = frozenset(
    (
        *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Header fields that say how a message is framed, or whom it is for."""


def _field_name(name: str) -> bool:
    return bool(_TOKEN.fullmatch(name)) and name.lower() not in _WRITTEN_BY_US


def _field_value(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


@attrs.frozen(kw_only=True)
class ForwardSettings:
    """How streams are passed to the targets of one connector.

    :ivar max_fails: connects that may fail in a row before a target is left out.
    :ivar fail_timeout: the seconds that it is left out then; 0 for never.
    :ivar proxy_protocol: the version of the PROXY header that tells a target who visits; 0 for none.
    :ivar sniff_timeout: the seconds that a visitor has to show what it speaks, where a filter asks.
    :ivar set_host: what a request's Host becomes, None for what it was.
    :ivar set_headers: header fields of requests that are set, name and value.
    :ivar remove_headers: names of those that are taken out.
    """

    max_fails: int = attrs.field(default=1, validator=whole(1, 1000))
    fail_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY, zero="never leaving one out"))
    proxy_protocol: int = attrs.field(default=0, validator=whole(0, 2, "a version"))
    sniff_timeout: float = attrs.field(default=5.0, validator=seconds(0.1, DAY))
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
            "has a field that cannot be set; write NAME=VALUE in ASCII, --set-host for Host, and none that frames a message",
        ),
    )
    remove_headers: tuple[str, ...] = attrs.field(
        default=(),
        validator=check(
            lambda names: all(map(_field_name, names)), "has a field that cannot be removed: Host, or one that frames a message"
        ),
    )

    @property
    def rewrites(self) -> bool:
        """Whether requests of HTTP are changed on their way."""
        return bool(self.set_host or self.set_headers or self.remove_headers)
