"""The fields of an HTTP/1 head that concern a proxy, extracted from the others, which are passed on unchanged.

A head has dozens of fields, and a proxy needs about three of them. So a regular expression finds these few, and everything between
them stays one bytes object: no object and no call per field. The head was validated by llhttp before; the pattern relies on it for
valid names, values without control characters, and lines that end with CRLF.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from string import ascii_letters
from types import MappingProxyType
from typing import Any, Final

from rtunnel.wire.http1_head import HeadError

__all__ = [
    "CHUNKED",
    "HOP_BY_HOP",
    "UNTIL_CLOSE",
    "Pieces",
    "Special",
    "framing",
    "is_length",
    "members",
    "obey_connection",
    "pick_special",
    "special_pattern",
    "stays_open",
]

CHUNKED: Final = -1
"""Framing of a chunked body."""
UNTIL_CLOSE: Final = -2
"""Framing of a response body that is delimited by the end of the connection."""

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1, plus those for a proxy (RFC 9110 section 11.7) and for one connection (RFC 7540 section
3.2.1). ``Trailer`` is not included: trailers are passed on, and so is their announcement."""

MAX_LENGTH_DIGITS: Final = 18
"""Maximum number of digits of a Content-Length: an exabyte, and still a 64-bit integer everywhere."""

_ONCE: Final = frozenset({b"host", b"content-length"})
_HANDLED: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"})
"""Connection options for which no field needs to be searched: there is none, or it is a special one."""
_NONE: Final[frozenset[bytes]] = frozenset()
_COMMON_OPTIONS: Final = {
    b"keep-alive": frozenset({b"keep-alive"}),
    b"Keep-Alive": frozenset({b"keep-alive"}),
    b"close": frozenset({b"close"}),
    b"Upgrade": frozenset({b"upgrade"}),
    b"upgrade": frozenset({b"upgrade"}),
}
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")

Special = dict[bytes, bytes]
"""Values of the special fields by lower-case name; repeated fields are combined (RFC 9110 section 5.2)."""


Pieces = list[bytes | Any]
"""The result of splitting a head with :func:`special_pattern`."""


def special_pattern(names: Iterable[bytes], patterns: Mapping[bytes, bytes] = MappingProxyType({})) -> re.Pattern[bytes]:
    """The pattern that splits a validated head: a line end followed by a special field, or by the empty line.

    The pieces are, alternately, lines that are passed on, each with its CRLF *before* it, then the name and the value of a special
    field, then lines again, and so on. The empty line gives None for name and value, which shows that the data is exactly one
    complete head: the last pieces are ``None, None, b""``.

    Most lines are ruled out by their first letter: hence the lookahead and the grouped names.

    :param names: of special fields, in lower case.
    :param patterns: further special fields: by first letter, patterns for the rest of the name.
    """
    groups: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        groups.setdefault(name[:1], []).append(re.escape(name[1:]))
    for initial, rest in patterns.items():
        groups.setdefault(initial, []).append(rest)
    initials = b"".join(groups)
    others = bytes(letter for letter in ascii_letters.encode() if bytes([letter]).lower() not in initials)
    # escaped: names may begin with characters that are special in a set
    initial_sets = {initial: re.escape(initial) + re.escape(initial.upper()) for initial in groups}
    grouped = b"|".join(b"[%b](?i:%b)" % (initial_sets[initial], b"|".join(ends)) for initial, ends in groups.items())
    return re.compile(rb"\r\n(?![%b])(?:\r\n|(%b):[ \t]*+([^\r]*+))" % (others, grouped))


def pick_special(pieces: Pieces, noted: Collection[bytes] = ()) -> tuple[bytes, Special]:
    """Separate special fields from other lines, in a head that was split by :func:`special_pattern`.

    :param noted: special fields whose lines are kept among the others.
    :returns: the other lines, and the special fields.
    :raises HeadError: 400 when the empty line is missing, or not only at the end, or when a field is repeated that must be
        unique.
    """
    if pieces[-1] or pieces[1::3].count(None) != 1 or pieces[-3] is not None:
        raise HeadError(400, "not one whole head")
    others: bytes = pieces[0]
    special: Special = {}
    for index in range(1, len(pieces) - 3, 3):
        written = pieces[index]
        name = written.lower()
        if name in noted:
            others += b"\r\n%b: %b" % (written, pieces[index + 1])
        if name in special:
            special[name] = _combined(name, special[name], pieces[index + 1])
        else:
            special[name] = pieces[index + 1]
        others += pieces[index + 2]
    return others, special


def _combined(name: bytes, value: bytes, another: bytes) -> bytes:
    if name in _ONCE:
        raise HeadError(400, "Host twice" if name == b"host" else "Content-Length twice")
    return b", ".join(filter(None, (value.rstrip(b" \t"), another.rstrip(b" \t"))))


def members(value: bytes) -> list[bytes]:
    """The members of a list in lower case; empty ones are ignored (RFC 9110 section 5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def obey_connection(others: bytes, special: Special) -> tuple[bytes, frozenset[bytes]]:
    """Apply ``Connection``: remove the fields that it names (RFC 9110 section 7.6.1).

    :param others: lines, each with its CRLF before it.
    :returns: the remaining lines, and the connection options in lower case. Special fields are unaffected: the hop-by-hop ones
        are removed anyway, the others are written by this proxy.
    :raises HeadError: 400 when ``Connection`` is not a list of tokens.
    """
    value = special.get(b"connection")
    if value is None:
        return others, _NONE
    options = _COMMON_OPTIONS.get(value)
    if options is None:
        options = frozenset(members(value))
        if not all(map(_TOKEN.fullmatch, options)):
            raise HeadError(400, "malformed Connection")
        others = _without(others, options - _HANDLED)
    return others, options


def _without(others: bytes, named: frozenset[bytes]) -> bytes:
    if not named:
        return others
    _, *lines = others.split(b"\r\n")
    return b"".join([b"\r\n" + line for line in lines if line.partition(b":")[0].lower() not in named])


def stays_open(minor: int, options: frozenset[bytes]) -> bool:
    """Whether the sender keeps the connection open after this exchange (RFC 9112 section 9.3)."""
    return b"close" not in options and (minor == 1 or b"keep-alive" in options)


def framing(special: Special, minor: int, nothing: int) -> int:
    """The framing of the body (RFC 9112 section 6.3), stricter than the RFC: ambiguous framing is rejected.

    A Content-Length among the special fields is normalized.

    :param nothing: the result if no field determines it.
    :raises HeadError: 400 for a malformed or ambiguous framing, 501 for a transfer coding other than chunked.
    """
    length = special.get(b"content-length")
    if b"transfer-encoding" in special:
        if length is not None:
            raise HeadError(400, "both Content-Length and Transfer-Encoding")
        _check_coding(special[b"transfer-encoding"], minor)
        return CHUNKED
    if length is None:
        return nothing
    if not is_length(length):
        length = length.rstrip(b" \t")
        length = length.lstrip(b"0") or length[:1]
        if not is_length(length):
            raise HeadError(400, "malformed Content-Length")
        special[b"content-length"] = length
    return int(length)


def is_length(value: bytes) -> bool:
    """Whether a value is a normalized length: only digits, without leading zeros."""
    return value.isdigit() and len(value) <= MAX_LENGTH_DIGITS and (value[0] != 48 or len(value) == 1)


def _check_coding(value: bytes, minor: int) -> None:
    if minor == 0:
        raise HeadError(400, "Transfer-Encoding in HTTP/1.0")
    codings = members(value)
    if codings == [b"chunked"]:
        return
    if not codings or not all(map(_TOKEN.fullmatch, codings)):
        raise HeadError(400, "malformed Transfer-Encoding")
    if b"chunked" in codings[:-1]:
        raise HeadError(400, "chunked is not the last transfer coding, or there twice")
    raise HeadError(501, "a transfer coding other than chunked")
