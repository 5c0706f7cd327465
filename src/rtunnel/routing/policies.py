"""Policies of hosts: who may take a share of all requests, which filters are demanded, and how leases end.

A row says something of the hosts that its pattern matches (the patterns of ingress rules), and leaves the rest to less specific
rows, and at last to the options of the listener. A client serves all hosts of its tunnel: of what they say the strictest counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen

from rtunnel.routing.ingress import EVERY_HOST, host_pattern
from rtunnel.routing.intercept_terms import SESSION, InterceptFilter, Kind, Op, Term

__all__ = ["Demand", "OnAbsent", "Policies", "Policy", "PolicyRow", "ServedBy", "Shares"]


class Shares(StrEnum):
    """Who may take a share of all requests, the least strict one first."""

    ALLOW = "allow"
    """Whoever may join."""
    OWNERS = "owners"
    """The pod, and whom a permission says so."""
    FORBID = "forbid"
    """The pod."""


class ServedBy(StrEnum):
    """Whether responses say who served them."""

    NEVER = "never"
    ON_REQUEST = "on-request"
    """To a request with ``Rtunnel-Explain: 1``."""
    ALWAYS = "always"


class OnAbsent(StrEnum):
    """What becomes of the requests of a client whose link is lost, as long as its lease is held."""

    POD = "pod"
    """They go to the others."""
    UNAVAILABLE = "503"
    """They are answered with 503."""


_SESSION: Final = "session"
_KINDS: Final = {kind.value: kind for kind in (Kind.HEADER, Kind.COOKIE, Kind.QUERY, Kind.BAGGAGE)}


@frozen
class Demand:
    """A term that filters may be demanded to have: an exact value of something that a person adds to her requests.

    :ivar kind: of the term; None for a session.
    :ivar name: of the header, cookie, parameter or member; ``""`` for any.
    """

    kind: Kind | None
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Demand:
        """Read one.

        :raises ValueError: it is none.
        """
        kind, colon, name = text.partition(":")
        if (kind != _SESSION and kind not in _KINDS) or bool(colon) != bool(name) or (kind == _SESSION and name):
            raise ValueError(f'"{text}" is none of session, {", ".join(_KINDS)}, the last four perhaps with :NAME')
        return cls(_KINDS.get(kind), name.lower() if kind == Kind.HEADER.value else name)

    def __str__(self) -> str:
        kind = _SESSION if self.kind is None else self.kind.value
        return f"{kind}:{self.name}" if self.name else kind

    def met_by(self, term: Term) -> bool:
        """Whether a term is one of these."""
        if term.negated or term.op is not Op.EXACT or not term.value:
            return False
        if self.kind is None:
            return term.name == SESSION and term.kind in (Kind.COOKIE, Kind.BAGGAGE)
        return term.kind is self.kind and self.name in ("", term.name)


@frozen(kw_only=True)
class Policy:
    """What is demanded.

    :ivar shares: who may take a share of all requests, be it all of them.
    :ivar require: terms of which each filter must have one; empty for any filter. Of several tuples, one of each.
    :ivar max_lease: seconds after which a lease ends at the latest; 0 for no end.
    :ivar idle: seconds without a request after which it ends; 0 for no such limit.
    :ivar served_by: whether responses say who served them.
    """

    shares: Shares = Shares.ALLOW
    require: tuple[tuple[Demand, ...], ...] = ()
    max_lease: float = 0.0
    idle: float = 0.0
    served_by: ServedBy = ServedBy.NEVER

    def refused_share(self, *, pod: bool, owner: bool) -> bool:
        """Whether a client may not take a share of all requests.

        :param pod: whether it says that it is the service itself.
        :param owner: whether a permission of its user says that it may.
        """
        return not pod and (self.shares is Shares.FORBID or (self.shares is Shares.OWNERS and not owner))

    def missing(self, wanted: InterceptFilter) -> tuple[Demand, ...]:
        """The terms of which a filter should have one, and has none."""
        for demands in self.require:
            if not any(demand.met_by(term) for demand in demands for term in wanted.terms):
                return demands
        return ()


@frozen(kw_only=True)
class PolicyRow:
    """What is said of the hosts of a pattern. None leaves it to others; see :class:`Policy`.

    :ivar on_absent: what becomes of the requests for the filters of a client whose link is lost.
    :raises ValueError: when the pattern is invalid.
    """

    pattern: str = field(converter=host_pattern)
    shares: Shares | None = None
    require: tuple[Demand, ...] | None = None
    max_lease: float | None = None
    idle: float | None = None
    served_by: ServedBy | None = None
    on_absent: OnAbsent | None = None


class Policies:
    """The policies of a listener; immutable (a reload makes new ones).

    :param rows: in any order, each pattern once.
    :param defaults: what the options say.
    """

    __slots__ = ("_defaults", "_rows", "say_who", "withhold")

    def __init__(self, rows: Iterable[PolicyRow], defaults: Policy) -> None:
        self._rows = {row.pattern: row for row in rows}
        self._defaults = defaults
        told = [defaults.served_by, *(row.served_by for row in self._rows.values())]
        self.say_who = any(one not in (None, ServedBy.NEVER) for one in told)
        """Whether responses of any host say who served them."""
        self.withhold = any(row.on_absent is OnAbsent.UNAVAILABLE for row in self._rows.values())
        """Whether requests of any host are answered with 503 while a lease is held."""

    def _said(self, pattern: str, name: str) -> Iterator[Any]:
        """What is said of a host or of all hosts of a pattern, the most specific row first."""
        for covering in _covering(pattern) if self._rows else ():
            row = self._rows.get(covering)
            if row is not None and getattr(row, name) is not None:
                yield getattr(row, name)

    def served_by(self, host: str) -> ServedBy:
        """Whether responses of a host say who served them."""
        said: ServedBy = next(self._said(host, "served_by"), self._defaults.served_by)
        return said

    def withholds(self, host: str) -> bool:
        """Whether requests for a host are answered with 503 as long as the lease of who takes them is held."""
        return self.withhold and next(self._said(host, "on_absent"), None) is OnAbsent.UNAVAILABLE

    def of_tunnel(self, patterns: Collection[str]) -> Policy:
        """What clients of a tunnel have to keep to: the strictest of what is said of its hosts.

        :param patterns: of all ingress rules that lead to it; none is a tunnel without a host, to which only what is said of every
            host applies.
        """
        if not self._rows:
            return self._defaults
        # rows for some hosts of a rule count as well
        within = [pattern for pattern in self._rows if any(rule in _covering(pattern) for rule in patterns)]
        policies = [self._of(pattern) for pattern in dict.fromkeys((*(patterns or (EVERY_HOST,)), *within))]
        return Policy(
            shares=max((policy.shares for policy in policies), key=list(Shares).index),
            require=tuple(dict.fromkeys(demands for policy in policies for demands in policy.require)),
            max_lease=_shortest(policy.max_lease for policy in policies),
            idle=_shortest(policy.idle for policy in policies),
        )

    def _of(self, pattern: str) -> Policy:
        default = self._defaults

        def said(name: str) -> Any:
            return next(self._said(pattern, name), getattr(default, name))

        require = next(self._said(pattern, "require"), ())
        return Policy(shares=said("shares"), require=(require,) if require else (), max_lease=said("max_lease"), idle=said("idle"))


def _covering(pattern: str) -> list[str]:
    """The patterns that match a host, or all hosts of a pattern, the most specific one first."""
    if pattern == EVERY_HOST:
        return [EVERY_HOST]
    exact = [] if pattern.startswith("*.") else [pattern]
    labels = pattern.removeprefix("*.").split(".")
    return [*exact, *(f"*.{'.'.join(labels[start:])}" for start in range(len(labels))), EVERY_HOST]


def _shortest(times: Iterable[float]) -> float:
    """The shortest time; 0 is none."""
    return min(filter(None, times), default=0.0)
