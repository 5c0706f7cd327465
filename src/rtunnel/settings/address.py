"""Hosts and ports."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import check, header_value, whole

__all__ = ["CONNECTABLE", "Address", "UdpAddress"]


@attrs.frozen
class Address:
    """A host and a port.

    :ivar host: a name or an IP address without brackets; ``""`` is every interface (targets: ``localhost``).
    :ivar port: 0 to 65535; the meaning of 0 depends on where the address is used.
    """

    host: str = attrs.field(
        validator=check(lambda host: header_value(host) and not set(host) & set('/?#@[]"'), "not a host name or IP address")
    )
    port: int = attrs.field(validator=whole(0, 65535, "a port"))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def conflicts_with(self, other: Address) -> bool:
        """Whether listening on both would fail: the same port on overlapping interfaces. Port 0 conflicts with none."""
        if not self.port or self.port != other.port or type(self) is not type(other):
            return False
        mine, theirs = self.host.lower(), other.host.lower()
        return mine == theirs or mine in _EVERY_INTERFACE or theirs in _EVERY_INTERFACE


_EVERY_INTERFACE = frozenset(("", "0.0.0.0", "::"))


@attrs.frozen
class UdpAddress(Address):
    """A host and a port of UDP; never equal to one of TCP, nor in conflict with it."""

    def __str__(self) -> str:
        return f"udp://{super().__str__()}"


CONNECTABLE = check(lambda address: address.port > 0, "no port to connect to; write HOST:PORT")
