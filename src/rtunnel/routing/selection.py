"""Who serves: the tunnel that a host leads to, and the connector of it that is asked next.

This is the only place that decides it. A :class:`Selector` is asked with a :class:`RouteQuery`, which is read as far as the
decision needs it: a server whose rules name hosts alone never looks at a path or a field. The candidates come in order, one with
each call, as the caller says which of them failed; their order is the order of their ranks
(:class:`~rtunnel.routing.tunnels.Rank`), and by weight within a rank. Whatever else is to decide (the filter of a person, a link
that is suspect, a connector that lives in another process) is a rank, or a row of the registry.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.tunnels import Connector, TunnelRegistry

__all__ = ["RouteQuery", "Selector", "VisitorProtocol"]

P = TypeVar("P")


class VisitorProtocol(Enum):
    """What a visitor speaks."""

    HTTP = "http"
    TLS = "tls"
    RELAY = "relay"
    DATAGRAMS = "udp"


_DATAGRAMS: Final = VisitorProtocol.DATAGRAMS  # a member of an Enum costs a call each time it is named, before Python 3.12


class RouteQuery(Protocol):
    """What is known of a request or connection that asks to be served. Those that are methods cost something and are asked last.

    What the protocol does not tell, such as the path of a TLS connection, is empty.
    """

    @property
    def protocol(self) -> VisitorProtocol:
        """What the visitor speaks."""

    @property
    def host(self) -> str:
        """Whom it asks for, as :func:`~rtunnel.routing.ingress.normalise_host` writes it; ``""`` when it did not say."""

    @property
    def visitor_address(self) -> str:
        """The IP address of the visitor, as far as it is known."""

    def method(self) -> bytes:
        """The method of a request."""

    def path(self) -> bytes:
        """The path of a request, with its query, as sent."""

    def field(self, name: bytes) -> bytes | None:
        """The value of a header field; several lines of a name are combined.

        :param name: in lower case.
        """

    def cookie(self, name: bytes) -> bytes | None:
        """The value of a cookie."""


class Selector(Generic[P]):
    """Decides for one listener or entrypoint; owned by it.

    :param registry: the tunnels and their connectors.
    :param table: the ingress rules; exchanged at a reload.
    """

    __slots__ = ("registry", "table")

    def __init__(self, registry: TunnelRegistry[P], table: IngressTable) -> None:
        self.registry = registry
        self.table = table

    def rule(self, query: RouteQuery) -> IngressRule | None:
        """The public rule that a request or connection at an entrypoint falls under, None when there is none."""
        rule = self.table.lookup(query.host)
        return None if rule is None or rule.private else rule

    def select(self, tunnel: UUID, query: RouteQuery, failed: Collection[Connector[Any]] | None = None) -> Connector[P] | None:
        """The next connector of a tunnel to be asked.

        :param failed: those that were asked and failed.
        :returns: None when none is attached, or all have failed.
        """
        found = self.registry.by_number.get(tunnel.int)
        if found is None:
            return None
        datagrams = query.protocol is _DATAGRAMS
        if found.only is not None and not failed and not datagrams:
            return found.only
        return self.registry.choose(tunnel, failed, datagrams=datagrams)
