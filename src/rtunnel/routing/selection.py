"""Selection: the tunnel that a host leads to, and the next connector of it to try.

All routing decisions are made here. A :class:`Selector` gets a :class:`RouteQuery` and evaluates it lazily: a server whose rules
match on hosts only never reads a path or a header field. Each call returns one candidate; the caller passes those that have failed
so far. A request goes to a connector whose intercept filter it matches (:mod:`rtunnel.routing.intercepts`), else to one without
filters: these are ordered by rank (:class:`~rtunnel.routing.tunnels.Rank`), and drawn by weight within a rank. Connectors that do
not reach the target of the host (:mod:`rtunnel.routing.failing`) come last. Further criteria (a connector in another process, say)
belong into a rank or into the registry.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.policies import Policies
from rtunnel.routing.sticky import Sticky, StickyQuery
from rtunnel.routing.tunnels import Connector, Tunnel, TunnelRegistry

__all__ = ["RouteQuery", "Selector", "VisitorProtocol"]

P = TypeVar("P")


class VisitorProtocol(Enum):
    """A visitor's protocol."""

    HTTP = "http"
    TLS = "tls"
    RELAY = "relay"
    DATAGRAMS = "udp"


# a member of an Enum costs a call each time it is named, before Python 3.12
_HTTP: Final = VisitorProtocol.HTTP
_DATAGRAMS: Final = VisitorProtocol.DATAGRAMS


class RouteQuery(StickyQuery, Protocol):
    """What is known about a request or connection to be routed. The methods are expensive and are called last.

    What the protocol does not have, such as the path of a TLS connection, is empty.
    """

    @property
    def protocol(self) -> VisitorProtocol:
        """The protocol of the visitor."""


class Selector(Generic[P]):
    """Makes the routing decisions of one listener or entrypoint; owned by it.

    :param registry: the tunnels and their connectors.
    :param table: the ingress rules; replaced at a reload.
    :ivar sticky: how visitors are known that stay with one of the connectors that share by weight; None if they do not.
    :ivar policies: of hosts, if any of them keeps requests for somebody whose link is lost; None otherwise.
    """

    __slots__ = ("policies", "registry", "sticky", "table")

    def __init__(self, registry: TunnelRegistry[P], table: IngressTable) -> None:
        self.registry = registry
        self.table = table
        self.sticky: Sticky | None = None
        self.policies: Policies | None = None

    def rule(self, query: RouteQuery) -> IngressRule | None:
        """The public rule that matches a request or connection at an entrypoint, None if there is none."""
        rule = self.table.public.get(query.host)
        if rule is None:
            rule = self.table.lookup(query.host)
            if rule is not None and rule.private:
                return None
        return rule

    def select(self, tunnel: UUID, query: RouteQuery, failed: Collection[Connector[Any]] | None = None) -> Connector[P] | None:
        """The next connector of a tunnel to try.

        :param failed: those that were tried and failed.
        :returns: None if no connector is attached or all have failed.
        """
        found = self.registry.by_number.get(tunnel.int)
        if found is None:
            return None
        only = found.only
        if only is not None and not failed and query.protocol is not _DATAGRAMS:
            return only
        rest = found.rest
        if rest is not None and not failed and query.protocol is _HTTP and not found.asks(query):
            return rest
        if found.failing:
            reaching = self._select_reaching(found, query, failed or ())
            if reaching is not None:
                return reaching
        return self._choose(found, query, failed)

    def _select_reaching(self, tunnel: Tunnel[P], query: RouteQuery, failed: Collection[Connector[Any]]) -> Connector[P] | None:
        """The next connector that is not avoided for the host; None if none of them is, or no other is left."""
        host = query.host
        avoided = [connector for connector in tunnel.failing if connector.failing.avoided(host)]
        return self._choose(tunnel, query, [*failed, *avoided]) if avoided else None

    def _choose(self, tunnel: Tunnel[P], query: RouteQuery, exclude: Collection[Connector[Any]] | None) -> Connector[P] | None:
        protocol = query.protocol
        request = query if tunnel.filtered and protocol is _HTTP else None
        key_of = None if self.sticky is None else partial(self.sticky.key, query)
        policies = self.policies
        withhold = policies is not None and request is not None and policies.withholds(query.host)
        return self.registry.choose(
            tunnel.id, exclude, datagrams=protocol is _DATAGRAMS, request=request, key_of=key_of, withhold=withhold
        )

    def withholds(self, host: str) -> bool:
        """Whether a request for a host that a filter takes goes to those with this filter, or to nobody."""
        return self.policies is not None and self.policies.withholds(host)

    def withheld_for(self, tunnel: UUID, query: RouteQuery) -> str | None:
        """For whom a request is kept that went to no connector; None for nobody."""
        return self.registry.withheld_for(tunnel, query) if self.withholds(query.host) else None
