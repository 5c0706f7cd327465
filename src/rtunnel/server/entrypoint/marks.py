"""Fields that the server adds to responses: who served them, no caching of intercepted ones, what a visitor is known by."""

from __future__ import annotations

import re
from typing import Any

from rtunnel.ids import short_id
from rtunnel.routing.policies import ServedBy
from rtunnel.routing.sticky import COOKIE
from rtunnel.routing.tunnels import Connector
from rtunnel.wire.http1 import RequestHead, ResponseHead

__all__ = ["mark"]

_CACHE_CONTROL = re.compile(rb"^cache-control:[^\r]*+\r\n", re.IGNORECASE | re.MULTILINE)


def mark(
    response: ResponseHead, request: RequestHead, connector: Connector[Any], served_by: ServedBy, visitor_key: bytes | None
) -> None:
    """Add the fields to a response, before it is passed on.

    A browser that caches what a laptop answered would show it after the intercept has ended, and a cache in between would show it
    to others.

    :param served_by: whether ``Rtunnel-Served-By`` is added; on request it is if the request has the field ``Rtunnel-Explain: 1``.
    :param visitor_key: of a visitor that gets a cookie, by which it is known from then on.
    """
    added = b""
    if connector.filters and not connector.cacheable:
        response.lines = _CACHE_CONTROL.sub(b"", response.lines)
        added = b"Cache-Control: no-store\r\n"
    if served_by is ServedBy.ALWAYS or (served_by is ServedBy.ON_REQUEST and request.field(b"rtunnel-explain") == b"1"):
        added += b"Rtunnel-Served-By: %b\r\n" % _name(connector)
    if visitor_key is not None:
        secure = b"; Secure" if request.named.get(b"x-forwarded-proto") == b"https" else b""
        added += b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b\r\n" % (COOKIE, visitor_key, secure)
    response.lines += added


def _name(connector: Connector[Any]) -> bytes:
    """The connector's ID, its holder, and its filters, if it has any."""
    filters = " or ".join(map(str, connector.filters))
    text = f"{short_id(connector.id)} {connector.holder} ({filters})" if filters else short_id(connector.id)
    return text.encode("ascii", "backslashreplace")
