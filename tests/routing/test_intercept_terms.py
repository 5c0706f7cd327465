"""The language of intercept filters: parsing, comparing, and what contains what."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from time import thread_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing import intercept_terms
from rtunnel.routing.intercept_terms import MAX_FILTER, MAX_TERMS, InterceptFilter, Kind, Op, Term

parse = InterceptFilter.parse


class Stored:
    """Properties that are given."""

    def __init__(self, **values: str) -> None:
        self._values = {Kind(kind): [value.encode() for value in text.split("|")] for kind, text in values.items()}

    def values(self, kind: Kind, name: bytes) -> Sequence[bytes]:
        return self._values.get(kind, ()) if name in (b"", b"n") else ()


class ParsingTests(SynchronousTestCase):
    """What users write."""

    def test_terms(self) -> None:
        for text, kind, name, op, value in (
            ("header:X-User=alice", Kind.HEADER, "x-user", Op.EXACT, "alice"),
            ("header:X-User", Kind.HEADER, "x-user", Op.PRESENT, ""),
            ("header:X-User=", Kind.HEADER, "x-user", Op.EXACT, ""),
            ("cookie:Debug^=ali", Kind.COOKIE, "Debug", Op.PREFIX, "ali"),
            ("query:filter[a]*=2.*", Kind.QUERY, "filter[a]", Op.GLOB, "2.*"),
            ("baggage:rtunnel-session=alice", Kind.BAGGAGE, "rtunnel-session", Op.EXACT, "alice"),
            ("path~/api/v[0-9]+/.*", Kind.PATH, "", Op.REGEX, "/api/v[0-9]+/.*"),
            ("method=POST,GET,GET", Kind.METHOD, "", Op.EXACT, "GET,POST"),
            ("host=Shop.Example.ORG:80", Kind.HOST, "", Op.EXACT, "shop.example.org"),
            ("host*=*.Example.org", Kind.HOST, "", Op.GLOB, "*.example.org"),
            # the first operator splits, everything after it is the value
            ("header:X-Query=a=b:c,d^=e~f", Kind.HEADER, "x-query", Op.EXACT, "a=b:c,d^=e~f"),
            ("header:Baggage=user:alice", Kind.HEADER, "baggage", Op.EXACT, "user:alice"),
        ):
            self.assertEqual(Term.parse(text), Term(kind, name, op, value), text)
        self.assertEqual(Term.parse("!header:X"), Term(Kind.HEADER, "x", Op.PRESENT, "", negated=True))

    def test_filters(self) -> None:
        wanted = parse(" cookie:debug=alice;path^=/api/ ;method=GET,POST; ")
        self.assertEqual(wanted, parse("method=POST,GET; path^=/api/; cookie:debug=alice; cookie:debug=alice"))
        self.assertEqual(str(wanted), "cookie:debug=alice; method=GET,POST; path^=/api/")

    def test_a_literal_semicolon(self) -> None:
        (term,) = parse(r"header:X=a\;b").terms
        self.assertEqual(term.value, "a;b")
        self.assertEqual(str(parse(r"header:X=a\;b")), r"header:x=a\;b")

    def test_refused(self) -> None:
        for text, reason in (
            ("", "is empty"),
            (" ; ", "is empty"),
            ("X-User=alice", "is no term; write e.g. header:X-User=alice"),
            ("header:X User=alice", "is no term"),
            ("headers:X-User=alice", "is no term"),
            ("header=alice", "write header:NAME=VALUE"),
            ("path:x=/", "write path=VALUE, without a name"),
            ("path", "has no value; write e.g. path=/api"),
            ("path=api", 'a path begins with "/"'),
            ("path=/a?b=c", "use query:NAME=VALUE"),
            ("header:X^=", "an empty prefix matches everything"),
            ("method^=GET", "methods are in capitals"),
            ("method=get", "methods are in capitals"),
            ("header:X=a\x1bb", "control characters"),
            ("host=[a:", "not a host"),
            ("header:X~" + "a" * 201, "more than 200 bytes"),
            ("path=/a\\", "cannot end with a backslash"),
            ("!header:X", "only what a request must not be"),
            ("header:X=" + "ä" * MAX_FILTER, f"longer than {MAX_FILTER} bytes"),
            ("; ".join(f"header:X{number}" for number in range(MAX_TERMS + 1)), f"{MAX_TERMS} are allowed"),
        ):
            error = self.assertRaises(ValueError, parse, text)
            self.assertIn(reason, str(error), text)

    @settings(deadline=None, max_examples=300)
    @given(st.text(alphabet="header:cookiX-=^*~!;\\ path/=*a.b", max_size=40))
    def test_any_text(self, text: str) -> None:
        """Parsed or refused with a sentence; what is parsed reads the same again."""
        try:
            wanted = parse(text)
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertEqual(parse(str(wanted)), wanted)


class RegexTests(SynchronousTestCase):
    """Regular expressions are those of RE2."""

    def compiled(self, text: str) -> Term:
        term = Term.parse(text)
        term.compile()
        return term

    def test_whole_values(self) -> None:
        term = self.compiled("header:n~a|b[0-9]+")
        for value, fits in (("a", True), ("b12", True), ("ab", False), ("xa", False), ("A", False)):
            self.assertEqual(term.fits(Stored(header=value)), fits, value)
        self.assertTrue(self.compiled("header:n~(?i)alice").fits(Stored(header="ALICE")))

    def test_linear_time(self) -> None:
        """A pattern on which a backtracking engine would not end before the test suite's time is over."""
        term = self.compiled("header:n~(a+)+$")
        took = []
        # one of them may have to collect garbage
        for _ in range(3):
            begun = thread_time()
            self.assertFalse(term.fits(Stored(header="a" * 8191 + "b")))
            took.append(thread_time() - begun)
        self.assertLess(min(took), 0.01)

    def test_invalid(self) -> None:
        for pattern in ("(", "a{1001}{1001}", r"(?=a)", r"\1"):
            self.assertIn(
                "is no regular expression of RE2", str(self.assertRaises(ValueError, self.compiled, f"header:n~{pattern}"))
            )

    def test_without_the_library(self) -> None:
        """They are parsed, which is all that a client needs, and refused where they would be evaluated."""
        self.patch(intercept_terms, "re2", None)
        wanted = parse("header:n~a; path^=/")
        self.assertIn("google-re2", str(self.assertRaises(ValueError, wanted.compile)))
        parse("header:n=a").compile()


class FittingTests(SynchronousTestCase):
    """Which requests match."""

    def check(self, text: str, properties: Stored, fits: bool) -> None:
        self.assertEqual(parse(text).fits(properties), fits, (text, fits))

    def test_operators(self) -> None:
        for text, value, fits in (
            ("header:n", "", True),
            ("header:n=a.b", "a.b", True),
            ("header:n=a.b", "axb", False),
            ("header:n=bob", "bobby", False),
            ("header:n=Bob", "bob", False),
            ("header:n=", "", True),
            ("header:n=", "x", False),
            ("header:n^=bob", "bobby", True),
            ("header:n^=bob", "abob", False),
            ("header:n*=b*b*y", "bobby", True),
            ("header:n*=b*bb*by", "bobby", False),
            ("header:n*=a*", "a", True),
            ("header:n*=a*a", "a", False),
            ("header:n*=*", "", True),
            ("header:n=é", "é", True),
        ):
            self.check(text, Stored(header=value), fits)

    def test_paths_by_segment(self) -> None:
        for text, path, fits in (
            ("path^=/api", "/api", True),
            ("path^=/api", "/api/x", True),
            ("path^=/api", "/apix", False),
            ("path^=/api/", "/api/x", True),
            ("path^=/api/", "/api", False),
            ("path^=/", "/anything", True),
            ("path=/api", "/api/", False),
            ("path*=/*/edit", "/a/b/edit", True),
        ):
            self.check(text, Stored(path=path), fits)

    def test_several_values(self) -> None:
        """Any of them may match; negated, none may."""
        values = Stored(header="a|b")
        self.check("header:n=b", values, True)
        self.check("header:n; !header:n=b", values, False)
        self.check("header:n; !header:n=c", values, True)
        self.check("header:n; !header:other", values, True)

    def test_methods(self) -> None:
        self.check("method=GET,POST", Stored(method="POST"), True)
        self.check("method=GET,POST", Stored(method="PUT"), False)

    def test_all_terms(self) -> None:
        self.check("header:n=a; path^=/x", Stored(header="a", path="/x/y"), True)
        self.check("header:n=a; path^=/x", Stored(header="a", path="/y"), False)

    @settings(deadline=None, max_examples=300)
    @given(st.text("ab*", max_size=8), st.text("abc", max_size=12))
    def test_globs(self, pattern: str, value: str) -> None:
        """As the standard library's, which backtracks."""
        self.check(f"header:n*={pattern}", Stored(header=value), fnmatchcase(value, pattern))

    def test_clipped(self) -> None:
        """Only the beginning of a huge value is compared with a glob."""
        self.check("header:n*=*b", Stored(header="a" * intercept_terms.MAX_COMPARED + "b"), False)


_TERMS = st.sampled_from(
    [
        *("header:n", "header:n=a", "header:n=b", "header:n^=a", "header:n^=ab", "header:n=ab", "header:n*=a*", "header:m=a"),
        *(
            "!header:n=a",
            "!header:n",
            "method=GET",
            "method=GET,POST",
            "path^=/a",
            "path^=/a/",
            "path=/a",
            "path=/a/b",
            "path^=/ab",
        ),
    ]
)
_FILTERS = st.lists(_TERMS, min_size=1, max_size=3).map(lambda texts: InterceptFilter(tuple(map(Term.parse, texts))))


class _Request:
    def __init__(self, headers: list[tuple[str, str]], method: str, path: str) -> None:
        self._headers = headers
        self._others = {Kind.METHOD: method.encode(), Kind.PATH: path.encode()}

    def values(self, kind: Kind, name: bytes) -> Sequence[bytes]:
        if kind is Kind.HEADER:
            return [value.encode() for found, value in self._headers if found.encode() == name]
        return [self._others[kind]]


_REQUESTS = st.builds(
    _Request,
    # one line for each field: with several, filters that exclude each other by value may both match
    st.dictionaries(st.sampled_from("nm"), st.sampled_from(["a", "b", "ab", "abc", ""])).map(lambda fields: list(fields.items())),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab", "/ab/c"]),
)


class OrderTests(SynchronousTestCase):
    """Which filter is more specific, and which accept the same requests."""

    def test_rank(self) -> None:
        texts = (
            "method=GET",
            "host=a.example.org",
            "path=/api",
            "path^=/api/v1",
            "header:X-User",
            "header:X-User*=alice*",
            "header:X-User=al",
            "header:X-User=alice",
            "path^=/api; method=GET",
            "header:X-User=alice; path^=/api",
            "header:X-User=alice; path^=/api; method=GET",
        )
        filters = list(map(parse, texts))
        self.assertEqual(sorted(filters, key=lambda wanted: wanted.rank), filters)

    def test_contains(self) -> None:
        for wide, narrow, contains in (
            ("header:X=a", "header:X=a", True),
            ("header:X=a", "header:X=a; path^=/api", True),
            ("header:X=a; path^=/api", "header:X=a", False),
            ("header:X", "header:X*=a*", True),
            ("header:X^=al", "header:X=alice", True),
            ("header:X^=al", "header:X^=ali", True),
            ("header:X*=al*", "header:X=alice", False),
            ("path^=/api", "path=/apix", False),
            ("method=GET,POST", "method=GET", True),
            ("method=GET", "method=GET,POST", False),
            ("header:X~a.*", "header:X~a.*", True),
        ):
            self.assertEqual(parse(wide).contains(parse(narrow)), contains, (wide, narrow))

    @settings(deadline=None, max_examples=500)
    @given(_FILTERS, _FILTERS, _REQUESTS)
    def test_contains_and_excludes_hold(self, one: InterceptFilter, other: InterceptFilter, request: _Request) -> None:
        """What is said of two filters is true of every request."""
        if one.contains(other) and other.fits(request):
            self.assertTrue(one.fits(request), (str(one), str(other)))
        if one.excludes(other):
            self.assertFalse(one.fits(request) and other.fits(request), (str(one), str(other)))
        self.assertEqual(one.excludes(other), other.excludes(one))
