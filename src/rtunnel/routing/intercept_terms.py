r"""Intercept filters: which requests a client wants, in a language of terms.

A :class:`Term` asks for one property of a request; an :class:`InterceptFilter` is a list of terms, all of which must match::

    header:X-User=alice
    cookie:debug=alice; path^=/api/; method=GET,POST
    !header:X-Debug; query:version*=2.*

A term is ``[!]KIND[:NAME][OP VALUE]``. The operators are ``=`` (exactly), ``^=`` (begins with), ``*=`` (a glob, whose ``*`` is any
text) and ``~`` (a regular expression that matches the whole value); without an operator the property must be present. The first
operator ends the name, so a value may contain ``:``, ``=`` and ``,``; a ``;`` in it is written ``\;``. ``!`` negates.

- *header*: names ignore case, values do not; of a repeated field any line may match.
- *cookie*: the first cookie of that name.
- *query*: any parameter of that name, decoded.
- *baggage*: a member of the W3C Baggage header, decoded, without its properties.
- *path*: decoded, without the query. A prefix ends at a slash: ``path^=/api`` matches ``/api`` and ``/api/x``, not ``/apix``.
- *method*: one of several, separated by commas.
- *host*: as ingress rules compare it.

Values are compared as bytes. Regular expressions are evaluated by RE2, in linear time, or not at all: a pattern of a stranger must
not be able to stop a server, as one of Python's :mod:`re` could.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, IntEnum
from typing import Any, Final, Protocol

from attrs import field, frozen

from rtunnel.routing.globs import Glob
from rtunnel.routing.ingress import normalise_host

try:
    import re2
except ImportError:  # an extra: rtunnel[regex]
    re2 = None

__all__ = [
    "MAX_FILTER",
    "MAX_FILTERS",
    "MAX_TERMS",
    "SESSION",
    "FilterRank",
    "InterceptFilter",
    "Kind",
    "Op",
    "Properties",
    "Rank",
    "Term",
    "listed",
    "session_filters",
]

MAX_FILTER: Final = 255
"""Maximum length of a filter as text, in bytes: that of a value of relay metadata."""
MAX_FILTERS: Final = 12
"""Maximum number of filters of one client: each is a pair of the metadata of its request, of which there are 20 at most."""
MAX_TERMS: Final = 8
"""Maximum number of terms of a filter."""
SESSION: Final = "rtunnel-session"
"""The cookie, and the member of the baggage, that a session is known by."""
MAX_COMPARED: Final = 8192
"""Maximum length of a value that a glob or a regular expression is compared with, in bytes; of a longer one only the beginning."""
MAX_REGEX: Final = 200
"""Maximum length of a regular expression, in bytes."""
MAX_COMPILED: Final = 1 << 20
"""Maximum memory of a compiled regular expression, in bytes."""


class Kind(Enum):
    """What a term asks for."""

    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"
    BAGGAGE = "baggage"
    PATH = "path"
    METHOD = "method"
    HOST = "host"


_NAMED: Final = frozenset({Kind.HEADER, Kind.COOKIE, Kind.QUERY, Kind.BAGGAGE})
"""The kinds that have a name."""


class Op(Enum):
    """How a term compares."""

    PRESENT = ""
    EXACT = "="
    PREFIX = "^="
    GLOB = "*="
    REGEX = "~"


class Rank(IntEnum):
    """How specific a kind is; the larger the more specific."""

    OTHER = 0
    PATH = 1
    NAMED = 2


FilterRank = tuple[int, Rank, int]
"""See :attr:`InterceptFilter.rank`."""


class Properties(Protocol):
    """The properties of a request that terms ask for."""

    def values(self, kind: Kind, name: bytes) -> Sequence[bytes]:
        """All values of a property; empty if the request does not have it.

        :param name: in lower case for a header; empty for kinds without a name.
        """


_TERM: Final = re.compile(r"(!?)\s*([a-z]+)(?::([A-Za-z0-9_.\[\]-]+))?(?:(\^=|\*=|=|~)(.*))?", re.DOTALL)
_HOST: Final = re.compile(r"[a-z0-9_.*:-]+")
_METHOD: Final = re.compile(r"[A-Z-]+")


@frozen(cache_hash=True)
class Term:
    """One property that a request must have, or must not have.

    :ivar kind: what it asks for.
    :ivar name: of the header, cookie, parameter or baggage member; a header's in lower case.
    :ivar op: how it compares.
    :ivar value: what it compares with; methods are sorted and separated by commas.
    :ivar negated: whether no value may match.
    """

    kind: Kind
    name: str
    op: Op
    value: str
    negated: bool = False
    _matches: Callable[[bytes], Any] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_matches", _matcher(self.kind, self.op, self.value))

    @classmethod
    def parse(cls, text: str) -> Term:
        """Parse a term.

        :raises ValueError: with what is wrong and how to write it.
        """
        match = _TERM.fullmatch(text)
        kind = _kind_of(match[2]) if match else None
        if match is None or kind is None:
            raise ValueError(f'"{text}" is no term; write e.g. header:X-User=alice, cookie:debug=alice, path^=/api or method=GET')
        named, name = kind in _NAMED, match[3] or ""
        if named != bool(name):
            form = f"{kind.value}:NAME=VALUE" if named else f"{kind.value}=VALUE, without a name"
            raise ValueError(f'"{text}": write {form}')
        op, value = Op(match[4] or ""), match[5] or ""
        _check(text, kind, op, value)
        if kind is Kind.METHOD:
            value = ",".join(sorted(set(value.split(","))))
        elif kind is Kind.HOST and op is not Op.REGEX:
            value = normalise_host(value)
            if not _HOST.fullmatch(value) or normalise_host(value) != value:
                raise ValueError(f'"{text}": not a host; write e.g. host={_EXAMPLES[kind]}')
        return cls(kind, name.lower() if kind is Kind.HEADER else name, op, value, bool(match[1]))

    def __str__(self) -> str:
        name = f":{self.name}" if self.name else ""
        return f"{'!' * self.negated}{self.kind.value}{name}{self.op.value}{self.value}"

    @property
    def rank(self) -> Rank:
        """How specific its kind is."""
        if self.kind in _NAMED:
            return Rank.NAMED
        return Rank.PATH if self.kind is Kind.PATH else Rank.OTHER

    def compile(self) -> None:
        """Prepare it for use; only regular expressions need it, and only the end that evaluates them.

        :raises ValueError: for a regular expression that is invalid, or cannot be evaluated here.
        """
        if isinstance(self._matches, _Regex):
            self._matches.compile()

    def fits(self, properties: Properties) -> bool:
        """Whether a request matches."""
        found = any(map(self._matches, properties.values(self.kind, self.name.encode())))
        return found is not self.negated

    def implied_by(self, other: Term) -> bool:
        """Whether every request that matches the other term matches this one, as far as it can be seen from their texts.

        Globs and regular expressions imply only themselves: a wrong answer would refuse a client that disturbs nobody.
        """
        if self == other:
            return True
        if (self.kind, self.name) != (other.kind, other.name) or self.negated or other.negated:
            return False
        if self.op is Op.PRESENT:
            return True
        if self.kind is Kind.METHOD:
            return set(other.value.split(",")) <= set(self.value.split(","))
        if self.op is Op.PREFIX and other.op in (Op.EXACT, Op.PREFIX):
            return bool(self._matches(other.value.encode()))
        return False

    def excludes(self, other: Term) -> bool:
        """Whether no request matches both terms, as far as it can be seen from their texts."""
        if (self.kind, self.name) != (other.kind, other.name):
            return False
        if self.negated != other.negated:
            wanted, unwanted = (other, self) if self.negated else (self, other)
            return _positive(unwanted).implied_by(wanted)
        if self.negated:
            return False
        if self.kind is Kind.METHOD:
            return set(other.value.split(",")).isdisjoint(self.value.split(","))
        texts = (Op.EXACT, Op.PREFIX)
        if self.op not in texts or other.op not in texts:
            return False
        return not (self.implied_by(other) or other.implied_by(self))


def _positive(term: Term) -> Term:
    return Term(term.kind, term.name, term.op, term.value)


def _kind_of(text: str) -> Kind | None:
    try:
        return Kind(text)
    except ValueError:
        return None


def _check(text: str, kind: Kind, op: Op, value: str) -> None:
    """Check the operator and the value.

    :raises ValueError: if they do not fit.
    """
    if not value.isprintable():
        raise ValueError(f"{text!r}: the value has control characters")
    if value.endswith("\\"):
        raise ValueError(f'"{text}": a value cannot end with a backslash, which would make the next ";" a part of it')
    if op is Op.PRESENT and kind not in _NAMED:
        raise ValueError(f'"{text}" has no value; write e.g. {kind.value}={_EXAMPLES[kind]}')
    if op is Op.PREFIX and not value:
        raise ValueError(f'"{text}": an empty prefix matches everything; leave it out')
    if kind is Kind.METHOD and not (op is Op.EXACT and all(map(_METHOD.fullmatch, value.split(",")))):
        raise ValueError(f'"{text}": methods are in capitals, separated by commas; write e.g. method=GET,POST')
    if kind is Kind.PATH and op in (Op.EXACT, Op.PREFIX) and not value.startswith("/"):
        raise ValueError(f'"{text}": a path begins with "/"')
    if op is Op.REGEX and len(value.encode()) > MAX_REGEX:
        raise ValueError(f'"{text}": a regular expression of more than {MAX_REGEX} bytes; use a shorter one')
    if kind is Kind.PATH and op is not Op.REGEX and "?" in value:
        raise ValueError(f'"{text}": a path has no query; use query:NAME=VALUE')


_EXAMPLES: Final = {Kind.PATH: "/api", Kind.METHOD: "GET", Kind.HOST: "shop.example.org"}


def _matcher(kind: Kind, op: Op, value: str) -> Callable[[bytes], Any]:
    """A function that says whether one value matches."""
    wanted = value.encode()
    if kind is Kind.METHOD:
        return frozenset(wanted.split(b",")).__contains__
    if op is Op.PRESENT:
        return _always
    if op is Op.EXACT:
        return wanted.__eq__
    if op is Op.PREFIX:
        return _path_prefix(wanted) if kind is Kind.PATH else lambda found: found.startswith(wanted)
    return _glob(wanted) if op is Op.GLOB else _Regex(value)


def _always(_found: bytes) -> bool:
    return True


def _path_prefix(prefix: bytes) -> Callable[[bytes], bool]:
    whole, below = prefix.rstrip(b"/"), prefix.rstrip(b"/") + b"/"
    if prefix.endswith(b"/"):
        return lambda path: path.startswith(below)
    return lambda path: path == whole or path.startswith(below)


def _glob(pattern: bytes) -> Callable[[bytes], bool]:
    # a text with a character for each byte
    matches = Glob(pattern.decode("latin-1")).matches
    return lambda found: matches(found[:MAX_COMPARED].decode("latin-1"))


class _Regex:
    """A regular expression that must match a whole value; compiled before it is used.

    :param pattern: in the syntax of RE2.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._compiled: Any = None

    def compile(self) -> None:
        """Compile it.

        :raises ValueError: if RE2 is missing, or rejects it.
        """
        if re2 is None:
            raise ValueError(
                f'"~{self._pattern}" is a regular expression, for which the server needs the package google-re2 '
                '(pip install "rtunnel[regex]"); or use ^= or *='
            )
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MAX_COMPILED
        options.encoding = re2.Options.Encoding.LATIN1
        try:
            self._compiled = re2.compile(self._pattern.encode(), options)
        except re2.error as error:
            raise ValueError(f'"~{self._pattern}" is no regular expression of RE2: {error.args[0].decode()}') from None

    def __call__(self, found: bytes) -> bool:
        return self._compiled.fullmatch(found[:MAX_COMPARED]) is not None


_SEPARATOR: Final = re.compile(r"(?<!\\);")


def _ordered(terms: Iterable[Term]) -> tuple[Term, ...]:
    return tuple(sorted(dict.fromkeys(terms), key=str))


@frozen(cache_hash=True)
class InterceptFilter:
    """Terms, all of which a request must match. Filters with the same terms are equal, in whatever order they were written.

    :ivar terms: at least one, in the order of their texts.
    """

    terms: tuple[Term, ...] = field(converter=_ordered)

    @classmethod
    def parse(cls, text: str) -> InterceptFilter:
        """Parse a filter.

        :raises ValueError: with what is wrong and how to write it.
        """
        parts = [part.strip().replace("\\;", ";") for part in _SEPARATOR.split(text)]
        terms = [Term.parse(part) for part in parts if part]
        if not terms:
            raise ValueError("is empty; write e.g. header:X-User=alice")
        if len(terms) > MAX_TERMS:
            raise ValueError(f"has {len(terms)} terms; {MAX_TERMS} are allowed")
        if all(term.negated for term in terms):
            raise ValueError("says only what a request must not be; add a term that says what it must be")
        parsed = cls(tuple(terms))
        if len(str(parsed).encode()) > MAX_FILTER:
            raise ValueError(f"is longer than {MAX_FILTER} bytes; use fewer or shorter terms")
        return parsed

    def __str__(self) -> str:
        return "; ".join(str(term).replace(";", "\\;") for term in self.terms)

    def compile(self) -> None:
        """Prepare it for use.

        :raises ValueError: for a regular expression that is invalid, or cannot be evaluated here.
        """
        for term in self.terms:
            term.compile()

    @property
    def rank(self) -> FilterRank:
        """How specific it is; of several filters that match, the largest rank wins.

        First the number of terms counts, then the most specific kind (header, cookie, query and baggage before path, path before
        method and host), then the length of the texts that must be there literally.
        """
        terms = [term for term in self.terms if not term.negated]
        literal = sum(len(term.value) for term in terms if term.op in (Op.EXACT, Op.PREFIX))
        return len(self.terms), max(term.rank for term in terms), literal

    @property
    def session(self) -> bytes | None:
        """The session whose cookie it asks for, and nothing else; None for any other filter."""
        (term, *others) = self.terms
        is_session = not others and (term.kind, term.name, term.op) == (Kind.COOKIE, SESSION, Op.EXACT)
        return term.value.encode() if is_session else None

    def fits(self, properties: Properties) -> bool:
        """Whether a request matches."""
        return all(term.fits(properties) for term in self.terms)

    def contains(self, other: InterceptFilter) -> bool:
        """Whether every request that matches the other filter matches this one, as far as it can be seen from their texts."""
        return all(any(mine.implied_by(theirs) for theirs in other.terms) for mine in self.terms)

    def excludes(self, other: InterceptFilter) -> bool:
        """Whether no request matches both, as far as it can be seen from their texts."""
        return any(mine.excludes(theirs) for mine in self.terms for theirs in other.terms)


def session_filters(name: str) -> tuple[InterceptFilter, InterceptFilter]:
    """The filters of a session: its cookie, or its member of the baggage."""
    return tuple(InterceptFilter((Term(kind, SESSION, Op.EXACT, name),)) for kind in (Kind.COOKIE, Kind.BAGGAGE))  # type: ignore[return-value]


def listed(filters: Iterable[InterceptFilter]) -> str:
    """Filters for a log line: any of them may match."""
    return " or ".join(f'"{wanted}"' for wanted in filters)
