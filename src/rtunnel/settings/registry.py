"""Where the servers of one installation share what they know."""

from __future__ import annotations

import attrs

from rtunnel.settings.address import Address
from rtunnel.settings.checks import SettingsError, check, whole

__all__ = ["RegistryAddress", "RegistrySettings"]

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
MAX_PREFIX = 100


@attrs.frozen(kw_only=True)
class RegistryAddress:
    """A Redis.

    :ivar scheme: ``redis``, ``rediss`` (TLS), ``unix``, or ``redis+sentinel`` and ``rediss+sentinel`` for one that Sentinel knows.
    :ivar hosts: where it listens, or where the Sentinels do.
    :ivar path: of a unix socket.
    :ivar service: by which the Sentinels know it.
    :ivar database: its number.
    :ivar user: of Redis' ACL; empty for the default one.
    """

    scheme: str = attrs.field(validator=check(SCHEMES.__contains__, f"must be one of {', '.join(SCHEMES)}"))
    hosts: tuple[Address, ...] = ()
    path: str = ""
    service: str = ""
    database: int = attrs.field(default=0, validator=whole(0, 1_000_000))
    user: str = ""

    @property
    def secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme.startswith("rediss")

    @property
    def sentinel(self) -> bool:
        """Whether it is found through Sentinels."""
        return self.scheme.endswith("+sentinel")

    def __str__(self) -> str:
        """The address as it is written, which holds no secret."""
        user = f"{self.user}@" if self.user else ""
        if self.scheme == "unix":
            return f"unix://{user}{self.path}" + (f"?db={self.database}" if self.database else "")
        place = ",".join(map(str, self.hosts)) + (f"/{self.service}" if self.sentinel else "")
        return f"{self.scheme}://{user}{place}" + (f"/{self.database}" if self.database else "")


@attrs.frozen(kw_only=True)
class RegistrySettings:
    """The shared registry of a server.

    :ivar address: the Redis; ``None`` for a server that shares nothing.
    :ivar prefix: with which the names of all keys begin.
    :ivar password: of the user; empty for none. It never appears in a ``repr``, error or log line.
    :ivar ca_file: CA of a Redis that is reached over TLS, instead of the CAs of the system.
    """

    address: RegistryAddress | None = None
    prefix: str = attrs.field(
        default="rtunnel:",
        validator=check(
            lambda prefix: prefix.isprintable() and prefix.isascii() and " " not in prefix and 0 < len(prefix) <= MAX_PREFIX,
            f"must be 1 to {MAX_PREFIX} visible ASCII characters",
        ),
    )
    password: str = attrs.field(default="", repr=False)
    ca_file: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.address is None:
            for name in ("password", "ca_file"):
                if getattr(self, name):
                    raise SettingsError(name, None, "needs a registry; add --registry redis://HOST:PORT")
        elif self.ca_file is not None and not self.address.secure:
            raise SettingsError("ca_file", self.ca_file, "needs TLS; write rediss:// in --registry")
