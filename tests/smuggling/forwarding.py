"""What an entrypoint makes of a visitor's bytes, by the exchange engine alone: fast enough to fuzz."""

from __future__ import annotations

from rtunnel.wire.http1 import CHUNKED, ChunkedBody, HeadLimits, RequestHead, RequestReader, write_request
from rtunnel.wire.http1_exchange import DATA, END, HEAD, MALFORMED, RequestSide
from tests.smuggling.backends import Seen

__all__ = ["forwarded"]

ADDED = b"X-Forwarded-For: 192.0.2.1\r\nVia: 1.1 rtunnel\r\n"


def forwarded(data: bytes) -> tuple[list[Seen], bytes]:
    """Read requests one after another, as if each were answered at once.

    :returns: the requests that are complete, as they are understood, and the bytes that the target gets.
    """
    side = RequestSide(RequestReader(HeadLimits()))
    seen: list[Seen] = []
    written = b""
    head, body = None, b""
    events = side.receive(data)
    while events:
        for kind, value, piece in events:
            if kind == HEAD:
                head, body = value, b""
                written += write_request(head, ADDED)
            elif kind == DATA:
                body += piece
                written += piece
            if kind == MALFORMED:
                return seen, written
            if kind == END or (kind == HEAD and not value.body):
                assert head is not None
                seen.append(_seen(head, body))
        if not side.whole:
            break
        events = side.next()
    return seen, written


def _seen(head: RequestHead, body: bytes) -> Seen:
    if head.body == CHUNKED:
        body = ChunkedBody().decode(body)[0]
    return Seen(head.method, head.target, head.authority, body)
