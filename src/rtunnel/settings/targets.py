"""Where a client passes what comes for its tunnel, and how."""

from __future__ import annotations

import os
from urllib.parse import quote

import attrs

from rtunnel.routing.filters import ANY, TargetFilter
from rtunnel.settings.address import Address
from rtunnel.settings.checks import DAY, SettingsError, check, seconds, whole

__all__ = ["MOST_TARGETS", "ForwardSettings", "Target", "TargetList", "UnixSocket"]

MOST_TARGETS = 256
"""Targets of one list: more is a mistake in writing it, and each stream may have to try them all."""
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
        validator=check(lambda targets: 0 < len(targets) <= MOST_TARGETS, f"must have 1 to {MOST_TARGETS} targets")
    )

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


@attrs.frozen(kw_only=True)
class ForwardSettings:
    """How streams are passed to the targets of one connector.

    :ivar max_fails: connects that may fail in a row before a target is left out.
    :ivar fail_timeout: the seconds that it is left out then; 0 for never.
    """

    max_fails: int = attrs.field(default=1, validator=whole(1, 1000))
    fail_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY, zero="never leaving one out"))
