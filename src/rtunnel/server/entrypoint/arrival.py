"""What the protocols of an entrypoint have in common: whose connection it is, and what the entrypoint does with each at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from rtunnel.transport.sockets import plain_address

if TYPE_CHECKING:
    from rtunnel.server.entrypoint.http import Entrypoint

__all__ = ["Peer", "SniffedProtocol", "VisitorConnection"]


class Peer:
    """A visitor's address."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @classmethod
    def of(cls, transport: Any) -> Peer:
        """The other end of a connection."""
        address = transport.getPeer()
        return cls(plain_address(getattr(address, "host", "") or ""), getattr(address, "port", 0) or 0)


class VisitorConnection(Protocol):
    """A visitor's connection as its entrypoint sees it, whatever it speaks."""

    @property
    def busy(self) -> bool:
        """Whether it is worth waiting for when the server stops."""

    def drain(self) -> None:
        """Close unless it is busy."""

    def break_off(self) -> None:
        """Cut the connection."""


@frozen
class SniffedProtocol:
    """What an entrypoint carries beside HTTP.

    :param name: for the status.
    :param take: takes over a connection: its entrypoint, its transport, whose it is, and its first bytes.
    """

    name: str
    take: Callable[[Entrypoint, Any, Peer, bytes], None]
