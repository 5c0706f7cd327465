"""Fuzz target for intercept filters: what users write, and the requests of strangers that they are compared with."""

from __future__ import annotations

from rtunnel.routing.intercept_terms import InterceptFilter, Kind
from rtunnel.routing.request_properties import RequestProperties
from rtunnel.wire.http1 import HeadError, RequestHead, parse_request
from tests.fuzz.target import Target

__all__ = ["TARGETS"]


class Query:
    """A request as filters see it."""

    def __init__(self, head: RequestHead) -> None:
        self.host = head.host
        self.method = lambda: head.method
        self.path = lambda: head.target
        self.lines = lambda: head.lines
        self.taken = lambda: head.named


def filters(data: bytes) -> None:
    """A filter or a ValueError of one printable line; a filter reads the same again, and compares with any head."""
    first, _, rest = data.partition(b"\n")
    try:
        wanted = InterceptFilter.parse(first.decode("utf-8", "replace"))
    except ValueError as error:
        assert str(error)
        return
    assert InterceptFilter.parse(str(wanted)) == wanted
    assert wanted.contains(wanted)
    try:
        wanted.compile()
        head = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + rest + b"\r\n\r\n")
    except (ValueError, HeadError):
        return
    properties = RequestProperties(Query(head))
    fits = wanted.fits(properties)
    assert fits == all(term.fits(properties) for term in wanted.terms)
    for kind in (Kind.COOKIE, Kind.BAGGAGE, Kind.QUERY):
        assert all(type(value) is bytes for value in properties.values(kind, b"a"))


TARGETS = (
    Target(
        "filters",
        filters,
        ("rtunnel.routing.intercept_terms", "rtunnel.routing.request_properties"),
        [
            *(
                b"header:",
                b"cookie:",
                b"query:",
                b"baggage:",
                b"path",
                b"method=GET,POST",
                b"host",
                b"^=",
                b"*=",
                b"~",
                b"; ",
                b"\\;",
                b"!",
            ),
            *(b"\nCookie: a=1; b=2\r\n", b"Baggage: a=%20;p,b=2\r\n", b"X-A: b\r\n"),
        ],
    ),
)
