"""What an entrypoint and a client make of a visitor's bytes, by the exchange engine alone: fast enough to fuzz."""

from __future__ import annotations

from collections.abc import Callable

from rtunnel.wire.http1 import (
    CHUNKED,
    PASS_ALL,
    UNTRUSTED,
    ChunkedBody,
    FieldPolicy,
    HeadLimits,
    RequestHead,
    RequestReader,
    RequestRewrite,
    write_request,
)
from rtunnel.wire.http1_exchange import DATA, END, HEAD, MALFORMED, RequestSide
from tests.smuggling.backends import Seen

__all__ = ["forwarded", "rewritten"]

ADDED = b"X-Forwarded-For: 192.0.2.1\r\nVia: 1.1 rtunnel\r\n"


REWRITE = RequestRewrite(set_fields=[("X-Set", "a"), ("X-A", "b")], remove=["Cookie"])

Write = Callable[[RequestHead], bytes]


def forwarded(data: bytes) -> tuple[list[Seen], bytes]:
    """What an entrypoint does with requests, one after another, as if each were answered at once.

    :returns: the requests that are complete, as they are understood, and the bytes that leave for the target.
    """
    return _pass_on(data, UNTRUSTED, lambda head: write_request(head, ADDED))


def rewritten(data: bytes) -> tuple[list[Seen], bytes]:
    """The same for a client that changes header fields."""
    return _pass_on(data, PASS_ALL, REWRITE.write)


def _pass_on(data: bytes, policy: FieldPolicy, write: Write) -> tuple[list[Seen], bytes]:
    side = RequestSide(RequestReader(HeadLimits(), policy))
    seen: list[Seen] = []
    written = b""
    head, body = None, b""
    events = side.receive(data)
    while events:
        for kind, value, piece in events:
            if kind == HEAD:
                head, body = value, b""
                written += write(head)
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
