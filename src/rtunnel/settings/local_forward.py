"""A local port that leads to what a pod reaches."""

from __future__ import annotations

import attrs

from rtunnel.settings.address import Address

__all__ = ["LocalForward"]


@attrs.frozen
class LocalForward:
    """A port of loopback that leads to one destination.

    :ivar listen: the local port.
    :ivar host: of the destination, as the pod calls it.
    :ivar port: of the destination.
    """

    listen: Address
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.listen}:{host}:{self.port}"
