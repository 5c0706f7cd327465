"""Sessions: a link that leaves a cookie, with which the requests of a browser go to the client that has the session.

A client with ``--session NAME`` has two filters, one for the cookie ``rtunnel-session`` and one for a member of that name in the
``baggage`` header (W3C Baggage), which services pass on to those that they call. The link ``https://HOST/?rtunnel-session=NAME``
sets the cookie, an empty name removes it. Requests with the cookie get the member of the baggage, so that the services behind know
the session, too. Names of sessions that no client has are left alone: a link of a stranger sets nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from rtunnel.routing.intercept_terms import SESSION, Kind
from rtunnel.routing.request_properties import HttpQuery, RequestProperties
from rtunnel.wire.http1 import RequestHead

__all__ = ["redirect_of", "session_of", "with_session"]

_NAME = SESSION.encode()

MAX_MEMBERS = 180
MAX_BAGGAGE = 8192
"""Limits of a Baggage field that libraries have (OpenTelemetry); beyond them they ignore all of it."""


def redirect_of(head: RequestHead, names: Collection[bytes]) -> bytes | None:
    """The fields of the response to a link of a session: where to go on, and the cookie.

    :param head: the request.
    :param names: of the sessions that clients of the tunnel have.
    :returns: None if it is no such link, or names no such session.
    """
    path, question, query = head.target.partition(b"?")
    if _NAME not in query or head.method not in (b"GET", b"HEAD"):
        return None
    wanted, others = None, []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == _NAME:
            wanted = value
        else:
            others.append(pair)
    if wanted is None or (wanted and wanted not in names):
        return None
    if path[1:2] in (b"/", b"\\"):
        # it would be taken for another host
        path = b"/." + path
    lines = [b"Location: %b%b%b" % (path, question if others else b"", b"&".join(others))]
    cookie = b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax" % (_NAME, wanted)
    if not wanted:
        cookie += b"; Max-Age=0"
    if head.named.get(b"x-forwarded-proto") == b"https":
        cookie += b"; Secure"
    return b"".join(b"%b\r\n" % line for line in (*lines, cookie))


def session_of(query: HttpQuery, names: Collection[bytes]) -> bytes | None:
    """The session of a visitor's cookie; None if it has none that a client has."""
    found = RequestProperties(query).values(Kind.COOKIE, _NAME)
    return found[0] if found and found[0] in names else None


def with_session(request: bytes, name: bytes) -> bytes | None:
    """Add a session to the baggage of a request.

    It is merged into the first Baggage field, since some libraries read no other. A session that is there already is kept.

    :param request: the head as it is sent.
    :returns: the head; None if the baggage is full.
    """
    member = b"%b=%b" % (_NAME, name)
    at = request.lower().find(b"\nbaggage:")
    if at < 0:
        return b"%bBaggage: %b\r\n\r\n" % (request[:-2], member)
    start, end = at + len(b"\nbaggage:"), request.find(b"\r\n", at)
    value = request[start:end].strip(b" \t")
    if b"%b=" % _NAME in value:
        return request
    if value.count(b",") + 2 > MAX_MEMBERS or len(value) + len(member) + 1 > MAX_BAGGAGE:
        return None
    merged = b"%b,%b" % (value, member) if value else member
    return b"%b %b%b" % (request[:start], merged, request[end:])
