"""Personal intercepts: the connectors of a tunnel that want some requests only, and which of them gets a request.

A connector with intercept filters gets the requests that match one of them, and no others. Of several filters that match, the
most specific one wins (:attr:`~rtunnel.routing.intercept_terms.InterceptFilter.rank`), then the older one; connectors with the same
filter share its requests by weight. What no filter matches goes to the connectors without filters.

A filter is found by one of its terms, the *anchor*, so that the number of filters hardly matters: those that ask for the exact
value of a header, cookie, parameter, baggage member or path are found by that value, the others by the name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar

from rtunnel.routing.intercept_terms import InterceptFilter, Kind, Op, Rank, Term
from rtunnel.routing.request_properties import HttpQuery, RequestProperties, asking_for, having_any
from rtunnel.routing.sticky import KeyOf

__all__ = ["Conflict", "Drawable", "Interceptor", "Intercepts", "find_conflict"]


class Interceptor(Protocol):
    """A connector, as this module needs it."""

    @property
    def filters(self) -> tuple[InterceptFilter, ...]:
        """What it wants; not empty."""

    @property
    def holder(self) -> str:
        """Who it belongs to."""


_FIELDS: Final = {Kind.COOKIE: b"cookie", Kind.BAGGAGE: b"baggage"}
"""The fields in which other things than headers are."""

C = TypeVar("C", bound=Interceptor)


class Drawable(Protocol[C]):
    """Connectors that share by weight."""

    members: list[C]

    def add(self, connector: C) -> None:
        """Add one."""

    def draw(self, exclude: Collection[Any] | None, random: Callable[[], float], key_of: KeyOf | None) -> C | None:
        """Draw one that is not excluded."""


class Conflict(Generic[C]):
    """A filter that another holder has already.

    :ivar wanted: the filter that is refused, or decided by rank.
    :ivar filter: the one that is there.
    :ivar connector: whose it is.
    """

    __slots__ = ("connector", "filter", "wanted")

    def __init__(self, wanted: InterceptFilter, existing: InterceptFilter, connector: C) -> None:
        self.wanted = wanted
        self.filter = existing
        self.connector = connector


class _Entry(Generic[C]):
    """A filter and the connectors that have it."""

    __slots__ = ("filter", "group", "rank", "rest")

    def __init__(self, wanted: InterceptFilter, group: Drawable[C], rest: tuple[Term, ...], age: int) -> None:
        self.filter = wanted
        self.group = group
        self.rest = rest
        """The terms besides its anchor."""
        self.rank = (*wanted.rank, -age)


class _Anchors(Generic[C]):
    """The filters whose anchor asks for one property."""

    __slots__ = ("by_value", "others")

    def __init__(self) -> None:
        self.by_value: dict[bytes, list[_Entry[C]]] = {}
        self.others: list[tuple[Term, _Entry[C]]] = []

    def matching(self, properties: RequestProperties, kind: Kind, name: bytes) -> Iterator[_Entry[C]]:
        """Those whose anchor matches, each once."""
        values = properties.values(kind, name)
        for value in dict.fromkeys(values) if self.by_value else ():
            yield from self.by_value.get(value, ())
        for anchor, entry in self.others:
            if values and anchor.fits(properties):
                yield entry


class Intercepts(Generic[C]):
    """The connectors of one tunnel that have filters; owned by the tunnel.

    :param new_group: makes an empty group of connectors that share by weight.
    """

    __slots__ = ("_anchors", "_asked", "_by_field", "_connectors", "_entries", "_found", "_having", "_new_group")

    def __init__(self, new_group: Callable[[], Drawable[C]]) -> None:
        self._new_group = new_group
        self._connectors: dict[C, None] = {}
        self._clear()

    def _clear(self) -> None:
        self._entries: dict[InterceptFilter, _Entry[C]] = {}
        self._found: dict[tuple[Kind, bytes], _Anchors[C]] = {}
        """By what they ask for."""
        self._anchors: dict[tuple[Kind, bytes], _Anchors[C]] = {}
        """Those that are not in a field."""
        self._by_field: dict[bytes, list[tuple[Kind, bytes, _Anchors[C]]]] = {}
        """The others by the field that they are in."""
        self._compile()

    def _compile(self) -> None:
        """The fields that are asked for have changed."""
        self._asked = asking_for(self._by_field)
        self._having = having_any(self._by_field).search

    def __len__(self) -> int:
        return len(self._connectors)

    def __iter__(self) -> Iterator[C]:
        return iter(self._connectors)

    def __contains__(self, connector: object) -> bool:
        return connector in self._connectors

    def add(self, connector: C) -> None:
        """Add a connector, in a time that does not depend on how many there are."""
        self._connectors[connector] = None
        self._insert(connector)

    def remove(self, connector: C) -> None:
        """Remove a connector."""
        del self._connectors[connector]
        self._clear()
        for other in self._connectors:
            self._insert(other)

    def _insert(self, connector: C) -> None:
        fields = len(self._by_field)
        for wanted in connector.filters:
            entry = self._entries.get(wanted)
            if entry is None:
                entry = self._entries[wanted] = self._new_entry(wanted)
            entry.group.add(connector)
        if len(self._by_field) != fields:
            self._compile()

    def _new_entry(self, wanted: InterceptFilter) -> _Entry[C]:
        anchor = max(wanted.terms, key=_anchor_quality)
        rest = tuple(term for term in wanted.terms if term is not anchor)
        entry = _Entry(wanted, self._new_group(), rest, age=len(self._entries))
        anchors = self._anchors_of(anchor.kind, anchor.name.encode())
        if _is_by_value(anchor):
            anchors.by_value.setdefault(anchor.value.encode(), []).append(entry)
        else:
            anchors.others.append((anchor, entry))
        return entry

    def _anchors_of(self, kind: Kind, name: bytes) -> _Anchors[C]:
        anchors = self._found.get((kind, name))
        if anchors is None:
            anchors = self._found[kind, name] = _Anchors()
            field = name if kind is Kind.HEADER else _FIELDS.get(kind)
            if field is None:
                self._anchors[kind, name] = anchors
            else:
                self._by_field.setdefault(field, []).append((kind, name, anchors))
        return anchors

    # -- requests

    def asks(self, query: HttpQuery) -> bool:
        """Whether a filter may match a request, as most do not: it has a field that one asks for. Costs one search."""
        if self._anchors or self._having(query.lines()) is not None:
            return True
        return not self._by_field.keys().isdisjoint(query.taken())

    def choose(
        self, query: HttpQuery, exclude: Collection[Any] | None, random: Callable[[], float], key_of: KeyOf | None
    ) -> C | None:
        """The connector that a request goes to.

        :param exclude: those that have failed, or are avoided.
        :param random: returns numbers in [0, 1).
        :param key_of: finds the key of a visitor that stays with one of those that have the same filter.
        :returns: None if no filter matches, or all whose filter matches are excluded.
        """
        for entry in self._matching(query):
            drawn = entry.group.draw(exclude, random, key_of)
            if drawn is not None:
                return drawn
        return None

    def matching(self, query: HttpQuery) -> Iterator[tuple[InterceptFilter, Drawable[C]]]:
        """The filters that match a request, the best one first, and the connectors that have it."""
        for entry in self._matching(query):
            yield entry.filter, entry.group

    def _matching(self, query: HttpQuery) -> list[_Entry[C]]:
        properties = RequestProperties(query)
        found = [entry for entry in self._candidates(properties) if all(term.fits(properties) for term in entry.rest)]
        if found and properties.is_probe:
            found = [entry for entry in found if _asks_for_agent(entry.filter)]
        found.sort(key=_rank_of, reverse=True)
        return found

    def _candidates(self, properties: RequestProperties) -> Iterator[_Entry[C]]:
        """The filters whose anchor matches, each once."""
        if self._by_field:
            for field in properties.fields(self._asked):
                for kind, name, anchors in self._by_field.get(field, ()):
                    yield from anchors.matching(properties, kind, name)
        for (kind, name), anchors in self._anchors.items():
            yield from anchors.matching(properties, kind, name)

    # -- joins

    def conflict(self, filters: Iterable[InterceptFilter], holder: str) -> Conflict[C] | None:
        """The first filter of another holder from whom these would take requests; see :func:`find_conflict`."""
        return _conflict_of(self._near(filters, holder))

    def _near(self, filters: Iterable[InterceptFilter], holder: str) -> Iterator[tuple[InterceptFilter, InterceptFilter, C]]:
        """Pairs of these filters and those of others, without most of those that ask for another value of the same property."""
        in_fields = (((kind, name), anchors) for found in self._by_field.values() for kind, name, anchors in found)
        groups = [*in_fields, *self._anchors.items()]
        for wanted in filters:
            exact = {(term.kind, term.name.encode()): term.value.encode() for term in wanted.terms if _is_by_value(term)}
            for asked, anchors in groups:
                value = exact.get(asked)
                by_value = anchors.by_value.values() if value is None else (anchors.by_value.get(value, ()),)
                for entry in (*(entry for entries in by_value for entry in entries), *(entry for _, entry in anchors.others)):
                    yield from ((wanted, entry.filter, other) for other in entry.group.members if other.holder != holder)

    def overlaps(self, filters: Iterable[InterceptFilter], holder: str) -> list[Conflict[C]]:
        """The filters of other holders that may match the same requests as these, which their ranks decide."""
        pairs = self._near(filters, holder)
        return [Conflict(wanted, existing, connector) for wanted, existing, connector in pairs if not existing.excludes(wanted)]


def find_conflict(interceptors: Iterable[C], filters: Iterable[InterceptFilter], holder: str) -> Conflict[C] | None:
    """The first filter of another holder from whom these would take requests.

    It accepts all that one of them does, or they are equally specific and one accepts all that the other does.
    """
    return _conflict_of(_pairs(interceptors, filters, holder))


def _conflict_of(pairs: Iterable[tuple[InterceptFilter, InterceptFilter, C]]) -> Conflict[C] | None:
    for wanted, existing, interceptor in pairs:
        takes = existing.contains(wanted)
        if takes or (existing.rank == wanted.rank and wanted.contains(existing)):
            return Conflict(wanted, existing, interceptor)
    return None


def _pairs(
    interceptors: Iterable[C], filters: Iterable[InterceptFilter], holder: str
) -> Iterator[tuple[InterceptFilter, InterceptFilter, C]]:
    wanted = tuple(filters)
    for interceptor in interceptors:
        if interceptor.holder != holder:
            for existing in interceptor.filters:
                for one in wanted:
                    yield one, existing, interceptor


def _rank_of(entry: _Entry[Any]) -> tuple[int, Rank, int, int]:
    return entry.rank


def _anchor_quality(term: Term) -> tuple[bool, bool, Rank]:
    """The best anchor is found by its value, and few requests have it."""
    return not term.negated, _is_by_value(term), term.rank


def _is_by_value(term: Term) -> bool:
    """Whether a term asks for one value, by which it is found."""
    return not term.negated and term.op is Op.EXACT and term.kind is not Kind.METHOD


def _asks_for_agent(wanted: InterceptFilter) -> bool:
    return any(term.kind is Kind.HEADER and term.name == "user-agent" for term in wanted.terms)
