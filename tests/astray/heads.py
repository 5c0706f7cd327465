"""The requests, and who should get each: written by hand, so that it is no second implementation of the rank."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["FILTERS", "HEADS", "HOST", "SHARING", "Head"]

HOST: Final = "nginx.local"

FILTERS: Final = {
    "alice": ("header:X-User=alice", "cookie:debug=alice", "baggage:rtunnel-session=alice"),
    "bob": ("header:X-User=bob; path^=/api", "query:who=b:o=b,;b".replace(";", "\\;")),
    "carol": ("query:who=carol; !method=POST", "path^=/carol", "header:X-Team~(red|blue)"),
}
"""The laptops with filters."""
SHARING: Final = ("pod", "dave")
"""Those that share what no filter takes."""


@frozen
class Head:
    """A request.

    :ivar fields: its header.
    :ivar takers: whose filters match, the most specific first.
    :ivar repeated: whether a field is repeated, which not every client can send.
    """

    method: str
    path: str
    fields: tuple[tuple[str, str], ...] = ()
    takers: tuple[str, ...] = ()
    repeated: bool = False


HEADS: Final = (
    Head("GET", "/"),
    Head("POST", "/api/x"),
    Head("GET", "/", (("X-User", "alice"),), ("alice",)),
    Head("DELETE", "/api/v1?x=y", (("x-uSER", "alice"),), ("alice",)),
    Head("GET", "/", (("X-User", "Alice"),)),
    Head("GET", "/", (("X-User", "alicexx"),)),
    Head("GET", "/", (("X-User", "a.ice"),)),
    Head("GET", "/", (("X-User", "mallory"), ("X-User", "alice")), ("alice",), repeated=True),
    Head("GET", "/a", (("Cookie", "a=b; debug=alice"),), ("alice",)),
    Head("GET", "/a", (("Cookie", "a=b; debug=bob; debug=alice"),)),
    Head("GET", "/a", (("Cookie", "a=b; xdebug=alice"),)),
    Head("GET", "/a", (("Cookie", f"long={'x' * 3000}; debug=alice"),), ("alice",)),
    Head("GET", "/", (("baggage", "k=v;p=1, rtunnel-session=alice;p"),), ("alice",)),
    Head("GET", "/", (("baggage", "rtunnel-session=alices"),)),
    Head("GET", "/api/x?y", (("X-User", "bob"),), ("bob",)),
    Head("PUT", "/%61pi", (("X-User", "bob"),), ("bob",)),
    Head("GET", "/apix", (("X-User", "bob"),)),
    Head("GET", "/api", (("X-User", "bobby"),)),
    Head("GET", "/?who=b%3Ao%3Db%2C%3Bb", (), ("bob",)),
    Head("GET", "/?who=carol", (), ("carol",)),
    Head("POST", "/?who=carol"),
    Head("GET", "/api?who=carol", (("X-User", "bob"),), ("bob", "carol")),
    Head("GET", "/carol/x", (("X-User", "alice"),), ("alice", "carol")),
    Head("GET", "/carol", (("X-User", "bob"),), ("carol",)),
    Head("GET", "/carolx"),
    Head("GET", "/", (("X-Team", "blue"),), ("carol",)),
    Head("GET", "/", (("X-Team", "bluer"),)),
    Head("GET", "/carol", (("User-Agent", "kube-probe/1.29"),)),
)
