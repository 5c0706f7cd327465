"""Sticky splits: a visitor stays with one of the connectors that share by weight, for as long as that one is attached.

A visitor is known by a *key*: the value of a cookie that the server gives it, of a header field, or its address. The connector is
the one with the best score for the key (weighted rendezvous hashing), so nothing is stored: every server chooses the same, a
connector that joins takes its share of the visitors from all others, one that leaves gives its own to all others, and no other
visitor moves. A client that comes back gets its visitors back.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

from attrs import frozen

from rtunnel.routing.intercept_terms import Kind
from rtunnel.routing.request_properties import HttpQuery, RequestProperties

__all__ = ["COOKIE", "KeyOf", "Sticky", "StickyBy", "StickyQuery", "new_key", "rendezvous"]

COOKIE: Final = b"rtunnel-visitor"
"""The cookie that the server gives to visitors."""

KeyOf = Callable[[], bytes | None]
"""Finds the key of the visitor whose request is routed; called only when there is a choice. None if it has none: then the choice is
random."""


class StickyBy(Enum):
    """What a visitor is known by."""

    COOKIE = "cookie"
    HEADER = "header"
    ADDRESS = "address"


class StickyQuery(HttpQuery, Protocol):
    """What a key is found in."""

    @property
    def visitor_address(self) -> str:
        """The IP address of the visitor, if known."""

    def new_visitor(self) -> bytes | None:
        """The key of a visitor that has no cookie yet, and gets it with the response; None if it cannot get one."""


_HEADER: Final = re.compile(r"header:([A-Za-z0-9_.-]{1,64})")


@frozen
class Sticky:
    """How visitors are known.

    :ivar by: by what.
    :ivar name: of the header field, in lower case.
    """

    by: StickyBy
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Sticky:
        """Parse what the option says.

        :raises ValueError: with what to write.
        """
        if text in (StickyBy.COOKIE.value, StickyBy.ADDRESS.value):
            return cls(StickyBy(text))
        header = _HEADER.fullmatch(text)
        if header is None:
            raise ValueError("must be cookie, address or header:NAME, e.g. header:X-User")
        return cls(StickyBy.HEADER, header[1].lower())

    def __str__(self) -> str:
        return f"header:{self.name}" if self.name else self.by.value

    def key(self, query: StickyQuery) -> bytes | None:
        """The key of a visitor; None if it has none."""
        if self.by is StickyBy.ADDRESS:
            return query.visitor_address.encode() or None
        if self.by is StickyBy.HEADER:
            found = RequestProperties(query).values(Kind.HEADER, self.name.encode())
            return found[0] if found else None
        found = RequestProperties(query).values(Kind.COOKIE, COOKIE)
        return found[0] if found and found[0] else query.new_visitor()


def new_key() -> bytes:
    """A key for a new visitor."""
    return secrets.token_urlsafe(12).encode()


class Scored(Protocol):
    """A connector, as this module needs it."""

    @property
    def weight(self) -> int:
        """Its share."""

    @property
    def identity(self) -> bytes:
        """What it is known by, on each of its links."""


C = TypeVar("C", bound=Scored)


def rendezvous(connectors: Iterable[C], key: bytes) -> C:
    """The connector with which a visitor stays.

    :param connectors: at least one.
    """

    def score(connector: C) -> float:
        number = int.from_bytes(blake2b(connector.identity + key, digest_size=8).digest(), "big")
        return -math.log((number + 0.5) / 2**64) / connector.weight

    return min(connectors, key=score)
