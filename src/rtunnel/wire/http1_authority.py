"""The host of a request: Host field and request target (RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from rtunnel.wire.http1_head import HeadError

__all__ = ["absolute_form", "host_of"]

MAX_HOST_LENGTH: Final = 255
"""Maximum length of a host, as of a name in the DNS (RFC 1035 section 2.3.4)."""

# Possessive quantifiers only on single characters: on groups, CPython before 3.11.5 has a bug (python/cpython#106052).
_NAME: Final = re.compile(rb"([0-9A-Za-z_-]++(?:\.[0-9A-Za-z_-]++)*)\.?(?::([0-9]{0,5}+))?")
_IPV6: Final = re.compile(rb"\[([0-9A-Fa-f:.]++)\](?::([0-9]{0,5}+))?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*+)(.*+)")


@lru_cache(maxsize=1024)
def host_of(value: bytes) -> tuple[bytes, str]:
    """Parse the value of a Host field, or the authority of a target in absolute-form.

    Visitors request the same few hosts again and again, hence the cache; its size is bounded.

    :returns: the authority without surrounding white space, and the host for routing: lower case, without port, trailing dot
        and the brackets of IPv6.
    :raises HeadError: 400 when it is not a host with or without a port; user information is not allowed
        (RFC 9110 section 4.2.4), nor are characters that are valid in a URI but not in the DNS.
    """
    authority = value.strip(b" \t")
    match = _NAME.fullmatch(authority) or _IPV6.fullmatch(authority)
    if match is None or len(match[1]) > MAX_HOST_LENGTH or int(match[2] or 0) > 65535:
        raise HeadError(400, "malformed Host" if authority else "empty Host")
    host = match[1].decode("ascii").lower()
    if match.re is _IPV6:
        _check_ipv6(host)
    return authority, host


def _check_ipv6(host: str) -> None:
    try:
        IPv6Address(host)
    except AddressValueError:
        raise HeadError(400, "malformed Host") from None


def absolute_form(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Split a target that does not begin with a slash.

    :returns: its authority, empty for the asterisk-form, and its origin-form.
    :raises HeadError: 400 when RFC 9112 section 3.2 does not allow it for the method.
    """
    if target == b"*" and method == b"OPTIONS":
        return b"", target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not match[1]:
        raise HeadError(400, "malformed target")
    authority, path = match.groups()
    if path.startswith(b"/"):
        return authority, path
    if not path and method == b"OPTIONS":
        return authority, b"*"
    return authority, b"/" + path
