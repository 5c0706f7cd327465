"""Explanations: which connector would get a request, and why, for people.

The order of connectors is that of :meth:`rtunnel.routing.tunnels.Tunnel.turns`, from which requests are served, too; nothing is
decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import evolve, field, frozen

from rtunnel.ids import short_id
from rtunnel.routing.ingress import normalise_host
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.request_properties import RequestProperties
from rtunnel.routing.selection import Selector, VisitorProtocol
from rtunnel.routing.sticky import Sticky, rendezvous
from rtunnel.routing.tunnels import Connector, Rank, Tunnel

__all__ = ["AskedRequest", "ConnectorExplanation", "Explanation", "FilterExplanation", "TermExplanation", "explain"]


@frozen
class AskedRequest:
    """A request that nobody has sent (a :class:`~rtunnel.routing.selection.RouteQuery`).

    :param asked_host: its host, with or without a port.
    :param asked_method: its method.
    :param asked_path: its path, with or without a query.
    :param fields: names and values of its header.
    """

    asked_host: str
    asked_method: str = "GET"
    asked_path: str = "/"
    fields: tuple[tuple[str, str], ...] = ()
    protocol: VisitorProtocol = field(default=VisitorProtocol.HTTP, init=False)
    visitor_address: str = field(default="", init=False)

    @property
    def host(self) -> str:
        """The host, normalized."""
        return normalise_host(self.asked_host)

    def method(self) -> bytes:
        """The method."""
        return self.asked_method.encode()

    def path(self) -> bytes:
        """The path with its query."""
        return self.asked_path.encode()

    def lines(self) -> bytes:
        """The request line and the fields."""
        fields = (("Host", self.asked_host), *self.fields)
        lines = [f"{self.asked_method} {self.asked_path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def taken(self) -> Mapping[bytes, bytes]:
        """None: all fields are among the lines."""
        return {}

    def new_visitor(self) -> bytes | None:
        """None: there is no visitor."""
        return None


@frozen
class TermExplanation:
    """One term of a filter.

    :ivar term: as it is written.
    :ivar matches: whether the request has what it asks for.
    """

    term: str
    matches: bool


@frozen
class FilterExplanation:
    """One filter.

    :ivar filter: as it is written.
    :ivar matches: whether all its terms match.
    :ivar terms: each of them.
    """

    filter: str
    matches: bool
    terms: tuple[TermExplanation, ...]


@frozen
class ConnectorExplanation:
    """One connector.

    :ivar id: the first characters of its ID.
    :ivar holder: who it belongs to.
    :ivar weight: its weight.
    :ivar share: the probability that it gets the request, 0 to 1.
    :ivar because: why, or why not.
    :ivar filters: what it intercepts.
    """

    id: str
    holder: str
    weight: int
    share: float
    because: str
    filters: tuple[FilterExplanation, ...]


@frozen
class Explanation:
    """What would become of a request.

    :ivar rule: the pattern of the rule for the host; None without one.
    :ivar tunnel: the first characters of the ID of its tunnel.
    :ivar status: of the response of the server itself, if no connector gets the request.
    :ivar because: why that is so; empty if a connector gets it.
    :ivar connectors: those of the tunnel, in the order in which they would be tried; those that would not be come last.
    """

    rule: str | None
    tunnel: str | None
    status: int | None
    because: str
    connectors: tuple[ConnectorExplanation, ...] = ()


_NO_RULE: Final = Explanation(None, None, 404, "no rule leads the host to a tunnel")


def explain(selector: Selector[Any], request: AskedRequest) -> Explanation:
    """Say which connector would get a request."""
    rule = selector.table.lookup(request.host)
    if rule is None:
        return _NO_RULE
    found = Explanation(rule.pattern, short_id(rule.tunnel), 503, "no client has joined the tunnel")
    if rule.private:
        return evolve(found, status=404, because="the rule is private: only visitors of rtunnel reach the tunnel")
    tunnel = selector.registry.get(rule.tunnel)
    if tunnel is None:
        return found
    withhold = selector.withholds(request.host)
    connectors = _Choice(tunnel, request, selector.sticky, withhold=withhold).connectors()
    if selector.registry.suspended:
        return evolve(found, because="the server buffers as much as it may (--max-buffered)", connectors=connectors)
    holder = selector.withheld_for(rule.tunnel, request)
    if holder is not None:
        return evolve(
            found, because=f"{holder} takes it, whose link is lost, and nobody else gets it (on-absent)", connectors=connectors
        )
    if not any(connector.share for connector in connectors):
        return evolve(found, because="no client takes the request", connectors=connectors)
    return evolve(found, status=None, because="", connectors=connectors)


class _Choice:
    """The connectors of a tunnel in the order in which a request would try them."""

    def __init__(self, tunnel: Tunnel[Any], request: AskedRequest, sticky: Sticky | None, *, withhold: bool) -> None:
        self._all = tunnel.connectors
        self._host = request.host
        self._properties = RequestProperties(request)
        self._failing = {connector for connector in tunnel.failing if connector.failing.avoided(self._host)}
        turns = [(wanted, list(members)) for wanted, members in tunnel.turns(request, withhold=withhold)]
        self._kept = withhold and all(wanted is not None for wanted, _ in turns)
        """Whether those whose filter takes it are the only ones."""
        reaching = [(wanted, [one for one in members if one not in self._failing]) for wanted, members in turns]
        self._turns = [turn for turn in (*reaching, *turns) if turn[1]]
        """What reaches the target first."""
        self._key = sticky.key(request) if sticky is not None else None

    def connectors(self) -> tuple[ConnectorExplanation, ...]:
        ordered = dict.fromkeys(connector for _, members in self._turns for connector in members)
        return tuple(self._connector(connector) for connector in dict.fromkeys((*ordered, *self._all)))

    def _connector(self, connector: Connector[Any]) -> ConnectorExplanation:
        share, because = self._share(connector)
        filters = tuple(self._filter(wanted) for wanted in connector.filters)
        return ConnectorExplanation(short_id(connector.id), connector.holder, connector.weight, share, because, filters)

    def _filter(self, wanted: InterceptFilter) -> FilterExplanation:
        terms = tuple(TermExplanation(str(term), term.fits(self._properties)) for term in wanted.terms)
        return FilterExplanation(str(wanted), all(term.matches for term in terms), terms)

    def _share(self, connector: Connector[Any]) -> tuple[float, str]:
        if not self._turns:
            return 0.0, self._why_never(connector)
        wanted, members = self._turns[0]
        if connector not in members:
            return 0.0, self._why_not(connector)
        total = sum(member.weight for member in members)
        if self._key is not None and len(members) > 1:
            stays = rendezvous(members, self._key) is connector
            return float(stays), f"the visitor stays with {'it' if stays else 'another'} (--sticky)"
        reason = "no filter matches" if wanted is None else f'its filter "{wanted}" matches'
        if len(members) > 1:
            reason += f", and {connector.weight} of {total} is its share by weight"
        return connector.weight / total, reason

    def _why_not(self, connector: Connector[Any]) -> str:
        if not any(connector in members for _, members in self._turns):
            return self._why_never(connector)
        if connector in self._failing:
            return "its target for the host cannot be reached"
        if connector.rank is Rank.AVOIDED:
            return "it is silent"
        wanted, members = self._turns[0]
        if wanted is None:
            return f"the weight {members[0].weight} of {_names(members)} takes what no filter takes"
        if connector.filters:
            return f'the filter "{wanted}" of {_names(members)} is more specific, or older'
        return f'the filter "{wanted}" of {_names(members)} takes it'

    def _why_never(self, connector: Connector[Any]) -> str:
        if connector.datagrams:
            return "it takes datagrams only"
        fits = any(wanted.fits(self._properties) for wanted in connector.filters)
        if self._kept and (fits or not connector.filters):
            return "a more specific filter takes it, and nobody else gets it (on-absent)"
        if fits:
            return "probes of load balancers match no filter without a term for header:User-Agent"
        return "none of its filters matches"


def _names(connectors: Iterable[Connector[Any]]) -> str:
    return " and ".join(dict.fromkeys(connector.holder or short_id(connector.id) for connector in connectors))
